//! Addresses of interfaces.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use rtnetlink::{AddressAddRequest, AddressMessageBuilder};
use sixwire_proto::link::LinkId;

use super::{Netlink, added, removed};
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
    let address = |object| match object {
        RouteNetlinkMessage::NewAddress(message) => Address::from_message(&message),
        _ => None,
    };
    netlink.dump("list addresses", request, address).await
}

/// Gives a tunnel its link-local address (/64), usable at once.
pub(crate) async fn add_link_local(
    netlink: &Netlink,
    link: LinkId,
    address: Ipv6Addr,
) -> Result<(), Error> {
    let mut request = netlink.handle.address().add(link.0, address.into(), LINK_LOCAL_LENGTH);
    let message = request.message_mut();
    message.header.scope = AddressScope::Link;
    message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    add(link, address.into(), request).await
}

/// Gives the address interface an address of the node, alone, with our mark, usable at once.
pub(crate) async fn add_own(netlink: &Netlink, link: LinkId, address: IpAddr) -> Result<(), Error> {
    let mut request = netlink.handle.address().add(link.0, address, host_length(address));
    request.message_mut().attributes.extend([
        AddressAttribute::Flags(AddressFlags::Nodad | AddressFlags::Noprefixroute),
        AddressAttribute::RoutePriority(ADDRESS_METRIC),
    ]);
    add(link, address, request).await
}

/// Takes an address away; that it is gone already is success.
pub(crate) async fn remove(netlink: &Netlink, link: LinkId, address: IpAddr) -> Result<(), Error> {
    let message = match address {
        IpAddr::V4(v4) => {
            AddressMessageBuilder::<Ipv4Addr>::new().index(link.0).address(v4, 32).build()
        }
        IpAddr::V6(v6) => {
            let length = if v6.is_unicast_link_local() { LINK_LOCAL_LENGTH } else { 128 };
            AddressMessageBuilder::<Ipv6Addr>::new().index(link.0).address(v6, length).build()
        }
    };
    let doing = format!("remove address {address} from interface {link}");
    removed(doing, netlink.handle.address().del(message).execute()).await
}

async fn add(link: LinkId, address: IpAddr, request: AddressAddRequest) -> Result<(), Error> {
    added(format!("add address {address} to interface {link}"), request.execute()).await
}

fn host_length(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

const LINK_LOCAL_LENGTH: u8 = 64;
