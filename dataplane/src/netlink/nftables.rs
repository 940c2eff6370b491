//! Messages of nf_tables (`linux/netfilter/nf_tables.h`): what a table, a chain, a rule, a set and its elements look
//! like on the wire. What is in them is no business of this file.

use std::io;

use super::attribute::{Attributes, attribute, attributes, number, text};
use super::batch::{Batch, BatchSocket, NLM_F_CREATE};
use rtnetlink::sys::protocols::NETLINK_NETFILTER;

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
    Family,
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

/// Where packets meet a chain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hook {
    pub(crate) number: u32,
    pub(crate) priority: i32,
}

/// A set of keys, or a map from keys to verdicts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Set {
    pub(crate) name: &'static str,
    /// What a key is made of: type numbers, by which `nft` prints them, and lengths.
    pub(crate) fields: &'static [(u32, u32)],
    pub(crate) kind: SetKind,
}

/// What a set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetKind {
    Keys,
    Ranges,
    Verdicts,
}

/// An element of a set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Element {
    pub(crate) key: Vec<u8>,
    pub(crate) rest: Rest,
}

/// An element beyond its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rest {
    Nothing,
    /// A range of the keys of several fields: its last key.
    UpTo(Vec<u8>),
    /// The first key behind a range.
    Behind,
    /// What a map says: the code, and the chain's name.
    Verdict(u32, String),
}

/// A rule as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedRule {
    pub(crate) chain: String,
    pub(crate) comment: String,
    /// Packets it has counted.
    pub(crate) packets: Option<u64>,
}

/// Changes that are made together or not at all.
pub(crate) struct Transaction(Batch);

impl Transaction {
    pub(crate) fn new() -> Self {
        let mut batch = Batch::default();
        batch.add(BATCH_BEGIN, 0, &Attributes::after(header(0, SUBSYSTEM)));
        Self(batch)
    }

    /// Makes all changes. What is refused has a number, that of the change.
    pub(crate) fn commit(mut self, socket: &mut BatchSocket) -> io::Result<()> {
        self.0.add(BATCH_END, 0, &Attributes::after(header(0, SUBSYSTEM)));
        socket.commit(self.0)
    }

    pub(crate) fn add_table(&mut self, table: &str, comment: &str) {
        let body = body().text(1, table).put(TABLE_USERDATA, comment_data(comment));
        self.add(NEWTABLE, NLM_F_CREATE, &body);
    }

    pub(crate) fn remove_table(&mut self, table: &str) {
        self.add(DELTABLE, 0, &body().text(1, table));
    }

    /// A chain without a hook is met by a verdict only.
    pub(crate) fn add_chain(&mut self, table: &str, chain: &str, hook: Option<Hook>) {
        let mut body = body().text(1, table).text(3, chain);
        if let Some(Hook { number, priority }) = hook {
            let hook = Attributes::default().number(1, number).put(2, priority.to_be_bytes());
            body = body.nest(4, hook).number(5, NF_ACCEPT).text(7, "filter");
        }
        self.add(NEWCHAIN, NLM_F_CREATE, &body);
    }

    pub(crate) fn add_set(&mut self, table: &str, (set, number): (Set, u32)) {
        let kind = set.fields.iter().fold(0, |all, (kind, _)| all << TYPE_BITS | kind);
        let length = set.fields.iter().map(|(_, length)| length).sum();
        let flags = match set.kind {
            SetKind::Keys => 0,
            SetKind::Ranges if set.fields.len() > 1 => SET_INTERVAL | SET_CONCATENATION,
            SetKind::Ranges => SET_INTERVAL,
            SetKind::Verdicts => SET_MAP,
        };
        let mut body = body().text(1, table).text(2, set.name).number(3, flags);
        body = body.number(4, kind).number(5, length).number(10, number);
        if set.kind == SetKind::Verdicts {
            body = body.number(6, DATA_VERDICT);
        }
        if set.fields.len() > 1 {
            let field = |all: Attributes, (_, length): &(u32, u32)| {
                all.nest(LIST_ELEMENT, Attributes::default().number(1, *length))
            };
            let fields = set.fields.iter().fold(Attributes::default(), field);
            body = body.nest(9, Attributes::default().nest(2, fields));
        }
        self.add(NEWSET, NLM_F_CREATE, &body);
    }

    pub(crate) fn add_rule(&mut self, table: &str, (chain, comment, steps): (&str, &str, &[Step])) {
        let steps = steps.iter().flat_map(expressions).fold(Attributes::default(), |all, one| {
            let (name, data) = one;
            let expression = Attributes::default().text(1, name);
            let expression = match data {
                Some(data) => expression.nest(2, data),
                None => expression,
            };
            all.nest(LIST_ELEMENT, expression)
        });
        let body = body().text(1, table).text(2, chain).nest(4, steps);
        let body = body.put(7, comment_data(comment));
        self.add(NEWRULE, NLM_F_CREATE | NLM_F_APPEND, &body);
    }

