//! Kernel parameters.

use sixwire_dataplane::forwarding;

use crate::node::Node;

#[test]
fn forwarding_is_enabled_and_router_advertisements_are_still_heeded() {
    let a = Node::start(61);
    a.sh("ip link add uplink type veth peer name other");
    let read = |key: &'static str| {
        let text =
            a.run(move || async move { std::fs::read_to_string(format!("/proc/sys/net/{key}")) });
        text.unwrap().trim().to_owned()
    };
    assert_eq!(read("ipv6/conf/uplink/accept_ra"), "1");
    for _ in 0..2 {
        a.run(|| async {
            forwarding::enable_ipv6().unwrap();
            forwarding::enable_ipv4().unwrap();
        });
        assert_eq!(read("ipv6/conf/all/forwarding"), "1");
        assert_eq!(read("ipv6/conf/uplink/forwarding"), "1");
        assert_eq!(read("ipv6/conf/uplink/accept_ra"), "2");
        assert_eq!(read("ipv6/conf/default/accept_ra"), "2");
        assert_eq!(read("ipv4/ip_forward"), "1");
    }
}

#[test]
fn a_parameter_that_cannot_be_set_is_named_with_its_value() {
    let a = Node::start(62);
    let refused = a.run(|| async {
        nix::mount::mount(
            Some("/proc/sys"),
            "/proc/sys",
            None::<&str>,
            nix::mount::MsFlags::MS_BIND,
            None::<&str>,
        )
        .unwrap();
        let read_only = nix::mount::MsFlags::MS_BIND
            | nix::mount::MsFlags::MS_REMOUNT
            | nix::mount::MsFlags::MS_RDONLY;
        nix::mount::mount(None::<&str>, "/proc/sys", None::<&str>, read_only, None::<&str>)
            .unwrap();
        forwarding::enable_ipv4().unwrap_err().to_string()
    });
    assert!(refused.contains("net.ipv4.ip_forward = 1"), "{refused}");
    assert!(refused.contains("--sysctl net.ipv4.ip_forward=1"), "{refused}");
}
