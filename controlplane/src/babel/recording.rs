//! What an engine was told, written down so that another engine can be told the same.
//!
//! A recording is a [`Header`] and any number of [`Step`]s, each a line of JSON; writing and reading the lines is the
//! driver's affair. Each step carries a digest of all outputs up to its end: a replay with the same program
//! finds the first step that differs, or none.
//!
//! No secret enters a recording: in place of a link's keys it has [`StandIn`]s, and packets signed with them. Keys
//! must not be added to [`LinkParams`] or [`Params`], which are written whole.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sixwire_proto::babel::{Destination, PseudoHeader, RouteKey};
use sixwire_proto::encoding;
use sixwire_proto::link::LinkId;
use sixwire_proto::metric::{Cost, Metric};
use sixwire_proto::prefix::Prefix;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::seed::Seed;
use sixwire_proto::time::Instant;

pub use super::stand_in::StandIn;
use super::{Authentication, Babel, Filter, Input, LinkParams, Output, Params};

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Version of the program that wrote it.
    pub version: String,
    /// What the engine was made with.
    pub params: Params,
    /// Its rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,
    /// Start of its [`Seed`].
    pub seed: u64,
    /// When it was made.
    pub start: Instant,
}

/// Every other line: one input, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When it was handed in.
    pub at: Instant,
    /// What.
    pub input: Recorded,
    /// Of all outputs so far.
    pub digest: Digest,
}

/// An [`Input`] that stands by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each is the input of the same name")]
pub enum Recorded {
    LinkUp {
        link: LinkId,
        params: LinkParams,
    },
    LinkDown {
        link: LinkId,
    },
    LinkCost {
        link: LinkId,
        extra: Cost,
    },
    Authentication {
        link: LinkId,
        #[serde(default)]
        authentication: Option<StandIn>,
    },
    LinkV4 {
        link: LinkId,
        address: Option<Ipv4Addr>,
    },
    Packet {
        link: LinkId,
        source: Ipv6Addr,
        destination: Destination,
        #[serde(with = "encoding::bytes")]
        bytes: Vec<u8>,
    },
    Originate {
        route: RouteKey,
        metric: Metric,
    },
    Withdraw {
        route: RouteKey,
    },
    Origin {
        router_id: RouterId,
        prefixes: Vec<Prefix>,
    },
    OriginGone {
        router_id: RouterId,
    },
    Answered {
        link: LinkId,
        neighbour: Ipv6Addr,
    },
    Shutdown,
    Deadline,
}

/// A recording of another form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the recording has schema {0}, and this program reads {SCHEMA}: use the one that wrote it")]
pub struct OtherSchema(u32);

/// An engine that is told what another was told.
#[derive(Debug)]
pub struct Replay {
    babel: Babel,
    digest: Digest,
}

/// Whether an engine said what the recorded one said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same so far.
    Same,
    /// Something else, in this step or before.
    Different,
}

impl Replay {
    /// The engine that was recorded, before its first input.
    ///
    /// # Errors
    /// [`OtherSchema`].
    pub fn new(header: &Header) -> Result<Self, OtherSchema> {
        if header.schema != SCHEMA {
            return Err(OtherSchema(header.schema));
        }
        let babel = Babel::new(header.params, Seed::new(header.seed), header.start)
            .with_filters(header.filters.clone());
        Ok(Self { babel, digest: Digest::default() })
    }

    /// Takes one step, and hands over what the engine says.
    pub fn step(&mut self, step: &Step, mut said: impl FnMut(Output)) -> Verdict {
        self.babel.handle(step.at, step.input.input());
        while let Some(output) = self.babel.poll_output() {
            self.digest.add(&output);
            said(output);
        }
        if self.digest == step.digest { Verdict::Same } else { Verdict::Different }
    }

    /// The engine as it is now.
    #[must_use]
    pub fn babel(&self) -> &Babel {
        &self.babel
    }

    /// Of all that was said.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// Makes the steps of a recording.
#[derive(Clone, Debug, Default)]
pub struct Scribe {
    digest: Digest,
    /// Of links: a packet is judged by them once more, and recorded with the same outcome.
    keys: BTreeMap<LinkId, (Authentication, StandIn)>,
}

impl Scribe {
    /// Notes an output.
    pub fn output(&mut self, output: &Output) {
        self.digest.add(output);
    }

