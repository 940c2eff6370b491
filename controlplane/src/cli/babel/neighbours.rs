//! `sixwire babel neighbours`.

use std::ops::ControlFlow;

use super::super::output::{Column, or_dash, print, table};
use super::Question;
use crate::daemon::standalone::api::{Request, ask};
use crate::daemon::standalone::report::{NeighbourReport, NeighboursReport};

/// Prints the neighbours.
pub(super) fn run(question: &Question) -> anyhow::Result<()> {
    ask(&question.socket, Request::Neighbours, |line| {
        let text = match question.json {
            true => format!("{line}\n"),
            false => text(&serde_json::from_str(line)?),
        };
        Ok(ControlFlow::Continue(print(&text)?))
    })
}

const COLUMNS: [Column; 10] = [
    Column::Text("INTERFACE"),
    Column::Text("ADDRESS"),
    Column::Number("COST"),
    Column::Number("RXCOST"),
    Column::Number("TXCOST"),
    Column::Number("RTTCOST"),
    Column::Number("RTT"),
    Column::Number("HELLOS"),
    Column::Number("ROUTES"),
    Column::Text("AUTHENTICATED"),
];

fn text(report: &NeighboursReport) -> String {
    if report.neighbours.is_empty() {
        return "no neighbours\n".to_owned();
    }
    table(&COLUMNS, report.neighbours.iter().map(row))
}

fn row(neighbour: &NeighbourReport) -> Vec<String> {
    vec![
        neighbour.interface.clone(),
        neighbour.address.to_string(),
        or_dash(neighbour.cost),
        or_dash(neighbour.rxcost),
        or_dash(neighbour.txcost),
        neighbour.rtt_cost.to_string(),
        or_dash(neighbour.rtt_ms.map(|rtt| format!("{rtt:.1}ms"))),
        format!("{:04x}", neighbour.hellos),
        neighbour.routes.to_string(),
        or_dash(neighbour.authenticated.map(|yes| if yes { "yes" } else { "no" })),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::api::Schema;

    #[test]
    fn the_parts_of_the_cost_stand_beside_it() {
        let tunnel = NeighbourReport {
            interface: "wg0".to_owned(),
            address: "fe80::1".parse().unwrap(),
            cost: Some(246),
            rxcost: Some(96),
            txcost: Some(96),
            rtt_ms: Some(85.04),
            rtt_cost: 150,
            hellos: 0xffff,
            routes: 3,
            authenticated: Some(true),
        };
        let silent = NeighbourReport {
            interface: "eth0".to_owned(),
            cost: None,
            txcost: None,
            rtt_ms: None,
            rtt_cost: 0,
            hellos: 1,
            routes: 0,
            authenticated: None,
            ..tunnel.clone()
        };
        let expected = "\
INTERFACE  ADDRESS  COST  RXCOST  TXCOST  RTTCOST     RTT  HELLOS  ROUTES  AUTHENTICATED
wg0        fe80::1   246      96      96      150  85.0ms    ffff       3  yes
eth0       fe80::1     -      96       -        0       -    0001       0  -
";
        let report = NeighboursReport { schema: Schema, neighbours: vec![tunnel, silent] };
        assert_eq!(text(&report), expected);
    }
}
