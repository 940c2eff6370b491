use super::*;
use crate::authority::{CERTIFICATE_LIFE, GRACE, Grant};
use crate::founding::{Place, found};
use proptest::prelude::*;
use sixwire_proto::certificate::{Certificate, Role};
use sixwire_proto::envelope::Document as _;
use sixwire_proto::join::Token;
use sixwire_proto::prefix::Prefix;
use sixwire_proto::registry::Call;

const DAY: u64 = 86_400;
const NOW: Timestamp = Timestamp(20_000 * DAY);

struct Office {
    _place: tempfile::TempDir,
    directory: Directory,
    registrar: Registrar,
    nonce: u64,
}

impl Office {
    fn new(network: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let directory = Directory::new(place.path().join("registry"));
        let url = Place { host: "a".to_owned(), port: 1 };
        found(&directory, network.parse().unwrap(), &url, NOW).unwrap();
        let registrar = Registrar::open(&directory).unwrap();
        Self { _place: place, directory, registrar, nonce: 0 }
    }

    fn token(&mut self, n: u8, uses: u32) -> TokenHash {
        let hash = TokenHash::of(&Token::from_octets(&[n; 16]));
        let row = TokenRow {
            id: 0,
            uses,
            uses_left: uses,
            created: NOW,
            expires: NOW + 10_000 * Duration::from_secs(DAY),
            revoked: None,
            grant: Grant { prefix_length: 64, roles: vec![Role::Transit], tags: Vec::new() },
        };
        self.registrar.create_token(&hash, &row).unwrap();
        hash
    }

    fn join(
        &mut self,
        node: u8,
        token: &TokenHash,
        now: Timestamp,
    ) -> Result<Certificate, Refusal> {
        let request = JoinRequest { key: key(node).public(), token: token.clone(), name: None };
        let answer = refused(self.registrar.join(&request, now))?;
        Ok(answer.certificate.certificate_at(&self.registrar.root(), now).unwrap())
    }

    fn call(&mut self, node: u8, now: Timestamp) -> CallSignature {
        self.nonce += 1;
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.nonce.to_be_bytes());
        Call { method: "POST", path: "/", body: b"" }.sign(&key(node), now, nonce)
    }

    fn renew(&mut self, node: u8, now: Timestamp) -> Result<Certificate, Refusal> {
        let call = self.call(node, now);
        let answer = refused(self.registrar.renew(&call, now))?;
        Ok(answer.certificate.certificate_at(&self.registrar.root(), now).unwrap())
    }

    fn peers(&mut self, node: u8, address: &str, now: Timestamp) -> Vec<PeerRecord> {
        let call = self.call(node, now);
        let address: std::net::SocketAddr = address.parse().unwrap();
        let presence = Presence { addresses: vec![address] };
        self.registrar.peers(&call, (&presence, address.ip()), now).unwrap().peers
    }

    fn state(&mut self) -> NetworkState {
        let (_, chain) = self.registrar.database().begin().unwrap().state().unwrap();
        chain.open_at(&self.registrar.root(), NOW).unwrap()
    }
}

fn key(n: u8) -> SecretKey {
    SecretKey::from_octets(&[n; 32])
}

fn refused<T>(outcome: Result<T, Failure>) -> Result<T, Refusal> {
    outcome.map_err(|failure| match failure {
        Failure::Refused(refusal) => refusal,
        Failure::Store(error) => panic!("{error}"),
    })
}

fn later(days: u64) -> Timestamp {
    Timestamp(NOW.0 + days * DAY)
}

#[test]
fn a_rejoin_with_another_token_keeps_the_prefix_and_spends_it() {
    let mut office = Office::new("fd00:1:2::/48");
    let (one, two) = (office.token(1, 1), office.token(2, 1));
    let first = office.join(1, &one, NOW).unwrap();
    let again = office.join(1, &two, NOW).unwrap();
    assert_eq!(again.prefix, first.prefix);
    assert!(again.serial > first.serial);
    assert_eq!(office.join(1, &one, NOW), Ok(again.clone()), "both tokens are this node's");
    assert_eq!(office.join(1, &two, NOW), Ok(again));
    assert_eq!(office.join(2, &two, NOW), Err(Refusal::TokenSpent));
}

#[test]
fn a_node_renews_with_its_prefix_until_its_grace_is_over() {
    let mut office = Office::new("fd00:1:2::/48");
    let token = office.token(1, 1);
    let first = office.join(1, &token, NOW).unwrap();
    assert_eq!(office.renew(1, later(10)), Ok(first.clone()));
    let second = office.renew(1, later(60)).unwrap();
    assert_eq!(second.prefix, first.prefix);
    assert!(second.serial > first.serial);
    let third = office.renew(1, later(60 + 90 + 50)).unwrap();
    assert_eq!((third.prefix, third.roles), (first.prefix, first.roles));
    let end = third.not_after;
    let over = Timestamp(end.0 + GRACE.as_secs() + 1);
    assert_eq!(office.renew(1, over), Err(Refusal::NodeLapsed(end)));
    assert_eq!(office.renew(2, NOW), Err(Refusal::NodeUnknown));
}

