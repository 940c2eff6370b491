//! Kernel parameters that make this node forward packets.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Once;

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

/// Makes the kernel forward again, both families, and what comes by these interfaces: somebody switched it off. Says
/// whether anything had to be switched on.
///
/// # Errors
/// [`Error::Sysctl`], as above.
pub fn restore<'a>(interfaces: impl Iterator<Item = &'a IfName>) -> Result<bool, Error> {
    let was_on = is_enabled(Family::V6) && is_enabled(Family::V4);
    enable_ipv6()?;
    enable_ipv4()?;
    let mut restored = !was_on;
    for interface in interfaces {
        for family in ["ipv6", "ipv4"] {
            let key = format!("net/{family}/conf/{interface}/forwarding");
            if is_set(&Path::new(SYSCTL).join(&key), "0") {
                write(&key, "1")?;
                restored = true;
            }
        }
    }
    Ok(restored)
}

/// A kernel parameter of the whole network namespace that routing works best with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    path: &'static str,
    value: &'static str,
}

impl Setting {
    /// Those that have another value here. What this kernel does not know is not missed.
    #[must_use]
    pub fn missing() -> Vec<Self> {
        let missing = |setting: &Self| {
            let path = Path::new(SYSCTL).join(setting.path);
            path.exists() && !is_set(&path, setting.value)
        };
        SETTINGS.into_iter().filter(missing).collect()
    }

    /// Sets it. Only for who has the network namespace to itself.
    ///
    /// # Errors
    /// [`Error::Sysctl`] when it cannot be set.
    pub fn set(self) -> Result<(), Error> {
        write(self.path, self.value)
    }
}

/// As `sysctl -w` takes it.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.path.replace('/', "."), self.value)
    }
}

/// Keeps the node at the other end of a tunnel from configuring us: no router advertisements, no
/// redirects. Where parameters cannot be set, forwarding, once enabled, does nearly the same.
pub(crate) fn distrust(tunnel: &IfName) {
    for parameter in ["accept_ra", "accept_redirects"] {
        let key = format!("net/ipv6/conf/{tunnel}/{parameter}");
        let outcome =
            if is_set(&Path::new(SYSCTL).join(&key), "0") { Ok(()) } else { write(&key, "0") };
        if let Err(error) = outcome {
            // It is the same with every tunnel.
            TOLD.call_once(|| tracing::warn!("{error}"));
        }
    }
}

/// Whether IPv6 can be used at all.
pub(crate) fn ipv6_is_enabled() -> bool {
    is_set(&Path::new(SYSCTL).join("net/ipv6/conf/all/disable_ipv6"), "0")
}

/// Whether an interface is kept from having IPv6 addresses.
pub(crate) fn ipv6_is_disabled_on(interface: &IfName) -> bool {
    is_set(&Path::new(SYSCTL).join(format!("net/ipv6/conf/{interface}/disable_ipv6")), "1")
}

/// Lets a tunnel have IPv6 addresses, whatever is the default here.
pub(crate) fn admit_ipv6(tunnel: &IfName) -> Result<(), Error> {
    if !ipv6_is_disabled_on(tunnel) {
        return Ok(());
    }
    let outcome = write(&format!("net/ipv6/conf/{tunnel}/disable_ipv6"), "0");
    outcome.map_err(|_| Error::Ipv6DisabledOn(tunnel.clone()))
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

/// That parameters of tunnels cannot be set was told.
static TOLD: Once = Once::new();
/// The routes of a neighbour move with its next-hop object, without a notice for each; flows of this machine spread
/// over several uplinks as forwarded ones do.
const SETTINGS: [Setting; 2] = [
    Setting { path: "net/ipv4/nexthop_compat_mode", value: "0" },
    Setting { path: "net/ipv6/fib_multipath_hash_policy", value: "1" },
];
const SYSCTL: &str = "/proc/sys";
const IPV6: &str = "net/ipv6/conf/all/forwarding";
const IPV4: &str = "net/ipv4/ip_forward";
