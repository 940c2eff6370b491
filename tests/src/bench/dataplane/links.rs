//! Contestants that make one interface for each neighbour, with static routes over them.

use std::fs;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::traffic::quietly;
use crate::bench::chain::{Chain, PATIENCE};
use crate::clock::wait_for;
use crate::lab::{Lab, Node, Process, run};

/// What makes the interfaces.
#[derive(Clone, Debug)]
pub(super) enum Maker {
    /// The cables themselves: no tunnel at all.
    Cable,
    /// The kernel's WireGuard, by `ip` and `wg`.
    Kernel,
    /// This build of wireguard-go, and `wg`.
    WireguardGo(PathBuf),
    /// OpenVPN over UDP with Ethernet inside, as re6stnet has it.
    OpenVpn,
}

/// One end of a link.
struct End<'a> {
    node: &'a Node,
    /// 0, 1 or 2 from left to right; and of the machine at the other end.
    own: usize,
    other: usize,
    /// 0 for the left link, 1 for the right one.
    link: usize,
}

impl Maker {
    /// Makes both links and the routes; the processes that carry them.
    pub(super) fn connect(&self, lab: &Lab, chain: &Chain) -> Result<Vec<Process>> {
        for (index, node) in chain.nodes.iter().enumerate() {
            let space = &node.host.namespace;
            space.sysctl(&["net/ipv6/conf/all/forwarding=1"])?;
            space.ip(&format!("addr add {}/128 dev lo\n", address(index)))?;
        }
        let mut processes = Vec::new();
        for (own, other, link) in [(0, 1, 0), (1, 0, 0), (1, 2, 1), (2, 1, 1)] {
            let end = End { node: &chain.nodes[own], own, other, link };
            processes.extend(self.make(lab, &end)?);
        }
        if matches!(self, Self::Kernel | Self::WireguardGo(_)) {
            let keys = keys(lab, chain)?;
            for (own, other, link) in [(0, 1, 0), (1, 0, 0), (1, 2, 1), (2, 1, 1)] {
                End { node: &chain.nodes[own], own, other, link }.configure(&keys)?;
            }
        }
        for (own, other, link) in [(0, 1, 0), (1, 0, 0), (1, 2, 1), (2, 1, 1)] {
            self.route(&End { node: &chain.nodes[own], own, other, link })?;
        }
        Ok(processes)
    }

    fn make(&self, lab: &Lab, end: &End<'_>) -> Result<Option<Process>> {
        let (name, space) = (end.interface(), &end.node.host.namespace);
        let log = lab.directory().join(format!("{}.{name}.log", end.node.name));
        let process = match self {
            Self::Cable => {
                let cable = ["left", "right"][end.link];
                let cable = if end.own == 1 { cable } else { "eth0" };
                space.sysctl(&[&format!("net/ipv6/conf/{cable}/disable_ipv6=0")])?;
                space.ip(&format!("link set {cable} down\nlink set {cable} name {name} up\n"))?;
                return Ok(None);
            }
            Self::Kernel => {
                space.ip(&format!("link add {name} type wireguard\n"))?;
                return Ok(None);
            }
            Self::WireguardGo(program) => {
                let mut command = end.node.program(program);
                Process::start(command.args(["-f", &name]).env("LOG_LEVEL", "error"), &log)?
            }
            Self::OpenVpn => Process::start(&mut end.openvpn(lab)?, &log)?,
        };
        wait_for("a tunnel's interface", PATIENCE, || match space.interface_index(&name) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(process.last_words()),
            Err(error) => Err(format!("{error:#}")),
        })?;
        Ok(Some(process))
    }

    /// Addresses of the interface and routes over it.
    fn route(&self, end: &End<'_>) -> Result<()> {
        let (name, own, gateway) = (end.interface(), end.own, link_local(end.other));
        let mtu = match self {
            Self::Cable => String::new(),
            Self::Kernel | Self::WireguardGo(_) => format!("mtu {MTU}"),
            // Set by its own option, which knows what it adds.
            Self::OpenVpn => String::new(),
        };
        let mut lines =
            format!("addr add {}/64 dev {name} nodad\nlink set {name} {mtu} up\n", link_local(own));
        // Whatever lies beyond the neighbour.
        let behind = (0..3).filter(|to| if end.other < own { *to < own } else { *to > own });
        for to in behind {
            let (to, own) = (address(to), address(own));
            lines += &format!("route add {to} via {gateway} dev {name} src {own}\n");
        }
        end.node.host.namespace.ip(&lines)
    }
}

