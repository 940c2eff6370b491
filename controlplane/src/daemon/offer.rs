//! What two nodes agree on for one tunnel: fresh keys of both, ports, addresses, MTU.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use sixwire_dataplane::model::{Mark, Peer, Role, Tunnel, WireGuard};
use sixwire_proto::certificate::{self, Certificate};
use sixwire_proto::keys::{PresharedKey, WgPrivateKey};
use sixwire_proto::peer::TunnelRequest;
use sixwire_proto::prefix::Prefix;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::uplink::UplinkNumber;

/// This node's half of a tunnel, made for it alone and never stored.
pub(super) struct Offer {
    private_key: WgPrivateKey,
    share: PresharedKey,
    /// UDP port of this end.
    pub(super) port: u16,
    mtu: u16,
    /// Which of the dialler's uplinks it takes.
    uplink: UplinkNumber,
}

/// The other half, as it came over signalling.
pub(super) struct Counterpart<'a> {
    /// Its certificate, verified.
    pub(super) certificate: &'a Certificate,
    /// Its half.
    pub(super) half: &'a TunnelRequest,
    /// Where to send the first packet; `None` waits for the other end's.
    pub(super) endpoint: Option<SocketAddr>,
}

impl Offer {
    /// Draws the keys.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub(super) fn new(port: u16, mtu: u16, uplink: UplinkNumber) -> Result<Self, getrandom::Error> {
        let (mut private_key, mut share) = ([0; 32], [0; 32]);
        getrandom::fill(&mut private_key)?;
        getrandom::fill(&mut share)?;
        Ok(Self {
            private_key: WgPrivateKey::from_octets(private_key),
            share: PresharedKey::from_octets(share),
            port,
            mtu,
            uplink,
        })
    }

    /// What the other node is told.
    #[must_use]
    pub(super) fn half(&self, addresses: Vec<IpAddr>, signalling_port: u16) -> TunnelRequest {
        TunnelRequest {
            public_key: self.private_key.public(),
            share: self.share.clone(),
            port: self.port,
            addresses,
            signalling_port,
            mtu: self.mtu,
            uplink: self.uplink,
        }
    }

    /// The tunnel that both halves make.
    #[must_use]
    pub(super) fn agree(&self, own: RouterId, role: Role, with: &Counterpart<'_>) -> Tunnel {
        let preshared_key = match role {
            Role::Dialled => PresharedKey::from_shares(&self.share, &with.half.share),
            Role::Served => PresharedKey::from_shares(&with.half.share, &self.share),
        };
        let peer = Peer {
            preshared_key: Some(preshared_key),
            endpoint: with.endpoint,
            keepalive: match role {
                Role::Dialled => Some(KEEPALIVE_S),
                Role::Served => None,
            },
            allowed_ips: allowed_ips(with.certificate),
        };
        Tunnel {
            mark: Mark { node: with.certificate.router_id(), role, uplink: self.uplink },
            link_local: own.link_local(),
            mtu: u32::from(self.mtu.min(with.half.mtu).max(LEAST_MTU)),
            wireguard: WireGuard {
                private_key: Some(self.private_key.clone()),
                port: self.port,
                fwmark: None,
                peers: BTreeMap::from([(with.half.public_key, peer)]),
            },
        }
    }
}

/// What may come from a node and go to it: anything for one that forwards, else its own prefixes
/// and what its link needs, so that a leaf cannot speak for others.
fn allowed_ips(certificate: &Certificate) -> BTreeSet<Prefix> {
    if certificate.has(certificate::Role::Transit) {
        return BTreeSet::from([Prefix::V6_DEFAULT, Prefix::V4_DEFAULT]);
    }
    certificate.prefixes().chain(link_prefixes()).collect()
}

/// Link-local unicast and multicast: Babel's own traffic.
fn link_prefixes() -> impl Iterator<Item = Prefix> {
    let link = |first: u16, length| {
        let address = IpAddr::V6(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0));
        Prefix::containing(address, length).expect("both lengths are below 128")
    };
    [link(0xfe80, 10), link(0xff00, 8)].into_iter()
}

/// Where the first packet to a dialler goes. A node behind NAT is known by coming from an address
/// it does not call its own: then it must speak first. Through the overlay its own word has to do.
#[must_use]
pub(super) fn endpoint_of_dialler(
    half: &TunnelRequest,
    from: IpAddr,
    overlay: Prefix,
) -> Option<SocketAddr> {
    let usable = |address: &&IpAddr| is_underlay(**address, overlay);
    let address = if overlay.contains_address(from) || is_link_local(from) {
        half.addresses.iter().find(usable)?
    } else {
        half.addresses.iter().filter(usable).find(|address| **address == from)?
    };
    Some(SocketAddr::new(*address, half.port))
}

