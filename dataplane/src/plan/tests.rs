//! Against a plain model of the kernel: from any state, the plan leads to the desired one, touches
//! nothing else, and has nothing left to do.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU8;

use proptest::collection::{btree_map, btree_set};
use proptest::option;
use proptest::prelude::*;
use sixwire_proto::keys::{PresharedKey, WgPrivateKey};
use sixwire_proto::link::LinkId;
use sixwire_proto::prefix::Prefix;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::uplink::UplinkNumber;

use super::*;
use crate::model::{
    Family, GuardedNetwork, IfName, Mark, NextHop, ObservedPeer, Role, RouteKey, RouteTarget, Rule,
    Sources,
};

/// What the kernel would make of a change.
fn apply(state: &mut Observed, change: &Change) {
    match change.clone() {
        Change::AddUnreachable(prefix) => drop(state.unreachable.insert(prefix)),
        Change::RemoveUnreachable(prefix) => assert!(state.unreachable.remove(&prefix)),
        Change::AddAddress(address) => drop(state.addresses.insert(address)),
        Change::RemoveAddress(address) => assert!(state.addresses.remove(&address)),
        Change::AddRule(rule) => drop(state.rules.insert(rule)),
        Change::RemoveRule(rule) => assert!(state.rules.remove(&rule)),
        Change::CreateTunnel(name, tunnel) => create(state, name, &tunnel),
        Change::UpdateTunnel(name, update) => {
            update_tunnel(state.tunnels.get_mut(&name).unwrap(), update);
        }
        Change::RemoveTunnel(name) => drop(state.tunnels.remove(&name).unwrap()),
        Change::Route(RouteChange::Replace(key, target)) => {
            state.routes.insert(key, Some(target));
        }
        Change::Route(RouteChange::Remove(key)) => drop(state.routes.remove(&key).unwrap()),
        // A table of somebody else is refused.
        Change::Guard(_) if state.guards == ObservedGuards::Foreign => {}
        Change::Guard(guards) => state.guards = ObservedGuards::Intact(guards),
        Change::Unguard => {
            assert_ne!(state.guards, ObservedGuards::Foreign);
            state.guards = ObservedGuards::Absent;
        }
    }
}

fn create(state: &mut Observed, name: IfName, tunnel: &Tunnel) {
    // The kernel refuses a name that is taken.
    if state.foreign.contains(&name) {
        return;
    }
    let mut made = ObservedTunnel {
        link: LinkId(1000),
        mark: None,
        up: false,
        mtu: 0,
        link_local: BTreeSet::new(),
        wireguard: Some(ObservedWireGuard::default()),
    };
    let wireguard = WireGuardUpdate {
        private_key: tunnel.wireguard.private_key.clone(),
        port: Some(tunnel.wireguard.port),
        fwmark: tunnel.wireguard.fwmark,
        peers: tunnel.wireguard.peers.clone(),
        removed: BTreeSet::new(),
    };
    let update = TunnelUpdate {
        mark: Some(tunnel.mark),
        link_local: Some(tunnel.link_local),
        mtu: Some(tunnel.mtu),
        wireguard,
        bring_up: true,
    };
    update_tunnel(&mut made, update);
    state.tunnels.insert(name, made);
}

fn update_tunnel(tunnel: &mut ObservedTunnel, update: TunnelUpdate) {
    tunnel.mark = update.mark.or(tunnel.mark);
    tunnel.mtu = update.mtu.unwrap_or(tunnel.mtu);
    if let Some(address) = update.link_local {
        tunnel.link_local = BTreeSet::from([address]);
    }
    tunnel.up |= update.bring_up;
    let device = tunnel.wireguard.as_mut().unwrap();
    device.private_key = update.wireguard.private_key.or(device.private_key.take());
    device.port = update.wireguard.port.unwrap_or(device.port);
    if let Some(fwmark) = update.wireguard.fwmark {
        device.fwmark = Some(fwmark).filter(|mark| *mark != 0);
    }
    for key in &update.wireguard.removed {
        device.peers.remove(key).unwrap();
    }
    for (key, peer) in update.wireguard.peers {
        let have = device.peers.entry(key).or_default();
        have.preshared_key = peer.preshared_key.or(have.preshared_key.take());
        have.endpoint = peer.endpoint.or(have.endpoint);
        have.keepalive = peer.keepalive.filter(|seconds| *seconds != 0);
        have.allowed_ips = peer.allowed_ips;
    }
}

