//! What can go wrong, on which object, and what to do about it.

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

use crate::model::IfName;

/// An error of the data plane. No variant holds a key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process lacks the capability.
    #[error(
        "{doing}: not permitted; this needs CAP_NET_ADMIN: run as root, or give the service \
         AmbientCapabilities=CAP_NET_ADMIN (containers: --cap-add NET_ADMIN)"
    )]
    NotPermitted {
        /// What was being done.
        doing: String,
    },
    /// IPv6 is switched off in this network namespace.
    #[error(
        "IPv6 is disabled here; enable it with `sysctl -w net.ipv6.conf.all.disable_ipv6=0`, or \
         without ipv6.disable=1 on the kernel command line (containers: --sysctl \
         net.ipv6.conf.all.disable_ipv6=0)"
    )]
    Ipv6Disabled,
    /// Embedded WireGuard has no TUN device to work with.
    #[error(
        "cannot open /dev/net/tun: {0}; load the tun module (`modprobe tun`), or pass the device \
         into the container (--device /dev/net/tun)"
    )]
    NoTunDevice(io::Error),
    /// The interface that is to hold the node's address is not there.
    #[error(
        "there is no interface {0} to hold the node's address: create it, or set \
         address_interface to another"
    )]
    NoAddressInterface(IfName),
    /// The kernel knows no WireGuard interfaces.
    #[error(
        "the kernel has no WireGuard; load the module (`modprobe wireguard`, Linux 5.6 or newer), \
         or use the embedded one (wireguard = \"embedded\" or \"auto\")"
    )]
    NoKernelWireGuard,
    /// An interface of that name exists and does not bear our mark.
    #[error(
        "interface {0} belongs to somebody else: it lacks the sixwire alias; delete it (`ip link \
         del {0}`) or rename it"
    )]
    Taken(IfName),
    /// A route of the same prefix, table and metric is there that we did not make.
    #[error(
        "route {0}: somebody else has one of the same table and metric, which is left alone; delete it, or give it \
         another metric"
    )]
    RouteTaken(String),
    /// Another socket has the UDP port.
    #[error("tunnel {name}: UDP port {port} is taken; choose another one")]
    PortTaken {
        /// The tunnel that wanted it.
        name: IfName,
        /// The port.
        port: u16,
    },
    /// IPv6 does not work on so small an interface.
    #[error("tunnel {name}: MTU {mtu} is below 1280, the least that IPv6 works with")]
    SmallMtu {
        /// The tunnel.
        name: IfName,
        /// The MTU asked for.
        mtu: u32,
    },
    /// A tunnel cannot be made without its private key.
    #[error("tunnel {0} is gone and its private key is not known; negotiate a new tunnel")]
    KeyUnknown(IfName),
    /// The object vanished meanwhile.
    #[error("{doing}: it is gone; observe and plan again")]
    Gone {
        /// What was being done.
        doing: String,
    },
    /// IPv6 is switched off on an interface, and cannot be switched on.
    #[error(
        "IPv6 is disabled on interface {0}; enable it with `sysctl -w \
         net.ipv6.conf.{0}.disable_ipv6=0` (containers: --sysctl \
         net.ipv6.conf.default.disable_ipv6=0)"
    )]
    Ipv6DisabledOn(IfName),
    /// The kernel has no nftables, or lacks what our table is made of.
    #[error(
        "the kernel has no nftables ({0}): sources inside the network are not checked at the \
         interfaces, a tunnel could be carried by a tunnel, and conntrack sees what is passed on; \
         load the modules (`modprobe nf_tables`) or use a kernel with CONFIG_NF_TABLES_IPV6 and \
         CONFIG_NFT_FIB_IPV6, and restart"
    )]
    NoNftables(String),
    /// A table of our name is there that we did not make.
    #[error(
        "nftables table ip6 {0} belongs to somebody else and is left alone, so nothing is guarded; \
         rename it or delete it (`nft delete table ip6 {0}`), and restart"
    )]
    TableTaken(&'static str),
    /// The kernel has no room.
    #[error(
        "{doing}: the kernel has no room ({source}); {}", room(*.errno)
    )]
    Full {
        /// What was being done, on which object.
        doing: String,
        /// The kernel's reason.
        source: io::Error,
        /// Its number.
        errno: Errno,
    },
    /// A kernel parameter cannot be set.
    #[error(
        "cannot set {key} = {value}: {source}; set it outside (sysctl on the host, or --sysctl \
         {key}={value} for a container)"
    )]
    Sysctl {
        /// The parameter, as `sysctl` writes it.
        key: String,
        /// The value wanted.
        value: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The kernel refused a request.
    #[error("{doing}: {source}")]
    Kernel {
        /// What was being done, on which object.
        doing: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// WireGuard refused a configuration. Its own words may hold keys and are not kept.
    #[error("{doing}: WireGuard refused it ({kind})")]
    WireGuard {
        /// What was being done, on which tunnel.
        doing: String,
        /// The kind of refusal.
        kind: io::ErrorKind,
    },
    /// The embedded WireGuard helper cannot be started or does not do as told.
    #[error("embedded WireGuard helper: {doing}: {reason}; its log is {log}")]
    Helper {
        /// What was being done.
        doing: String,
        /// What went wrong.
        reason: String,
        /// Where it writes.
        log: PathBuf,
    },
    /// No answer within the time limit.
    #[error("{doing}: no answer within {seconds} s")]
    NoAnswer {
        /// What was being done.
        doing: String,
        /// The limit.
        seconds: u64,
    },
}

impl Error {
    /// The error behind a failed system call.
    pub(crate) fn kernel(doing: impl Into<String>, source: io::Error) -> Self {
        let doing = doing.into();
        match source.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EPERM | Errno::EACCES) => Self::NotPermitted { doing },
            Some(Errno::ENODEV | Errno::ENXIO) => Self::Gone { doing },
            Some(errno @ (Errno::ENOSPC | Errno::ENOMEM | Errno::ENOBUFS | Errno::ENFILE)) => {
                Self::Full { doing, source, errno }
            }
            _ => Self::Kernel { doing, source },
        }
    }

    /// Whether the object is not there (any more), which is success when deleting.
    pub(crate) fn is_gone(&self) -> bool {
        match self {
            Self::Gone { .. } | Self::NoAddressInterface(_) => true,
            Self::Kernel { source, .. } => matches!(
                source.raw_os_error().map(Errno::from_raw),
                Some(Errno::ENOENT | Errno::ESRCH | Errno::EADDRNOTAVAIL)
            ),
            _ => false,
        }
    }

    /// Whether the embedded WireGuard may have ended over it.
    pub(crate) fn is_broken_off(&self) -> bool {
        use io::ErrorKind::{AddrNotAvailable, InvalidData, Other};
        match self {
            Self::Gone { .. } => true,
            // The library's words for half an answer, for none, and for an interface that is in use by one
            // that does not listen.
            Self::WireGuard { kind, .. } => {
                matches!(kind, InvalidData | Other | AddrNotAvailable)
            }
            _ => false,
        }
    }

    /// Whether the object exists already, which is success when adding the same thing.
    pub(crate) fn is_present(&self) -> bool {
        self.errno() == Some(Errno::EEXIST)
    }

    /// The error number, where the kernel gave one that has no variant of its own.
    pub(crate) fn errno(&self) -> Option<Errno> {
        match self {
            Self::Full { errno, .. } => Some(*errno),
            Self::Kernel { source, .. } => source.raw_os_error().map(Errno::from_raw),
            _ => None,
        }
    }
}

