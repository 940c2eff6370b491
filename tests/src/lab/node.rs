//! A node of the lab: one `sixwire` agent on a host, and what it says of itself.

use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::process::{Bond, inside};
use super::{Host, Lab, Process, binary, run};
use crate::clock::wait_for;
use crate::ping::Flow;

/// Which WireGuard carries the tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plane {
    /// The kernel's where it has it, else the embedded one.
    Auto,
    /// The kernel's, or none.
    Kernel,
    /// The helper process.
    Embedded,
}

/// A node: a host, a state directory, and maybe a running daemon.
#[derive(Debug)]
pub struct Node {
    /// Its name, in certificate and namespace.
    pub name: String,
    /// Where it runs.
    pub host: Host,
    plane: Plane,
    /// What `sixwire` is here.
    agent: PathBuf,
    config: Option<PathBuf>,
    state: PathBuf,
    run_directory: PathBuf,
    log: PathBuf,
    bond: Bond,
    daemon: Option<Process>,
}

/// `sixwire status --json`, schema 1.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    /// Overall health.
    pub health: Health,
    /// Who it is.
    pub node: Identity,
    /// Its tunnels.
    pub tunnels: Tunnels,
    /// Its routing engine.
    pub routing: Routing,
}

/// The tunnels of a node as `status` reports them.
#[derive(Clone, Debug, Deserialize)]
pub struct Tunnels {
    /// `kernel` or `embedded`.
    pub wireguard: String,
    /// Those that pass packets.
    pub up: usize,
    /// The process of the embedded WireGuard.
    pub helper: Option<Helper>,
}

/// The process of the embedded WireGuard as `status` reports it.
#[derive(Clone, Debug, Deserialize)]
pub struct Helper {
    /// Times it was started again.
    pub restarts: u64,
    /// Seconds since the last of them.
    pub last_restart_s: Option<u64>,
}

/// The routing engine of a node as `status` reports it.
#[derive(Clone, Debug, Deserialize)]
pub struct Routing {
    /// Babel neighbours.
    pub neighbours: usize,
    /// Selected routes.
    pub routes: usize,
}

/// Health as `status` reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Exit code 0.
    Healthy,
    /// Exit code 1.
    Degraded,
    /// Exit code 2.
    Down,
}

/// A node's identity as `status` reports it.
#[derive(Clone, Debug, Deserialize)]
pub struct Identity {
    /// 16 hexadecimal digits.
    pub router_id: String,
    /// The name it joined with.
    pub name: String,
    /// Its certified prefix.
    pub prefix: String,
    /// Its own address.
    pub address: Ipv6Addr,
}

/// A row of `sixwire peers --json`, schema 1.
#[derive(Clone, Debug, Deserialize)]
pub struct Peer {
    /// The neighbour.
    pub router_id: String,
    /// Our end of the tunnel.
    pub interface: String,
    /// `dialled`, `served` or `native`.
    pub role: String,
    /// `up`, or what it is doing instead.
    pub state: String,
    /// Babel's cost; none while it is unusable.
    pub cost: Option<u16>,
    /// Smoothed round-trip time, milliseconds.
    pub rtt_ms: Option<f64>,
}

/// A row of `sixwire routes --json`, schema 1.
#[derive(Clone, Debug, Deserialize)]
pub struct Route {
    /// Prefix.
    pub destination: String,
    /// Interface of the next hop.
    pub interface: String,
    /// All of them, where there are several.
    #[serde(default)]
    pub interfaces: Vec<String>,
    /// Who announces it.
    pub router_id: String,
    /// Whether the kernel has it.
    pub installed: bool,
}

