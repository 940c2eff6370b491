use clap::Parser;

use super::*;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    keys: Keys,
}

fn flags(arguments: &[&str]) -> Keys {
    Flags::try_parse_from([&["up"], arguments].concat()).unwrap().keys
}

fn load(text: &str, over: Keys) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.toml");
    std::fs::write(&file, text).unwrap();
    Config::load(Some(&file), over)
        .map_err(|error| error.to_string().replace(dir.path().to_str().unwrap(), ""))
}

#[test]
fn an_empty_file_gives_the_defaults() {
    let config = load("", Keys::default()).unwrap();
    assert_eq!(config.state_dir, Path::new("/var/lib/sixwire"));
    assert_eq!(config.run_dir, Path::new("/run/sixwire"));
    assert_eq!((config.table, config.address_interface.as_str()), (254, "lo"));
    assert!(!config.own_namespace);
    assert_eq!(config.signalling.port, 6326);
    assert_eq!(config.signalling.listen, [IpAddr::V6(Ipv6Addr::UNSPECIFIED)]);
    assert_eq!(config.tunnels.ports.to_string(), "51820-51899");
    assert_eq!(config.log, Log { level: LogLevel::Info, format: LogFormat::Logfmt });
}

const FULL: &str = r#"
state_dir = "/s"
run_dir = "/r"
wireguard = "embedded"
table = 42
address_interface = "dummy0"
own_namespace = true

[signalling]
listen = ["192.0.2.1", "2001:db8::1"]
port = 7000
addresses = ["198.51.100.1", "[2001:db8::2]:443"]

[tunnels]
ports = "40000-40009"
dialled = 3
served = 0
preferred = ["0123456789abcdef"]

[babel]
hello_interval = "500ms"
update_interval = "2s"
interface = [{ name = "wgx", cost = 100 }, { name = "eth1" }]

[[uplink]]
name = "dsl"
table = 101

[[uplink]]
name = "fibre"
table = 102
weight = 3

[log]
level = "debug"
format = "json"
"#;

#[test]
fn every_key_of_the_file_arrives() {
    let config = load(FULL, Keys::default()).unwrap();
    assert_eq!((config.state_dir, config.run_dir), ("/s".into(), "/r".into()));
    assert_eq!((config.wireguard, config.table), (Wireguard::Embedded, 42));
    assert_eq!((config.address_interface.as_str(), config.own_namespace), ("dummy0", true));
    let addresses = ["198.51.100.1:7000", "[2001:db8::2]:443"].map(|text| text.parse().unwrap());
    assert_eq!(config.signalling.addresses, addresses);
    assert_eq!(config.signalling.listen.len(), 2);
    assert_eq!((config.tunnels.dialled, config.tunnels.served), (Some(3), Some(0)));
    assert_eq!(config.tunnels.ports.range().count(), 10);
    assert_eq!(config.tunnels.preferred, ["0123456789abcdef".parse().unwrap()]);
    assert_eq!(config.babel.hello_interval, Some(Duration::from_millis(500)));
    assert_eq!(config.babel.update_interval, Some(Duration::from_secs(2)));
    let costs: Vec<u16> = config.babel.interfaces.iter().map(|i| i.cost.0).collect();
    assert_eq!(costs, [100, 96]);
    assert_eq!(config.log, Log { level: LogLevel::Debug, format: LogFormat::Json });
    let uplinks: Vec<_> = config
        .uplinks
        .iter()
        .map(|uplink| (uplink.name.as_str(), uplink.table.number(), uplink.weight.get()))
        .collect();
    assert_eq!(uplinks, [("dsl", 101, 1), ("fibre", 102, 3)]);
}

#[test]
fn no_more_uplinks_than_there_are_numbers_for() {
    let list = |count: u32| {
        let one = |number| format!("[[uplink]]\nname = \"u{number}\"\ntable = {number}\n");
        (1..=count).map(one).collect::<String>()
    };
    assert_eq!(load(&list(8), Keys::default()).unwrap().uplinks.len(), 8);
    let error = load(&list(9), Keys::default()).unwrap_err();
    assert!(error.ends_with("uplink: more than 8 uplinks"), "{error}");
}

