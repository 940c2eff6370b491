//! WireGuard configuration, kernel and embedded: the only place that knows the library for it.
//!
//! The library blocks, so it is called from blocking threads, one call at a time. It makes absent
//! interfaces without asking: callers look first. Its values and errors can hold keys in clear: none of
//! them is ever printed.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use sixwire_proto::keys::{PresharedKey, WgPrivateKey, WgPublicKey};
use sixwire_proto::prefix::Prefix;
use tokio::sync::Mutex;
use wireguard_control::{Device, DeviceUpdate, InterfaceName, Key, PeerConfigBuilder, PeerInfo};

use crate::error::Error;
use crate::model::{IfName, ObservedPeer, ObservedWireGuard, Peer, WireGuardUpdate};
use crate::options::Backend;
use crate::userspace::SOCKET_DIR;

/// Access to the WireGuard devices of one backend.
#[derive(Clone)]
pub(crate) struct Control {
    backend: wireguard_control::Backend,
    turn: Arc<Mutex<()>>,
}

/// Counters of a tunnel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TunnelStats {
    /// UDP port it listens on.
    pub port: u16,
    /// By peer.
    pub peers: BTreeMap<WgPublicKey, PeerStats>,
}

/// Counters of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerStats {
    /// Where it was seen last.
    pub endpoint: Option<SocketAddr>,
    /// Time since the last handshake; `None` before the first. Below 180 s the tunnel is alive.
    pub handshake_age: Option<Duration>,
    /// Octets received.
    pub rx_bytes: u64,
    /// Octets sent.
    pub tx_bytes: u64,
}

impl Control {
    pub(crate) fn new(backend: Backend) -> Self {
        let backend = match backend {
            Backend::Kernel => wireguard_control::Backend::Kernel,
            Backend::Embedded => wireguard_control::Backend::Userspace,
        };
        Self { backend, turn: Arc::default() }
    }

    /// Reads configuration and counters of a device.
    pub(crate) async fn get(
        &self,
        name: &IfName,
    ) -> Result<(ObservedWireGuard, TunnelStats), Error> {
        let (backend, interface) = (self.backend, interface_name(name));
        let doing = format!("read tunnel {name}");
        let outcome = self
            .run(&doing, move || Device::get(&interface?, backend).map(|device| convert(&device)))
            .await?;
        outcome.map_err(|error| refusal(doing, &error))
    }

    /// Changes a device that exists: one message, but for peers of very many prefixes.
    pub(crate) async fn set(&self, name: &IfName, update: &WireGuardUpdate) -> Result<(), Error> {
        if update.is_empty() {
            return Ok(());
        }
        let (backend, interface) = (self.backend, interface_name(name));
        let known = match update.peers.is_empty() {
            true => BTreeMap::new(),
            false => self.get(name).await?.0.peers,
        };
        let messages = messages(update, &known);
        let doing = format!("configure tunnel {name}");
        let outcome = self
            .run(&doing, move || {
                let interface = interface?;
                if backend == wireguard_control::Backend::Userspace {
                    // Where nobody listens, the library would start a program of its own.
                    UnixStream::connect(format!("{SOCKET_DIR}/{interface}.sock"))?;
                }
                messages.into_iter().try_for_each(|message| message.apply(&interface, backend))
            })
            .await?;
        outcome.map_err(|error| match update.port {
            Some(port) if port_is_taken(&error, port) => {
                Error::PortTaken { name: name.clone(), port }
            }
            _ => refusal(doing, &error),
        })
    }

    async fn run<T: Send + 'static>(
        &self,
        doing: &str,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<io::Result<T>, Error> {
        let turn = Arc::clone(&self.turn);
        let work = async move {
            // Held by the job, so that one given up on still excludes the next.
            let turn = turn.lock_owned().await;
            tokio::task::spawn_blocking(move || {
                let _turn = turn;
                job()
            })
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
        };
        tokio::time::timeout(ANSWER_LIMIT, work).await.map_err(|_| Error::NoAnswer {
            doing: doing.to_owned(),
            seconds: ANSWER_LIMIT.as_secs(),
        })
    }
}

/// The first message says all but the prefixes beyond what fits a message; those follow.
///
/// Prefixes that a peer has already are left alone: between a removal and an addition the kernel would
/// drop what is for them.
fn messages(
    update: &WireGuardUpdate,
    known: &BTreeMap<WgPublicKey, ObservedPeer>,
) -> Vec<DeviceUpdate> {
    let mut first = DeviceUpdate::new();
    if let Some(private_key) = &update.private_key {
        first = first.set_private_key(Key(*private_key.octets()));
    }
    if let Some(port) = update.port {
        first = first.set_listen_port(port);
    }
    if let Some(fwmark) = update.fwmark {
        first = first.set_fwmark(fwmark);
    }
    for key in &update.removed {
        first = first.remove_peer_by_key(&Key(key.0));
    }
    let mut further = Vec::new();
    for (key, peer) in &update.peers {
        let known = known.get(key).filter(|_| !update.removed.contains(key));
        let kept = known.map(|known| &known.allowed_ips).filter(|p| p.is_subset(&peer.allowed_ips));
        let settings = settings(key, peer);
        let settings = if kept.is_some() { settings } else { settings.replace_allowed_ips() };
        let new = |prefix: &Prefix| kept.is_none_or(|kept| !kept.contains(prefix));
        let prefixes: Vec<Prefix> = peer.allowed_ips.iter().copied().filter(new).collect();
        let mut chunks = prefixes.chunks(PREFIXES_PER_MESSAGE);
        first = first.add_peer(with_prefixes(settings, chunks.next().unwrap_or_default()));
        further.extend(chunks.map(|chunk| {
            let more = PeerConfigBuilder::new(&Key(key.0));
            DeviceUpdate::new().add_peer(with_prefixes(more, chunk))
        }));
    }
    let mut messages = vec![first];
    messages.append(&mut further);
    messages
}

