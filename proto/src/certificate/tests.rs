use super::*;
use crate::keys::SecretKey;

const DAY: u64 = 86_400;

fn key(n: u8) -> SecretKey {
    SecretKey::from_octets(&[n; 32])
}

fn issuer(root: &SecretKey, key: &SecretKey) -> Envelope {
    Envelope::seal(
        root,
        &Issuer {
            version: 1,
            network: NetworkId::of(&root.public()),
            key: key.public(),
            not_before: Timestamp(0),
            not_after: Timestamp(1000 * DAY),
        },
    )
}

fn certificate(root: &SecretKey, node: &SecretKey) -> Certificate {
    Certificate {
        version: 1,
        network: NetworkId::of(&root.public()),
        serial: 1,
        name: Some("alpha".to_owned()),
        node: node.public(),
        prefix: "fd00:1:2:3::/64".parse().unwrap(),
        extra_prefixes: Vec::new(),
        roles: vec![Role::Transit],
        tags: Vec::new(),
        not_before: Timestamp(DAY),
        not_after: Timestamp(91 * DAY),
    }
}

fn chain() -> Chain {
    let document = Envelope::seal(&key(2), &certificate(&key(1), &key(3)));
    Chain { issuer: issuer(&key(1), &key(2)), document }
}

#[test]
fn a_chain_needs_nothing_but_the_root_key() {
    let opened = chain().certificate_at(&key(1).public(), Timestamp(2 * DAY)).unwrap();
    assert_eq!(opened, certificate(&key(1), &key(3)));
}

#[test]
fn dates_are_strict() {
    let root = key(1).public();
    let at = |time| chain().certificate_at(&root, Timestamp(time)).map(|_| ());
    assert_eq!(at(DAY), Ok(()));
    assert_eq!(at(91 * DAY), Ok(()));
    assert!(matches!(at(DAY - 1), Err(DocumentError::NotYetValid("node certificate", ..))));
    assert!(matches!(at(91 * DAY + 1), Err(DocumentError::Expired("node certificate", ..))));
    assert!(matches!(at(1000 * DAY + 1), Err(DocumentError::Expired("issuer certificate", ..))));
}

#[test]
fn a_chain_of_another_root_is_refused() {
    let refused = chain().open::<Certificate>(&key(9).public()).unwrap_err();
    assert!(matches!(refused, DocumentError::WrongSigner("issuer certificate", _)), "{refused}");
}

#[test]
fn an_issuer_without_the_roots_word_is_refused() {
    let document = Envelope::seal(&key(8), &certificate(&key(1), &key(3)));
    let chain = Chain { issuer: issuer(&key(1), &key(2)), document };
    let refused = chain.open::<Certificate>(&key(1).public()).unwrap_err();
    assert!(matches!(refused, DocumentError::WrongSigner("node certificate", _)), "{refused}");
}

#[test]
fn a_certificate_for_another_network_is_refused_though_signed() {
    let mut foreign = certificate(&key(1), &key(3));
    foreign.network = NetworkId::of(&key(9).public());
    let chain =
        Chain { issuer: issuer(&key(1), &key(2)), document: Envelope::seal(&key(2), &foreign) };
    let refused = chain.open::<Certificate>(&key(1).public()).unwrap_err();
    assert!(matches!(refused, DocumentError::WrongNetwork("node certificate", _)), "{refused}");
}

#[test]
fn every_changed_or_cut_byte_is_refused() {
    let text = serde_json::to_string(&chain()).unwrap();
    let root = key(1).public();
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = serde_json::from_slice::<Chain>(&bytes).ok();
        let opened = changed.and_then(|c| c.certificate_at(&root, Timestamp(2 * DAY)).ok());
        assert!(opened.is_none(), "byte {at} changed and nobody noticed");
        assert!(serde_json::from_str::<Chain>(&text[..at]).is_err());
    }
}

#[test]
fn values_out_of_range_are_named() {
    type Break = fn(&mut Certificate);
    let cases: [(Break, &str); 5] = [
        (|c| c.prefix = Prefix::V6_DEFAULT, "prefix"),
        (|c| c.prefix = "10.0.0.0/8".parse().unwrap(), "prefix"),
        (|c| c.name = Some("two words".to_owned()), "name"),
        (|c| c.tags = vec![String::new()], "tags"),
        (|c| c.extra_prefixes = vec![c.prefix; 33], "extra_prefixes"),
    ];
    for (break_it, field) in cases {
        let mut broken = certificate(&key(1), &key(3));
        break_it(&mut broken);
        let refused = Envelope::seal(&key(2), &broken)
            .open::<Certificate>(&key(2).public())
            .unwrap_err()
            .to_string();
        assert!(refused.contains(field), "{refused}");
    }
}

#[test]
fn a_newer_format_says_so() {
    let mut newer = certificate(&key(1), &key(3));
    newer.version = 2;
    let refused = Envelope::seal(&key(2), &newer).open::<Certificate>(&key(2).public());
    assert_eq!(refused, Err(DocumentError::Version("node certificate", 2, 1)));
}
