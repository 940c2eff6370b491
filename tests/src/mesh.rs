//! Many routers and the links between them, each router running a Babel of the same make.

use std::fs;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::lab::{Lab, Namespace, Process, binary, run};
use crate::line::Speaker;
use crate::ping::Flow;

/// Namespaces joined by veth pairs. Router `n` owns [`address`]`(n)`; its end of the link to router `m` is
/// called `to<m>`.
#[derive(Debug)]
pub struct Mesh {
    /// The routers.
    pub routers: Vec<Namespace>,
    links: Vec<(usize, usize)>,
    directory: PathBuf,
}

/// Which timers a speaker gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timers {
    /// Its own.
    Default,
    /// Ours by profile; others a Hello each second and an update every four.
    Fast,
}

impl Mesh {
    /// `side` times `side` routers, each linked to its neighbours in row and column.
    ///
    /// # Errors
    /// When a namespace or link cannot be made.
    pub fn grid(lab: &mut Lab, side: usize) -> Result<Self> {
        let right = |n: &usize| n % side + 1 < side;
        let rows = (0..side * side).filter(right).map(|n| (n, n + 1));
        let columns = (0..side * (side - 1)).map(|n| (n, n + side));
        Self::new(lab, side * side, rows.chain(columns).collect())
    }

    /// `count` routers in a row.
    ///
    /// # Errors
    /// As [`Self::grid`].
    pub fn line(lab: &mut Lab, count: usize) -> Result<Self> {
        Self::new(lab, count, (1..count).map(|n| (n - 1, n)).collect())
    }

    /// `count` routers in a row, the last linked to the first, too.
    ///
    /// # Errors
    /// As [`Self::grid`].
    pub fn ring(lab: &mut Lab, count: usize) -> Result<Self> {
        Self::new(lab, count, (0..count).map(|n| (n, (n + 1) % count)).collect())
    }

    fn new(lab: &mut Lab, count: usize, links: Vec<(usize, usize)>) -> Result<Self> {
        let routers = (0..count).map(|n| lab.namespace(&format!("r{n}"))).collect::<Result<_>>()?;
        let mesh = Self { routers, links, directory: lab.directory().to_owned() };
        for (n, router) in mesh.routers.iter().enumerate() {
            let settings = ["forwarding=1", "accept_dad=0"];
            let all = settings.map(|one| format!("net/ipv6/conf/all/{one}"));
            let default = settings.map(|one| format!("net/ipv6/conf/default/{one}"));
            let settings: Vec<&str> = all.iter().chain(&default).map(String::as_str).collect();
            router.sysctl(&settings)?;
            router.ip(&format!("addr add {}/128 dev lo\n", address(n)))?;
        }
        for (one, other) in &mesh.links {
            let (left, right) = (&mesh.routers[*one], &mesh.routers[*other]);
            let peer = right.name();
            left.ip(&format!("link add to{other} type veth peer name to{one} netns {peer}\n"))?;
            left.ip(&format!("link set to{other} up\n"))?;
            right.ip(&format!("link set to{one} up\n"))?;
        }
        Ok(mesh)
    }

    /// Starts the same speaker on every router.
    ///
    /// # Errors
    /// When a program cannot be started.
    pub fn start(&self, speaker: Speaker, timers: Timers) -> Result<Vec<Process>> {
        (0..self.routers.len()).map(|n| self.start_one(n, speaker, timers)).collect()
    }

    fn start_one(&self, n: usize, speaker: Speaker, timers: Timers) -> Result<Process> {
        let router = &self.routers[n];
        let interfaces = self.interfaces(n);
        let mut command = match speaker {
            Speaker::Sixwire => {
                let mut command = router.command(&binary("sixwire").to_string_lossy());
                command.args(["babel", "run", "--announce", &format!("{}/128", address(n))]);
                command.args(interfaces.iter().flat_map(|name| ["-i", name]));
                if timers == Timers::Fast {
                    command.args(["--profile", "fast"]);
                }
                command
            }
            Speaker::Babeld => {
                let mut command = router.command("babeld");
                command.args(["-I", "", "-S", "", "-C", "default type wired"]);
                command.args(["-C", &format!("redistribute local ip {}/128 allow", address(n))]);
                command.args(["-C", "redistribute local deny"]);
                if timers == Timers::Fast {
                    command.args(["-h", "1", "-H", "1"]);
                }
                command.args(&interfaces);
                command
            }
            Speaker::Bird => self.bird(n, timers)?,
        };
        Process::start(&mut command, &self.directory.join(format!("{}.log", router.name())))
    }

