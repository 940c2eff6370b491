//! Whether all that is needed is there, and which WireGuard to use.

use std::fs::OpenOptions;

use super::Dataplane;
use crate::error::Error;
use crate::forwarding::ipv6_is_enabled;
use crate::guards::GuardTable;
use crate::model::{IfName, NAME_PREFIX};
use crate::netlink::link::{self, Kind};
use crate::netlink::monitor::{self, Events, Ours};
use crate::netlink::route::Table;
use crate::netlink::{Netlink, link::links, notices};
use crate::options::{Backend, Choice, Options};
use crate::tunnel::Tunnels;
use crate::userspace::Helper;

pub(super) async fn open(options: Options) -> Result<(Dataplane, Events), Error> {
    if !may_administer() {
        return Err(Error::NotPermitted { doing: "open the data plane".to_owned() });
    }
    if !ipv6_is_enabled() {
        return Err(Error::Ipv6Disabled);
    }
    let netlink = Netlink::connect()?;
    let (sender, events) = monitor::channel();
    let helper = Helper::new(&options, sender.clone());
    let backend = choose(&options, &netlink, &helper).await?;
    if backend == Backend::Embedded {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/net/tun")
            .map_err(Error::NoTunDevice)?;
    }
    let table = Table { table: options.table, protocol: options.protocol };
    let ours = Ours::default();
    let guards = GuardTable::open();
    monitor::start(&netlink, table, ours.clone(), sender.clone()).await?;
    notices::start(&netlink, (options.protocol, guards.port()), sender)?;
    let tunnels = Tunnels::new(netlink.clone(), backend, helper, ours);
    // The kernel takes a tenth of a second for it, and the thread with it: not on the way to the first packet.
    match tunnels.remove(&probe_name()).await {
        Err(Error::Taken(_)) => {}
        outcome => outcome?,
    }
    let address_interface = options.address_interface;
    Ok((Dataplane { netlink, table, address_interface, tunnels, guards }, events))
}

/// Whether the thread has CAP_NET_ADMIN.
pub(crate) fn may_administer() -> bool {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    bits.is_some_and(|bits| bits & CAP_NET_ADMIN != 0)
}

async fn choose(options: &Options, netlink: &Netlink, helper: &Helper) -> Result<Backend, Error> {
    match options.wireguard {
        Choice::Embedded => return Ok(Backend::Embedded),
        Choice::Kernel => {}
        // What carries tunnels goes on carrying them.
        Choice::Auto => {
            if helper.names().await?.is_some_and(|names| !names.is_empty()) {
                return Ok(Backend::Embedded);
            }
        }
    }
    let in_use = |link: &link::Link| link.is_ours() && link.kind == Kind::WireGuard;
    if links(netlink).await?.iter().any(in_use) {
        return Ok(Backend::Kernel);
    }
    match (probe(netlink).await, options.wireguard) {
        (Ok(()), _) => Ok(Backend::Kernel),
        (Err(Error::NoKernelWireGuard), Choice::Auto) => Ok(Backend::Embedded),
        (Err(error), _) => Err(error),
    }
}

/// Makes a WireGuard interface, which loads the module; it stays.
async fn probe(netlink: &Netlink) -> Result<(), Error> {
    match link::create_wireguard(netlink, &probe_name()).await {
        // Left by a probe that was cut off.
        Err(Error::Taken(_)) => Ok(()),
        outcome => outcome,
    }
}

fn probe_name() -> IfName {
    format!("{NAME_PREFIX}probe").parse().expect("eight letters and a dash")
}

/// Bit 12 (`linux/capability.h`).
const CAP_NET_ADMIN: u64 = 1 << 12;