impl Node {
    /// A node on `host` that has not joined yet.
    ///
    /// # Errors
    /// When its directories cannot be made.
    pub fn new(lab: &Lab, host: Host, name: &str, plane: Plane) -> Result<Self> {
        let state = lab.directory().join(name);
        let run_directory = lab.directory().join(format!("{name}.run"));
        for directory in ["sixwire", "wireguard", "lock"] {
            std::fs::create_dir_all(run_directory.join(directory))?;
        }
        let log = lab.directory().join(format!("{name}.log"));
        let (name, bond) = (name.to_owned(), lab.bond());
        let (agent, config, daemon) = (binary("sixwire"), None, None);
        Ok(Self { name, host, plane, agent, config, state, run_directory, log, bond, daemon })
    }

    /// Joins the network.
    ///
    /// # Errors
    /// What `sixwire join` says.
    pub fn join(&self, join_string: &str) -> Result<String> {
        run(self
            .command(&["join", join_string, "--name", &self.name])
            .arg("--state-dir")
            .arg(&self.state))
    }

    /// Writes a configuration file that later starts will use.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn configure(&mut self, toml: &str) -> Result<()> {
        let path = self.state.with_extension("toml");
        std::fs::write(&path, toml)?;
        self.config = Some(path);
        Ok(())
    }

    /// Replaces the program that later starts will use, as an upgrade does.
    pub fn install(&mut self, agent: PathBuf) {
        self.agent = agent;
    }

    /// Stops the daemon with SIGTERM, as service managers do, and waits for its end.
    ///
    /// # Errors
    /// When none runs, or it does not end within 20 s.
    pub fn stop(&mut self) -> Result<()> {
        let mut daemon = self.daemon.take().with_context(|| format!("{} is not up", self.name))?;
        daemon.signal(Signal::SIGTERM)?;
        daemon.wait(Duration::from_secs(20)).map(drop)
    }

    /// Starts the daemon; does not wait for it to be of use.
    ///
    /// # Errors
    /// When it runs already or cannot start.
    pub fn up(&mut self) -> Result<()> {
        ensure!(self.daemon.is_none(), "{} is up already", self.name);
        let plane = match self.plane {
            Plane::Auto => "auto",
            Plane::Kernel => "kernel",
            Plane::Embedded => "embedded",
        };
        let mut command = self.command(&["up", "--wireguard", plane, "--run-dir", RUN]);
        command.arg("--state-dir").arg(&self.state);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        self.daemon = Some(Process::start(&mut command, &self.log)?);
        Ok(())
    }

    /// The running daemon.
    ///
    /// # Errors
    /// When none runs.
    pub fn daemon(&mut self) -> Result<&mut Process> {
        self.daemon.as_mut().with_context(|| format!("{} is not up", self.name))
    }

    /// Kills the daemon with SIGKILL. Interfaces, routes and helper stay.
    ///
    /// # Errors
    /// When none runs.
    pub fn kill(&mut self) -> Result<()> {
        self.daemon.take().with_context(|| format!("{} is not up", self.name))?.kill()
    }

    /// What a power cut leaves: kills every process of the node, removes tunnels, overlay routes and `/run`; only the
    /// state directory survives.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn power_cut(&mut self) -> Result<()> {
        self.daemon = None;
        self.host.namespace.kill_all()?;
        for interface in self.tunnel_interfaces()? {
            // The interface of a killed helper vanishes by itself, at a moment of its own.
            let _ = self.host.namespace.ip(&format!("link delete {interface}\n"));
        }
        wait_for("interfaces to vanish", Duration::from_secs(10), || {
            match self.tunnel_interfaces() {
                Ok(left) if left.is_empty() => Ok(()),
                left => Err(format!("left: {left:?}")),
            }
        })?;
        let namespace = &self.host.namespace;
        run(namespace.command("ip").args(["-6", "route", "flush", "proto", "42"]))?;
        run(namespace.command("ip").args(["-6", "addr", "flush", "dev", "lo", "scope", "global"]))?;
        // It may not be there.
        let _ = namespace.nft("delete table ip6 sixwire");
        for directory in ["sixwire", "wireguard"] {
            let directory = self.run_directory.join(directory);
            std::fs::remove_dir_all(&directory)?;
            std::fs::create_dir(&directory)?;
        }
        Ok(())
    }

    /// The interfaces that carry our mark in their name, sorted.
    ///
    /// # Errors
    /// When the namespace is gone.
    pub fn tunnel_interfaces(&self) -> Result<Vec<String>> {
        let names = self.host.namespace.interfaces()?;
        Ok(names.into_iter().filter(|name| name.starts_with("sw-")).collect())
    }

    /// `sixwire status`.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn status(&self) -> Result<Status> {
        self.ask(&["status"])
    }

    /// `sixwire peers`.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn peers(&self) -> Result<Vec<Peer>> {
        #[derive(Deserialize)]
        struct Peers {
            peers: Vec<Peer>,
        }
        Ok(self.ask::<Peers>(&["peers"])?.peers)
    }

    /// `sixwire routes`.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn routes(&self) -> Result<Vec<Route>> {
        #[derive(Deserialize)]
        struct Routes {
            routes: Vec<Route>,
        }
        Ok(self.ask::<Routes>(&["routes"])?.routes)
    }

    /// The status, once the daemon answers.
    ///
    /// # Errors
    /// After `patience`, or when the daemon ends: with the end of its log.
    pub fn wait_status(&mut self, patience: Duration) -> Result<Status> {
        let mut daemon = self.daemon.take().with_context(|| format!("{} is not up", self.name))?;
        let status = wait_for(&format!("{} to answer", self.name), patience, || {
            match daemon.ended() {
                Ok(None) => self.status().map(Ok),
                ended => Ok(Err(anyhow!("the daemon ended: {ended:?}; {}", daemon.last_words()))),
            }
            .map_err(|error| format!("{error:#}; {}", daemon.last_words()))
        });
        self.daemon = Some(daemon);
        status?
    }

    /// A flow of pings from this node's address to another's.
    #[must_use]
    pub fn flow(&self, source: Ipv6Addr, to: Ipv6Addr) -> Flow {
        Flow { from: self.host.namespace.clone(), source: Some(source), to }
    }

    /// A `sixwire` command on this node, with the node's own `/run`.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.program(&self.agent);
        command.args(words);
        command
    }

    /// Any program on this node, with the node's own `/run`.
    #[must_use]
    pub fn program(&self, program: &Path) -> Command {
        inside(&self.host.namespace, &self.run_directory, self.bond, program)
    }

    /// What carries its tunnels.
    #[must_use]
    pub fn plane(&self) -> Plane {
        self.plane
    }

    /// Where the daemon's local socket is, seen from outside the node.
    #[must_use]
    pub fn run_directory(&self) -> PathBuf {
        self.run_directory.join("sixwire")
    }

    /// The words that run a program on this node, for people to type.
    #[must_use]
    pub fn entry(&self) -> String {
        let (launcher, namespace) = (binary("sixwire-lab"), self.host.namespace.path());
        let run = self.run_directory.display();
        format!("{} enter {} {run} --", launcher.display(), namespace.display())
    }

    /// Where its key, certificate and caches are.
    #[must_use]
    pub fn state_directory(&self) -> &Path {
        &self.state
    }

    /// The daemon's process id, if it runs.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        self.daemon.as_ref().map(Process::pid)
    }

    /// Lets the daemon run on without this value.
    pub fn release(self) {
        if let Some(daemon) = self.daemon {
            daemon.release();
        }
    }

    /// Exit codes 0, 1 and 2 all come with an answer; what counts is that it parses.
    fn ask<T: DeserializeOwned>(&self, words: &[&str]) -> Result<T> {
        let output = self.command(words).args(["--json", "--run-dir", RUN]).output()?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            let complaint = String::from_utf8_lossy(&output.stderr);
            format!("sixwire {} on {}: {}: {complaint}", words.join(" "), self.name, output.status)
        })
    }
}

/// The run directory, as the node sees it.
const RUN: &str = "/run/sixwire";
