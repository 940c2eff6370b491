//! Founding a network: its keys, its first state and its database, all of it or nothing.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use sixwire_proto::encoding::to_base64url;
use sixwire_proto::join::{JoinString, TlsPin, Token, bracketed};
use sixwire_proto::keys::{PublicKey, SecretKey};
use sixwire_proto::prefix::Prefix;
use sixwire_proto::time::Timestamp;
use zeroize::Zeroizing;

use crate::authority::{Authority, vouch};
use crate::directory::{DATABASE, Directory, ISSUER_KEY, ROOT_KEY, TLS_CERTIFICATE, TLS_KEY};
use crate::store::{Database, Network};
use crate::tls::make_own;
use crate::{Error, entropy};

/// Host and port that join strings name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// What was founded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founded {
    /// The network's root key.
    pub root: PublicKey,
    /// The network's prefix.
    pub prefix: Prefix,
    /// Pin of the registry's own TLS certificate.
    pub tls_pin: TlsPin,
    /// End of the issuer's validity.
    pub issuer_not_after: Timestamp,
}

impl Place {
    /// Reads `HOST` or `HOST:PORT`; an `https://` in front is not minded.
    ///
    /// # Errors
    /// [`Error::Url`].
    pub fn parse(given: &str) -> Result<Self, Error> {
        let url = |reason: &str| Error::Url { given: given.to_owned(), reason: reason.to_owned() };
        let place = given.strip_prefix("https://").unwrap_or(given);
        let place = place.strip_suffix('/').unwrap_or(place);
        if place.contains('/') {
            return Err(url("it must be a host, without path or other scheme"));
        }
        let bare_v6 = place.parse::<Ipv6Addr>().is_ok();
        let place = if bare_v6 { bracketed(place) } else { place.to_owned() };
        let root = SecretKey::from_octets(&[1; 32]).public();
        let token = Token::from_octets(&[0; Token::SIZE]);
        let sample = format!("sixwire://{place}/#{root}.{}", token.reveal());
        let JoinString { host, port, .. } =
            sample.parse().map_err(|_| url("the host or the port is malformed"))?;
        Ok(Self { host, port })
    }
}

/// A random unique local /48 (RFC 4193 §3.2).
///
/// # Errors
/// [`Error::Entropy`].
pub fn random_network() -> Result<Prefix, Error> {
    let mut octets = [0; 16];
    octets[..6].copy_from_slice(&entropy::random::<6>()?);
    octets[0] = 0xfd;
    let address = IpAddr::V6(Ipv6Addr::from(octets));
    Ok(Prefix::containing(address, 48).expect("48 is at most 128"))
}

/// Whether a network can have this prefix.
///
/// # Errors
/// [`Error::Network`].
pub fn check_network(prefix: Prefix) -> Result<(), Error> {
    let refuse = |rule| Err(Error::Network { prefix, rule });
    let IpAddr::V6(address) = prefix.address() else {
        return refuse("it must be an IPv6 prefix, such as fd12:3456:789a::/48");
    };
    if !(16..=120).contains(&prefix.length()) {
        return refuse("its length must be 16 to 120, and 48 is usual");
    }
    let first = address.octets()[0];
    if first & 0xfe != 0xfc && first & 0xe0 != 0x20 {
        return refuse("it must be unique local (fc00::/7) or global unicast (2000::/3)");
    }
    Ok(())
}

/// Founds a network in the directory.
///
/// # Errors
/// [`Error`]; the directory is as it was before then.
pub fn found(
    directory: &Directory,
    prefix: Prefix,
    place: &Place,
    now: Timestamp,
) -> Result<Founded, Error> {
    check_network(prefix)?;
    let existed = check_vacant(directory)?;
    let staging = staging(directory, existed)?;
    staging.make().map_err(|error| no_parent(directory, error))?;
    let founded = write_all(&staging, prefix, place, now).and_then(|founded| {
        publish(&staging, directory, existed)?;
        Ok(founded)
    });
    if founded.is_err() {
        // The first error is the one to tell; what cannot be removed is named by its path.
        let _ = fs::remove_dir_all(staging.path());
    }
    founded
}

/// Whether the directory was there before, empty.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existed {
    Empty,
    No,
}

const STAGING: &str = ".init-";

