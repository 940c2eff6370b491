//! The routing engine alone.

#[path = "../../../../controlplane/src/babel/mod.rs"]
pub mod babel;
