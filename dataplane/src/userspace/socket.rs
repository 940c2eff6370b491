//! The UDP sockets of a device: one for each address family, both on one port.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;

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
}

/// What one call received: datagrams of one size, but for a shorter last.
pub(super) struct Received {
    pub(super) from: SocketAddr,
    pub(super) octets: usize,
    pub(super) size: usize,
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
        let socket = if train.to.is_ipv4() { &mut self.v4 } else { &mut self.v6 };
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
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
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
        Ok(Self { socket: tokio::net::UdpSocket::from_std(socket.into())?, segments })
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
            let mut space = nix::cmsg_space!(i32);
            let mut slices = [IoSliceMut::new(buffer)];
            let message = recvmsg::<SockaddrStorage>(
                self.socket.as_raw_fd(),
                &mut slices,
                Some(&mut space),
                MsgFlags::MSG_DONTWAIT,
            )?;
            let from = message.address.as_ref().and_then(socket_address).ok_or(Errno::EINVAL)?;
            let size = message.cmsgs()?.find_map(|cmsg| match cmsg {
                ControlMessageOwned::UdpGroSegments(size) => usize::try_from(size).ok(),
                _ => None,
            });
            let octets = message.bytes;
            Ok(Received { from, octets, size: size.filter(|s| *s > 0).unwrap_or(octets.max(1)) })
        })
    }

    fn send(&mut self, train: &Train, octets: &[u8]) -> io::Result<()> {
        if octets.len() > train.size && self.segments {
            let size = u16::try_from(train.size).map_err(io::Error::other)?;
            match self.send_once(train.to, octets, &[ControlMessage::UdpGsoSegments(&size)]) {
                // The device cannot do checksums.
                Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) => {
                    self.segments = false;
                }
                // Longer than the path takes; one by one the kernel makes fragments of them.
                Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {}
                Err(error) if error.raw_os_error() == Some(Errno::EMSGSIZE as i32) => {}
                outcome => return outcome,
            }
        }
        octets.chunks(train.size).try_for_each(|datagram| self.send_once(train.to, datagram, &[]))
    }

    fn send_once(
        &self,
        to: SocketAddr,
        octets: &[u8],
        messages: &[ControlMessage<'_>],
    ) -> io::Result<()> {
        let to = SockaddrStorage::from(to);
        let fd = self.socket.as_raw_fd();
        let slices = [IoSlice::new(octets)];
        match sendmsg(fd, &slices, messages, MsgFlags::MSG_DONTWAIT, Some(&to)) {
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
    let v4 = address.as_sockaddr_in().map(|a| SocketAddrV4::from(*a).into());
    v4.or_else(|| address.as_sockaddr_in6().map(|a| without_flow(SocketAddrV6::from(*a)).into()))
}

/// A flow label does not make it another place.
fn without_flow(address: SocketAddrV6) -> SocketAddrV6 {
    SocketAddrV6::new(*address.ip(), address.port(), 0, address.scope_id())
}

/// The same place, written the way received datagrams show it.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    match (address.ip().to_canonical(), address) {
        (IpAddr::V4(ip), _) => (ip, address.port()).into(),
        (IpAddr::V6(_), SocketAddr::V6(address)) => without_flow(address).into(),
        (IpAddr::V6(ip), SocketAddr::V4(_)) => (ip, address.port()).into(),
    }
}

/// Octets that wait in the kernel at most, each way: 20 ms at 1.6 Gbit/s.
const BUFFER: usize = 4 << 20;
/// Ephemeral ports tried until both families have one.
const PORT_TRIES: usize = 32;
