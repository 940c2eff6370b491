//! Contestants that find their way themselves.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::links::address;
use super::traffic::quietly;
use crate::bench::chain::Chain;
use crate::lab::{Lab, Node, Process, run};

/// A mesh of somebody else's.
#[derive(Clone, Debug)]
pub(super) enum Mesh {
    Tinc,
    /// Daemon, and the program that signs certificates.
    Nebula(PathBuf, PathBuf),
    Yggdrasil(PathBuf),
}

/// What a mesh consists of.
pub(super) struct Meshed {
    pub(super) processes: Vec<Process>,
    /// From left to right.
    pub(super) addresses: [IpAddr; 3],
}

impl Mesh {
    /// Starts it on every machine: the ends know the middle one only.
    pub(super) fn connect(&self, lab: &Lab, chain: &Chain) -> Result<Meshed> {
        match self {
            Self::Tinc => tinc(lab, chain),
            Self::Nebula(daemon, signer) => nebula((lab, chain), daemon, signer),
            Self::Yggdrasil(program) => yggdrasil((lab, chain), program),
        }
    }
}

fn tinc(lab: &Lab, chain: &Chain) -> Result<Meshed> {
    let place = |node: &Node| lab.directory().join(format!("{}.tinc", node.name));
    for (index, node) in chain.nodes.iter().enumerate() {
        let place = place(node);
        fs::create_dir_all(place.join("hosts"))?;
        let name = MACHINES[index];
        let connect = if index == 1 { "" } else { "ConnectTo = m\n" };
        let interface = "AddressFamily = ipv4\nDeviceType = tun\nInterface = tinc\nMode = router\n";
        fs::write(place.join("tinc.conf"), format!("Name = {name}\n{interface}{connect}"))?;
        let own = address(index);
        let host = format!("Address = {}\nSubnet = {own}/128\n", underlay(index));
        fs::write(place.join("hosts").join(name), host)?;
        let up = format!(
            "#!/bin/sh\nip link set $INTERFACE up\nip addr add {own}/128 dev $INTERFACE\n\
             ip route add fd42::/64 dev $INTERFACE src {own}\n"
        );
        fs::write(place.join("tinc-up"), up)?;
        fs::set_permissions(place.join("tinc-up"), fs::Permissions::from_mode(0o755))?;
        quietly(node.program(Path::new("tincd")).arg("-c").arg(&place).arg("-K"))?;
    }
    for from in &chain.nodes {
        for to in &chain.nodes {
            for name in MACHINES.iter().filter(|name| from.name.ends_with(**name)) {
                let host = Path::new("hosts").join(name);
                if from.name != to.name {
                    fs::copy(place(from).join(&host), place(to).join(&host))?;
                }
            }
        }
    }
    let start = |node: &Node| {
        let mut command = node.program(Path::new("tincd"));
        command.arg("-c").arg(place(node)).arg("-D").arg("--pidfile");
        command.arg(place(node).join("pid"));
        Process::start(&mut command, &place(node).join("log"))
    };
    let processes = chain.nodes.iter().map(start).collect::<Result<_>>()?;
    Ok(Meshed { processes, addresses: [0, 1, 2].map(|index| address(index).into()) })
}

fn nebula((lab, chain): (&Lab, &Chain), daemon: &Path, signer: &Path) -> Result<Meshed> {
    let place = lab.directory().join("nebula");
    fs::create_dir_all(&place)?;
    let within = |words: &[&str]| {
        quietly(std::process::Command::new(signer).args(words).current_dir(&place))
    };
    within(&["ca", "-name", "bench"])?;
    let addresses = [1, 2, 3].map(|last| Ipv4Addr::new(172, 31, 42, last));
    let mut processes = Vec::new();
    for (index, node) in chain.nodes.iter().enumerate() {
        let name = MACHINES[index];
        within(&["sign", "-name", name, "-ip", &format!("{}/24", addresses[index])])?;
        let file = |extension: &str| place.join(format!("{name}.{extension}"));
        let middle = addresses[1].to_string();
        let hub = index == 1;
        let config = json!({
            "pki": { "ca": place.join("ca.crt"), "cert": file("crt"), "key": file("key") },
            "static_host_map": { &middle: [format!("{}:4242", underlay_of_middle(index))] },
            "lighthouse": { "am_lighthouse": hub, "hosts": if hub { json!([]) } else { json!([middle]) } },
            "relay": { "am_relay": hub, "use_relays": true, "relays": if hub { json!([]) } else { json!([middle]) } },
            "listen": { "host": "0.0.0.0", "port": 4242 },
            "punchy": { "punch": true },
            "tun": { "dev": "nebula", "mtu": 1300 },
            "firewall": {
                "outbound": [{ "port": "any", "proto": "any", "host": "any" }],
                "inbound": [{ "port": "any", "proto": "any", "host": "any" }]
            }
        });
        // JSON is YAML.
        let path = file("yml");
        fs::write(&path, config.to_string())?;
        let mut command = node.program(daemon);
        processes.push(Process::start(command.arg("-config").arg(&path), &file("log"))?);
    }
    Ok(Meshed { processes, addresses: addresses.map(IpAddr::from) })
}

fn yggdrasil((lab, chain): (&Lab, &Chain), program: &Path) -> Result<Meshed> {
    let (mut processes, mut addresses) = (Vec::new(), Vec::new());
    for (index, node) in chain.nodes.iter().enumerate() {
        let generated = run(node.program(program).args(["-genconf", "-json"]))?;
        let mut config: Value =
            serde_json::from_str(&generated).context("its own configuration")?;
        let hub = index == 1;
        let peer = format!("tcp://{}:9001", underlay_of_middle(index));
        config["Peers"] = if hub { json!([]) } else { json!([peer]) };
        config["Listen"] = if hub { json!(["tcp://0.0.0.0:9001"]) } else { json!([]) };
        config["MulticastInterfaces"] = json!([]);
        config["AdminListen"] = json!("none");
        config["IfName"] = json!("ygg");
        let file = lab.directory().join(format!("{}.ygg", node.name));
        fs::write(&file, config.to_string())?;
        let own = run(node.program(program).arg("-useconffile").arg(&file).arg("-address"))?;
        addresses.push(own.trim().parse::<IpAddr>().context("an address of its own")?);
        let mut command = node.program(program);
        command.arg("-useconffile").arg(&file);
        processes.push(Process::start(&mut command, &file.with_extension("log"))?);
    }
    let addresses = <[IpAddr; 3]>::try_from(addresses).ok().context("three machines")?;
    Ok(Meshed { processes, addresses })
}

/// Where a machine is found by those beside it.
fn underlay(index: usize) -> Ipv4Addr {
    if index == 1 { Chain::underlay(0, 1) } else { Chain::underlay(1, index) }
}

/// Where a machine beside it finds the middle one.
fn underlay_of_middle(index: usize) -> Ipv4Addr {
    Chain::underlay(index, 1)
}

const MACHINES: [&str; 3] = ["a", "m", "b"];
