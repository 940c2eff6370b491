//! The store: tokens, nodes, certificates and the network state in one SQLite file.
//!
//! [`Database`] opens it, [`Transaction`] reads and writes rows; nothing is decided here. A
//! transaction that is dropped changes nothing. The SQL keeps to what other databases know too.

mod certificates;
mod network;
mod presence;
mod rows;
mod schema;
mod tokens;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode as SqliteCode, OpenFlags, TransactionBehavior};

pub use certificates::Holder;
pub use network::Network;
pub use presence::PRESENCE_LIMIT;
pub use schema::VERSION;
pub use tokens::TokenHash;

/// The registry's database.
pub struct Database {
    connection: Connection,
}

/// A transaction that has the right to write.
pub struct Transaction<'a>(rusqlite::Transaction<'a>);

/// Why the database did not do as told.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened.
    #[error(
        "cannot open the database {}: {cause}; see that it is there, that this user may write it, \
         and that its disk has room", path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        cause: rusqlite::Error,
    },
    /// The file is of a newer program.
    #[error(
        "the database has schema version {found}, this program knows up to {VERSION}: update it"
    )]
    Newer {
        /// Version found.
        found: u32,
    },
    /// A row holds what this program never writes.
    #[error("the database is damaged: {0}; restore it from a backup")]
    Damaged(String),
    /// Another program holds the database.
    #[error("the database is locked by another program for longer than {} s", BUSY_TIMEOUT.as_secs())]
    Locked,
    /// No room to write.
    #[error("the database cannot be written: {0}; make room on its disk")]
    Full(rusqlite::Error),
    /// Anything else.
    #[error("the database failed: {0}")]
    Failed(rusqlite::Error),
}

/// How long a call waits for another program to finish with the database.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

impl Database {
    /// Opens the file, which may be empty, and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let open = |cause| StoreError::Open { path: path.to_owned(), cause };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(open)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // A spent token must stay spent after a power cut: every commit reaches the disk.
        connection.pragma_update(None, "journal_mode", "wal").map_err(open)?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "foreign_keys", "on")?;
        schema::upgrade(&mut connection)?;
        Ok(Self { connection })
    }

    /// Begins a transaction, waiting for others to end theirs.
    ///
    /// # Errors
    /// [`StoreError::Locked`] and others.
    pub fn begin(&mut self) -> Result<Transaction<'_>, StoreError> {
        Ok(Transaction(self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?))
    }
}

impl Transaction<'_> {
    /// Makes the changes last.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then.
    pub fn commit(self) -> Result<(), StoreError> {
        Ok(self.0.commit()?)
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(SqliteCode::DatabaseBusy | SqliteCode::DatabaseLocked) => Self::Locked,
            Some(SqliteCode::DiskFull | SqliteCode::SystemIoFailure | SqliteCode::ReadOnly) => {
                Self::Full(error)
            }
            Some(SqliteCode::DatabaseCorrupt | SqliteCode::NotADatabase) => {
                Self::Damaged(error.to_string())
            }
            _ => match error {
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::IntegralValueOutOfRange(..) => Self::Damaged(error.to_string()),
                other => Self::Failed(other),
            },
        }
    }
}

#[cfg(test)]
mod tests;
