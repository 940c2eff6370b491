//! What happens to interfaces, addresses and routes behind our back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::sys::{AsyncSocket as _, SocketAddr};
use rtnetlink::{Handle, MulticastGroup};
use sixwire_proto::link::LinkId;
use sixwire_proto::prefix::Prefix;
use socket2::{SockFilter, SockRef};
use tokio::sync::mpsc;

use super::Netlink;
use super::address::Address;
use super::link::{Link, LinkState, links};
use super::route::{OwnRoute, RTM_DELROUTE, RTM_NEWROUTE, Table};
use crate::error::Error;
use crate::model::{Family, IfName, RouteKey};

/// Something that happened. An event says where to look again; one too many does no harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelEvent {
    /// An interface, ours or not, became usable, or appeared so.
    LinkUp {
        /// Its index.
        link: LinkId,
        /// Its name.
        name: IfName,
    },
    /// An interface was switched off or lost its carrier.
    LinkDown {
        /// Its index.
        link: LinkId,
        /// Its name.
        name: IfName,
    },
    /// An interface was deleted. Its routes and addresses went with it, told apart or not.
    LinkGone {
        /// The index it had.
        link: LinkId,
        /// The name it had.
        name: IfName,
    },
    /// A tunnel has another MTU than it was given.
    MtuChanged {
        /// Its index.
        link: LinkId,
        /// Its name.
        name: IfName,
    },
    /// An interface has a new address: an uplink perhaps.
    AddressAdded {
        /// The interface.
        link: LinkId,
        /// The address.
        address: IpAddr,
    },
    /// An interface lost an address.
    AddressGone {
        /// The interface.
        link: LinkId,
        /// The address.
        address: IpAddr,
    },
    /// Somebody else removed a route of ours.
    RouteGone(RouteKey),
    /// Somebody else removed an unreachable route of ours.
    UnreachableGone(Prefix),
    /// Somebody else removed a policy rule of ours.
    RuleGone,
    /// Somebody else, or the kernel, removed a next-hop object of ours, and all routes that name it.
    ObjectGone(u32),
    /// Somebody else changed our nftables table, or one of its name.
    GuardsChanged,
    /// The kernel forwards packets of a family no more, all or those of one interface.
    ForwardingOff(Family),
    /// The embedded WireGuard helper died and was started again. Interfaces stayed; sessions are made
    /// anew. Of those it could not carry on with, the end is told apart.
    HelperRestarted {
        /// Tunnels it carries on.
        tunnels: usize,
    },
    /// Events were lost: observe everything anew.
    Overrun,
}

/// The events of a data plane, in order. When they are not taken in time, the surplus is dropped and
/// [`KernelEvent::Overrun`] stands for it. Watching ends when this is dropped.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<KernelEvent>);

impl Events {
    /// The next event; `None` when there will be no more, because the [`Dataplane`](crate::Dataplane) is gone. Can be cancelled without losing any.
    pub async fn next(&mut self) -> Option<KernelEvent> {
        self.0.recv().await
    }
}

/// Interfaces that we are removing: their end is no news.
#[derive(Clone, Debug, Default)]
pub(crate) struct Removing(Arc<Mutex<BTreeSet<LinkId>>>);

impl Removing {
    pub(crate) fn insert(&self, link: LinkId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(link);
    }

    fn contains(&self, link: LinkId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&link)
    }

    pub(crate) fn forget(&self, link: LinkId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&link)
    }
}

/// The MTU that each tunnel was given: another one is news.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mtus(Arc<Mutex<BTreeMap<LinkId, u32>>>);

impl Mtus {
    /// It is given this one.
    pub(crate) fn give(&self, link: LinkId, mtu: u32) {
        self.all().insert(link, mtu);
    }

    /// It was found with this one; what it was given counts more.
    pub(crate) fn adopt(&self, link: LinkId, mtu: u32) {
        self.all().entry(link).or_insert(mtu);
    }

