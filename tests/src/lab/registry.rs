//! A registry of the lab.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, anyhow};

use super::process::{Bond, inside};
use super::{Host, Lab, Process, binary, run};
use crate::clock::wait_for;

/// `sixwire-registry` on a host of the lab.
#[derive(Debug)]
pub struct Registry {
    /// Where it runs.
    pub host: Host,
    directory: PathBuf,
    run_directory: PathBuf,
    log: PathBuf,
    bond: Bond,
    server: Option<Process>,
}

impl Registry {
    /// Makes the network and starts to serve it.
    ///
    /// # Errors
    /// What the registry says, or that it does not answer within 20 s.
    pub fn start(lab: &Lab, host: Host) -> Result<Self> {
        let directory = lab.directory().join("registry");
        let run_directory = lab.directory().join("registry.run");
        std::fs::create_dir_all(&run_directory)?;
        let log = lab.directory().join("registry.log");
        let bond = lab.bond();
        let mut registry = Self { host, directory, run_directory, log, bond, server: None };
        let url = format!("{}:{PORT}", registry.host.address);
        run(registry.command(&["init"]).arg("--url").arg(url))?;
        registry.serve()?;
        Ok(registry)
    }

    /// Starts the server.
    ///
    /// # Errors
    /// When it ends, or does not listen within 20 s.
    pub fn serve(&mut self) -> Result<()> {
        let listen = format!("{}:{PORT}", self.host.address);
        let mut command = self.command(&["serve"]);
        let mut server = Process::start(command.arg("--listen").arg(&listen), &self.log)?;
        wait_for("the registry to listen", Duration::from_secs(20), || {
            if let Ok(Some(status)) = server.ended() {
                return Ok(Err(anyhow!("the registry ended, {status}; {}", server.last_words())));
            }
            let connect = || std::net::TcpStream::connect(&listen);
            match self.host.namespace.within(connect) {
                Ok(Ok(_)) => Ok(Ok(())),
                Ok(Err(error)) => Err(format!("{error}; {}", server.last_words())),
                Err(error) => Err(error.to_string()),
            }
        })??;
        self.server = Some(server);
        Ok(())
    }

    /// A join string with a token of its own. `options` are those of `token create`.
    ///
    /// # Errors
    /// What the registry says.
    pub fn token(&self, options: &[&str]) -> Result<String> {
        let text = run(self.command(&["token", "create"]).args(options))?;
        Ok(text.trim().to_owned())
    }

    /// A `sixwire-registry` command line on this registry's host, state directory given.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let program = binary("sixwire-registry");
        let mut command = inside(&self.host.namespace, &self.run_directory, self.bond, &program);
        command.args(words).arg("--dir").arg(&self.directory);
        command
    }

    /// Where it keeps its keys and database.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Kills the server with SIGKILL; its directory stays.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.server.take().map_or(Ok(()), |mut server| server.kill())
    }

    /// Lets the server run on without this value.
    pub fn release(self) {
        if let Some(server) = self.server {
            server.release();
        }
    }
}

/// The registry's port, `system.md` §8.
const PORT: u16 = 8443;
