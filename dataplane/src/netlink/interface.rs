//! Interfaces that others made, as far as routing over them needs.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressHeaderFlags, AddressMessage};
use sixwire_proto::link::LinkId;

use super::Netlink;
use super::address::Address;
use super::link::{LinkState, links};
use crate::error::Error;
use crate::model::IfName;

/// An interface, ours or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its index.
    pub link: LinkId,
    /// Whether it is switched on and has a carrier.
    pub is_up: bool,
    /// A link-local address of it that can be used already (RFC 4862 §5.4): the lowest.
    pub link_local: Option<Ipv6Addr>,
}

/// All interfaces, by name.
pub(crate) async fn interfaces(netlink: &Netlink) -> Result<BTreeMap<IfName, Interface>, Error> {
    let links = links(netlink).await?;
    let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let mut usable: BTreeMap<LinkId, Ipv6Addr> = BTreeMap::new();
    for object in netlink.dump("list addresses", request).await? {
        let RouteNetlinkMessage::NewAddress(message) = object else { continue };
        let address = Address::from_message(&message).filter(|_| is_usable(&message));
        let Some((link, own)) = address.and_then(|one| Some((one.link, one.link_local()?))) else {
            continue;
        };
        let lowest = usable.entry(link).or_insert(own);
        *lowest = own.min(*lowest);
    }
    let described = |link: super::link::Link| {
        let (is_up, link_local) = (link.state == LinkState::Up, usable.get(&link.id).copied());
        (link.name, Interface { link: link.id, is_up, link_local })
    };
    Ok(links.into_iter().map(described).collect())
}

/// Whether the kernel sends from it: not while another node may have it.
fn is_usable(message: &AddressMessage) -> bool {
    !message.header.flags.intersects(AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed)
}
