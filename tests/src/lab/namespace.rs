//! One network namespace.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A handle on a namespace under `/run/netns`; the [`Lab`](super::Lab) removes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    name: String,
}

/// What an interface counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
}

impl Namespace {
    pub(super) fn add(name: &str) -> Result<Self> {
        run(Command::new("ip").args(["netns", "add", name]))?;
        let namespace = Self { name: name.to_owned() };
        namespace.ip("link set lo up")?;
        // Addresses of a lab are unique by construction; detecting that costs a second per link.
        namespace.sysctl(&["net/ipv6/conf/default/accept_dad=0"])?;
        Ok(namespace)
    }

    pub(super) fn with_prefix(prefix: &str) -> Result<Vec<Self>> {
        let Ok(entries) = fs::read_dir(NETNS) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with(prefix) {
                found.push(Self { name });
            }
        }
        Ok(found)
    }

    pub(super) fn delete(&self) -> Result<()> {
        run(Command::new("ip").args(["netns", "delete", &self.name])).map(drop)
    }

    /// The full name, tag included.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for the namespace.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(NETNS).join(&self.name)
    }

    /// Runs `work` in a thread of its own inside the namespace. Sockets opened there stay there.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let file = File::open(self.path()).with_context(|| format!("namespace {}", self.name))?;
        let inside = || setns(&file, CloneFlags::CLONE_NEWNET).map(|()| work());
        let result = thread::scope(|scope| scope.spawn(inside).join());
        let result = result.map_err(|_| anyhow::anyhow!("work inside {} panicked", self.name))?;
        result.with_context(|| format!("entering namespace {}", self.name))
    }

    /// A command that will run inside the namespace, with this process's view of the file system.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs lines of `ip` commands (`addr add ...`), all or an error.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn ip(&self, lines: &str) -> Result<()> {
        let mut command = Command::new("ip");
        command.args(["-n", &self.name, "-batch", "-"]);
        feed(&mut command, lines).map(drop)
    }

    /// Loads an nftables script, atomically.
    ///
    /// # Errors
    /// What `nft` says.
    pub fn nft(&self, script: &str) -> Result<String> {
        feed(self.command("nft").args(["-f", "-"]), script)
    }

    /// Sets kernel parameters, given as `net/ipv4/ip_forward=1`.
    ///
    /// # Errors
    /// When one does not exist.
    pub fn sysctl(&self, settings: &[&str]) -> Result<()> {
        self.within(|| {
            for setting in settings {
                let (key, value) = setting.split_once('=').context("a setting is KEY=VALUE")?;
                let path = Path::new("/proc/sys").join(key);
                fs::write(&path, value).with_context(|| format!("writing {}", path.display()))?;
            }
            Ok(())
        })?
    }

    /// The packet counters of an interface.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn traffic(&self, interface: &str) -> Result<Traffic> {
        let table = self.within(|| fs::read_to_string("/proc/thread-self/net/dev"))??;
        let row = table.lines().find_map(|line| {
            let (name, counters) = line.split_once(':')?;
            (name.trim() == interface).then_some(counters)
        });
        let row = row.with_context(|| format!("no interface {interface} in {}", self.name))?;
        let field = |index| -> Result<u64> {
            Ok(row.split_whitespace().nth(index).context("a row has 16 counters")?.parse()?)
        };
        Ok(Traffic { rx_packets: field(1)?, tx_packets: field(9)? })
    }

    /// The interface's index, or `None` where there is no such interface.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn interface_index(&self, interface: &str) -> Result<Option<u32>> {
        self.within(|| nix::net::if_::if_nametoindex(interface).ok())
    }

    /// The names of all interfaces, sorted.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn interfaces(&self) -> Result<Vec<String>> {
        let names = self.within(|| -> nix::Result<Vec<String>> {
            let all = nix::net::if_::if_nameindex()?;
            Ok(all.iter().map(|one| one.name().to_string_lossy().into_owned()).collect())
        })?;
        let mut names = names.with_context(|| format!("interfaces of {}", self.name))?;
        names.sort();
        Ok(names)
    }

    /// Every process whose main thread is inside.
    ///
    /// # Errors
    /// When the namespace is gone.
    pub fn processes(&self) -> Result<Vec<Pid>> {
        let here = fs::metadata(self.path())?;
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let entry = entry?;
            let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
            // A process that has just ended has no namespace any more.
            let Ok(there) = fs::metadata(entry.path().join("ns/net")) else { continue };
            if (there.dev(), there.ino()) == (here.dev(), here.ino()) {
                found.push(Pid::from_raw(pid));
            }
        }
        Ok(found)
    }

    pub(super) fn kill_all(&self) -> Result<()> {
        for pid in self.processes()? {
            match kill(pid, Signal::SIGKILL) {
                Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
                Err(error) => bail!("killing {pid} in {}: {error}", self.name),
            }
        }
        Ok(())
    }
}

/// Runs a command to its end and returns what it printed.
///
/// # Errors
/// When it cannot start or fails: the command line and what it said.
pub fn run(command: &mut Command) -> Result<String> {
    feed(command, "")
}

fn feed(command: &mut Command, input: &str) -> Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("starting {command:?}"))?;
    let mut stdin = child.stdin.take().expect("the command's input is a pipe");
    // A command that ends without reading its input says why itself.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output()?;
    let (said, complaint) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{command:?}: {}: {said}{complaint}", output.status);
    Ok(said.into_owned())
}

const NETNS: &str = "/run/netns";
