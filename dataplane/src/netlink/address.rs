//! Addresses of interfaces.

use std::net::{IpAddr, Ipv6Addr};

use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use sixwire_proto::link::LinkId;

use super::{Mode, Netlink};
use crate::error::Error;
use crate::model::ADDRESS_METRIC;

/// An address on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) link: LinkId,
    pub(crate) address: IpAddr,
    /// Bears our mark: the route metric.
    pub(crate) is_ours: bool,
}

impl Address {
    /// Reads an address message.
    pub(crate) fn from_message(message: &AddressMessage) -> Option<Self> {
        let link = LinkId(message.header.index);
        let (mut local, mut address, mut is_ours) = (None, None, false);
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(ip) => local = Some(*ip),
                AddressAttribute::Address(ip) => address = Some(*ip),
                AddressAttribute::RoutePriority(metric) => is_ours = *metric == ADDRESS_METRIC,
                _ => {}
            }
        }
        Some(Self { link, address: local.or(address)?, is_ours })
    }

    /// The link-local IPv6 address it is.
    pub(crate) fn link_local(&self) -> Option<Ipv6Addr> {
        match self.address {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(v6),
            _ => None,
        }
    }
}

/// All addresses of both families.
pub(crate) async fn addresses(netlink: &Netlink) -> Result<Vec<Address>, Error> {
    let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let objects = netlink.dump("list addresses", request).await?;
    let address = |object| match object {
        RouteNetlinkMessage::NewAddress(message) => Address::from_message(&message),
        _ => None,
    };
    Ok(objects.into_iter().filter_map(address).collect())
}

/// Gives a tunnel its link-local address (/64), usable at once.
pub(crate) async fn add_link_local(
    netlink: &Netlink,
    link: LinkId,
    address: Ipv6Addr,
) -> Result<(), Error> {
    let mut message = message(link, address.into(), LINK_LOCAL_LENGTH);
    message.header.scope = AddressScope::Link;
    message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    send_new(netlink, link, address.into(), message).await
}

/// Gives the address interface an address of the node, alone, with our mark, usable at once.
pub(crate) async fn add_own(netlink: &Netlink, link: LinkId, address: IpAddr) -> Result<(), Error> {
    let mut message = message(link, address, host_length(address));
    let flags = AddressFlags::Nodad | AddressFlags::Noprefixroute;
    message.attributes.push(AddressAttribute::Flags(flags));
    message.attributes.push(AddressAttribute::RoutePriority(ADDRESS_METRIC));
    send_new(netlink, link, address, message).await
}

/// Takes an address away; that it is gone already is success.
pub(crate) async fn remove(netlink: &Netlink, link: LinkId, address: IpAddr) -> Result<(), Error> {
    let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let length = if link_local { LINK_LOCAL_LENGTH } else { host_length(address) };
    let message = RouteNetlinkMessage::DelAddress(message(link, address, length));
    let doing = format!("remove address {address} from interface {link}");
    match netlink.send(doing, message, Mode::Existing).await {
        Err(error) if error.is_gone() => Ok(()),
        outcome => outcome,
    }
}

async fn send_new(
    netlink: &Netlink,
    link: LinkId,
    address: IpAddr,
    message: AddressMessage,
) -> Result<(), Error> {
    let doing = format!("add address {address} to interface {link}");
    let message = RouteNetlinkMessage::NewAddress(message);
    match netlink.send(doing, message, Mode::New).await {
        Err(error) if error.is_present() => Ok(()),
        outcome => outcome,
    }
}

fn message(link: LinkId, address: IpAddr, length: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = link.0;
    message.header.prefix_len = length;
    message.header.family = match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
    message
}

fn host_length(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

const LINK_LOCAL_LENGTH: u8 = 64;
