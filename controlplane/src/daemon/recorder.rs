//! Writes down all inputs of the routing engine, on demand: see [`crate::babel::recording`].

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sixwire_proto::seed::Seed;
use sixwire_proto::time::Instant;
use tracing::{info, warn};

use crate::babel::recording::{Header, SCHEMA, Scribe};
use crate::babel::{Babel, Filter, Input, Output, Params};

/// A file that grows by a line for each input, up to [`LARGEST`].
#[derive(Debug)]
pub(super) struct Recorder {
    path: PathBuf,
    /// Unset when it is full or broken.
    file: Option<File>,
    size: usize,
    scribe: Scribe,
}

/// An engine made from fresh randomness, and the recorder of all that it will be told.
pub(super) fn engine(
    (params, filters): (Params, Vec<Filter>),
    now: Instant,
    record: Option<&Path>,
) -> anyhow::Result<(Babel, Option<Recorder>)> {
    let seed = getrandom::u64().context("the system has no randomness to give")?;
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let header = Header { schema: SCHEMA, version, params, filters, seed, start: now };
    let recorder = record.map(|path| Recorder::create(path, &header)).transpose()?;
    let babel = Babel::new(params, Seed::new(seed), now).with_filters(header.filters);
    Ok((babel, recorder))
}

impl Recorder {
    fn create(path: &Path, header: &Header) -> anyhow::Result<Self> {
        // Who is whose neighbour is nobody else's business.
        let file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
        let file = file.with_context(|| format!("cannot record to {}", path.display()))?;
        info!(file = %path.display(), "recording all inputs of the routing engine");
        let scribe = Scribe::default();
        let mut recorder = Self { path: path.to_owned(), file: Some(file), size: 0, scribe };
        recorder.line(serde_json::to_string(header));
        Ok(recorder)
    }

    /// Notes an output.
    pub(super) fn output(&mut self, output: &Output) {
        self.scribe.output(output);
    }

    /// Notes an input, after all its outputs.
    pub(super) fn input(&mut self, at: Instant, input: Input<'_>) {
        if self.file.is_some() {
            let step = self.scribe.step(at, input);
            self.line(serde_json::to_string(&step));
        }
    }

    fn line(&mut self, line: serde_json::Result<String>) {
        if let Err(error) = self.write(line) {
            self.file = None;
            warn!(file = %self.path.display(), %error, "recording has stopped");
        }
    }

    fn write(&mut self, line: serde_json::Result<String>) -> io::Result<()> {
        let mut line = line.map_err(io::Error::other)?;
        line.push('\n');
        self.size += line.len();
        if self.size > LARGEST {
            return Err(io::Error::other(format!("it would grow beyond {} MiB", LARGEST >> 20)));
        }
        // One call for each line, so that a crash leaves whole ones.
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(line.as_bytes()))
    }
}

/// Most octets of a recording: a quiet node with ten neighbours takes a day, a storm minutes.
const LARGEST: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use sixwire_proto::router_id::RouterId;
    use sixwire_proto::seqno::Seqno;

    use super::*;
    use crate::babel::recording::Step;

    fn record(path: &Path, inputs: usize) -> Recorder {
        let id = RouterId::new([1; 8]).unwrap();
        let (mut babel, recorder) =
            engine((Params::new(id, Seqno(1)), Vec::new()), Instant(5), Some(path)).unwrap();
        let mut recorder = recorder.unwrap();
        for at in 0..inputs {
            let (at, input) = (Instant(at as u64), Input::Deadline);
            babel.handle(at, input);
            while let Some(output) = babel.poll_output() {
                recorder.output(&output);
            }
            recorder.input(at, input);
        }
        recorder
    }

    #[test]
    fn a_recording_is_a_header_and_a_line_for_each_input() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("recording");
        record(&path, 3);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        let header: Header = serde_json::from_str(lines[0]).unwrap();
        assert_eq!((header.schema, header.start), (SCHEMA, Instant(5)));
        let step: Step = serde_json::from_str(lines[3]).unwrap();
        assert_eq!(step.at, Instant(2));
    }

    #[test]
    fn a_recording_that_is_too_large_stops() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("recording");
        let mut recorder = record(&path, 1);
        recorder.size = LARGEST - 10;
        recorder.input(Instant(9), Input::Shutdown);
        recorder.input(Instant(10), Input::Deadline);
        assert!(recorder.file.is_none());
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    }
}
