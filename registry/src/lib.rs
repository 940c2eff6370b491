//! The registry: certifies nodes and introduces them to each other.
//!
//! [`authority`], [`pool`], [`presence`] and [`replay`] decide and have no I/O; [`store`] keeps
//! rows; [`registrar`] makes one transaction of each call; [`desk`] puts it on a thread of its
//! own; [`http`] and [`server`] let nodes call; [`command`] lets the operator.
//!
//! Backups: the directory, taken with the registry stopped, or the database by
//! `sqlite3 registry.db '.backup FILE'`. Epochs and serial numbers do not repeat after a restore.
//! What came after the backup is lost with it: revocations have to be made again, and nodes that
//! joined since have to join again with a new token. Stop the registry until then if their
//! prefixes could meanwhile be given to others.

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