impl End<'_> {
    fn interface(&self) -> String {
        format!("link{}", self.link)
    }

    /// Configures a WireGuard interface.
    fn configure(&self, keys: &[(PathBuf, String)]) -> Result<()> {
        let ((private, _), (_, public)) =
            keys.get(self.own).zip(keys.get(self.other)).context("their keys")?;
        let port = (PORT + self.link).to_string();
        let endpoint = format!("{}:{port}", Chain::underlay(self.own, self.other));
        let configure = || {
            let mut wg = self.node.program(Path::new("wg"));
            wg.args(["set", &self.interface(), "listen-port", &port, "private-key"]).arg(private);
            wg.args(["peer", public, "endpoint", &endpoint, "allowed-ips", "::/0,0.0.0.0/0"]);
            quietly(wg.args(["persistent-keepalive", "25"]))
        };
        // The socket of a program comes after its interface.
        wait_for("a WireGuard to be configured", PATIENCE, || {
            configure().map_err(|error| format!("{error:#}"))
        })
    }

    fn openvpn(&self, lab: &Lab) -> Result<std::process::Command> {
        let certificate = lab.directory().join(format!("{}.crt", self.node.name));
        let key = certificate.with_extension("key");
        let fingerprint = |node: &str| -> Result<String> {
            let certificate = lab.directory().join(format!("{node}.crt"));
            if !certificate.exists() {
                let mut request = std::process::Command::new("openssl");
                request.args([
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                ]);
                request.args(["-nodes", "-days", "2", "-subj", &format!("/CN={node}"), "-out"]);
                request.arg(&certificate).arg("-keyout").arg(certificate.with_extension("key"));
                quietly(&mut request)?;
            }
            let mut ask = std::process::Command::new("openssl");
            ask.args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(&certificate);
            Ok(run(&mut ask)?.trim().rsplit('=').next().unwrap_or_default().to_owned())
        };
        fingerprint(&self.node.name)?;
        // Contestants name their machines alike but for the last letter.
        let stem = self.node.name.get(..self.node.name.len() - 1).unwrap_or_default();
        let theirs = fingerprint(&format!("{stem}{}", ["a", "m", "b"][self.other]))?;
        let port = (PORT + self.link).to_string();
        let mut command = self.node.program(Path::new("openvpn"));
        command.args(["--dev", &self.interface(), "--dev-type", "tap", "--proto", "udp4"]);
        command.args(["--lport", &port, "--remote"]);
        command.arg(Chain::underlay(self.own, self.other).to_string()).arg(&port);
        command.arg(if self.own < self.other { "--tls-server" } else { "--tls-client" });
        command.args(["--dh", "none", "--data-ciphers", "AES-256-GCM", "--tun-mtu", "1400"]);
        command.args(["--mssfix", "0", "--disable-dco", "--keepalive", "10", "60"]);
        command.arg("--cert").arg(&certificate).arg("--key").arg(&key);
        command.args(["--peer-fingerprint", &theirs]);
        Ok(command)
    }
}

/// A private key's file and the public key of each machine.
fn keys(lab: &Lab, chain: &Chain) -> Result<Vec<(PathBuf, String)>> {
    let key = |node: &Node| {
        let file = lab.directory().join(format!("{}.wg", node.name));
        let made = "umask 077; wg genkey | tee \"$0\" | wg pubkey";
        let public = run(node.program(Path::new("sh")).args(["-c", made]).arg(&file))?;
        anyhow::ensure!(fs::metadata(&file)?.len() > 0, "wg makes keys");
        Ok((file, public.trim().to_owned()))
    };
    chain.nodes.iter().map(key).collect()
}

/// The overlay address of a machine.
pub(super) fn address(machine: usize) -> Ipv6Addr {
    let last = u16::try_from(machine + 1).unwrap_or(u16::MAX);
    Ipv6Addr::new(0xfd42, 0, 0, 0, 0, 0, 0, last)
}

fn link_local(machine: usize) -> Ipv6Addr {
    let last = u16::try_from(machine + 1).unwrap_or(u16::MAX);
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last)
}

/// Port of the left link; the right one's is the next.
const PORT: usize = 5000;
/// What our own tunnels have.
const MTU: u16 = 1420;
