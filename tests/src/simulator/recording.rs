//! What one node of a simulation was told.

use sixwire_controlplane::babel::recording::{Header, SCHEMA, Scribe, Step};
use sixwire_controlplane::babel::{Input, Output, Params};
use sixwire_proto::time::Instant;

/// A recording of a node's engine since its last start.
#[derive(Clone, Debug)]
pub struct Recording {
    pub(super) node: usize,
    /// Unset until the node starts.
    pub header: Option<Header>,
    /// All it was told.
    pub steps: Vec<Step>,
    scribe: Scribe,
}

impl Recording {
    pub(super) fn new(node: usize) -> Self {
        Self { node, header: None, steps: Vec::new(), scribe: Scribe::default() }
    }

    pub(super) fn start(&mut self, params: Params, seed: u64, start: Instant) {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.header =
            Some(Header { schema: SCHEMA, version, params, filters: Vec::new(), seed, start });
        self.steps.clear();
        self.scribe = Scribe::default();
    }

    pub(super) fn output(&mut self, output: &Output) {
        self.scribe.output(output);
    }

    pub(super) fn input(&mut self, at: Instant, input: Input<'_>) {
        self.steps.push(self.scribe.step(at, input));
    }

    /// The file.
    ///
    /// # Errors
    /// When a value cannot be written as JSON.
    pub fn to_text(&self) -> serde_json::Result<String> {
        let mut text = serde_json::to_string(&self.header)? + "\n";
        for step in &self.steps {
            text += &serde_json::to_string(step)?;
            text.push('\n');
        }
        Ok(text)
    }
}
