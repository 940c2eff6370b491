//! What travels on the wire and lies on disk: value types, Babel packets, certificates, signed
//! network state, peer messages and registry bodies; and the few plain things that all crates share (`runs`, `seed`,
//! `time`).
//!
//! No sockets, clocks, randomness or tasks: everything here is a function of its arguments.

pub mod babel;
pub mod certificate;
pub mod encoding;
pub mod envelope;
pub mod interval;
pub mod join;
pub mod keys;
pub mod link;
pub mod metric;
pub mod peer;
pub mod prefix;
pub mod registry;
pub mod router_id;
pub mod runs;
pub mod seed;
pub mod seqno;
pub mod state;
pub mod time;
pub mod uplink;
