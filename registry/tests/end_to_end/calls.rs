//! Signed calls: renewal, peers, state; and what is wrong with the ones that are refused.

use http_body_util::Full;
use hyper::{Method, Request, StatusCode};
use sixwire_proto::certificate::Chain;
use sixwire_proto::registry::{
    CLOCK_TOLERANCE_S, Call, ErrorCode, Health, JoinAnswer, PeersAnswer,
};
use sixwire_proto::state::NetworkState;
use sixwire_proto::time::Timestamp;
use sixwire_registry::clock;
use sixwire_registry::store::Holder;

use crate::registry::{Registry, request, sign, signed_request};

const DAY: u64 = 86_400;

fn days_ago(days: u64) -> Timestamp {
    Timestamp(clock::now().0 - days * DAY)
}

fn state_in(registry: &Registry, chain: &Chain) -> NetworkState {
    chain.open_at(&registry.founded.root, clock::now()).unwrap()
}

#[tokio::test]
async fn a_young_certificate_is_kept_an_old_or_expired_one_renewed_a_lapsed_one_not() {
    let registry = Registry::start().await;
    let token = registry.token(1, 10);
    for (node, age, renewed) in [(1, 10, false), (2, 45, true), (3, 150, true)] {
        let first = registry.joined_at(node, &token, days_ago(age));
        let answer: JoinAnswer = registry.call(node, Method::POST, "/v1/renew", "").await.read();
        assert_eq!(answer.certificate != first.certificate, renewed, "{age} days");
        let certificate = registry.certificate(&answer);
        let (_, old) = first
            .certificate
            .open::<sixwire_proto::certificate::Certificate>(&registry.founded.root)
            .unwrap();
        assert_eq!(certificate.prefix, old.prefix);
        assert_eq!(certificate.serial > old.serial, renewed);
    }
    registry.joined_at(4, &token, days_ago(191));
    let error = registry.call(4, Method::POST, "/v1/renew", "").await.error();
    assert_eq!(error.code, ErrorCode::NodeUnknown);
}

#[tokio::test]
async fn what_the_operator_revokes_the_next_call_sees() {
    let registry = Registry::start().await;
    let token = registry.token(1, 10);
    let [one, two, _] =
        [1, 2, 3].map(|node| registry.certificate(&registry.joined_at(node, &token, days_ago(0))));
    let state = || async {
        let chain: Chain = registry.call(3, Method::GET, "/v1/state", "").await.read();
        state_in(&registry, &chain)
    };
    let before = state().await;
    {
        let mut registrar = registry.registrar();
        registrar.revoke(Holder::RouterId(one.router_id()), clock::now()).unwrap();
        registrar.revoke(Holder::Serial(two.serial), clock::now()).unwrap();
    }
    let after = state().await;
    assert!(after.epoch >= before.epoch + 2);
    assert_eq!((after.revoked_keys, after.revoked_serials), (vec![one.node], vec![two.serial]));
    for node in [1, 2] {
        let error = registry.call(node, Method::POST, "/v1/renew", "").await.error();
        assert_eq!(error.code, ErrorCode::Revoked);
    }
}

#[tokio::test]
async fn peers_are_told_and_a_loopback_caller_is_not_published() {
    let registry = Registry::start().await;
    let token = registry.token(1, 10);
    registry.joined_at(1, &token, days_ago(0));
    registry.joined_at(2, &token, days_ago(0));
    let body = r#"{"addresses":["127.0.0.1:6326","192.0.2.1:6326"]}"#;
    for node in [1, 2] {
        let answer: PeersAnswer = registry.call(node, Method::POST, "/v1/peers", body).await.read();
        assert_eq!(answer.observed.to_string(), "127.0.0.1");
        assert!(answer.peers.is_empty(), "{:?}", answer.peers);
        assert!(answer.epoch > 0);
    }
}

#[tokio::test]
async fn health_needs_no_signature() {
    let registry = Registry::start().await;
    let health: Health = registry.client.get("/v1/health").await.read();
    assert_eq!(health.schema, 1);
    assert_eq!(health.issuer_not_after, registry.founded.issuer_not_after);
}

#[tokio::test]
async fn the_state_outlives_a_restart() {
    let mut registry = Registry::start().await;
    let token = registry.token(1, 1);
    registry.joined_at(1, &token, days_ago(0));
    let before: Chain = registry.call(1, Method::GET, "/v1/state", "").await.read();
    registry.restart().await;
    let after: Chain = registry.call(1, Method::GET, "/v1/state", "").await.read();
    assert_eq!(before, after);
}

