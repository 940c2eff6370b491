//! The whole engine: several real ones on an in-memory network, and one against hand-made packets.

mod adjacency;
mod authentication;
mod boundary;
mod bulk;
mod conformance;
mod convergence;
mod cost;
mod faults;
mod filters;
mod intervals;
mod keyed_network;
mod limits;
mod network;
mod origin;
mod probe;
mod requests;
mod signer;
mod updates;
