//! Who belongs to the network: this node's papers, the certificates of others, the network state;
//! how they are fetched, passed on and withdrawn.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sixwire_proto::certificate::{Certificate, Chain};
use sixwire_proto::envelope::DocumentError;
use sixwire_proto::keys::PublicKey;
use sixwire_proto::peer::{Answer, Refusal, Request};
use sixwire_proto::router_id::RouterId;
use sixwire_proto::state::NetworkState;
use tokio::sync::{Semaphore, mpsc, watch};
use tracing::{info, warn};

use super::mailbox::Mailbox;
use super::roster::{Learnt, Roster};
use super::routing;
use super::signalling::{self, Membership, Signalling};
use super::store::Store;
use super::tally::Tally;

/// The members of the network, as far as this node knows them.
pub(super) struct Members {
    root: PublicKey,
    own: RouterId,
    store: Store,
    now: signalling::Clock,
    membership: watch::Sender<Arc<Membership>>,
    state: Mutex<Chain>,
    roster: Mutex<Roster>,
    routing: mpsc::Sender<routing::Command>,
    fetches: Semaphore,
    standings: Mailbox<Standings>,
    tally: Tally,
}

/// Nodes whose standing has changed.
pub(super) type Standings = BTreeMap<RouterId, Standing>;

/// Whether a node may have tunnels with us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its certificate holds.
    Member,
    /// It is revoked, or has expired.
    Out,
}

/// A neighbour that can be asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Informant {
    /// Who.
    pub(super) node: RouterId,
    /// Where, if no connection exists.
    pub(super) address: SocketAddr,
}

/// Why a document from a peer changed nothing.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error(transparent)]
    Call(#[from] signalling::CallError),
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error("it does not know it")]
    Unknown,
    #[error("it sent the certificate of {0} instead")]
    OtherNode(RouterId),
    #[error("it sent one of epoch {0}, older than ours of epoch {1}")]
    OlderState(u64, u64),
    #[error("too many questions are under way")]
    Busy,
}

impl Members {
    /// Members known at start: this node alone.
    ///
    /// # Errors
    /// [`DocumentError`] for a certificate of our own that is none.
    pub(super) fn new(
        store: Store,
        (membership, state): (watch::Sender<Arc<Membership>>, Chain),
        now: signalling::Clock,
        routing: mpsc::Sender<routing::Command>,
    ) -> Result<Self, DocumentError> {
        let papers = membership.borrow().clone();
        let (_, own) = papers.certificate.open::<Certificate>(&papers.root)?;
        let members = Self {
            root: papers.root,
            own: own.router_id(),
            store,
            now,
            membership,
            state: Mutex::new(state),
            roster: Mutex::new(Roster::new(papers.root)),
            routing,
            fetches: Semaphore::new(FETCHES),
            standings: Mailbox::default(),
            tally: Tally::new(),
        };
        // A tunnel to such a node may have been adopted.
        members.out(revoked(&papers.state));
        Ok(members)
    }

    /// Where changed standings arrive.
    #[must_use]
    pub(super) fn standings(&self) -> Mailbox<Standings> {
        self.standings.clone()
    }

    /// What was refused and taken over since the start, by label.
    #[must_use]
    pub(super) fn counters(&self) -> Vec<(&'static str, u64)> {
        self.tally.read()
    }

    /// The network state in force.
    #[must_use]
    pub(super) fn membership(&self) -> Arc<Membership> {
        self.membership.borrow().clone()
    }

    /// Tells when the membership changes.
    #[must_use]
    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Membership>> {
        self.membership.subscribe()
    }

    /// This node's certificate.
    ///
    /// # Errors
    /// [`DocumentError`] if it does not hold any more.
    pub(super) fn own_certificate(&self) -> Result<Certificate, DocumentError> {
        let papers = self.membership();
        papers.certificate.open(&self.root).map(|(_, certificate)| certificate)
    }

