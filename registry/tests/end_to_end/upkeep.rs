//! What a server does by itself: it renews the issuer, and stops when it cannot.

use std::fs;

use sixwire_proto::time::Timestamp;
use sixwire_registry::clock;
use sixwire_registry::directory::Directory;
use sixwire_registry::founding::{Place, found};
use sixwire_registry::server::{Server, ServerConfiguration};
use sixwire_registry::{Error, registrar::Registrar};

const DAY: u64 = 86_400;

/// A registry founded some days ago, in a directory that vanishes.
fn founded(days_ago: u64) -> (tempfile::TempDir, Directory, Timestamp) {
    let place = tempfile::tempdir().unwrap();
    let directory = Directory::new(place.path().join("registry"));
    let url = Place { host: "registry.invalid".to_owned(), port: 8443 };
    let then = Timestamp(clock::now().0 - days_ago * DAY);
    let founded = found(&directory, "fd00:1:2::/48".parse().unwrap(), &url, then).unwrap();
    (place, directory, founded.issuer_not_after)
}

async fn open(directory: &Directory) -> Result<Server, Error> {
    let listen = vec!["127.0.0.1:0".parse().unwrap()];
    Server::open(ServerConfiguration { directory: directory.clone(), listen, tls: None }).await
}

fn issuer_end(directory: &Directory) -> Timestamp {
    Registrar::open(directory).unwrap().authority().not_after()
}

#[tokio::test]
async fn an_issuer_in_its_last_third_is_renewed_at_start_and_a_younger_one_is_not() {
    for (days_ago, renewed) in [(200, false), (300, true), (400, true)] {
        let (_place, directory, end) = founded(days_ago);
        open(&directory).await.unwrap();
        assert_eq!(issuer_end(&directory) > end, renewed, "{days_ago} days");
    }
}

#[tokio::test]
async fn without_the_root_key_an_old_issuer_serves_on_and_an_expired_one_does_not() {
    for (days_ago, serves) in [(300, true), (400, false)] {
        let (_place, directory, end) = founded(days_ago);
        fs::remove_file(directory.root_key_path()).unwrap();
        let opened = open(&directory).await;
        assert_eq!(opened.is_ok(), serves, "{days_ago} days");
        if let Err(error) = opened {
            assert!(error.to_string().contains("root.key"), "{error}");
        }
        assert_eq!(issuer_end(&directory), end);
    }
}
