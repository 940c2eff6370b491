//! The routing engine, and what reads configurations, without the drivers.

#![expect(dead_code, reason = "the drivers use it")]

#[path = "../../../../controlplane/src/babel/mod.rs"]
pub mod babel;
pub mod daemon;
