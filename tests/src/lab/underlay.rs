//! The network below: a core, routers around it, and hosts, each host on a link of its own.
//!
//! Router `n` serves `10.n.h.0/30` for its `h`-th host (`192.168.n.…` behind NAT, and `2001:db8:n:h::/64` if
//! asked), so every packet between two hosts is routed, and can be dropped, by a router.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};

use super::{Lab, Namespace};

/// Which protocols the underlay carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// IPv4 only; hosts have IPv6 switched off on the underlay.
    V4,
    /// Both.
    V4AndV6,
}

/// What a router does to the packets of its hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Forwards them.
    Open,
    /// Masquerades IPv4 (port kept when free) and refuses what was not asked for, of both protocols.
    Masquerade,
    /// Masquerades with a random port for each flow, and refuses what was not asked for.
    MasqueradeRandom,
    /// Drops all their UDP.
    NoUdp,
}

/// A router of the underlay.
#[derive(Clone, Debug)]
pub struct Router {
    /// Where it runs.
    pub namespace: Namespace,
    /// What it does.
    pub gate: Gate,
    number: u8,
    hosts: u8,
}

/// A machine on the underlay, with one interface `eth0`.
#[derive(Clone, Debug)]
pub struct Host {
    /// Where it runs.
    pub namespace: Namespace,
    /// Its own address.
    pub address: Ipv4Addr,
    /// The address others see.
    pub outside: Ipv4Addr,
    /// Its IPv6 address, on underlays that have IPv6.
    pub address6: Option<Ipv6Addr>,
    router: usize,
}

/// The core and its routers.
#[derive(Debug)]
pub struct Underlay {
    families: Families,
    core: Namespace,
    routers: Vec<Router>,
}

impl Host {
    /// A machine on links that the caller makes, of no underlay.
    #[must_use]
    pub fn alone(namespace: Namespace, address: Ipv4Addr) -> Self {
        Self { namespace, address, outside: address, address6: None, router: usize::MAX }
    }
}

impl Underlay {
    /// An underlay without routers.
    ///
    /// # Errors
    /// When the namespace cannot be made.
    pub fn new(lab: &mut Lab, families: Families) -> Result<Self> {
        let core = lab.namespace("core")?;
        forward(&core)?;
        Ok(Self { families, core, routers: Vec::new() })
    }

    /// Adds a router, and returns its index for [`Self::host`]. At most 250.
    ///
    /// # Errors
    /// When `ip` or `nft` fails.
    pub fn router(&mut self, lab: &mut Lab, gate: Gate) -> Result<usize> {
        let number = u8::try_from(self.routers.len() + 1).context("at most 250 routers")?;
        let namespace = lab.namespace(&format!("r{number}"))?;
        forward(&namespace)?;
        self.core.ip(&format!(
            "link add r{number} type veth peer name wan netns {router}\n\
             addr add 10.{number}.255.1/30 dev r{number}\n\
             addr add 2001:db8:{number}:ffff::1/64 dev r{number} nodad\n\
             link set r{number} up\n",
            router = namespace.name()
        ))?;
        namespace.ip(&format!(
            "addr add 10.{number}.255.2/30 dev wan\n\
             addr add 2001:db8:{number}:ffff::2/64 dev wan nodad\n\
             link set wan up\n\
             route add default via 10.{number}.255.1\n\
             route add ::/0 via 2001:db8:{number}:ffff::1\n"
        ))?;
        self.core.ip(&format!(
            "route add 10.{number}.0.0/16 via 10.{number}.255.2\n\
             route add 2001:db8:{number}::/48 via 2001:db8:{number}:ffff::2\n"
        ))?;
        namespace.nft(&rules(gate))?;
        self.routers.push(Router { namespace, gate, number, hosts: 0 });
        Ok(self.routers.len() - 1)
    }

