//! Decoders: what parses is written and parses again as the same.

use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sixwire_controlplane::babel::recording::{Header, Replay, Step};
use sixwire_proto::babel::{Tlv, Writer, read};
use sixwire_proto::certificate::{Certificate, Chain};
use sixwire_proto::join::JoinString;
use sixwire_proto::keys::PublicKey;
use sixwire_proto::peer::{Answer, Request};
use sixwire_proto::registry::{
    CallSignature, ErrorBody, Health, Join, JoinAnswer, PeersAnswer, Presence,
};
use sixwire_proto::state::NetworkState;
use sixwire_proto::time::Timestamp;

/// A Babel packet.
pub(super) fn packet(octets: &[u8]) {
    let source = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    let Ok(reader) = read(octets, source) else { return };
    let tlvs: Vec<Tlv> = reader.filter_map(Result::ok).collect();
    let mut written = Vec::new();
    let mut writer = Writer::new(LARGEST, source);
    for tlv in &tlvs {
        if writer.push(tlv).is_err() {
            written.extend(writer.finish());
            writer.push(tlv).expect("any TLV fits an empty packet");
        }
    }
    written.extend(writer.finish());
    let again: Vec<Tlv> = written
        .iter()
        .flat_map(|packet| read(&packet.bytes, source).expect("what is written is a packet"))
        .map(|tlv| tlv.expect("what is written is well-formed"))
        .collect();
    assert_eq!(tlvs, again);
}

/// A signed certificate; its signature does not hold, but for the corpus.
pub(super) fn certificate(octets: &[u8]) {
    if let Some(chain) = json::<Chain>(octets) {
        let key = chain.issuer.signer();
        // Refused or not: it must come back.
        let _ = chain.open::<Certificate>(&key);
        let _ = chain.open_at::<Certificate>(&key, Timestamp(1_800_000_000));
    }
    json::<Certificate>(octets);
}

/// The network state.
pub(super) fn state(octets: &[u8]) {
    if let Some(chain) = json::<Chain>(octets) {
        let _ = chain.open::<NetworkState>(&chain.issuer.signer());
    }
    if let Some(state) = json::<NetworkState>(octets) {
        let _ = (state.parameters.hello_interval(), state.parameters.update_interval());
    }
}

/// A join string, and the texts inside it.
pub(super) fn join(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    if let Ok(join) = JoinString::from_str(text) {
        let written = join.to_string();
        let again = JoinString::from_str(&written).expect("what is written is a join string");
        assert!(join == again, "{written}");
    }
    let _ = PublicKey::from_str(text);
    let _ = sixwire_proto::prefix::Prefix::from_str(text);
    let _ = sixwire_proto::router_id::RouterId::from_str(text);
}

/// Messages between nodes.
pub(super) fn peer(octets: &[u8]) {
    if let Some(Request::TunnelRequest(request)) = json::<Request>(octets) {
        let _ = request.check();
    }
    json::<Answer>(octets);
}

/// Bodies and headers of the registry's API.
pub(super) fn registry(octets: &[u8]) {
    json::<Join>(octets);
    json::<JoinAnswer>(octets);
    json::<Presence>(octets);
    json::<PeersAnswer>(octets);
    json::<Health>(octets);
    json::<ErrorBody>(octets);
    if let Ok(text) = std::str::from_utf8(octets) {
        let _ = CallSignature::from_str(text);
    }
}

/// A recording, which is replayed.
pub(super) fn recording(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    let mut lines = text.lines();
    let header = lines.next().and_then(|line| serde_json::from_str::<Header>(line).ok());
    let Some(mut replay) = header.and_then(|header| Replay::new(&header).ok()) else { return };
    for line in lines.take(1000) {
        let Ok(step) = serde_json::from_str::<Step>(line) else { return };
        replay.step(&step, drop);
    }
}

/// Reads a value, and wants it back from what it is written as.
fn json<T: Serialize + DeserializeOwned>(octets: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(octets).ok()?;
    let once = serde_json::to_vec(&value).expect("what was read can be written");
    let again: T = serde_json::from_slice(&once).expect("what was written can be read");
    let twice = serde_json::to_vec(&again).expect("what was read can be written");
    assert_eq!(once, twice);
    Some(value)
}

/// Octets of a packet.
const LARGEST: usize = 1400;
