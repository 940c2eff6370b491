//! One WireGuard device of the helper: a TUN interface, a UDP socket, a configuration socket.

use std::io;
use std::path::{Path, PathBuf};

use gotatun::device::uapi::UapiServer;
use gotatun::device::{Device, DeviceBuilder};
use gotatun::packet::{Ip, Packet, PacketBufPool};
use gotatun::tun::tun_async_device::TunDevice;
use gotatun::tun::{IpRecv, IpSend, MtuWatcher};
use gotatun::udp::socket::{UdpSocket, UdpSocketFactory};
use gotatun::udp::{UdpTransportFactory, UdpTransportFactoryParams};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::model::IfName;

/// A running device. It ends by [`Self::stop`], or when its interface is deleted.
pub(super) struct Running {
    index: u32,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    /// Makes the interface, which lives as long as the device, and the configuration socket.
    pub(super) async fn start(name: &IfName, mtu: u32) -> Result<Self, String> {
        let mut configuration = gotatun::tun::tun::Configuration::default();
        let mtu = u16::try_from(mtu).map_err(|_| format!("MTU {mtu} is too large"))?;
        configuration.tun_name(name.as_str()).mtu(mtu);
        let tun = gotatun::tun::tun::create_as_async(&configuration)
            .map_err(|error| format!("create TUN interface {name}: {error}"))?;
        let index = if_nametoindex(name.as_str()).map_err(|error| error.to_string())?;
        let tun = TunDevice::from_tun_device(tun).map_err(|error| error.to_string())?;
        let uapi = UapiServer::default_unix_socket(name.as_str(), None, None)
            .map_err(|error| error.to_string())?;
        let device = DeviceBuilder::new()
            .with_udp(Udp(UdpSocketFactory::default()))
            .with_ip(Tun(tun))
            .with_uapi(uapi)
            .build()
            .await
            .map_err(|error| error.to_string())?;
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(run(device, stopped, socket_path(name)));
        Ok(Self { index, stop, task })
    }

    /// Whether it still works, and the interface of that name is still its own.
    pub(super) fn is_alive(&self, name: &IfName) -> bool {
        !self.task.is_finished() && if_nametoindex(name.as_str()) == Ok(self.index)
    }

    /// Ends it.
    pub(super) async fn stop(self) {
        let Self { stop, task, .. } = self;
        // Either may have ended already; the outcome is the same.
        let _ = stop.send(());
        let _ = task.await;
    }
}

async fn run(mut device: Device<(Udp, Tun, Tun)>, stopped: oneshot::Receiver<()>, socket: PathBuf) {
    tokio::select! {
        () = device.wait() => tracing::warn!("{} failed", socket.display()),
        _ = stopped => {}
    }
    device.stop().await;
    // Somebody may have removed it before.
    let _ = std::fs::remove_file(socket);
}

/// Removes configuration sockets of tunnels that nobody listens on: a killed helper leaves them, and
/// `wg` stumbles over them.
pub(super) fn remove_stale_sockets() {
    let Ok(entries) = std::fs::read_dir(SOCKET_DIR) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_stem().and_then(|stem| stem.to_str()).and_then(|s| s.parse().ok());
        let ours = name.is_some_and(|name: IfName| name.is_tunnel_like());
        let refused = || {
            std::os::unix::net::UnixStream::connect(&path)
                .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        };
        if ours && refused() {
            // Losing a race against another cleaner is fine.
            let _ = std::fs::remove_file(&path);
        }
    }
}

fn socket_path(name: &IfName) -> PathBuf {
    Path::new(SOCKET_DIR).join(format!("{name}.sock"))
}

/// UDP sockets. The library binds its port anew, for another mark say, while tasks that hold the old
/// socket are still ending.
struct Udp(UdpSocketFactory);

impl UdpTransportFactory for Udp {
    type Send = UdpSocket;
    type Recv = UdpSocket;

    async fn bind(
        &mut self,
        params: &UdpTransportFactoryParams,
    ) -> io::Result<(UdpSocket, UdpSocket)> {
        for _ in 0..TURNS {
            match self.0.bind(params).await {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    tokio::task::yield_now().await;
                }
                outcome => return outcome,
            }
        }
        self.0.bind(params).await
    }
}

/// A TUN interface that outlives being switched off and packets the kernel does not take: the library
/// ends a device at the first error, and only the end of the interface is a reason to.
#[derive(Clone)]
struct Tun(TunDevice);

impl IpSend for Tun {
    async fn send(&mut self, packet: Packet<Ip>) -> io::Result<()> {
        match self.0.send(packet).await {
            Err(error) if !is_detached(&error) => {
                tracing::trace!("packet refused by the kernel: {error}");
                Ok(())
            }
            outcome => outcome,
        }
    }
}

impl IpRecv for Tun {
    async fn recv<'a>(
        &'a mut self,
        pool: &mut PacketBufPool,
    ) -> io::Result<impl Iterator<Item = Packet<Ip>> + Send + 'a> {
        loop {
            // The device reads one packet at a time.
            let packet = self.0.recv(pool).await.map(|mut packets| packets.next());
            match packet {
                Ok(packet) => return Ok(packet.into_iter()),
                // Not from the kernel: what it gave is no IP packet.
                Err(error) if error.raw_os_error().is_none() => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn mtu(&self) -> MtuWatcher {
        self.0.mtu()
    }
}

/// Whether the interface behind the descriptor was deleted.
fn is_detached(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EBADFD as i32)
}

/// Turns of the runtime after which another socket has the port: one of ours is closed after one.
const TURNS: u32 = 16;
/// Where `wg` and every other tool look for configuration sockets.
const SOCKET_DIR: &str = "/var/run/wireguard";
