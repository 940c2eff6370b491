//! What the kernel tells that the library has no messages for: changes of nftables, of next-hop objects, of policy
//! rules, and of forwarding. What we do ourselves is no news.

use std::io;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use rtnetlink::sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};
use tokio::sync::mpsc;

use super::attribute::attribute;
use super::batch::messages;
use super::monitor::{KernelEvent, Outbox, reopened};
use super::{Netlink, nftables};
use crate::error::Error;
use crate::guards::TABLE;
use crate::model::Family;

/// A message: its kind, the port of who caused it, what it says.
pub(crate) struct Notice<'a> {
    pub(crate) kind: u16,
    pub(crate) port: u32,
    pub(crate) body: &'a [u8],
}

/// Starts to listen. Rules and objects are told that bear this protocol number; changes of our nftables table where
/// we have a port to change it by.
pub(crate) fn start(
    requests: &Netlink,
    (protocol, guards): (u8, Option<u32>),
    events: mpsc::Sender<KernelEvent>,
) -> Result<(), Error> {
    let failed = |error| Error::kernel("open a netlink socket for events", error);
    let ours = requests.ports();
    let routing = listen(NETLINK_ROUTE, &ROUTING_GROUPS).map_err(failed)?;
    let note = move |notice: Notice<'_>| routing_event(&notice, protocol, &ours);
    let listener =
        Listener { family: NETLINK_ROUTE, groups: &ROUTING_GROUPS, events: events.clone() };
    tokio::spawn(listener.hear(routing, note));
    if let Some(port) = guards {
        let nftables = listen(NETLINK_NETFILTER, &NFTABLES_GROUPS).map_err(failed)?;
        let note = move |notice: Notice<'_>| {
            let theirs = notice.port != port && nftables::is_about(notice.kind, notice.body, TABLE);
            theirs.then_some(KernelEvent::GuardsChanged)
        };
        let listener = Listener { family: NETLINK_NETFILTER, groups: &NFTABLES_GROUPS, events };
        tokio::spawn(listener.hear(nftables, note));
    }
    Ok(())
}

fn listen(family: isize, groups: &[u32]) -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(family)?;
    socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
    for group in groups {
        socket.socket_mut().add_membership(*group)?;
    }
    // Without the privilege for more, overruns come sooner, and are told.
    let _ = setsockopt(socket.socket_ref(), sockopt::RcvBufForce, &RECEIVE_BUFFER);
    Ok(socket)
}

/// What is listened to, and who is told.
struct Listener {
    family: isize,
    groups: &'static [u32],
    events: mpsc::Sender<KernelEvent>,
}

impl Listener {
    async fn hear(
        self,
        mut socket: TokioSocket,
        event: impl Fn(Notice<'_>) -> Option<KernelEvent>,
    ) {
        let Self { family, groups, events } = self;
        let mut buffer = Vec::with_capacity(LARGEST);
        let mut outbox = Outbox::new(events.clone());
        let mut before = None;
        loop {
            buffer.clear();
            tokio::select! {
                received = socket.recv(&mut buffer) => match received {
                    Ok(()) => for notice in messages(&buffer) {
                        let event = event(notice);
                        // One change of a table is told by a message for each of its parts.
                        if event.is_some() && event != before {
                            outbox.put(event.clone());
                        }
                        before = event;
                    },
                    Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                        outbox.put(Some(KernelEvent::Overrun));
                    }
                    Err(error) => {
                        tracing::error!("kernel events are read anew: {error}");
                        let open = || listen(family, groups).map_err(|error| error.to_string());
                        let Some(anew) = reopened(open, &events).await else { return };
                        socket = anew;
                        outbox.put(Some(KernelEvent::Overrun));
                    }
                },
                () = outbox.tell_loss(), if outbox.lost => {}
                () = events.closed() => return,
            }
            before = None;
        }
    }
}

pub(super) fn routing_event(
    notice: &Notice<'_>,
    protocol: u8,
    ours: &[u32],
) -> Option<KernelEvent> {
    if ours.contains(&notice.port) {
        return None;
    }
    let octets = |at: usize, kind| attribute(notice.body.get(at..)?, kind);
    let number = |value: &[u8]| value.try_into().ok().map(u32::from_ne_bytes);
    match notice.kind {
        RTM_DELRULE => {
            let of = octets(RULE_HEADER, FRA_PROTOCOL)?;
            (of == [protocol]).then_some(KernelEvent::RuleGone)
        }
        RTM_DELNEXTHOP => {
            let id = octets(NEXTHOP_HEADER, NHA_ID).and_then(number)?;
            (notice.body.get(2) == Some(&protocol)).then_some(KernelEvent::ObjectGone(id))
        }
        RTM_NEWNETCONF => {
            let off = octets(NETCONF_HEADER, NETCONFA_FORWARDING).and_then(number)? == 0;
            // Interfaces begin without forwarding, before they get what is the default.
            let every = octets(NETCONF_HEADER, NETCONFA_IFINDEX).and_then(number)?;
            let family = match i32::from(*notice.body.first()?) {
                nix::libc::AF_INET => Family::V4,
                nix::libc::AF_INET6 => Family::V6,
                _ => return None,
            };
            (off && every != NETCONFA_IFINDEX_DEFAULT).then_some(KernelEvent::ForwardingOff(family))
        }
        _ => None,
    }
}

/// `linux/rtnetlink.h`: rules of IPv4 and IPv6, their configuration, next-hop objects.
const ROUTING_GROUPS: [u32; 5] = [8, 19, 24, 25, 32];
/// `linux/netfilter/nfnetlink.h`, NFNLGRP_NFTABLES.
const NFTABLES_GROUPS: [u32; 1] = [7];
const RTM_DELRULE: u16 = 33;
const RTM_NEWNETCONF: u16 = 80;
const RTM_DELNEXTHOP: u16 = 105;
/// `struct fib_rule_hdr`, `struct nhmsg`, `struct netconfmsg`, padded.
const RULE_HEADER: usize = 12;
const NEXTHOP_HEADER: usize = 8;
const NETCONF_HEADER: usize = 4;
const FRA_PROTOCOL: u16 = 21;
const NHA_ID: u16 = 1;
const NETCONFA_IFINDEX: u16 = 1;
const NETCONFA_FORWARDING: u16 = 2;
/// Minus two.
const NETCONFA_IFINDEX_DEFAULT: u32 = u32::MAX - 1;
/// Octets; others may change their nftables by the ten thousand.
const RECEIVE_BUFFER: usize = 4 << 20;
/// The kernel fills at most this much of a datagram.
const LARGEST: usize = 64 * 1024;
