//! The UDP sockets of a device: one for each address family, both on one port.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use nix::{setsockopt_impl, sockopt_impl};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;

use super::endpoint::Endpoint;
use super::outbox::Train;

/// Sockets bound to a port. One address family may be missing on the machine, not both.
pub(super) struct Sockets {
    port: u16,
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
}

/// A socket that takes and gives many datagrams at once.
pub(super) struct UdpSocket {
    socket: tokio::net::UdpSocket,
    segments: bool,
    /// Datagrams that the kernel had no room for, as it has counted them.
    lost: AtomicU32,
}

/// What one call received: datagrams of one size, but for a shorter last.
pub(super) struct Received {
    /// Who sent them, and to which address of ours.
    pub(super) from: Endpoint,
    pub(super) octets: usize,
    pub(super) size: usize,
    /// Traffic class of all of them.
    pub(super) class: u8,
    /// Datagrams that the kernel had no room for before.
    pub(super) lost: u64,
}

impl Sockets {
    /// Binds a port; of all machine addresses, 0 for any.
    pub(super) fn bind(port: u16, mark: u32) -> io::Result<Self> {
        let tries = if port == 0 { PORT_TRIES } else { 1 };
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..tries {
            match Self::bind_both(port, mark) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
                outcome => return outcome,
            }
        }
        Err(last)
    }

    fn bind_both(port: u16, mark: u32) -> io::Result<Self> {
        let v6 = present(UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port).into(), mark))?;
        // An ephemeral port is chosen by the first and must be free for the second.
        let port = match &v6 {
            Some(socket) => socket.port()?,
            None => port,
        };
        let v4 = present(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port).into(), mark))?;
        let port = match (&v4, &v6) {
            (Some(socket), None) => socket.port()?,
            (None, None) => return Err(Errno::EAFNOSUPPORT.into()),
            _ => port,
        };
        Ok(Self { port, v4, v6 })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Marks what is sent from now on; 0 for no mark.
    pub(super) fn set_mark(&self, mark: u32) -> io::Result<()> {
        self.both().try_for_each(|socket| SockRef::from(&socket.socket).set_mark(mark))
    }

    pub(super) fn both(&self) -> impl Iterator<Item = &UdpSocket> {
        self.v4.iter().chain(&self.v6)
    }

    /// Sends datagrams of one size to one place.
    pub(super) fn send(&mut self, train: &Train, octets: &[u8]) -> io::Result<()> {
        let socket = if train.endpoint.to.is_ipv4() { &mut self.v4 } else { &mut self.v6 };
        let socket = socket.as_mut().ok_or(Errno::EAFNOSUPPORT)?;
        socket.send(train, octets)
    }

    /// Waits until either socket has something.
    pub(super) async fn readable(&self) -> io::Result<()> {
        either(self.both(), Interest::READABLE).await
    }

    /// Waits until either socket takes something again.
    pub(super) async fn writable(&self) -> io::Result<()> {
        either(self.both(), Interest::WRITABLE).await
    }
}

/// Waits for one of at most two.
async fn either(
    mut sockets: impl Iterator<Item = &UdpSocket>,
    interest: Interest,
) -> io::Result<()> {
    tokio::select! {
        outcome = ready(sockets.next(), interest) => outcome,
        outcome = ready(sockets.next(), interest) => outcome,
    }
}

async fn ready(socket: Option<&UdpSocket>, interest: Interest) -> io::Result<()> {
    match socket {
        Some(socket) => socket.socket.ready(interest).await.map(|_| ()),
        None => std::future::pending().await,
    }
}