    pub(crate) fn of(&self, link: LinkId) -> Option<u32> {
        self.all().get(&link).copied()
    }

    fn forget(&self, link: LinkId) {
        self.all().remove(&link);
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<LinkId, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of our own tunnels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ours {
    pub(crate) removing: Removing,
    pub(crate) mtus: Mtus,
}

/// Makes the channel that all events go through.
pub(crate) fn channel() -> (mpsc::Sender<KernelEvent>, Events) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (sender, Events(receiver))
}

/// Starts to watch. What happens from now on is told; what `requests` does is not.
pub(crate) async fn start(
    requests: &Netlink,
    table: Table,
    ours: Ours,
    events: mpsc::Sender<KernelEvent>,
) -> Result<(), Error> {
    let news = RouteNews::RemovedByOthers { of: table.protocol, not_by: requests.ports() };
    let mut subscription = Subscription::open(news)?;
    let known = links(requests).await?.into_iter().map(|l| (l.id, (l.name, l.state))).collect();
    let mut watcher = Watcher { table, ours, known };
    let listener = events.clone();
    let mut outbox = Outbox::new(events);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                message = subscription.messages.next() => match message {
                    Some((message, _)) => outbox.put(watcher.event(&message)),
                    None => {
                        let open = || Subscription::open(news).map_err(|error| error.to_string());
                        let Some(anew) = reopened(open, &listener).await else { return };
                        subscription = anew;
                        outbox.put(Some(KernelEvent::Overrun));
                    }
                },
                () = outbox.tell_loss(), if outbox.lost => {}
                () = listener.closed() => return,
            }
        }
    });
    Ok(())
}

/// Opens a socket for events anew, however long that takes; `None` when nobody wants them any more.
pub(super) async fn reopened<T>(
    mut open: impl FnMut() -> Result<T, String>,
    events: &mpsc::Sender<KernelEvent>,
) -> Option<T> {
    let mut pause = REOPEN_LEAST;
    loop {
        // Before the first attempt as well: one that fails at once each time must not keep a processor busy.
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = events.closed() => return None,
        }
        match open() {
            Ok(anew) => return Some(anew),
            Err(error) => {
                pause = REOPEN_MOST.min(pause * 2);
                tracing::error!("no kernel events, trying again in {} s: {error}", pause.as_secs());
            }
        }
    }
}

/// A connection that gets events; its handle keeps it open.
pub(super) struct Subscription {
    pub(super) messages: BoxStream<'static, (NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
    _handle: Handle,
}

/// Which routes are told; the kernel leaves out the others, as nothing is so costly as the echo of a hundred
/// thousand routes of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RouteNews {
    /// The end of those `of` this protocol number, unless one of these ports asked for it.
    RemovedByOthers { of: u8, not_by: [u32; 2] },
    /// All but those with this protocol number.
    AllBut(u8),
}

impl RouteNews {
    /// A program for the kernel (`linux/filter.h`) that looks at type and port of the message, which it
    /// reads in network order, and at the protocol in `struct rtmsg`.
    fn filter(self) -> Vec<SockFilter> {
        let load = |size: u32, at: u32| {
            SockFilter::new(code(libc::BPF_LD | size | libc::BPF_ABS), 0, 0, at)
        };
        let jump = |value: u32, yes: u8, no: u8| {
            SockFilter::new(code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K), yes, no, value)
        };
        let give = |octets: u32| SockFilter::new(code(libc::BPF_RET | libc::BPF_K), 0, 0, octets);
        let kind = |kind: u16| u32::from(kind.to_be());
        let load_kind = load(libc::BPF_H, 4);
        let load_protocol = load(libc::BPF_B, 16 + 5);
        match self {
            Self::RemovedByOthers { of, not_by: [one, other] } => vec![
                load_kind,
                jump(kind(RTM_NEWROUTE), 7, 0),
                jump(kind(RTM_DELROUTE), 0, 5),
                load_protocol,
                jump(u32::from(of), 0, 4),
                load(libc::BPF_W, 12),
                jump(one.to_be(), 2, 0),
                jump(other.to_be(), 1, 0),
                give(u32::MAX),
                give(0),
            ],
            Self::AllBut(protocol) => vec![
                load_kind,
                jump(kind(RTM_NEWROUTE), 1, 0),
                jump(kind(RTM_DELROUTE), 0, 2),
                load_protocol,
                jump(u32::from(protocol), 1, 0),
                give(u32::MAX),
                give(0),
            ],
        }
    }
}

