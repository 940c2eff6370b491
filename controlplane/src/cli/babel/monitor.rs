//! `sixwire babel monitor`.

use std::io::{self, ErrorKind, Write as _};
use std::ops::ControlFlow;

use super::super::output::or_dash;
use super::Question;
use super::routes::destination;
use crate::daemon::standalone::api::{Request, ask};
use crate::daemon::standalone::report::{ChangeReport, EventKind, Subject};

/// Prints changes until interrupted.
pub(super) fn run(question: &Question) -> anyhow::Result<()> {
    ask(&question.socket, Request::Monitor, |line| {
        let text = match question.json {
            true => format!("{line}\n"),
            false => text(&serde_json::from_str(line)?),
        };
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) => Ok(ControlFlow::Continue(())),
            // The reader has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
            Err(error) => Err(error.into()),
        }
    })
}

fn text(change: &ChangeReport) -> String {
    let event = match change.event {
        EventKind::Add => "add",
        EventKind::Change => "change",
        EventKind::Flush => "flush",
    };
    match &change.subject {
        Subject::Neighbour { interface, address, cost } => {
            format!("{event} neighbour {address} interface {interface} cost {cost}\n")
        }
        Subject::Route(route) => format!(
            "{event} route {} metric {} router-id {} via {} interface {}\n",
            destination(route),
            or_dash(route.metric),
            route.router_id,
            or_dash(route.next_hop),
            or_dash(route.interface.as_ref()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_one_line() {
        let line = r#"{"schema":1,"event":"flush","neighbour":{"interface":"eth0",
                       "address":"fe80::1","cost":96}}"#;
        let change: ChangeReport = serde_json::from_str(line).unwrap();
        assert_eq!(text(&change), "flush neighbour fe80::1 interface eth0 cost 96\n");
    }
}
