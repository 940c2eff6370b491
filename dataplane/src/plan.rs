//! The difference between what is and what should be, as ordered changes.

use std::collections::{BTreeMap, BTreeSet};

use sixwire_proto::keys::{WgPrivateKey, WgPublicKey};

use crate::model::{
    Change, Desired, Guards, Observed, ObservedGuards, ObservedPeer, ObservedTunnel,
    ObservedWireGuard, Peer, RouteChange, Tunnel, TunnelUpdate, WireGuard, WireGuardUpdate,
};

/// The changes that lead from `observed` to `desired`, empty when nothing differs.
///
/// The order loses no packet: what catches leaks comes first and goes last, tunnels are there before
/// the routes through them and go after them, addresses are there before routes prefer them, guards let
/// a tunnel's packets in from before it is there until after it has gone.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed) -> Vec<Change> {
    let mut changes = Vec::new();
    changes.extend(missing(&desired.unreachable, &observed.unreachable, Change::AddUnreachable));
    changes.extend(missing(&desired.addresses, &observed.addresses, Change::AddAddress));
    changes.extend(missing(&desired.rules, &observed.rules, Change::AddRule));
    let guards = desired_guards(desired);
    let meanwhile = guards.clone().map(|guards| with_unwanted(guards, desired, observed));
    changes.extend(guard(meanwhile.clone(), &observed.guards));
    for (name, tunnel) in &desired.tunnels {
        changes.extend(tunnel_change(name.clone(), tunnel, observed.tunnels.get(name)));
    }
    changes.extend(route_changes(desired, observed));
    let unwanted = observed.tunnels.keys().filter(|name| !desired.tunnels.contains_key(*name));
    changes.extend(unwanted.cloned().map(Change::RemoveTunnel));
    match (guards, &observed.guards) {
        (None, ObservedGuards::Broken | ObservedGuards::Intact(_)) => changes.push(Change::Unguard),
        (None, ObservedGuards::Absent | ObservedGuards::Foreign) => {}
        (Some(guards), _) if Some(&guards) == meanwhile.as_ref() => {}
        (Some(guards), _) => changes.push(Change::Guard(guards)),
    }
    changes.extend(missing(&observed.rules, &desired.rules, Change::RemoveRule));
    changes.extend(missing(&observed.addresses, &desired.addresses, Change::RemoveAddress));
    changes.extend(missing(&observed.unreachable, &desired.unreachable, Change::RemoveUnreachable));
    changes
}

/// The guards of all tunnels that there should be.
fn desired_guards(desired: &Desired) -> Option<Guards> {
    let mut guards = Guards::of(desired.guards.clone()?);
    for (name, tunnel) in &desired.tunnels {
        guards.add(name, &tunnel.wireguard);
    }
    Some(guards)
}

/// Those, and the ones of tunnels that are there still.
fn with_unwanted(mut guards: Guards, desired: &Desired, observed: &Observed) -> Guards {
    let ObservedGuards::Intact(before) = &observed.guards else { return guards };
    let unwanted = |name: &&crate::model::IfName| {
        observed.tunnels.contains_key(*name) && !desired.tunnels.contains_key(*name)
    };
    for name in before.tunnels.keys().filter(unwanted) {
        guards.tunnels.extend(before.tunnels.get(name).map(|from| (name.clone(), from.clone())));
        guards.ports.extend(&before.ports);
    }
    guards
}

fn guard(guards: Option<Guards>, observed: &ObservedGuards) -> Option<Change> {
    let differs = |guards: &Guards| match observed {
        ObservedGuards::Intact(present) => present != guards,
        ObservedGuards::Absent | ObservedGuards::Foreign | ObservedGuards::Broken => true,
    };
    guards.filter(differs).map(Change::Guard)
}

/// What `wanted` has and `present` lacks.
fn missing<T: Copy + Ord>(
    wanted: &BTreeSet<T>,
    present: &BTreeSet<T>,
    change: impl Fn(T) -> Change,
) -> Vec<Change> {
    wanted.difference(present).copied().map(change).collect()
}

fn route_changes(desired: &Desired, observed: &Observed) -> Vec<Change> {
    let differs = |key, target| observed.routes.get(key) != Some(&Some(target));
    let replaced = desired
        .routes
        .iter()
        .filter(|(key, target)| differs(*key, **target))
        .map(|(key, target)| RouteChange::Replace(*key, *target));
    let removed = observed
        .routes
        .keys()
        .filter(|key| !desired.routes.contains_key(*key))
        .map(|key| RouteChange::Remove(*key));
    replaced.chain(removed).map(Change::Route).collect()
}

fn tunnel_change(
    name: crate::model::IfName,
    tunnel: &Tunnel,
    observed: Option<&ObservedTunnel>,
) -> Option<Change> {
    let Some((observed, wireguard)) = observed.and_then(|o| Some((o, o.wireguard.as_ref()?)))
    else {
        return Some(Change::CreateTunnel(name, tunnel.clone()));
    };
    let update = TunnelUpdate {
        mark: (observed.mark != Some(tunnel.mark)).then_some(tunnel.mark),
        link_local: (observed.link_local != BTreeSet::from([tunnel.link_local]))
            .then_some(tunnel.link_local),
        mtu: (observed.mtu != tunnel.mtu).then_some(tunnel.mtu),
        wireguard: wireguard_update(&tunnel.wireguard, wireguard),
        bring_up: !observed.up,
    };
    (!update.is_empty()).then_some(Change::UpdateTunnel(name, update))
}

fn wireguard_update(desired: &WireGuard, observed: &ObservedWireGuard) -> WireGuardUpdate {
    // By their public halves: the kernel gives a private key back with some bits set.
    let public = |key: &WgPrivateKey| key.public();
    let observed_key = observed.private_key.as_ref().map(public);
    let key_differs = desired.private_key.as_ref().map(public) != observed_key;
    let fwmark = desired.fwmark.unwrap_or(0);
    WireGuardUpdate {
        private_key: desired.private_key.clone().filter(|_| key_differs),
        port: (desired.port != observed.port).then_some(desired.port),
        fwmark: (fwmark != observed.fwmark.unwrap_or(0)).then_some(fwmark),
        peers: changed_peers(&desired.peers, &observed.peers),
        removed: observed
            .peers
            .keys()
            .filter(|key| !desired.peers.contains_key(*key))
            .copied()
            .collect(),
    }
}

fn changed_peers(
    desired: &BTreeMap<WgPublicKey, Peer>,
    observed: &BTreeMap<WgPublicKey, ObservedPeer>,
) -> BTreeMap<WgPublicKey, Peer> {
    desired
        .iter()
        .filter(|(key, peer)| !observed.get(*key).is_some_and(|have| satisfies(have, peer)))
        .map(|(key, peer)| (*key, peer.clone()))
        .collect()
}

fn satisfies(have: &ObservedPeer, want: &Peer) -> bool {
    (want.preshared_key.is_none() || want.preshared_key == have.preshared_key)
        && (want.endpoint.is_none() || want.endpoint == have.endpoint)
        && want.keepalive.unwrap_or(0) == have.keepalive.unwrap_or(0)
        && want.allowed_ips == have.allowed_ips
}

#[cfg(test)]
mod tests;
