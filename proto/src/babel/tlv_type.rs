//! Numbers of the TLVs and sub-TLVs (RFC 8966 §5).

pub(super) const PAD1: u8 = 0;
pub(super) const PAD_N: u8 = 1;
pub(super) const ACK_REQUEST: u8 = 2;
pub(super) const ACK: u8 = 3;
pub(super) const HELLO: u8 = 4;
pub(super) const IHU: u8 = 5;
pub(super) const ROUTER_ID: u8 = 6;
pub(super) const NEXT_HOP: u8 = 7;
pub(super) const UPDATE: u8 = 8;
pub(super) const ROUTE_REQUEST: u8 = 9;
pub(super) const SEQNO_REQUEST: u8 = 10;
/// MAC authentication (RFC 8967 §8). A MAC stands in the trailer and counts for nothing in the body.
pub(super) const MAC: u8 = 16;
pub(super) const PACKET_COUNTER: u8 = 17;
pub(super) const CHALLENGE_REQUEST: u8 = 18;
pub(super) const CHALLENGE_REPLY: u8 = 19;

/// Sub-TLVs: Timestamp (RFC 9616) and Source Prefix (RFC 9079). [`PAD1`] and [`PAD_N`] are the same.
pub(super) const SUB_TIMESTAMP: u8 = 3;
pub(super) const SUB_SOURCE_PREFIX: u8 = 128;
/// An unknown sub-TLV with this bit in its type forbids the use of its TLV (RFC 8966 §4.4).
pub(super) const SUB_MANDATORY: u8 = 0x80;

/// Flag of a Hello: of the unicast history (RFC 8966 §4.6.5).
pub(super) const HELLO_UNICAST: u16 = 0x8000;
/// Flag of an Update: its prefix is the next default prefix (RFC 8966 §4.6.9).
pub(super) const UPDATE_PREFIX: u8 = 0x80;
/// Flag of an Update: its prefix ends in the router-id (RFC 8966 §4.6.9).
pub(super) const UPDATE_ROUTER_ID: u8 = 0x40;
