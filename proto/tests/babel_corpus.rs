//! What babeld and BIRD really send, decoded, compared with the text beside it, written again and
//! read back. `corpus/capture` made the packets; `SIXWIRE_BLESS=1` rewrites the texts.

use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::{env, fs};

use sixwire_proto::babel::{
    Destination, GROUP, MacAlgorithm, MacError, MacKey, MacTlv, PseudoHeader, Tlv, Writer,
    mac_tlvs, read, verify,
};

/// One captured datagram.
struct Datagram {
    source: Ipv6Addr,
    destination: Ipv6Addr,
    bytes: Vec<u8>,
}

fn captures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("the corpus is a folder")
        .map(|entry| entry.expect("the corpus is readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "hex"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

fn datagrams(path: &Path) -> Vec<Datagram> {
    let text = fs::read_to_string(path).expect("the capture is readable");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| datagram(line).unwrap_or_else(|| panic!("{}: {line}", path.display())))
        .collect()
}

/// A line: source, destination, payload in hexadecimal.
fn datagram(line: &str) -> Option<Datagram> {
    let mut words = line.split(' ');
    let source = words.next()?.parse().ok()?;
    let destination = words.next()?.parse().ok()?;
    let digits = words.next()?;
    let bytes = (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok())
        .collect::<Option<_>>()?;
    Some(Datagram { source, destination, bytes })
}

fn decoded(datagrams: &[Datagram]) -> String {
    let mut lines = Vec::new();
    for Datagram { source, destination, bytes } in datagrams {
        let mut reader = read(bytes, *source).expect("daemons send Babel packets");
        lines.push(format!("{source} to {destination}"));
        for tlv in reader.by_ref() {
            match tlv {
                Ok(tlv) => lines.push(format!("  {tlv:?}")),
                Err(error) => lines.push(format!("  refused: {error}")),
            }
        }
        for tlv in mac_tlvs(bytes).expect("it was read already") {
            lines.push(format!("  {}", mac_tlv(&tlv)));
        }
        if reader.unknown() > 0 {
            lines.push(format!("  unknown TLVs: {}", reader.unknown()));
        }
        if !reader.trailer().is_empty() {
            lines.push(format!("  trailer: {} octets", reader.trailer().len()));
        }
    }
    lines.join("\n") + "\n"
}

fn mac_tlv(tlv: &MacTlv<'_>) -> String {
    let hex = |octets: &[u8]| octets.iter().map(|o| format!("{o:02x}")).collect::<String>();
    match tlv {
        MacTlv::PacketCounter { counter, index } => format!("PC {counter} of {}", hex(index)),
        MacTlv::ChallengeRequest(nonce) => format!("Challenge Request {}", hex(nonce)),
        MacTlv::ChallengeReply(nonce) => format!("Challenge Reply {}", hex(nonce)),
    }
}

/// The keys of the authenticated captures: name, algorithm, octets.
fn keys() -> Vec<(&'static str, MacKey)> {
    let key = |algorithm, octets: &[u8]| MacKey::new(algorithm, octets).expect("lengths are right");
    let counted: Vec<u8> = (0..64).collect();
    let (hmac, blake) = (MacAlgorithm::HmacSha256, MacAlgorithm::Blake2s128);
    vec![
        ("babeld-mac", key(blake, &counted[..16])),
        ("babeld-hmac", key(hmac, &counted)),
        ("bird-mac", key(blake, b"0123456789abcdef")),
        ("bird-hmac", key(hmac, b"0123456789abcdef0123456789abcdef")),
        ("bird-hmac", key(blake, b"fedcba9876543210")),
        ("babeld-all", key(blake, &counted[..16])),
        ("bird-all", key(blake, b"0123456789abcdef")),
    ]
}

#[test]
fn captured_macs_are_those_of_their_keys_and_of_no_other() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    for (name, key) in keys() {
        let others = keys().into_iter().filter(|(other, one)| *other != name && *one != key);
        let foreign: Vec<MacKey> = others.map(|(_, key)| key).collect();
        for Datagram { source, destination, bytes } in
            datagrams(&folder.join(name).with_extension("hex"))
        {
            let destination = match destination {
                GROUP => Destination::Multicast,
                address => Destination::Unicast(address),
            };
            let header = PseudoHeader { source, destination };
            assert_eq!(
                verify(&bytes, header, std::slice::from_ref(&key)),
                Ok(()),
                "{name} {key:?}"
            );
            assert_eq!(verify(&bytes, header, &foreign), Err(MacError::WrongMac), "{name}");
        }
    }
}

