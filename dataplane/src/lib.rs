//! The data plane: the kernel and the embedded WireGuard.
//!
//! [`model`] says what there should be and what there is, [`plan`](plan()) turns the difference into
//! ordered changes, [`Dataplane`] reads the one and makes the other. The kernel is reconciled, not
//! scripted: start at any moment, observe, plan, apply, and the outcome is the same. Nothing that
//! does not bear our mark is ever changed.

mod dataplane;
mod error;
pub mod forwarding;
pub mod model;
mod netlink;
mod options;
mod plan;
mod router;
mod tunnel;
mod userspace;
mod wireguard;

pub use crate::dataplane::{Applied, Dataplane};
pub use crate::error::Error;
pub use crate::netlink::foreign::{ForeignChange, ForeignRoute, ForeignRoutes};
pub use crate::netlink::interface::Interface;
pub use crate::netlink::monitor::{Events, KernelEvent};
pub use crate::options::{Backend, Choice, Options};
pub use crate::plan::plan;
pub use crate::router::Router;
pub use crate::userspace::helper::helper_main;
pub use crate::wireguard::{PeerStats, TunnelStats};
