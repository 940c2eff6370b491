//! A raw ICMPv6 socket that was opened inside a namespace, and stays there.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, bind, recvfrom, sendto,
    setsockopt, socket, sockopt,
};

use crate::lab::Namespace;

/// What a probe carries to be known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Echo {
    pub(super) flow: u32,
    pub(super) sequence: u64,
}

pub(super) struct PingSocket {
    fd: OwnedFd,
    /// Tells our replies from those to other sockets of this machine; they all receive all.
    identifier: u32,
}

impl PingSocket {
    pub(super) fn open(namespace: &Namespace, source: Option<Ipv6Addr>) -> Result<Self> {
        let place = namespace.name();
        let fd = namespace
            .within(|| -> nix::Result<OwnedFd> {
                let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
                let protocol = SockProtocol::IcmpV6;
                let fd = socket(AddressFamily::Inet6, SockType::Raw, flags, protocol)?;
                setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
                if let Some(source) = source {
                    bind(fd.as_raw_fd(), &address(source))?;
                }
                Ok(fd)
            })?
            .with_context(|| format!("opening a raw socket in {place}, source {source:?}"))?;
        // 22 bits of process id, 10 of the socket's number.
        let number = OPENED.fetch_add(1, Ordering::Relaxed) & 0x3ff;
        Ok(Self { fd, identifier: std::process::id() << 10 | number })
    }

    pub(super) fn send(&self, to: Ipv6Addr, echo: Echo) -> nix::Result<()> {
        // The kernel fills in the checksum (RFC 3542 §3.1).
        let packet = encode(REQUEST, self.identifier, echo);
        match sendto(self.fd.as_raw_fd(), &packet, &address(to), MsgFlags::empty()) {
            // A full queue loses the probe like any other queue on its way.
            Ok(_) | Err(Errno::EAGAIN | Errno::ENOBUFS) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The next reply to one of our probes, or `None` when nothing waits.
    pub(super) fn receive(&self) -> Option<(Ipv6Addr, Echo)> {
        let mut packet = [0; 64];
        loop {
            match recvfrom::<SockaddrIn6>(self.fd.as_raw_fd(), &mut packet) {
                Ok((length, Some(from))) => {
                    let packet = packet.get(..length).unwrap_or_default();
                    if let Some(echo) = decode(REPLY, self.identifier, packet) {
                        return Some((from.ip(), echo));
                    }
                }
                Ok((_, None)) | Err(Errno::EINTR) => {}
                Err(_) => return None,
            }
        }
    }
}

impl AsFd for PingSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn address(address: Ipv6Addr) -> SockaddrIn6 {
    SocketAddrV6::new(address, 0, 0, 0).into()
}

/// Type, code, checksum; identifier and sequence number, taken as one field; then what we add.
fn encode(kind: u8, identifier: u32, echo: Echo) -> [u8; LENGTH] {
    let mut packet = [0; LENGTH];
    let fields = [
        &[kind, 0, 0, 0][..],
        &identifier.to_be_bytes(),
        &echo.flow.to_be_bytes(),
        &echo.sequence.to_be_bytes(),
    ];
    let bytes = fields.into_iter().flatten();
    packet.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
    packet
}

fn decode(kind: u8, identifier: u32, packet: &[u8]) -> Option<Echo> {
    let packet: &[u8; LENGTH] = packet.try_into().ok()?;
    let (flow, sequence) = (packet.get(8..12)?, packet.get(12..)?);
    let (flow, sequence) = (flow.try_into().ok()?, sequence.try_into().ok()?);
    let echo = Echo { flow: u32::from_be_bytes(flow), sequence: u64::from_be_bytes(sequence) };
    let mut expected = encode(kind, identifier, echo);
    expected.get_mut(2..4)?.copy_from_slice(packet.get(2..4)?);
    (packet == &expected).then_some(echo)
}

static OPENED: AtomicU32 = AtomicU32::new(0);

const REQUEST: u8 = 128;
const REPLY: u8 = 129;
const LENGTH: usize = 20;
/// Room for the answers of a second in which the one thread does not get a processor: what it misses counts as lost.
const RECEIVE_BUFFER: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_replies_to_our_own_probes_are_read() {
        let echo = Echo { flow: 7, sequence: 1 << 40 };
        let mut packet = encode(REPLY, 5, echo);
        packet[2] = 0xab; // a checksum
        assert_eq!(decode(REPLY, 5, &packet), Some(echo));
        assert_eq!(decode(REPLY, 5, &encode(REQUEST, 5, echo)), None);
        assert_eq!(decode(REPLY, 5, &packet[..19]), None);
        assert_eq!(decode(REPLY, 6, &packet), None);
    }
}
