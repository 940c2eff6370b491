//! `sixwire replay`.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sixwire_proto::babel::{Destination, RouteKey};
use sixwire_proto::link::LinkId;
use sixwire_proto::metric::Metric;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::seqno::Seqno;
use sixwire_proto::time::Instant;

use crate::babel::recording::{Replay, Step, Verdict};
use crate::babel::{Output, Target};

/// Prints every output as a line of JSON, and at the end, on standard error, whether all were the same.
pub(super) fn run(path: &Path) -> anyhow::Result<ExitCode> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut stdout = BufWriter::new(io::stdout().lock());
    let outcome = replay(Lines { reader: BufReader::new(file), number: 0 }, &mut stdout)
        .with_context(|| path.display().to_string())?;
    stdout.flush()?;
    match outcome.first_difference {
        None => {
            eprintln!("{} inputs, same outputs", outcome.inputs);
            Ok(ExitCode::SUCCESS)
        }
        Some(line) => {
            eprintln!("{} inputs, other outputs than recorded from line {line}", outcome.inputs);
            Ok(ExitCode::FAILURE)
        }
    }
}

struct Outcome {
    inputs: usize,
    /// Line of the recording.
    first_difference: Option<usize>,
}

fn replay(mut lines: Lines, out: &mut impl io::Write) -> anyhow::Result<Outcome> {
    let header = lines.next()?.context("the recording is empty")?;
    let mut replay = Replay::new(&header)?;
    let mut outcome = Outcome { inputs: 0, first_difference: None };
    while let Some(step) = lines.next::<Step>()? {
        let mut outputs = Vec::new();
        let verdict = replay.step(&step, |output| outputs.push(output));
        outcome.inputs += 1;
        if verdict == Verdict::Different {
            outcome.first_difference.get_or_insert(lines.number);
        }
        for output in &outputs {
            let line = Line { line: lines.number, at: step.at, output: Said::of(output) };
            serde_json::to_writer(&mut *out, &line)?;
            out.write_all(b"\n")?;
        }
    }
    Ok(outcome)
}

/// The lines of a recording.
struct Lines {
    reader: BufReader<File>,
    number: usize,
}

impl Lines {
    /// The next one; none at the end, or where the writer was cut off.
    fn next<T: DeserializeOwned>(&mut self) -> anyhow::Result<Option<T>> {
        let mut line = String::new();
        (&mut self.reader).take(LONGEST).read_line(&mut line)?;
        if !line.ends_with('\n') {
            return Ok(None);
        }
        self.number += 1;
        let value = serde_json::from_str(&line);
        value.map(Some).with_context(|| format!("line {} is not of a recording", self.number))
    }
}

/// One output.
#[derive(Serialize)]
struct Line {
    /// Line of the recording with the input that caused it.
    line: usize,
    at: Instant,
    #[serde(flatten)]
    output: Said,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum Said {
    Send {
        link: LinkId,
        to: Destination,
        #[serde(with = "sixwire_proto::encoding::bytes")]
        bytes: Vec<u8>,
    },
    Route {
        route: RouteKey,
        target: Way,
    },
    Seqno(Seqno),
    OriginWanted {
        router_id: RouterId,
        link: LinkId,
        neighbour: Ipv6Addr,
    },
    Probe {
        link: LinkId,
        neighbour: Ipv6Addr,
    },
    Event(String),
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum Way {
    Via { link: LinkId, next_hop: IpAddr, metric: Metric, router_id: RouterId },
    Unreachable,
    Gone,
}

impl Said {
    fn of(output: &Output) -> Self {
        match *output {
            Output::Send { link, to, ref packet } => {
                Self::Send { link, to, bytes: packet.bytes.clone() }
            }
            Output::Route { route, target, .. } => Self::Route { route, target: Way::of(target) },
            Output::Seqno(seqno) => Self::Seqno(seqno),
            Output::OriginWanted { router_id, link, neighbour } => {
                Self::OriginWanted { router_id, link, neighbour }
            }
            Output::Probe { link, neighbour } => Self::Probe { link, neighbour },
            Output::Event(event) => Self::Event(event.to_string()),
        }
    }
}

impl Way {
    fn of(target: Target) -> Self {
        match target {
            Target::Via { link, next_hop, metric, router_id } => {
                Self::Via { link, next_hop, metric, router_id }
            }
            Target::Unreachable => Self::Unreachable,
            Target::Gone => Self::Gone,
        }
    }
}

/// Octets of a line: the largest datagram in base64, and some.
const LONGEST: u64 = 256 * 1024;
