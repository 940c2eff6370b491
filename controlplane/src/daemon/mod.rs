//! Drivers: sockets, clock, kernel writer, registry client, local API.

pub mod config;
