//! What reads configurations.

#[path = "../../../../controlplane/src/daemon/config/mod.rs"]
pub mod config;
#[path = "../../../../controlplane/src/daemon/mac_key.rs"]
mod mac_key;
mod routing;
pub mod standalone;
