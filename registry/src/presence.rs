//! Presence: which of a node's addresses the registry passes on.
//!
//! A node says where it believes it can be reached; only what the registry saw itself is
//! published, so that no node can send others to a third party.

use std::net::{IpAddr, SocketAddr};

use sixwire_proto::peer::ADDRESS_LIMIT;
use sixwire_proto::prefix::Prefix;

/// Those of the claimed addresses that may be published: at the address the call came from, which
/// is one other nodes can use and lies outside the overlay. Order is kept, doubles are not.
#[must_use]
pub fn publishable(claimed: &[SocketAddr], source: IpAddr, network: Prefix) -> Vec<SocketAddr> {
    let mut published: Vec<SocketAddr> = Vec::new();
    if !is_usable(source) || network.contains_address(source) {
        return published;
    }
    for address in claimed {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let fits = address.ip() == source && address.port() != 0 && !published.contains(&address);
        if fits && published.len() < ADDRESS_LIMIT {
            published.push(address);
        }
    }
    published
}

fn is_usable(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(link_local || address.is_loopback() || address.is_multicast() || address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(claimed: &[&str], source: &str) -> Vec<String> {
        let claimed: Vec<SocketAddr> = claimed.iter().map(|text| text.parse().unwrap()).collect();
        let network = "fd00:1:2::/48".parse().unwrap();
        publishable(&claimed, source.parse().unwrap(), network)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn only_the_address_the_call_came_from_is_published() {
        let claimed = ["192.0.2.1:6326", "192.0.2.2:6326", "[2001:db8::1]:6326"];
        assert_eq!(published(&claimed, "192.0.2.1"), ["192.0.2.1:6326"]);
        assert_eq!(published(&claimed, "2001:db8::1"), ["[2001:db8::1]:6326"]);
        assert!(published(&claimed, "198.51.100.1").is_empty());
    }

    #[test]
    fn addresses_nobody_else_can_use_are_never_published() {
        for address in
            ["127.0.0.1", "0.0.0.0", "169.254.1.1", "224.0.0.1", "255.255.255.255", "0.1.2.3"]
        {
            assert!(published(&[&format!("{address}:6326")], address).is_empty(), "{address}");
        }
        for address in ["::1", "::", "fe80::1", "ff02::1", "fd00:1:2:3::1"] {
            assert!(published(&[&format!("[{address}]:6326")], address).is_empty(), "{address}");
        }
        assert!(published(&["192.0.2.1:0"], "192.0.2.1").is_empty());
    }

    #[test]
    fn mapped_addresses_doubles_and_floods_are_cut() {
        let mapped = ["[::ffff:192.0.2.1]:1", "192.0.2.1:1", "192.0.2.1:2"];
        assert_eq!(published(&mapped, "192.0.2.1"), ["192.0.2.1:1", "192.0.2.1:2"]);
        let many: Vec<String> = (1..100).map(|port| format!("192.0.2.1:{port}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(published(&many, "192.0.2.1").len(), ADDRESS_LIMIT);
    }
}