#[test]
fn a_prefix_is_free_again_only_after_its_grace_even_when_revoked() {
    let mut office = Office::new("fd00:1:2:2::/63");
    let token = office.token(1, 10);
    let first = office.join(1, &token, NOW).unwrap();
    office.join(2, &token, NOW).unwrap();
    office.registrar.revoke(Holder::RouterId(first.router_id()), NOW).unwrap();
    let end = NOW + CERTIFICATE_LIFE + GRACE;
    assert!(matches!(office.join(3, &token, end), Err(Refusal::PoolEmpty(_))));
    let after = Timestamp(end.0 + 1);
    assert_eq!(office.join(3, &token, after).unwrap().prefix, first.prefix);
    assert_eq!(office.join(1, &token, after), Err(Refusal::KeyRevoked(NOW)), "banned for good");
}

#[test]
fn a_refused_join_does_not_spend_the_token() {
    let mut office = Office::new("fd00:1:2:2::/63");
    let token = office.token(1, 3);
    office.join(1, &token, NOW).unwrap();
    office.join(2, &token, NOW).unwrap();
    assert!(matches!(office.join(3, &token, NOW), Err(Refusal::PoolEmpty(_))));
    let left = office.registrar.database().begin().unwrap().tokens().unwrap()[0].uses_left;
    assert_eq!(left, 1);
}

#[test]
fn revoking_a_key_reaches_the_state_and_ends_every_call() {
    let mut office = Office::new("fd00:1:2::/48");
    let token = office.token(1, 1);
    let node = office.join(1, &token, NOW).unwrap();
    let before = office.state();
    let epoch = office.registrar.revoke(Holder::RouterId(node.router_id()), NOW).unwrap();
    let after = office.state();
    assert!(epoch > before.epoch && after.epoch == epoch);
    assert_eq!(after.revoked_keys, [key(1).public()]);
    assert_eq!(office.renew(1, NOW), Err(Refusal::KeyRevoked(NOW)));
    assert_eq!(office.join(1, &token, NOW), Err(Refusal::KeyRevoked(NOW)));
    let again = office.registrar.revoke(Holder::RouterId(node.router_id()), NOW);
    assert!(matches!(again, Err(Error::AlreadyRevoked)));
    assert_eq!(office.state(), after);
}

#[test]
fn revoking_a_serial_takes_the_earlier_certificates_too_and_a_new_token_heals_it() {
    let mut office = Office::new("fd00:1:2::/48");
    let (one, two) = (office.token(1, 1), office.token(2, 1));
    let first = office.join(1, &one, NOW).unwrap();
    let second = office.renew(1, later(60)).unwrap();
    office.registrar.revoke(Holder::Serial(second.serial), later(61)).unwrap();
    assert_eq!(office.state().revoked_serials, [first.serial, second.serial]);
    let refused = Refusal::CertificateRevoked(later(61));
    assert_eq!(office.renew(1, later(61)), Err(refused.clone()));
    assert_eq!(office.join(1, &one, later(61)), Err(refused));
    let healed = office.join(1, &two, later(61)).unwrap();
    assert_eq!(healed.prefix, first.prefix);
    assert!(!office.state().revoked_serials.contains(&healed.serial));
    assert!(matches!(office.registrar.revoke(Holder::Serial(1), NOW), Err(Error::NoSuchNode)));
}

#[test]
fn peers_are_others_that_were_seen_lately_and_are_not_revoked() {
    let mut office = Office::new("fd00:1:2::/48");
    let token = office.token(1, 10);
    let nodes: Vec<_> = (1..=3).map(|n| office.join(n, &token, NOW).unwrap().router_id()).collect();
    assert!(office.peers(1, "192.0.2.1:6326", NOW).is_empty());
    let seen = office.peers(2, "192.0.2.2:6326", NOW);
    assert_eq!(seen[0].node, nodes[0]);
    assert_eq!(seen[0].addresses, ["192.0.2.1:6326".parse().unwrap()]);
    let mut ids: Vec<_> = office.peers(3, "[::1]:6326", NOW).iter().map(|peer| peer.node).collect();
    ids.sort();
    let mut expected = nodes[..2].to_vec();
    expected.sort();
    assert_eq!(ids, expected, "and not node 3 itself");
    assert_eq!(office.peers(1, "192.0.2.1:6326", NOW).len(), 1, "node 3 showed no usable address");
    office.registrar.revoke(Holder::RouterId(nodes[0]), NOW).unwrap();
    assert!(office.peers(2, "192.0.2.2:6326", NOW).is_empty(), "node 1 is revoked");
    let hour = Timestamp(NOW.0 + PRESENCE_LIFE.as_secs() + 1);
    assert!(office.peers(3, "192.0.2.3:6326", hour).is_empty(), "node 2 was seen long ago");
}

