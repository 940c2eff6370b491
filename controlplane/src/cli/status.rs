//! `sixwire status`.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde::Serialize;

use super::output::{Paint, complain, print, print_json};
use super::quantity::{counted, period};
use super::{Form, Place};
use crate::daemon::api::report::{
    Counter, Health, HelperReport, RegistryReport, StatusReport, UplinkReport, WireguardKind,
};
use crate::daemon::api::{ClientError, Request, Schema};

/// What is known of a daemon that does not answer: the head of a [`StatusReport`].
#[derive(Serialize)]
struct Absent {
    schema: Schema,
    health: Health,
    reasons: [String; 1],
}

/// Prints the health, and says it by the exit code as well.
pub(super) fn run(place: Place, form: Form) -> ExitCode {
    let asked = place
        .client()
        .map_err(anyhow::Error::from)
        .and_then(|client| Ok(client.ask::<StatusReport>(Request::Status)?));
    let printed = match &asked {
        Ok(report) if form.json => print_json(report),
        Ok(report) => print(&text(report, Paint::of_stdout())),
        Err(error) if form.json && error.is::<ClientError>() => print_json(&Absent {
            schema: Schema,
            health: Health::Down,
            reasons: [error.to_string()],
        }),
        Err(error) => {
            complain(error);
            Ok(())
        }
    };
    if let Err(error) = printed {
        complain(&error.into());
    }
    ExitCode::from(match asked.map_or(Health::Down, |report| report.health) {
        Health::Healthy => 0,
        Health::Degraded => 1,
        Health::Down => 2,
    })
}

/// The report for people.
fn text(report: &StatusReport, paint: Paint) -> String {
    let name = report.node.name.clone().unwrap_or_else(|| report.node.router_id.to_string());
    let mut text = format!(
        "{}  {name}  {}  up {}\n",
        health(report.health, paint),
        report.node.address,
        period(report.daemon.uptime_s)
    );
    for reason in &report.reasons {
        line(&mut text, "!", reason);
    }
    for warning in &report.warnings {
        line(&mut text, "note", warning);
    }
    text.push('\n');
    for (label, value) in rows(report) {
        line(&mut text, label, &value);
    }
    text
}

fn line(text: &mut String, label: &str, value: &str) {
    writeln!(text, "{label:<12}{value}").expect("a string takes every write");
}

fn health(health: Health, paint: Paint) -> String {
    match health {
        Health::Healthy => paint.paint("healthy", GREEN),
        Health::Degraded => paint.paint("degraded", YELLOW),
        Health::Down => paint.paint("down", RED),
    }
}

fn rows(report: &StatusReport) -> Vec<(&'static str, String)> {
    let StatusReport { node, network, certificate, tunnels, routing, .. } = report;
    let wireguard = match tunnels.wireguard {
        WireguardKind::Kernel => "kernel",
        WireguardKind::Embedded => "embedded",
    };
    let (neighbours, routes) =
        (counted(routing.neighbours, "neighbour"), counted(routing.routes, "route"));
    let mut rows = vec![
        ("node", format!("{}  {}", node.router_id, node.prefix)),
        ("network", format!("{}  {}  epoch {}", network.id, network.prefix, network.epoch)),
        ("certificate", format!("valid until {}", certificate.not_after)),
        (
            "tunnels",
            format!(
                "{} up ({} dialled, {} served), {wireguard} WireGuard{}",
                tunnels.up,
                tunnels.dialled,
                tunnels.served,
                tunnels.helper.as_ref().map(restarts).unwrap_or_default()
            ),
        ),
        ("routing", format!("{neighbours}, {routes}")),
        ("registry", registry(&report.registry)),
    ];
    if !tunnels.uplinks.is_empty() {
        let one = |it: &UplinkReport| format!("{} {} of {} up", it.name, it.up, it.tunnels);
        let each: Vec<String> = tunnels.uplinks.iter().map(one).collect();
        rows.insert(4, ("uplinks", each.join(", ")));
    }
    if !report.limits.is_empty() {
        rows.push(("limits", counters(&report.limits)));
    }
    if !report.counters.is_empty() {
        rows.push(("counted", counters(&report.counters)));
    }
    rows.push(("version", report.daemon.version.clone()));
    rows
}

fn restarts(helper: &HelperReport) -> String {
    let HelperReport { restarts, last_restart_s } = helper;
    let Some(since) = last_restart_s else { return String::new() };
    let times = counted(u32::try_from(*restarts).unwrap_or(u32::MAX), "time");
    format!(", restarted {times}, last {} ago", period(*since))
}

fn registry(registry: &RegistryReport) -> String {
    let ago = |seconds| format!("last answer {} ago", period(seconds));
    let seen = registry.last_success_s.map_or_else(|| "no answer yet".to_owned(), ago);
    let trouble = match (&registry.last_error, registry.reachable) {
        (Some(error), Some(false)) => format!("; {error}"),
        (_, Some(true | false) | None) => String::new(),
    };
    format!("{}  {seen}{trouble}", registry.host)
}

