//! Where the datagrams of a peer go.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

/// A place, and the address of ours to send from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Written the way received datagrams show it.
    pub(super) to: SocketAddr,
    /// Where the other end has sent to, so where it, and every NAT and firewall between, expects
    /// answers from. `None` leaves it to the kernel.
    pub(super) from: Option<IpAddr>,
}

impl From<SocketAddr> for Endpoint {
    fn from(to: SocketAddr) -> Self {
        Self { to: canonical(to), from: None }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    match (address.ip().to_canonical(), address) {
        // A flow label does not make it another place.
        (IpAddr::V6(ip), SocketAddr::V6(address)) => {
            SocketAddrV6::new(ip, address.port(), 0, address.scope_id()).into()
        }
        (ip, _) => (ip, address.port()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_has_one_form() {
        let form = |text: &str| Endpoint::from(text.parse::<SocketAddr>().unwrap()).to.to_string();
        assert_eq!(form("[::ffff:192.0.2.1]:5"), "192.0.2.1:5");
        assert_eq!(form("192.0.2.1:5"), "192.0.2.1:5");
        assert_eq!(form("[fe80::1%3]:5"), "[fe80::1%3]:5");
        let labelled = SocketAddrV6::new([1; 8].into(), 5, 9, 0);
        assert_eq!(
            Endpoint::from(SocketAddr::from(labelled)).to,
            "[1:1:1:1:1:1:1:1]:5".parse().unwrap()
        );
    }
}
