//! Routes that others put into the kernel, read once and then followed.

use std::collections::{BTreeMap, BTreeSet};
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
    wanted: Box<dyn Fn(&ForeignRoute) -> bool + Send>,
    known: BTreeMap<RouteKey, BTreeMap<Place, Known>>,
    /// What was told last.
    told: BTreeMap<RouteKey, ForeignRoute>,
    look: Look,
}

/// Table and metric: the kernel holds one route for each in a prefix.
type Place = (u32, u32);

/// A route of a place.
#[derive(Debug)]
struct Known {
    protocol: u8,
    /// IPv6 takes the next hops of one route away one by one.
    hops: BTreeSet<Hop>,
}

/// A next hop: interface, and gateway as text.
pub(super) type Hop = (u32, String);

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
        wanted: Box<dyn Fn(&ForeignRoute) -> bool + Send>,
    ) -> Result<Self, Error> {
        let subscription = Subscription::open(RouteNews::AllBut(own))?;
        let (known, told) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { netlink, own, subscription, wanted, known, told, look: Look::Due })
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
        let mut touched: Vec<_> = std::mem::take(&mut self.known).into_keys().collect();
        for family in [AddressFamily::Inet6, AddressFamily::Inet] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let request = RouteNetlinkMessage::GetRoute(message);
            for object in self.netlink.dump("list routes", request).await? {
                if let RouteNetlinkMessage::NewRoute(route) = object {
                    touched.extend(self.present(&route));
                }
            }
        }
        Ok(touched)
    }

    fn present(&mut self, message: &RouteMessage) -> Option<RouteKey> {
        let (route, place) = route(message)?;
        let Some(ForeignRoute { key, protocol, .. }) = Some(route).filter(|r| (self.wanted)(r))
        else {
            // It may have taken the place of one that was wanted.
            return self.forget(route.key, place);
        };
        let known = Known { protocol, hops: hops(message) };
        self.known.entry(key).or_default().insert(place, known);
        Some(key)
    }

    fn gone(&mut self, message: &RouteMessage) -> Option<RouteKey> {
        let (ForeignRoute { key, protocol, .. }, place) = route(message)?;
        let known = self.known.get_mut(&key)?.get_mut(&place)?;
        if known.protocol != protocol {
            return None;
        }
        let (before, gone) = (known.hops.len(), hops(message));
        known.hops.retain(|hop| !gone.contains(hop));
        let some_are_left = !known.hops.is_empty() && known.hops.len() < before;
        if some_are_left { None } else { self.forget(key, place) }
    }

    fn forget(&mut self, key: RouteKey, place: Place) -> Option<RouteKey> {
        let places = self.known.get_mut(&key)?;
        places.remove(&place)?;
        if places.is_empty() {
            self.known.remove(&key);
        }
        Some(key)
    }

    fn change(&mut self, key: RouteKey) -> Option<ForeignChange> {
        let first = self.known.get(&key).and_then(BTreeMap::first_key_value);
        let now = first.map(|((table, _), known)| ForeignRoute {
            key,
            table: *table,
            protocol: known.protocol,
        });
        match now {
            Some(route) => (self.told.insert(key, route) != Some(route))
                .then_some(ForeignChange::Appeared(route)),
            None => self.told.remove(&key).map(|_| ForeignChange::Vanished(key)),
        }
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

pub(super) fn hops(message: &RouteMessage) -> BTreeSet<Hop> {
    let mut hops = BTreeSet::new();
    let (mut interface, mut gateway) = (None, String::new());
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => {
                gateway = format!("{attribute:?}");
            }
            RouteAttribute::MultiPath(several) => hops.extend(several.iter().map(|hop| {
                let is_gateway = |one: &&RouteAttribute| {
                    matches!(one, RouteAttribute::Gateway(_) | RouteAttribute::Via(_))
                };
                let gateway = hop.attributes.iter().find(is_gateway);
                (hop.interface_index, gateway.map_or_else(String::new, |one| format!("{one:?}")))
            })),
            _ => {}
        }
    }
    hops.extend(interface.map(|index| (index, gateway)));
    hops
}

/// Messages taken at once.
const BURST: usize = 4096;
