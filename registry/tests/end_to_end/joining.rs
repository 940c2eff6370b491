//! Joins: who gets a certificate, and who gets which refusal.

use std::collections::BTreeSet;

use sixwire_proto::registry::{ErrorCode, JoinAnswer};
use sixwire_proto::state::NetworkState;
use sixwire_proto::time::Timestamp;
use sixwire_registry::clock;

use crate::registry::{Registry, public};

#[tokio::test]
async fn a_node_joins_and_gets_all_it_needs_by_the_root_key_alone() {
    let registry = Registry::start().await;
    let token = registry.token(1, 1);
    let answer: JoinAnswer = registry.join(1, &token).await.read();
    let certificate = registry.certificate(&answer);
    assert_eq!(certificate.node, public(1));
    assert_eq!(certificate.prefix, "fd00:1:2::/64".parse().unwrap());
    assert_eq!(certificate.name.as_deref(), Some("node-1"));
    assert_eq!(certificate.tags, ["t"]);
    let state: NetworkState = answer.state.open_at(&registry.founded.root, clock::now()).unwrap();
    assert_eq!(state.prefix, registry.founded.prefix);
    assert_eq!(state.admits(&certificate, answer.certificate.document.signer()), Ok(()));
    assert!(answer.time.0.abs_diff(clock::now().0) < 10);
    assert!(answer.peers.is_empty());
}

#[tokio::test]
async fn a_hundred_joins_at_once_with_a_one_use_token_make_one_node() {
    let registry = Registry::start().await;
    let token = registry.token(1, 1);
    let joins: Vec<_> = (1..=100)
        .map(|node| {
            let (client, body) =
                (registry.client.clone(), crate::registry::join_body(node, token.reveal()));
            tokio::spawn(async move { client.post("/v1/join", body).await })
        })
        .collect();
    let mut joined = 0;
    for join in joins {
        let answer = join.await.unwrap();
        if answer.status.is_success() {
            joined += 1;
        } else {
            assert_eq!(answer.error().code, ErrorCode::TokenSpent);
        }
    }
    assert_eq!(joined, 1);
    let nodes = registry.registrar().database().begin().unwrap().nodes().unwrap();
    assert_eq!(nodes.len(), 1);
}

#[tokio::test]
async fn a_hundred_joins_at_once_with_a_token_for_a_hundred_make_a_hundred_nodes() {
    let registry = Registry::start().await;
    let token = registry.token(1, 100);
    let joins: Vec<_> = (1..=100)
        .map(|node| {
            let (client, body) =
                (registry.client.clone(), crate::registry::join_body(node, token.reveal()));
            tokio::spawn(async move { client.post("/v1/join", body).await })
        })
        .collect();
    let (mut prefixes, mut serials) = (BTreeSet::new(), BTreeSet::new());
    for join in joins {
        let certificate = registry.certificate(&join.await.unwrap().read());
        prefixes.insert(certificate.prefix);
        serials.insert(certificate.serial);
    }
    assert_eq!((prefixes.len(), serials.len()), (100, 100));
}

#[tokio::test]
async fn a_join_that_was_cut_off_is_answered_again_also_after_a_restart() {
    let mut registry = Registry::start().await;
    let token = registry.token(1, 1);
    let first: JoinAnswer = registry.join(1, &token).await.read();
    let before = registry.contents();
    let second: JoinAnswer = registry.join(1, &token).await.read();
    assert_eq!(second.certificate, first.certificate);
    registry.restart().await;
    let third: JoinAnswer = registry.join(1, &token).await.read();
    assert_eq!((third.certificate, third.state), (first.certificate, first.state));
    assert_eq!(registry.join(2, &token).await.error().code, ErrorCode::TokenSpent);
    assert_eq!(registry.contents(), before);
}

#[tokio::test]
async fn tokens_that_buy_nothing_have_a_code_each_and_change_nothing() {
    let registry = Registry::start().await;
    let unknown = sixwire_proto::join::Token::from_octets(&[99; 16]);
    let expired = registry.token_until(1, 1, Timestamp(clock::now().0 - 1));
    let revoked = registry.token(2, 1);
    let spent = registry.token(3, 1);
    registry.joined_at(9, &spent, clock::now());
    {
        let mut registrar = registry.registrar();
        let transaction = registrar.database().begin().unwrap();
        assert!(transaction.revoke_token(2, clock::now()).unwrap());
        transaction.commit().unwrap();
    }
    let before = registry.contents();
    for (token, code) in [
        (&unknown, ErrorCode::TokenUnknown),
        (&expired, ErrorCode::TokenExpired),
        (&revoked, ErrorCode::TokenRevoked),
        (&spent, ErrorCode::TokenSpent),
    ] {
        let error = registry.join(1, token).await.error();
        assert_eq!(error.code, code);
        assert!(error.message.contains("join string"), "{}", error.message);
        assert!(!error.message.contains(token.reveal()));
    }
    assert_eq!(registry.contents(), before);
}
