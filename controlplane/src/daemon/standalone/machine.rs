//! What the machine must do so that packets follow our routes.

use std::net::{IpAddr, UdpSocket};

use anyhow::Context as _;
use sixwire_dataplane::model::Family;
use sixwire_dataplane::{Router, forwarding};
use tracing::{info, warn};

use super::config::Config;
use super::filter::BySource;

/// Makes the kernel forward packets if that is wanted; says so where it does not.
///
/// # Errors
/// When it is wanted and cannot be had.
pub(super) fn prepare(config: &Config) -> anyhow::Result<()> {
    // First, so that a refused configuration changes nothing.
    for address in &config.preferred_source {
        is_local(*address).with_context(|| {
            format!("preferred_source: {address} is no address of this machine that can be used")
        })?;
    }
    let off: Vec<&str> = [(Family::V6, "IPv6"), (Family::V4, "IPv4")]
        .into_iter()
        .filter(|(family, _)| !forwarding::is_enabled(*family))
        .map(|(_, name)| name)
        .collect();
    let off = off.join(" and ");
    if config.forwarding {
        forwarding::enable_ipv6()?;
        forwarding::enable_ipv4()?;
        if !off.is_empty() {
            info!("the machine forwards {off} from now on (forwarding = true); it stays so");
        }
    } else if !off.is_empty() {
        warn!(
            "the machine does not forward {off}: neighbours that route through it lose their \
             packets; set forwarding = true, or net.ipv6.conf.all.forwarding and \
             net.ipv4.ip_forward yourself"
        );
    }
    Ok(())
}

/// Whether the address can be the source of packets: a socket can have it then.
fn is_local(address: IpAddr) -> std::io::Result<()> {
    UdpSocket::bind((address, 0)).map(drop)
}

/// Looks for which packets the kernel can have source-specific routes.
///
/// # Errors
/// When the kernel does not tell.
pub(super) async fn by_source(router: &Router) -> anyhow::Result<BySource> {
    if router.routes_by_source().await? {
        return Ok(BySource::Ipv6);
    }
    warn!(
        "this kernel has no source-specific routing (CONFIG_IPV6_SUBTREES): routes with a source \
         prefix are neither used nor announced to others"
    );
    Ok(BySource::Never)
}
