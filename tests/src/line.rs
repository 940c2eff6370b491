//! Three routers in a row, each running a Babel of its own: ours, babeld or BIRD.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::lab::{Lab, Namespace, Process, binary};

/// The namespaces and links of the line.
#[derive(Debug)]
pub struct Line {
    /// Left, middle, right.
    pub routers: [Namespace; 3],
    directory: PathBuf,
}

/// A program that speaks Babel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// `sixwire babel`.
    Sixwire,
    /// Debian's babeld.
    Babeld,
    /// Debian's BIRD.
    Bird,
}

/// The interfaces of each router, from left to right.
pub const INTERFACES: [&[&str]; 3] = [&["ab"], &["ba", "bc"], &["cb"]];

impl Line {
    /// Links three new namespaces.
    ///
    /// # Errors
    /// When a namespace or link cannot be made.
    pub fn new(lab: &mut Lab) -> Result<Self> {
        let routers = [lab.namespace("a")?, lab.namespace("b")?, lab.namespace("c")?];
        let line = Self { routers, directory: lab.directory().to_owned() };
        for router in &line.routers {
            router.sysctl(&["net/ipv6/conf/all/forwarding=1"])?;
        }
        line.connect(0)?;
        line.connect(1)?;
        Ok(line)
    }

    /// Makes the link between the router of this number and the next.
    ///
    /// # Errors
    /// When it is there already.
    pub fn connect(&self, left: usize) -> Result<()> {
        let [one, other] = [("ab", "ba"), ("bc", "cb")].map(|(a, b)| [a, b])[left];
        let (left, right) = (&self.routers[left], &self.routers[left + 1]);
        left.ip(&format!("link add {one} type veth peer name {other} netns {}\n", right.name()))?;
        left.ip(&format!("link set {one} up\n"))?;
        right.ip(&format!("link set {other} up\n"))
    }

    /// Starts a speaker on one router: it announces the static routes of its kernel. `more` are flags
    /// for ours.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(&self, number: usize, speaker: Speaker, more: &[&str]) -> Result<Process> {
        let (router, interfaces) = (&self.routers[number], INTERFACES[number]);
        let mut command = match speaker {
            Speaker::Sixwire => {
                let mut command = router.command(&binary("sixwire").to_string_lossy());
                command.args(["babel", "run", "--redistribute", "protocol=static", "--socket"]);
                command.arg(self.socket(number));
                command.args(interfaces.iter().flat_map(|name| ["-i", name])).args(more);
                command
            }
            Speaker::Babeld => {
                let mut command = router.command("babeld");
                command.args(["-I", "", "-S", "", "-C", "redistribute proto 4 allow"]);
                command.args(["-C", "redistribute local deny", "-C", "redistribute deny"]);
                command.args(interfaces);
                command
            }
            Speaker::Bird => self.bird(number)?,
        };
        let name = format!("{}.log", router.name());
        Process::start(&mut command, &self.directory.join(name))
    }

    fn bird(&self, number: usize) -> Result<Command> {
        let router = &self.routers[number];
        let file = self.directory.join(format!("{}.bird", router.name()));
        let links: String = INTERFACES[number]
            .iter()
            .map(|name| format!("interface \"{name}\" {{ type wired; }};"))
            .collect();
        let text = format!(
            "router id 10.0.0.{};\n\
             protocol device {{}}\n\
             protocol kernel {{ learn; ipv6 {{ import all; export where source = RTS_BABEL; }}; }}\n\
             protocol babel {{ {links} ipv6 {{ import all; export all; }}; }}\n",
            number + 1
        );
        fs::write(&file, text)?;
        let mut command = router.command("bird");
        command.arg("-f").arg("-c").arg(&file).arg("-s").arg(file.with_extension("ctl"));
        Ok(command)
    }

    /// Where our engine on this router has its local API.
    #[must_use]
    pub fn socket(&self, number: usize) -> PathBuf {
        self.directory.join(format!("{}.sock", self.routers[number].name()))
    }

    /// The kernel's routes of one router that lead to a neighbour, for this destination.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn routes(&self, number: usize, destination: &str) -> Result<Vec<String>> {
        let mut command = Command::new("ip");
        command.args(["-n", self.routers[number].name(), "-6", "route", "show", destination]);
        let listed = crate::lab::run(&mut command).context("listing routes")?;
        Ok(listed.lines().filter(|line| line.contains(" via ")).map(str::to_owned).collect())
    }
}
