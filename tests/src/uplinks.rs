//! A node with two uplinks of 20 Mbit/s each, a neighbour with one, and a host behind the node: what the kernel
//! forwards for the host may leave by either uplink.

use std::net::Ipv6Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::clock::wait_for;
use crate::iperf3;
use crate::lab::{Namespace, run};
use crate::network::Network;
use crate::ping::Flow;

/// The network of two that the scene is set in, and what was added to it.
#[derive(Debug)]
pub struct TwoUplinks<'a> {
    /// The node with two uplinks is the first.
    pub network: &'a mut Network,
    host: Option<Behind>,
}

/// The host behind the node.
#[derive(Debug)]
struct Behind {
    namespace: Namespace,
    addresses: Vec<Ipv6Addr>,
}

/// Which way the packets of a measurement go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the host behind the node to the neighbour.
    Out,
    /// From the neighbour to the host.
    In,
}

impl<'a> TwoUplinks<'a> {
    /// Gives the first node of a network that has joined, and is not up, a second uplink.
    ///
    /// # Errors
    /// When `ip` or `tc` fails.
    pub fn add(network: &'a mut Network) -> Result<Self> {
        let node = network.nodes.first().context("two nodes")?.host.clone();
        let routers = network.underlay.routers();
        let (first, second) = routers.first().zip(routers.get(2)).context("three routers")?;
        let (first, second) = (first.namespace.clone(), second.namespace.clone());
        second.ip(&format!(
            "link add u2 type veth peer name eth1 netns {}\n\
             addr add 10.3.200.1/30 dev u2\n\
             link set u2 up\n",
            node.namespace.name()
        ))?;
        node.namespace.sysctl(&["net/ipv6/conf/eth1/disable_ipv6=1"])?;
        node.namespace.ip("addr add 10.3.200.2/30 dev eth1\nlink set eth1 up\n")?;
        let gateway = gateway_of(&node.namespace)?;
        node.namespace.ip(&format!(
            "route add default via {gateway} dev eth0 table 101\n\
             route add default via 10.3.200.1 dev eth1 table 102\n"
        ))?;
        let near = router_end(&first, &gateway)?;
        for (namespace, interface) in [
            (&node.namespace, "eth0"),
            (&first, &*near),
            (&node.namespace, "eth1"),
            (&second, "u2"),
        ] {
            shape(namespace, interface)?;
        }
        for node in &mut network.nodes {
            // By ports, and not for the node's own packets alone.
            node.host.namespace.sysctl(&["net/ipv6/fib_multipath_hash_policy=1"])?;
        }
        Ok(Self { network, host: None })
    }

    /// Starts the network with one uplink or with both. A node that is up already is restarted as after a crash.
    ///
    /// # Errors
    /// When a daemon does not start.
    pub fn up(&mut self, uplinks: usize) -> Result<()> {
        let first = self.network.node(0)?;
        let mut config = "signalling.dial_only = true\n".to_owned();
        for (name, table) in [("one", 101), ("two", 102)].iter().take(uplinks) {
            config += &format!("[[uplink]]\nname = \"{name}\"\ntable = {table}\n");
        }
        first.configure(&config)?;
        if first.pid().is_some() {
            first.kill()?;
            first.up()?;
            first.wait_status(PATIENCE)?;
        } else {
            self.network.up()?;
        }
        self.network.wait_reachable(PATIENCE)?;
        self.wait_tunnels(uplinks.max(1))?;
        if self.host.is_none() {
            self.attach()?;
        }
        Ok(())
    }

    /// Waits until both nodes have so many tunnels that work, and routes by all of them.
    ///
    /// # Errors
    /// When they do not come.
    pub fn wait_tunnels(&self, count: usize) -> Result<()> {
        wait_for(&format!("{count} tunnels between two nodes"), PATIENCE, || {
            for node in &self.network.nodes {
                let peers = node.peers().map_err(|error| format!("{error:#}"))?;
                let up = peers.iter().filter(|peer| peer.state == "up").count();
                let routes = node.routes().map_err(|error| format!("{error:#}"))?;
                let spread = |links: usize| links == count || (count == 1 && links == 0);
                if up != count || !routes.iter().all(|route| spread(route.interfaces.len())) {
                    return Err(format!("{}: {peers:?}, {routes:?}", node.name));
                }
            }
            Ok(())
        })
    }

