//! Next-hop objects (`linux/nexthop.h`, Linux 5.3): thousands of routes name one, and move with it. The
//! library has no messages for them.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::num::NonZeroU8;

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

/// The objects among which a group spreads flows, and the share of each.
pub(crate) type Members = BTreeMap<ObjectId, NonZeroU8>;

/// What an object stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// One neighbour on one link.
    Hop(Hop),
    /// A group. The kernel turns none into the other.
    Group(Members),
}

/// The objects there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) hops: BTreeMap<ObjectId, Hop>,
    pub(crate) groups: BTreeMap<ObjectId, Members>,
}

/// Whether an object is made, or made to lead elsewhere with all its routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    Make,
    Redirect,
}

/// The body of a request about an object.
#[derive(Clone, Copy, Debug)]
pub(super) enum Message<'a> {
    New { protocol: u8, id: ObjectId, meaning: &'a Meaning },
    Of { id: ObjectId },
    All,
}

/// Adds the making or redirecting of an object. An object that is gone cannot be redirected: its routes are
/// gone with it, and must be written again.
pub(crate) fn write(
    batch: &mut Batch,
    how: Write,
    (protocol, id, meaning): (u8, ObjectId, &Meaning),
) {
    let flags = match how {
        Write::Make => NLM_F_CREATE | NLM_F_EXCL,
        Write::Redirect => NLM_F_REPLACE,
    };
    batch.add(RTM_NEWNEXTHOP, flags, &Message::New { protocol, id, meaning });
}

/// Adds the removal of an object, and of the routes that name it.
pub(crate) fn remove(batch: &mut Batch, id: ObjectId) {
    batch.add(RTM_DELNEXTHOP, 0, &Message::Of { id });
}

/// The objects with this protocol number; an error where the kernel knows no objects.
pub(crate) fn objects(socket: &mut BatchSocket, protocol: u8) -> io::Result<Listing> {
    let bodies = socket.dump(RTM_GETNEXTHOP, &Message::All)?;
    let mut listing = Listing::default();
    for (id, meaning) in bodies.iter().filter_map(|body| object(body, protocol)) {
        match meaning {
            Meaning::Hop(hop) => drop(listing.hops.insert(id, hop)),
            Meaning::Group(members) => drop(listing.groups.insert(id, members)),
        }
    }
    Ok(listing)
}

impl Listing {
    /// Where routes that name an object lead; of a group, to its first member.
    pub(crate) fn hop(&self, id: ObjectId) -> Option<Hop> {
        let of_group = || self.groups.get(&id)?.keys().find_map(|member| self.hops.get(member));
        self.hops.get(&id).or_else(of_group).copied()
    }
}

pub(super) fn object(body: &[u8], protocol: u8) -> Option<(ObjectId, Meaning)> {
    if *body.get(2)? != protocol {
        return None;
    }
    let (mut id, mut link, mut gateway, mut members) = (None, None, None, None);
    let mut rest = body.get(HEADER..)?;
    while let Some((length, kind)) = rest.first_chunk::<4>().map(|[a, b, c, d]| {
        (usize::from(u16::from_ne_bytes([*a, *b])), u16::from_ne_bytes([*c, *d]))
    }) {
        let value = rest.get(4..length)?;
        match kind {
            NHA_ID => id = Some(ObjectId(u32::from_ne_bytes(*value.first_chunk()?))),
            NHA_GROUP => members = Some(group(value)),
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
    let meaning = match members {
        Some(members) => Meaning::Group(members),
        None => Meaning::Hop(Hop { link: link?, gateway: gateway? }),
    };
    Some((id?, meaning))
}

/// `struct nexthop_grp`: an object, its weight less one, and three octets.
fn group(value: &[u8]) -> Members {
    let member = |entry: &[u8; MEMBER]| {
        let [a, b, c, d, weight, ..] = *entry;
        let weight = NonZeroU8::MIN.saturating_add(weight);
        (ObjectId(u32::from_ne_bytes([a, b, c, d])), weight)
    };
    value.as_chunks().0.iter().map(member).collect()
}

impl Emitable for Message<'_> {
    fn buffer_len(&self) -> usize {
        match self {
            Self::New { meaning: Meaning::Hop(hop), .. } => match hop.gateway {
                IpAddr::V6(_) => HEADER + 8 + 8 + 20,
                IpAddr::V4(_) => HEADER + 8 + 8 + 8,
            },
            Self::New { meaning: Meaning::Group(members), .. } => {
                HEADER + 8 + 4 + MEMBER * members.len()
            }
            Self::Of { .. } => HEADER + 8,
            Self::All => HEADER,
        }
    }

    fn emit(&self, buffer: &mut [u8]) {
        let mut bytes = Vec::with_capacity(self.buffer_len());
        match self {
            Self::New { protocol, id, meaning: Meaning::Group(members) } => {
                bytes.extend([0, 0, *protocol, 0, 0, 0, 0, 0]);
                attribute(&mut bytes, NHA_ID, &id.0.to_ne_bytes());
                let entry = |(member, weight): (&ObjectId, &NonZeroU8)| {
                    let [a, b, c, d] = member.0.to_ne_bytes();
                    [a, b, c, d, weight.get() - 1, 0, 0, 0]
                };
                attribute(
                    &mut bytes,
                    NHA_GROUP,
                    members.iter().map(entry).collect::<Vec<_>>().as_flattened(),
                );
            }
            Self::New { protocol, id, meaning: Meaning::Hop(hop) } => {
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
    let length = u16::try_from(4 + value.len())
        .expect("an address is short, and so is a group of a few links");
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
const NHA_GROUP: u16 = 2;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
/// `struct nexthop_grp`, in octets.
const MEMBER: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        for gateway in ["fe80::1", "192.0.2.1"] {
            let hop = Hop { link: LinkId(7), gateway: gateway.parse().unwrap() };
            let meaning = Meaning::Hop(hop);
            let message =
                Message::New { protocol: 42, id: ObjectId(0x7800_0001), meaning: &meaning };
            let mut bytes = vec![0; message.buffer_len()];
            message.emit(&mut bytes);
            assert_eq!(object(&bytes, 42), Some((ObjectId(0x7800_0001), meaning)));
            assert_eq!(object(&bytes, 12), None, "somebody else's");
            assert_eq!(object(&bytes[..20], 42), None, "cut short");
        }
    }

    #[test]
    fn a_group_is_read_as_it_is_written_weights_included() {
        let weight = |number| NonZeroU8::new(number).unwrap();
        let members = [(ObjectId(7), weight(1)), (ObjectId(9), weight(255))].into();
        let meaning = Meaning::Group(members);
        let message = Message::New { protocol: 42, id: ObjectId(3), meaning: &meaning };
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        // `ip nexthop add id 3 group 7/9,255 protocol 42`, less what follows.
        let expected = [0, 0, 42, 0, 0, 0, 0, 0, 8, 0, 1, 0, 3, 0, 0, 0, 20, 0, 2, 0];
        assert_eq!(bytes[..20], expected);
        assert_eq!(bytes[20..], [7, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 254, 0, 0, 0]);
        assert_eq!(object(&bytes, 42), Some((ObjectId(3), meaning)));
    }
}
