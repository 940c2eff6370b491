//! The routing engine alone on four routers: two ways from `a` to `d`, the better of which changes. Others can run
//! there as well.

use std::fs;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Outcome, PATIENCE, TIMES, under_load};
use crate::clock::wait_for;
use crate::lab::{Lab, Namespace, Process, binary, run as run_command};
use crate::line::Speaker;
use crate::ping::Flow;

/// `b` and `c` have kernel routes to `d` and announce them, each with a metric that its protocol number chooses:
/// replacing a kernel route by one of another protocol changes the metric, and nothing else.
struct Diamond {
    a: Namespace,
    b: Namespace,
    /// Of our engine on `a`.
    socket: PathBuf,
    _engines: Vec<Process>,
}

pub(super) fn run(lab: &mut Lab) -> Result<Vec<Outcome>> {
    let diamond = Diamond::new(lab, Speaker::Sixwire)?;
    let flows = [diamond.flow()];
    diamond.wait_metric(WIRED, "b")?;
    let metric = under_load(&flows, ("metric changes (sixwire babel)", TIMES), |time| {
        let (protocol, more) = if time % 2 == 0 { (WORSE, 600) } else { (BEST, 0) };
        diamond.announce(protocol)?;
        diamond.wait_metric(WIRED + more, "b")
    })?;
    let next = under_load(&flows, ("next hop changes (sixwire babel)", TIMES), |time| {
        if time % 2 == 0 {
            diamond.announce(WORST)?;
            diamond.wait_metric(WIRED + 1000, "c")
        } else {
            diamond.announce(BEST)?;
            diamond.wait_metric(WIRED, "b")
        }
    })?;
    Ok(vec![metric, next])
}

/// The next hop changes, whoever runs there: it has when the kernel of `a` says so.
pub(super) fn next_hop(lab: &mut Lab, speaker: Speaker) -> Result<Outcome> {
    let diamond = Diamond::new(lab, speaker)?;
    diamond.wait_through("b")?;
    under_load(&[diamond.flow()], ("next hop changes", TIMES), |time| {
        let (protocol, neighbour) = if time % 2 == 0 { (WORST, "c") } else { (BEST, "b") };
        diamond.announce(protocol)?;
        diamond.wait_through(neighbour)
    })
}

impl Diamond {
    fn new(lab: &mut Lab, speaker: Speaker) -> Result<Self> {
        let routers =
            [lab.namespace("a")?, lab.namespace("b")?, lab.namespace("c")?, lab.namespace("d")?];
        connect(&routers)?;
        let directory = lab.directory().to_owned();
        let engines = routers.iter().zip(LINKS).enumerate().map(|(number, (router, links))| {
            let mut command = match speaker {
                Speaker::Sixwire => sixwire(router, (number, links), &directory),
                Speaker::Babeld => babeld(router, (number, links)),
                Speaker::Bird => bird(router, (number, links), &directory)?,
            };
            Process::start(&mut command, &directory.join(format!("{}.log", router.name())))
        });
        let engines = engines.collect::<Result<_>>()?;
        let [a, b, ..] = routers;
        Ok(Self { a, b, socket: directory.join("a.sock"), _engines: engines })
    }

    fn flow(&self) -> Flow {
        Flow { from: self.a.clone(), source: Some(A), to: D }
    }

    /// Lets `b` announce its route with the metric of this protocol.
    fn announce(&self, protocol: u8) -> Result<()> {
        self.b.ip(&route("replace", protocol))
    }

    /// Waits until `a` has selected the route through a neighbour with this metric, and its kernel has it.
    fn wait_metric(&self, metric: u16, neighbour: &str) -> Result<()> {
        let (wanted, interface) = (format!("{D}/128"), format!("to{neighbour}"));
        wait_for("the metric", PATIENCE, || {
            let selected = self.selected(&wanted).map_err(|error| format!("{error:#}"))?;
            if selected == Some((interface.clone(), u64::from(metric))) {
                Ok(())
            } else {
                Err(format!("{selected:?}"))
            }
        })?;
        self.wait_through(neighbour)
    }

    /// Waits until the kernel of `a` sends what is for `d` to this neighbour.
    fn wait_through(&self, neighbour: &str) -> Result<()> {
        wait_for("the next hop", PATIENCE, || {
            let mut ask = self.a.command("ip");
            let kernel = run_command(ask.args(["-6", "route", "get", &D.to_string()]));
            let kernel = kernel.map_err(|error| format!("{error:#}"))?;
            if kernel.contains(&format!("dev to{neighbour} ")) { Ok(()) } else { Err(kernel) }
        })
    }

    fn selected(&self, destination: &str) -> Result<Option<(String, u64)>> {
        let mut ask = Command::new(binary("sixwire"));
        ask.args(["babel", "routes", "--json", "--socket"]).arg(&self.socket);
        let report: Value = serde_json::from_str(&run_command(&mut ask)?)?;
        let routes = report.get("routes").and_then(Value::as_array).context("a list of routes")?;
        let text = |route: &Value, field: &str| Some(route.get(field)?.as_str()?.to_owned());
        let found = routes.iter().find(|route| {
            text(route, "destination").as_deref() == Some(destination)
                && text(route, "state").as_deref() == Some("selected")
        });
        Ok(found
            .and_then(|route| Some((text(route, "interface")?, route.get("metric")?.as_u64()?))))
    }
}

