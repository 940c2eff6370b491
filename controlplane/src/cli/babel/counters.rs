//! `sixwire babel counters`.

use std::ops::ControlFlow;

use super::super::output::{Column, print, table};
use super::Question;
use crate::daemon::standalone::api::{Request, ask};
use crate::daemon::standalone::report::CountersReport;

/// Prints the counters that are not zero.
pub(super) fn run(question: &Question) -> anyhow::Result<()> {
    ask(&question.socket, Request::Counters, |line| {
        let text = match question.json {
            true => format!("{line}\n"),
            false => text(&serde_json::from_str(line)?),
        };
        Ok(ControlFlow::Continue(print(&text)?))
    })
}

const COLUMNS: [Column; 2] = [Column::Text("COUNTER"), Column::Number("COUNT")];

fn text(report: &CountersReport) -> String {
    let row = |(label, count): (&String, &u64)| vec![label.clone(), count.to_string()];
    table(&COLUMNS, report.counters.iter().map(row))
}
