//! Routes of both families.

use std::io;
use std::net::{IpAddr, Ipv6Addr};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteScope, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use sixwire_proto::link::LinkId;
use sixwire_proto::prefix::Prefix;

use super::nexthop::{Listing, ObjectId};
use super::{BATCH, Netlink, done, in_time, refusal, removed};
use crate::error::Error;
use crate::model::{
    Family, NextHop, ROUTE_METRIC, RouteChange, RouteKey, RouteTarget, UNREACHABLE_METRIC,
    is_onlink,
};

/// Where our routes live and what marks them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub(crate) table: u32,
    pub(crate) protocol: u8,
}

/// A route that bears our mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnRoute {
    /// A route of the mesh; the target is `None` when it is not one that we make.
    Mesh(RouteKey, Option<RouteTarget>),
    /// The catch for what the mesh has no route to.
    Unreachable(Prefix),
}

impl Table {
    /// All our routes.
    pub(crate) async fn routes(self, netlink: &Netlink) -> Result<Vec<OwnRoute>, Error> {
        let routes = self.routes_and_objects(netlink, &netlink.next_hops(self.protocol)).await?;
        Ok(routes.into_iter().map(|(route, _)| route).collect())
    }

    /// All our routes, and the next-hop object that each names.
    pub(crate) async fn routes_and_objects(
        self,
        netlink: &Netlink,
        known: &Listing,
    ) -> Result<Vec<(OwnRoute, Option<ObjectId>)>, Error> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet6, AddressFamily::Inet] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let request = RouteNetlinkMessage::GetRoute(message);
            let own = |object| match object {
                RouteNetlinkMessage::NewRoute(message) => self.own_by(&message, known),
                _ => None,
            };
            routes.extend(netlink.dump("list routes", request, own).await?);
        }
        Ok(routes)
    }

    /// Applies changes in order, many at a time. One outcome each.
    pub(crate) async fn apply(
        self,
        netlink: &Netlink,
        changes: &[RouteChange],
    ) -> Vec<Result<(), Error>> {
        let mut outcomes = Vec::with_capacity(changes.len());
        for batch in changes.chunks(BATCH) {
            let batch = batch.iter().map(|change| self.change(netlink, change, ROUTE_METRIC));
            outcomes.extend(join_all(batch).await);
        }
        outcomes
    }

    /// Makes a prefix unreachable behind all other routes.
    pub(crate) async fn add_unreachable(
        self,
        netlink: &Netlink,
        prefix: Prefix,
    ) -> Result<(), Error> {
        let change = RouteChange::Replace(RouteKey::to(prefix), RouteTarget::Unreachable);
        self.change(netlink, &change, UNREACHABLE_METRIC).await
    }

    /// Undoes that.
    pub(crate) async fn remove_unreachable(
        self,
        netlink: &Netlink,
        prefix: Prefix,
    ) -> Result<(), Error> {
        let change = RouteChange::Remove(RouteKey::to(prefix));
        self.change(netlink, &change, UNREACHABLE_METRIC).await
    }

    /// Whether the kernel can tell packets apart by their source: asks to replace a route that is not
    /// there, which changes nothing either way.
    pub(crate) async fn routes_by_source(self, netlink: &Netlink) -> Result<bool, Error> {
        let nobody = Prefix::host(DOCUMENTATION.into());
        let key = RouteKey { prefix: nobody, source: Some(nobody) };
        let change = RouteChange::Replace(key, RouteTarget::Unreachable);
        let doing = "ask for source-specific routing";
        let message = Table { table: MAIN, ..self }
            .message(&change, ROUTE_METRIC, None)
            .map_err(|invalid| Error::kernel(doing, io::Error::other(invalid)))?;
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewRoute(message));
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_REPLACE;
        let answers = netlink.handle.clone().request(request);
        let answers = answers.map_err(|error| Error::kernel(doing, refusal(error)))?;
        let answers: Vec<_> = in_time(doing, answers.collect()).await?;
        let refused = |answer: &NetlinkMessage<_>| match &answer.payload {
            NetlinkPayload::Error(error) => error.to_io().raw_os_error(),
            _ => None,
        };
        // Without CONFIG_IPV6_SUBTREES a source is no valid argument; with it, there is no such route.
        Ok(!answers.iter().any(|answer| refused(answer) == Some(Errno::EINVAL as i32)))
    }

    /// What the message says about a route of ours.
    pub(crate) fn own(self, message: &RouteMessage) -> Option<OwnRoute> {
        self.own_by(message, &Listing::default()).map(|(route, _)| route)
    }

    fn own_by(
        self,
        message: &RouteMessage,
        known: &Listing,
    ) -> Option<(OwnRoute, Option<ObjectId>)> {
        if u8::from(message.header.protocol) != self.protocol {
            return None;
        }
        let mut parts = Parts::of(message)?;
        if parts.table != self.table {
            return None;
        }
        // Where the kernel tells of an object alone (nexthop_compat_mode=0), or of a group, it is looked up.
        if let Some(hop) = parts.object.and_then(|object| known.hop(object)) {
            (parts.link, parts.gateway) = (Some(hop.link), Some(hop.gateway));
        }
        match parts.metric {
            UNREACHABLE_METRIC => Some((OwnRoute::Unreachable(parts.key.prefix), None)),
            ROUTE_METRIC => {
                let target = parts.target(message.header.kind);
                Some((OwnRoute::Mesh(parts.key, target), parts.object))
            }
            _ => None,
        }
    }

    async fn change(
        self,
        netlink: &Netlink,
        change: &RouteChange,
        metric: u32,
    ) -> Result<(), Error> {
        let message = self
            .message(change, metric, None)
            .map_err(|invalid| Error::kernel(change.to_string(), io::Error::other(invalid)))?;
        let routes = netlink.handle.route();
        match change {
            RouteChange::Replace(..) => done(change, routes.add(message).replace().execute()).await,
            RouteChange::Remove(_) => removed(change, routes.del(message).execute()).await,
        }
    }

    /// The message for a change, of a route that names an object or where it leads.
    pub(crate) fn message(
        self,
        change: &RouteChange,
        metric: u32,
        object: Option<ObjectId>,
    ) -> Result<RouteMessage, Invalid> {
        let RouteKey { prefix, source } = change.key();
        let mut route = RouteMessageBuilder::<IpAddr>::new()
            .table_id(self.table)
            .protocol(self.protocol.into())
            .priority(metric)
            .destination_prefix(prefix.address(), prefix.length())?;
        if let Some(source) = source {
            route = route.source_prefix(source.address(), source.length())?;
        }
        route = match change {
            RouteChange::Replace(_, RouteTarget::Via(hop)) => {
                let route = match object {
                    Some(_) => route,
                    None => via(route, hop)?,
                };
                match hop.preferred_source {
                    Some(source) => route.pref_source(source)?,
                    None => route,
                }
            }
            RouteChange::Replace(_, RouteTarget::Unreachable) => route.kind(RouteType::Unreachable),
            // Of any kind and scope.
            RouteChange::Remove(_) => route.kind(RouteType::Unspec).scope(RouteScope::NoWhere),
        };
        let mut message = route.build();
        if let Some(ObjectId(id)) = object {
            message.attributes.push(RouteAttribute::NhId(id));
        }
        Ok(message)
    }
}

