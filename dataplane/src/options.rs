//! What a [`Dataplane`](crate::Dataplane) is opened with.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::model::IfName;

/// How the data plane works here. The rest of its numbers are constants of [`crate::model`].
#[derive(Clone, Debug)]
pub struct Options {
    /// Which WireGuard to use.
    pub wireguard: Choice,
    /// The program that runs [`helper_main`](crate::helper_main): normally our own executable.
    pub helper_program: PathBuf,
    /// Arguments that make it do so, with `run_dir`.
    pub helper_args: Vec<OsString>,
    /// Directory of the helper's control socket, lock and log; made (0700) when absent.
    pub run_dir: PathBuf,
    /// Kernel routing table of our routes.
    pub table: u32,
    /// Routing protocol number that marks our routes and rules.
    pub protocol: u8,
    /// The interface that carries the node's addresses.
    pub address_interface: IfName,
}

/// Which WireGuard to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// What carries tunnels already, else the kernel's if it has one, else the embedded one.
    Auto,
    /// The kernel's, or an error.
    Kernel,
    /// The embedded one.
    Embedded,
}

/// Which WireGuard carries a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The kernel's.
    Kernel,
    /// The helper process's.
    Embedded,
}

impl Options {
    /// Main table, protocol 42, addresses on `lo`, automatic choice of WireGuard.
    #[must_use]
    pub fn new(run_dir: PathBuf, helper_program: PathBuf, helper_args: Vec<OsString>) -> Self {
        Self {
            wireguard: Choice::Auto,
            helper_program,
            helper_args,
            run_dir,
            table: DEFAULT_TABLE,
            protocol: DEFAULT_PROTOCOL,
            address_interface: IfName::loopback(),
        }
    }
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Kernel => "kernel",
            Self::Embedded => "embedded",
        })
    }
}

/// The kernel's main table.
pub(crate) const DEFAULT_TABLE: u32 = 254;
/// Babel's number among the kernel's routing protocols (`rtnetlink.h`, RTPROT_BABEL).
pub(crate) const DEFAULT_PROTOCOL: u8 = 42;
