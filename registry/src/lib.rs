//! The registry: certifies nodes and introduces them to each other.
//!
//! [`authority`], [`pool`], [`presence`] and [`replay`] decide and have no I/O; [`store`] keeps
//! rows; [`registrar`] makes one transaction of each call; [`desk`] puts it on a thread of its
//! own; [`http`] and [`server`] let nodes call; [`command`] lets the operator.

pub mod authority;
pub mod clock;
pub mod command;
pub mod config;
pub mod desk;
pub mod directory;
pub mod entropy;
mod error;
pub mod founding;
pub mod http;
pub mod listener;
pub mod pool;
pub mod presence;
pub mod refusal;
pub mod registrar;
pub mod replay;
pub mod server;
pub mod store;
pub mod tls;

pub use error::Error;