impl UdpSocket {
    fn bind(address: SocketAddr, mark: u32) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        // Without it answers leave from where the kernel likes, and nobody hears of congestion.
        let _ = if address.is_ipv6() {
            socket.set_only_v6(true)?;
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true).and(setsockopt(
                &socket,
                sockopt::Ipv6RecvTClass,
                &true,
            ))
        } else {
            // Routers may cut what is too long for their links, whether they can tell us or not.
            let _ = setsockopt(&socket, Discovery, &libc::IP_PMTUDISC_DONT);
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true).and(setsockopt(
                &socket,
                sockopt::IpRecvTos,
                &true,
            ))
        };
        let _ = setsockopt(&socket, sockopt::RxqOvfl, &1);
        if mark != 0 {
            socket.set_mark(mark)?;
        }
        // Without them it works, only slower.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &BUFFER);
        let _ = setsockopt(&socket, sockopt::SndBufForce, &BUFFER);
        let _ = setsockopt(&socket, sockopt::UdpGroSegment, &true);
        let segments = setsockopt(&socket, sockopt::UdpGsoSegment, &0).is_ok();
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let socket = tokio::net::UdpSocket::from_std(socket.into())?;
        Ok(Self { socket, segments, lost: AtomicU32::new(0) })
    }

    fn port(&self) -> io::Result<u16> {
        Ok(self.socket.local_addr()?.port())
    }

    /// Receives if there is something.
    ///
    /// # Errors
    /// `WouldBlock` if not.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        self.socket.try_io(Interest::READABLE, || {
            let mut space = nix::cmsg_space!(i32, i32, u32, libc::in6_pktinfo);
            let mut slices = [IoSliceMut::new(buffer)];
            let message = recvmsg::<SockaddrStorage>(
                self.socket.as_raw_fd(),
                &mut slices,
                Some(&mut space),
                MsgFlags::MSG_DONTWAIT,
            )?;
            let to = message.address.as_ref().and_then(socket_address).ok_or(Errno::EINVAL)?;
            let (octets, size) = (message.bytes, message.bytes.max(1));
            let mut received = Received { from: to.into(), octets, size, class: 0, lost: 0 };
            for control in message.cmsgs()? {
                self.note(&control, &mut received);
            }
            Ok(received)
        })
    }

    fn note(&self, control: &ControlMessageOwned, received: &mut Received) {
        match control {
            ControlMessageOwned::UdpGroSegments(octets) => {
                received.size = usize::try_from(*octets).unwrap_or(0).max(1);
            }
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                let address = info.ipi_spec_dst.s_addr.to_ne_bytes();
                received.from.from = Some(Ipv4Addr::from(address).into());
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                received.from.from = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
            }
            ControlMessageOwned::Ipv4Tos(class) => received.class = *class,
            ControlMessageOwned::Ipv6TClass(class) => received.class = class.to_le_bytes()[0],
            ControlMessageOwned::RxqOvfl(count) => {
                // One thread has the socket.
                let before = self.lost.swap(*count, Ordering::Relaxed);
                received.lost = u64::from(count.wrapping_sub(before));
            }
            _ => {}
        }
    }

    fn send(&mut self, train: &Train, octets: &[u8]) -> io::Result<()> {
        let outcome = self.send_from(train.endpoint, train, octets);
        // We may not have that address any more, or not there.
        let misplaced = |error: &io::Error| {
            let errno = error.raw_os_error().map(Errno::from_raw);
            errno.is_some_and(|errno| MISPLACED.contains(&errno))
        };
        if train.endpoint.from.is_some() && outcome.as_ref().is_err_and(misplaced) {
            let endpoint = Endpoint { from: None, ..train.endpoint };
            return self.send_from(endpoint, train, octets);
        }
        outcome
    }

    fn send_from(&mut self, endpoint: Endpoint, train: &Train, octets: &[u8]) -> io::Result<()> {
        let to = SockaddrStorage::from(endpoint.to);
        let (source, class) = (Source::of(endpoint), i32::from(train.class));
        let mut messages = Vec::with_capacity(3);
        if let Some(source) = &source {
            messages.push(source.message());
        }
        match endpoint.to {
            _ if class == 0 => {}
            SocketAddr::V4(_) => messages.push(ControlMessage::Ipv4Tos(&train.class)),
            SocketAddr::V6(_) => messages.push(ControlMessage::Ipv6TClass(&class)),
        }
        let each = u16::try_from(train.size).map_err(io::Error::other)?;
        if octets.len() > train.size && self.segments {
            messages.push(ControlMessage::UdpGsoSegments(&each));
            match self.send_once(&to, octets, &messages) {
                // The device cannot do checksums.
                Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) => {
                    self.segments = false;
                }
                // Longer than the path takes; one by one the kernel makes fragments of them.
                Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {}
                Err(error) if error.raw_os_error() == Some(Errno::EMSGSIZE as i32) => {}
                outcome => return outcome,
            }
            messages.pop();
        }
        octets.chunks(train.size).try_for_each(|one| self.send_once(&to, one, &messages))
    }

    fn send_once(
        &self,
        to: &SockaddrStorage,
        octets: &[u8],
        messages: &[ControlMessage<'_>],
    ) -> io::Result<()> {
        let fd = self.socket.as_raw_fd();
        let slices = [IoSlice::new(octets)];
        match sendmsg(fd, &slices, messages, MsgFlags::MSG_DONTWAIT, Some(to)) {
            // So that `writable` waits for what is true.
            Err(Errno::EAGAIN) => {
                let full = || Err(io::ErrorKind::WouldBlock.into());
                self.socket.try_io(Interest::WRITABLE, full)
            }
            outcome => Ok(outcome.map(|_| ())?),
        }
    }
}