    pub(crate) fn add_elements<'a>(
        &mut self,
        (table, set): (&str, &str),
        elements: impl Iterator<Item = &'a Element>,
    ) {
        self.elements((NEWSETELEM, NLM_F_CREATE), (table, set), elements);
    }

    pub(crate) fn remove_elements<'a>(
        &mut self,
        (table, set): (&str, &str),
        elements: impl Iterator<Item = &'a Element>,
    ) {
        self.elements((DELSETELEM, 0), (table, set), elements);
    }

    fn elements<'a>(
        &mut self,
        (kind, flags): (u16, u16),
        (table, set): (&str, &str),
        elements: impl Iterator<Item = &'a Element>,
    ) {
        let mut list = Attributes::default();
        let mut elements = elements.map(element_body).peekable();
        while let Some(element) = elements.next() {
            list = list.nest(LIST_ELEMENT, element);
            if list.len() >= LONGEST_LIST || elements.peek().is_none() {
                let body = body().text(1, table).text(2, set).nest(3, std::mem::take(&mut list));
                self.add(kind, flags, &body);
            }
        }
    }

    fn add(&mut self, kind: u16, flags: u16, body: &Attributes) {
        self.0.add(SUBSYSTEM << 8 | kind, flags, body);
    }
}

/// A socket for all this.
pub(crate) fn connect() -> io::Result<BatchSocket> {
    BatchSocket::open(NETLINK_NETFILTER)
}

/// The comment of a table of the `inet` family; `None` when there is no such table.
pub(crate) fn table_comment(socket: &mut BatchSocket, table: &str) -> io::Result<Option<String>> {
    let found = socket.dump(SUBSYSTEM << 8 | GETTABLE, &body())?;
    let named = |body: &&Vec<u8>| {
        attribute(content(body), 1).and_then(text) == Some(table) && body.first() == Some(&INET)
    };
    let comment = |body: &Vec<u8>| {
        attribute(content(body), TABLE_USERDATA).and_then(read_comment).unwrap_or_default()
    };
    Ok(found.iter().find(named).map(comment))
}

/// The rules of a table, in order within each chain.
pub(crate) fn rules(socket: &mut BatchSocket, table: &str) -> io::Result<Vec<ListedRule>> {
    let found = socket.dump(SUBSYSTEM << 8 | GETRULE, &body().text(1, table))?;
    let rule = |body: &Vec<u8>| {
        let body = content(body);
        Some(ListedRule {
            chain: attribute(body, 2).and_then(text)?.to_owned(),
            comment: attribute(body, 7).and_then(read_comment).unwrap_or_default(),
            packets: attribute(body, 4).and_then(packets),
        })
    };
    Ok(found.iter().filter_map(rule).collect())
}

/// The elements of a set.
pub(crate) fn elements(
    socket: &mut BatchSocket,
    (table, set): (&str, &str),
) -> io::Result<Vec<Element>> {
    let request = body().text(1, table).text(2, set);
    let found = socket.dump(SUBSYSTEM << 8 | GETSETELEM, &request)?;
    let list = |body| attribute(content(body), 3).unwrap_or_default();
    Ok(found.iter().flat_map(|body| attributes(list(body))).filter_map(|e| element(e.1)).collect())
}

/// Whether an event is about a table of the `inet` family: kind and body of its message.
pub(crate) fn is_about(kind: u16, body: &[u8], table: &str) -> bool {
    // Of all kinds, the first attribute is the table's name, but of those that tell of a generation.
    kind >> 8 == SUBSYSTEM
        && kind & 0xff != NEWGEN
        && body.first() == Some(&INET)
        && attribute(content(body), 1).and_then(text) == Some(table)
}

fn body() -> Attributes {
    Attributes::after(header(INET, 0))
}

/// `struct nfgenmsg`: family, version, and a resource in network order.
fn header(family: u8, resource: u16) -> Vec<u8> {
    let [high, low] = resource.to_be_bytes();
    vec![family, 0, high, low]
}

fn content(body: &[u8]) -> &[u8] {
    body.get(4..).unwrap_or_default()
}

/// As `nft` writes a comment: kind 0, length, text, a zero.
fn comment_data(comment: &str) -> Vec<u8> {
    let length = u8::try_from(comment.len() + 1).expect("comments are short");
    [&[0, length], comment.as_bytes(), &[0]].concat()
}

fn read_comment(data: &[u8]) -> Option<String> {
    let [0, length] = *data.first_chunk()? else { return None };
    text(data.get(2..2 + usize::from(length))?).map(str::to_owned)
}