#[test]
fn keys_of_an_interface_are_named_by_file_and_never_by_value() {
    let interface = "[[babel.interface]]\nname = \"eth0\"\naccept_unauthenticated = true\n";
    let file = "keys = [{ algorithm = \"blake2s128\", file = \"/k\" }]\n";
    let config = load(&[interface, file].concat(), Keys::default()).unwrap();
    let [eth0] = &config.babel.interfaces[..] else { panic!("{config:?}") };
    assert_eq!((eth0.keys.len(), eth0.accept_unauthenticated), (1, true));
    assert_eq!(eth0.keys[0].file, Path::new("/k"));
    let value = "keys = [{ algorithm = \"blake2s128\", value = \"00\" }]\n";
    assert!(load(&[interface, value].concat(), Keys::default()).is_err());
}

#[test]
fn every_flag_says_the_same_as_its_key() {
    let mut from_flags = flags(&[
        "--wireguard=embedded",
        "--table=42",
        "--address-interface=dummy0",
        "--own-namespace",
        "--signalling-listen=192.0.2.1,2001:db8::1",
        "--signalling-port=7000",
        "--signalling-addresses=198.51.100.1",
        "--signalling-addresses=[2001:db8::2]:443",
        "--tunnels-ports=40000-40009",
        "--tunnels-dialled=3",
        "--tunnels-served=0",
        "--tunnels-preferred=0123456789abcdef",
        "--uplink=dsl=101,fibre=102*3",
        "--babel-hello-interval=500ms",
        "--babel-update-interval=2s",
        "--babel-interface=wgx=100,eth1",
        "--log-level=debug",
        "--log-format=json",
    ]);
    from_flags.state_dir = Some("/s".into());
    from_flags.run_dir = Some("/r".into());
    assert_eq!(toml::from_str::<Keys>(FULL).unwrap(), from_flags);
    assert_eq!(flags(&["--signalling-dial-only"]).signalling.dial_only, Some(true));
    assert_eq!(flags(&["--signalling-dial-only=false"]).signalling.dial_only, Some(false));
}

