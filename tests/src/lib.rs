//! Labs, peers, simulator, demo and benches.

pub mod clock;
pub mod lab;
pub mod ping;
