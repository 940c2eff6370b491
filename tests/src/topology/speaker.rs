//! The three programs, configured alike: Hellos every half second, the kernel's static routes announced.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::{Families, Router, prefix, prefix_v4};
use crate::lab::{binary, run};
use crate::line::Speaker;

impl Router {
    /// Makes a stub network, with an address in it and static routes to it.
    pub(super) fn settle(&self, families: Families) -> Result<()> {
        let number = self.number + 1;
        let (v6, v4) = (prefix(self.number), prefix_v4(self.number));
        let mut lines = format!(
            "link add s0 type veth peer name s1\nlink set s0 up\nlink set s1 up\n\
             addr add fd11:{number:x}::1/128 dev lo\nroute add {v6} dev s0 proto static\n"
        );
        let v4_too = match families {
            Families::Ipv6 | Families::BySource => false,
            Families::Both | Families::V4ViaV6 | Families::BothKinds => true,
        };
        if v4_too {
            write!(
                lines,
                "addr add 10.11.{number}.1/32 dev lo\nroute add {v4} dev s0 proto static\n"
            )?;
        }
        self.namespace.ip(&lines)
    }

    /// The program, ready to be started.
    pub(super) fn command(&self, directory: &Path, families: Families) -> Result<Command> {
        match self.speaker {
            Speaker::Sixwire => Ok(self.sixwire(directory)),
            Speaker::Babeld => Ok(self.babeld(directory)),
            Speaker::Bird => self.bird(directory, families),
        }
    }

    fn links(&self) -> impl Iterator<Item = String> {
        self.peers.iter().map(|peer| format!("e{peer}"))
    }

    fn file(&self, directory: &Path, extension: &str) -> PathBuf {
        directory.join(format!("{}.{extension}", self.namespace.name()))
    }

    /// Where our engine on this router has its local API.
    #[must_use]
    pub fn socket(&self, directory: &Path) -> PathBuf {
        self.file(directory, "sock")
    }

    fn sixwire(&self, directory: &Path) -> Command {
        let mut command = self.namespace.command(&binary("sixwire").to_string_lossy());
        command.args(["babel", "run", "--redistribute", "protocol=static"]);
        command.args(["--hello-interval", "500ms", "--update-interval", "2s", "--socket"]);
        command.arg(self.socket(directory));
        command.args(self.links().flat_map(|name| ["-i".to_owned(), name]));
        command
    }

    fn babeld(&self, directory: &Path) -> Command {
        let socket = self.file(directory, "ctl");
        let _ = fs::remove_file(&socket);
        let mut command = self.namespace.command("babeld");
        command.args(["-I", "", "-S", "", "-r", "-G"]).arg(socket);
        for statement in [
            "default type wired hello-interval 0.5 update-interval 2",
            "redistribute proto 4 allow",
            "redistribute local deny",
            "redistribute deny",
        ] {
            command.args(["-C", statement]);
        }
        command.args(self.links());
        command
    }

    fn bird(&self, directory: &Path, families: Families) -> Result<Command> {
        let file = self.file(directory, "bird");
        fs::write(&file, self.bird_config(families)?)?;
        let mut command = self.namespace.command("bird");
        command.arg("-f").arg("-c").arg(file).arg("-s").arg(self.file(directory, "ctl"));
        Ok(command)
    }

    fn bird_config(&self, families: Families) -> Result<String> {
        let channels: &[&str] = match families {
            Families::BySource => &["ipv6 sadr"],
            Families::Ipv6 | Families::V4ViaV6 => &["ipv6"],
            Families::Both | Families::BothKinds => &["ipv6", "ipv4"],
        };
        let mut text = format!("router id 10.0.0.{};\nprotocol device {{}}\n", self.number + 1);
        if families == Families::BySource {
            text.push_str("ipv6 sadr table sadr6;\n");
        }
        for channel in channels {
            writeln!(
                text,
                "protocol kernel {{ learn; {channel} {{ import all; export where source = RTS_BABEL; \
                 }}; }}"
            )?;
        }
        text.push_str("protocol babel {\nrandomize router id yes;\n");
        for name in self.links() {
            writeln!(
                text,
                "interface \"{name}\" {{ type wired; rxcost {}; hello interval 500 ms; \
                 update interval 2 s; }};",
                self.cost
            )?;
        }
        for channel in channels {
            writeln!(text, "{channel} {{ import all; export all; }};")?;
        }
        text.push_str("}\n");
        Ok(text)
    }

    /// Tells a running program the cost of its links.
    pub(super) fn reconfigure(&self, directory: &Path, families: Families) -> Result<()> {
        let socket = self.file(directory, "ctl");
        match self.speaker {
            Speaker::Sixwire => anyhow::bail!("ours is configured at its start"),
            Speaker::Bird => {
                fs::write(self.file(directory, "bird"), self.bird_config(families)?)?;
                let mut birdc = self.namespace.command("birdc");
                let said = run(birdc.arg("-s").arg(socket).arg("configure"))?;
                ensure!(said.contains("Reconfigur"), "BIRD said {said}");
            }
            Speaker::Babeld => {
                let mut stream = UnixStream::connect(&socket).context("babeld's socket")?;
                let mut lines = BufReader::new(stream.try_clone()?).lines();
                let mut answered = || -> Result<()> {
                    loop {
                        let line = lines.next().context("babeld hung up")??;
                        ensure!(!line.starts_with("bad") && !line.starts_with("no"), "{line}");
                        if line == "ok" {
                            return Ok(());
                        }
                    }
                };
                answered()?;
                for name in self.links() {
                    writeln!(stream, "interface {name} rxcost {}", self.cost)?;
                    answered()?;
                }
            }
        }
        Ok(())
    }
}
