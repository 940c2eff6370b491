use proptest::prelude::*;

use super::*;

fn set(lines: &str) -> Result<Update, Errno> {
    match Request::parse(&format!("set=1\n{lines}\n"))? {
        Request::Set(update) => Ok(update),
        Request::Get => unreachable!("it says set"),
    }
}

#[test]
fn a_whole_configuration_is_read() {
    let key = "ab".repeat(32);
    let none = "00".repeat(32);
    let update = set(&format!(
        "private_key={key}\nfwmark=0x10\nlisten_port=51820\nreplace_peers=true\n\
         public_key={key}\nreplace_allowed_ips=true\npreshared_key={none}\n\
         endpoint=[fe80::1%3]:5000\npersistent_keepalive_interval=25\n\
         allowed_ip=fd00::1:2/64\nallowed_ip=10.0.0.0/8\nprotocol_version=1\n\
         public_key={none}\nremove=true\nupdate_only=true\n"
    ));
    let peer = PeerUpdate {
        replace_allowed_ips: true,
        preshared_key: Some(None),
        endpoint: Some("[fe80::1%3]:5000".parse().unwrap()),
        keepalive: Some(25),
        allowed_ips: ["fd00::/64", "10.0.0.0/8"]
            .map(|prefix| (prefix.parse().unwrap(), Allowed::Added))
            .into(),
        ..PeerUpdate::of(WgPublicKey([0xab; 32]))
    };
    let gone =
        PeerUpdate { remove: true, update_only: true, ..PeerUpdate::of(WgPublicKey([0; 32])) };
    let wanted = Update {
        private_key: Some(Some(WgPrivateKey::from_octets([0xab; 32]))),
        port: Some(51820),
        fwmark: Some(16),
        replace_peers: true,
        peers: vec![peer, gone],
        greeting: Greeting::WhenNeeded,
    };
    assert_eq!(update, Ok(wanted));
    assert_eq!(set(""), Ok(Update::default()));
    assert_eq!(Request::parse("get=1\n"), Ok(Request::Get));
    assert_eq!(set("fwmark=\n").unwrap().fwmark, Some(0));
    assert_eq!(set(&format!("private_key={none}\n")).unwrap().private_key, Some(None));
}

#[test]
fn a_scope_may_be_the_name_of_an_interface() {
    let key = "ab".repeat(32);
    let update = set(&format!("public_key={key}\nendpoint=[fe80::1%lo]:5000\n")).unwrap();
    assert_eq!(update.peers[0].endpoint, Some("[fe80::1%1]:5000".parse().unwrap()));
}

#[test]
fn what_is_not_understood_is_refused() {
    let key = "ab".repeat(32);
    for request in ["", "get=2\n", "get=1\nset=1\n", "set=1\nlisten_port\n"] {
        assert_eq!(Request::parse(request), Err(Errno::EINVAL), "{request:?}");
    }
    for line in [
        "listen_port=65536",
        "private_key=abcd",
        "private_key=zz",
        "replace_peers=false",
        "fwmark=x",
        "endpoint=192.0.2.1:1",
        "mtu=1420",
    ] {
        assert_eq!(set(&format!("{line}\n")), Err(Errno::EINVAL), "{line}");
    }
    for line in [
        "endpoint=192.0.2.1",
        "endpoint=[fe80::1%nosuchif]:1",
        "allowed_ip=10.0.0.0",
        "allowed_ip=10.0.0.0/33",
        "listen_port=1",
        "protocol_version=2",
    ] {
        let text = format!("public_key={key}\n{line}\n");
        assert_eq!(set(&text), Err(Errno::EINVAL), "{line}");
    }
}

#[test]
fn a_device_is_written_as_tools_read_it() {
    let device = Device {
        private_key: Some(WgPrivateKey::from_octets([0x48; 32])),
        port: 51820,
        fwmark: 7,
        peers: vec![Peer {
            key: WgPublicKey([0xab; 32]),
            preshared_key: None,
            endpoint: Some("[fe80::1%3]:5000".parse().unwrap()),
            keepalive: 25,
            allowed_ips: vec!["::/0".parse().unwrap()],
            last_handshake: Some(Duration::new(1000, 5)),
            rx_bytes: 1,
            tx_bytes: 2,
        }],
    };
    let wanted = format!(
        "private_key={}\nlisten_port=51820\nfwmark=7\npublic_key={}\npreshared_key={}\n\
         protocol_version=1\nendpoint=[fe80::1%3]:5000\nlast_handshake_time_sec=1000\n\
         last_handshake_time_nsec=5\ntx_bytes=2\nrx_bytes=1\n\
         persistent_keepalive_interval=25\nallowed_ip=::/0\n",
        "48".repeat(32),
        "ab".repeat(32),
        "00".repeat(32)
    );
    assert_eq!(device.text(), wanted);
    let restoring = Update::restoring(&wanted).unwrap();
    let whole = set(&wanted.lines().fold(String::new(), |lines, line| match line {
        past if past.contains("_time_") || past.contains("_bytes") => lines,
        line => lines + line + "\n",
    }));
    assert_eq!(restoring, Update { greeting: Greeting::AtOnce, ..whole.unwrap() });
    assert_eq!(Update::restoring("listen_port=5\nnonsense"), Err(Errno::EINVAL));
    assert_eq!(outcome(Ok(())), "errno=0\n\n");
    assert_eq!(outcome(Err(Errno::EADDRINUSE)), "errno=98\n\n");
    assert_eq!(format!("{:?}", device.private_key), "Some(WgPrivateKey(secret))");
}

proptest! {
    #[test]
    fn no_text_panics(text in "(get|set)=1\n([a-z_]{1,12}=[0-9a-f:%./\\[\\]-]{0,20}\n){0,6}") {
        let _ = Request::parse(&text);
    }
}
