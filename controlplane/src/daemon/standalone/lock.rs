//! One engine for one state file, one for one routing table of a network namespace.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use anyhow::{Context as _, bail};

/// A state file taken until this is dropped, or the process ends however it ends.
#[derive(Debug)]
pub(super) struct StateLock {
    _file: File,
}

impl StateLock {
    /// Takes a state file by a file beside it, as it is itself replaced with every change.
    ///
    /// # Errors
    /// When another engine has it: two with one router-id would take each other's routes for their own.
    pub(super) fn take(state: &Path) -> anyhow::Result<Self> {
        let path = state.with_added_extension("lock");
        let shown = state.display();
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => bail!(
                "another instance uses the state file {shown}: stop it, or name another \
                 --state-file for this one"
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }
}

/// A routing table taken in this network namespace.
#[derive(Debug)]
pub(super) struct TableLock {
    _socket: UnixListener,
}

impl TableLock {
    /// Takes a routing table by a socket whose name is the namespace's own.
    ///
    /// # Errors
    /// When another engine has it: our mark on routes does not tell the two apart.
    pub(super) fn take(table: u32) -> anyhow::Result<Self> {
        let name = SocketAddr::from_abstract_name(format!("sixwire-babel-table-{table}"))?;
        match UnixListener::bind_addr(&name) {
            Ok(socket) => Ok(Self { _socket: socket }),
            Err(error) if error.kind() == ErrorKind::AddrInUse => bail!(
                "another instance writes routing table {table}: stop it, or name another --table \
                 for this one"
            ),
            Err(error) => Err(error).context(format!("cannot take routing table {table}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_file_is_for_one() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let first = StateLock::take(&state).unwrap();
        let refused = StateLock::take(&state).unwrap_err().to_string();
        assert!(refused.contains("another instance") && refused.contains("state"), "{refused}");
        StateLock::take(&dir.path().join("other")).unwrap();
        drop(first);
        StateLock::take(&state).unwrap();
    }

    #[test]
    fn a_table_is_for_one() {
        // No kernel route is touched: only the name is taken.
        let number = 3_000_000_000 + std::process::id();
        let first = TableLock::take(number).unwrap();
        let refused = TableLock::take(number).unwrap_err().to_string();
        assert!(refused.contains(&number.to_string()), "{refused}");
        drop(first);
        TableLock::take(number).unwrap();
    }
}
