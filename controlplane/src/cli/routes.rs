//! `sixwire routes`.

use super::output::{Column, print, print_json, table};
use super::{Form, Place};
use crate::daemon::api::Request;
use crate::daemon::api::report::{RouteReport, RoutesReport};

/// Prints the routing table.
pub(super) fn run(place: Place, form: Form) -> anyhow::Result<()> {
    let report: RoutesReport = place.client()?.ask(Request::Routes)?;
    if form.json {
        return Ok(print_json(&report)?);
    }
    Ok(print(&text(&report))?)
}

const COLUMNS: [Column; 5] = [
    Column::Text("DESTINATION"),
    Column::Text("NODE"),
    Column::Text("VIA"),
    Column::Number("METRIC"),
    Column::Text("KERNEL"),
];

/// The report for people.
fn text(report: &RoutesReport) -> String {
    if report.routes.is_empty() {
        return "no routes\n".to_owned();
    }
    table(&COLUMNS, report.routes.iter().map(|route| row(route, report)))
}

fn row(route: &RouteReport, report: &RoutesReport) -> Vec<String> {
    let destination = match route.source {
        Some(source) => format!("{} from {source}", route.destination),
        None => route.destination.to_string(),
    };
    vec![
        destination,
        route.name.clone().unwrap_or_else(|| route.router_id.to_string()),
        via(route, report),
        route.metric.to_string(),
        if route.installed { "yes" } else { "no" }.to_owned(),
    ]
}

/// The next node on the way, by its name if any route leads to it; the interface where the node is
/// not known.
fn via(route: &RouteReport, report: &RoutesReport) -> String {
    let Some(via) = route.via else { return route.interface.clone() };
    let links = match route.interfaces.len() {
        0 | 1 => String::new(),
        several => format!(" ({several} tunnels)"),
    };
    let named = |other: &&RouteReport| other.router_id == via && other.name.is_some();
    let name = report.routes.iter().find(named).and_then(|other| other.name.clone());
    name.unwrap_or_else(|| via.to_string()) + &links
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::api::Schema;

    fn route(destination: &str, node: &str, name: Option<&str>) -> RouteReport {
        RouteReport {
            destination: destination.parse().unwrap(),
            source: None,
            router_id: node.parse().unwrap(),
            name: name.map(str::to_owned),
            via: Some("0123456789abcdef".parse().unwrap()),
            interface: "sw-01234567".to_owned(),
            interfaces: Vec::new(),
            next_hop: "fe80::123:4567:89ab:cdef".parse().unwrap(),
            metric: 96,
            installed: true,
        }
    }

    #[test]
    fn routes_fit_a_small_terminal() {
        let near = route("2001:db8:aaaa:bbbb::/64", "0123456789abcdef", Some("paris"));
        let far = RouteReport {
            metric: 1234,
            installed: false,
            ..route("fd00:1:2:4::/64", "fedcba9876543210", None)
        };
        let native = RouteReport {
            source: Some("fd00:1:2::/48".parse().unwrap()),
            via: None,
            interface: "eth1".to_owned(),
            ..route("::/0", "fedcba9876543210", Some("gate"))
        };
        let routes = vec![near, far, native];
        let expected = "\
DESTINATION              NODE              VIA    METRIC  KERNEL
2001:db8:aaaa:bbbb::/64  paris             paris      96  yes
fd00:1:2:4::/64          fedcba9876543210  paris    1234  no
::/0 from fd00:1:2::/48  gate              eth1       96  yes
";
        assert_eq!(text(&RoutesReport { schema: Schema, routes }), expected);
    }
}
