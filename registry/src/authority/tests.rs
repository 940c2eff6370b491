use super::*;
use proptest::prelude::*;

const DAY: u64 = 86_400;
const NOW: Timestamp = Timestamp(20_000 * DAY);

fn key(n: u8) -> SecretKey {
    SecretKey::from_octets(&[n; 32])
}

fn authority_since(start: Timestamp) -> Authority {
    let prefix = "fd00:1:2::/48".parse().unwrap();
    let envelope = vouch(&key(1), key(2).public(), start);
    Authority::new(&key(1).public(), prefix, envelope, key(2)).unwrap()
}

fn admission() -> Admission {
    let prefix = "fd00:1:2:3::/64".parse().unwrap();
    let grant =
        Grant { prefix_length: 64, roles: vec![Role::Transit], tags: vec!["rack-1".to_owned()] };
    Admission::of(key(3).public(), Some("alpha".to_owned()), prefix, grant)
}

fn node_at(authority: &Authority, now: Timestamp) -> NodeRow {
    let (certificate, chain) = authority.certify(admission(), 7, now).unwrap();
    NodeRow { certificate, chain, revoked: None }
}

fn token() -> TokenRow {
    TokenRow {
        id: 1,
        uses: 2,
        uses_left: 1,
        created: NOW,
        expires: Timestamp(NOW.0 + DAY),
        revoked: None,
        grant: Grant { prefix_length: 64, roles: Vec::new(), tags: Vec::new() },
    }
}

#[test]
fn a_certificate_holds_at_once_for_ninety_days_by_the_roots_word() {
    let node = node_at(&authority_since(NOW), NOW);
    let root = key(1).public();
    assert_eq!(node.chain.certificate_at(&root, NOW), Ok(node.certificate.clone()));
    let slow_clock = Timestamp(NOW.0 - CLOCK_TOLERANCE_S);
    assert!(node.chain.certificate_at(&root, slow_clock).is_ok());
    assert_eq!(node.certificate.not_after, NOW + CERTIFICATE_LIFE);
    assert_eq!(node.certificate.tags, ["rack-1"]);
}

#[test]
fn no_certificate_outlives_its_issuer() {
    let authority = authority_since(NOW);
    let late = Timestamp(authority.not_after().0 - DAY);
    assert_eq!(node_at(&authority, late).certificate.not_after, authority.not_after());
    let too_late = Timestamp(authority.not_after().0 + 1);
    assert_eq!(authority.certify(admission(), 8, too_late), Err(Refusal::Internal));
}

#[test]
fn an_issuer_wants_renewal_in_its_last_third_which_is_longer_than_a_certificate() {
    let authority = authority_since(NOW);
    assert!(!authority.wants_renewal(Timestamp(NOW.0 + 240 * DAY)));
    assert!(authority.wants_renewal(Timestamp(NOW.0 + 245 * DAY)));
    assert!(ISSUER_LIFE / 3 > CERTIFICATE_LIFE);
}

#[test]
fn only_the_roots_word_about_this_key_makes_an_authority() {
    let prefix = "fd00:1:2::/48".parse().unwrap();
    let envelope = vouch(&key(1), key(2).public(), NOW);
    let with = |root: u8, issuer: u8| {
        Authority::new(&key(root).public(), prefix, envelope.clone(), key(issuer)).is_ok()
    };
    assert!(with(1, 2));
    assert!(!with(9, 2), "another root");
    assert!(!with(1, 9), "another issuer key");
}

#[test]
fn renewal_by_age_of_the_certificate() {
    let authority = authority_since(NOW);
    let node = node_at(&authority, NOW);
    let judge = |days: u64| authority.judge_renewal(&node, Timestamp(NOW.0 + days * DAY));
    for (days, renewed) in
        [(0, false), (29, false), (31, true), (89, true), (91, true), (189, true)]
    {
        let decision = judge(days).unwrap();
        assert_eq!(matches!(decision, RenewDecision::Certify(_)), renewed, "{days} days");
    }
    assert_eq!(judge(191), Err(Refusal::NodeLapsed(node.certificate.not_after)));
    assert_eq!(judge(31), Ok(RenewDecision::Certify(admission())), "with all it had");
}

#[test]
fn a_renewal_that_would_gain_no_time_changes_nothing() {
    let authority = authority_since(NOW);
    let late = Timestamp(authority.not_after().0 - 30 * DAY);
    let node = node_at(&authority, late);
    let later = Timestamp(late.0 + 20 * DAY);
    assert_eq!(authority.judge_renewal(&node, later), Ok(RenewDecision::Keep(node.chain.clone())));
}