fn code(code: u32) -> u16 {
    u16::try_from(code).expect("a code of a filter has 16 bits")
}

impl Subscription {
    pub(super) fn open(news: RouteNews) -> Result<Self, Error> {
        let failed = |error| Error::kernel("open a netlink socket for events", error);
        let (mut connection, handle, messages) =
            rtnetlink::new_multicast_connection(&GROUPS).map_err(failed)?;
        let socket = connection.socket_mut().socket_mut();
        // Without the privilege for more the default buffer serves, and overruns are told.
        if setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            tracing::warn!("cannot enlarge the receive buffer of kernel events");
        }
        SockRef::from(&*socket).attach_filter(&news.filter()).map_err(failed)?;
        tokio::spawn(connection);
        Ok(Self { messages: messages.boxed(), _handle: handle })
    }
}

pub(super) struct Outbox {
    events: mpsc::Sender<KernelEvent>,
    pub(super) lost: bool,
}

impl Outbox {
    pub(super) fn new(events: mpsc::Sender<KernelEvent>) -> Self {
        Self { events, lost: false }
    }

    pub(super) fn put(&mut self, event: Option<KernelEvent>) {
        let Some(event) = event else { return };
        if self.lost || self.events.try_send(event).is_err() {
            self.lost = true;
        }
    }

    /// Waits for room, then says that events were lost.
    pub(super) async fn tell_loss(&mut self) {
        if self.events.send(KernelEvent::Overrun).await.is_ok() {
            self.lost = false;
        }
    }
}

struct Watcher {
    table: Table,
    ours: Ours,
    known: BTreeMap<LinkId, (IfName, LinkState)>,
}

impl Watcher {
    fn event(&mut self, message: &NetlinkMessage<RouteNetlinkMessage>) -> Option<KernelEvent> {
        match &message.payload {
            NetlinkPayload::Overrun(_) => Some(KernelEvent::Overrun),
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => self.changed(link),
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => self.gone(link),
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(message)) => {
                let Address { link, address, .. } = Address::from_message(message)?;
                Some(KernelEvent::AddressAdded { link, address })
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelAddress(message)) => {
                let Address { link, address, .. } = Address::from_message(message)?;
                let expected = self.ours.removing.contains(link);
                (!expected).then_some(KernelEvent::AddressGone { link, address })
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelRoute(message)) => {
                Some(match self.table.own(message)? {
                    OwnRoute::Mesh(key, _) => KernelEvent::RouteGone(key),
                    OwnRoute::Unreachable(prefix) => KernelEvent::UnreachableGone(prefix),
                })
            }
            _ => None,
        }
    }

    /// The kernel tells a link anew for every attribute that changes; only its state matters here.
    fn changed(&mut self, message: &LinkMessage) -> Option<KernelEvent> {
        let Link { id: link, name, state, mtu, .. } = Link::from_message(message)?;
        let before = self.known.insert(link, (name.clone(), state));
        let was_up = before.is_some_and(|(_, state)| state == LinkState::Up);
        let is_up = state == LinkState::Up;
        match (was_up, is_up) {
            (false, true) => Some(KernelEvent::LinkUp { link, name }),
            (true, false) if !self.ours.removing.contains(link) => {
                Some(KernelEvent::LinkDown { link, name })
            }
            _ if self.ours.mtus.of(link).is_some_and(|given| given != mtu) => {
                Some(KernelEvent::MtuChanged { link, name })
            }
            _ => None,
        }
    }

    fn gone(&mut self, message: &LinkMessage) -> Option<KernelEvent> {
        // A port that leaves a bridge is told as a deleted link of the bridge's family.
        if message.header.interface_family != AddressFamily::Unspec {
            return None;
        }
        let link = LinkId(message.header.index);
        let (name, _) = self.known.remove(&link)?;
        self.ours.mtus.forget(link);
        (!self.ours.removing.forget(link)).then_some(KernelEvent::LinkGone { link, name })
    }
}

