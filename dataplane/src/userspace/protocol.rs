//! What daemon and helper say to each other: a JSON line each way.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};

use crate::model::IfName;

/// A request. New ones may come; those here keep their meaning, for a newer daemon may find an older
/// helper at work.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub(super) enum Request {
    /// Make an interface.
    Create { name: IfName, mtu: u32 },
    /// Delete one.
    Delete { name: IfName },
    /// Name all.
    List,
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

pub(super) fn make_run_dir(run_dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(run_dir)
}

/// The line that says it.
pub(super) fn line(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// Reads a line; `None` at the end.
pub(super) async fn read<T: DeserializeOwned>(
    stream: &mut BufReader<impl AsyncRead + Unpin>,
) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    if stream.take(LONGEST_LINE).read_until(b'\n', &mut line).await? == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

/// Octets; the names of 3000 interfaces.
const LONGEST_LINE: u64 = 64 << 10;

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
        assert_eq!(line(&Request::List).unwrap(), b"{\"op\":\"list\"}\n");
    }
}
