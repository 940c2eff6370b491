//! Next-hop objects (`linux/nexthop.h`, Linux 5.3): thousands of routes name one, and move with it. The
//! library has no messages for them.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use nix::libc;
use rtnetlink::packet_core::Emitable;
use sixwire_proto::link::LinkId;

use super::batch::{Batch, BatchSocket, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use crate::model::is_onlink;

/// The number of an object: one name space for all programs of a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectId(pub(crate) u32);

/// Where an object leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hop {
    pub(crate) link: LinkId,
    pub(crate) gateway: IpAddr,
}

/// Whether an object is made, or made to lead elsewhere with all its routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    Make,
    Redirect,
}

/// The body of a request about an object.
#[derive(Clone, Copy, Debug)]
enum Message {
    New { protocol: u8, id: ObjectId, hop: Hop },
    Of { id: ObjectId },
    All,
}

/// Adds the making or redirecting of an object. An object that is gone cannot be redirected: its routes are
/// gone with it, and must be written again.
pub(crate) fn write(batch: &mut Batch, how: Write, (protocol, id, hop): (u8, ObjectId, Hop)) {
    let flags = match how {
        Write::Make => NLM_F_CREATE | NLM_F_EXCL,
        Write::Redirect => NLM_F_REPLACE,
    };
    batch.add(RTM_NEWNEXTHOP, flags, &Message::New { protocol, id, hop });
}

/// Adds the removal of an object, and of the routes that name it.
pub(crate) fn remove(batch: &mut Batch, id: ObjectId) {
    batch.add(RTM_DELNEXTHOP, 0, &Message::Of { id });
}

/// The objects with this protocol number; an error where the kernel knows no objects.
pub(crate) fn objects(
    socket: &mut BatchSocket,
    protocol: u8,
) -> io::Result<BTreeMap<ObjectId, Hop>> {
    let bodies = socket.dump(RTM_GETNEXTHOP, &Message::All)?;
    Ok(bodies.iter().filter_map(|body| object(body, protocol)).collect())
}

fn object(body: &[u8], protocol: u8) -> Option<(ObjectId, Hop)> {
    if *body.get(2)? != protocol {
        return None;
    }
    let (mut id, mut link, mut gateway) = (None, None, None);
    let mut rest = body.get(HEADER..)?;
    while let Some((length, kind)) = rest.first_chunk::<4>().map(|[a, b, c, d]| {
        (usize::from(u16::from_ne_bytes([*a, *b])), u16::from_ne_bytes([*c, *d]))
    }) {
        let value = rest.get(4..length)?;
        match kind {
            NHA_ID => id = Some(ObjectId(u32::from_ne_bytes(*value.first_chunk()?))),
            NHA_OIF => link = Some(LinkId(u32::from_ne_bytes(*value.first_chunk()?))),
            NHA_GATEWAY => {
                gateway = <[u8; 16]>::try_from(value)
                    .map(IpAddr::from)
                    .or_else(|_| <[u8; 4]>::try_from(value).map(IpAddr::from))
                    .ok();
            }
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some((id?, Hop { link: link?, gateway: gateway? }))
}

impl Emitable for Message {
    fn buffer_len(&self) -> usize {
        match self {
            Self::New { hop: Hop { gateway: IpAddr::V6(_), .. }, .. } => HEADER + 8 + 8 + 20,
            Self::New { hop: Hop { gateway: IpAddr::V4(_), .. }, .. } => HEADER + 8 + 8 + 8,
            Self::Of { .. } => HEADER + 8,
            Self::All => HEADER,
        }
    }

    fn emit(&self, buffer: &mut [u8]) {
        let mut bytes = Vec::with_capacity(self.buffer_len());
        match self {
            Self::New { protocol, id, hop } => {
                let family = match hop.gateway {
                    IpAddr::V6(_) => libc::AF_INET6,
                    IpAddr::V4(_) => libc::AF_INET,
                };
                let flags = if is_onlink(hop.gateway) { RTNH_F_ONLINK } else { 0 };
                let family = u8::try_from(family).expect("address families fit an octet");
                bytes.extend([family, 0, *protocol, 0]);
                bytes.extend(flags.to_ne_bytes());
                attribute(&mut bytes, NHA_ID, &id.0.to_ne_bytes());
                attribute(&mut bytes, NHA_OIF, &hop.link.0.to_ne_bytes());
                match hop.gateway {
                    IpAddr::V6(v6) => attribute(&mut bytes, NHA_GATEWAY, &v6.octets()),
                    IpAddr::V4(v4) => attribute(&mut bytes, NHA_GATEWAY, &v4.octets()),
                }
            }
            Self::Of { id } => {
                bytes.extend([0; HEADER]);
                attribute(&mut bytes, NHA_ID, &id.0.to_ne_bytes());
            }
            Self::All => bytes.extend([0; HEADER]),
        }
        buffer.copy_from_slice(&bytes);
    }
}

fn attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).expect("an address is short");
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
}

/// `linux/rtnetlink.h`.
const RTM_NEWNEXTHOP: u16 = 104;
const RTM_DELNEXTHOP: u16 = 105;
const RTM_GETNEXTHOP: u16 = 106;
const RTNH_F_ONLINK: u32 = 4;
/// `struct nhmsg`: family, scope, protocol, reserved, flags.
const HEADER: usize = 8;
const NHA_ID: u16 = 1;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        for gateway in ["fe80::1", "192.0.2.1"] {
            let hop = Hop { link: LinkId(7), gateway: gateway.parse().unwrap() };
            let message = Message::New { protocol: 42, id: ObjectId(0x7800_0001), hop };
            let mut bytes = vec![0; message.buffer_len()];
            message.emit(&mut bytes);
            assert_eq!(object(&bytes, 42), Some((ObjectId(0x7800_0001), hop)));
            assert_eq!(object(&bytes, 12), None, "somebody else's");
            assert_eq!(object(&bytes[..20], 42), None, "cut short");
        }
    }
}
