//! The embedded WireGuard's process is killed, and tunnels go on.

use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::symlink;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sixwire_dataplane::model::{Change, TunnelUpdate};
use sixwire_dataplane::{Choice, Dataplane, Events, KernelEvent};
use tokio::time::Instant;

use crate::node::{Node, public};
use crate::tunnels::{Pair, index, pair};

/// Sends a hundred probes in a second, from a thread of its own in a's namespace, until this is dropped.
struct Probes(mpsc::Receiver<Instant>);

impl Probes {
    fn start(pair: &Pair) -> Self {
        let (from, to) = (pair.a.address(), SocketAddr::from((pair.b.address(), 7)));
        let (answered, answers) = mpsc::channel();
        pair.a.run(move || async move {
            let socket = UdpSocket::bind((from, 0)).unwrap();
            std::thread::spawn(move || {
                loop {
                    let next = Instant::now() + Duration::from_millis(10);
                    // The route goes with the tunnel, not with the helper.
                    if socket.send_to(b"hello", to).is_err() {
                        return;
                    }
                    while let Some(rest) = next.checked_duration_since(Instant::now())
                        && !rest.is_zero()
                    {
                        socket.set_read_timeout(Some(rest)).unwrap();
                        if socket.recv(&mut [0; 10]).is_ok()
                            && answered.send(Instant::now()).is_err()
                        {
                            return;
                        }
                    }
                }
            });
        });
        Self(answers)
    }

    /// When the first answer came after `then`.
    fn answer_after(&self, then: Instant) -> Instant {
        loop {
            let answer = self.0.recv_timeout(Duration::from_secs(20)).expect("an answer");
            if answer > then {
                return answer;
            }
        }
    }
}

fn kill_helper(node: &Node) -> Instant {
    let pid = node.helper_pid().expect("it runs");
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    Instant::now()
}

fn restarted(node: &Node, events: Events) -> (usize, Events) {
    let is_restart = |event: &KernelEvent| matches!(event, KernelEvent::HelperRestarted { .. });
    match node.event(events, is_restart) {
        (KernelEvent::HelperRestarted { tunnels }, events) => (tunnels, events),
        _ => unreachable!("that was picked"),
    }
}

/// The same pair, a's data plane opened anew: it has adopted what it works with.
fn adopted(mut pair: Pair) -> (Pair, Events) {
    let (fresh, events) = pair.a.open();
    // It takes hold of what the helper has when it looks at it.
    assert_eq!(pair.a.planned(&fresh, &pair.desired[0]).len(), 1, "but for the route");
    pair.data[0] = fresh;
    (pair, events)
}

fn is_kernel() -> bool {
    std::env::var("SIXWIRE_TEST_WIREGUARD").as_deref() == Ok("kernel")
}

#[test]
fn packets_pass_again_within_a_second_and_the_kernel_sees_no_change() {
    if is_kernel() {
        return;
    }
    let (pair, events) = adopted(pair([71, 72]));
    pair.echoes();
    let before = index(&pair.a, &pair.data[0]);
    let [routes, links] = [pair.a.sh("ip -6 route"), pair.a.sh("ip -o link")];
    let probes = Probes::start(&pair);
    probes.answer_after(Instant::now());
    let killed = kill_helper(&pair.a);
    let (tunnels, events) = restarted(&pair.a, events);
    let back = killed.elapsed();
    assert_eq!(tunnels, 1);
    let gap = probes.answer_after(killed) - killed;
    println!(
        "killed: back after {} ms, next answer after {} ms",
        back.as_millis(),
        gap.as_millis()
    );
    assert!(gap < Duration::from_secs(1), "{gap:?}");
    assert_eq!(index(&pair.a, &pair.data[0]), before);
    assert_eq!([pair.a.sh("ip -6 route"), pair.a.sh("ip -o link")], [routes, links]);
    let planned = pair.a.planned(&pair.data[0], &pair.desired[0]);
    assert!(matches!(planned[..], [Change::Route(_)]), "{planned:?}");
    let health = pair.data[0].helper_health().unwrap();
    assert_eq!((health.restarts, health.trouble), (1, None));
    assert!(health.since_restart.is_some_and(|since| since < Duration::from_secs(60)));
    // A second time soon after is answered a little later, and all is well again.
    kill_helper(&pair.a);
    let (tunnels, _events) = restarted(&pair.a, events);
    assert_eq!(tunnels, 1);
    pair.echoes();
    let (data, name) = (Arc::clone(&pair.data[0]), pair.name.clone());
    let stats = pair.a.run(move || async move { data.tunnel_stats(&name).await.unwrap() });
    let peer = stats.peers[&public(72)];
    assert_eq!(peer.endpoint, Some(pair.b.cable_endpoint()));
    assert!(peer.handshake_age.is_some_and(|age| age < Duration::from_secs(60)), "{peer:?}");
    pair.down();
    for node in [&pair.a, &pair.b] {
        assert!(!node.sh("ip -o link").contains("sw-"));
    }
}

