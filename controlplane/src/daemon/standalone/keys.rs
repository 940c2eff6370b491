//! The keys of a routing engine alone: `[[key]]`, and which interface has which. In a file only; a
//! command line can be read by everybody.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, de};
use sixwire_dataplane::model::IfName;
use sixwire_proto::babel::{MacAlgorithm, MacKey};
use zeroize::Zeroizing;

use super::config::Interface;
use crate::babel::{Authentication, Unauthenticated};
use crate::daemon::config::Rule;
use crate::daemon::mac_key::{KeyFile, KeyProblem, algorithm, key, require_closed};

/// A key with a name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawKey")]
pub struct NamedKey {
    id: String,
    source: KeySource,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum KeySource {
    Value(MacKey),
    File(KeyFile),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    id: String,
    #[serde(deserialize_with = "algorithm")]
    algorithm: MacAlgorithm,
    value: Option<Digits>,
    file: Option<PathBuf>,
}

/// Text that no error repeats.
struct Digits(Zeroizing<String>);

impl TryFrom<RawKey> for NamedKey {
    type Error = String;

    fn try_from(RawKey { id, algorithm, value, file }: RawKey) -> Result<Self, String> {
        let source = match (value, file) {
            (Some(Digits(text)), None) => {
                let key = key(algorithm, &text, &format!("the value of key {id}"));
                KeySource::Value(key.map_err(|problem| problem.to_string())?)
            }
            (None, Some(file)) => KeySource::File(KeyFile { algorithm, file }),
            _ => return Err(format!("key {id} wants either a value or a file")),
        };
        Ok(Self { id, source })
    }
}

impl NamedKey {
    fn read(&self) -> Result<MacKey, KeyProblem> {
        match &self.source {
            KeySource::Value(key) => Ok(key.clone()),
            KeySource::File(file) => file.read(),
        }
    }
}

/// What each interface that has keys is authenticated with.
///
/// # Errors
/// [`Rule`] for a key that is named but not there, or there but used nowhere, which would leave an
/// interface open that was meant to be closed; and for one that cannot be read.
pub(super) fn resolve(
    keys: &[NamedKey],
    interfaces: &[Interface],
) -> Result<BTreeMap<IfName, Authentication>, Rule> {
    let refuse = |problem: String| Err(Rule::new("key", problem));
    let ids: BTreeSet<&str> = keys.iter().map(|key| key.id.as_str()).collect();
    if ids.len() < keys.len() {
        return refuse("two keys have the same id".to_owned());
    }
    let used: BTreeSet<&str> =
        interfaces.iter().flat_map(|one| &one.keys).map(String::as_str).collect();
    if let Some(id) = used.difference(&ids).next() {
        return refuse(format!("there is none of id {id}, which an interface names"));
    }
    if let Some(id) = ids.difference(&used).next() {
        return refuse(format!(
            "no interface uses {id}: name it in the keys of an [[interface]], or remove it; an \
             interface given by a flag has no keys"
        ));
    }
    let mut resolved = BTreeMap::new();
    for interface in interfaces {
        if let Some(authentication) = authentication(keys, interface)? {
            resolved.insert(interface.name.clone(), authentication);
        }
    }
    Ok(resolved)
}

fn authentication(
    keys: &[NamedKey],
    interface: &Interface,
) -> Result<Option<Authentication>, Rule> {
    let refuse = |problem: String| Rule::new("interface", format!("{}: {problem}", interface.name));
    if interface.keys.is_empty() {
        return match interface.unauthenticated {
            Unauthenticated::Refuse => Ok(None),
            Unauthenticated::Accept => {
                Err(refuse("accept_unauthenticated makes no sense without keys".to_owned()))
            }
        };
    }
    let named = |id: &String| keys.iter().find(|key| key.id == *id);
    let read = interface.keys.iter().filter_map(named).map(NamedKey::read);
    let read: Vec<MacKey> =
        read.collect::<Result<_, _>>().map_err(|problem| refuse(problem.to_string()))?;
    let authentication = Authentication::new(read, interface.unauthenticated);
    authentication.map(Some).map_err(|error| refuse(error.to_string()))
}

/// A configuration file that holds a key itself is as secret as the key.
///
/// # Errors
/// [`Rule`] when everybody can read it.
pub(super) fn require_secret(file: &Path, keys: &[NamedKey]) -> Result<(), Rule> {
    if !keys.iter().any(|key| matches!(key.source, KeySource::Value(_))) {
        return Ok(());
    }
    let opened =
        File::open(file).map_err(|reason| KeyProblem::Unreadable { file: file.to_owned(), reason });
    opened
        .and_then(|opened| require_closed(file, &opened))
        .map_err(|problem| Rule::new("key", problem.to_string()))
}

impl<'de> Deserialize<'de> for Digits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => Ok(Self(Zeroizing::new(text))),
            _ => Err(de::Error::custom("want hexadecimal digits in quotes")),
        }
    }
}

impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digits(secret)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::daemon::standalone::{Config, Keys};

    const DIGITS: &str = "000102030405060708090a0b0c0d0e0f";

    fn load_with_mode(text: &str, mode: u32) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("babel.toml");
        let key = dir.path().join("key");
        fs::write(&key, DIGITS).unwrap();
        fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        fs::write(&file, text.replace("KEYFILE", &key.to_string_lossy())).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        Config::load(Some(&file), Keys::default()).map_err(|error| error.to_string())
    }

    fn load(text: &str) -> Result<Config, String> {
        load_with_mode(text, 0o600)
    }

    fn key(id: &str) -> String {
        format!("[[key]]\nid = \"{id}\"\nalgorithm = \"blake2s128\"\nvalue = \"{DIGITS}\"\n")
    }

    #[test]
    fn interfaces_have_the_keys_they_name_by_value_or_by_file() {
        let file = "[[key]]\nid = \"b\"\nalgorithm = \"blake2s128\"\nfile = \"KEYFILE\"\n";
        let interfaces = "[[interface]]\nname = \"eth0\"\nkeys = [\"a\", \"b\"]\n\
                          accept_unauthenticated = true\n[[interface]]\nname = \"eth1\"\n";
        let config = load(&format!("{}{file}{interfaces}", key("a"))).unwrap();
        let octets: Vec<u8> = (0..16).collect();
        let same = MacKey::new(MacAlgorithm::Blake2s128, &octets).unwrap();
        let expected = Authentication::new(vec![same.clone(), same], Unauthenticated::Accept);
        let found: Vec<_> = config.authentication.into_iter().collect();
        assert_eq!(found, [("eth0".parse().unwrap(), expected.unwrap())]);
    }

    #[test]
    fn what_would_leave_an_interface_open_or_makes_no_sense_is_refused() {
        let eth0 = |rest: &str| format!("[[interface]]\nname = \"eth0\"\n{rest}\n");
        for (text, about) in [
            (key("a") + &eth0(""), "no interface uses a"),
            (eth0("keys = [\"a\"]"), "none of id a"),
            (key("a") + &key("a") + &eth0("keys = [\"a\"]"), "same id"),
            (eth0("accept_unauthenticated = true"), "without keys"),
            (key("a") + "file = \"/x\"\n" + &eth0("keys = [\"a\"]"), "either a value or a file"),
            (key("a").replace("blake2s128", "md5") + &eth0("keys = [\"a\"]"), "hmac-sha256 or"),
            (key("a").replace("0f\"", "\"") + &eth0("keys = [\"a\"]"), "not 15"),
            (key("a").replace("0f\"", "xx\"") + &eth0("keys = [\"a\"]"), "hexadecimal"),
            (key("a").replace("0f\"", "0f") + &eth0("keys = [\"a\"]"), "line 4"),
            (key("a").replace(&format!("\"{DIGITS}\""), "12345") + &eth0(""), "in quotes"),
        ] {
            let refused = load(&text).unwrap_err();
            assert!(refused.contains(about), "{text}: {refused}");
            assert!(!refused.contains("0a0b0c") && !refused.contains("12345"), "{refused}");
        }
    }

    #[test]
    fn a_file_with_keys_in_it_is_not_for_everybody() {
        let text = key("a") + "[[interface]]\nname = \"eth0\"\nkeys = [\"a\"]\n";
        assert!(load_with_mode(&text, 0o640).is_ok());
        let refused = load_with_mode(&text, 0o644).unwrap_err();
        assert!(refused.contains("can be read by everybody"), "{refused}");
        assert!(load_with_mode("[[interface]]\nname = \"eth0\"\n", 0o644).is_ok());
    }

    #[test]
    fn a_configuration_does_not_print_its_keys() {
        let text = key("a") + "[[interface]]\nname = \"eth0\"\nkeys = [\"a\"]\n";
        let printed = format!("{:?}", load(&text).unwrap());
        assert!(printed.contains("secret") && !printed.contains("13, 14, 15"), "{printed}");
    }
}
