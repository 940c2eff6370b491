//! What can go wrong with a registry: what was being done, to which object, and what to do.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use sixwire_proto::envelope::DocumentError;
use sixwire_proto::prefix::Prefix;

use crate::pool::PoolError;
use crate::store::StoreError;

/// An error of the registry.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no registry in the directory.
    #[error(
        "there is no registry in {}: make one with `sixwire-registry init --dir {}`, or name \
         another directory with --dir", .0.display(), .0.display()
    )]
    NoRegistry(PathBuf),
    /// There is something in the directory already.
    #[error(
        "{} already has {found} in it, and init overwrites nothing: name another directory with \
         --dir, or move this one away", path.display()
    )]
    AlreadyThere {
        /// The directory.
        path: PathBuf,
        /// A file in it.
        found: String,
    },
    /// There is no directory to make the registry's in.
    #[error("cannot make {}: make the directory it lies in first", .0.display())]
    NoParent(PathBuf),
    /// A file or directory cannot be used.
    #[error("cannot {action} {}: {cause}{}", path.display(), hint(cause))]
    File {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// Others may read a secret, or write where secrets lie.
    #[error("{} has mode {mode:04o}, which lets others in: run `chmod {wanted:04o} {}`",
        path.display(), path.display())]
    Permissions {
        /// The file or directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode it should have.
        wanted: u32,
    },
    /// A key file is damaged.
    #[error("{} holds no key: restore it from a backup", .0.display())]
    KeyFile(PathBuf),
    /// The issuer key and the root's word about it do not belong together.
    #[error("the issuer key in {} does not fit the database: {cause}; restore both from one backup",
        path.display())]
    Issuer {
        /// The directory.
        path: PathBuf,
        /// Why.
        cause: DocumentError,
    },
    /// The root key is of another network.
    #[error("root.key is not the root key of this network: {cause}")]
    WrongRoot {
        /// Why.
        cause: DocumentError,
    },
    /// The issuer has expired and the root key is elsewhere.
    #[error(
        "the issuer expired at {expired}, and the root key that can renew it is not here: put it \
         at {} and start again", path.display()
    )]
    IssuerExpired {
        /// When.
        expired: sixwire_proto::time::Timestamp,
        /// Where the root key belongs.
        path: PathBuf,
    },
    /// Not a prefix a network can have.
    #[error("{prefix} cannot be a network: {rule}")]
    Network {
        /// The prefix.
        prefix: Prefix,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// Not a place that join strings can name.
    #[error("{given:?} is no place for join strings: {reason}; write HOST or HOST:PORT")]
    Url {
        /// What was given.
        given: String,
        /// Why not.
        reason: String,
    },
    /// The pool cannot give such prefixes.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The next network state is out of range.
    #[error("the network state cannot be signed: {0}")]
    State(String),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No such node.
    #[error("there is no node with this router-id or serial number: see `node list`")]
    NoSuchNode,
    /// Nothing to revoke.
    #[error("it is revoked already")]
    AlreadyRevoked,
    /// No such token.
    #[error("there is no token {0} in force: see `token list`")]
    NoSuchToken(i64),
    /// TLS cannot be set up.
    #[error("cannot set up TLS with {}: {reason}", path.display())]
    Tls {
        /// The certificate or key file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Cannot listen.
    #[error("cannot listen on {address}: {cause}{}", listen_hint(cause))]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
    /// The configuration is wrong.
    #[error("{0}")]
    Config(String),
    /// The operating system gives no randomness.
    #[error("the operating system gives no randomness: {0}")]
    Entropy(getrandom::Error),
    /// The thread of the database ended.
    #[error("the database thread ended; the log above says why")]
    DeskClosed,
}

fn hint(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::PermissionDenied => "; run this as the user who owns the registry",
        io::ErrorKind::StorageFull => "; make room on this disk",
        _ => "",
    }
}

fn listen_hint(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program (or another registry) has this port: stop it, or choose another \
             port with --listen"
        }
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need root or CAP_NET_BIND_SERVICE: choose another with --listen"
        }
        io::ErrorKind::AddrNotAvailable => {
            "; no interface has this address: choose another with --listen"
        }
        _ => "; if this machine has no IPv6, use --listen 0.0.0.0:8443",
    }
}
