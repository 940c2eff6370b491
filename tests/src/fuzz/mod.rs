//! What is fuzzed: functions that take any octets and panic when something is wrong.
//!
//! `scripts/fuzz` runs them under libFuzzer for as long as one likes; `tests/tests/fuzz.rs` with seeded mutations of
//! [`corpus`] for some seconds.

mod corpus;
mod decoders;
mod documents;
mod engine;
mod mac;
mod model;
mod mutation;
mod signers;
mod texts;

use sixwire_dataplane::{fuzz as wireguard, netlink_fuzz as netlink};

pub use corpus::corpus;
pub use mutation::Mutator;

/// A name and what is done with the octets.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 16] = [
    ("packet", decoders::packet),
    ("mac", mac::packet),
    ("certificate", decoders::certificate),
    ("state", decoders::state),
    ("join", decoders::join),
    ("peer", decoders::peer),
    ("registry", decoders::registry),
    ("recording", decoders::recording),
    ("rules", texts::rules),
    ("config", texts::config),
    ("netlink", netlink::datagram),
    ("wireguard", wireguard::configuration),
    ("offload", wireguard::offload),
    ("coalesce", wireguard::coalesce),
    ("engine", engine::sequence),
    ("session", wireguard::session),
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<fn(&[u8])> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, run)| *run)
}
