//! The whole engine: several real ones on an in-memory network, and one against hand-made packets.

mod boundary;
mod bulk;
mod convergence;
mod faults;
mod network;
mod origin;
mod probe;
mod requests;
mod rules;
