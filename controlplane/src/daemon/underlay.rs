//! The machine's own addresses outside the overlay.

use std::collections::BTreeSet;
use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use sixwire_proto::peer::ADDRESS_LIMIT;
use sixwire_proto::prefix::Prefix;

use super::offer::is_underlay;

/// Addresses other nodes may try, IPv4 first; at most [`ADDRESS_LIMIT`]. Empty when the system does
/// not tell them: others then learn by what they see.
#[must_use]
pub(super) fn own_addresses(overlay: Prefix) -> Vec<IpAddr> {
    let Ok(interfaces) = getifaddrs() else { return Vec::new() };
    let addresses: BTreeSet<IpAddr> = interfaces
        .filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP))
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
        })
        .filter(|address| is_underlay(*address, overlay))
        .collect();
    addresses.into_iter().take(ADDRESS_LIMIT).collect()
}
