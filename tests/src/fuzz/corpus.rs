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
        "engine" => sequences(),
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

const JOIN: &str = "sixwire://192.0.2.1:8443/#ZGr9hZMh9K5v3F95zPXk2oO34wgdlkwS4m4NNyXeQoU.\
                    MHKRs4-TovoF-qIBaFJA-w.8n3cpb8khtQcDYCGvyqr45A9xiJGkWlQ62tqgP4ZhyA";
