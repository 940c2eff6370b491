//! Log lines on standard error: logfmt for people and journals, JSON for collectors.

use std::fmt::{self, Debug, Write as _};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::daemon::config::{Log, LogFormat, LogLevel};

/// Starts logging for the rest of the process, panics included.
pub(super) fn start(log: Log) {
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let layer = match log.format {
        LogFormat::Logfmt => layer.event_format(Logfmt).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(false).boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(filter(log.level))).init();
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        let message = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(place, panic = message, "a task of this program failed: report this");
    }));
}

/// Ours at the level that was asked for; of the libraries nothing below a warning, unless every
/// message was asked for.
fn filter(level: LogLevel) -> Targets {
    let (ours, theirs) = match level {
        LogLevel::Error => (LevelFilter::ERROR, LevelFilter::ERROR),
        LogLevel::Warn => (LevelFilter::WARN, LevelFilter::WARN),
        LogLevel::Info => (LevelFilter::INFO, LevelFilter::WARN),
        LogLevel::Debug => (LevelFilter::DEBUG, LevelFilter::WARN),
        LogLevel::Trace => (LevelFilter::TRACE, LevelFilter::DEBUG),
    };
    let quiet = if level == LogLevel::Trace { theirs } else { LevelFilter::ERROR };
    Targets::new()
        .with_default(theirs)
        .with_targets(TALKATIVE.map(|one| (one, quiet)))
        .with_target(OURS, ours)
}

/// What warns of things that are no news: `quinn_udp` of datagrams that were not sent (what they were for
/// fails by its own timeout, and says so), `netlink_proto` of every route that changes while we end.
const TALKATIVE: [&str; 2] = ["quinn_udp", "netlink_proto"];
/// What the names of our crates start with.
const OURS: &str = "sixwire";

/// `time=... level=info msg="..." key=value`.
struct Logfmt;

impl<S, N> FormatEvent<S, N> for Logfmt
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        writer.write_str("time=")?;
        SystemTime.format_time(&mut writer)?;
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        write!(writer, " level={level}")?;
        if !event.metadata().target().starts_with(OURS) {
            write!(writer, " target={}", event.metadata().target())?;
        }
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        writeln!(writer, "{}", fields.0)
    }
}

/// ` key=value` for each field.
struct Fields(String);

impl Fields {
    fn push(&mut self, field: &Field, value: &str) {
        let key = if field.name() == "message" { "msg" } else { field.name() };
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '"' && c != '=';
        let written = if !value.is_empty() && value.chars().all(plain) {
            write!(self.0, " {key}={value}")
        } else {
            write!(self.0, " {key}={value:?}")
        };
        written.expect("a string takes every write");
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.push(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(octets)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: LogLevel, log: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || writer.clone())
            .event_format(Logfmt)
            .with_filter(filter(level));
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, log);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    #[test]
    fn a_line_is_one_change_in_keys_and_values() {
        let lines = logged(LogLevel::Info, || {
            let empty = "";
            tracing::info!(peer = %"paris", cost = 96, empty, "tunnel is up\nnow");
            tracing::warn!(target: "netlink", reason = "say \"no\"", "refused");
            tracing::debug!("hidden");
            tracing::info!(target: "netlink", "hidden");
        });
        assert_eq!(
            lines,
            [
                r#"level=info msg="tunnel is up\nnow" peer=paris cost=96 empty="""#,
                r#"level=warn target=netlink msg=refused reason="say \"no\"""#,
            ]
        );
    }
}
