//! Interfaces that others made, as far as routing over them needs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
    /// An IPv4 address of it: the lowest.
    pub v4: Option<Ipv4Addr>,
}

/// All interfaces, by name.
pub(crate) async fn interfaces(netlink: &Netlink) -> Result<BTreeMap<IfName, Interface>, Error> {
    let links = links(netlink).await?;
    let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let address = |object| match object {
        RouteNetlinkMessage::NewAddress(message) if is_usable(&message) => {
            Address::from_message(&message)
        }
        _ => None,
    };
    let mut usable: BTreeMap<LinkId, BTreeSet<IpAddr>> = BTreeMap::new();
    for one in netlink.dump("list addresses", request, address).await? {
        usable.entry(one.link).or_default().insert(one.address);
    }
    let described = |link: super::link::Link| {
        let addresses = || usable.get(&link.id).into_iter().flatten();
        let interface = Interface {
            link: link.id,
            is_up: link.state == LinkState::Up,
            link_local: addresses().find_map(|one| link_local(*one)),
            v4: addresses().find_map(|one| v4(*one)),
        };
        (link.name, interface)
    };
    Ok(links.into_iter().map(described).collect())
}

fn link_local(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(v6),
        _ => None,
    }
}

fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    }
}

/// Whether the kernel sends from it: not while another node may have it.
fn is_usable(message: &AddressMessage) -> bool {
    !message.header.flags.intersects(AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed)
}
