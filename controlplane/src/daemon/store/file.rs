//! One file: read whole, replaced whole.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Why something that survives a restart cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Reading failed.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// What was read.
        path: PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// Writing failed.
    #[error("cannot write {}: {reason}; what was there before is unchanged{}", path.display(), advice(reason))]
    Write {
        /// What was to be replaced.
        path: PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// The content makes no sense.
    #[error(
        "{} is damaged ({problem}): restore it from a backup, or remove it and join again",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong; never the content.
        problem: String,
    },
    /// A secret that others can read is none.
    #[error(
        "{0} is open to other users (mode {mode:o}): run `chmod 600 {0}`, and if others may have \
         read it, remove it and join again",
        path.display()
    )]
    OpenSecret {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A directory that others can enter.
    #[error(
        "the state directory {0} is open to other users (mode {mode:o}): run `chmod 700 {0}`, or \
         name a directory of its own with --state-dir",
        dir.display()
    )]
    OpenDirectory {
        /// Which directory.
        dir: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

/// What the user can do about an error of the file system.
pub(super) fn advice(reason: &std::io::Error) -> &'static str {
    match reason.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => ": free some space",
        ErrorKind::PermissionDenied => ": run as root, or name another directory",
        ErrorKind::ReadOnlyFilesystem => ": mount it writable, or name another directory",
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
            ": that is no directory: remove it, or name another one"
        }
        _ => "",
    }
}

impl StoreError {
    pub(in crate::daemon) fn read(path: &Path, reason: std::io::Error) -> Self {
        Self::Read { path: path.to_owned(), reason }
    }

    pub(super) fn write(path: &Path, reason: std::io::Error) -> Self {
        Self::Write { path: path.to_owned(), reason }
    }

    pub(super) fn damaged(path: &Path, problem: impl ToString) -> Self {
        Self::Damaged { path: path.to_owned(), problem: problem.to_string() }
    }
}

/// Largest file that is read, in octets; far above the largest that is written.
const SIZE_LIMIT: u64 = 4 * 1024 * 1024;

/// The text of a file; `None` if there is none.
pub(in crate::daemon) fn read(path: &Path) -> Result<Option<String>, StoreError> {
    open(path)?.map(|file| text_of(path, &file)).transpose()
}

/// The text of a file that nobody else may read; `None` if there is none.
pub(super) fn read_secret(path: &Path) -> Result<Option<String>, StoreError> {
    let Some(file) = open(path)? else { return Ok(None) };
    let mode = file.metadata().map_err(|reason| StoreError::read(path, reason))?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(StoreError::OpenSecret { path: path.to_owned(), mode });
    }
    text_of(path, &file).map(Some)
}

fn open(path: &Path) -> Result<Option<File>, StoreError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(reason) if reason.kind() == ErrorKind::NotFound => Ok(None),
        Err(reason) => Err(StoreError::read(path, reason)),
    }
}

fn text_of(path: &Path, file: &File) -> Result<String, StoreError> {
    let mut text = String::new();
    match file.take(SIZE_LIMIT + 1).read_to_string(&mut text) {
        Ok(size) if size as u64 > SIZE_LIMIT => Err(StoreError::damaged(path, "far too large")),
        Ok(_) => Ok(text),
        Err(reason) if reason.kind() == ErrorKind::InvalidData => {
            Err(StoreError::damaged(path, "not text"))
        }
        Err(reason) => Err(StoreError::read(path, reason)),
    }
}

/// Replaces a file by these octets, mode 0600. Whoever reads sees the old file or the new one,
/// after a power cut as well.
pub(in crate::daemon) fn replace(path: &Path, octets: &[u8]) -> Result<(), StoreError> {
    let fresh = path.with_added_extension("new");
    let written = write_durably(&fresh, octets).and_then(|()| fs::rename(&fresh, path));
    if let Err(reason) = written {
        // The write has failed already; a leftover is overwritten by the next one.
        let _ = fs::remove_file(&fresh);
        return Err(StoreError::write(path, reason));
    }
    sync_directory_of(path).map_err(|reason| StoreError::write(path, reason))
}

fn write_durably(path: &Path, octets: &[u8]) -> std::io::Result<()> {
    // A leftover of an interrupted write may have any mode, and `mode` holds for new files only.
    match fs::remove_file(path) {
        Err(reason) if reason.kind() != ErrorKind::NotFound => return Err(reason),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(octets)?;
    file.sync_all()
}

/// The rename itself is durable once the directory is.
fn sync_directory_of(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}
