//! Malformed, oversized, slow and numerous calls.

use std::time::Duration;

use hyper::{Method, StatusCode};
use sixwire_proto::registry::{BODY_LIMIT, ErrorCode, JoinAnswer};
use sixwire_registry::store::BUSY_TIMEOUT;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::registry::{Registry, join_body};

#[tokio::test]
async fn unknown_paths_and_wrong_methods_are_named_as_json() {
    let registry = Registry::start().await;
    let before = registry.contents();
    for (method, path, status) in [
        (Method::GET, "/", StatusCode::NOT_FOUND),
        (Method::POST, "/v1/joins", StatusCode::NOT_FOUND),
        (Method::POST, "/v1/join/", StatusCode::NOT_FOUND),
        (Method::GET, "/v1/join", StatusCode::METHOD_NOT_ALLOWED),
        (Method::DELETE, "/v1/renew", StatusCode::METHOD_NOT_ALLOWED),
        (Method::POST, "/v1/state", StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let answer = registry.call(1, method.clone(), path, "").await;
        assert_eq!(answer.status, status, "{method} {path}");
        let error = answer.error();
        assert_eq!(error.code, ErrorCode::Malformed);
        assert!(error.message.contains(path), "{}", error.message);
    }
    assert_eq!(registry.contents(), before);
}

#[tokio::test]
async fn every_truncation_and_damage_of_a_join_is_refused_and_spends_nothing() {
    let registry = Registry::start().await;
    let token = registry.token(1, 1);
    let before = registry.contents();
    let body = join_body(1, token.reveal());
    let cut = [0, 1, body.len() / 2, body.len() - 1];
    for length in cut {
        let error = registry.client.post("/v1/join", body[..length].to_vec()).await.error();
        assert_eq!(error.code, ErrorCode::Malformed, "{length} octets");
    }
    let text = String::from_utf8(body).unwrap();
    let (head, signature) = text.rsplit_once(':').unwrap();
    let other: serde_json::Value =
        serde_json::from_slice(&join_body(1, "AAAAAAAAAAAAAAAAAAAAAA")).unwrap();
    let forged = format!("{head}:{}}}", other["signature"]);
    assert_ne!(format!("{head}:{signature}"), forged);
    let error = registry.client.post("/v1/join", forged).await.error();
    assert_eq!(error.code, ErrorCode::Signature, "the signature of another request");
    let mut stolen: serde_json::Value = serde_json::from_str(&text).unwrap();
    stolen["key"] = crate::registry::public(2).to_string().into();
    let error = registry.client.post("/v1/join", stolen.to_string()).await.error();
    assert_eq!(error.code, ErrorCode::Signature, "another's key");
    for token in ["", "short", &token.reveal()[1..]] {
        let error = registry.client.post("/v1/join", join_body(1, token)).await.error();
        assert_eq!(error.code, ErrorCode::Malformed);
    }
    assert_eq!(registry.contents(), before);
    let _: JoinAnswer = registry.join(1, &token).await.read();
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_one_at_the_limit_is_read() {
    let registry = Registry::start().await;
    let before = registry.contents();
    let answer = registry.client.post("/v1/join", vec![b' '; BODY_LIMIT + 1]).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.error().code, ErrorCode::Malformed);
    let answer = registry.client.post("/v1/join", vec![b' '; BODY_LIMIT]).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(registry.contents(), before);
}

#[tokio::test]
async fn who_tries_out_tokens_has_to_wait_and_who_brings_a_good_one_afterwards_too() {
    let registry = Registry::start().await;
    let good = registry.token(1, 1);
    let bad = sixwire_proto::join::Token::from_octets(&[9; 16]);
    let mut refused = None;
    for _ in 0..40 {
        let answer = registry.join(1, &bad).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(answer.error());
            break;
        }
        assert_eq!(answer.error().code, ErrorCode::TokenUnknown);
    }
    let refused = refused.expect("40 guesses in a row are too many");
    assert_eq!(refused.code, ErrorCode::Busy);
    assert_eq!(registry.join(1, &good).await.error().code, ErrorCode::Busy);
}

#[tokio::test]
async fn bytes_that_are_no_http_and_no_tls_end_the_connection_and_nothing_else() {
    let registry = Registry::start().await;
    let mut stream = registry.client.connect().await;
    stream.write_all(b"\x00\x01\x02 hello\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    read.expect("the registry closes such a connection").ok();
    assert!(answer.starts_with(b"HTTP/1.1 400"), "{answer:?}");
    assert!(registry.client.get("/v1/health").await.status.is_success());
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let registry = Registry::start().await;
    let mut stream = registry.client.connect().await;
    stream.write_all(b"POST /v1/join HTTP/1.1\r\nHost: a\r\nX: ").await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(15), stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the connection is still open after 15 s");
}

#[tokio::test]
async fn a_locked_database_is_busy_and_heals() {
    let registry = Registry::start().await;
    let token = registry.token(1, 1);
    let before = registry.contents();
    let mut other = registry.registrar();
    let lock = other.database().begin().unwrap();
    let answer = timeout(BUSY_TIMEOUT * 5, registry.join(1, &token)).await.unwrap();
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.error().code, ErrorCode::Busy);
    drop(lock);
    assert_eq!(registry.contents(), before);
    let _: JoinAnswer = registry.join(1, &token).await.read();
}
