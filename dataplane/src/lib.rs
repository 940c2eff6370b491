//! The data plane: the kernel and the embedded WireGuard.
//!
//! [`model`] says what there should be and what there is, [`plan`](plan()) turns the difference into
//! ordered changes, [`Dataplane`] reads the one and makes the other. The kernel is reconciled, not
//! scripted: start at any moment, observe, plan, apply, and the outcome is the same. Nothing that
//! does not bear our mark is ever changed.
//!
//! | file | what it does |
//! |---|---|
//! | `model/` | values: what there should be, what there is, changes, names and marks |
//! | `plan.rs` | the difference, as ordered changes |
//! | `dataplane.rs`, `dataplane/opening.rs` | observes and applies; looks at the start whether all is there |
//! | `tunnel.rs` | a tunnel as one thing: interface, address, WireGuard device |
//! | `router.rs`, `route_writer.rs`, `route_writer/` | routing by itself: what there is, and routes by the thousand |
//! | `netlink.rs`, `netlink/` | the kernel by `rtnetlink`: links, addresses, routes, rules, events; nftables |
//! | `wireguard.rs` | WireGuard devices, kernel or embedded, by `wireguard-control` |
//! | `userspace.rs`, `userspace/{process,channel,losses}.rs` | embedded WireGuard, our side: starts and guards its helper process, brings it back |
//! | `userspace/{protocol,helper,worker,running}.rs` | what is said, the helper process, its threads, a device of it and its end |
//! | `userspace/{device,tun,socket,control,saved}.rs` | a device at work: carries packets between its interface and its port; its configuration socket; what it leaves behind |
//! | `userspace/{noise,peer,former,endpoint,allowed_ips,throttle,uapi}.rs` | what a device is without its sockets: keys, peers, sessions, configuration (pure) |
//! | `userspace/{segment,coalesce,outbox,virtio,packet,checksum,ecn,drops}.rs` | many packets in one, and back; congestion marks; what got lost (pure) |
//! | `userspace/fuzz.rs` | what is fuzzed of all that |
//! | `guards.rs`, `guards/` | our nftables table: what may come from where |
//! | `forwarding.rs` | kernel parameters |
//! | `options.rs`, `error.rs` | what it is opened with, what can go wrong |

mod dataplane;
mod error;
pub mod forwarding;
mod guards;
pub mod model;
mod netlink;
mod options;
mod plan;
mod route_writer;
mod router;
mod tunnel;
mod userspace;
mod wireguard;

pub use crate::dataplane::{Applied, Dataplane};
pub use crate::error::Error;
pub use crate::netlink::foreign::{ForeignChange, ForeignRoute, ForeignRoutes};
pub use crate::netlink::fuzz as netlink_fuzz;
pub use crate::netlink::interface::Interface;
pub use crate::netlink::monitor::{Events, KernelEvent};
pub use crate::options::{Backend, Choice, Options};
pub use crate::plan::plan;
pub use crate::route_writer::{Retried, RouteWriter};
pub use crate::router::Router;
pub use crate::userspace::helper::helper_main;
pub use crate::userspace::{HelperHealth, fuzz};
pub use crate::wireguard::{PeerStats, TunnelStats};