/// Which limit may have been reached, and how to raise it.
fn room(errno: Errno) -> &'static str {
    match errno {
        Errno::ENOSPC => {
            "a table is full: raise net.ipv6.route.max_size (before Linux 6.3), or have fewer routes"
        }
        Errno::ENOBUFS => {
            "a table or a buffer is full: raise net.ipv6.neigh.default.gc_thresh3 or \
             net.core.wmem_max"
        }
        Errno::ENFILE => "there are too many open files or interfaces: raise fs.file-max",
        _ => "memory is short: raise the memory limit of the machine or of the container",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_to_do() {
        let denied = Error::kernel("create interface sw-0", io::Error::from(Errno::EPERM));
        assert!(denied.to_string().contains("create interface sw-0"), "{denied}");
        assert!(denied.to_string().contains("CAP_NET_ADMIN"), "{denied}");
        let gone = Error::kernel("set mtu", io::Error::from(Errno::ENODEV));
        assert!(gone.is_gone());
        let full = Error::kernel("add route", io::Error::from(Errno::ENOSPC));
        assert!(full.to_string().contains("No space left"), "{full}");
        assert!(full.to_string().contains("net.ipv6.route.max_size"), "{full}");
        let neighbours = Error::kernel("add neighbour", io::Error::from(Errno::ENOBUFS));
        assert!(neighbours.to_string().contains("gc_thresh3"), "{neighbours}");
        assert!(!full.is_gone() && !full.is_present());
    }
}