    /// Adds the host `name` behind a router. At most 60 each.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn host(&mut self, lab: &mut Lab, router: usize, name: &str) -> Result<Host> {
        let index = router;
        let router = self.routers.get_mut(index).context("no such router")?;
        router.hosts += 1;
        let (number, host) = (router.number, router.hosts);
        let namespace = lab.namespace(name)?;
        let link = Ipv4Addr::from([10, number, host, 0]);
        let (link, outside) = match router.gate {
            Gate::Open | Gate::NoUdp => (link, None),
            Gate::Masquerade | Gate::MasqueradeRandom => {
                let inside = Ipv4Addr::from([192, 168, number, host * 4]);
                (inside, Some(Ipv4Addr::from([10, number, 255, 2])))
            }
        };
        let end = |offset| Ipv4Addr::from(u32::from(link) + offset);
        let (gateway, address) = (end(1), end(2));
        router.namespace.ip(&format!(
            "link add h{host} type veth peer name eth0 netns {name}\n\
             addr add {gateway}/30 dev h{host}\n\
             addr add 2001:db8:{number}:{host}::1/64 dev h{host} nodad\n\
             link set h{host} up\n",
            name = namespace.name()
        ))?;
        namespace.ip(&format!(
            "addr add {address}/30 dev eth0\n\
             link set eth0 up\n\
             route add default via {gateway}\n"
        ))?;
        let address6 = match self.families {
            Families::V4 => {
                namespace.sysctl(&["net/ipv6/conf/eth0/disable_ipv6=1"])?;
                None
            }
            Families::V4AndV6 => {
                let prefix = format!("2001:db8:{number}:{host}:");
                namespace.ip(&format!(
                    "addr add {prefix}:2/64 dev eth0 nodad\nroute add ::/0 via {prefix}:1\n"
                ))?;
                Some(format!("{prefix}:2").parse()?)
            }
        };
        let outside = outside.unwrap_or(address);
        Ok(Host { namespace, address, outside, address6, router: index })
    }

    /// The routers, by index.
    #[must_use]
    pub fn routers(&self) -> &[Router] {
        &self.routers
    }

    /// Drops all UDP between two hosts from now on, silently; links stay up.
    ///
    /// # Errors
    /// When `nft` fails.
    pub fn cut(&self, one: &Host, other: &Host) -> Result<()> {
        self.change_cut("add", one, other)
    }

    /// Undoes [`Self::cut`].
    ///
    /// # Errors
    /// When the two were not cut.
    pub fn heal(&self, one: &Host, other: &Host) -> Result<()> {
        self.change_cut("delete", one, other)
    }

    fn change_cut(&self, verb: &str, one: &Host, other: &Host) -> Result<()> {
        // Behind NAT only the host's own router can tell it from its neighbours.
        let (near, far) = if one.address == one.outside { (other, one) } else { (one, other) };
        let distant = if near.router == far.router { far.address } else { far.outside };
        let router = self.routers.get(near.router).context("the host is of another underlay")?;
        let (a, b) = (near.address, distant);
        router
            .namespace
            .nft(&format!("{verb} element inet gate cut {{ {a} . {b}, {b} . {a} }}"))?;
        Ok(())
    }
}

fn forward(namespace: &Namespace) -> Result<()> {
    namespace.sysctl(&[
        "net/ipv4/ip_forward=1",
        "net/ipv6/conf/all/forwarding=1",
        "net/ipv4/conf/all/rp_filter=0",
        "net/ipv4/conf/default/rp_filter=0",
    ])
}

fn rules(gate: Gate) -> String {
    let stateful = "iifname wan ct state new drop";
    let (forward, input, leaving) = match gate {
        Gate::Open => ("", "", ""),
        Gate::Masquerade => (stateful, stateful, "meta nfproto ipv4 oifname wan masquerade"),
        Gate::MasqueradeRandom => {
            (stateful, stateful, "meta nfproto ipv4 oifname wan masquerade random")
        }
        Gate::NoUdp => ("meta l4proto udp drop", "", ""),
    };
    format!(
        "table inet gate {{
            set cut {{ type ipv4_addr . ipv4_addr; }}
            chain passing {{
                type filter hook forward priority filter;
                meta l4proto udp ip saddr . ip daddr @cut drop
                {forward}
            }}
            chain arriving {{
                type filter hook input priority filter;
                {input}
            }}
            chain leaving {{
                type nat hook postrouting priority srcnat;
                {leaving}
            }}
        }}
"
    )
}