fn settings(key: &WgPublicKey, peer: &Peer) -> PeerConfigBuilder {
    let mut builder = PeerConfigBuilder::new(&Key(key.0))
        .set_persistent_keepalive_interval(peer.keepalive.unwrap_or(0));
    if let Some(preshared_key) = &peer.preshared_key {
        builder = builder.set_preshared_key(Key(*preshared_key.octets()));
    }
    if let Some(endpoint) = peer.endpoint {
        builder = builder.set_endpoint(endpoint);
    }
    builder
}

fn with_prefixes(builder: PeerConfigBuilder, prefixes: &[Prefix]) -> PeerConfigBuilder {
    prefixes.iter().fold(builder, |b, prefix| b.add_allowed_ip(prefix.address(), prefix.length()))
}

fn convert(device: &Device) -> (ObservedWireGuard, TunnelStats) {
    let mut observed = ObservedWireGuard {
        private_key: device.private_key.as_ref().and_then(secret).map(WgPrivateKey::from_octets),
        port: device.listen_port.unwrap_or(0),
        fwmark: device.fwmark.filter(|mark| *mark != 0),
        peers: BTreeMap::new(),
    };
    let mut stats = TunnelStats { port: observed.port, peers: BTreeMap::new() };
    for peer in &device.peers {
        // A peer of many prefixes comes in several entries; only one has the counters.
        let key = WgPublicKey(peer.config.public_key.0);
        merge_config(observed.peers.entry(key).or_default(), peer);
        merge_stats(stats.peers.entry(key).or_default(), peer);
    }
    (observed, stats)
}

fn merge_config(into: &mut ObservedPeer, peer: &PeerInfo) {
    let config = &peer.config;
    let preshared_key = config.preshared_key.as_ref().and_then(secret);
    into.preshared_key = into.preshared_key.take().or(preshared_key.map(PresharedKey::from_octets));
    into.endpoint = into.endpoint.or(config.endpoint);
    let keepalive = config.persistent_keepalive_interval.filter(|seconds| *seconds != 0);
    into.keepalive = into.keepalive.or(keepalive);
    let prefixes = config.allowed_ips.iter();
    into.allowed_ips.extend(prefixes.filter_map(|p| Prefix::containing(p.address, p.cidr).ok()));
}

fn merge_stats(into: &mut PeerStats, peer: &PeerInfo) {
    into.endpoint = into.endpoint.or(peer.config.endpoint);
    into.rx_bytes = into.rx_bytes.max(peer.stats.rx_bytes);
    into.tx_bytes = into.tx_bytes.max(peer.stats.tx_bytes);
    // The kernel tells the calendar time of the handshake: an age is only exact while the clock
    // is not set, and one from the future counts as none at all.
    let age = peer.stats.last_handshake_time.map(|time| time.elapsed().unwrap_or_default());
    into.handshake_age = into.handshake_age.or(age);
}

/// The octets of a key; all zeros stand for none.
fn secret(key: &Key) -> Option<[u8; 32]> {
    (key.0 != [0; 32]).then_some(key.0)
}

fn interface_name(name: &IfName) -> io::Result<InterfaceName> {
    name.as_str().parse().map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Whether a refusal means that another socket has the port. The embedded WireGuard gives no reason,
/// so the port is tried.
fn port_is_taken(error: &io::Error, port: u16) -> bool {
    if error.raw_os_error() == Some(Errno::EADDRINUSE as i32) {
        return true;
    }
    let taken = |error: io::Error| error.kind() == io::ErrorKind::AddrInUse;
    error.kind() == io::ErrorKind::InvalidInput
        && UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).is_err_and(taken)
}

/// The library's error, reduced to what cannot hold a key.
fn refusal(doing: String, error: &io::Error) -> Error {
    match error.raw_os_error() {
        _ if matches!(
            error.kind(),
            // A helper that dies leaves its socket, and may do so in the middle of an answer.
            io::ErrorKind::NotFound
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
        ) =>
        {
            Error::Gone { doing }
        }
        Some(number) => Error::kernel(doing, io::Error::from_raw_os_error(number)),
        None => Error::WireGuard { doing, kind: error.kind() },
    }
}

/// A message holds 8 KiB; 200 IPv6 prefixes of one peer fit, 300 do not (measured).
const PREFIXES_PER_MESSAGE: usize = 128;
/// Beyond the 0.4 s that a device of 1000 peers takes.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