    /// Mbit/s of sixteen TCP flows that the first node forwards, for eight seconds.
    ///
    /// # Errors
    /// When iperf3 fails.
    pub fn throughput(&self, way: Way) -> Result<f64> {
        let host = self.host.as_ref().context("the network is up")?;
        let neighbour = self.network.nodes.get(1).context("two nodes")?;
        let to = self.network.addresses.get(1).context("the network is up")?.to_string();
        let _server = iperf3::serve(&self.network.lab, &neighbour.host.namespace)?;
        let mut command = host.namespace.command("iperf3");
        command.args(["-6", "-c", &to, "-P", "16", "-t", "8", "-O", "1", "-J"]);
        if way == Way::In {
            command.arg("-R");
        }
        let said = run(&mut command)?;
        let report: Value = serde_json::from_str(&said).context("what iperf3 says is JSON")?;
        let rate = report.pointer("/end/sum_received/bits_per_second").and_then(Value::as_f64);
        Ok(rate.with_context(|| format!("iperf3 measured nothing: {said}"))? / 1e6)
    }

    /// How many packets each tunnel of the first node has carried.
    ///
    /// # Errors
    /// When it has none.
    pub fn packets(&self, way: Way) -> Result<Vec<u64>> {
        let node = self.network.nodes.first().context("two nodes")?;
        let count = |name: &String| {
            let traffic = node.host.namespace.traffic(name)?;
            Ok(if way == Way::Out { traffic.tx_packets } else { traffic.rx_packets })
        };
        node.tunnel_interfaces()?.iter().map(count).collect()
    }

    /// Ping flows between the host and the neighbour, each from an address of its own, so that some take the one
    /// uplink and some the other.
    ///
    /// # Errors
    /// Before [`Self::up`].
    pub fn flows(&self) -> Result<Vec<Flow>> {
        let host = self.host.as_ref().context("the network is up")?;
        let to = *self.network.addresses.get(1).context("the network is up")?;
        let flow = |source| Flow { from: host.namespace.clone(), source: Some(source), to };
        Ok(host.addresses.iter().copied().map(flow).collect())
    }

    /// Drops all UDP of the first uplink to the neighbour, silently, or lets it through again.
    ///
    /// # Errors
    /// When `nft` fails.
    pub fn cut(&self, cut: Cut) -> Result<()> {
        let [one, other] = &self.network.nodes[..] else { anyhow::bail!("two nodes") };
        match cut {
            Cut::Cut => self.network.underlay.cut(&one.host, &other.host),
            Cut::Heal => self.network.underlay.heal(&one.host, &other.host),
        }
    }

    fn attach(&mut self) -> Result<()> {
        let own = *self.network.addresses.first().context("the network is up")?;
        let numbered = |last: u16| {
            let [a, b, c, d, ..] = own.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, last)
        };
        let (gateway, addresses) = (numbered(0xfe), (0x10..0x20).map(numbered).collect::<Vec<_>>());
        let namespace = self.network.lab.namespace("host")?;
        let node = self.network.nodes.first().context("two nodes")?;
        node.host.namespace.ip(&format!(
            "link add lan type veth peer name eth0 netns {}\n\
             addr add {gateway}/64 dev lan nodad\n\
             link set lan up\n",
            namespace.name()
        ))?;
        let mut lines = "link set eth0 mtu 1420\nlink set eth0 up\n".to_owned();
        for address in &addresses {
            lines += &format!("addr add {address}/64 dev eth0 nodad\n");
        }
        namespace.ip(&(lines + &format!("route add ::/0 via {gateway}\n")))?;
        self.host = Some(Behind { namespace, addresses });
        let flows = self.flows()?;
        crate::network::wait_answers(&flows, PATIENCE).map(drop)
    }
}

/// What happens to the first uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It drops everything.
    Cut,
    /// It works again.
    Heal,
}

fn gateway_of(namespace: &Namespace) -> Result<String> {
    let said = run(namespace.command("ip").args(["-4", "route", "show", "default"]))?;
    let word = said.split_whitespace().nth(2);
    word.map(str::to_owned).with_context(|| format!("no default route: {said}"))
}

/// The interface of a router that has this address.
fn router_end(router: &Namespace, address: &str) -> Result<String> {
    let said = run(router.command("ip").args(["-4", "-o", "addr", "show", "to", address]))?;
    let name = said.split_whitespace().nth(1);
    let name = name.map(|name| name.split('@').next().unwrap_or(name).to_owned());
    name.with_context(|| format!("no interface has {address}: {said}"))
}

fn shape(namespace: &Namespace, interface: &str) -> Result<()> {
    let mut command = namespace.command("tc");
    command.args(["qdisc", "add", "dev", interface, "root", "tbf"]);
    command.args(["rate", "20mbit", "burst", "32k", "latency", "50ms"]);
    let said = run(&mut command)?;
    ensure!(said.trim().is_empty(), "{said}");
    Ok(())
}

/// The longest any step may take.
const PATIENCE: Duration = Duration::from_secs(60);
