//! MAC authentication (RFC 8967, RFC 9467): what is checked of a packet before it is read, and what is
//! added to one before it leaves.
//!
//! Counters are given out here, in the order of the outputs; MACs are made by whoever sends
//! ([`Packet::seal`]), because they cover transmit times that nobody knows before. A packet that waits to
//! be sent carries the keys, so that keys may be replaced at any moment.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sixwire_proto::babel::{
    Destination, MacError, MacKey, MacTlv, PACKET_COUNTER_ROOM, Packet, PseudoHeader, Signing,
    Writer, mac_room, mac_tlvs, verify,
};
use sixwire_proto::link::LinkId;
use sixwire_proto::seed::Seed;
use sixwire_proto::time::Instant;

use super::Babel;
use super::challenge::{Challenges, Nonce};
use super::counter::{Done, DropReason};
use super::input::LinkStart;
use super::packet::Arrival;
use super::packet_counter::{CounterWindow, Stale};
use super::view::Authenticity;

/// The keys of a link, and what they are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentication {
    keys: Arc<[MacKey]>,
    unauthenticated: Unauthenticated,
}

/// What is done with packets that do not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unauthenticated {
    /// They are dropped.
    Refuse,
    /// They are taken all the same, while keys are being rolled out (RFC 8967 §5).
    Accept,
}

/// Too few or too many keys for a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a link has 1 to {GREATEST_KEYS} keys, not {0}")]
pub struct KeyCountError(pub usize);

impl Authentication {
    /// Signs with all of `keys`, and believes what any of them has signed.
    ///
    /// # Errors
    /// [`KeyCountError`] for none, and for more than eight.
    pub fn new(keys: Vec<MacKey>, unauthenticated: Unauthenticated) -> Result<Self, KeyCountError> {
        if !(1..=GREATEST_KEYS).contains(&keys.len()) {
            return Err(KeyCountError(keys.len()));
        }
        Ok(Self { keys: keys.into(), unauthenticated })
    }

    /// The same with other keys, one for each.
    pub(super) fn with_keys(&self, keys: impl Iterator<Item = MacKey>) -> Self {
        Self { keys: keys.collect(), unauthenticated: self.unauthenticated }
    }

    pub(super) fn keys(&self) -> &[MacKey] {
        &self.keys
    }

    pub(super) fn unauthenticated(&self) -> Unauthenticated {
        self.unauthenticated
    }
}

/// A link that is authenticated.
#[derive(Debug)]
pub(super) struct Guard {
    authentication: Authentication,
    /// Names the run of counters; eight octets that are new, as a [`Nonce`] is.
    index: [u8; 8],
    /// The counter of the next packet.
    counter: u32,
    peers: BTreeMap<Ipv6Addr, Peer>,
}

/// Who has sent something signed: apart from the neighbour table, which only what passed gets into.
#[derive(Debug)]
struct Peer {
    challenges: Challenges,
    proven: Option<Proven>,
}

/// The run of counters that a reply to a challenge came with.
#[derive(Debug)]
struct Proven {
    /// At most 32 octets.
    index: Vec<u8>,
    multicast: CounterWindow,
    unicast: CounterWindow,
    /// When it is forgotten, unless something passes before.
    expires: Instant,
}

/// A packet's counter, its index, and what else is said ahead of its contents.
#[derive(Default)]
struct Said<'a> {
    counter: Option<(u32, &'a [u8])>,
    request: Option<&'a [u8]>,
    proof: Proof,
}

/// Whether a packet replies to our challenge.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Proof {
    #[default]
    Absent,
    Given,
}

/// Why a packet does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Mac(MacError),
    NoCounter,
    UnknownIndex,
    StaleCounter,
    TooManyPeers,
}

/// The outcome of a check, and what is to be said to the sender in return.
struct Checked<'a> {
    verdict: Result<(), Refusal>,
    reply: Option<&'a [u8]>,
    request: Option<Nonce>,
}

impl Guard {
    fn new(authentication: Authentication, seed: &mut Seed) -> Self {
        let index = seed.next_u64().to_be_bytes();
        Self { authentication, index, counter: 0, peers: BTreeMap::new() }
    }

    /// Gives a packet its counter, and the keys to sign it with (RFC 8967 §4.2).
    fn sign(&mut self, packet: &mut Packet, header: PseudoHeader, seed: &mut Seed) {
        let (counter, index) = (self.counter, &self.index);
        packet.append(&MacTlv::PacketCounter { counter, index });
        packet.signing = Some(Signing { keys: Arc::clone(&self.authentication.keys), header });
        match counter.checked_add(1) {
            Some(next) => self.counter = next,
            None => (self.index, self.counter) = (seed.next_u64().to_be_bytes(), 0),
        }
    }

