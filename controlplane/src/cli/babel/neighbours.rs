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

const COLUMNS: [Column; 8] = [
    Column::Text("INTERFACE"),
    Column::Text("ADDRESS"),
    Column::Number("COST"),
    Column::Number("RXCOST"),
    Column::Number("TXCOST"),
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
        format!("{:04x}", neighbour.hellos),
        neighbour.routes.to_string(),
        or_dash(neighbour.authenticated.map(|yes| if yes { "yes" } else { "no" })),
    ]
}
