//! Routes that others put into the kernel, read once and then followed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use netlink_packet_route::route::{RouteAttribute, RouteFlags, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};

use super::Netlink;
use super::monitor::{RouteNews, Subscription};
use super::route::Parts;
use crate::error::Error;
use crate::model::RouteKey;

/// What is told of a route of somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignRoute {
    /// Destination and source.
    pub key: RouteKey,
    /// Its routing table.
    pub table: u32,
    /// Who made it, by its number (`/etc/iproute2/rt_protos`).
    pub protocol: u8,
}

/// A change of what is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignChange {
    /// There is a route now, where there was none.
    Appeared(ForeignRoute),
    /// The last one is gone.
    Vanished(RouteKey),
}

/// The routes of others that were asked for. Of several to one destination the one of the lowest
/// table and metric counts.
pub struct ForeignRoutes {
    netlink: Netlink,
    /// Our own protocol number, which is never followed.
    own: u8,
    subscription: Subscription,
    wanted: Box<dyn Fn(&ForeignRoute) -> bool + Send + Sync>,
    followed: BTreeMap<RouteKey, Followed>,
    look: Look,
}

/// Table and metric: the kernel holds one route for each in a prefix.
type Place = (u32, u32);

/// Table and protocol of a route.
type Told = (u32, u8);

/// The routes with one key. There may be very many of these, with one route and one next hop each.
#[derive(Default)]
struct Followed {
    /// In the order of their places.
    known: Vec<Known>,
    /// What was told last.
    told: Option<Told>,
}

/// A route of a place.
struct Known {
    place: Place,
    protocol: u8,
    /// IPv6 takes the next hops of one route away one by one.
    hops: Vec<Hop>,
}

/// A next hop: interface and gateway.
pub(super) type Hop = (u32, Option<IpAddr>);

/// Whether everything must be read anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Due,
    Done,
}

impl ForeignRoutes {
    pub(crate) fn new(
        netlink: Netlink,
        own: u8,
        wanted: Box<dyn Fn(&ForeignRoute) -> bool + Send + Sync>,
    ) -> Result<Self, Error> {
        let subscription = Subscription::open(RouteNews::AllBut(own))?;
        Ok(Self { netlink, own, subscription, wanted, followed: BTreeMap::new(), look: Look::Due })
    }

    /// The next changes; the first time, all that is there. May wait for ever. What it has told is
    /// not told again; it must not be cancelled.
    ///
    /// # Errors
    /// When the kernel tells nothing any more.
    pub async fn next(&mut self) -> Result<Vec<ForeignChange>, Error> {
        loop {
            let mut touched = BTreeSet::new();
            if self.look == Look::Due {
                self.look = Look::Done;
                touched.extend(self.read().await?);
            } else {
                self.listen(&mut touched).await?;
            }
            let changes: Vec<_> = touched.into_iter().filter_map(|key| self.change(key)).collect();
            if !changes.is_empty() {
                return Ok(changes);
            }
        }
    }

    /// Takes the next message and those behind it.
    async fn listen(&mut self, touched: &mut BTreeSet<RouteKey>) -> Result<(), Error> {
        let Some((first, _)) = self.subscription.messages.next().await else {
            self.subscription = Subscription::open(RouteNews::AllBut(self.own))?;
            self.look = Look::Due;
            return Ok(());
        };
        self.note(&first, touched);
        for _ in 1..BURST {
            let more = self.subscription.messages.next();
            let Ok(Some((message, _))) = tokio::time::timeout(Duration::ZERO, more).await else {
                break;
            };
            self.note(&message, touched);
        }
        Ok(())
    }

