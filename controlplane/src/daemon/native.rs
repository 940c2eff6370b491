//! Interfaces that exist without us and that Babel was told to run on.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;
use sixwire_proto::link::LinkId;

use super::config::BabelInterface;
use crate::babel::LinkParams;

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
}

/// An interface, found.
#[derive(Clone, Copy, Debug)]
pub(super) struct NativeLink {
    /// Its index.
    pub(super) link: LinkId,
    /// How Babel uses it.
    pub(super) params: LinkParams,
}

impl NativeLink {
    /// Looks for the interface.
    ///
    /// # Errors
    /// [`NativeError`].
    pub(super) fn find(interface: &BabelInterface) -> Result<Self, NativeError> {
        let name = interface.name.to_string();
        let index =
            if_nametoindex(name.as_str()).map_err(|_| NativeError::Missing(name.clone()))?;
        let address = link_local(&name).ok_or(NativeError::NoLinkLocal(name))?;
        let params = LinkParams { cost: interface.cost, ..LinkParams::wired(address) };
        Ok(Self { link: LinkId(index), params })
    }
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
) -> (BTreeMap<LinkId, (BabelInterface, LinkParams)>, Vec<String>) {
    let (mut found, mut problems) = (BTreeMap::new(), Vec::new());
    for interface in interfaces {
        match NativeLink::find(interface) {
            Ok(native) => {
                found.insert(native.link, (interface.clone(), native.params));
            }
            Err(error) => problems.push(error.to_string()),
        }
    }
    (found, problems)
}