#[test]
fn a_revoked_certificate_is_not_renewed() {
    let authority = authority_since(NOW);
    let node = NodeRow { revoked: Some(NOW), ..node_at(&authority, NOW) };
    assert_eq!(authority.judge_renewal(&node, NOW), Err(Refusal::CertificateRevoked(NOW)));
}

#[test]
fn joins_by_what_is_known_of_the_key() {
    let node = node_at(&authority_since(NOW), NOW);
    let (chain, prefix) = (node.chain.clone(), node.certificate.prefix);
    let expired = Timestamp(node.certificate.not_after.0 + 1);
    let revoked = NodeRow { revoked: Some(NOW), ..node.clone() };
    let banned = Applicant { banned: Some(NOW), ..Applicant::default() };
    let known = |node: &NodeRow, spent| Applicant { banned: None, node: Some(node.clone()), spent };
    for (applicant, now, outcome) in [
        (Applicant::default(), NOW, Ok(JoinDecision::Join)),
        (banned, NOW, Err(Refusal::KeyRevoked(NOW))),
        (known(&node, Some(NOW)), NOW, Ok(JoinDecision::Repeat(Box::new(chain)))),
        (known(&node, Some(NOW)), expired, Ok(JoinDecision::Rejoin(prefix))),
        (known(&node, None), NOW, Ok(JoinDecision::Rejoin(prefix))),
        (known(&revoked, None), NOW, Ok(JoinDecision::Rejoin(prefix))),
        (known(&revoked, Some(NOW)), NOW, Err(Refusal::CertificateRevoked(NOW))),
    ] {
        assert_eq!(judge_join(&applicant, now), outcome, "{applicant:?}");
    }
}

#[test]
fn tokens_that_buy_nothing_say_why() {
    let late = Timestamp(token().expires.0 + 1);
    for (token, now, refusal) in [
        (None, NOW, Refusal::TokenUnknown),
        (Some(TokenRow { revoked: Some(NOW), ..token() }), late, Refusal::TokenRevoked(NOW)),
        (Some(TokenRow { uses_left: 0, ..token() }), NOW, Refusal::TokenSpent),
        (Some(token()), late, Refusal::TokenExpired(token().expires)),
    ] {
        assert_eq!(token_refusal(token.as_ref(), now), refusal);
    }
}

#[test]
fn a_state_names_its_issuer_and_what_is_revoked() {
    let authority = authority_since(NOW);
    let (epoch, chain) = authority.first_state(NOW).unwrap();
    let first: NetworkState = chain.open_at(&key(1).public(), NOW).unwrap();
    assert_eq!((epoch, first.epoch), (NOW.0, NOW.0));
    assert_eq!(first.issuers, [key(2).public()]);
    let revoked = Revocations { serials: vec![7], keys: vec![key(3).public()] };
    let (epoch, chain) = authority.next_state(first.clone(), revoked, NOW).unwrap();
    let next: NetworkState = chain.open_at(&key(1).public(), NOW).unwrap();
    assert_eq!(epoch, first.epoch + 1, "two states in one second");
    assert_eq!((next.revoked_serials, next.revoked_keys), (vec![7], vec![key(3).public()]));
}

#[test]
fn more_revocations_than_fit_are_an_error_and_not_a_state_nobody_reads() {
    let authority = authority_since(NOW);
    let (_, chain) = authority.first_state(NOW).unwrap();
    let first: NetworkState = chain.open_at(&key(1).public(), NOW).unwrap();
    let serials = (0..=NetworkState::REVOKED_LIMIT as u64).collect();
    let revoked = Revocations { serials, keys: Vec::new() };
    let refused = authority.next_state(first, revoked, NOW).unwrap_err();
    assert!(refused.contains("revoked"), "{refused}");
}

proptest! {
    #[test]
    fn epochs_and_serials_grow_whatever_the_clock_does(
        times in prop::collection::vec(0_u64..5_000_000_000, 1..50),
    ) {
        let (mut epoch, mut serial) = (0, 0);
        let authority = authority_since(NOW);
        let (_, chain) = authority.first_state(Timestamp(0)).unwrap();
        let mut state: NetworkState = chain.document.open(&key(2).public()).unwrap();
        for time in times.into_iter().map(Timestamp) {
            let next = next_serial(serial, time);
            prop_assert!(next > serial && next >= time.0);
            serial = next;
            let (next, chain) =
                authority.next_state(state, Revocations::default(), time).unwrap();
            prop_assert!(next > epoch && next >= time.0);
            epoch = next;
            state = chain.document.open(&key(2).public()).unwrap();
        }
    }
}