    fn note(
        &mut self,
        message: &NetlinkMessage<RouteNetlinkMessage>,
        touched: &mut BTreeSet<RouteKey>,
    ) {
        match &message.payload {
            NetlinkPayload::Overrun(_) => self.look = Look::Due,
            // The kernel says nothing of the IPv4 routes that go with an interface.
            NetlinkPayload::InnerMessage(
                RouteNetlinkMessage::NewLink(_) | RouteNetlinkMessage::DelLink(_),
            ) => self.look = Look::Due,
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) => {
                touched.extend(self.present(route));
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelRoute(route)) => {
                touched.extend(self.gone(route));
            }
            _ => {}
        }
    }

    /// Reads all routes; says which may have changed.
    async fn read(&mut self) -> Result<Vec<RouteKey>, Error> {
        self.followed.values_mut().for_each(|followed| followed.known.clear());
        for family in [AddressFamily::Inet6, AddressFamily::Inet] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let request = RouteNetlinkMessage::GetRoute(message);
            let wanted = |object| match object {
                RouteNetlinkMessage::NewRoute(message) => {
                    let found = route(&message).filter(|(route, _)| (self.wanted)(route))?;
                    Some((found.0.key, Known::of(&message, found)))
                }
                _ => None,
            };
            for (key, known) in self.netlink.dump("list routes", request, wanted).await? {
                self.enter(key, known);
            }
        }
        Ok(self.followed.keys().copied().collect())
    }

    fn present(&mut self, message: &RouteMessage) -> Option<RouteKey> {
        let (route, place) = route(message)?;
        if !(self.wanted)(&route) {
            // It may have taken the place of one that was wanted.
            return self.forget(route.key, place);
        }
        self.enter(route.key, Known::of(message, (route, place)));
        Some(route.key)
    }

    fn enter(&mut self, key: RouteKey, new: Known) {
        let known = &mut self.followed.entry(key).or_default().known;
        match known.binary_search_by_key(&new.place, |known| known.place) {
            Ok(at) => known[at] = new,
            // Nearly always the first and only one.
            Err(_) if known.capacity() == 0 => *known = vec![new],
            Err(at) => known.insert(at, new),
        }
    }

    fn gone(&mut self, message: &RouteMessage) -> Option<RouteKey> {
        let (ForeignRoute { key, protocol, .. }, place) = route(message)?;
        let followed = self.followed.get_mut(&key)?;
        let known = followed.known.iter_mut().find(|known| known.place == place)?;
        if known.protocol != protocol {
            return None;
        }
        let (before, gone) = (known.hops.len(), hops(message));
        known.hops.retain(|hop| !gone.contains(hop));
        let some_are_left = !known.hops.is_empty() && known.hops.len() < before;
        if some_are_left { None } else { self.forget(key, place) }
    }

    fn forget(&mut self, key: RouteKey, place: Place) -> Option<RouteKey> {
        let known = &mut self.followed.get_mut(&key)?.known;
        let at = known.iter().position(|known| known.place == place)?;
        known.remove(at);
        Some(key)
    }

    fn change(&mut self, key: RouteKey) -> Option<ForeignChange> {
        let followed = self.followed.get_mut(&key)?;
        let now = followed.known.first().map(|known| (known.place.0, known.protocol));
        let before = std::mem::replace(&mut followed.told, now);
        let Some((table, protocol)) = now else {
            self.followed.remove(&key);
            return before.map(|_| ForeignChange::Vanished(key));
        };
        let route = ForeignRoute { key, table, protocol };
        (before != now).then_some(ForeignChange::Appeared(route))
    }
}

impl Known {
    fn of(message: &RouteMessage, (route, place): (ForeignRoute, Place)) -> Self {
        Self { place, protocol: route.protocol, hops: hops(message) }
    }
}

/// A route that packets of others could take, and its place.
pub(super) fn route(message: &RouteMessage) -> Option<(ForeignRoute, Place)> {
    let usable = matches!(
        message.header.kind,
        RouteType::Unicast | RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit
    );
    if !usable || message.header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let Parts { key, table, metric, .. } = Parts::of(message)?;
    let protocol = u8::from(message.header.protocol);
    let route = ForeignRoute { key, table, protocol };
    key.prefix.is_routable().then_some((route, (table, metric)))
}

pub(super) fn hops(message: &RouteMessage) -> Vec<Hop> {
    let single = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(interface) => Some((*interface, gateway(&message.attributes))),
        _ => None,
    });
    let several = message.attributes.iter().filter_map(|attribute| match attribute {
        RouteAttribute::MultiPath(several) => Some(several),
        _ => None,
    });
    let several = several.flatten().map(|hop| (hop.interface_index, gateway(&hop.attributes)));
    several.chain(single).collect()
}

fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(super::route::gateway)
}

/// Messages taken at once.
const BURST: usize = 4096;
