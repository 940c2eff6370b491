//! The configuration: flags over `SIXWIRE_REGISTRY_*` variables over the file over defaults.

use std::fs;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Deserialize;
use sixwire_proto::join::JoinString;
use tracing_subscriber::EnvFilter;

use crate::Error;
use crate::directory::Directory;
use crate::tls::TlsFiles;

/// What can be set, each part or not at all: by flags and variables here, and by the file, whose
/// keys are the same words with `_` for `-`.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Directory of the registry [default: /var/lib/sixwire-registry]
    #[arg(long, global = true, env = "SIXWIRE_REGISTRY_DIR", value_name = "DIR")]
    dir: Option<PathBuf>,
    /// What to log, such as `debug` or `sixwire_registry=debug` [default: info]
    #[arg(long, global = true, env = "SIXWIRE_REGISTRY_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// How to write logs [default: text]
    #[arg(long, global = true, env = "SIXWIRE_REGISTRY_LOG_FORMAT", value_enum)]
    log_format: Option<LogFormat>,
    /// Addresses that `serve` listens on [default: [::]:8443]
    #[arg(
        long,
        global = true,
        env = "SIXWIRE_REGISTRY_LISTEN",
        value_name = "ADDR:PORT",
        value_delimiter = ','
    )]
    listen: Option<Vec<SocketAddr>>,
    /// TLS certificate chain (PEM) that others vouch for; the default is the registry's own
    #[arg(long, global = true, env = "SIXWIRE_REGISTRY_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Key (PEM) of --tls-cert
    #[arg(long, global = true, env = "SIXWIRE_REGISTRY_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
}

/// The configuration, checked.
#[derive(Debug)]
pub struct Config {
    /// The registry's directory.
    pub directory: Directory,
    /// What to log.
    pub log: EnvFilter,
    /// How to write logs.
    pub log_format: LogFormat,
    /// Where to listen; at least one address.
    pub listen: Vec<SocketAddr>,
    /// A TLS certificate from files.
    pub tls: Option<TlsFiles>,
}

/// How to write logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line of text with `key=value` pairs.
    Text,
    /// A line of JSON.
    Json,
}

/// The file that is read where none is named; it need not be there.
pub const DEFAULT_FILE: &str = "/etc/sixwire/registry.toml";
/// The directory where none is named.
pub const DEFAULT_DIRECTORY: &str = "/var/lib/sixwire-registry";
const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), JoinString::DEFAULT_PORT);

impl Settings {
    /// Reads a file. Where none is named the default one is read if it is there.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Config`].
    pub fn read(named: Option<&Path>) -> Result<Self, Error> {
        let path = named.unwrap_or(Path::new(DEFAULT_FILE));
        match fs::read_to_string(path) {
            Ok(text) => {
                toml::from_str(&text).map_err(|e| Error::Config(format!("{}: {e}", path.display())))
            }
            Err(cause) if cause.kind() == io::ErrorKind::NotFound && named.is_none() => {
                Ok(Self::default())
            }
            Err(cause) => Err(Error::File { action: "read", path: path.to_owned(), cause }),
        }
    }

    /// These settings, and `below` where they say nothing. Certificate and key go together.
    #[must_use]
    pub fn over(self, below: Self) -> Self {
        let tls_here = self.tls_cert.is_some() || self.tls_key.is_some();
        let (tls_cert, tls_key) =
            if tls_here { (self.tls_cert, self.tls_key) } else { (below.tls_cert, below.tls_key) };
        Self {
            dir: self.dir.or(below.dir),
            log: self.log.or(below.log),
            log_format: self.log_format.or(below.log_format),
            listen: self.listen.or(below.listen),
            tls_cert,
            tls_key,
        }
    }

    /// Checks them and fills in the defaults.
    ///
    /// # Errors
    /// [`Error::Config`], which names the setting.
    pub fn validate(self) -> Result<Config, Error> {
        let tls = match (self.tls_cert, self.tls_key) {
            (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
            (None, None) => None,
            (Some(_), None) => return Err(Error::Config("tls-cert needs tls-key too".to_owned())),
            (None, Some(_)) => return Err(Error::Config("tls-key needs tls-cert too".to_owned())),
        };
        let listen = self.listen.unwrap_or_else(|| vec![DEFAULT_LISTEN]);
        if listen.is_empty() {
            return Err(Error::Config("listen: want at least one ADDR:PORT".to_owned()));
        }
        let filter = self.log.as_deref().unwrap_or("info");
        let log = EnvFilter::try_new(filter)
            .map_err(|e| Error::Config(format!("log: {filter:?} is no filter: {e}")))?;
        let directory = self.dir.unwrap_or_else(|| DEFAULT_DIRECTORY.into());
        Ok(Config {
            directory: Directory::new(directory),
            log,
            log_format: self.log_format.unwrap_or(LogFormat::Text),
            listen,
            tls,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<Settings, Error> {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("registry.toml");
        fs::write(&path, text).unwrap();
        Settings::read(Some(&path))
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let below = file("dir = \"/a\"\nlisten = [\"[::1]:1\"]\nlog_format = \"json\"").unwrap();
        let above = Settings { dir: Some("/b".into()), ..Settings::default() };
        let config = above.over(below).validate().unwrap();
        assert_eq!(config.directory.path(), Path::new("/b"));
        assert_eq!(config.listen, ["[::1]:1".parse().unwrap()]);
        assert_eq!(config.log_format, LogFormat::Json);
        let config = Settings::default().validate().unwrap();
        assert_eq!(config.directory.path(), Path::new(DEFAULT_DIRECTORY));
        assert_eq!(config.listen, ["[::]:8443".parse().unwrap()]);
    }

    #[test]
    fn unknown_keys_and_wrong_values_are_named() {
        for (text, word) in [
            ("lisen = []", "lisen"),
            ("listen = [\"nowhere\"]", "listen"),
            ("log_format = \"xml\"", "log_format"),
            ("dir = 7", "dir"),
        ] {
            let error = file(text).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("registry.toml"), "{error}");
        }
        for (text, word) in
            [("tls_cert = \"a\"", "tls-key"), ("listen = []", "listen"), ("log = \"a=b=c\"", "log")]
        {
            let error = file(text).unwrap().validate().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_file_that_was_named_must_be_there() {
        let missing = Settings::read(Some(Path::new("/nonexistent/registry.toml")));
        assert!(matches!(missing, Err(Error::File { .. })));
    }
}