/// Whether a table has a default route of a family, whoever made it.
pub(crate) async fn has_default_route(
    netlink: &Netlink,
    family: Family,
    table: u32,
) -> Result<bool, Error> {
    let mut message = RouteMessage::default();
    let (family, default) = match family {
        Family::V4 => (AddressFamily::Inet, Prefix::V4_DEFAULT),
        Family::V6 => (AddressFamily::Inet6, Prefix::V6_DEFAULT),
    };
    message.header.address_family = family;
    let default = |object| match object {
        RouteNetlinkMessage::NewRoute(message) => Parts::of(&message)
            .filter(|parts| parts.table == table && parts.key == RouteKey::to(default)),
        _ => None,
    };
    let request = RouteNetlinkMessage::GetRoute(message);
    Ok(!netlink.dump("list routes", request, default).await?.is_empty())
}

/// Where the packets go, said by the route itself.
fn via(route: RouteMessageBuilder, hop: &NextHop) -> Result<RouteMessageBuilder, Invalid> {
    let mut route = route.output_interface(hop.link.0).gateway(hop.gateway)?;
    if is_onlink(hop.gateway) {
        route = route.onlink();
    }
    Ok(route)
}

/// An address nobody has (RFC 3849).
const DOCUMENTATION: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0);
/// `linux/rtnetlink.h`.
pub(crate) const RTM_NEWROUTE: u16 = 24;
pub(crate) const RTM_DELROUTE: u16 = 25;
/// RT_TABLE_MAIN, which is always there.
const MAIN: u32 = 254;

/// A route that mixes address families; the library keeps its own type to itself.
pub(crate) type Invalid = Box<dyn std::error::Error + Send + Sync>;

