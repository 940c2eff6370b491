//! One process for one directory.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A directory taken by this process until this is dropped, or the process ends however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why a directory could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error(
        "another sixwire runs on {}: stop it with `sixwire down`, or name another directory",
        dir.display()
    )]
    Taken {
        /// Which directory.
        dir: PathBuf,
    },
    /// The lock file cannot be used.
    #[error("cannot lock {}: {reason}{}", path.display(), super::file::advice(reason))]
    Failed {
        /// The lock file.
        path: PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
}

impl Lock {
    /// Takes a directory, which is made if it is missing, at once or not at all.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|reason| LockError::Failed { path: dir.to_owned(), reason })?;
        let (path, file) = open(dir)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(LockError::Taken { dir: dir.to_owned() }),
            Err(TryLockError::Error(reason)) => Err(LockError::Failed { path, reason }),
        }
    }

    /// Waits until whoever has a directory ends, however long that takes. A directory that goes
    /// away with its user is free as well.
    ///
    /// # Errors
    /// [`LockError::Failed`].
    pub fn wait_until_free(dir: &Path) -> Result<(), LockError> {
        match open(dir) {
            Ok((path, file)) => file.lock().map_err(|reason| LockError::Failed { path, reason }),
            Err(LockError::Failed { reason, .. }) if reason.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn open(dir: &Path) -> Result<(PathBuf, File), LockError> {
    let path = dir.join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    match file {
        Ok(file) => Ok((path, file)),
        Err(reason) => Err(LockError::Failed { path, reason }),
    }
}
