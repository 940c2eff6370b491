use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn fresh() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state")).unwrap();
    (dir, store)
}

fn key() -> SecretKey {
    SecretKey::from_octets(&[7; 32])
}

fn network() -> Network {
    Network {
        root: key().public(),
        host: "vpn.example.net".to_owned(),
        port: 8443,
        tls_pin: Some(TlsPin([3; 32])),
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn peer(n: u16) -> PeerRecord {
    let node = format!("{:016x}", n + 1).parse().unwrap();
    PeerRecord { node, addresses: vec![([192, 0, 2, 1], n).into()] }
}

#[test]
fn an_empty_store_holds_nothing() {
    let (_dir, store) = fresh();
    assert!(store.node_key().unwrap().is_none());
    assert_eq!(store.network().unwrap(), None);
    assert_eq!((store.certificate().unwrap(), store.state().unwrap()), (None, None));
    assert_eq!((store.peers(), store.seqno(), store.clock_floor()), (Vec::new(), None, None));
}

#[test]
fn what_was_kept_is_read_back_by_another_run() {
    let (_dir, store) = fresh();
    store.save_node_key(&key()).unwrap();
    store.save_network(&network()).unwrap();
    store.save_seqno(Seqno(65535)).unwrap();
    store.save_clock_floor(Timestamp(1_795_354_140)).unwrap();
    store.save_peers(&[peer(5)]).unwrap();
    let again = Store::open(store.dir()).unwrap();
    assert_eq!(again.node_key().unwrap().unwrap().public(), key().public());
    assert_eq!(again.network().unwrap(), Some(network()));
    assert_eq!(again.seqno(), Some(Seqno(65535)));
    assert_eq!(again.clock_floor(), Some(Timestamp(1_795_354_140)));
    assert_eq!(again.peers(), [peer(5)]);
}

#[test]
fn a_network_without_a_pin_survives_too() {
    let (_dir, store) = fresh();
    let unpinned = Network { tls_pin: None, ..network() };
    store.save_network(&unpinned).unwrap();
    assert_eq!(store.network().unwrap(), Some(unpinned));
}

#[test]
fn directory_and_files_are_for_their_owner_alone() {
    let (_dir, store) = fresh();
    store.save_node_key(&key()).unwrap();
    store.save_peers(&[]).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().mode() & 0o7777;
    assert_eq!(mode(store.dir()), 0o700);
    assert_eq!(mode(&store.path(NODE_KEY)), 0o600);
    assert_eq!(mode(&store.path(PEERS)), 0o600);
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_command_that_helps() {
    let (_dir, store) = fresh();
    store.save_node_key(&key()).unwrap();
    set_mode(&store.path(NODE_KEY), 0o640);
    let error = store.node_key().unwrap_err().to_string();
    assert!(error.contains("mode 640"), "{error}");
    assert!(error.contains(&format!("chmod 600 {}", store.path(NODE_KEY).display())), "{error}");
    assert!(!error.contains(key().to_text().as_str()));
}

#[test]
fn a_directory_that_others_can_enter_is_refused_and_left_alone() {
    let (_dir, store) = fresh();
    set_mode(store.dir(), 0o755);
    let error = Store::open(store.dir()).unwrap_err().to_string();
    assert!(error.contains("chmod 700"), "{error}");
    assert_eq!(store.dir().metadata().unwrap().mode() & 0o777, 0o755);
}

#[test]
fn what_the_node_cannot_do_without_is_an_error_when_damaged() {
    let (_dir, store) = fresh();
    for name in [NODE_KEY, NETWORK, CERTIFICATE, STATE] {
        file::replace(&store.path(name), b"{\"half\":").unwrap();
    }
    let errors = [
        store.node_key().unwrap_err(),
        store.network().unwrap_err(),
        store.certificate().unwrap_err(),
        store.state().unwrap_err(),
    ];
    for error in errors {
        assert!(error.to_string().contains("is damaged"), "{error}");
        assert!(error.to_string().contains("join again"), "{error}");
    }
}

#[test]
fn damaged_caches_count_as_empty() {
    let (_dir, store) = fresh();
    for name in [PEERS, SEQNO, CLOCK] {
        file::replace(&store.path(name), b"\xff\xfe").unwrap();
    }
    assert_eq!((store.peers(), store.seqno(), store.clock_floor()), (Vec::new(), None, None));
    file::replace(&store.path(SEQNO), b"65536").unwrap();
    assert_eq!(store.seqno(), None);
}

#[test]
fn a_file_beyond_the_size_limit_is_damaged() {
    let (_dir, store) = fresh();
    let file = std::fs::File::create(store.path(STATE)).unwrap();
    file.set_len(5 * 1024 * 1024).unwrap();
    assert!(store.state().unwrap_err().to_string().contains("too large"));
}

#[test]
fn only_so_many_peers_are_kept() {
    let (_dir, store) = fresh();
    let many: Vec<PeerRecord> = (0..300).map(peer).collect();
    store.save_peers(&many).unwrap();
    assert_eq!(store.peers(), many[..Store::PEER_LIMIT]);
    let addresses = vec![([192, 0, 2, 1], 1).into(); ADDRESS_LIMIT + 1];
    store.save_peers(&[PeerRecord { addresses, ..peer(0) }]).unwrap();
    assert_eq!(store.peers()[0].addresses.len(), ADDRESS_LIMIT);
}

#[test]
fn a_failed_write_leaves_the_old_file_and_no_other() {
    let (_dir, store) = fresh();
    store.save_seqno(Seqno(1)).unwrap();
    // A directory in the place of the new file makes the write fail, for root as well.
    std::fs::create_dir(store.path("seqno.new")).unwrap();
    let error = store.save_seqno(Seqno(2)).unwrap_err().to_string();
    assert!(error.contains("what was there before is unchanged"), "{error}");
    assert_eq!(store.seqno(), Some(Seqno(1)));
}

#[test]
fn a_full_disk_is_named_as_such() {
    let full = std::io::Error::from(ErrorKind::StorageFull);
    let error = StoreError::write(Path::new("/s/seqno"), full).to_string();
    assert!(error.starts_with("cannot write /s/seqno: no storage space"), "{error}");
    assert!(error.ends_with("free some space"), "{error}");
}

#[test]
fn a_leftover_of_an_interrupted_write_is_no_obstacle() {
    let (_dir, store) = fresh();
    std::fs::write(store.path("node.key.new"), "half").unwrap();
    set_mode(&store.path("node.key.new"), 0o644);
    store.save_node_key(&key()).unwrap();
    assert!(store.node_key().unwrap().is_some());
    assert!(!store.path("node.key.new").exists());
}

#[test]
fn a_second_process_is_refused_until_the_first_ends() {
    let (_dir, store) = fresh();
    let first = store.lock().unwrap();
    let error = store.lock().unwrap_err().to_string();
    assert!(error.starts_with("another sixwire runs on"), "{error}");
    let dir = store.dir().to_owned();
    let waiting = std::thread::spawn(move || Lock::wait_until_free(&dir));
    drop(first);
    waiting.join().unwrap().unwrap();
    assert!(store.lock().is_ok());
    Lock::wait_until_free(Path::new("/no such directory")).unwrap();
}

#[test]
fn looking_makes_no_directory() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none");
    assert!(Store::open_if_there(&missing).unwrap().is_none());
    assert!(!missing.exists());
}
