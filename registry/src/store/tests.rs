use super::*;
use crate::authority::{Grant, TokenRow};
use rusqlite::params;
use sixwire_proto::join::Token;
use sixwire_proto::keys::SecretKey;
use sixwire_proto::time::Timestamp;

const NOW: Timestamp = Timestamp(1_000_000);

impl Database {
    /// From now on the file cannot grow, as on a full disk.
    pub(crate) fn forbid_growth(&self) {
        let pages: u32 =
            self.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        self.connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
    }
}

fn database() -> (tempfile::TempDir, Database) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("registry.db");
    std::fs::write(&path, b"").unwrap();
    let database = Database::open(&path).unwrap();
    (place, database)
}

fn hash(n: u8) -> TokenHash {
    TokenHash::of(&Token::from_octets(&[n; 16]))
}

fn token(uses: u32) -> TokenRow {
    TokenRow {
        id: 0,
        uses,
        uses_left: uses,
        created: NOW,
        expires: Timestamp(NOW.0 + 10),
        revoked: None,
        grant: Grant { prefix_length: 64, roles: Vec::new(), tags: vec!["a".to_owned()] },
    }
}

#[test]
fn a_token_is_spent_as_often_as_it_may_and_not_once_more() {
    let (_place, mut database) = database();
    let transaction = database.begin().unwrap();
    let id = transaction.insert_token(&hash(1), &token(2)).unwrap();
    for left in [1, 0] {
        let spent = transaction.spend(&hash(1), NOW).unwrap().unwrap();
        assert_eq!(spent, TokenRow { id, uses_left: left, ..token(2) });
    }
    assert_eq!(transaction.spend(&hash(1), NOW).unwrap(), None);
    assert_eq!(transaction.spend(&hash(9), NOW).unwrap(), None);
}

#[test]
fn an_expired_or_revoked_token_is_not_spent() {
    let (_place, mut database) = database();
    let transaction = database.begin().unwrap();
    let id = transaction.insert_token(&hash(1), &token(2)).unwrap();
    assert_eq!(transaction.spend(&hash(1), Timestamp(NOW.0 + 11)).unwrap(), None);
    assert!(transaction.revoke_token(id, NOW).unwrap());
    assert!(!transaction.revoke_token(id, NOW).unwrap(), "a second time");
    assert!(!transaction.revoke_token(id + 1, NOW).unwrap(), "another one");
    assert_eq!(transaction.spend(&hash(1), NOW).unwrap(), None);
    assert_eq!(transaction.token(&hash(1)).unwrap().unwrap().uses_left, 2);
}

#[test]
fn a_dropped_transaction_changes_nothing() {
    let (_place, mut database) = database();
    let transaction = database.begin().unwrap();
    transaction.insert_token(&hash(1), &token(1)).unwrap();
    drop(transaction);
    assert!(database.begin().unwrap().tokens().unwrap().is_empty());
}

#[test]
fn a_full_disk_is_an_error_of_its_own_and_changes_nothing() {
    let (_place, mut database) = database();
    database.forbid_growth();
    let transaction = database.begin().unwrap();
    let mut large = token(1);
    large.grant.tags = vec!["x".repeat(100_000)];
    let failed = transaction.insert_token(&hash(1), &large).unwrap_err();
    assert!(matches!(failed, StoreError::Full(_)), "{failed}");
    assert!(failed.to_string().contains("make room"), "{failed}");
    drop(transaction);
    assert!(database.begin().unwrap().tokens().unwrap().is_empty());
}

#[test]
fn a_database_of_a_newer_program_is_left_alone() {
    let (place, database) = database();
    database.connection.pragma_update(None, "user_version", VERSION + 1).unwrap();
    drop(database);
    let refused = Database::open(&place.path().join("registry.db")).err().unwrap();
    assert!(matches!(refused, StoreError::Newer { found } if found == VERSION + 1), "{refused}");
}

#[test]
fn a_file_that_is_no_database_is_called_damaged_or_unopenable() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("registry.db");
    assert!(matches!(Database::open(&path), Err(StoreError::Open { .. })), "a missing file");
    std::fs::write(&path, "no database at all, but long enough to look like one".repeat(100))
        .unwrap();
    let refused = Database::open(&path).err().unwrap().to_string();
    assert!(refused.contains("not a database"), "{refused}");
}

#[test]
fn a_row_that_makes_no_sense_is_damage_and_no_panic() {
    let (_place, mut database) = database();
    let transaction = database.begin().unwrap();
    transaction.insert_token(&hash(1), &token(1)).unwrap();
    transaction.0.execute("UPDATE token SET expires = ?, roles = ?", params![-1, "[]"]).unwrap();
    assert!(matches!(transaction.token(&hash(1)), Err(StoreError::Damaged(_))));
    transaction.0.execute("UPDATE token SET expires = 1, roles = '{'", []).unwrap();
    assert!(matches!(transaction.token(&hash(1)), Err(StoreError::Damaged(_))));
}

#[test]
fn the_token_itself_is_not_in_the_file() {
    let (place, mut database) = database();
    let transaction = database.begin().unwrap();
    transaction.insert_token(&hash(1), &token(1)).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let file = std::fs::read(place.path().join("registry.db")).unwrap();
    let token = Token::from_octets(&[1; 16]);
    let needle = token.reveal().as_bytes();
    assert!(!file.windows(needle.len()).any(|window| window == needle));
}

#[test]
fn presence_for_unknown_nodes_is_refused_by_the_schema() {
    let (_place, mut database) = database();
    let transaction = database.begin().unwrap();
    let stranger = SecretKey::from_octets(&[1; 32]).public();
    assert!(transaction.record_presence(&stranger, &[], NOW).is_err());
}