    /// Octets of each packet that are not for its contents.
    fn room(&self) -> usize {
        PACKET_COUNTER_ROOM + mac_room(&self.authentication.keys)
    }

    /// Checks a packet (RFC 8967 §4.3).
    fn check<'a>(
        &mut self,
        (bytes, header): (&'a [u8], PseudoHeader),
        now: Instant,
        seed: &mut Seed,
        most_peers: usize,
    ) -> Checked<'a> {
        let refused = |refusal| Checked { verdict: Err(refusal), reply: None, request: None };
        if let Err(error) = verify(bytes, header, &self.authentication.keys) {
            return refused(Refusal::Mac(error));
        }
        let Some(peer) = self.peer(header.source, now, most_peers) else {
            return refused(Refusal::TooManyPeers);
        };
        let said = peer.preparse(bytes, header.destination, now);
        let verdict = peer.judge(&said, header.destination, now);
        // What was seen before is no reason to speak.
        let asked = said.request.filter(|_| verdict != Err(Refusal::StaleCounter));
        let reply = asked.filter(|_| peer.challenges.take_reply(now));
        let unknown = verdict == Err(Refusal::UnknownIndex);
        let request = unknown.then(|| peer.challenges.request(now, seed)).flatten();
        Checked { verdict, reply, request }
    }

    /// The peer with this address; a new one if there is room, for which one that has proven nothing
    /// gives way.
    fn peer(&mut self, address: Ipv6Addr, now: Instant, most: usize) -> Option<&mut Peer> {
        if !self.peers.contains_key(&address) && self.peers.len() >= most {
            self.peers.retain(|_, peer| peer.is_proven(now) || peer.challenges.is_pending(now));
            if self.peers.len() >= most {
                let unproven = self.peers.iter().find(|(_, peer)| !peer.is_proven(now));
                let (address, _) = unproven?;
                self.peers.remove(&address.clone());
            }
        }
        let fresh = || Peer { challenges: Challenges::none(now), proven: None };
        Some(self.peers.entry(address).or_insert_with(fresh))
    }

    /// Whether what this address sends is known to be new.
    fn authenticity(&self, address: Ipv6Addr, now: Instant) -> Authenticity {
        match self.peers.get(&address) {
            Some(peer) if peer.is_proven(now) => Authenticity::Authenticated,
            _ => Authenticity::Unauthenticated,
        }
    }
}

impl Peer {
    fn is_proven(&self, now: Instant) -> bool {
        self.proven.as_ref().is_some_and(|proven| now < proven.expires)
    }

    /// Reads what the protocol says of itself: of several counters the first, of several challenges the
    /// last, and none that was sent to the group (RFC 8967 §4.3, §4.3.1.2).
    fn preparse<'a>(&mut self, bytes: &'a [u8], to: Destination, now: Instant) -> Said<'a> {
        let mut said = Said::default();
        // It was taken apart once already, for its MAC.
        for tlv in mac_tlvs(bytes).into_iter().flatten() {
            match tlv {
                MacTlv::PacketCounter { counter, index } => {
                    said.counter.get_or_insert((counter, index));
                }
                MacTlv::ChallengeRequest(nonce) if to != Destination::Multicast => {
                    said.request = Some(nonce);
                }
                MacTlv::ChallengeReply(nonce) if self.challenges.is_passed_by(nonce, now) => {
                    said.proof = Proof::Given;
                }
                MacTlv::ChallengeRequest(_) | MacTlv::ChallengeReply(_) => {}
            }
        }
        said
    }

    /// Whether a packet is new. The kinds of destination are counted apart (RFC 9467 §3.1).
    fn judge(&mut self, said: &Said<'_>, to: Destination, now: Instant) -> Result<(), Refusal> {
        let (counter, index) = said.counter.ok_or(Refusal::NoCounter)?;
        let expires = now + MEMORY;
        if said.proof == Proof::Given {
            let window = CounterWindow::above(counter);
            let (multicast, unicast) = (window, window);
            self.proven = Some(Proven { index: index.to_vec(), multicast, unicast, expires });
            return Ok(());
        }
        let known = self.proven.as_mut().filter(|one| one.index == index && now < one.expires);
        let proven = known.ok_or(Refusal::UnknownIndex)?;
        let window = match to {
            Destination::Multicast => &mut proven.multicast,
            Destination::Unicast(_) => &mut proven.unicast,
        };
        window.accept(counter).map_err(|Stale| Refusal::StaleCounter)?;
        proven.expires = expires;
        Ok(())
    }
}