    /// The certificate of a node, if one is known that holds now.
    #[must_use]
    pub(super) fn certificate(&self, node: RouterId) -> Option<Certificate> {
        self.roster().get(node, (self.now)()).map(|member| member.certificate.clone())
    }

    /// Answers what other nodes ask about members; `None` if it is another kind of request.
    #[must_use]
    pub(super) fn answer(&self, request: &Request) -> Option<Answer> {
        match request {
            Request::StateGet => Some(Answer::State { state: self.state().clone() }),
            Request::CertGet { node } if *node == self.own => {
                Some(Answer::Cert { certificate: Some(self.membership().certificate.clone()) })
            }
            Request::CertGet { node } => {
                let chain = self.roster().get(*node, (self.now)()).map(|m| m.chain.clone());
                Some(Answer::Cert { certificate: chain })
            }
            _ => None,
        }
    }

    /// Enters a certificate that was verified in a connection, and tells the routing engine.
    pub(super) async fn met(&self, chain: &Chain) {
        if let Err(error) = self.learn(chain).await
            && self.tally.refuse(CERTIFICATES_REFUSED)
        {
            warn!(%error, "certificate of a peer refused");
        }
    }

    async fn learn(&self, chain: &Chain) -> Result<RouterId, DocumentError> {
        let papers = self.membership();
        let (node, learnt) = self.roster().learn(chain, &papers.state, (self.now)())?;
        match learnt {
            Learnt::New => {
                self.standings.amend(|standings| {
                    standings.insert(node, Standing::Member);
                });
                self.vouch(node).await;
            }
            Learnt::Nothing => {}
            Learnt::Full => warn!(%node, limit = Roster::LIMIT, "no room for its certificate"),
        }
        Ok(node)
    }

    /// Tells the routing engine what a node may announce.
    async fn vouch(&self, node: RouterId) {
        let Some(certificate) = self.certificate(node) else { return };
        let origin = routing::Command::Origin(node, certificate.prefixes().collect());
        // The routing task ends only with the daemon.
        let _ = self.routing.send(origin).await;
    }

    /// Finds out what a router-id may announce: from the roster, else from one neighbour after the
    /// other.
    pub(super) async fn origin_wanted(
        &self,
        node: RouterId,
        ask: &[Informant],
        signalling: &Signalling,
    ) {
        if self.certificate(node).is_some() {
            return self.vouch(node).await;
        }
        for informant in ask {
            match self.fetch_certificate(node, *informant, signalling).await {
                Ok(()) => return,
                Err(error) if self.tally.refuse(CERTIFICATES_REFUSED) => {
                    warn!(%node, from = %informant.node, %error, "no certificate for an announced node");
                }
                Err(_) => {}
            }
        }
    }

    /// Asks neighbours for newer certificates of nodes whose known ones end soon: they were renewed
    /// long ago, but nobody has met those nodes since.
    pub(super) async fn refresh(&self, ask: &[Informant], signalling: &Signalling) {
        let aging = self.roster().aging((self.now)());
        for node in aging.into_iter().take(FETCHES) {
            for informant in ask {
                if self.fetch_certificate(node, *informant, signalling).await.is_ok() {
                    break;
                }
            }
        }
    }

    async fn fetch_certificate(
        &self,
        node: RouterId,
        ask: Informant,
        signalling: &Signalling,
    ) -> Result<(), FetchError> {
        let _permit = self.fetches.try_acquire().map_err(|_| FetchError::Busy)?;
        let request = Request::CertGet { node };
        let reply = signalling.call(ask.node, &[ask.address], request, CALL_TIMEOUT).await?;
        let Answer::Cert { certificate: Some(chain) } = reply.answer else {
            return Err(FetchError::Unknown);
        };
        match self.learn(&chain).await? {
            learnt if learnt == node => Ok(()),
            other => Err(FetchError::OtherNode(other)),
        }
    }

    /// Fetches the state of a node that has a newer one.
    pub(super) async fn fetch_state(&self, from: RouterId, signalling: &Signalling) {
        if let Err(error) = self.try_fetch_state(from, signalling).await
            && self.tally.refuse(STATES_REFUSED)
        {
            warn!(%from, %error, "a newer network state was not taken over");
        }
    }

