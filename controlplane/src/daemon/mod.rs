//! Drivers: sockets, clock, kernel writer, registry client, local API.

pub mod api;
pub mod clock;
pub mod config;
pub mod join;
pub mod registry_client;
pub mod signalling;
pub mod store;
