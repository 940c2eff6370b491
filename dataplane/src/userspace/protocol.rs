//! What daemon and helper say to each other.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::model::IfName;

/// A request. New ones may come; those here keep their meaning, for a newer daemon may find an older
/// helper at work.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub(super) enum Request {
    /// Make an interface; what would restore it comes with the answer.
    Create { name: IfName, mtu: u32 },
    /// Hand over what would restore an interface: its TUN descriptor and its saved configuration.
    Hold { name: IfName },
    /// Carry on with an interface of a helper that was killed, from what comes with the request.
    Restore { name: IfName },
    /// Delete one.
    Delete { name: IfName },
    /// Name all.
    List,
    /// Say what was dropped.
    Drops,
    /// Delete all and end.
    Stop,
    /// Of a newer daemon.
    #[serde(other)]
    Unknown,
}

/// An answer.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Answer {
    /// Why the request failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// The interfaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) names: Vec<IfName>,
    /// What was dropped, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) drops: BTreeMap<String, u64>,
}

/// What the helper writes to its standard output once its socket is there.
pub(super) const READY: &[u8] = b"ready\n";

pub(super) fn socket_path(run_dir: &Path) -> PathBuf {
    run_dir.join("wireguard.sock")
}

pub(super) fn lock_path(run_dir: &Path) -> PathBuf {
    run_dir.join("wireguard.lock")
}

pub(super) fn log_path(run_dir: &Path) -> PathBuf {
    run_dir.join("wireguard.log")
}

/// Allows this process as many descriptors as it may have: a thousand interfaces need eight thousand in
/// the helper and two thousand in the daemon; the usual limit is 1024.
pub(super) fn allow_descriptors() {
    // Without it there are fewer interfaces.
    let _ = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
}

pub(super) fn make_run_dir(run_dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(run_dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_keep_their_form_and_unknown_ones_are_told_from_noise() {
        let parse = serde_json::from_str::<Request>;
        let create = r#"{"op":"create","name":"sw-1","mtu":1420}"#;
        assert!(matches!(parse(create), Ok(Request::Create { mtu: 1420, .. })));
        assert!(matches!(parse(r#"{"op":"stop","more":1}"#), Ok(Request::Stop)));
        assert!(matches!(parse(r#"{"op":"rename"}"#), Ok(Request::Unknown)));
        assert!(parse(r#"{"op":"create","name":"a/b","mtu":1420}"#).is_err());
        assert_eq!(serde_json::to_string(&Request::List).unwrap(), r#"{"op":"list"}"#);
    }
}
