//! Kernel parameters that make this node forward packets.

use std::fs;
use std::io;
use std::path::Path;

use crate::error::Error;
use crate::model::{Family, IfName};

/// Whether the kernel forwards packets of a family.
#[must_use]
pub fn is_enabled(family: Family) -> bool {
    let key = match family {
        Family::V4 => IPV4,
        Family::V6 => IPV6,
    };
    is_set(&Path::new(SYSCTL).join(key), "1")
}

/// Makes the kernel forward IPv6 packets.
///
/// Forwarding makes the kernel ignore router advertisements, so interfaces that heed them are told to
/// go on (`accept_ra` 2) first: else the node would lose its own default route.
///
/// # Errors
/// [`Error::Sysctl`] when a parameter cannot be set, as in most containers. The node then works as a
/// leaf.
pub fn enable_ipv6() -> Result<(), Error> {
    let root = Path::new(SYSCTL).join("net/ipv6/conf");
    if is_enabled(Family::V6) {
        return Ok(());
    }
    let interfaces =
        fs::read_dir(&root).map_err(|source| error("net.ipv6.conf.all.forwarding", "1", source))?;
    for interface in interfaces.flatten() {
        let name = interface.file_name().to_string_lossy().into_owned();
        // Set on `all`, it means nothing; on `default`, it is for interfaces to come.
        if name != "all" && is_set(&interface.path().join("accept_ra"), "1") {
            write(&format!("net/ipv6/conf/{name}/accept_ra"), "2")?;
        }
    }
    write(IPV6, "1")
}

/// Makes the kernel forward IPv4 packets.
///
/// # Errors
/// [`Error::Sysctl`], as above.
pub fn enable_ipv4() -> Result<(), Error> {
    if is_enabled(Family::V4) { Ok(()) } else { write(IPV4, "1") }
}

/// Keeps the node at the other end of a tunnel from configuring us: no router advertisements, no
/// redirects. Where parameters cannot be set, forwarding, once enabled, does nearly the same.
pub(crate) fn distrust(tunnel: &IfName) {
    for parameter in ["accept_ra", "accept_redirects"] {
        let key = format!("net/ipv6/conf/{tunnel}/{parameter}");
        let outcome =
            if is_set(&Path::new(SYSCTL).join(&key), "0") { Ok(()) } else { write(&key, "0") };
        if let Err(error) = outcome {
            tracing::warn!("{error}");
        }
    }
}

/// Whether IPv6 can be used at all.
pub(crate) fn ipv6_is_enabled() -> bool {
    is_set(&Path::new(SYSCTL).join("net/ipv6/conf/all/disable_ipv6"), "0")
}

fn is_set(path: &Path, value: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.trim() == value)
}

fn write(key: &str, value: &'static str) -> Result<(), Error> {
    fs::write(Path::new(SYSCTL).join(key), value).map_err(|source| error(key, value, source))
}

fn error(key: &str, value: &'static str, source: io::Error) -> Error {
    Error::Sysctl { key: key.replace('/', "."), value, source }
}

const SYSCTL: &str = "/proc/sys";
const IPV6: &str = "net/ipv6/conf/all/forwarding";
const IPV4: &str = "net/ipv4/ip_forward";