impl Babel {
    /// Gives a link keys, replaces them, or takes them away. What neighbours have proven stays proven.
    pub(super) fn set_authentication(&mut self, link: LinkId, wanted: Option<&Authentication>) {
        match (self.guards.get_mut(&link), wanted) {
            (_, None) => {
                self.guards.remove(&link);
            }
            (Some(guard), Some(wanted)) => guard.authentication = wanted.clone(),
            (None, Some(wanted)) => {
                self.guards.insert(link, Guard::new(wanted.clone(), &mut self.seed));
            }
        }
    }

    /// Forgets what was proven on a link.
    pub(super) fn forget_peers(&mut self, link: LinkId) {
        if let Some(guard) = self.guards.get_mut(&link) {
            guard.peers.clear();
        }
    }

    /// Checks a packet on a link that has keys, and speaks to its sender as the protocol wants.
    pub(super) fn authenticate(&mut self, from: Arrival, bytes: &[u8]) -> Result<(), Refusal> {
        let (now, most) = (self.now, self.params.limits.neighbours_per_link);
        let Some(guard) = self.guards.get_mut(&from.link) else { return Ok(()) };
        let header = PseudoHeader { source: from.source, destination: from.destination };
        let checked = guard.check((bytes, header), now, &mut self.seed, most);
        let unauthenticated = guard.authentication.unauthenticated;
        self.answer_check(from, &checked);
        match (checked.verdict, unauthenticated) {
            (Err(_), Unauthenticated::Accept) => {
                self.counters_mut().done(Done::UnauthenticatedAccepted);
                Ok(())
            }
            (verdict, _) => verdict,
        }
    }

    /// Replies and challenges, ahead of everything else: whoever asks drops all we say before
    /// (RFC 8967 §4.3.1.2).
    fn answer_check(&mut self, from: Arrival, checked: &Checked<'_>) {
        let mut packet = Packet::empty();
        if let Some(nonce) = checked.reply {
            packet.append(&MacTlv::ChallengeReply(nonce));
            self.counters_mut().done(Done::ChallengeAnswered);
        }
        if let Some(nonce) = &checked.request {
            packet.append(&MacTlv::ChallengeRequest(nonce));
            self.counters_mut().done(Done::ChallengeSent);
        }
        if packet != Packet::empty() {
            self.transmit(from.link, Destination::Unicast(from.source), packet);
        }
        if checked.reply.is_some() {
            self.say_again(from);
        }
    }

    /// Says again what a challenger has dropped so far: Hello, and to one we have not met yet, that what
    /// we announced in an earlier life is void. With one we have met, things go on.
    fn say_again(&mut self, to: Arrival) {
        let Some(start) = self.links.get(&to.link).map(|link| link.params.start) else { return };
        if start == LinkStart::Fresh && self.neighbours.at(to.link, to.source).is_none() {
            let retraction = self.wildcard_retraction();
            self.outbox.control(to.link, Destination::Unicast(to.source), retraction);
        }
        self.greet(to.link);
    }

    /// Hands a packet out, signed if the link has keys.
    pub(super) fn transmit(&mut self, link: LinkId, to: Destination, mut packet: Packet) {
        let own = self.links.get(&link).map(super::link::Link::address);
        if let Some(guard) = self.guards.get_mut(&link) {
            let Some(source) = own else { return };
            guard.sign(&mut packet, PseudoHeader { source, destination: to }, &mut self.seed);
        }
        self.outbox.send(link, to, packet);
    }

    /// A writer of packets for a link, with room for what is added to them.
    pub(super) fn writer(&self, link: LinkId, (limit, source): (usize, Ipv6Addr)) -> Writer {
        let room = self.guards.get(&link).map_or(0, Guard::room);
        Writer::new(limit, source).leaving(room)
    }

    /// What is known of a neighbour.
    pub(super) fn authenticity(&self, link: LinkId, address: Ipv6Addr) -> Authenticity {
        let guard = self.guards.get(&link);
        guard.map_or(Authenticity::Unneeded, |guard| guard.authenticity(address, self.now))
    }
}

impl Refusal {
    /// What it counts as.
    pub(super) fn reason(self) -> DropReason {
        match self {
            Self::Mac(MacError::Packet(_)) => DropReason::BadPacket,
            Self::Mac(MacError::NoMac) => DropReason::NoMac,
            Self::Mac(MacError::WrongMac) => DropReason::WrongMac,
            Self::NoCounter => DropReason::NoPacketCounter,
            Self::UnknownIndex => DropReason::UnknownIndex,
            Self::StaleCounter => DropReason::StalePacketCounter,
            Self::TooManyPeers => DropReason::TooManyNeighbours,
        }
    }
}

/// Eight: more than a rotation needs, and the MACs leave most of a packet to its contents.
const GREATEST_KEYS: usize = 8;
/// How long counters are kept after the last packet that passed (RFC 8967 §4.4).
const MEMORY: Duration = Duration::from_mins(5);

#[cfg(test)]
mod tests;