/// The attributes of a route message that we look at.
pub(super) struct Parts {
    pub(super) key: RouteKey,
    pub(super) table: u32,
    pub(super) metric: u32,
    link: Option<LinkId>,
    gateway: Option<IpAddr>,
    preferred_source: Option<IpAddr>,
    object: Option<ObjectId>,
}

impl Parts {
    pub(super) fn of(message: &RouteMessage) -> Option<Self> {
        let header = &message.header;
        let unspecified = match header.address_family {
            AddressFamily::Inet => Prefix::V4_DEFAULT.address(),
            AddressFamily::Inet6 => Prefix::V6_DEFAULT.address(),
            _ => return None,
        };
        let (mut destination, mut source) = (unspecified, unspecified);
        let mut parts = Self {
            key: RouteKey::to(Prefix::V6_DEFAULT),
            table: u32::from(header.table),
            metric: 0,
            link: None,
            gateway: None,
            preferred_source: None,
            object: None,
        };
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(address) => destination = ip(address)?,
                RouteAttribute::Source(address) => source = ip(address)?,
                RouteAttribute::Table(table) => parts.table = *table,
                RouteAttribute::Priority(metric) => parts.metric = *metric,
                RouteAttribute::Oif(index) => parts.link = Some(LinkId(*index)),
                RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => {
                    parts.gateway = gateway(attribute);
                }
                RouteAttribute::PrefSource(address) => parts.preferred_source = ip(address),
                RouteAttribute::NhId(id) => parts.object = Some(ObjectId(*id)),
                _ => {}
            }
        }
        let prefix = Prefix::containing(destination, header.destination_prefix_length).ok()?;
        let source = (header.source_prefix_length > 0)
            .then(|| Prefix::containing(source, header.source_prefix_length).ok())
            .flatten();
        parts.key = RouteKey { prefix, source };
        Some(parts)
    }

    fn target(&self, kind: RouteType) -> Option<RouteTarget> {
        match kind {
            RouteType::Unreachable => Some(RouteTarget::Unreachable),
            RouteType::Unicast => Some(RouteTarget::Via(NextHop {
                link: self.link?,
                gateway: self.gateway?,
                preferred_source: self.preferred_source,
            })),
            _ => None,
        }
    }
}

/// Where a next hop leads, if this says it.
pub(super) fn gateway(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        RouteAttribute::Via(RouteVia::Inet6(v6)) => Some((*v6).into()),
        _ => None,
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Table = Table { table: 1000, protocol: 42 };

    fn hop(gateway: &str, source: Option<&str>) -> RouteTarget {
        RouteTarget::Via(NextHop {
            link: LinkId(7),
            gateway: gateway.parse().unwrap(),
            preferred_source: source.map(|s| s.parse().unwrap()),
        })
    }

    #[test]
    fn what_is_sent_is_what_is_read() {
        let key = |prefix: &str, source: Option<&str>| RouteKey {
            prefix: prefix.parse().unwrap(),
            source: source.map(|s| s.parse().unwrap()),
        };
        for (key, target) in [
            (key("fd00::/48", None), hop("fe80::1", Some("fd00:1::1"))),
            (key("::/0", Some("fd00::/48")), hop("fe80::1", None)),
            (key("::/0", None), RouteTarget::Unreachable),
            (key("10.1.0.0/16", None), hop("fe80::2", Some("10.2.0.1"))),
            (key("10.1.0.0/16", None), hop("10.9.0.1", None)),
        ] {
            let change = RouteChange::Replace(key, target);
            let message = OURS.message(&change, ROUTE_METRIC, None).unwrap();
            assert_eq!(OURS.own(&message), Some(OwnRoute::Mesh(key, Some(target))));
        }
    }

    #[test]
    fn a_route_of_another_protocol_table_or_metric_is_not_ours() {
        let change = RouteChange::Replace(
            RouteKey::to("fd00::/48".parse().unwrap()),
            RouteTarget::Unreachable,
        );
        let message = OURS.message(&change, ROUTE_METRIC, None).unwrap();
        assert!(OURS.own(&message).is_some());
        assert_eq!(Table { table: 254, ..OURS }.own(&message), None);
        assert_eq!(Table { protocol: 4, ..OURS }.own(&message), None);
        let mut other_metric = message;
        other_metric.attributes.retain(|a| !matches!(a, RouteAttribute::Priority(_)));
        assert_eq!(OURS.own(&other_metric), None);
    }
}
