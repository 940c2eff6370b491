//! The UDP socket of Babel: one for all links, which packet-info messages tell apart.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::AsRawFd as _;

use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use sixwire_proto::babel::{Destination, GROUP, PORT};
use sixwire_proto::link::LinkId;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// A bound socket. Links are joined and left as they come and go.
#[derive(Debug)]
pub(super) struct BabelSocket(UdpSocket);

/// One datagram as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    /// Link it came by.
    pub(super) link: LinkId,
    /// Who sent it.
    pub(super) source: SocketAddrV6,
    /// Whom it was sent to.
    pub(super) destination: Destination,
    /// Octets of the buffer that it fills.
    pub(super) length: usize,
}

impl BabelSocket {
    /// Binds UDP port 6696 on all links.
    ///
    /// # Errors
    /// Those of the socket calls; `AddrInUse` when another Babel program runs here.
    pub(super) fn bind() -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_only_v6(true)?;
        socket.set_nonblocking(true)?;
        // Babel never leaves the link: a packet that was routed here would not carry 255, but the
        // link-local source check already refuses it; 1 keeps ours from leaving (RFC 8966 §4).
        socket.set_unicast_hops_v6(1)?;
        socket.set_multicast_hops_v6(1)?;
        socket.set_multicast_loop_v6(false)?;
        socket.set_tclass_v6(CLASS_CS6)?;
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        grow_receive_buffer(&socket);
        let address = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, PORT, 0, 0);
        socket.bind(&address.into())?;
        Ok(Self(UdpSocket::from_std(socket.into())?))
    }

    /// Starts hearing the group on a link.
    ///
    /// # Errors
    /// Those of the socket call; joining twice is none.
    pub(super) fn join(&self, link: LinkId) -> io::Result<()> {
        match SockRef::from(&self.0).join_multicast_v6(&GROUP, link.0) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(()),
            result => result,
        }
    }

    /// Stops hearing the group on a link that still exists.
    pub(super) fn leave(&self, link: LinkId) {
        // A link that is gone has left the group by itself.
        let _ = SockRef::from(&self.0).leave_multicast_v6(&GROUP, link.0);
    }

    /// Waits for the next datagram.
    ///
    /// # Errors
    /// Those of the socket; the socket stays usable.
    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        self.0.async_io(Interest::READABLE, || receive_one(&self.0, buffer)).await
    }

    /// The next datagram if one waits already.
    pub(super) fn try_receive(&self, buffer: &mut [u8]) -> Option<io::Result<Received>> {
        match self.0.try_io(Interest::READABLE, || receive_one(&self.0, buffer)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            result => Some(result),
        }
    }

    /// Sends one datagram by a link, without waiting: a full buffer drops it, as the link might.
    ///
    /// # Errors
    /// Those of the socket call. A WireGuard interface without endpoint or session answers
    /// `EDESTADDRREQ` or `ENOKEY` until its peer is there.
    pub(super) fn send(&self, link: LinkId, to: Destination, bytes: &[u8]) -> io::Result<()> {
        let address = match to {
            Destination::Multicast => GROUP,
            Destination::Unicast(address) => address,
        };
        let target = SockaddrIn6::from(SocketAddrV6::new(address, PORT, 0, link.0));
        let info = libc::in6_pktinfo {
            ipi6_addr: libc::in6_addr { s6_addr: Ipv6Addr::UNSPECIFIED.octets() },
            ipi6_ifindex: link.0,
        };
        let control = [ControlMessage::Ipv6PacketInfo(&info)];
        let slices = [IoSlice::new(bytes)];
        sendmsg(self.0.as_raw_fd(), &slices, &control, MsgFlags::MSG_DONTWAIT, Some(&target))?;
        Ok(())
    }
}

fn receive_one(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control = nix::cmsg_space!(libc::in6_pktinfo);
    let mut slices = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let message =
        recvmsg::<SockaddrIn6>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags)?;
    let source = message.address.ok_or_else(|| io::Error::other("datagram without a source"))?;
    let info = message
        .cmsgs()?
        .find_map(|control| match control {
            ControlMessageOwned::Ipv6PacketInfo(info) => Some(info),
            _ => None,
        })
        .ok_or_else(|| io::Error::other("datagram without packet information"))?;
    let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
    let destination =
        if address.is_multicast() { Destination::Multicast } else { Destination::Unicast(address) };
    let link = LinkId(info.ipi6_ifindex);
    Ok(Received { link, source: source.into(), destination, length: message.bytes })
}

/// A burst of updates must fit while the engine is busy: the default of 208 KiB holds about 90
/// full datagrams. Without the privilege to force it, the system's maximum has to do.
fn grow_receive_buffer(socket: &Socket) {
    if setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    }
}

/// Octets the kernel may hold for us.
const RECEIVE_BUFFER: usize = 8 * 1024 * 1024;
/// Traffic class CS6, network control (RFC 4594 §3.1), as babeld and BIRD set it.
const CLASS_CS6: u32 = 0xc0;
