//! The directory of a registry: its keys, its TLS certificate and its database.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sixwire_proto::keys::SecretKey;
use zeroize::Zeroizing;

use crate::Error;

/// A directory that holds a registry, or is to hold one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory(PathBuf);

/// The root key; may be kept elsewhere and put here to renew the issuer.
pub const ROOT_KEY: &str = "root.key";
/// The issuer key.
pub const ISSUER_KEY: &str = "issuer.key";
/// The key of the registry's own TLS certificate.
pub const TLS_KEY: &str = "tls.key";
/// The registry's own TLS certificate.
pub const TLS_CERTIFICATE: &str = "tls.crt";
/// The database.
pub const DATABASE: &str = "registry.db";

const SECRET_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

impl Directory {
    /// The directory at this path, whether or not there is one.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Path of the database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.0.join(DATABASE)
    }

    /// Path of the root key.
    #[must_use]
    pub fn root_key_path(&self) -> PathBuf {
        self.0.join(ROOT_KEY)
    }

    /// Checks that a registry is here and that nobody else can change it or read its secrets.
    ///
    /// # Errors
    /// [`Error::NoRegistry`], [`Error::Permissions`], [`Error::File`].
    pub fn check(&self) -> Result<(), Error> {
        let database = self.database();
        match fs::metadata(&database) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NoRegistry(self.0.clone()));
            }
            Err(cause) => return Err(Error::File { action: "read", path: database, cause }),
            Ok(_) => {}
        }
        check_mode(&self.0, 0o022, DIRECTORY_MODE)?;
        for secret in [ROOT_KEY, ISSUER_KEY, TLS_KEY, DATABASE] {
            check_mode(&self.0.join(secret), 0o077, SECRET_MODE)?;
        }
        Ok(())
    }

    /// The issuer key.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::KeyFile`].
    pub fn issuer_key(&self) -> Result<SecretKey, Error> {
        let path = self.0.join(ISSUER_KEY);
        let text = read_secret(&path)?;
        SecretKey::from_text(&text).map_err(|_| Error::KeyFile(path))
    }

    /// The root key, if it is here.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::KeyFile`].
    pub fn root_key(&self) -> Result<Option<SecretKey>, Error> {
        let path = self.root_key_path();
        match read_secret(&path) {
            Ok(text) => SecretKey::from_text(&text).map(Some).map_err(|_| Error::KeyFile(path)),
            Err(Error::File { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the directory itself, for its owner only.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn make(&self) -> Result<(), Error> {
        DirBuilder::new().mode(DIRECTORY_MODE).create(&self.0).map_err(|cause| Error::File {
            action: "make the directory",
            path: self.0.clone(),
            cause,
        })
    }

    /// Lets nobody but the owner into the directory.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn close_to_others(&self) -> Result<(), Error> {
        fs::set_permissions(&self.0, fs::Permissions::from_mode(DIRECTORY_MODE))
            .map_err(|cause| Error::File { action: "set the mode of", path: self.0.clone(), cause })
    }

    /// Writes a new file for its owner only, down to the disk.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write_new(&self, name: &str, contents: &[u8]) -> Result<(), Error> {
        let path = self.0.join(name);
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(SECRET_MODE).open(&path)?;
            file.write_all(contents)?;
            file.sync_all()
        };
        write().map_err(|cause| Error::File { action: "write", path: path.clone(), cause })
    }

    /// Brings the directory's own entries down to the disk.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn sync(&self) -> Result<(), Error> {
        File::open(&self.0)
            .and_then(|directory| directory.sync_all())
            .map_err(|cause| Error::File { action: "sync", path: self.0.clone(), cause })
    }
}

fn read_secret(path: &Path) -> Result<Zeroizing<String>, Error> {
    let read = |cause| Error::File { action: "read", path: path.to_owned(), cause };
    fs::read_to_string(path).map(Zeroizing::new).map_err(read)
}

/// Refuses a file that is there and has any of the `forbidden` mode bits.
fn check_mode(path: &Path, forbidden: u32, wanted: u32) -> Result<(), Error> {
    let mode = match fs::metadata(path) {
        Ok(metadata) => metadata.permissions().mode() & 0o7777,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(Error::File { action: "look at", path: path.to_owned(), cause }),
    };
    if mode & forbidden != 0 {
        return Err(Error::Permissions { path: path.to_owned(), mode, wanted });
    }
    Ok(())
}
