use super::*;
use crate::registrar::Registrar;
use std::os::unix::fs::PermissionsExt as _;

const NOW: Timestamp = Timestamp(1_795_000_000);

fn network() -> Prefix {
    "fd00:1:2::/48".parse().unwrap()
}

fn place() -> Place {
    Place::parse("vpn.example.net").unwrap()
}

fn entries(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_founded_network_opens_and_its_files_are_for_the_owner_only() {
    let parent = tempfile::tempdir().unwrap();
    for existing in [false, true] {
        let directory = Directory::new(parent.path().join(format!("registry-{existing}")));
        if existing {
            fs::create_dir(directory.path()).unwrap();
        }
        let founded = found(&directory, network(), &place(), NOW).unwrap();
        let all = [ISSUER_KEY, DATABASE, ROOT_KEY, TLS_CERTIFICATE, TLS_KEY];
        assert_eq!(entries(directory.path()), all);
        assert_eq!(mode(directory.path()), 0o700);
        for name in all {
            assert_eq!(mode(&directory.path().join(name)), 0o600, "{name}");
        }
        directory.check().unwrap();
        assert_eq!(Registrar::open(&directory).unwrap().root(), founded.root);
    }
    assert_eq!(entries(parent.path()), ["registry-false", "registry-true"], "nothing beside");
}

#[test]
fn nothing_is_overwritten() {
    let parent = tempfile::tempdir().unwrap();
    let directory = Directory::new(parent.path().join("registry"));
    let first = found(&directory, network(), &place(), NOW).unwrap();
    let refused = found(&directory, network(), &place(), NOW).unwrap_err();
    assert!(matches!(refused, Error::AlreadyThere { .. }), "{refused}");
    assert_eq!(Registrar::open(&directory).unwrap().root(), first.root);
}

#[test]
fn a_founding_that_fails_leaves_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let missing = Directory::new(parent.path().join("no/such/parent"));
    assert!(matches!(found(&missing, network(), &place(), NOW), Err(Error::NoParent(_))));
    let wrong = Directory::new(parent.path().join("registry"));
    let refused = found(&wrong, "10.0.0.0/8".parse().unwrap(), &place(), NOW);
    assert!(matches!(refused, Err(Error::Network { .. })));
    let nameless = Place { host: "not a host name\u{e9}".to_owned(), port: 1 };
    assert!(found(&wrong, network(), &nameless, NOW).is_err(), "it fails between two files");
    assert!(entries(parent.path()).is_empty(), "{:?}", entries(parent.path()));
}

#[test]
fn what_a_killed_init_left_is_no_hindrance() {
    let parent = tempfile::tempdir().unwrap();
    fs::create_dir(parent.path().join(".init-abc")).unwrap();
    let directory = Directory::new(parent.path());
    found(&directory, network(), &place(), NOW).unwrap();
}

#[test]
fn networks_are_checked() {
    for (prefix, fits) in [
        ("fd00:1:2::/48", true),
        ("2001:db8:42::/48", true),
        ("fd00::/15", false),
        ("fd00::/121", false),
        ("fe80::/64", false),
        ("ff00::/16", false),
        ("::/64", false),
        ("10.0.0.0/8", false),
    ] {
        assert_eq!(check_network(prefix.parse().unwrap()).is_ok(), fits, "{prefix}");
    }
    assert!(check_network(random_network().unwrap()).is_ok());
    assert_ne!(random_network().unwrap(), random_network().unwrap());
}

#[test]
fn places_are_hosts_with_or_without_port() {
    for (given, host, port) in [
        ("vpn.example.net", "vpn.example.net", 8443),
        ("https://vpn.example.net:443/", "vpn.example.net", 443),
        ("192.0.2.1:9", "192.0.2.1", 9),
        ("2001:db8::1", "2001:db8::1", 8443),
        ("[2001:db8::1]:443", "2001:db8::1", 443),
    ] {
        assert_eq!(Place::parse(given).unwrap(), Place { host: host.to_owned(), port }, "{given}");
    }
    for given in ["", "http://a", "a/b", "a:0", "a:b", "a b", "[::1"] {
        assert!(matches!(Place::parse(given), Err(Error::Url { .. })), "{given}");
    }
}
