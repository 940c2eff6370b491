//! Links whose socket could not be opened: the port is taken, or the interface has not settled yet.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use sixwire_proto::link::LinkId;
use tokio::time::{Instant, sleep_until};

use crate::babel::LinkParams;

/// Links to be tried again.
#[derive(Debug, Default)]
pub(super) struct Unopened {
    links: BTreeMap<LinkId, LinkParams>,
    due: Option<Instant>,
}

impl Unopened {
    /// Keeps a link for later.
    pub(super) fn insert(&mut self, link: LinkId, params: LinkParams) {
        self.links.insert(link, params);
        self.due.get_or_insert_with(|| Instant::now() + RETRY);
    }

    /// Forgets a link.
    pub(super) fn remove(&mut self, link: LinkId) {
        self.links.remove(&link);
    }

    /// Notes our IPv4 address on a link, if it is one of these.
    pub(super) fn set_v4(&mut self, link: LinkId, v4: Option<Ipv4Addr>) {
        if let Some(params) = self.links.get_mut(&link) {
            params.v4 = v4;
        }
    }

    /// Waits until links are to be tried again; for ever if there are none.
    pub(super) async fn due(&self) {
        match self.due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    /// Takes all out, to be tried.
    pub(super) fn take(&mut self) -> BTreeMap<LinkId, LinkParams> {
        self.due = None;
        std::mem::take(&mut self.links)
    }
}

/// Time between two attempts.
const RETRY: Duration = Duration::from_secs(2);
