//! A node of the lab: a thread in a network and mount namespace of its own.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, gettid};
use sixwire_dataplane::model::{
    Change, Desired, IfName, Mark, Peer, Role, RouteChange, RouteKey, RouteTarget, Tunnel,
    WireGuard,
};
use sixwire_dataplane::{Choice, Dataplane, Events, KernelEvent, Options, plan};
use sixwire_proto::keys::{WgPrivateKey, WgPublicKey};
use sixwire_proto::prefix::Prefix;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::uplink::UplinkNumber;
use tempfile::TempDir;

type Job = Box<dyn FnOnce(&tokio::runtime::Runtime) + Send>;

/// Ends with its last handle; its helper with it.
pub(crate) struct Node {
    pub(crate) id: RouterId,
    pub(crate) tid: i32,
    run_dir: TempDir,
    jobs: mpsc::Sender<Job>,
}

impl Node {
    /// A node whose router-id is eight times `octet`.
    pub(crate) fn start(octet: u8) -> Arc<Self> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (report, started) = mpsc::channel();
        std::thread::spawn(move || {
            isolate();
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            report.send(gettid().as_raw()).unwrap();
            for job in inbox {
                job(&runtime);
            }
        });
        let tid = started.recv().expect("namespaces need root");
        let run_dir = tempfile::tempdir().unwrap();
        Arc::new(Self { id: RouterId::new([octet; 8]).unwrap(), tid, run_dir, jobs })
    }

    /// Runs a future on the node.
    pub(crate) fn run<T, F>(&self, work: impl FnOnce() -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T>,
    {
        let (report, outcome) = mpsc::channel();
        let job: Job = Box::new(move |runtime| {
            let _ =
                report.send(runtime.block_on(async {
                    tokio::time::timeout(LIMIT, work()).await.expect("in time")
                }));
        });
        self.jobs.send(job).unwrap();
        outcome.recv().expect("the work panicked; see above")
    }

    /// Runs a command on the node.
    pub(crate) fn sh(&self, line: &str) -> String {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let output =
            self.run(
                move || async move { Command::new(&words[0]).args(&words[1..]).output().unwrap() },
            );
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{line}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    pub(crate) fn options(&self) -> Options {
        let dir = self.run_dir.path().to_owned();
        let program = PathBuf::from(env!("CARGO_BIN_EXE_sixwire-wireguard-helper"));
        let mut options = Options::new(dir.clone(), program, vec![dir.into()]);
        options.wireguard = match std::env::var("SIXWIRE_TEST_WIREGUARD").as_deref() {
            Ok("kernel") => Choice::Kernel,
            _ => Choice::Embedded,
        };
        options
    }

    pub(crate) fn open(&self) -> (Arc<Dataplane>, Events) {
        self.open_with(self.options())
    }

    pub(crate) fn open_with(&self, options: Options) -> (Arc<Dataplane>, Events) {
        self.run(move || async move {
            let (dataplane, events) = Dataplane::open(options).await.unwrap();
            (Arc::new(dataplane), events)
        })
    }

    /// Observes, plans, applies; gives the changes made.
    pub(crate) fn reconcile(&self, dataplane: &Arc<Dataplane>, desired: &Desired) -> Vec<Change> {
        let (dataplane, desired) = (Arc::clone(dataplane), desired.clone());
        self.run(move || async move {
            let changes = plan(&desired, &dataplane.observe().await.unwrap());
            for change in &changes {
                dataplane.apply(change).await.unwrap_or_else(|e| panic!("{change:?}: {e}"));
            }
            changes
        })
    }

    /// The changes that reconciling would make.
    pub(crate) fn planned(&self, dataplane: &Arc<Dataplane>, desired: &Desired) -> Vec<Change> {
        let (dataplane, desired) = (Arc::clone(dataplane), desired.clone());
        self.run(move || async move { plan(&desired, &dataplane.observe().await.unwrap()) })
    }

    pub(crate) fn apply(
        &self,
        dataplane: &Arc<Dataplane>,
        change: Change,
    ) -> Result<sixwire_dataplane::Applied, sixwire_dataplane::Error> {
        let dataplane = Arc::clone(dataplane);
        self.run(move || async move { dataplane.apply(&change).await })
    }

    /// Sets routes, none of which may fail.
    pub(crate) fn route(&self, dataplane: &Arc<Dataplane>, changes: Vec<RouteChange>) {
        let dataplane = Arc::clone(dataplane);
        self.run(move || async move {
            for outcome in dataplane.apply_routes(&changes).await {
                outcome.unwrap();
            }
        });
    }

    /// Removes everything and ends the helper.
    pub(crate) fn down(&self, dataplane: &Arc<Dataplane>) {
        self.reconcile(dataplane, &Desired::default());
        self.settle(dataplane);
        let dataplane = Arc::clone(dataplane);
        self.run(move || async move { dataplane.stop_helper().await.unwrap() });
    }

    /// Waits for what is removed in the background.
    pub(crate) fn settle(&self, dataplane: &Arc<Dataplane>) {
        let dataplane = Arc::clone(dataplane);
        self.run(move || async move { dataplane.settle().await });
    }

    /// The first event that `pick` takes; those before it are dropped.
    pub(crate) fn event(
        &self,
        mut events: Events,
        pick: impl Fn(&KernelEvent) -> bool + Send + 'static,
    ) -> (KernelEvent, Events) {
        self.run(move || async move {
            loop {
                let event = events.next().await.expect("events end with the data plane");
                if pick(&event) {
                    return (event, events);
                }
            }
        })
    }

    pub(crate) fn run_dir(&self) -> &Path {
        self.run_dir.path()
    }

    /// The process that holds the helper's lock.
    pub(crate) fn helper_pid(&self) -> Option<i32> {
        let lock = std::fs::metadata(self.run_dir().join("wireguard.lock")).ok()?;
        let inode = format!(":{}", lock.ino());
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        let mut ours = locks
            .lines()
            .map(str::split_whitespace)
            .filter(|words| words.clone().any(|word| word.ends_with(&inode)));
        ours.next()?.nth(4)?.parse().ok()
    }

    pub(crate) fn address(&self) -> std::net::IpAddr {
        self.prefix().node_address()
    }

    pub(crate) fn prefix(&self) -> Prefix {
        let octet = self.id.octets()[0];
        format!("fd00:0:0:{octet:x}::/64").parse().unwrap()
    }

    pub(crate) fn key(&self) -> WgPrivateKey {
        WgPrivateKey::from_octets([self.id.octets()[0]; 32])
    }

    /// A tunnel to `other` over the cable.
    pub(crate) fn tunnel_to(&self, other: &Self, role: Role) -> (IfName, Tunnel) {
        let (name, mut tunnel) = self.tunnel_to_stranger(other.id.octets()[0]);
        tunnel.mark.role = role;
        (name, tunnel)
    }

    /// A tunnel to the node whose router-id is eight times `octet`, there or not.
    pub(crate) fn tunnel_to_stranger(&self, octet: u8) -> (IfName, Tunnel) {
        let node = RouterId::new([octet; 8]).unwrap();
        let peer = Peer {
            endpoint: Some(cable_endpoint(octet)),
            keepalive: Some(1),
            allowed_ips: [Prefix::V6_DEFAULT, Prefix::V4_DEFAULT].into(),
            ..Peer::default()
        };
        let peers = [(public(octet), peer)].into();
        let wireguard =
            WireGuard { private_key: Some(self.key()), port: PORT, fwmark: Some(1), peers };
        let mark = Mark { node, role: Role::Dialled, uplink: UplinkNumber::FIRST };
        let tunnel = Tunnel { mark, link_local: self.id.link_local(), mtu: 1400, wireguard };
        (IfName::tunnel(node, std::num::NonZeroU8::MIN), tunnel)
    }

    pub(crate) fn cable_endpoint(&self) -> SocketAddr {
        cable_endpoint(self.id.octets()[0])
    }

    /// Everything a node has before routes: its address, the catch of leaks, its tunnel.
    pub(crate) fn desired(&self, tunnels: impl IntoIterator<Item = (IfName, Tunnel)>) -> Desired {
        Desired {
            tunnels: tunnels.into_iter().collect(),
            addresses: [self.address()].into(),
            unreachable: ["fd00::/48".parse().unwrap()].into(),
            ..Desired::default()
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(pid) = self.helper_pid() {
            // It may end at this very moment by itself.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// A cable between two nodes, 192.0.2.N on each end.
pub(crate) fn cable(a: &Node, b: &Node) {
    a.sh(&format!("ip link add cable type veth peer name cable netns {}", b.tid));
    for node in [a, b] {
        node.sh(&format!("ip addr add 192.0.2.{}/24 dev cable", node.id.octets()[0]));
        node.sh("ip link set cable up");
    }
}

/// The route to `other` through the tunnel.
pub(crate) fn route_to(
    node: &Node,
    other: &Node,
    link: sixwire_proto::link::LinkId,
) -> RouteChange {
    let hop = sixwire_dataplane::model::NextHop {
        link,
        gateway: other.id.link_local().into(),
        preferred_source: Some(node.address()),
    };
    RouteChange::Replace(RouteKey::to(other.prefix()), RouteTarget::Via(hop))
}

fn cable_endpoint(octet: u8) -> SocketAddr {
    (Ipv4Addr::new(192, 0, 2, octet), PORT).into()
}

pub(crate) fn public(octet: u8) -> WgPublicKey {
    WgPrivateKey::from_octets([octet; 32]).public()
}

fn isolate() {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .expect("this test needs root (CAP_SYS_ADMIN)");
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).unwrap();
    // Configuration sockets of other namespaces have the same names.
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), nothing).unwrap();
}

pub(crate) const PORT: u16 = 51820;
/// For every step; generous, since the machine may be busy.
const LIMIT: Duration = Duration::from_secs(60);