#[test]
fn a_flag_beats_the_file_key_by_key() {
    let file = "table = 42\n[signalling]\nport = 7000\nlisten = [\"192.0.2.1\"]\n";
    let config = load(file, flags(&["--signalling-port=8000"])).unwrap();
    assert_eq!((config.table, config.signalling.port), (42, 8000));
    assert_eq!(config.signalling.listen, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
}

#[test]
fn every_key_has_its_variable() {
    use clap::CommandFactory as _;
    for argument in Flags::command().get_arguments().filter(|a| a.get_id() != "help") {
        let flag = argument.get_long().unwrap();
        let variable = format!("SIXWIRE_{}", flag.to_uppercase().replace('-', "_"));
        assert_eq!(argument.get_env().unwrap(), variable.as_str(), "{flag}");
    }
}

#[test]
fn mistakes_are_named_with_file_line_and_key() {
    for (text, expected) in [
        (
            "tabel = 3",
            "/node.toml, line 1: tabel: no such key \"tabel\"; did you mean table? (allowed: \
             state_dir, run_dir, wireguard, table, address_interface, own_namespace, uplink, \
             signalling, tunnels, babel, log)",
        ),
        (
            "\n[signalling]\nprot = 1",
            "/node.toml, line 3: signalling.prot: no such key \"prot\"; did you mean port? \
             (allowed: listen, port, addresses, dial_only)",
        ),
        (
            "wireguard = \"kernal\"",
            "/node.toml, line 1: wireguard: no such value \"kernal\"; did you mean kernel? \
             (allowed: auto, kernel, embedded)",
        ),
        (
            "[log]\nformat = \"xml\"",
            "/node.toml, line 2: log.format: no such value \"xml\" (allowed: logfmt, json)",
        ),
        ("state_dir = \"/a\"\nrun_dir = \"/a\"", "line 2: run_dir: the same as state_dir"),
        ("table = 255", "line 1: table: table 255 is the kernel's own (local): use 254 (main)"),
        ("table = -1", "line 1: table: -1 is no routing table: want 1 to 4294967295"),
        ("table = \"main\"", "line 1: table: invalid type: string \"main\", expected a number"),
        (
            "[babel]\nhello_interval = 4",
            "line 2: babel.hello_interval: invalid type: integer `4`, expected text in quotes",
        ),
        (
            "[babel]\ninterface = [\"eth0\"]",
            "expected a table, [[babel.interface]], with a name in it",
        ),
        ("address_interface = \"a b\"", "line 1: address_interface: \"a b\" is no interface name"),
        ("[signalling]\nport = 0", "line 2: signalling.port: 0 is no port: want 1 to 65535"),
        ("[signalling]\nlisten = [\n\"any\"]", "line 3: signalling.listen: invalid IP address"),
        ("[signalling]\nlisten = []", "line 2: signalling.listen: the list is empty"),
        ("signalling.addresses = [\"a.b\"]", "signalling.addresses: \"a.b\" is no address: write"),
        ("signalling.addresses = [\"::\"]", "signalling.addresses: :: is nothing another node"),
        (
            "[signalling]\naddresses = [\"192.0.2.1\"]\ndial_only = true",
            "line 3: signalling.dial_only: a node that only dials has no address to tell",
        ),
        ("tunnels = { ports = \"9-8\" }", "line 1: tunnels.ports: \"9-8\" is no range of ports"),
        (
            "[tunnels]\nports = \"6000-7000\"",
            "line 2: tunnels.ports: 6000-7000 includes 6326, the signalling port",
        ),
        ("[tunnels]\ndialled = 0", "line 2: tunnels.dialled: 0 is not within 1 to 100"),
        ("[tunnels]\nserved = 1001", "line 2: tunnels.served: 1001 is not within 0 to 1000"),
        ("[tunnels]\npreferred = [\"x\"]", "line 2: tunnels.preferred: router-id is not 16"),
        ("[babel]\nhello_interval = \"4\"", "babel.hello_interval: \"4\" is no time: write 500ms"),
        ("[babel]\nhello_interval = \"1ms\"", "hello_interval: 1ms is not within 100ms to"),
        (
            "[babel]\nhello_interval = \"9s\"\nupdate_interval = \"8s\"",
            "line 3: babel.update_interval: shorter than babel.hello_interval",
        ),
        ("[[babel.interface]]\nname = \"a\"\ncost = 0", "line 3: babel.interface.cost: 0 is not"),
        ("[[babel.interface]]\ncost = 1", "line 1: babel.interface: missing field `name`"),
        ("[babel]\ninterface = [{name=\"a\"},{name=\"a\"}]", "babel.interface: a is listed twice"),
        ("[log]\nlevel = ", "/node.toml, line 2: string values must be quoted"),
        ("table = 1\ntable = 2", "line 2: duplicate key: table = 2"),
    ] {
        let error = load(text, Keys::default()).expect_err(text);
        assert!(error.contains(expected), "{text}\n gave: {error}\n want: {expected}");
    }
}

#[test]
fn uplinks_that_cannot_be_are_named_with_line_and_key() {
    for (text, expected) in [
        ("[[uplink]]\nname = \"a\"", "line 1: uplink: missing field `table`"),
        ("[[uplink]]\nname = \"a b\"\ntable = 1", "line 2: uplink.name: \"a b\" is no name of"),
        ("[[uplink]]\nname = \"a\"\ntable = 255", "line 3: uplink.table: table 255 is the kernel"),
        (
            "[[uplink]]\nname = \"a\"\ntable = 1\nweight = 0",
            "line 4: uplink.weight: 0 is not within 1 to 255",
        ),
        (
            "uplink = [{name=\"a\",table=1},{name=\"a\",table=2}]",
            "line 1: uplink: a is listed twice",
        ),
        (
            "uplink = [{name=\"a\",table=1},{name=\"b\",table=1}]",
            "line 1: uplink: a and b both have table 1: each provider needs a table of its own",
        ),
        ("uplink = [\"a\"]", "expected a table, [[uplink]], with a name and a table in it"),
    ] {
        let error = load(text, Keys::default()).expect_err(text);
        assert!(error.contains(expected), "{text}\n gave: {error}\n want: {expected}");
    }
}

#[test]
fn a_rule_broken_by_flags_names_the_key() {
    let error = load("", flags(&["--tunnels-ports=6326"])).unwrap_err();
    assert!(error.starts_with("tunnels.ports: 6326-6326 includes 6326"), "{error}");
}

#[test]
fn a_named_file_must_exist_and_the_default_one_need_not() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none.toml");
    let error = Config::load(Some(&missing), Keys::default()).unwrap_err().to_string();
    assert!(error.starts_with("cannot read the configuration"), "{error}");
    assert!(Source::read_if_there(&missing).unwrap().keys::<Keys>().is_ok());
}
