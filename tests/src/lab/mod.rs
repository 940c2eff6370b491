//! Real network namespaces: an underlay of routers and NAT gateways, and one process per node.
//!
//! Everything is named after the lab's tag and vanishes with the [`Lab`]. What a killed run left behind is
//! removed by the next one; nothing else is touched.

mod binary;
mod namespace;
mod node;
mod process;
mod registry;
mod underlay;

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::geteuid;

pub use binary::{binary, target_directory};
pub use namespace::{Namespace, Traffic, run};
pub use node::{Health, Helper, Identity, Node, Peer, Plane, Route, Routing, Status, Tunnels};
use process::Bond;
pub use process::{Process, enter};
pub use registry::Registry;
pub use underlay::{Families, Gate, Host, Router, Underlay};

/// A laboratory: namespaces and a directory that live as long as this value.
#[derive(Debug)]
pub struct Lab {
    tag: String,
    directory: PathBuf,
    namespaces: Vec<Namespace>,
    end: End,
    _owner: Flock<File>,
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Remove,
    Keep,
}

impl Lab {
    /// Removes what crashed labs left, then opens a new one.
    ///
    /// # Errors
    /// Without root, or when a left-over cannot be removed.
    pub fn new() -> Result<Self> {
        anyhow::ensure!(geteuid().is_root(), "a lab makes network namespaces: run it as root");
        let _all = lock_all()?;
        sweep(Kept::Leave)?;
        let number = (0..)
            .find(|number| !base().join(tag(*number)).exists())
            .expect("a process opens finitely many labs");
        let directory = base().join(tag(number));
        fs::DirBuilder::new().mode(0o700).create(&directory)?;
        let owner = File::create(directory.join(OWNER))?;
        let owner = Flock::lock(owner, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, error)| error)
            .context("locking a new lab")?;
        let (tag, namespaces) = (tag(number), Vec::new());
        Ok(Self { tag, directory, namespaces, end: End::Remove, _owner: owner })
    }

    /// [`Self::new`], or `None` after a line `SKIP ...` where labs cannot run.
    ///
    /// # Panics
    /// When root and still impossible.
    #[must_use]
    pub fn or_skip() -> Option<Self> {
        if geteuid().is_root() {
            return Some(Self::new().expect("root can open a lab"));
        }
        println!("SKIP network namespaces need root");
        None
    }

    /// The prefix of every namespace of this lab, `sw<pid>.<number>`.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Where this lab keeps states and logs; removed with it.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The namespaces made so far.
    #[must_use]
    pub fn namespaces(&self) -> &[Namespace] {
        &self.namespaces
    }

    /// Makes the namespace `<tag>-<name>`, loopback up.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn namespace(&mut self, name: &str) -> Result<Namespace> {
        let namespace = Namespace::add(&format!("{}-{name}", self.tag))?;
        self.namespaces.push(namespace.clone());
        Ok(namespace)
    }

    /// Leaves everything running when this value goes, with the processes started from now on; [`clean`] removes it.
    ///
    /// # Errors
    /// When the lab's directory cannot be written.
    pub fn keep(&mut self) -> Result<()> {
        fs::write(self.directory.join(KEPT), "")?;
        self.end = End::Keep;
        Ok(())
    }

    fn bond(&self) -> Bond {
        match self.end {
            End::Remove => Bond::Thread,
            End::Keep => Bond::None,
        }
    }

    /// Copies the logs to `destination`, replacing what is there.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save_logs(&self, destination: &Path) -> Result<()> {
        let _ = fs::remove_dir_all(destination);
        fs::create_dir_all(destination)?;
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.ends_with(".log") {
                fs::copy(&path, destination.join(name))?;
            } else if let Some(node) = name.strip_suffix(".run") {
                // The helper writes beside its sockets, and only if it ran.
                let helper = path.join("sixwire/wireguard.log");
                let _ = fs::copy(helper, destination.join(format!("{node}.wireguard.log")));
            }
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = target_directory().join("lab").join(&self.tag);
            match self.save_logs(&logs) {
                Ok(()) => eprintln!("logs of this lab: {}", logs.display()),
                Err(error) => eprintln!("logs of this lab are lost: {error}"),
            }
        }
        if self.end == End::Remove
            && let Err(error) = remove(&self.tag)
        {
            eprintln!("lab {}: {error:#}", self.tag);
        }
    }
}

/// Removes every lab that no process owns, the kept ones too; returns their tags.
///
/// # Errors
/// When a namespace or directory cannot be removed.
pub fn clean() -> Result<Vec<String>> {
    let _all = lock_all()?;
    sweep(Kept::Remove)
}

/// From now on SIGINT, SIGTERM and SIGHUP remove this process's labs, the kept ones excepted, and end it. To be
/// called before there are other threads: they inherit that these signals wait for this one.
///
/// # Errors
/// When the signals cannot be blocked.
pub fn remove_on_interrupt() -> Result<()> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block()?;
    std::thread::spawn(move || {
        let signal = signals.wait();
        if let Err(error) = remove_own() {
            eprintln!("removing labs: {error:#}");
        }
        std::process::exit(signal.map_or(1, |signal| 128 + signal as i32))
    });
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Leave,
    Remove,
}

fn sweep(kept: Kept) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for entry in fs::read_dir(base())? {
        let directory = entry?.path();
        let Ok(owner) = File::open(directory.join(OWNER)) else { continue };
        if directory.join(KEPT).exists() && kept == Kept::Leave {
            continue;
        }
        match Flock::lock(owner, FlockArg::LockExclusiveNonblock) {
            Ok(_unowned) => {}
            Err((_, Errno::EWOULDBLOCK)) => continue,
            Err((_, error)) => return Err(error).context("asking who owns a lab"),
        }
        let tag = directory.file_name().expect("a directory entry has a name");
        let tag = tag.to_string_lossy().into_owned();
        remove(&tag)?;
        removed.push(tag);
    }
    Ok(removed)
}

fn remove_own() -> Result<()> {
    let own = format!("sw{}.", std::process::id());
    for entry in fs::read_dir(base())? {
        let entry = entry?;
        let tag = entry.file_name().to_string_lossy().into_owned();
        if tag.starts_with(&own) && !entry.path().join(KEPT).exists() {
            remove(&tag)?;
        }
    }
    Ok(())
}

/// Ends what runs in the lab's namespaces, removes them, then the directory that lists the lab.
fn remove(tag: &str) -> Result<()> {
    let namespaces = Namespace::with_prefix(&format!("{tag}-"))?;
    for namespace in &namespaces {
        namespace.kill_all()?;
    }
    for namespace in &namespaces {
        namespace.delete()?;
    }
    let directory = base().join(tag);
    fs::remove_dir_all(&directory).with_context(|| format!("removing {}", directory.display()))
}

/// One process at a time opens or sweeps labs.
fn lock_all() -> Result<Flock<File>> {
    fs::create_dir_all(base())?;
    let file = File::create(base().join("lock"))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error).context("locking labs")
}

fn base() -> PathBuf {
    std::env::temp_dir().join("sixwire-lab")
}

fn tag(number: u32) -> String {
    format!("sw{}.{number}", std::process::id())
}

/// Locked by the process that owns the lab; the kernel unlocks it however that process ends.
const OWNER: &str = "owner";
/// Marks a lab that outlives its process on purpose.
const KEPT: &str = "kept";
