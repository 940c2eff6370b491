//! The registry as nodes and operators meet it: over real HTTPS and by its command line.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod calls;
mod client;
mod command;
mod joining;
mod limits;
mod registry;
mod upkeep;
