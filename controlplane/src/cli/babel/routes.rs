//! `sixwire babel routes`.

use std::ops::ControlFlow;

use super::super::output::{Column, or_dash, print, table};
use super::Question;
use crate::daemon::standalone::api::{Request, ask};
use crate::daemon::standalone::report::{RouteReport, RoutesReport};

/// Prints the routes.
pub(super) fn run(question: &Question) -> anyhow::Result<()> {
    ask(&question.socket, Request::Routes, |line| {
        let text = match question.json {
            true => format!("{line}\n"),
            false => text(&serde_json::from_str(line)?),
        };
        Ok(ControlFlow::Continue(print(&text)?))
    })
}

const COLUMNS: [Column; 7] = [
    Column::Text("DESTINATION"),
    Column::Text("STATE"),
    Column::Number("METRIC"),
    Column::Text("ROUTER-ID"),
    Column::Text("INTERFACE"),
    Column::Text("NEXT HOP"),
    Column::Text("KERNEL"),
];

fn text(report: &RoutesReport) -> String {
    if report.routes.is_empty() {
        return "no routes\n".to_owned();
    }
    table(&COLUMNS, report.routes.iter().map(row))
}

fn row(route: &RouteReport) -> Vec<String> {
    vec![
        destination(route),
        route.state.clone(),
        or_dash(route.metric),
        route.router_id.to_string(),
        or_dash(route.interface.as_ref()),
        or_dash(route.next_hop),
        or_dash(route.installed.map(|yes| if yes { "yes" } else { "no" })),
    ]
}

/// The destination, and the source if it matters.
pub(super) fn destination(route: &RouteReport) -> String {
    match route.source {
        Some(source) => format!("{} from {source}", route.destination),
        None => route.destination.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::api::Schema;

    #[test]
    fn own_and_foreign_routes_stand_in_one_table() {
        let own = RouteReport {
            destination: "fd00:1::/64".parse().unwrap(),
            source: None,
            router_id: "0123456789abcdef".parse().unwrap(),
            interface: None,
            next_hop: None,
            metric: Some(0),
            refmetric: Some(0),
            seqno: Some(1),
            state: "own".to_owned(),
            installed: None,
        };
        let foreign = RouteReport {
            destination: "::/0".parse().unwrap(),
            source: Some("fd00::/16".parse().unwrap()),
            interface: Some("eth0".to_owned()),
            next_hop: Some("fe80::1".parse().unwrap()),
            metric: None,
            state: "unreachable".to_owned(),
            ..own.clone()
        };
        let used = RouteReport {
            source: None,
            metric: Some(96),
            state: "selected".to_owned(),
            installed: Some(true),
            ..foreign.clone()
        };
        let refused = RouteReport { installed: Some(false), ..used.clone() };
        let expected = "\
DESTINATION          STATE        METRIC  ROUTER-ID         INTERFACE  NEXT HOP  KERNEL
fd00:1::/64          own               0  0123456789abcdef  -          -         -
::/0 from fd00::/16  unreachable       -  0123456789abcdef  eth0       fe80::1   -
::/0                 selected         96  0123456789abcdef  eth0       fe80::1   yes
::/0                 selected         96  0123456789abcdef  eth0       fe80::1   no
";
        let routes = vec![own, foreign, used, refused];
        assert_eq!(text(&RoutesReport { schema: Schema, routes }), expected);
    }
}
