//! The steps of a rule, and the expressions that the kernel has for them.

use super::super::attribute::Attributes;

/// What is done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Accept,
    Drop,
    /// Goes on in another chain, and does not come back.
    Goto(&'static str),
}

/// What is asked of the packet's metadata.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Meta {
    InputName,
    OutputName,
    Protocol,
}

/// A part of the packet: where it is counted from, the first octet, how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payload(pub(crate) Base, pub(crate) u32, pub(crate) u32);

/// Where octets are counted from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Base {
    Network,
    Transport,
}

/// Whether a set must hold a key or must not.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Held {
    Yes,
    No,
}

/// A step of a rule. Values are loaded into 16-octet registers, of which the first is compared.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Loads metadata.
    Meta(Meta),
    /// Loads octets of the packet.
    Payload(Payload),
    /// Loads octets into the second register, behind what the first holds.
    PayloadBehind(Payload),
    /// Clears the bits that the mask does not have.
    Mask(Vec<u8>),
    /// Goes on if the octets are these.
    Is(Vec<u8>),
    /// Goes on if a set holds them, or does not.
    In(&'static str, Held),
    /// Does what a map says.
    Map(&'static str),
    /// Loads the interface by which this kernel would send to the source, if it is that of the packet, else zero.
    WayBack,
    /// Counts the packet.
    Count,
    /// No connection is tracked for it.
    Untracked,
    /// Lowers the maximum segment size to what its way can carry.
    ClampSegments,
    /// Ends the rule.
    Verdict(Verdict),
}

/// A name, and what belongs to it.
pub(super) type Expression = (&'static str, Option<Attributes>);

/// The kernel's words for a step, each with its parameters.
pub(super) fn expressions(step: &Step) -> Vec<Expression> {
    let empty = Attributes::default;
    let one = |name, data| vec![(name, Some(data))];
    match step {
        Step::Meta(meta) => {
            let key = match meta {
                Meta::InputName => 6,
                Meta::OutputName => 7,
                Meta::Protocol => 16,
            };
            one("meta", empty().number(1, FIRST).number(2, key))
        }
        Step::Payload(part) => one("payload", payload(*part, FIRST)),
        Step::PayloadBehind(part) => one("payload", payload(*part, SECOND)),
        Step::Mask(mask) => one("bitwise", bitwise(mask)),
        Step::Is(value) => one("cmp", empty().number(1, FIRST).number(2, 0).nest(3, data(value))),
        Step::In(set, held) => {
            let lookup = empty().text(1, set).number(2, FIRST);
            one(
                "lookup",
                match held {
                    Held::Yes => lookup,
                    Held::No => lookup.number(5, LOOKUP_INVERTED),
                },
            )
        }
        Step::Map(map) => one("lookup", empty().text(1, map).number(2, FIRST).number(3, VERDICT)),
        Step::WayBack => {
            let flags = FIB_SOURCE | FIB_INPUT;
            one("fib", empty().number(1, FIRST).number(2, FIB_RESULT_OUTPUT).number(3, flags))
        }
        Step::Count => one("counter", empty()),
        Step::Untracked => vec![("notrack", None)],
        Step::ClampSegments => clamp_segments(),
        Step::Verdict(what) => {
            let (code, chain) = what.parts();
            one("immediate", empty().number(1, VERDICT).nest(2, verdict(code, chain)))
        }
    }
}

fn payload(Payload(base, offset, length): Payload, register: u32) -> Attributes {
    let base = match base {
        Base::Network => 1,
        Base::Transport => 2,
    };
    Attributes::default().number(1, register).number(2, base).number(3, offset).number(4, length)
}

fn bitwise(mask: &[u8]) -> Attributes {
    let length = u32::try_from(mask.len()).expect("a mask is as long as an address at the most");
    let registers = Attributes::default().number(1, FIRST).number(2, FIRST).number(3, length);
    registers.nest(4, data(mask)).nest(5, data(&vec![0; mask.len()]))
}

/// What `tcp option maxseg size set rt mtu` is to the kernel, which never raises it.
fn clamp_segments() -> Vec<Expression> {
    let empty = Attributes::default;
    let registers = || empty().number(1, FIRST).number(2, FIRST);
    let option = empty().put(2, [TCP_OPTION_MAXSEG]).number(3, 2).number(4, 2);
    vec![
        ("rt", Some(empty().number(1, FIRST).number(2, RT_TCP_SEGMENT))),
        ("byteorder", Some(registers().number(3, HOST_TO_NETWORK).number(4, 2).number(5, 2))),
        ("exthdr", Some(option.number(6, EXTHDR_TCP_OPTION).number(7, FIRST))),
    ]
}

pub(super) fn data(value: &[u8]) -> Attributes {
    Attributes::default().put(DATA_VALUE, value)
}

pub(super) fn verdict(code: u32, chain: &str) -> Attributes {
    let verdict = Attributes::default().number(1, code);
    let verdict = if chain.is_empty() { verdict } else { verdict.text(2, chain) };
    Attributes::default().nest(DATA_OF_VERDICT, verdict)
}

impl Verdict {
    /// Its code, and the name of the chain.
    pub(crate) fn parts(self) -> (u32, &'static str) {
        match self {
            Self::Drop => (0, ""),
            Self::Accept => (NF_ACCEPT, ""),
            Self::Goto(chain) => (NFT_GOTO, chain),
        }
    }
}

pub(super) const NF_ACCEPT: u32 = 1;
pub(super) const DATA_VALUE: u16 = 1;
pub(super) const DATA_OF_VERDICT: u16 = 2;
/// Minus four.
const NFT_GOTO: u32 = u32::MAX - 3;
/// Registers: the verdict's, and two of 16 octets.
const VERDICT: u32 = 0;
const FIRST: u32 = 1;
const SECOND: u32 = 2;
const LOOKUP_INVERTED: u32 = 1;
const FIB_RESULT_OUTPUT: u32 = 1;
const FIB_SOURCE: u32 = 1;
const FIB_INPUT: u32 = 8;
const RT_TCP_SEGMENT: u32 = 3;
const HOST_TO_NETWORK: u32 = 1;
const EXTHDR_TCP_OPTION: u32 = 1;
/// RFC 9293 §3.2.
const TCP_OPTION_MAXSEG: u8 = 2;
