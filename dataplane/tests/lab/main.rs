//! The data plane against a real kernel, in network namespaces of its own. Needs root and `ip`.
//!
//! WireGuard is the embedded one; with `SIXWIRE_TEST_WIREGUARD=kernel` the kernel's, where it has one.

#![expect(clippy::unwrap_used, reason = "a failure is a failed test")]

mod adoption;
mod embedded;
mod events;
mod forwarding;
mod groups;
mod guards;
mod killed;
mod lacking;
mod node;
mod ownership;
mod refused;
mod routes;
mod tunnels;
mod wireguard;
mod writer;