fn names() -> impl Strategy<Value = IfName> {
    (1..4u8).prop_map(|n| IfName::tunnel(RouterId::new([n; 8]).unwrap(), NonZeroU8::MIN))
}

fn marks() -> impl Strategy<Value = Mark> {
    let role = prop_oneof![Just(Role::Dialled), Just(Role::Served)];
    (1..4u8, role, 1..3u8).prop_map(|(n, role, uplink)| {
        let uplink = UplinkNumber::try_from(uplink).unwrap();
        Mark { node: RouterId::new([n; 8]).unwrap(), role, uplink }
    })
}

fn prefixes() -> impl Strategy<Value = Prefix> {
    (0..4u8, any::<bool>()).prop_map(|(n, v6)| {
        let text = if v6 { format!("fd00:{n}::/32") } else { format!("10.{n}.0.0/16") };
        text.parse().unwrap()
    })
}

fn link_local() -> impl Strategy<Value = Ipv6Addr> {
    (1..3u8).prop_map(|n| RouterId::new([n; 8]).unwrap().link_local())
}

fn wg_keys() -> impl Strategy<Value = WgPrivateKey> {
    (1..4u8).prop_map(|n| WgPrivateKey::from_octets([n; 32]))
}

fn peers() -> impl Strategy<Value = Peer> {
    let endpoint = (1..3u16).prop_map(|port| (Ipv6Addr::LOCALHOST, port).into());
    let preshared = (1..3u8).prop_map(|n| PresharedKey::from_octets([n; 32]));
    let keepalive = option::of(0..3u16);
    (option::of(preshared), option::of(endpoint), keepalive, btree_set(prefixes(), 0..3)).prop_map(
        |(preshared_key, endpoint, keepalive, allowed_ips)| Peer {
            preshared_key,
            endpoint,
            keepalive,
            allowed_ips,
        },
    )
}

fn peer_maps() -> impl Strategy<Value = BTreeMap<WgPublicKey, Peer>> {
    btree_map((1..4u8).prop_map(|n| WgPublicKey([n; 32])), peers(), 0..3)
}

fn tunnels() -> impl Strategy<Value = Tunnel> {
    let device = (option::of(wg_keys()), 1..3u16, option::of(0..3u32), peer_maps());
    (marks(), link_local(), 1280..1283u32, device).prop_map(
        |(mark, link_local, mtu, (private_key, port, fwmark, peers))| Tunnel {
            mark,
            link_local,
            mtu,
            wireguard: WireGuard { private_key, port, fwmark, peers },
        },
    )
}

fn observed_tunnels() -> impl Strategy<Value = ObservedTunnel> {
    let device = (option::of(wg_keys()), 0..3u16, option::of(1..3u32), peer_maps());
    let device = option::of(device.prop_map(|(private_key, port, fwmark, peers)| {
        let peers = peers.into_iter().map(|(key, peer)| (key, observed_peer(peer))).collect();
        ObservedWireGuard { private_key, port, fwmark, peers }
    }));
    (
        option::of(marks()),
        any::<bool>(),
        1280..1283u32,
        btree_set(link_local(), 0..3),
        device,
        1..100u32,
    )
        .prop_map(|(mark, up, mtu, link_local, wireguard, link)| ObservedTunnel {
            link: LinkId(link),
            mark,
            up,
            mtu,
            link_local,
            wireguard,
        })
}

fn observed_peer(peer: Peer) -> ObservedPeer {
    ObservedPeer {
        preshared_key: peer.preshared_key,
        endpoint: peer.endpoint,
        keepalive: peer.keepalive.filter(|seconds| *seconds != 0),
        allowed_ips: peer.allowed_ips,
    }
}

fn route_keys() -> impl Strategy<Value = RouteKey> {
    (prefixes(), option::of(prefixes())).prop_map(|(prefix, source)| RouteKey { prefix, source })
}

fn targets() -> impl Strategy<Value = RouteTarget> {
    let via = (1..4u32, link_local()).prop_map(|(link, gateway)| {
        let hop = NextHop { link: LinkId(link), gateway: gateway.into(), preferred_source: None };
        RouteTarget::Via(hop)
    });
    prop_oneof![via, Just(RouteTarget::Unreachable)]
}

