//! A run in one number.

use std::fmt::{self, Write as _};

use sixwire_controlplane::babel::Output;
use sixwire_proto::time::Instant;

/// A hash (FNV-1a) over all outputs of all nodes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Trace {
    pub(super) fn output(&mut self, now: Instant, node: usize, output: &Output) {
        self.bytes(&now.0.to_le_bytes());
        self.bytes(&node.to_le_bytes());
        if let Output::Send { packet, .. } = output {
            return self.bytes(&packet.bytes);
        }
        write!(self, "{output:?}").expect("hashing does not fail");
    }

    pub(super) fn value(self) -> u64 {
        self.0
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl fmt::Write for Trace {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}
