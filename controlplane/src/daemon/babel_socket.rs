//! The UDP sockets of Babel: one for each link and bound to it, so that several programs of one
//! machine can each run Babel on links of their own.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::ops::Bound::{Excluded, Unbounded};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStringExt as _;
use std::task::Poll;

use nix::libc;
use nix::net::if_::{if_indextoname, if_nametoindex};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use sixwire_proto::babel::{Destination, GROUP, PORT};
use sixwire_proto::link::LinkId;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// The sockets of the links that are in use.
#[derive(Debug)]
pub(super) struct BabelSocket {
    links: BTreeMap<LinkId, (UdpSocket, Ipv6Addr)>,
    /// The link heard last: the others come first.
    last: LinkId,
}

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
    /// Whether links can be opened at all: on the loopback device, where only a program that has taken the
    /// port on all of them is in the way.
    ///
    /// # Errors
    /// Those of the socket calls; `AddrInUse` when such a program runs.
    pub(super) fn probe() -> io::Result<()> {
        open(LinkId(if_nametoindex("lo")?)).map(drop)
    }

    /// No links yet.
    #[must_use]
    pub(super) fn new() -> Self {
        Self { links: BTreeMap::new(), last: LinkId(0) }
    }

    /// Opens UDP port 6696 on a link, afresh if it is open, and hears the group there. What is sent
    /// leaves from `address`, which a signature covers (RFC 8967 §4.1).
    ///
    /// # Errors
    /// Those of the socket calls; `AddrInUse` when another Babel program has the link.
    pub(super) fn join(&mut self, link: LinkId, address: Ipv6Addr) -> io::Result<()> {
        self.leave(link);
        self.links.insert(link, (open(link)?, address));
        Ok(())
    }

    /// Stops using a link.
    pub(super) fn leave(&mut self, link: LinkId) {
        self.links.remove(&link);
    }

    /// Waits for the next datagram of any link.
    ///
    /// # Errors
    /// Those of the socket; it stays usable.
    pub(super) async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        loop {
            self.readable().await?;
            if let Some(received) = self.try_receive(buffer) {
                return received;
            }
        }
    }

    /// The next datagram if one waits already.
    pub(super) fn try_receive(&mut self, buffer: &mut [u8]) -> Option<io::Result<Received>> {
        let (seen, unseen) = (..=self.last, (Excluded(self.last), Unbounded));
        for (link, (socket, _)) in self.links.range(unseen).chain(self.links.range(seen)) {
            match socket.try_io(Interest::READABLE, || receive_one(socket, *link, buffer)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => {
                    self.last = *link;
                    return Some(result);
                }
            }
        }
        None
    }

    async fn readable(&self) -> io::Result<()> {
        poll_fn(|context| {
            let ready = self.links.values().map(|(socket, _)| socket.poll_recv_ready(context));
            // Every socket is asked, so that each wakes us.
            ready.fold(Poll::Pending, |all, one| if all.is_pending() { one } else { all })
        })
        .await
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
        let (socket, own) = self.links.get(&link).ok_or(io::ErrorKind::NotConnected)?;
        let target = SockaddrIn6::from(SocketAddrV6::new(address, PORT, 0, link.0));
        let info = libc::in6_pktinfo {
            ipi6_addr: libc::in6_addr { s6_addr: own.octets() },
            ipi6_ifindex: link.0,
        };
        let control = [ControlMessage::Ipv6PacketInfo(&info)];
        let slices = [IoSlice::new(bytes)];
        sendmsg(socket.as_raw_fd(), &slices, &control, MsgFlags::MSG_DONTWAIT, Some(&target))?;
        Ok(())
    }
}

/// A socket that hears and sends on one link only.
fn open(link: LinkId) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    let name = OsString::from_vec(if_indextoname(link.0)?.into_bytes());
    setsockopt(&socket, sockopt::BindToDevice, &name)?;
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
    // Without SO_REUSEADDR: links of others are no hindrance, and one that is taken is told.
    socket.bind(&SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, PORT, 0, 0).into())?;
    socket.join_multicast_v6(&GROUP, link.0)?;
    UdpSocket::from_std(socket.into())
}

fn receive_one(socket: &UdpSocket, link: LinkId, buffer: &mut [u8]) -> io::Result<Received> {
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