fn check_vacant(directory: &Directory) -> Result<Existed, Error> {
    let path = directory.path();
    let look = |cause| Error::File { action: "look into", path: path.to_owned(), cause };
    let entries = match fs::read_dir(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Existed::No),
        entries => entries.map_err(look)?,
    };
    for entry in entries {
        let name = entry.map_err(look)?.file_name();
        // A fresh file system has the one; an init that was killed leaves the other.
        if name != "lost+found" && !name.as_encoded_bytes().starts_with(STAGING.as_bytes()) {
            let found = name.to_string_lossy().into_owned();
            return Err(Error::AlreadyThere { path: path.to_owned(), found });
        }
    }
    Ok(Existed::Empty)
}

/// Where the registry is made: beside the directory, to be renamed as a whole; inside one that
/// exists, which may be a mount point in a place nobody may write.
fn staging(directory: &Directory, existed: Existed) -> Result<Directory, Error> {
    let suffix = to_base64url(&entropy::random::<6>()?);
    let path = directory.path();
    Ok(Directory::new(match existed {
        Existed::Empty => path.join(format!("{STAGING}{suffix}")),
        Existed::No => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            path.with_file_name(format!(".{name}{STAGING}{suffix}"))
        }
    }))
}

/// Names the directory that was asked for in place of the one beside it.
fn no_parent(directory: &Directory, error: Error) -> Error {
    match error {
        Error::File { cause, .. } if cause.kind() == io::ErrorKind::NotFound => {
            Error::NoParent(directory.path().to_owned())
        }
        other => other,
    }
}

fn write_all(
    staging: &Directory,
    prefix: Prefix,
    place: &Place,
    now: Timestamp,
) -> Result<Founded, Error> {
    let root = new_key()?;
    let key = new_key()?;
    let own = make_own(&place.host)?;
    staging.write_new(ROOT_KEY, line(&root).as_bytes())?;
    staging.write_new(ISSUER_KEY, line(&key).as_bytes())?;
    staging.write_new(TLS_KEY, own.key.as_bytes())?;
    staging.write_new(TLS_CERTIFICATE, own.certificate.as_bytes())?;
    staging.write_new(DATABASE, b"")?;
    let network = Network {
        root: root.public(),
        prefix,
        host: place.host.clone(),
        port: place.port,
        tls_pin: Some(own.pin),
        issuer: vouch(&root, key.public(), now),
    };
    let authority = Authority::new(&root.public(), prefix, network.issuer.clone(), key)
        .map_err(|cause| Error::WrongRoot { cause })?;
    let (epoch, state) = authority.first_state(now).map_err(Error::State)?;
    let mut database = Database::open(&staging.database())?;
    let transaction = database.begin()?;
    transaction.insert_network(&network)?;
    transaction.set_state(epoch, &state)?;
    transaction.commit()?;
    drop(database);
    staging.sync()?;
    Ok(Founded {
        root: root.public(),
        prefix,
        tls_pin: own.pin,
        issuer_not_after: authority.not_after(),
    })
}

fn publish(staging: &Directory, directory: &Directory, existed: Existed) -> Result<(), Error> {
    let rename = |from: &Path, to: &Path| {
        let path = to.to_owned();
        fs::rename(from, to).map_err(|cause| Error::File { action: "move into place", path, cause })
    };
    if existed == Existed::No {
        return rename(staging.path(), directory.path());
    }
    directory.close_to_others()?;
    // The database last: it is what makes a directory a registry.
    let names = [ROOT_KEY, ISSUER_KEY, TLS_KEY, TLS_CERTIFICATE, DATABASE];
    for (moved, name) in names.iter().enumerate() {
        if let Err(error) = rename(&staging.path().join(name), &directory.path().join(name)) {
            for name in &names[..moved] {
                let _ = fs::remove_file(directory.path().join(name));
            }
            return Err(error);
        }
    }
    directory.sync()?;
    let path = staging.path().to_owned();
    fs::remove_dir(&path).map_err(|cause| Error::File { action: "remove", path, cause })
}

fn new_key() -> Result<SecretKey, Error> {
    Ok(SecretKey::from_octets(&Zeroizing::new(entropy::random()?)))
}

fn line(key: &SecretKey) -> Zeroizing<String> {
    Zeroizing::new(format!("{}\n", key.to_text().as_str()))
}

#[cfg(test)]
mod tests;
