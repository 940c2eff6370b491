//! Processes inside a namespace, with a `/run` of their own.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill};
use nix::unistd::{Pid, execvp};

use super::{Namespace, binary};
use crate::clock::wait_for;

/// A running program of the lab; killed when this value goes.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with both streams appended to `log`. It gets SIGKILL when the *calling thread* ends,
    /// if [`inside`] made the command.
    ///
    /// # Errors
    /// When the program or the log cannot be opened.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        let errors = output.try_clone()?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        // A caller that waits for signals in a thread of its own has them blocked, and would hand that on.
        let own = SigSet::empty().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let child = command.spawn().with_context(|| format!("starting {command:?}"));
        own.thread_set_mask()?;
        let child = child?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// The process id; the launcher becomes the program, so it is the program's.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("Linux process ids fit 22 bits"))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid(), signal).with_context(|| format!("sending {signal} to {}", self.pid()))
    }

    /// Whether the process has ended, and how.
    ///
    /// # Errors
    /// When the kernel cannot tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// After `patience`, with the end of the log.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let log = self.log.clone();
        wait_for("the end of a process", patience, || {
            self.child.try_wait().ok().flatten().ok_or_else(|| tail(&log))
        })
    }

    /// Kills the process, if it still runs, and returns when it is gone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Resident memory, in KiB.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn resident_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let row = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size = row.and_then(|row| row.split_whitespace().next());
        size.context("a live process has a VmRSS row")?.parse().context("VmRSS is a number")
    }

    /// The last lines of what it printed.
    #[must_use]
    pub fn last_words(&self) -> String {
        tail(&self.log)
    }

    /// Lets the process run on without this value.
    pub fn release(self) {
        std::mem::forget(self);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a process ends with the thread that started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bond {
    Thread,
    None,
}

/// A command that enters `namespace`, takes `run` for its `/run`, and becomes `program`.
pub(super) fn inside(namespace: &Namespace, run: &Path, bond: Bond, program: &Path) -> Command {
    let mut command = Command::new(binary("sixwire-lab"));
    command.arg("enter").arg(namespace.path()).arg(run);
    if bond == Bond::Thread {
        command.arg("--die-with-parent");
    }
    command.arg("--").arg(program);
    command
}

/// What `sixwire-lab enter` does: network namespace, private mounts, own `/run` and `/sys`, then the program.
///
/// # Errors
/// Whatever step failed; it returns only then.
pub fn enter(
    namespace: &Path,
    run: &Path,
    die_with: Option<Signal>,
    program: &[OsString],
) -> Result<Infallible> {
    set_pdeathsig(die_with)?;
    let file = File::open(namespace).with_context(|| format!("{}", namespace.display()))?;
    setns(&file, CloneFlags::CLONE_NEWNET).context("entering the network namespace")?;
    unshare(CloneFlags::CLONE_NEWNS).context("leaving the mount namespace")?;
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)
        .context("making the mounts private")?;
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), nothing)
        .context("mounting the namespace's /sys")?;
    mount(Some(run), "/run", nothing, MsFlags::MS_BIND, nothing)
        .with_context(|| format!("mounting {} on /run", run.display()))?;
    let words: Vec<_> =
        program.iter().map(|word| CString::new(word.as_bytes())).collect::<Result<_, _>>()?;
    let first = words.first().context("no program given")?;
    execvp(first, &words).with_context(|| format!("starting {}", first.to_string_lossy()))
}

/// The last 12 lines of a file, or why there are none.
fn tail(log: &Path) -> String {
    match fs::read_to_string(log) {
        Ok(text) => {
            let lines: Vec<_> = text.lines().collect();
            let from = lines.len().saturating_sub(12);
            format!("end of {}:\n{}", log.display(), lines.get(from..).unwrap_or(&[]).join("\n"))
        }
        Err(error) => format!("{}: {error}", log.display()),
    }
}