#[test]
fn captured_packets_decode_to_the_text_beside_them() {
    for path in captures() {
        let text = decoded(&datagrams(&path));
        let beside = path.with_extension("txt");
        if env::var_os("SIXWIRE_BLESS").is_some() {
            fs::write(&beside, text).expect("the corpus is writable");
            continue;
        }
        let expected = fs::read_to_string(&beside).unwrap_or_default();
        assert_eq!(text, expected, "{}; SIXWIRE_BLESS=1 rewrites it", beside.display());
    }
}

#[test]
fn captures_of_newer_daemons_have_what_is_new() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let capture = |name: &str| datagrams(&folder.join(name).with_extension("hex"));
    let read_all = |Datagram { source, bytes, .. }: Datagram| -> Vec<Tlv> {
        read(&bytes, source).unwrap().map(Result::unwrap).collect()
    };
    let tlvs = |name: &str| capture(name).into_iter().flat_map(read_all);
    let is_echo = |tlv: &Tlv| matches!(tlv, Tlv::Ihu(ihu) if ihu.timestamps.is_some());
    let crosses_families = |tlv: &Tlv| {
        let Tlv::Update(update) = tlv else { return false };
        let is_v4 = update.route.is_some_and(|route| !route.destination.is_v6());
        is_v4 && update.next_hop.is_some_and(|hop| hop.is_ipv6())
    };
    for name in ["bird-rtt", "bird-all", "babeld-all"] {
        assert!(tlvs(name).any(|tlv| is_echo(&tlv)), "{name}");
    }
    for name in ["bird-v4-via-v6", "bird-all", "babeld-all"] {
        assert!(tlvs(name).any(|tlv| crosses_families(&tlv)), "{name}");
    }
    let largest = capture("babeld-probe-mtu").iter().map(|one| one.bytes.len()).max();
    assert_eq!(largest, Some(1280 - 40 - 8), "padded to the MTU");
}

#[test]
fn captured_packets_have_no_tlv_that_we_refuse() {
    for path in captures() {
        for Datagram { source, bytes, .. } in datagrams(&path) {
            let refused: Vec<_> = read(&bytes, source).unwrap().filter_map(Result::err).collect();
            assert_eq!(refused, [], "{}", path.display());
        }
    }
}

#[test]
fn captured_packets_are_written_again_in_no_more_octets() {
    for path in captures() {
        for Datagram { source, bytes, .. } in datagrams(&path) {
            let mut reader = read(&bytes, source).unwrap();
            let tlvs: Vec<Tlv> = reader.by_ref().map(Result::unwrap).collect();
            let skipped = reader.unknown() + mac_tlvs(&bytes).unwrap().count();
            let body = bytes.len() - reader.trailer().len();
            let mut writer = Writer::new(1432, source);
            for tlv in &tlvs {
                writer.push(tlv).unwrap();
            }
            assert_eq!(writer.unencodable(), 0);
            let Some(packet) = writer.finish() else {
                assert!(skipped > 0, "{}: a packet of nothing", path.display());
                continue;
            };
            let back: Vec<_> = read(&packet.bytes, source).unwrap().map(Result::unwrap).collect();
            assert_eq!(back, tlvs, "{}", path.display());
            assert!(packet.bytes.len() <= body, "{}: {tlvs:?}", path.display());
        }
    }
}
