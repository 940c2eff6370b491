//! Routes of both families.

use std::net::IpAddr;

use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use sixwire_proto::link::LinkId;
use sixwire_proto::prefix::Prefix;

use super::{Mode, Netlink};
use crate::error::Error;
use crate::model::{NextHop, ROUTE_METRIC, RouteChange, RouteKey, RouteTarget, UNREACHABLE_METRIC};

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
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet6, AddressFamily::Inet] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let request = RouteNetlinkMessage::GetRoute(message);
            let objects = netlink.dump("list routes", request).await?;
            routes.extend(objects.iter().filter_map(|object| match object {
                RouteNetlinkMessage::NewRoute(message) => self.own(message),
                _ => None,
            }));
        }
        Ok(routes)
    }

    /// Applies changes in order, many to a send. One outcome each.
    pub(crate) async fn apply(
        self,
        netlink: &Netlink,
        changes: &[RouteChange],
    ) -> Vec<Result<(), Error>> {
        let mut outcomes = Vec::with_capacity(changes.len());
        for batch in changes.chunks(BATCH) {
            let messages = batch.iter().map(|change| self.message(change)).collect();
            match netlink.send_all("change routes", messages).await {
                Ok(verdicts) => outcomes.extend(
                    batch.iter().zip(verdicts).map(|(change, verdict)| judge(change, verdict)),
                ),
                Err(error) => outcomes.extend(batch.iter().map(|change| {
                    Err(Error::kernel(describe(change), std::io::Error::other(error.to_string())))
                })),
            }
        }
        outcomes
    }

    /// Makes a prefix unreachable behind all other routes.
    pub(crate) async fn add_unreachable(
        self,
        netlink: &Netlink,
        prefix: Prefix,
    ) -> Result<(), Error> {
        let mut message = self.route(RouteKey::to(prefix), UNREACHABLE_METRIC);
        message.header.kind = RouteType::Unreachable;
        let doing = format!("make {prefix} unreachable");
        netlink.send(doing, RouteNetlinkMessage::NewRoute(message), Mode::Replace).await
    }

    /// Undoes that.
    pub(crate) async fn remove_unreachable(
        self,
        netlink: &Netlink,
        prefix: Prefix,
    ) -> Result<(), Error> {
        let mut message = self.route(RouteKey::to(prefix), UNREACHABLE_METRIC);
        message.header.scope = RouteScope::NoWhere;
        let doing = format!("remove the unreachable route of {prefix}");
        let message = RouteNetlinkMessage::DelRoute(message);
        match netlink.send(doing, message, Mode::Existing).await {
            Err(error) if error.is_gone() => Ok(()),
            outcome => outcome,
        }
    }

    /// What the message says about a route of ours.
    pub(crate) fn own(self, message: &RouteMessage) -> Option<OwnRoute> {
        if u8::from(message.header.protocol) != self.protocol {
            return None;
        }
        let parts = Parts::of(message)?;
        if parts.table != self.table {
            return None;
        }
        match parts.metric {
            UNREACHABLE_METRIC => Some(OwnRoute::Unreachable(parts.key.prefix)),
            ROUTE_METRIC => Some(OwnRoute::Mesh(parts.key, parts.target(message.header.kind))),
            _ => None,
        }
    }

    fn message(self, change: &RouteChange) -> (RouteNetlinkMessage, Mode) {
        let mut message = self.route(change.key(), ROUTE_METRIC);
        match change {
            RouteChange::Replace(_, target) => {
                set_target(&mut message, target);
                (RouteNetlinkMessage::NewRoute(message), Mode::Replace)
            }
            RouteChange::Remove(_) => {
                message.header.scope = RouteScope::NoWhere;
                (RouteNetlinkMessage::DelRoute(message), Mode::Existing)
            }
        }
    }

    fn route(self, key: RouteKey, metric: u32) -> RouteMessage {
        let mut message = RouteMessage::default();
        let (prefix, source) = (key.prefix, key.source);
        message.header.address_family = family(prefix);
        message.header.destination_prefix_length = prefix.length();
        message.header.protocol = RouteProtocol::from(self.protocol);
        // Tables beyond eight bits stand in the attribute alone.
        message.header.table = u8::try_from(self.table).unwrap_or(0);
        message.attributes = vec![
            RouteAttribute::Table(self.table),
            RouteAttribute::Priority(metric),
            RouteAttribute::Destination(prefix.address().into()),
        ];
        if let Some(source) = source {
            message.header.source_prefix_length = source.length();
            message.attributes.push(RouteAttribute::Source(source.address().into()));
        }
        message
    }
}

