//! Our router-id and sequence number, kept over restarts if there is a file for them.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use sixwire_proto::router_id::RouterId;
use sixwire_proto::seqno::Seqno;
use tracing::error;

use crate::babel::LinkStart;
use crate::daemon::store::file;

/// Who we are.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// Our router-id.
    pub(super) router_id: RouterId,
    /// The first sequence number to announce.
    pub(super) seqno: Seqno,
    /// What neighbours may still know of us.
    pub(super) start: LinkStart,
    /// The number in the file: none as new as it was announced.
    reserved: Seqno,
    file: Option<PathBuf>,
}

/// What the file holds.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    router_id: RouterId,
    seqno: Seqno,
}

impl Identity {
    /// The one that is given, kept, or made now; in the file from here on.
    ///
    /// # Errors
    /// When the file makes no sense or cannot be written.
    pub(super) fn take(given: Option<RouterId>, file: Option<&Path>) -> anyhow::Result<Self> {
        let file = file.map(std::path::absolute).transpose()?;
        let kept = file.as_deref().map(read).transpose()?.flatten();
        let kept = kept.filter(|kept| given.is_none_or(|given| given == kept.router_id));
        let (router_id, seqno, start) = match (kept, given) {
            (Some(kept), _) => (kept.router_id, kept.seqno.next(), LinkStart::Resumed),
            (None, Some(given)) => (given, Seqno::default(), LinkStart::Fresh),
            (None, None) => (random_router_id()?, Seqno::default(), LinkStart::Fresh),
        };
        let identity = Self { router_id, seqno, start, reserved: seqno.plus(SEQNO_BLOCK), file };
        identity.write()?;
        Ok(identity)
    }

    /// Keeps a sequence number before it is announced. Numbers are reserved in blocks: whoever asks for newer
    /// ones must not cause a write each time.
    pub(super) fn keep(&mut self, seqno: Seqno) {
        if self.reserved.is_newer_than(seqno) {
            return;
        }
        self.reserved = seqno.plus(SEQNO_BLOCK);
        if let Err(error) = self.write() {
            error!(
                "sequence number not kept, so after a restart others may refuse our routes for \
                    some minutes: {error:#}"
            );
        }
    }

    fn write(&self) -> anyhow::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut octets =
            serde_json::to_vec(&Kept { router_id: self.router_id, seqno: self.reserved })?;
        octets.push(b'\n');
        Ok(file::replace(file, &octets)?)
    }
}

fn read(file: &Path) -> anyhow::Result<Option<Kept>> {
    let Some(text) = file::read(file)? else { return Ok(None) };
    let kept = serde_json::from_str(&text).with_context(|| {
        let file = file.display();
        format!("the state file {file} is damaged: remove it to start with a new router-id")
    })?;
    Ok(Some(kept))
}

fn random_router_id() -> anyhow::Result<RouterId> {
    loop {
        let octets = getrandom::u64().context("the system has no randomness to give")?;
        // Two values are reserved.
        if let Ok(router_id) = RouterId::new(octets.to_be_bytes()) {
            return Ok(router_id);
        }
    }
}

/// How many sequence numbers are reserved in the file at once.
const SEQNO_BLOCK: u16 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_identity_comes_back_with_a_newer_seqno() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state");
        let mut first = Identity::take(None, Some(&file)).unwrap();
        assert_eq!(first.start, LinkStart::Fresh);
        first.keep(Seqno(41));
        let second = Identity::take(None, Some(&file)).unwrap();
        assert_eq!(second.router_id, first.router_id);
        assert!(second.seqno.is_newer_than(Seqno(41)));
        assert_eq!(second.start, LinkStart::Resumed);
        let other: RouterId = "0123456789abcdef".parse().unwrap();
        let third = Identity::take(Some(other), Some(&file)).unwrap();
        assert_eq!((third.router_id, third.start), (other, LinkStart::Fresh));
    }

    #[test]
    fn numbers_are_written_in_blocks_and_none_is_announced_that_was_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state");
        let mut identity = Identity::take(None, Some(&file)).unwrap();
        let (mut writes, mut last) = (0, read(&file).unwrap().unwrap().seqno);
        for seqno in 1..=160 {
            identity.keep(Seqno(seqno));
            let kept = read(&file).unwrap().unwrap().seqno;
            assert!(kept.is_newer_than(Seqno(seqno)));
            writes += usize::from(kept != last);
            last = kept;
        }
        assert_eq!(writes, 10);
    }

    #[test]
    fn a_damaged_file_is_named_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state");
        std::fs::write(&file, "{").unwrap();
        let refused = format!("{:#}", Identity::take(None, Some(&file)).unwrap_err());
        assert!(refused.contains("damaged") && refused.contains("state"), "{refused}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "{");
    }
}