/// Links, addresses, and the routes of the two in the middle.
fn connect([a, b, c, d]: &[Namespace; 4]) -> Result<()> {
    for router in [a, b, c, d] {
        router.sysctl(&["net/ipv6/conf/all/forwarding=1"])?;
    }
    for (one, other, names) in
        [(a, b, ["b", "a"]), (a, c, ["c", "a"]), (b, d, ["d", "b"]), (c, d, ["d", "c"])]
    {
        let [here, there] = names;
        let far = other.name();
        one.ip(&format!("link add to{here} type veth peer name to{there} netns {far}\n"))?;
        one.ip(&format!("link set to{here} up\n"))?;
        other.ip(&format!("link set to{there} up\n"))?;
    }
    a.ip(&format!("addr add {A}/128 dev lo\n"))?;
    d.ip(&format!("addr add {D}/128 dev lo\naddr add {D_LINK}/64 dev tob nodad\naddr add {D_LINK}/64 dev toc nodad\n"))?;
    c.ip(&route("add", MIDDLE))?;
    b.ip(&route("add", BEST))
}

fn sixwire(router: &Namespace, (number, links): (usize, [&str; 2]), directory: &Path) -> Command {
    let mut command = router.command(&binary("sixwire").to_string_lossy());
    command.args(["babel", "run", "-i", links[0], "-i", links[1]]);
    match number {
        FIRST => {
            command.arg(format!("--announce={A}/128"));
            command.arg("--socket").arg(directory.join("a.sock"));
        }
        LAST => {}
        _ => {
            command.args(METRICS.map(|(protocol, metric)| {
                format!("--redistribute=protocol={protocol},metric={metric}")
            }));
        }
    }
    command
}

fn babeld(router: &Namespace, (number, links): (usize, [&str; 2])) -> Command {
    let mut command = router.command("babeld");
    command.args(["-I", "", "-S", "", "-C", "default type wired"]);
    let mut rule = |rule: &str| {
        command.arg("-C").arg(format!("redistribute {rule}"));
    };
    match number {
        FIRST => rule(&format!("local ip {A}/128 allow")),
        LAST => {}
        _ => {
            for (protocol, metric) in METRICS {
                // It refuses a metric of 0 in so many words.
                let action =
                    if metric == 0 { "allow".to_owned() } else { format!("metric {metric}") };
                rule(&format!("proto {protocol} {action}"));
            }
        }
    }
    rule("local deny");
    rule("deny");
    command.args(links);
    command
}

fn bird(
    router: &Namespace,
    (number, links): (usize, [&str; 2]),
    directory: &Path,
) -> Result<Command> {
    let file = directory.join(format!("{}.bird", router.name()));
    let metrics: String = METRICS
        .iter()
        .map(|(protocol, metric)| {
            format!("if krt_source = {protocol} then {{ babel_metric = {metric}; accept; }}\n")
        })
        .collect();
    let own = match number {
        FIRST => format!("if net = {A}/128 then accept;\n"),
        LAST => String::new(),
        _ => metrics,
    };
    let [one, other] = links;
    let text = format!(
        "router id 10.0.0.{};\n\
         filter told {{ if source = RTS_BABEL then accept;\n{own}reject; }}\n\
         protocol device {{}}\n\
         protocol direct {{ ipv6; interface \"lo\"; }}\n\
         protocol kernel {{ scan time 2; learn;\n\
         ipv6 {{ import all; export where source = RTS_BABEL; }}; }}\n\
         protocol babel {{ interface \"{one}\", \"{other}\" {{ type wired; }};\n\
         ipv6 {{ import all; export filter told; }}; }}\n",
        number + 1
    );
    fs::write(&file, text)?;
    let mut command = router.command("bird");
    command.arg("-f").arg("-c").arg(&file).arg("-s").arg(file.with_extension("ctl"));
    Ok(command)
}

fn route(verb: &str, protocol: u8) -> String {
    format!("route {verb} {D}/128 via {D_LINK} dev tod proto {protocol}\n")
}

const A: Ipv6Addr = Ipv6Addr::new(0xfd44, 0, 0, 0xa, 0, 0, 0, 1);
const D: Ipv6Addr = Ipv6Addr::new(0xfd44, 0, 0, 0xd, 0, 0, 0, 1);
const D_LINK: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xd);
/// The links of each router, from `a` to `d`.
const LINKS: [[&str; 2]; 4] = [["tob", "toc"], ["toa", "tod"], ["toa", "tod"], ["tob", "toc"]];
const FIRST: usize = 0;
const LAST: usize = 3;
/// What each protocol number makes of the metric.
const METRICS: [(u8, u16); 4] = [(BEST, 0), (WORSE, 600), (MIDDLE, 1000), (WORST, 3000)];
/// Cost of a wired link.
const WIRED: u16 = 96;
/// Protocol numbers that nobody else uses. Their metrics are far apart: small changes wait for the next full update.
const BEST: u8 = 201;
const WORSE: u8 = 202;
const MIDDLE: u8 = 203;
const WORST: u8 = 204;
