//! The control plane of a node: the routing engine, the tunnel manager, the daemon that drives
//! them, and the command line.

pub mod babel;
pub mod cli;
pub mod daemon;
pub mod tunnel;
