//! The routing engine alone on four routers: two ways from `a` to `d`, the better of which changes.

use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Outcome, PATIENCE, TIMES, under_load};
use crate::clock::wait_for;
use crate::lab::{Lab, Namespace, Process, binary, run as run_command};
use crate::ping::Flow;

/// `b` and `c` have kernel routes to `d` and announce them, each with a metric that its protocol number chooses:
/// replacing a kernel route by one of another protocol changes the metric, and nothing else.
struct Diamond {
    a: Namespace,
    b: Namespace,
    socket: PathBuf,
    _engines: Vec<Process>,
}

pub(super) fn run(lab: &mut Lab) -> Result<Vec<Outcome>> {
    let diamond = Diamond::new(lab)?;
    let flows = [Flow { from: diamond.a.clone(), source: Some(A), to: D }];
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

impl Diamond {
    fn new(lab: &mut Lab) -> Result<Self> {
        let [a, b, c, d] =
            [lab.namespace("a")?, lab.namespace("b")?, lab.namespace("c")?, lab.namespace("d")?];
        for router in [&a, &b, &c, &d] {
            router.sysctl(&["net/ipv6/conf/all/forwarding=1"])?;
        }
        for (one, other, names) in
            [(&a, &b, ["b", "a"]), (&a, &c, ["c", "a"]), (&b, &d, ["d", "b"]), (&c, &d, ["d", "c"])]
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
        b.ip(&route("add", BEST))?;
        let socket = lab.directory().join("a.sock");
        let rules = [(BEST, 0), (WORSE, 600), (MIDDLE, 1000), (WORST, 3000)];
        let rules = rules.map(|(protocol, metric)| {
            format!("--redistribute=protocol={protocol},metric={metric}")
        });
        let own = format!("--announce={A}/128");
        let (own, rules) = (vec![own], rules.to_vec());
        let mut engines = Vec::new();
        for (router, links, more) in [
            (&a, ["tob", "toc"], own),
            (&b, ["toa", "tod"], rules.clone()),
            (&c, ["toa", "tod"], rules),
            (&d, ["tob", "toc"], Vec::new()),
        ] {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", router.name()]).arg(binary("sixwire"));
            command.args(["babel", "run", "-i", links[0], "-i", links[1]]).args(more);
            if router == &a {
                command.arg("--socket").arg(&socket);
            }
            let log = lab.directory().join(format!("{}.log", router.name()));
            engines.push(Process::start(&mut command, &log)?);
        }
        Ok(Self { a, b, socket, _engines: engines })
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
            let mut ask = self.a.command("ip");
            let kernel = run_command(ask.args(["-6", "route", "get", &D.to_string()]));
            let kernel = kernel.map_err(|error| format!("{error:#}"))?;
            let through = kernel.contains(&format!("dev {interface} "));
            if through && selected == Some((interface.clone(), u64::from(metric))) {
                Ok(())
            } else {
                Err(format!("{selected:?}; {kernel}"))
            }
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

fn route(verb: &str, protocol: u8) -> String {
    format!("route {verb} {D}/128 via {D_LINK} dev tod proto {protocol}\n")
}

const A: Ipv6Addr = Ipv6Addr::new(0xfd44, 0, 0, 0xa, 0, 0, 0, 1);
const D: Ipv6Addr = Ipv6Addr::new(0xfd44, 0, 0, 0xd, 0, 0, 0, 1);
const D_LINK: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xd);
/// Cost of a wired link.
const WIRED: u16 = 96;
/// Protocol numbers that nobody else uses. Their metrics are far apart: small changes wait for the next full update.
const BEST: u8 = 201;
const WORSE: u8 = 202;
const MIDDLE: u8 = 203;
const WORST: u8 = 204;
