//! Drivers: sockets, clock, kernel writer, registry client, local API.

pub mod clock;
pub mod config;
pub mod registry_client;
pub mod signalling;
pub mod store;