/// Where the packets go: the one place that would name a next-hop object instead.
fn set_target(message: &mut RouteMessage, target: &RouteTarget) {
    let hop = match target {
        RouteTarget::Unreachable => {
            message.header.kind = RouteType::Unreachable;
            return;
        }
        RouteTarget::Via(hop) => hop,
    };
    message.header.kind = RouteType::Unicast;
    message.attributes.push(RouteAttribute::Oif(hop.link.0));
    message.attributes.push(match (message.header.address_family, hop.gateway) {
        (AddressFamily::Inet, IpAddr::V6(gateway)) => RouteAttribute::Via(RouteVia::Inet6(gateway)),
        (_, gateway) => RouteAttribute::Gateway(gateway.into()),
    });
    let source = hop.preferred_source.map(|source| RouteAttribute::PrefSource(source.into()));
    message.attributes.extend(source);
}

/// The attributes of a route message that we look at.
pub(super) struct Parts {
    pub(super) key: RouteKey,
    pub(super) table: u32,
    pub(super) metric: u32,
    link: Option<LinkId>,
    gateway: Option<IpAddr>,
    preferred_source: Option<IpAddr>,
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
        };
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(address) => destination = ip(address)?,
                RouteAttribute::Source(address) => source = ip(address)?,
                RouteAttribute::Table(table) => parts.table = *table,
                RouteAttribute::Priority(metric) => parts.metric = *metric,
                RouteAttribute::Oif(index) => parts.link = Some(LinkId(*index)),
                RouteAttribute::Gateway(address) => parts.gateway = ip(address),
                RouteAttribute::Via(RouteVia::Inet6(v6)) => parts.gateway = Some((*v6).into()),
                RouteAttribute::PrefSource(address) => parts.preferred_source = ip(address),
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

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

fn family(prefix: Prefix) -> AddressFamily {
    if prefix.is_v6() { AddressFamily::Inet6 } else { AddressFamily::Inet }
}

fn judge(change: &RouteChange, verdict: Result<(), std::io::Error>) -> Result<(), Error> {
    match verdict.map_err(|error| Error::kernel(describe(change), error)) {
        Err(error) if matches!(change, RouteChange::Remove(_)) && error.is_gone() => Ok(()),
        outcome => outcome,
    }
}

fn describe(change: &RouteChange) -> String {
    match change {
        RouteChange::Replace(key, RouteTarget::Via(hop)) => {
            format!("set route to {key} via {} on interface {}", hop.gateway, hop.link)
        }
        RouteChange::Replace(key, RouteTarget::Unreachable) => format!("make {key} unreachable"),
        RouteChange::Remove(key) => format!("remove route to {key}"),
    }
}

/// Messages to a send: beyond 64 nothing is gained, and the acknowledgements fit the default buffer.
const BATCH: usize = 64;

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
            let (message, _) = OURS.message(&RouteChange::Replace(key, target));
            let RouteNetlinkMessage::NewRoute(message) = message else { panic!("{message:?}") };
            assert_eq!(OURS.own(&message), Some(OwnRoute::Mesh(key, Some(target))));
        }
    }

    #[test]
    fn a_route_of_another_protocol_table_or_metric_is_not_ours() {
        let change = RouteChange::Replace(
            RouteKey::to("fd00::/48".parse().unwrap()),
            RouteTarget::Unreachable,
        );
        let RouteNetlinkMessage::NewRoute(message) = OURS.message(&change).0 else { panic!() };
        assert!(OURS.own(&message).is_some());
        assert_eq!(Table { table: 254, ..OURS }.own(&message), None);
        assert_eq!(Table { protocol: 4, ..OURS }.own(&message), None);
        let mut other_metric = message;
        other_metric.attributes.retain(|a| !matches!(a, RouteAttribute::Priority(_)));
        assert_eq!(OURS.own(&other_metric), None);
    }
}