fn packets(expressions: &[u8]) -> Option<u64> {
    let counter = attributes(expressions)
        .find(|(_, one)| attribute(one, 1).and_then(text) == Some("counter"))?
        .1;
    attribute(attribute(counter, 2)?, 2)?.try_into().ok().map(u64::from_be_bytes)
}

fn data(value: &[u8]) -> Attributes {
    Attributes::default().put(DATA_VALUE, value)
}

fn verdict(code: u32, chain: &str) -> Attributes {
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

fn element_body(element: &Element) -> Attributes {
    let body = Attributes::default().nest(1, data(&element.key));
    match &element.rest {
        Rest::Nothing => body,
        Rest::UpTo(last) => body.nest(10, data(last)),
        Rest::Behind => body.number(3, INTERVAL_END),
        Rest::Verdict(code, chain) => body.nest(2, verdict(*code, chain)),
    }
}

fn element(body: &[u8]) -> Option<Element> {
    let value = |kind| attribute(attribute(body, kind)?, DATA_VALUE).map(<[u8]>::to_vec);
    let flags = attribute(body, 3).and_then(number).unwrap_or(0);
    let verdict = attribute(body, 2).and_then(|data| attribute(data, DATA_OF_VERDICT));
    let rest = match (value(10), verdict) {
        (Some(last), _) => Rest::UpTo(last),
        (None, Some(verdict)) => {
            let chain = attribute(verdict, 2).and_then(text).unwrap_or_default();
            Rest::Verdict(attribute(verdict, 1).and_then(number)?, chain.to_owned())
        }
        (None, None) if flags & INTERVAL_END != 0 => Rest::Behind,
        (None, None) => Rest::Nothing,
    };
    Some(Element { key: value(1)?, rest })
}

type Expression = (&'static str, Option<Attributes>);

fn expressions(step: &Step) -> Vec<Expression> {
    let empty = Attributes::default;
    let one = |name, data| vec![(name, Some(data))];
    match step {
        Step::Meta(meta) => {
            let key = match meta {
                Meta::InputName => 6,
                Meta::OutputName => 7,
                Meta::Family => 15,
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
        ("exthdr", Some(option.number(5, 0).number(6, EXTHDR_TCP_OPTION).number(7, FIRST))),
    ]
}

/// `linux/netfilter/nfnetlink.h`.
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
/// NFPROTO_INET: both families.
const INET: u8 = 1;
const NEWTABLE: u16 = 0;
const GETTABLE: u16 = 1;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const NEWRULE: u16 = 6;
const GETRULE: u16 = 7;
const NEWSET: u16 = 9;
const NEWSETELEM: u16 = 12;
const GETSETELEM: u16 = 13;
const DELSETELEM: u16 = 14;
const NEWGEN: u16 = 15;
const NLM_F_APPEND: u16 = 0x800;
/// NFTA_TABLE_USERDATA: Linux 5.10.
const TABLE_USERDATA: u16 = 6;
const LIST_ELEMENT: u16 = 1;
const DATA_VALUE: u16 = 1;
const DATA_OF_VERDICT: u16 = 2;
const DATA_VERDICT: u32 = 0xffff_ff00;
const INTERVAL_END: u32 = 1;
const SET_INTERVAL: u32 = 4;
const SET_MAP: u32 = 8;
const SET_CONCATENATION: u32 = 0x80;
/// Bits of a type in the type of several fields (`nft` alone looks at it).
const TYPE_BITS: u32 = 6;
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
const NF_ACCEPT: u32 = 1;
/// Minus four.
const NFT_GOTO: u32 = u32::MAX - 3;
/// Octets in a list of elements: an attribute holds 64 KiB.
const LONGEST_LIST: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_read_as_it_was_written() {
        for rest in [
            Rest::Nothing,
            Rest::UpTo(vec![2; 32]),
            Rest::Behind,
            Rest::Verdict(NF_ACCEPT, String::new()),
            Rest::Verdict(NFT_GOTO, "leaf".to_owned()),
        ] {
            let written = Element { key: vec![1; 16], rest };
            let list = Attributes::default().nest(LIST_ELEMENT, element_body(&written));
            let mut bytes = vec![0; list.len()];
            rtnetlink::packet_core::Emitable::emit(&list, &mut bytes);
            let read: Vec<_> = attributes(&bytes).filter_map(|(_, e)| element(e)).collect();
            assert_eq!(read, [written]);
        }
    }

    #[test]
    fn a_comment_is_read_as_it_was_written() {
        assert_eq!(read_comment(&comment_data("who may")), Some("who may".to_owned()));
        assert_eq!(read_comment(&[1, 2, 0, 0]), None);
        assert_eq!(read_comment(&[0, 9, b'x']), None);
    }
}