#[test]
fn on_a_full_disk_joins_fail_whole_and_peers_are_still_told() {
    let mut office = Office::new("fd00:1:2::/48");
    let token = office.token(1, 200);
    office.join(1, &token, NOW).unwrap();
    office.peers(1, "192.0.2.1:6326", NOW);
    office.join(2, &token, NOW).unwrap();
    office.registrar.database().forbid_growth();
    let failed = (10..200).find_map(|node| {
        let request = JoinRequest { key: key(node).public(), token: token.clone(), name: None };
        let error = office.registrar.join(&request, NOW).err()?;
        Some((node, error))
    });
    let (node, error) = failed.expect("190 certificates do not fit into no new page");
    assert!(matches!(error, Failure::Store(StoreError::Full(_))), "{error}");
    let transaction = office.registrar.database().begin().unwrap();
    assert_eq!(transaction.node(&key(node).public()).unwrap(), None);
    let uses_left = transaction.tokens().unwrap()[0].uses_left;
    let nodes = u32::try_from(transaction.nodes().unwrap().len()).unwrap();
    assert_eq!(uses_left + nodes, 200, "no use was lost");
    drop(transaction);
    assert_eq!(office.peers(2, "192.0.2.2:6326", NOW).len(), 1);
}

#[test]
fn the_root_renews_the_issuer_and_the_state_follows() {
    let mut office = Office::new("fd00:1:2::/48");
    let before = office.state();
    let root = office.directory.root_key().unwrap().unwrap();
    let now = later(300);
    let not_after = office.registrar.renew_issuer(&root, now).unwrap();
    assert!(not_after > now + Duration::from_secs(360 * DAY));
    let reopened = Registrar::open(&office.directory).unwrap();
    assert_eq!(reopened.authority().not_after(), not_after);
    let (_, chain) = office.registrar.database().begin().unwrap().state().unwrap();
    let state: NetworkState = chain.open_at(&office.registrar.root(), later(400)).unwrap();
    assert!(state.epoch > before.epoch, "nodes replace a state whose issuer ends");
    assert_eq!(state.issuers, before.issuers);
    let stranger = office.registrar.renew_issuer(&key(9), now);
    assert!(matches!(stranger, Err(Error::WrongRoot { .. })));
}

#[test]
fn parameters_out_of_range_leave_the_state_in_force() {
    let mut office = Office::new("fd00:1:2::/48");
    let before = office.state();
    let wrong = Parameters { tunnel_mtu: 1, ..Parameters::default() };
    let refused = office.registrar.set_parameters(&wrong, NOW).unwrap_err();
    assert!(refused.to_string().contains("tunnel_mtu"), "{refused}");
    assert_eq!(office.state(), before);
    let good = Parameters { tunnel_mtu: 1300, ..Parameters::default() };
    let epoch = office.registrar.set_parameters(&good, NOW).unwrap();
    assert_eq!((office.state().epoch, office.state().parameters), (epoch, good));
    assert!(epoch > before.epoch);
}

#[test]
fn a_token_for_prefixes_the_network_cannot_hold_is_not_made() {
    let mut office = Office::new("fd00:1:2:3::/64");
    let token = TokenRow {
        id: 0,
        uses: 1,
        uses_left: 1,
        created: NOW,
        expires: NOW,
        revoked: None,
        grant: Grant { prefix_length: 64, roles: Vec::new(), tags: Vec::new() },
    };
    let hash = TokenHash::of(&Token::from_octets(&[1; 16]));
    let refused = office.registrar.create_token(&hash, &token).unwrap_err();
    assert!(refused.to_string().contains("65 to 128"), "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn living_nodes_never_overlap_and_serials_never_repeat(
        steps in prop::collection::vec((1_u8..12, 0_u8..3, 0_u64..40), 1..40),
    ) {
        let mut office = Office::new("fd00:1:2:8::/61");
        let token = office.token(1, 1000);
        let mut now = NOW;
        let mut alive: std::collections::BTreeMap<u8, Certificate> = std::collections::BTreeMap::new();
        for (node, action, days) in steps {
            now = Timestamp((now.0 + days * DAY).min(office.registrar.authority().not_after().0 - DAY));
            let outcome = match action {
                0 => office.join(node, &token, now),
                1 => office.renew(node, now),
                _ => {
                    if let Some(certificate) = alive.get(&node) {
                        let _ = office.registrar.revoke(Holder::Serial(certificate.serial), now);
                    }
                    continue;
                }
            };
            let Ok(certificate) = outcome else { continue };
            prop_assert_eq!(certificate.check(), Ok(()));
            for (other, held) in &alive {
                let reserved = now <= held.not_after + GRACE;
                prop_assert!(
                    *other == node || !reserved || !held.prefix.overlaps(certificate.prefix)
                );
                prop_assert!(*other == node || held.serial != certificate.serial);
            }
            let inside: Prefix = "fd00:1:2:8::/61".parse().unwrap();
            prop_assert!(inside.contains(certificate.prefix));
            alive.insert(node, certificate);
        }
    }
}