#[test]
fn a_hundred_tunnels_are_back_within_a_second() {
    if is_kernel() {
        return;
    }
    let a = Node::start(70);
    let (data, events) = a.open();
    let desired = a.desired((100..200).map(|octet| {
        let (name, mut tunnel) = a.tunnel_to_stranger(octet);
        tunnel.wireguard.port += u16::from(octet);
        (name, tunnel)
    }));
    a.reconcile(&data, &desired);
    let links = a.sh("ip -o link");
    let killed = kill_helper(&a);
    let (tunnels, _events) = restarted(&a, events);
    let back = killed.elapsed();
    println!("killed with 100 tunnels: back after {} ms", back.as_millis());
    assert_eq!(tunnels, 100);
    assert!(back < Duration::from_secs(1), "{back:?}");
    assert_eq!(a.sh("ip -o link"), links);
    assert_eq!(a.planned(&data, &desired), []);
    a.down(&data);
}

#[test]
fn where_a_peer_has_moved_to_is_known_after_a_kill() {
    if is_kernel() {
        return;
    }
    let (pair, events) = adopted(pair([73, 74]));
    pair.echoes();
    // a is told nothing: it hears b from there.
    let port = 51_999;
    let mut update = TunnelUpdate::default();
    update.wireguard.port = Some(port);
    let name = pair.desired[1].tunnels.keys().next().unwrap().clone();
    pair.b.apply(&pair.data[1], Change::UpdateTunnel(name, update)).unwrap();
    pair.echoes();
    let moved = SocketAddr::new(pair.b.cable_endpoint().ip(), port);
    let (a, data, name) = (Arc::clone(&pair.a), Arc::clone(&pair.data[0]), pair.name.clone());
    let endpoint = move || {
        let (data, name) = (Arc::clone(&data), name.clone());
        let stats = a.run(move || async move { data.tunnel_stats(&name).await.unwrap() });
        stats.peers[&public(74)].endpoint
    };
    assert_eq!(endpoint(), Some(moved));
    // It is noted a quarter of a second later at the latest, without a sign to wait for.
    pair.a.run(|| tokio::time::sleep(Duration::from_millis(500)));
    kill_helper(&pair.a);
    let (_, _events) = restarted(&pair.a, events);
    assert_eq!(endpoint(), Some(moved));
    pair.echoes();
    pair.down();
}

