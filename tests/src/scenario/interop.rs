//! A router made of stock parts: WireGuard configured by hand, and Debian's babeld.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{PATIENCE, steady};
use crate::clock::{now, wait_for};
use crate::lab::{Node, Plane, Process, run};
use crate::network::Network;
use crate::ping::Pinger;

/// Two of our nodes whose own tunnel is cut reach each other through a stock router between them, over tunnels made
/// by hand on which they were told to run Babel.
///
/// # Errors
/// What did not happen.
pub fn stock_router_carries_our_routes(network: &mut Network) -> Result<()> {
    let plane = network.plane;
    let host = network.underlay.host(&mut network.lab, 2, "stock")?;
    let stock = Node::new(&network.lab, host, "stock", plane)?;
    stock.host.namespace.sysctl(&["net/ipv6/conf/all/forwarding=1"])?;
    for (index, node) in network.nodes.iter_mut().enumerate() {
        let ours = Device::new(node, "wgx", 4500)?;
        let theirs = Device::new(&stock, &format!("wg{index}"), 4500 + u16::try_from(index)?)?;
        ours.connect(node, &theirs, stock.host.address)?;
        theirs.connect(&stock, &ours, node.host.address)?;
        node.configure("[[babel.interface]]\nname = \"wgx\"\n")?;
    }
    let mut babeld = stock.program(Path::new("babeld"));
    babeld.args(["-h", "1", "-C", "redistribute local deny", "wg0", "wg1"]);
    let _babeld = Process::start(&mut babeld, &network.lab.directory().join("babeld.log"))?;
    network.up()?;
    network.wait_reachable(PATIENCE)?;

    let [one, other] = network.nodes.as_slice() else {
        anyhow::bail!("this scenario is for two nodes");
    };
    network.underlay.cut(&one.host, &other.host)?;
    let cut = now();
    let flow = network.flow(0, 1).context("both nodes are up")?;
    let pinger = Pinger::start(&[flow], Duration::from_millis(20))?;
    steady(&pinger, cut)?;
    let destination = other.status()?.node.prefix;
    let routes = wait_for("the way through the stock router", PATIENCE, || {
        let routes = one.routes().map_err(|error| format!("{error:#}"))?;
        let through =
            routes.iter().any(|route| route.destination == destination && route.interface == "wgx");
        if through { Ok(routes) } else { Err(format!("{routes:?}")) }
    })?;
    let before = stock.host.namespace.traffic("wg0")?.rx_packets;
    steady(&pinger, now())?;
    let carried = stock.host.namespace.traffic("wg0")?.rx_packets - before;
    let _ = pinger.stop();
    ensure!(carried >= 25, "the stock router carried {carried} packets; routes {routes:?}");
    Ok(())
}

/// A WireGuard interface made with `ip`, `wg` and, where the kernel has none, wireguard-go.
struct Device {
    name: String,
    port: u16,
    private: String,
    public: String,
}

impl Device {
    fn new(node: &Node, name: &str, port: u16) -> Result<Self> {
        let made = match node.plane() {
            Plane::Kernel => {
                run(node.program(Path::new("ip")).args(["link", "add", name, "type", "wireguard"]))
            }
            Plane::Auto | Plane::Embedded => run(node.program(Path::new("wireguard-go")).arg(name)),
        };
        made.with_context(|| format!("making {name} on {}", node.name))?;
        let private = run(node.program(Path::new("wg")).arg("genkey"))?;
        let mut device = Self { name: name.to_owned(), port, private, public: String::new() };
        device.public = device.wg(node, "wg pubkey <\"$0\"")?.trim().to_owned();
        Ok(device)
    }

    fn connect(&self, node: &Node, peer: &Self, address: Ipv4Addr) -> Result<()> {
        let (name, port) = (&self.name, self.port);
        self.wg(
            node,
            &format!(
                "wg set {name} private-key \"$0\" listen-port {port} peer {} \
                 endpoint {address}:{} allowed-ips ::/0,0.0.0.0/0 persistent-keepalive 5",
                peer.public, peer.port
            ),
        )?;
        // The two ends of a tunnel differ in name.
        let end = if name == "wgx" { 1 } else { 2 };
        node.host
            .namespace
            .ip(&format!("addr add fe80::{end}/64 dev {name} nodad\nlink set {name} mtu 1420 up\n"))
    }

    /// Runs a line of shell on the node, with the private key's file as `$0`.
    fn wg(&self, node: &Node, line: &str) -> Result<String> {
        let key = node.state_directory().with_extension(format!("{}.key", self.name));
        std::fs::write(&key, &self.private)?;
        run(node.program(Path::new("sh")).args(["-c", line]).arg(&key))
    }
}
