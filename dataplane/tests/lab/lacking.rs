//! Machines that lack something: it is worked around, or named with what to do.

use std::sync::Arc;

use nix::libc;
use sixwire_dataplane::model::{Change, Desired, GuardedNetwork, Guards, ObservedGuards, Role};
use sixwire_dataplane::{Backend, Choice, Dataplane, Error};

use crate::node::Node;

/// Why the data plane cannot be opened.
fn refusal(node: &Node, wireguard: Choice) -> Option<Error> {
    let mut options = node.options();
    options.wireguard = wireguard;
    node.run(move || async move { Dataplane::open(options).await.err() })
}

/// Keeps the node, from now on, from opening netlink sockets of a family, as a kernel does that has none.
fn deprive(node: &Node, family: isize) {
    let family = u32::try_from(family).unwrap();
    node.run(move || async move {
        let load = |at: u32| filter(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (0, 0), at);
        let is = |value: u32, no: u8| {
            filter(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, (0, no), value)
        };
        let give = |value: u32| filter(libc::BPF_RET | libc::BPF_K, (0, 0), value);
        let refused = libc::SECCOMP_RET_ERRNO | libc::EPROTONOSUPPORT.unsigned_abs();
        // `struct seccomp_data`: the number of the call, and its arguments from octet 16 on, low half first.
        let mut program = [
            load(0),
            is(u32::try_from(libc::SYS_socket).unwrap(), 5),
            load(16),
            is(libc::AF_NETLINK.unsigned_abs(), 3),
            load(32),
            is(family, 1),
            give(refused),
            give(libc::SECCOMP_RET_ALLOW),
        ];
        nix::sys::prctl::set_no_new_privs().unwrap();
        let program = libc::sock_fprog {
            len: u16::try_from(program.len()).unwrap(),
            filter: program.as_mut_ptr(),
        };
        #[expect(
            unsafe_code,
            reason = "there is no safe call for it; the program outlives the call"
        )]
        let outcome = unsafe {
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
        };
        assert_eq!(outcome, 0, "{}", std::io::Error::last_os_error());
    });
}

fn filter(code: u32, (jt, jf): (u8, u8), k: u32) -> libc::sock_filter {
    libc::sock_filter { code: u16::try_from(code).unwrap(), jt, jf, k }
}

#[test]
fn without_nftables_tunnels_work_and_what_is_not_guarded_is_said() {
    let [a, b] = [121, 122].map(Node::start);
    deprive(&a, NETLINK_NETFILTER);
    let (data, _) = a.open();
    let network = "fd00::/48".parse().unwrap();
    let ground = GuardedNetwork::new(network, [a.prefix()], Default::default());
    let refused = a.apply(&data, Change::Guard(Guards::of(ground))).unwrap_err();
    assert!(matches!(refused, Error::NoNftables(_)), "{refused}");
    for word in ["sources", "modprobe nf_tables"] {
        assert!(refused.to_string().contains(word), "{refused}");
    }
    let (name, tunnel) = a.tunnel_to(&b, Role::Dialled);
    a.reconcile(&data, &a.desired([(name, tunnel)]));
    let seen = Arc::clone(&data);
    let observed = a.run(move || async move { seen.observe().await.unwrap() });
    assert_eq!((observed.tunnels.len(), observed.guards), (1, ObservedGuards::Absent));
    a.down(&data);
}

#[test]
fn without_wireguard_in_the_kernel_the_embedded_one_is_used_unless_it_is_demanded() {
    let a = Node::start(123);
    let kernel = refusal(&a, Choice::Kernel);
    let mut options = a.options();
    options.wireguard = Choice::Auto;
    let (data, _) = a.open_with(options);
    let backend = a.run(move || async move { data.backend() });
    match kernel {
        None => assert_eq!(backend, Backend::Kernel),
        Some(error) => {
            assert!(matches!(error, Error::NoKernelWireGuard), "{error}");
            assert!(error.to_string().contains("modprobe wireguard"), "{error}");
            assert_eq!(backend, Backend::Embedded);
        }
    }
    assert!(!a.sh("ip -o link").contains("sw-probe"));
}

#[test]
fn without_ipv6_nothing_is_begun_and_the_way_out_is_named() {
    let a = Node::start(124);
    a.sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=1");
    let refused = refusal(&a, Choice::Embedded).expect("it cannot be opened");
    assert!(matches!(refused, Error::Ipv6Disabled), "{refused}");
    assert!(refused.to_string().contains("disable_ipv6=0"), "{refused}");
    assert!(!a.sh("ip -o link").contains("sw-"));
}

#[test]
fn interfaces_that_begin_without_ipv6_are_given_it_if_they_are_ours() {
    let [a, b] = [125, 126].map(Node::start);
    let (data, _) = a.open();
    a.sh("sysctl -qw net.ipv6.conf.default.disable_ipv6=1");
    let (name, tunnel) = a.tunnel_to(&b, Role::Dialled);
    let desired = a.desired([(name.clone(), tunnel)]);
    a.reconcile(&data, &desired);
    assert_eq!(a.planned(&data, &desired), []);
    // Lost on the way, it is given back.
    a.sh(&format!("sysctl -qw net.ipv6.conf.{name}.disable_ipv6=1"));
    let changes = a.reconcile(&data, &desired);
    assert!(matches!(changes[..], [Change::UpdateTunnel(..)]), "{changes:?}");
    assert_eq!(a.planned(&data, &desired), []);
    a.reconcile(&data, &Desired::default());
    a.sh("sysctl -qw net.ipv6.conf.lo.disable_ipv6=1");
    let refused = a.apply(&data, Change::AddAddress(a.address())).unwrap_err();
    assert!(matches!(refused, Error::Ipv6DisabledOn(_)), "{refused}");
    assert!(refused.to_string().contains("net.ipv6.conf.lo.disable_ipv6=0"), "{refused}");
    a.down(&data);
}

const NETLINK_NETFILTER: isize = 12;
