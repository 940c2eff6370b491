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

fn text(report: &CountersReport) -> String {
    let row = |(label, count): (&String, &u64)| vec![label.clone(), count.to_string()];
    let columns = |heading| [Column::Text(heading), Column::Number("COUNT")];
    let others = report.counters.iter().filter(|(label, _)| !report.limits.contains_key(*label));
    let others = table(&columns("COUNTER"), others.map(row));
    if report.limits.is_empty() {
        return others;
    }
    let limits = table(&columns("LIMIT REACHED"), report.limits.iter().map(row));
    format!("{limits}\n{others}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::daemon::api::Schema;

    #[test]
    fn limits_that_were_reached_stand_before_the_rest() {
        let named = |label: &str, count| (label.to_owned(), count);
        let (limit, other) = (named("dropped: too many routes", 3), named("packets sent", 12));
        let mut report = CountersReport {
            schema: Schema,
            limits: BTreeMap::from([limit.clone()]),
            counters: BTreeMap::from([limit, other]),
        };
        let rest = "COUNTER       COUNT\npackets sent     12\n";
        let limits = "\
LIMIT REACHED             COUNT
dropped: too many routes      3
";
        assert_eq!(text(&report), format!("{limits}\n{rest}"));
        report.counters = report.counters.split_off("packets sent");
        report.limits.clear();
        assert_eq!(text(&report), rest);
    }
}