/// A family that the machine does not have is none; any other trouble is trouble.
fn present(outcome: io::Result<UdpSocket>) -> io::Result<Option<UdpSocket>> {
    match outcome {
        Err(error)
            if [Errno::EAFNOSUPPORT, Errno::EADDRNOTAVAIL]
                .iter()
                .any(|errno| error.raw_os_error() == Some(*errno as i32)) =>
        {
            Ok(None)
        }
        outcome => outcome.map(Some),
    }
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|address| SocketAddrV4::from(*address).into());
    v4.or_else(|| address.as_sockaddr_in6().map(|address| SocketAddrV6::from(*address).into()))
}

/// What has the kernel send from an address.
enum Source {
    V4(libc::in_pktinfo),
    V6(libc::in6_pktinfo),
}

impl Source {
    fn of(endpoint: Endpoint) -> Option<Self> {
        match (endpoint.from?, endpoint.to) {
            (IpAddr::V4(from), SocketAddr::V4(_)) => {
                let from = libc::in_addr { s_addr: u32::from_ne_bytes(from.octets()) };
                let any = libc::in_addr { s_addr: 0 };
                Some(Self::V4(libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: from,
                    ipi_addr: any,
                }))
            }
            (IpAddr::V6(from), SocketAddr::V6(to)) => Some(Self::V6(libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr { s6_addr: from.octets() },
                ipi6_ifindex: to.scope_id(),
            })),
            _ => None,
        }
    }

    fn message(&self) -> ControlMessage<'_> {
        match self {
            Self::V4(info) => ControlMessage::Ipv4PacketInfo(info),
            Self::V6(info) => ControlMessage::Ipv6PacketInfo(info),
        }
    }
}

/// What the kernel says to a source address that does not fit.
const MISPLACED: [Errno; 5] =
    [Errno::EINVAL, Errno::EADDRNOTAVAIL, Errno::ENETUNREACH, Errno::EHOSTUNREACH, Errno::ENODEV];

sockopt_impl!(
    /// What IPv4 does to find out how long packets may be.
    Discovery,
    SetOnly,
    libc::IPPROTO_IP,
    libc::IP_MTU_DISCOVER,
    libc::c_int
);

/// Octets that wait in the kernel at most, each way: 20 ms at 1.6 Gbit/s.
const BUFFER: usize = 4 << 20;
/// Ephemeral ports tried until both families have one.
const PORT_TRIES: usize = 32;
