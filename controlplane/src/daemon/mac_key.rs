//! Keys that sign Babel packets (RFC 8967), as they lie on disk: hexadecimal digits, in a file that not
//! everybody can read.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, de};
use sixwire_proto::babel::{MacAlgorithm, MacKey, MacKeyError};
use zeroize::Zeroizing;

/// A key that lies in a file of its own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    /// What it is used with.
    #[serde(deserialize_with = "algorithm")]
    pub algorithm: MacAlgorithm,
    /// Where it lies.
    pub file: PathBuf,
}

/// Why a key cannot be used. Never says what the key is.
#[derive(Debug, thiserror::Error)]
pub enum KeyProblem {
    /// The file cannot be read.
    #[error("cannot read the key {}: {reason}", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// A secret that everybody can read is none.
    #[error(
        "{0} holds a key and can be read by everybody (mode {mode:o}): run `chmod o= {0}`, and make \
         a new key if somebody may have read it",
        file.display()
    )]
    Open {
        /// Which file.
        file: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is not written in hexadecimal digits.
    #[error("{0} is no key: want pairs of hexadecimal digits and nothing else")]
    Digits(String),
    /// It does not fit its algorithm.
    #[error("{0}: {1}; make one with `openssl rand -hex 32`")]
    Length(String, MacKeyError),
}

impl KeyFile {
    /// Reads the key.
    ///
    /// # Errors
    /// [`KeyProblem`].
    pub fn read(&self) -> Result<MacKey, KeyProblem> {
        let unreadable = |reason| KeyProblem::Unreadable { file: self.file.clone(), reason };
        let file = File::open(&self.file).map_err(unreadable)?;
        require_closed(&self.file, &file)?;
        let mut text = Zeroizing::new(String::new());
        file.take(LONGEST_TEXT).read_to_string(&mut text).map_err(unreadable)?;
        key(self.algorithm, &text, &self.file.display().to_string())
    }
}

/// The key that is written so; `name` is what errors call it.
///
/// # Errors
/// [`KeyProblem::Digits`] and [`KeyProblem::Length`].
pub(super) fn key(algorithm: MacAlgorithm, text: &str, name: &str) -> Result<MacKey, KeyProblem> {
    let octets = octets(text.trim()).ok_or_else(|| KeyProblem::Digits(name.to_owned()))?;
    MacKey::new(algorithm, &octets).map_err(|error| KeyProblem::Length(name.to_owned(), error))
}

/// Refuses a file that everybody can read.
///
/// # Errors
/// [`KeyProblem::Open`] then.
pub(super) fn require_closed(path: &Path, file: &File) -> Result<(), KeyProblem> {
    let unreadable = |reason| KeyProblem::Unreadable { file: path.to_owned(), reason };
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o7777;
    if mode & 0o004 == 0 { Ok(()) } else { Err(KeyProblem::Open { file: path.to_owned(), mode }) }
}

/// `deserialize_with`: an algorithm by its name.
pub(super) fn algorithm<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<MacAlgorithm, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}

fn octets(digits: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut octets = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
    for pair in digits.as_bytes().chunks(2) {
        let [high, low] = *pair else { return None };
        let value = |digit: u8| char::from(digit).to_digit(16).and_then(|v| u8::try_from(v).ok());
        octets.push(value(high)? << 4 | value(low)?);
    }
    Some(octets)
}

/// Far more than the longest key.
const LONGEST_TEXT: u64 = 4096;

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    fn read(text: &str, mode: u32) -> Result<MacKey, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let key = KeyFile { algorithm: MacAlgorithm::HmacSha256, file };
        key.read().map_err(|error| error.to_string())
    }

    #[test]
    fn a_key_is_hexadecimal_digits_in_a_file_not_open_to_all() {
        let digits = "00112233445566778899aAbBcCdDeEfF";
        let octets: Vec<u8> = (0..16).map(|n| n * 17).collect();
        let expected = MacKey::new(MacAlgorithm::HmacSha256, &octets).unwrap();
        for mode in [0o400, 0o600, 0o640] {
            assert_eq!(read(&format!("{digits}\n"), mode).as_ref(), Ok(&expected), "{mode:o}");
        }
        let open = read(digits, 0o644).unwrap_err();
        assert!(open.contains("mode 644") && open.contains("chmod o="), "{open}");
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        for (text, about) in [
            ("", "not 0"),
            ("abcdef", "16 to 64 octets, not 3"),
            ("0011223344556677889900112233445", "hexadecimal"),
            ("secret words that are no digits!", "hexadecimal"),
            ("+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1", "hexadecimal"),
        ] {
            let refused = read(text, 0o600).unwrap_err();
            assert!(refused.contains(about), "{refused}");
            assert!(text.is_empty() || !refused.contains(text), "{refused}");
        }
        let missing = KeyFile { algorithm: MacAlgorithm::Blake2s128, file: "/nowhere/key".into() };
        assert!(
            missing.read().unwrap_err().to_string().starts_with("cannot read the key /nowhere")
        );
    }
}