fn addresses() -> impl Strategy<Value = BTreeSet<IpAddr>> {
    btree_set((1..4u16).prop_map(|n| Ipv6Addr::from([0xfd00, 0, 0, 0, 0, 0, 0, n]).into()), 0..3)
}

fn rules() -> impl Strategy<Value = BTreeSet<Rule>> {
    let rule = (1..3u32, 1..3u32).prop_map(|(fwmark, table)| Rule {
        family: Family::V6,
        priority: 100,
        fwmark,
        table,
    });
    btree_set(rule, 0..3)
}

fn guarded() -> impl Strategy<Value = GuardedNetwork> {
    let links = btree_set((0..2u8).prop_map(|n| format!("eth{n}").parse().unwrap()), 0..2);
    (prefixes(), btree_set(prefixes(), 0..2), links)
        .prop_map(|(network, own, links)| GuardedNetwork::new(network, own, links))
}

fn sources() -> impl Strategy<Value = Sources> {
    prop_oneof![
        Just(Sources::Any),
        btree_set(prefixes(), 0..3).prop_map(|only| Sources::of(only.iter()))
    ]
}

fn observed_guards() -> impl Strategy<Value = ObservedGuards> {
    let tunnels = btree_map(names(), sources(), 0..3);
    let intact = (guarded(), tunnels, btree_set(1..4u16, 0..3))
        .prop_map(|(ground, tunnels, ports)| Guards { ground, tunnels, ports });
    prop_oneof![
        Just(ObservedGuards::Absent),
        Just(ObservedGuards::Foreign),
        Just(ObservedGuards::Broken),
        intact.prop_map(ObservedGuards::Intact),
    ]
}

fn desired() -> impl Strategy<Value = Desired> {
    (
        btree_map(names(), tunnels(), 0..3),
        addresses(),
        btree_map(route_keys(), targets(), 0..5),
        btree_set(prefixes(), 0..3),
        rules(),
        option::of(guarded()),
    )
        .prop_map(|(tunnels, addresses, routes, unreachable, rules, guards)| Desired {
            tunnels,
            addresses,
            routes,
            unreachable,
            rules,
            guards,
        })
}

fn observed() -> impl Strategy<Value = Observed> {
    (
        btree_map(names(), observed_tunnels(), 0..3),
        btree_set(names(), 0..2),
        addresses(),
        btree_map(route_keys(), option::of(targets()), 0..5),
        btree_set(prefixes(), 0..3),
        rules(),
        observed_guards(),
    )
        .prop_map(|(mut tunnels, foreign, addresses, routes, unreachable, rules, guards)| {
            tunnels.retain(|name, _| !foreign.contains(name));
            Observed { tunnels, foreign, addresses, routes, unreachable, rules, guards }
        })
}

/// Whether the interface is what was asked for, field by field.
fn matches(have: &ObservedTunnel, want: &Tunnel) -> bool {
    let device = have.wireguard.as_ref().unwrap();
    let key = want.wireguard.private_key.as_ref();
    have.mark == Some(want.mark)
        && have.up
        && have.mtu == want.mtu
        && have.link_local == BTreeSet::from([want.link_local])
        && key.is_none_or(|key| Some(key) == device.private_key.as_ref())
        && device.port == want.wireguard.port
        && device.fwmark.unwrap_or(0) == want.wireguard.fwmark.unwrap_or(0)
        && device.peers.keys().eq(want.wireguard.peers.keys())
        && want.wireguard.peers.iter().all(|(key, peer)| satisfies(&device.peers[key], peer))
}