    fn bird(&self, n: usize, timers: Timers) -> Result<Command> {
        let file = self.directory.join(format!("{}.bird", self.routers[n].name()));
        let timers = match timers {
            Timers::Default => "",
            Timers::Fast => "hello interval 1 s; update interval 4 s;",
        };
        let text = format!(
            "router id 10.0.0.{};\n\
             protocol device {{}}\n\
             protocol direct {{ ipv6; interface \"lo\"; }}\n\
             protocol kernel {{ ipv6 {{ export where source = RTS_BABEL; }}; }}\n\
             protocol babel {{ interface \"to*\" {{ type wired; {timers} }};\n\
             ipv6 {{ import all; export all; }}; }}\n",
            n + 1
        );
        fs::write(&file, text)?;
        let mut command = self.routers[n].command("bird");
        command.arg("-f").arg("-c").arg(&file).arg("-s").arg(file.with_extension("ctl"));
        Ok(command)
    }

    fn interfaces(&self, n: usize) -> Vec<String> {
        let other = |&(a, b): &(usize, usize)| match n {
            _ if n == a => Some(b),
            _ if n == b => Some(a),
            _ => None,
        };
        self.links.iter().filter_map(other).map(|other| format!("to{other}")).collect()
    }

    /// How many links there are.
    #[must_use]
    pub fn links(&self) -> usize {
        self.links.len()
    }

    /// Pings from one router's address to another's.
    #[must_use]
    pub fn flow(&self, from: usize, to: usize) -> Flow {
        Flow { from: self.routers[from].clone(), source: Some(address(from)), to: address(to) }
    }

    /// The router next to `from` on its way to `to`.
    ///
    /// # Errors
    /// When there is no such way.
    pub fn next(&self, from: usize, to: usize) -> Result<usize> {
        let mut command = self.routers[from].command("ip");
        let answer = run(command.args(["-6", "route", "get", &address(to).to_string()]))?;
        let mut words = answer.split_whitespace().skip_while(|word| *word != "dev");
        let interface = words.nth(1).with_context(|| format!("no interface in {answer}"))?;
        let next = interface.strip_prefix("to").and_then(|number| number.parse().ok());
        next.with_context(|| format!("{interface} is no link of this mesh"))
    }

    /// Drops everything that crosses a link; nobody is told.
    ///
    /// # Errors
    /// What `nft` says.
    pub fn cut(&self, one: usize, other: usize) -> Result<()> {
        for (here, there) in [(one, other), (other, one)] {
            silence(&self.routers[here], &format!("to{there}"))?;
        }
        Ok(())
    }

    /// Lets a cut link carry packets again.
    ///
    /// # Errors
    /// When it was not cut.
    pub fn heal(&self, one: usize, other: usize) -> Result<()> {
        for here in [one, other] {
            self.routers[here].nft("delete table netdev cut\n")?;
        }
        Ok(())
    }

    /// How many IPv6 routes each kernel has.
    ///
    /// # Errors
    /// When a namespace cannot be entered.
    pub fn routes(&self) -> Result<Vec<u64>> {
        let count = |router: &Namespace| {
            let stats =
                router.within(|| fs::read_to_string("/proc/thread-self/net/rt6_stats"))??;
            let field = stats.split_whitespace().nth(3).context("rt6_stats has seven fields")?;
            Ok(u64::from_str_radix(field, 16)?)
        };
        self.routers.iter().map(count).collect()
    }

    /// Octets that have crossed all links, Ethernet headers included.
    ///
    /// # Errors
    /// As [`Self::routes`].
    pub fn octets(&self) -> Result<u64> {
        let mut sum = 0;
        for router in &self.routers {
            let table = router.within(|| fs::read_to_string("/proc/thread-self/net/dev"))??;
            let rows = table.lines().filter_map(|line| line.split_once(':'));
            let links = rows.filter(|(name, _)| name.trim().starts_with("to"));
            let sent =
                links.filter_map(|(_, row)| row.split_whitespace().nth(8)?.parse::<u64>().ok());
            sum += sent.sum::<u64>();
        }
        Ok(sum)
    }
}

/// Drops everything that comes by an interface; its carrier stays.
///
/// # Errors
/// What `nft` says, also when something is silent there already.
pub fn silence(router: &Namespace, interface: &str) -> Result<()> {
    let hook = format!("type filter hook ingress device \"{interface}\" priority 0; policy drop;");
    let script = format!("add table netdev cut\nadd chain netdev cut in {{ {hook} }}\n");
    router.nft(&script).map(drop)
}

/// The address of router `n`.
#[must_use]
pub fn address(n: usize) -> Ipv6Addr {
    let number = u16::try_from(n + 1).unwrap_or(u16::MAX);
    Ipv6Addr::new(0xfd22, 0, 0, number, 0, 0, 0, 1)
}