fn counters(counters: &[Counter]) -> String {
    let each: Vec<String> =
        counters.iter().map(|Counter { label, value }| format!("{label} {value}")).collect();
    each.join(", ")
}

const RED: u8 = 31;
const GREEN: u8 = 32;
const YELLOW: u8 = 33;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::api::report::*;

    fn report() -> StatusReport {
        StatusReport {
            schema: Schema,
            health: Health::Healthy,
            reasons: Vec::new(),
            warnings: Vec::new(),
            daemon: DaemonReport { version: "0.1.0".to_owned(), uptime_s: 18_420 },
            node: NodeReport {
                router_id: "0123456789abcdef".parse().unwrap(),
                name: Some("paris".to_owned()),
                prefix: "fd00:1:2:3::/64".parse().unwrap(),
                address: "fd00:1:2:3::1".parse().unwrap(),
                roles: Vec::new(),
            },
            network: NetworkReport {
                id: "000102030405060708090a0b0c0d0e0f".parse().unwrap(),
                prefix: "fd00:1:2::/48".parse().unwrap(),
                epoch: 7,
            },
            certificate: CertificateReport {
                serial: 1,
                not_before: sixwire_proto::time::Timestamp(0),
                not_after: sixwire_proto::time::Timestamp(1_795_354_140),
            },
            tunnels: TunnelsReport {
                wireguard: WireguardKind::Kernel,
                dialled: 10,
                served: 3,
                up: 12,
                uplinks: Vec::new(),
                helper: None,
            },
            routing: RoutingReport { neighbours: 1, routes: 57 },
            registry: RegistryReport {
                host: "vpn.example.net:8443".to_owned(),
                reachable: Some(true),
                last_success_s: Some(90),
                last_error: None,
            },
            limits: Vec::new(),
            counters: Vec::new(),
        }
    }

    #[test]
    fn a_healthy_node_fits_a_small_terminal() {
        let expected = "\
healthy  paris  fd00:1:2:3::1  up 5h7m

node        0123456789abcdef  fd00:1:2:3::/64
network     000102030405060708090a0b0c0d0e0f  fd00:1:2::/48  epoch 7
certificate valid until 2026-11-22T13:29:00Z
tunnels     12 up (10 dialled, 3 served), kernel WireGuard
routing     1 neighbour, 57 routes
registry    vpn.example.net:8443  last answer 1m30s ago
version     0.1.0
";
        assert_eq!(text(&report(), Paint::Plain), expected);
        assert!(expected.lines().all(|line| line.len() <= 80));
    }

    #[test]
    fn uplinks_stand_under_the_tunnels() {
        let uplink = |name: &str, up| UplinkReport { name: name.to_owned(), tunnels: 10, up };
        let mut two = report();
        two.tunnels.uplinks = vec![uplink("dsl", 10), uplink("fibre", 9)];
        let text = text(&two, Paint::Plain);
        let line = text.lines().nth(6);
        assert_eq!(line, Some("uplinks     dsl 10 of 10 up, fibre 9 of 10 up"), "{text}");
    }

    #[test]
    fn a_restart_of_the_embedded_wireguard_is_said() {
        let mut report = report();
        report.tunnels.wireguard = WireguardKind::Embedded;
        let mut row = |helper| {
            report.tunnels.helper = Some(helper);
            let text = text(&report, Paint::Plain);
            text.lines().find(|line| line.starts_with("tunnels")).unwrap().to_owned()
        };
        let calm = row(HelperReport { restarts: 0, last_restart_s: None });
        assert!(calm.ends_with(", embedded WireGuard"), "{calm}");
        let once = row(HelperReport { restarts: 1, last_restart_s: Some(3) });
        assert!(once.ends_with(", embedded WireGuard, restarted 1 time, last 3s ago"), "{once}");
    }

    #[test]
    fn what_is_wrong_stands_at_the_top() {
        let mut degraded = report();
        degraded.health = Health::Degraded;
        degraded.reasons = vec!["the registry does not answer".to_owned()];
        degraded.warnings = vec!["nothing is guarded".to_owned()];
        degraded.registry.reachable = Some(false);
        degraded.registry.last_error = Some("connection refused".to_owned());
        degraded.counters = vec![
            Counter { label: "bad_magic".to_owned(), value: 4 },
            Counter { label: "own_packet".to_owned(), value: 1 },
        ];
        let text = text(&degraded, Paint::Coloured);
        assert!(text.starts_with("\x1b[33mdegraded\x1b[0m  paris"), "{text}");
        assert_eq!(text.lines().nth(1), Some("!           the registry does not answer"));
        assert_eq!(text.lines().nth(2), Some("note        nothing is guarded"));
        assert!(text.contains("last answer 1m30s ago; connection refused\n"), "{text}");
        assert!(text.contains("counted     bad_magic 4, own_packet 1\n"), "{text}");
    }
}
