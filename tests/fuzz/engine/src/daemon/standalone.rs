//! The configuration of a routing engine alone.

#[path = "../../../../../controlplane/src/daemon/standalone/announced.rs"]
mod announced;
#[path = "../../../../../controlplane/src/daemon/standalone/config.rs"]
mod config;
#[path = "../../../../../controlplane/src/daemon/standalone/filter.rs"]
mod filter;
#[path = "../../../../../controlplane/src/daemon/standalone/keys.rs"]
mod keys;
#[path = "../../../../../controlplane/src/daemon/standalone/link_options.rs"]
mod link_options;
#[path = "../../../../../controlplane/src/daemon/standalone/redistribution.rs"]
mod redistribution;

pub use announced::Announced;
pub use config::{Config, Interface, Keys};
pub use filter::{FilterRule, Source};
pub use keys::NamedKey;
pub use redistribution::{Protocol, Redistribute};
