//! One of each document and message, signed with keys that everybody knows.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use serde::Serialize;
use sixwire_proto::certificate::{Certificate, Chain, Issuer, NetworkId, Role};
use sixwire_proto::envelope::{Document, Envelope};
use sixwire_proto::keys::{PresharedKey, SecretKey, WgPublicKey};
use sixwire_proto::peer::{
    Addresses, Answer, Hello, NodeInfo, PROTOCOL, PeerRecord, Refusal, Request, TunnelRequest,
};
use sixwire_proto::prefix::Prefix;
use sixwire_proto::registry::{
    Call, ErrorBody, ErrorCode, Health, Join, JoinAnswer, PeersAnswer, Presence,
};
use sixwire_proto::state::{NetworkState, Parameters};
use sixwire_proto::time::Timestamp;

/// All of them, as they travel.
pub(super) fn all() -> Vec<Vec<u8>> {
    let mut all = vec![json(&certificate()), json(&state()), json(&chain(&certificate()))];
    all.push(json(&chain(&state())));
    all.extend(requests().iter().map(json));
    all.extend(answers().iter().map(json));
    all.extend(registry());
    all
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("documents have text keys only")
}

fn key(number: u8) -> SecretKey {
    SecretKey::from_octets(&[number; 32])
}

fn prefix(text: &str) -> Prefix {
    text.parse().expect("written here")
}

fn certificate() -> Certificate {
    Certificate {
        version: Certificate::VERSION,
        network: NetworkId::of(&key(1).public()),
        serial: 7,
        name: Some("paris".to_owned()),
        node: key(3).public(),
        prefix: prefix("fd00:1::/64"),
        extra_prefixes: vec![prefix("fd00:2::/64")],
        roles: vec![Role::Transit],
        tags: vec!["a".to_owned()],
        not_before: Timestamp(1_700_000_000),
        not_after: Timestamp(1_900_000_000),
    }
}

fn state() -> NetworkState {
    NetworkState {
        version: NetworkState::VERSION,
        network: NetworkId::of(&key(1).public()),
        epoch: 3,
        issued: Timestamp(1_700_000_000),
        prefix: prefix("fd00::/16"),
        parameters: Parameters::default(),
        issuers: vec![key(2).public()],
        revoked_serials: vec![9],
        revoked_keys: vec![key(4).public()],
    }
}

fn chain(document: &impl Document) -> Chain {
    let issuer = Issuer {
        version: Issuer::VERSION,
        network: NetworkId::of(&key(1).public()),
        key: key(2).public(),
        not_before: Timestamp(1_700_000_000),
        not_after: Timestamp(1_900_000_000),
    };
    let (issuer, document) = (Envelope::seal(&key(1), &issuer), Envelope::seal(&key(2), document));
    Chain { issuer, document }
}

fn address() -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 6326)
}

fn peer() -> PeerRecord {
    let node = key(3).public().router_id().expect("not reserved");
    PeerRecord { node, addresses: vec![address()] }
}

fn hello() -> Hello {
    Hello { protocol: PROTOCOL, certificate: chain(&certificate()), epoch: 3 }
}

fn tunnel() -> TunnelRequest {
    TunnelRequest {
        public_key: WgPublicKey([5; 32]),
        share: PresharedKey::from_octets([6; 32]),
        port: 51820,
        addresses: vec![IpAddr::V6(Ipv6Addr::LOCALHOST)],
        signalling_port: 6326,
        mtu: 1420,
        uplink: Default::default(),
    }
}

fn requests() -> [Request; 8] {
    [
        Request::Hello(hello()),
        Request::TunnelRequest(tunnel()),
        Request::TunnelClose { port: 51820 },
        Request::AddressAsk,
        Request::StateEpoch { epoch: 3 },
        Request::StateGet,
        Request::CertGet { node: peer().node },
        Request::NodeInfo,
    ]
}

fn answers() -> [Answer; 6] {
    let version = "0.1.0".to_owned();
    [
        Answer::TunnelAnswer(tunnel()),
        Answer::Addresses(Addresses {
            observed: address(),
            own: vec![address()],
            peers: vec![peer()],
        }),
        Answer::State { state: chain(&state()) },
        Answer::Cert { certificate: Some(chain(&certificate())) },
        Answer::NodeInfo(NodeInfo { version, uptime_s: 1, links: vec![peer().node] }),
        Answer::Refused { reason: Refusal::NoHello, text: "no".to_owned() },
    ]
}

fn registry() -> Vec<Vec<u8>> {
    let time = Timestamp(1_800_000_000);
    let (certificate, state) = (chain(&certificate()), chain(&state()));
    let join = Join { version: 1, token: "token".to_owned(), name: Some("paris".to_owned()) };
    let observed = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let message = "no".to_owned();
    let call = Call { method: "GET", path: "/v1/peers", body: &[] };
    vec![
        json(&join),
        json(&JoinAnswer { certificate, state, peers: vec![peer()], time }),
        json(&Presence { addresses: vec![address()] }),
        json(&PeersAnswer { observed, peers: vec![peer()], epoch: 3, time }),
        json(&Health { schema: 1, epoch: 3, issuer_not_after: time, time }),
        json(&ErrorBody { code: ErrorCode::Busy, message, time }),
        call.sign(&key(3), time, [7; 16]).to_string().into_bytes(),
    ]
}
