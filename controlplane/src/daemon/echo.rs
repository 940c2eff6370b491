//! Asks a neighbour's kernel whether the link still carries packets: ICMPv6 echo (RFC 4443 §4) to its
//! link-local address. A daemon that is being restarted sends no Hellos; its kernel answers.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};

use sixwire_proto::link::LinkId;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::net::UdpSocket;
use tracing::warn;

/// The socket of all echo requests. It hears echo replies only.
#[derive(Debug)]
pub(super) struct Echo {
    socket: UdpSocket,
    identifier: u16,
}

impl Echo {
    /// Opens the socket if this process may; without it, restarts of neighbours look like failures.
    #[must_use]
    pub(super) fn open_if_permitted() -> Option<Self> {
        let identifier = u16::try_from(std::process::id() % 0x1_0000).unwrap_or_default();
        Self::open(identifier)
            .inspect_err(|error| {
                warn!(%error, "cannot ask the kernels of neighbours, so their restarts will look \
                               like failures; grant CAP_NET_RAW");
            })
            .ok()
    }

    /// Whether this process may open the socket.
    #[must_use]
    pub(super) fn is_permitted() -> bool {
        Self::open(0).is_ok()
    }

    /// Opens the socket; `identifier` tells its replies from those to other programs.
    ///
    /// # Errors
    /// Those of the socket calls; `PermissionDenied` without CAP_NET_RAW.
    fn open(identifier: u16) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        socket.attach_filter(&ECHO_REPLIES_ONLY)?;
        socket.set_nonblocking(true)?;
        socket.set_unicast_hops_v6(1)?;
        // tokio's name for a datagram socket: only calls that every such socket has are used.
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, identifier })
    }

    /// Sends one request, without waiting: a full buffer drops it.
    ///
    /// # Errors
    /// Those of the socket call.
    pub(super) fn ask(&self, link: LinkId, neighbour: Ipv6Addr) -> io::Result<()> {
        let [high, low] = self.identifier.to_be_bytes();
        // The kernel fills in the checksum (RFC 3542 §3.1).
        let request = [ECHO_REQUEST, 0, 0, 0, high, low, 0, 0];
        let target = SocketAddr::from(SocketAddrV6::new(neighbour, 0, 0, link.0));
        self.socket.try_send_to(&request, target).map(|_| ())
    }

    /// Waits for the next reply to a request of ours.
    ///
    /// # Errors
    /// Those of the socket; it stays usable.
    pub(super) async fn answer(&self) -> io::Result<(LinkId, Ipv6Addr)> {
        loop {
            let mut reply = [0; REPLY_LENGTH];
            let (length, source) = self.socket.recv_from(&mut reply).await?;
            if let Some(answer) = self.ours((reply, length), source) {
                return Ok(answer);
            }
        }
    }

    /// The next reply to a request of ours, if one waits. Replies to others are passed over, so many that a
    /// flood of them keeps nobody.
    pub(super) fn try_answer(&self) -> Option<io::Result<(LinkId, Ipv6Addr)>> {
        for _ in 0..PASSED_OVER {
            let mut reply = [0; REPLY_LENGTH];
            match self.socket.try_recv_from(&mut reply) {
                Ok((length, source)) => {
                    if let Some(answer) = self.ours((reply, length), source) {
                        return Some(Ok(answer));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }

    fn ours(
        &self,
        (reply, length): ([u8; REPLY_LENGTH], usize),
        source: SocketAddr,
    ) -> Option<(LinkId, Ipv6Addr)> {
        let ours = length == REPLY_LENGTH
            && reply[0] == ECHO_REPLY
            && reply[4..6] == self.identifier.to_be_bytes();
        match source {
            SocketAddr::V6(source) if ours => Some((LinkId(source.scope_id()), *source.ip())),
            SocketAddr::V6(_) | SocketAddr::V4(_) => None,
        }
    }
}

/// Classic BPF over the ICMPv6 message: load its first octet; keep it if it is an echo reply.
const ECHO_REPLIES_ONLY: [SockFilter; 4] = [
    SockFilter::new(0x30, 0, 0, 0),
    SockFilter::new(0x15, 0, 1, ECHO_REPLY as u32),
    SockFilter::new(0x06, 0, 0, u32::MAX),
    SockFilter::new(0x06, 0, 0, 0),
];
/// Octets of an answer without data.
const REPLY_LENGTH: usize = 8;
/// Replies to others that are read in one go.
const PASSED_OVER: usize = 64;
/// ICMPv6 type of a request (RFC 4443 §4.1).
const ECHO_REQUEST: u8 = 128;
/// ICMPv6 type of a reply (RFC 4443 §4.2).
const ECHO_REPLY: u8 = 129;
