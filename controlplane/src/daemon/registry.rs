//! Keeps in touch with the registry: peers, network state, renewal. Nothing here is needed for
//! traffic to flow.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sixwire_proto::keys::SecretKey;
use sixwire_proto::peer::PeerRecord;
use sixwire_proto::registry::Presence;
use sixwire_proto::seed::Seed;
use sixwire_proto::time::Timestamp;
use tokio::time::Instant;
use tracing::{info, warn};

use super::clock::{Clock, Reading};
use super::members::Members;
use super::registry_client::{Caller, RegistryClient, RegistryError};
use super::store::Store;

/// The registry, as the daemon uses it.
pub(super) struct RegistrySync {
    client: RegistryClient,
    key: SecretKey,
    members: Arc<Members>,
    clock: Arc<Mutex<Clock>>,
    store: Store,
    contact: Mutex<Contact>,
}

/// How the last calls went.
#[derive(Clone, Debug, Default)]
pub(super) struct Contact {
    /// When the registry answered last.
    pub(super) last_success: Option<Timestamp>,
    /// Why it did not answer since, if so.
    pub(super) last_error: Option<String>,
}

impl RegistrySync {
    /// A registry that was not called yet.
    #[must_use]
    pub(super) fn new(
        (client, key): (RegistryClient, SecretKey),
        members: Arc<Members>,
        clock: Arc<Mutex<Clock>>,
        store: Store,
    ) -> Self {
        Self { client, key, members, clock, store, contact: Mutex::default() }
    }

    /// `HOST:PORT`.
    #[must_use]
    pub(super) fn place(&self) -> String {
        self.client.place()
    }

    /// How the last calls went.
    #[must_use]
    pub(super) fn contact(&self) -> Contact {
        self.contact.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells where this node is, and learns whom to dial; `None` when the registry does not answer.
    pub(super) async fn peers(&self, presence: &Presence) -> Option<Vec<PeerRecord>> {
        let answer = self.note(self.client.peers(self.caller(), presence).await)?;
        self.believe(answer.time);
        if answer.epoch > self.members.membership().state.epoch {
            self.fetch_state().await;
        }
        Some(answer.peers)
    }

    /// Looks after the certificate and the state for ever. Nodes that have all the tunnels they want
    /// ask the registry for nothing else: without this, no change of the state would reach them.
    pub(super) async fn maintain(&self, mut seed: Seed) {
        loop {
            self.renew_if_due().await;
            self.fetch_state().await;
            let next = Instant::now() + seed.between(MAINTENANCE_LEAST, MAINTENANCE_MOST);
            while Instant::now() < next {
                self.members.purge().await;
                tokio::time::sleep(PURGE).await;
            }
        }
    }

    async fn fetch_state(&self) {
        let Some(state) = self.note(self.client.state(self.caller()).await) else { return };
        if let Err(error) = self.members.take_state(state).await {
            warn!(%error, "the registry's network state was refused");
        }
    }

    async fn renew_if_due(&self) {
        let Ok(certificate) = self.members.own_certificate() else { return };
        let life = certificate.not_before.until(certificate.not_after);
        if self.now().until(certificate.not_after) > life / 3 {
            return;
        }
        let Some(answer) = self.note(self.client.renew(self.caller()).await) else { return };
        self.believe(answer.time);
        if let Err(error) = self.members.take_state(answer.state).await {
            warn!(%error, "the registry's network state was refused");
        }
        match self.members.take_certificate(answer.certificate) {
            Ok(()) => info!("certificate renewed"),
            Err(error) => warn!(%error, "the renewed certificate was refused"),
        }
    }

    /// Remembers how a call went.
    fn note<T>(&self, result: Result<T, RegistryError>) -> Option<T> {
        let mut contact = self.contact.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(value) => {
                if contact.last_error.is_some() {
                    info!(registry = %self.place(), "the registry answers again");
                }
                *contact = Contact { last_success: Some(self.now()), last_error: None };
                Some(value)
            }
            Err(error) => {
                let text = error.to_string();
                // One line per change: a registry that stays away says nothing new.
                if contact.last_error.as_ref() != Some(&text) {
                    warn!(registry = %self.place(), %error, "registry call failed; going on without");
                }
                contact.last_error = Some(text);
                None
            }
        }
    }

    /// Takes the registry's time, and keeps it for the next start.
    fn believe(&self, time: Timestamp) {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        clock.learn(time, Reading::take());
        if let Err(error) = self.store.save_clock_floor(clock.floor()) {
            warn!(%error, "the time was not written");
        }
    }

    fn caller(&self) -> Caller<'_> {
        Caller { key: &self.key, time: self.now() }
    }

    fn now(&self) -> Timestamp {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner).now()
    }
}

/// Between two looks at the certificates of others: an expired one holds no longer than that.
const PURGE: Duration = Duration::from_secs(60);
/// Between two looks at our own certificate and the state: an hour, spread so that nodes do not call in
/// step.
const MAINTENANCE_LEAST: Duration = Duration::from_secs(45 * 60);
const MAINTENANCE_MOST: Duration = Duration::from_secs(75 * 60);
