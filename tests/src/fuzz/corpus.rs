//! Inputs to start from: what babeld and BIRD sent, one of each document, some sequences.

use std::fs;
use std::path::{Path, PathBuf};

use sixwire_proto::seed::Seed;

use super::documents;

/// Inputs of a target.
///
/// # Panics
/// When a file of the corpus of packets cannot be read.
#[must_use]
pub fn corpus(target: &str) -> Vec<Vec<u8>> {
    match target {
        "packet" => packets(),
        "mac" => signed(),
        "rules" => texts(&RULES),
        "config" => texts(&CONFIGURATIONS),
        "netlink" => datagrams(),
        "engine" | "session" => sequences(),
        "wireguard" => configurations(),
        "offload" => giants(),
        "coalesce" => streams(),
        "join" => texts(&[JOIN, "fd00::/8", "0123456789abcdef"]),
        "certificate" | "state" | "peer" | "registry" => documents::all(),
        "recording" => recordings(),
        _ => Vec::new(),
    }
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Datagrams of other speakers, from the lines of hexadecimal digits in `proto/tests/corpus`.
fn packets() -> Vec<Vec<u8>> {
    let place = above("proto/tests/corpus");
    let mut packets = vec![vec![42, 2, 0, 0]];
    for entry in fs::read_dir(place).expect("the corpus can be read").filter_map(Result::ok) {
        if entry.path().extension().is_some_and(|extension| extension == "hex") {
            let text = fs::read_to_string(entry.path()).expect("the corpus is text");
            packets.extend(text.lines().filter_map(octets));
        }
    }
    packets.sort();
    packets
}

/// The same, behind four octets that choose keys and damage.
fn signed() -> Vec<Vec<u8>> {
    let choose = |(number, packet): (u8, Vec<u8>)| {
        let head = [number, number.wrapping_mul(7), number.wrapping_mul(31), number];
        [&head[..], &packet].concat()
    };
    (0..=u8::MAX).zip(packets()).map(choose).collect()
}

/// A folder of the repository.
fn above(folder: &str) -> PathBuf {
    let mut places = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|up| up.join(folder));
    places.find(|place| place.is_dir()).expect("the sources lie where they were compiled")
}