    /// The step of an input, after all its outputs.
    pub fn step(&mut self, at: Instant, input: Input<'_>) -> Step {
        Step { at, input: self.recorded(input), digest: self.digest }
    }

    fn recorded(&mut self, input: Input<'_>) -> Recorded {
        match input {
            Input::LinkUp { link, params } => Recorded::LinkUp { link, params },
            Input::LinkDown { link } => Recorded::LinkDown { link },
            Input::LinkCost { link, extra } => Recorded::LinkCost { link, extra },
            Input::Authentication { link, authentication } => self.keyed(link, authentication),
            Input::LinkV4 { link, address } => Recorded::LinkV4 { link, address },
            Input::Packet { link, source, destination, bytes } => {
                let header = PseudoHeader { source, destination };
                let bytes = match self.keys.get(&link) {
                    Some((real, stand_in)) => stand_in.packet(bytes, header, real),
                    None => bytes.to_vec(),
                };
                Recorded::Packet { link, source, destination, bytes }
            }
            Input::Originate { route, metric } => Recorded::Originate { route, metric },
            Input::Withdraw { route } => Recorded::Withdraw { route },
            Input::Origin { router_id, prefixes } => {
                Recorded::Origin { router_id, prefixes: prefixes.to_vec() }
            }
            Input::OriginGone { router_id } => Recorded::OriginGone { router_id },
            Input::Answered { link, neighbour } => Recorded::Answered { link, neighbour },
            Input::Shutdown => Recorded::Shutdown,
            Input::Deadline => Recorded::Deadline,
        }
    }

    fn keyed(&mut self, link: LinkId, real: Option<&Authentication>) -> Recorded {
        let authentication = real.map(StandIn::of);
        match (real, &authentication) {
            (Some(real), Some(stand_in)) => {
                self.keys.insert(link, (real.clone(), stand_in.clone()));
            }
            _ => drop(self.keys.remove(&link)),
        }
        Recorded::Authentication { link, authentication }
    }
}

impl Recorded {
    /// What is handed to an engine.
    #[must_use]
    pub fn input(&self) -> Input<'_> {
        match *self {
            Self::LinkUp { link, params } => Input::LinkUp { link, params },
            Self::LinkDown { link } => Input::LinkDown { link },
            Self::LinkCost { link, extra } => Input::LinkCost { link, extra },
            Self::Authentication { link, ref authentication } => {
                let authentication = authentication.as_ref().map(StandIn::authentication);
                Input::Authentication { link, authentication }
            }
            Self::LinkV4 { link, address } => Input::LinkV4 { link, address },
            Self::Packet { link, source, destination, ref bytes } => {
                Input::Packet { link, source, destination, bytes }
            }
            Self::Originate { route, metric } => Input::Originate { route, metric },
            Self::Withdraw { route } => Input::Withdraw { route },
            Self::Origin { router_id, ref prefixes } => Input::Origin { router_id, prefixes },
            Self::OriginGone { router_id } => Input::OriginGone { router_id },
            Self::Answered { link, neighbour } => Input::Answered { link, neighbour },
            Self::Shutdown => Input::Shutdown,
            Self::Deadline => Input::Deadline,
        }
    }
}

/// A running digest of outputs (FNV-1a, 64 bits): finds differences, resists nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    /// Adds an output.
    pub fn add(&mut self, output: &Output) {
        match output {
            Output::Send { link, to, packet } => {
                write!(self, "{link} {to:?} ").expect("a digest takes all");
                self.octets(&packet.bytes);
            }
            other => write!(self, "{other:?}").expect("a digest takes all"),
        }
    }

    fn octets(&mut self, octets: &[u8]) {
        for octet in octets {
            self.0 = (self.0 ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl fmt::Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.octets(text.as_bytes());
        Ok(())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let value = u64::from_str_radix(&text, 16);
        value.map(Self).map_err(|_| de::Error::custom("a digest is 16 hexadecimal digits"))
    }
}

/// Version of the form of a recording. One of another schema is not read.
pub const SCHEMA: u32 = 1;
