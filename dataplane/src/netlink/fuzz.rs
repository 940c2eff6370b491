//! What is fuzzed of the kernel's answers: a function that takes any octets and panics when something is wrong.

use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::packet_core::{Emitable, NetlinkMessage, NetlinkPayload};

use super::address::Address;
use super::attribute::{Attributes, attributes};
use super::link::Link;
use super::{batch, foreign, nexthop, nftables, notices, route};
use crate::guards::TABLE;

/// A datagram of the kernel: answers, or events. What is read of it is written, and read again, as the same.
///
/// # Panics
/// When it is not.
pub fn datagram(octets: &[u8]) {
    for notice in batch::messages(octets) {
        // Of interest or not: it must come back.
        let _ = notices::routing_event(&notice, PROTOCOL, &[1]);
        let _ = nftables::is_about(notice.kind, notice.body, TABLE);
        all_attributes(notice.body);
        object(notice.body);
        listed(notice.body);
    }
    if let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(octets)
        && let NetlinkPayload::InnerMessage(message) = message.payload
    {
        read(&message);
    }
}

fn all_attributes(body: &[u8]) {
    let read: Vec<_> = attributes(body).collect();
    let put = |all: Attributes, (kind, value): &(u16, &[u8])| all.put(*kind, value);
    let written = written(&read.iter().fold(Attributes::default(), put));
    assert!(attributes(&written).eq(read), "attributes of {body:?}");
}

/// A next-hop object.
fn object(body: &[u8]) {
    let Some((id, meaning)) = nexthop::object(body, PROTOCOL) else { return };
    let message = nexthop::Message::New { protocol: PROTOCOL, id, meaning: &meaning };
    assert_eq!(nexthop::object(&written(&message), PROTOCOL), Some((id, meaning.clone())));
}

/// What nftables lists.
fn listed(body: &[u8]) {
    for element in nftables::elements_in(body) {
        let body = written(&nftables::element_body(&element));
        assert_eq!(nftables::element(&body), Some(element));
    }
    let Some(rule) = nftables::rule(body) else { return };
    if rule.comment.len() < usize::from(u8::MAX) {
        let data = nftables::comment_data(&rule.comment);
        assert_eq!(nftables::read_comment(&data), Some(rule.comment));
    }
}

/// What the library has read, as we read it.
fn read(message: &RouteNetlinkMessage) {
    match message {
        RouteNetlinkMessage::NewRoute(message) | RouteNetlinkMessage::DelRoute(message) => {
            let _ = route::Table { table: MAIN, protocol: PROTOCOL }.own(message);
            let _ = (foreign::route(message), foreign::hops(message));
        }
        RouteNetlinkMessage::NewLink(message) => drop(Link::from_message(message)),
        RouteNetlinkMessage::NewAddress(message) => {
            let _ = Address::from_message(message).and_then(|address| address.link_local());
        }
        _ => {}
    }
}

fn written(message: &impl Emitable) -> Vec<u8> {
    let mut octets = vec![0; message.buffer_len()];
    message.emit(&mut octets);
    octets
}

/// RTPROT_BABEL.
const PROTOCOL: u8 = 42;
/// RT_TABLE_MAIN.
const MAIN: u32 = 254;
