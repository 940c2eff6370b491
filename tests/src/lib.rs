//! Labs, peers, simulator, demo and benches.

pub mod bench;
pub mod clock;
pub mod demo;
pub mod fuzz;
pub mod iperf3;
pub mod lab;
pub mod line;
pub mod mesh;
pub mod network;
pub mod ping;
pub mod scenario;
pub mod simulator;
pub mod topology;
pub mod uplinks;
