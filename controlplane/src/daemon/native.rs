//! Interfaces that exist without us and that Babel was told to run on.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;
use sixwire_proto::link::LinkId;

use super::config::BabelInterface;
use super::mac_key::KeyFile;
use crate::babel::{Authentication, LinkParams, Unauthenticated};

/// Why Babel cannot run on an interface.
#[derive(Debug, thiserror::Error)]
pub(super) enum NativeError {
    /// There is none of that name.
    #[error(
        "Babel cannot run on {0}: there is no such interface; create it, or remove it from \
             babel.interface, and restart"
    )]
    Missing(String),
    /// It has no link-local address.
    #[error(
        "Babel cannot run on {0}: it has no link-local address; add one (`ip address add \
             fe80::1/64 dev {0}`) and restart"
    )]
    NoLinkLocal(String),
    /// It is to be authenticated, and cannot be.
    #[error("Babel does not run on {0}: {1}; mend babel.interface, and restart")]
    Keys(String, String),
}

/// An interface, found.
#[derive(Clone, Debug)]
pub(super) struct NativeLink {
    /// Its index.
    pub(super) link: LinkId,
    /// How Babel uses it.
    pub(super) params: LinkParams,
    /// What its packets are signed and checked with.
    pub(super) authentication: Option<Authentication>,
}

impl NativeLink {
    /// Looks for the interface.
    ///
    /// # Errors
    /// [`NativeError`].
    pub(super) fn find(interface: &BabelInterface) -> Result<Self, NativeError> {
        let name = interface.name.to_string();
        let authentication = authentication(interface)
            .map_err(|problem| NativeError::Keys(name.clone(), problem))?;
        let index =
            if_nametoindex(name.as_str()).map_err(|_| NativeError::Missing(name.clone()))?;
        let address = link_local(&name).ok_or(NativeError::NoLinkLocal(name))?;
        let params = LinkParams { cost: interface.cost, ..LinkParams::wired(address) };
        Ok(Self { link: LinkId(index), params, authentication })
    }
}

fn authentication(interface: &BabelInterface) -> Result<Option<Authentication>, String> {
    let unauthenticated = match interface.accept_unauthenticated {
        true => Unauthenticated::Accept,
        false => Unauthenticated::Refuse,
    };
    if interface.keys.is_empty() {
        let open = "accept_unauthenticated makes no sense without keys";
        return if interface.accept_unauthenticated { Err(open.to_owned()) } else { Ok(None) };
    }
    let keys: Result<Vec<_>, _> = interface.keys.iter().map(KeyFile::read).collect();
    let keys = keys.map_err(|problem| problem.to_string())?;
    Authentication::new(keys, unauthenticated).map(Some).map_err(|error| error.to_string())
}

fn link_local(name: &str) -> Option<Ipv6Addr> {
    getifaddrs().ok()?.filter(|interface| interface.interface_name == name).find_map(|interface| {
        let address = interface.address?.as_sockaddr_in6()?.ip();
        address.is_unicast_link_local().then_some(address)
    })
}

/// All interfaces of the configuration that were found, and a sentence for each that was not.
#[must_use]
pub(super) fn find_all(
    interfaces: &[BabelInterface],
) -> (BTreeMap<LinkId, (BabelInterface, NativeLink)>, Vec<String>) {
    let (mut found, mut problems) = (BTreeMap::new(), Vec::new());
    for interface in interfaces {
        match NativeLink::find(interface) {
            Ok(native) => {
                found.insert(native.link, (interface.clone(), native));
            }
            Err(error) => problems.push(error.to_string()),
        }
    }
    (found, problems)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use sixwire_proto::babel::MacAlgorithm;

    use super::*;

    #[test]
    fn an_interface_whose_keys_cannot_be_used_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        fs::write(&file, "00".repeat(32)).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        let mut interface: BabelInterface = "lo".parse().unwrap();
        assert_eq!(authentication(&interface), Ok(None));
        interface.accept_unauthenticated = true;
        assert!(authentication(&interface).unwrap_err().contains("without keys"));
        interface.keys = vec![KeyFile { algorithm: MacAlgorithm::HmacSha256, file: file.clone() }];
        assert!(authentication(&interface).unwrap().is_some());
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        let (found, problems) = find_all(&[interface]);
        assert!(found.is_empty());
        assert!(problems[0].contains("does not run on lo"), "{problems:?}");
    }
}