/// What is watched.
const GROUPS: [MulticastGroup; 7] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv6Rule,
];
/// Octets; holds the events of 20 000 routes that change at once (measured: 8 MiB hold 13 000).
const RECEIVE_BUFFER: usize = 32 << 20;
/// The pause before a socket for events is opened anew, and what it grows to.
const REOPEN_LEAST: Duration = Duration::from_millis(500);
const REOPEN_MOST: Duration = Duration::from_secs(30);
/// Events that wait for the daemon.
const QUEUE: usize = 1024;

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::{LinkAttribute, LinkFlags};

    use super::*;

    fn link(flags: LinkFlags) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        message.header.flags = flags;
        message.attributes.push(LinkAttribute::IfName("eth0".to_owned()));
        message
    }

    fn told(watcher: &mut Watcher, message: RouteNetlinkMessage) -> Option<KernelEvent> {
        watcher.event(&NetlinkMessage::from(message))
    }

    #[test]
    fn a_link_is_told_when_its_state_changes_and_once() {
        let table = Table { table: 254, protocol: 42 };
        let ours = Ours::default();
        let removing = ours.removing.clone();
        let mut watcher = Watcher { table, ours, known: BTreeMap::new() };
        let (id, name): (_, IfName) = (LinkId(7), "eth0".parse().unwrap());
        let up = || RouteNetlinkMessage::NewLink(link(LinkFlags::Up | LinkFlags::LowerUp));
        let down = || RouteNetlinkMessage::NewLink(link(LinkFlags::Up));
        let is_up = KernelEvent::LinkUp { link: id, name: name.clone() };
        let is_down = KernelEvent::LinkDown { link: id, name: name.clone() };
        assert_eq!(told(&mut watcher, down()), None);
        assert_eq!(told(&mut watcher, up()), Some(is_up.clone()));
        assert_eq!(told(&mut watcher, up()), None);
        assert_eq!(told(&mut watcher, down()), Some(is_down));
        let mut left_bridge = link(LinkFlags::empty());
        left_bridge.header.interface_family = AddressFamily::Bridge;
        assert_eq!(told(&mut watcher, RouteNetlinkMessage::DelLink(left_bridge)), None);
        let deleted = || RouteNetlinkMessage::DelLink(link(LinkFlags::empty()));
        let is_gone = KernelEvent::LinkGone { link: id, name };
        assert_eq!(told(&mut watcher, deleted()), Some(is_gone));
        assert_eq!(told(&mut watcher, up()), Some(is_up));
        removing.insert(id);
        assert_eq!(told(&mut watcher, down()), None);
        assert_eq!(told(&mut watcher, deleted()), None);
    }

    #[tokio::test]
    async fn a_socket_that_cannot_be_opened_is_tried_again_and_ever_later() {
        let (events, receiver) = channel();
        let begin = tokio::time::Instant::now();
        let mut tries = 0;
        let open = || {
            tries += 1;
            if tries > 1 { Ok(tries) } else { Err("no room".to_owned()) }
        };
        assert_eq!(reopened(open, &events).await, Some(2));
        assert!(begin.elapsed() >= Duration::from_millis(500 + 1000));
        drop(receiver);
        assert_eq!(reopened(|| Err::<(), _>("no room".to_owned()), &events).await, None);
    }
}