#[test]
fn a_change_that_meets_the_kill_is_made_all_the_same() {
    if is_kernel() {
        return;
    }
    let (pair, _events) = adopted(pair([75, 76]));
    pair.echoes();
    let tunnel = pair.desired[0].tunnels[&pair.name].clone();
    let update = move |round: u16| {
        let mut update = TunnelUpdate::default();
        update.wireguard.peers = tunnel.wireguard.peers.clone();
        update.wireguard.peers.values_mut().for_each(|peer| peer.keepalive = Some(10 + round));
        update
    };
    let pid = pair.a.helper_pid().unwrap();
    let (data, name) = (Arc::clone(&pair.data[0]), pair.name.clone());
    pair.a.run(move || async move {
        for round in 0..100 {
            if round == 50 {
                kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
            }
            data.apply(&Change::UpdateTunnel(name.clone(), update(round))).await.unwrap();
        }
    });
    let (data, name) = (Arc::clone(&pair.data[0]), pair.name.clone());
    let observed = pair.a.run(move || async move { data.observe().await.unwrap() });
    let device = observed.tunnels[&name].wireguard.as_ref().unwrap();
    assert_eq!(device.peers[&public(76)].keepalive, Some(109));
    assert_ne!(pair.a.helper_pid(), Some(pid));
    pair.echoes();
    pair.down();
}

#[test]
fn what_was_removed_before_or_after_a_kill_stays_away() {
    if is_kernel() {
        return;
    }
    let a = Node::start(77);
    let (data, events) = a.open();
    let tunnels: Vec<_> = (100..103)
        .map(|octet| {
            let (name, mut tunnel) = a.tunnel_to_stranger(octet);
            tunnel.wireguard.port += u16::from(octet);
            (name, tunnel)
        })
        .collect();
    a.reconcile(&data, &a.desired(tunnels.clone()));
    a.sh(&format!("ip link del {}", tunnels[0].0));
    a.reconcile(&data, &a.desired(tunnels[1..].to_vec()));
    kill_helper(&a);
    let (carried, _events) = restarted(&a, events);
    assert_eq!(carried, 2);
    assert_eq!(a.planned(&data, &a.desired(tunnels[1..].to_vec())), []);
    kill_helper(&a);
    a.apply(&data, Change::RemoveTunnel(tunnels[1].0.clone())).unwrap();
    let settled = Arc::clone(&data);
    a.run(move || async move { settled.settle().await });
    let links = a.sh("ip -o link");
    assert_eq!(links.matches("sw-").count(), 1, "{links}");
    a.down(&data);
    assert!(!a.sh("ip -o link").contains("sw-"));
    assert_eq!(a.helper_pid(), None);
}

#[test]
fn a_helper_that_cannot_be_started_again_is_named_and_tried_until_it_can() {
    if is_kernel() {
        return;
    }
    let a = Node::start(78);
    let program = a.run_dir().join("program");
    let point_to = |target: &str| {
        let link = a.run_dir().join("new");
        symlink(target, &link).unwrap();
        std::fs::rename(link, &program).unwrap();
    };
    point_to(env!("CARGO_BIN_EXE_sixwire-wireguard-helper"));
    let mut options = a.options();
    options.wireguard = Choice::Embedded;
    options.helper_program.clone_from(&program);
    let (data, events) = a.open_with(options);
    let (name, tunnel) = a.tunnel_to_stranger(79);
    let desired = a.desired([(name, tunnel)]);
    a.reconcile(&data, &desired);
    point_to("/bin/false");
    kill_helper(&a);
    let trouble = trouble(&a, &data);
    assert!(trouble.contains("times in a row") && trouble.contains("at once"), "{trouble}");
    let refused = a.apply(
        &data,
        Change::CreateTunnel(a.tunnel_to_stranger(80).0, {
            let mut tunnel = a.tunnel_to_stranger(80).1;
            tunnel.wireguard.port += 1;
            tunnel
        }),
    );
    let refused = refused.expect_err("nobody can make it").to_string();
    assert!(refused.contains("embedded WireGuard"), "{refused}");
    point_to(env!("CARGO_BIN_EXE_sixwire-wireguard-helper"));
    let (carried, _events) = restarted(&a, events);
    assert_eq!(carried, 1);
    assert_eq!(a.planned(&data, &desired), []);
    a.down(&data);
}

/// What is wrong with the helper, once something is.
fn trouble(node: &Node, data: &Arc<Dataplane>) -> String {
    let data = Arc::clone(data);
    node.run(move || async move {
        loop {
            if let Some(trouble) = data.helper_health().unwrap().trouble
                && trouble.contains("at its start")
            {
                return trouble;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
}