/// The octets of a line that is nothing but hexadecimal digits, from where a packet begins.
fn octets(line: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = line.bytes().filter(u8::is_ascii_hexdigit).collect();
    let text = std::str::from_utf8(&digits).ok()?;
    let start = text.find("2a02")?;
    let pairs = digits[start..].chunks_exact(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// Configurations as `wg` writes them.
fn configurations() -> Vec<Vec<u8>> {
    let [a, b, none] = ["a8", "b0", "00"].map(|octet| octet.repeat(32));
    texts(&[
        "get=1\n\n",
        &format!(
            "set=1\nprivate_key={a}\nlisten_port=51820\nfwmark=0x10\nreplace_peers=true\n\
             public_key={b}\npreshared_key={a}\nendpoint=[fe80::1%1]:5000\n\
             persistent_keepalive_interval=25\nreplace_allowed_ips=true\nallowed_ip=::/0\n\
             allowed_ip=10.0.0.0/8\nallowed_ip=-10.0.0.0/8\n\n"
        ),
        &format!(
            "set=1\npublic_key={b}\nendpoint=192.0.2.1:5\npublic_key={a}\nremove=true\n\
             public_key={none}\nupdate_only=true\nprotocol_version=1\nfwmark=\n\n"
        ),
        r#"{"op":"create","name":"sw-01234567","mtu":1420}"#,
        r#"{"names":["sw-01234567"],"drops":{"no_peer":1}}"#,
    ])
}

/// A TCP segment of 40 octets over IPv4 or IPv6.
fn segment(v6: u8) -> Vec<u8> {
    let mut ip = match v6 {
        0 => vec![0x45, 0, 0, 80, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2],
        _ => [&[0x60, 0, 0, 0, 0, 60, 6, 64], [0xfd; 32].as_slice()].concat(),
    };
    ip.extend([0, 80, 0, 81, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 4, 0, 0, 0, 0, 0]);
    ip.extend((0..40).map(|n| n * 5));
    ip
}

/// Packets that stand for several, behind what the kernel says of them: kind, headers, size of each.
fn giants() -> Vec<Vec<u8>> {
    let header = |flags, kind, headers: u8, size: u8, start: u8, offset: u8| {
        [flags, kind, headers, 0, size, 0, start, 0, offset, 0]
    };
    let with = |header: [u8; 10], v6| [&header[..], &segment(v6)].concat();
    vec![
        with(header(1, 1, 40, 9, 20, 16), 0),
        with(header(1, 4, 60, 16, 40, 16), 1),
        with(header(1, 0, 0, 0, 20, 16), 0),
        with(header(0, 0, 0, 0, 0, 0), 1),
        with(header(1, 5, 48, 7, 40, 6), 1),
    ]
}

/// Segments that follow each other, as the target reads them: one whole, others by what differs.
fn streams() -> Vec<Vec<u8>> {
    let first = |v6| {
        let segment = segment(v6);
        [&[4, u8::try_from(segment.len()).expect("a short one")], &segment[..]].concat()
    };
    let follower = [&[5, 0], [9; 40].as_slice()].concat();
    let shorter = [&[5, 203], [9; 3].as_slice()].concat();
    let damaged = [&[7, 0], [9; 40].as_slice(), &[33, 1]].concat();
    let stream = |v6, parts: &[&Vec<u8>]| {
        [&first(v6)[..], &parts.iter().flat_map(|part| part.iter().copied()).collect::<Vec<_>>()]
            .concat()
    };
    vec![
        stream(0, &[&follower, &follower, &shorter]),
        stream(1, &[&follower, &follower, &follower]),
        stream(0, &[&follower, &damaged, &follower, &first(1), &follower]),
    ]
}

/// A message of the kernel: kind, header of its family, attributes.
fn message(kind: u16, header: &[u8], attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = header.to_vec();
    for (kind, value) in attributes {
        let length = u16::try_from(4 + value.len()).expect("a short one");
        body.extend([length.to_ne_bytes(), kind.to_ne_bytes()].concat());
        body.extend_from_slice(value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let length = u32::try_from(16 + body.len()).expect("a short one").to_ne_bytes();
    let kind = kind.to_ne_bytes();
    [&length[..], &kind, &[0, 0, 1, 0, 0, 0, 0, 0, 0, 0], &body].concat()
}

/// What the kernel says of routes, addresses, interfaces, next-hop objects, rules, and nftables.
fn datagrams() -> Vec<Vec<u8>> {
    let (address, index) = ([0xfd; 16], 7_u32.to_ne_bytes());
    let attribute = |kind, value: &[u8]| message(0, &[], &[(kind, value)])[16..].to_vec();
    // nftables counts in network order; an element has its key in an attribute of attributes.
    let element = attribute(1, &attribute(1, &attribute(1, &address)));
    let counter = [attribute(1, b"counter\0"), attribute(2, &attribute(2, &[0; 8]))].concat();
    let comment = [&[0, 4][..], b"out\0"].concat();
    let route = [10, 128, 0, 0, 254, 42, 0, 1, 0, 0, 0, 0];
    let group = [7, 0, 0, 0, 1, 0, 0, 0];
    vec![
        message(24, &route, &[(1, &address), (5, &address), (4, &index), (6, &[0, 4, 0, 0])]),
        message(24, &route, &[(1, &address), (30, &index)]),
        message(25, &[2, 8, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0], &[(1, &[10, 0, 0, 0]), (4, &index)]),
        message(20, &[10, 64, 0, 0, 7, 0, 0, 0], &[(1, &address), (9, &[0, 4, 0, 0])]),
        message(16, &[0; 16], &[(3, b"sw-1\0"), (4, &1420_u32.to_ne_bytes()), (20, b"sixwire\0")]),
        message(104, &[10, 0, 42, 0, 0, 0, 0, 0], &[(1, &index), (5, &index), (6, &address)]),
        message(104, &[0, 0, 42, 0, 0, 0, 0, 0], &[(1, &index), (2, &group)]),
        message(105, &[10, 0, 42, 0, 0, 0, 0, 0], &[(1, &index)]),
        message(33, &[10, 0, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0], &[(21, &[42]), (6, &index)]),
        message(80, &[10, 0, 0, 0], &[(1, &index), (2, &[0; 4])]),
        message(2561, &[10, 0, 0, 0], &[(1, b"sixwire\0"), (6, &comment)]),
        message(
            2566,
            &[10, 0, 0, 0],
            &[(1, b"sixwire\0"), (2, b"in\0"), (4, &attribute(1, &counter)), (7, &comment)],
        ),
        message(2572, &[10, 0, 0, 0], &[(1, b"sixwire\0"), (2, b"set\0"), (3, &element)]),
    ]
}

/// Random steps: any octets are a sequence.
fn sequences() -> Vec<Vec<u8>> {
    let mut seed = Seed::new(1);
    let sequence = |_| (0..240).map(|_| seed.next_u64().to_le_bytes()[0]).collect();
    (0..16).map(sequence).collect()
}

fn recordings() -> Vec<Vec<u8>> {
    let mut texts = Vec::new();
    let files =
        fs::read_dir(above("tests/recordings")).into_iter().flatten().filter_map(Result::ok);
    let mut found: Vec<_> = files
        .filter(|entry| entry.path().extension().is_some_and(|it| it == "jsonl"))
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .map(|text| text.lines().take(12).fold(String::new(), |all, line| all + line + "\n"))
        .collect();
    found.sort();
    texts.extend(found);
    texts.into_iter().map(String::into_bytes).collect()
}

const RULES: [&str; 10] = [
    "direction=in,prefix=fd00::/8,length=48-64,interface=eth0,action=deny",
    "direction=out,source=none,router_id=02:00:00:00:00:00:00:01,metric=+96",
    "direction=install,neighbour=fe80::1,action=allow",
    "table=254,protocol=static,prefix=fd00::/8,longest=64,source=none,metric=0",
    "wg0=quality=2/3,rtt-min=10ms,rtt-max=120ms,rtt-penalty=150",
    "eth0=96,quality=etx",
    "::/0 from fd00::/48",
    "fibre=100*3",
    "51820-51920",
    "[2001:db8::1]:6326",
];
const CONFIGURATIONS: [&str; 3] = [
    "wireguard = \"auto\"\ntable = 1000\naddress_interface = \"lo\"\nstate_dir = \"/a\"\n\
     [signalling]\nport = 6326\nlisten = [\"::\"]\naddresses = [\"192.0.2.1\"]\n\
     [tunnels]\nports = \"51820-51920\"\ndialled = 3\n[[uplink]]\nname = \"a\"\ntable = 100\n\
     weight = 3\n[babel]\nhello_interval = \"2s\"\n[log]\nlevel = \"info\"\n",
    "announce = [\"fd00:1::/64\"]\ntable = 1000\nprofile = \"fast\"\nhello_interval = \"2s\"\n\
     [[interface]]\nname = \"eth0\"\nkeys = [\"k\"]\n[[interface]]\nname = \"eth1\"\ncost = 200\n\
     [[key]]\nid = \"k\"\nalgorithm = \"blake2s128\"\n\
     value = \"000102030405060708090a0b0c0d0e0f\"\n[[redistribute]]\nprotocol = \"static\"\n\
     prefix = \"fd00::/8\"\n[[filter]]\ndirection = \"out\"\ninterface = \"eth1\"\nmetric = \"+96\"\n",
    "hello_interval = 1\n\u{e4} = \"\n[[interface]]\nname = 7\n",
];
const JOIN: &str = "sixwire://192.0.2.1:8443/#ZGr9hZMh9K5v3F95zPXk2oO34wgdlkwS4m4NNyXeQoU.\
                    MHKRs4-TovoF-qIBaFJA-w.8n3cpb8khtQcDYCGvyqr45A9xiJGkWlQ62tqgP4ZhyA";