/// Where the first packet to a server goes: where its signalling answered, or what it says itself
/// when it answered through the overlay.
#[must_use]
pub(super) fn endpoint_of_server(
    half: &TunnelRequest,
    from: SocketAddr,
    overlay: Prefix,
) -> Option<SocketAddr> {
    if overlay.contains_address(from.ip()) || is_link_local(from.ip()) {
        return endpoint_of_dialler(half, from.ip(), overlay);
    }
    let mut endpoint = from;
    endpoint.set_port(half.port);
    Some(endpoint)
}

/// Whether packets to an address can only take the underlay: an endpoint inside the overlay would
/// send a tunnel through itself.
#[must_use]
pub(super) fn is_underlay(address: IpAddr, overlay: Prefix) -> bool {
    let special = match address {
        IpAddr::V4(v4) => v4.is_broadcast() || v4.octets()[0] == 0 || v4.is_link_local(),
        IpAddr::V6(_) => is_link_local(address),
    };
    !(special
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_loopback()
        || overlay.contains_address(address))
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::is_link_local(&v4),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Seconds. The shortest that NATs are known to forget after is 30 (WireGuard's own advice is 25).
const KEEPALIVE_S: u16 = 25;
/// The least MTU of IPv6 (RFC 8200 §5).
const LEAST_MTU: u16 = 1280;

#[cfg(test)]
mod tests {
    use sixwire_proto::certificate::{NetworkId, Role as CertifiedRole};
    use sixwire_proto::keys::SecretKey;
    use sixwire_proto::time::Timestamp;

    use super::*;

    fn certificate(roles: Vec<CertifiedRole>) -> Certificate {
        let key = SecretKey::from_octets(&[3; 32]).public();
        Certificate {
            version: 1,
            network: NetworkId::of(&key),
            serial: 1,
            name: None,
            node: key,
            prefix: "fd00:1:2:3::/64".parse().unwrap(),
            extra_prefixes: vec!["10.3.0.0/24".parse().unwrap()],
            roles,
            tags: Vec::new(),
            not_before: Timestamp(0),
            not_after: Timestamp(1),
        }
    }

    fn half(addresses: &[&str]) -> TunnelRequest {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        Offer::new(51820, 1420, UplinkNumber::FIRST).unwrap().half(addresses, 6326)
    }

    #[test]
    fn both_ends_agree() {
        let second = UplinkNumber::try_from(2).unwrap();
        let offer = |port, mtu| Offer::new(port, mtu, second).unwrap();
        let (a, b) = (offer(1, 1420), offer(2, 1400));
        let (half_a, half_b) = (a.half(Vec::new(), 1), b.half(Vec::new(), 1));
        let certificate = certificate(vec![CertifiedRole::Transit]);
        let own: RouterId = "0123456789abcdef".parse().unwrap();
        let with = |half| Counterpart { certificate: &certificate, half, endpoint: None };
        let at_a = a.agree(own, Role::Dialled, &with(&half_b));
        let at_b = b.agree(own, Role::Served, &with(&half_a));
        let key = |t: &Tunnel| t.wireguard.peers.values().next().unwrap().preshared_key.clone();
        assert_eq!(key(&at_a), key(&at_b));
        assert_eq!((at_a.mtu, at_b.mtu), (1400, 1400));
        assert_eq!((at_a.mark.uplink, at_b.mark.uplink, half_a.uplink), (second, second, second));
    }

    #[test]
    fn a_leaf_may_only_speak_for_itself() {
        let text = |c: &Certificate| {
            allowed_ips(c).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(text(&certificate(vec![CertifiedRole::Transit])), "0.0.0.0/0 ::/0");
        assert_eq!(text(&certificate(vec![])), "10.3.0.0/24 fd00:1:2:3::/64 fe80::/10 ff00::/8");
    }

    #[test]
    fn the_first_packet_goes_where_it_can_arrive() {
        let overlay: Prefix = "fd00::/16".parse().unwrap();
        let dialler = |addresses: &[&str], from: &str| {
            endpoint_of_dialler(&half(addresses), from.parse().unwrap(), overlay)
                .map(|e| e.to_string())
        };
        assert_eq!(dialler(&["192.0.2.1"], "192.0.2.1").as_deref(), Some("192.0.2.1:51820"));
        assert_eq!(dialler(&["10.0.0.5"], "192.0.2.1"), None, "behind NAT");
        let through_overlay = dialler(&["fd00::7", "192.0.2.1"], "fd00::9");
        assert_eq!(through_overlay.as_deref(), Some("192.0.2.1:51820"), "by its own word");
        let server = |from: &str| {
            endpoint_of_server(&half(&["192.0.2.1"]), from.parse().unwrap(), overlay)
                .map(|e| e.to_string())
        };
        assert_eq!(server("198.51.100.1:6326").as_deref(), Some("198.51.100.1:51820"));
        assert_eq!(server("[fd00::9]:6326").as_deref(), Some("192.0.2.1:51820"));
    }
}