proptest! {
    #[test]
    fn the_plan_leads_from_any_state_to_the_desired_one(want in desired(), have in observed()) {
        let mut state = have.clone();
        for change in plan(&want, &have) {
            apply(&mut state, &change);
        }
        prop_assert_eq!(&state.foreign, &have.foreign);
        prop_assert_eq!(&state.addresses, &want.addresses);
        prop_assert_eq!(&state.unreachable, &want.unreachable);
        prop_assert_eq!(&state.rules, &want.rules);
        let targets = state.routes.iter().map(|(key, target)| (*key, target.unwrap()));
        prop_assert!(targets.eq(want.routes.clone()));
        for (name, tunnel) in &want.tunnels {
            let taken = have.foreign.contains(name);
            let made = state.tunnels.get(name);
            prop_assert!(taken || matches(made.unwrap(), tunnel), "{:?}", made);
            let (before, after) = (have.tunnels.get(name), state.tunnels.get(name));
            if before.is_some_and(|b| b.wireguard.is_some()) {
                // Adopted, not made anew: its index, and with it every route through it, stays.
                prop_assert_eq!(before.unwrap().link, after.unwrap().link);
            }
        }
        prop_assert!(state.tunnels.keys().all(|name| want.tunnels.contains_key(name)));
        let guards = match (&have.guards, desired_guards(&want)) {
            (ObservedGuards::Foreign, _) => ObservedGuards::Foreign,
            (_, Some(guards)) => ObservedGuards::Intact(guards),
            (_, None) => ObservedGuards::Absent,
        };
        prop_assert_eq!(&state.guards, &guards);
        // What remains is only what the kernel refuses.
        for change in plan(&want, &state) {
            let refused = match &change {
                Change::CreateTunnel(name, _) => have.foreign.contains(name),
                Change::Guard(_) => have.guards == ObservedGuards::Foreign,
                _ => false,
            };
            prop_assert!(refused, "{:?}", change);
        }
    }

    #[test]
    fn guards_let_in_what_a_tunnel_brings_as_long_as_it_is_there(
        want in desired(), have in observed()
    ) {
        let guarded = |state: &Observed, name: &IfName| match &state.guards {
            ObservedGuards::Intact(guards) => guards.tunnels.contains_key(name),
            _ => false,
        };
        let mut state = have.clone();
        // Those that were let in at the start, and those that are made under guard.
        let mut let_in: BTreeSet<IfName> =
            have.tunnels.keys().filter(|name| guarded(&have, name)).cloned().collect();
        for change in plan(&want, &have) {
            apply(&mut state, &change);
            if let Change::CreateTunnel(name, _) = &change
                && want.guards.is_some()
                && have.guards != ObservedGuards::Foreign
            {
                let_in.insert(name.clone());
            }
            let there = let_in.iter().filter(|name| state.tunnels.contains_key(*name));
            prop_assert!(
                change == Change::Unguard || { there }.all(|name| guarded(&state, name)),
                "{:?}", change
            );
            if change == Change::Unguard {
                prop_assert!(state.tunnels.is_empty() || want.guards.is_none());
                let_in.clear();
            }
        }
    }
}

#[test]
fn what_catches_leaks_comes_first_and_goes_last() {
    let prefix: Prefix = "fd00::/48".parse().unwrap();
    let address: IpAddr = "fd00::1".parse().unwrap();
    let key = RouteKey::to("fd00:1::/64".parse().unwrap());
    let full = Desired {
        addresses: [address].into(),
        routes: [(key, RouteTarget::Unreachable)].into(),
        unreachable: [prefix].into(),
        ..Desired::default()
    };
    let up = plan(&full, &Observed::default());
    assert_eq!(up.first(), Some(&Change::AddUnreachable(prefix)));
    assert!(matches!(up.last(), Some(Change::Route(RouteChange::Replace(..)))));
    let mut state = Observed::default();
    up.iter().for_each(|change| apply(&mut state, change));
    let down = plan(&Desired::default(), &state);
    assert!(matches!(down.first(), Some(Change::Route(RouteChange::Remove(_)))));
    assert_eq!(down.last(), Some(&Change::RemoveUnreachable(prefix)));
}

#[test]
fn a_changed_endpoint_is_an_update_of_that_peer_alone() {
    let (key, other) = (WgPublicKey([1; 32]), WgPublicKey([2; 32]));
    let endpoint = |port| Some((Ipv6Addr::LOCALHOST, port).into());
    let want = BTreeMap::from([
        (key, Peer { endpoint: endpoint(2), ..Peer::default() }),
        (other, Peer::default()),
    ]);
    let have = BTreeMap::from([
        (key, ObservedPeer { endpoint: endpoint(1), ..ObservedPeer::default() }),
        (other, ObservedPeer { endpoint: endpoint(9), ..ObservedPeer::default() }),
    ]);
    assert_eq!(changed_peers(&want, &have).into_keys().collect::<Vec<_>>(), [key]);
}