#[tokio::test]
async fn a_call_out_of_time_is_told_the_time_and_changes_nothing() {
    let registry = Registry::start().await;
    let token = registry.token(1, 1);
    registry.joined_at(1, &token, days_ago(60));
    let before = registry.contents();
    let now = clock::now().0;
    for time in [now - CLOCK_TOLERANCE_S - 2, now + CLOCK_TOLERANCE_S + 60, 0, u64::MAX] {
        let call = Call { method: "POST", path: "/v1/renew", body: b"" };
        let header = sign(1, &call, Timestamp(time)).to_string();
        let answer = registry.client.send(request(Method::POST, "/v1/renew", &header, "")).await;
        let error = answer.error();
        assert_eq!((answer.status, error.code), (StatusCode::UNAUTHORIZED, ErrorCode::Clock));
        assert!(error.time.0.abs_diff(now) < 60);
    }
    assert_eq!(registry.contents(), before);
}

#[tokio::test]
async fn a_call_made_again_is_a_replay() {
    let registry = Registry::start().await;
    let token = registry.token(1, 1);
    registry.joined_at(1, &token, days_ago(0));
    let call = Call { method: "GET", path: "/v1/state", body: b"" };
    let header = sign(1, &call, clock::now()).to_string();
    let get = || registry.client.send(request(Method::GET, "/v1/state", &header, ""));
    let _: Chain = get().await.read();
    let before = registry.contents();
    let answer = get().await;
    assert_eq!((answer.status, answer.error().code), (StatusCode::CONFLICT, ErrorCode::Replayed));
    assert_eq!(registry.contents(), before);
}

#[tokio::test]
async fn a_signature_over_anything_else_is_refused_and_changes_nothing() {
    let registry = Registry::start().await;
    let token = registry.token(1, 1);
    registry.joined_at(1, &token, days_ago(60));
    let before = registry.contents();
    let good = Call { method: "POST", path: "/v1/renew", body: b"" };
    let now = clock::now();
    let fake = sign(2, &good, now).to_string();
    let spliced = sign(1, &good, now)
        .to_string()
        .replace(&crate::registry::public(1).to_string(), &crate::registry::public(2).to_string());
    for (header, code) in [
        (sign(1, &Call { method: "GET", ..good }, now).to_string(), ErrorCode::Signature),
        (sign(1, &Call { path: "/v1/peers", ..good }, now).to_string(), ErrorCode::Signature),
        (sign(1, &Call { path: "/v1/renew?a", ..good }, now).to_string(), ErrorCode::Signature),
        (sign(1, &Call { body: b"{}", ..good }, now).to_string(), ErrorCode::Signature),
        (spliced, ErrorCode::Signature),
        (fake, ErrorCode::NodeUnknown),
        ("a.b.c.d".to_owned(), ErrorCode::Signature),
        (String::new(), ErrorCode::Signature),
    ] {
        let answer = registry.client.send(request(Method::POST, "/v1/renew", &header, "")).await;
        assert_eq!(answer.error().code, code, "{header}");
    }
    let unsigned = Request::post("/v1/renew").body(Full::default()).unwrap();
    assert_eq!(registry.client.send(unsigned).await.error().code, ErrorCode::Signature);
    let mut doubled = signed_request(1, Method::POST, "/v1/renew", "");
    let header = doubled.headers()[sixwire_proto::registry::CALL_HEADER].clone();
    doubled.headers_mut().append(sixwire_proto::registry::CALL_HEADER, header);
    assert_eq!(registry.client.send(doubled).await.error().code, ErrorCode::Signature);
    assert_eq!(registry.contents(), before);
}

#[tokio::test]
async fn a_presence_that_is_none_is_malformed() {
    let registry = Registry::start().await;
    let token = registry.token(1, 1);
    registry.joined_at(1, &token, days_ago(0));
    let before = registry.contents();
    let many = format!(r#"{{"addresses":[{}"1.2.3.4:5"]}}"#, r#""1.2.3.4:5","#.repeat(64));
    for body in ["", "{", "[]", r#"{"addresses":["nowhere"]}"#, &many] {
        let error = registry.call(1, Method::POST, "/v1/peers", body).await.error();
        assert_eq!(error.code, ErrorCode::Malformed, "{body}");
    }
    assert_eq!(registry.contents(), before);
}