    async fn try_fetch_state(
        &self,
        from: RouterId,
        signalling: &Signalling,
    ) -> Result<(), FetchError> {
        let _permit = self.fetches.try_acquire().map_err(|_| FetchError::Busy)?;
        let reply = signalling.call(from, &[], Request::StateGet, CALL_TIMEOUT).await?;
        let Answer::State { state } = reply.answer else { return Err(FetchError::Unknown) };
        let epoch = state.open::<NetworkState>(&self.root)?.1.epoch;
        let ours = self.membership().state.epoch;
        if epoch < ours {
            return Err(FetchError::OlderState(epoch, ours));
        }
        Ok(self.take_state(state).await?)
    }

    /// Puts a network state in force if it holds and is newer than the present one.
    ///
    /// # Errors
    /// [`DocumentError`]; the present one stays in force.
    pub(super) async fn take_state(&self, chain: Chain) -> Result<(), DocumentError> {
        let state: NetworkState = chain.open_at(&self.root, (self.now)())?;
        let before = self.membership();
        if state.epoch <= before.state.epoch {
            return Ok(());
        }
        info!(epoch = state.epoch, "network state taken over");
        self.tally.add("states_taken_over");
        if let Err(error) = self.store.save_state(&chain) {
            warn!(%error, "the network state was not written; it holds until the next start");
        }
        *self.state() = chain;
        let out = self.roster().purge(&state, (self.now)());
        self.out(revoked(&state));
        self.membership.send_replace(Arc::new(Membership { state, ..(*before).clone() }));
        self.expel(out).await;
        Ok(())
    }

    /// Forgets nodes whose certificates have run out.
    pub(super) async fn purge(&self) {
        let papers = self.membership();
        let out = self.roster().purge(&papers.state, (self.now)());
        self.expel(out).await;
    }

    async fn expel(&self, out: Vec<(RouterId, DocumentError)>) {
        for (node, reason) in out {
            warn!(%node, %reason, "node is no member any more");
            // One that has expired may be renewed at any moment; its tunnels can wait for that.
            if !matches!(reason, DocumentError::Expired(..)) {
                self.out([node]);
            }
            // The routing task ends only with the daemon.
            let _ = self.routing.send(routing::Command::OriginGone(node)).await;
        }
    }

    fn out(&self, nodes: impl IntoIterator<Item = RouterId>) {
        self.standings.amend(|standings| {
            standings.extend(nodes.into_iter().map(|node| (node, Standing::Out)));
        });
    }

    /// Puts a renewed certificate of this node in force.
    ///
    /// # Errors
    /// [`DocumentError`]; the present one stays in force.
    pub(super) fn take_certificate(&self, chain: Chain) -> Result<(), DocumentError> {
        let certificate = chain.certificate_at(&self.root, (self.now)())?;
        if certificate.router_id() != self.own {
            return Err(DocumentError::Malformed("node certificate", "of another node".to_owned()));
        }
        if let Err(error) = self.store.save_certificate(&chain) {
            warn!(%error, "the renewed certificate was not written; it holds until the next start");
        }
        let before = self.membership();
        let after = Membership { certificate: chain, ..(*before).clone() };
        self.membership.send_replace(Arc::new(after));
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, Chain> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nodes that are out for good, whatever their certificate; also those never met.
fn revoked(state: &NetworkState) -> Vec<RouterId> {
    state.revoked_keys.iter().filter_map(|key| key.router_id().ok()).collect()
}

/// The answer to a request this node does not serve.
#[must_use]
pub(super) fn refused(reason: Refusal) -> Answer {
    Answer::Refused { reason, text: reason.to_string() }
}

const CERTIFICATES_REFUSED: &str = "certificates_refused";
const STATES_REFUSED: &str = "states_refused";
/// One question to a neighbour.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Questions about members under way at once; the routing engine asks again for what was refused.
const FETCHES: usize = 32;
