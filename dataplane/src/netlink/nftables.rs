//! Messages of nf_tables (`linux/netfilter/nf_tables.h`): what a table, a chain, a rule, a set and its elements look
//! like on the wire. What is in them is no business of this file.

mod step;

use std::io;

use super::attribute::{Attributes, attribute, attributes, number, text};
use super::batch::{Batch, BatchSocket, NLM_F_CREATE};
use rtnetlink::sys::protocols::NETLINK_NETFILTER;
pub(crate) use step::{Base, Held, Meta, Payload, Step, Verdict};
use step::{DATA_OF_VERDICT, DATA_VALUE, NF_ACCEPT, data, expressions, verdict};

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

impl Set {
    /// The name of an interface, an IPv6 address, a UDP or TCP port.
    pub(crate) const INTERFACE: (u32, u32) = (41, 16);
    pub(crate) const ADDRESS: (u32, u32) = (8, 16);
    pub(crate) const PORT: (u32, u32) = (13, 2);
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
        body = body.put(13, order_data(set));
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

/// The comment of a table of the `ip6` family; `None` when there is no such table.
pub(crate) fn table_comment(socket: &mut BatchSocket, table: &str) -> io::Result<Option<String>> {
    let found = socket.dump(SUBSYSTEM << 8 | GETTABLE, &body())?;
    let named = |body: &&Vec<u8>| {
        attribute(content(body), 1).and_then(text) == Some(table) && body.first() == Some(&IP6)
    };
    let comment = |body: &Vec<u8>| {
        attribute(content(body), TABLE_USERDATA).and_then(read_comment).unwrap_or_default()
    };
    Ok(found.iter().find(named).map(comment))
}

/// The rules of a table, in order within each chain.
pub(crate) fn rules(socket: &mut BatchSocket, table: &str) -> io::Result<Vec<ListedRule>> {
    let found = socket.dump(SUBSYSTEM << 8 | GETRULE, &body().text(1, table))?;
    Ok(found.iter().filter_map(|body| rule(body)).collect())
}

pub(super) fn rule(body: &[u8]) -> Option<ListedRule> {
    let body = content(body);
    Some(ListedRule {
        chain: attribute(body, 2).and_then(text)?.to_owned(),
        comment: attribute(body, 7).and_then(read_comment).unwrap_or_default(),
        packets: attribute(body, 4).and_then(packets),
    })
}

/// The elements of a set.
pub(crate) fn elements(
    socket: &mut BatchSocket,
    (table, set): (&str, &str),
) -> io::Result<Vec<Element>> {
    let request = body().text(1, table).text(2, set);
    let found = socket.dump(SUBSYSTEM << 8 | GETSETELEM, &request)?;
    Ok(found.iter().flat_map(|body| elements_in(body)).collect())
}

pub(super) fn elements_in(body: &[u8]) -> impl Iterator<Item = Element> {
    let list = attribute(content(body), 3).unwrap_or_default();
    attributes(list).filter_map(|(_, one)| element(one))
}

/// Whether an event is about a table of the `ip6` family: kind and body of its message.
pub(crate) fn is_about(kind: u16, body: &[u8], table: &str) -> bool {
    // Of all kinds, the first attribute is the table's name, but of those that tell of a generation.
    kind >> 8 == SUBSYSTEM
        && kind & 0xff != NEWGEN
        && body.first() == Some(&IP6)
        && attribute(content(body), 1).and_then(text) == Some(table)
}

fn body() -> Attributes {
    Attributes::after(header(IP6, 0))
}

/// `struct nfgenmsg`: family, version, and a resource in network order.
fn header(family: u8, resource: u16) -> Vec<u8> {
    let [high, low] = resource.to_be_bytes();
    vec![family, 0, high, low]
}

fn content(body: &[u8]) -> &[u8] {
    body.get(4..).unwrap_or_default()
}

/// The order of octets in keys, for `nft` to print them: kind 0, length, host's (1) or network's (2).
fn order_data(set: Set) -> Vec<u8> {
    let is_name = set.fields.iter().all(|(kind, _)| *kind == Set::INTERFACE.0);
    let order: u32 = if is_name { 1 } else { 2 };
    [&[0, 4][..], &order.to_ne_bytes()].concat()
}

/// As `nft` writes a comment: kind 0, length, text, a zero.
pub(super) fn comment_data(comment: &str) -> Vec<u8> {
    let length = u8::try_from(comment.len() + 1).expect("comments are short");
    [&[0, length], comment.as_bytes(), &[0]].concat()
}

pub(super) fn read_comment(data: &[u8]) -> Option<String> {
    let [0, length] = *data.first_chunk()? else { return None };
    text(data.get(2..2 + usize::from(length))?).map(str::to_owned)
}

fn packets(expressions: &[u8]) -> Option<u64> {
    let counter = attributes(expressions)
        .find(|(_, one)| attribute(one, 1).and_then(text) == Some("counter"))?
        .1;
    attribute(attribute(counter, 2)?, 2)?.try_into().ok().map(u64::from_be_bytes)
}

pub(super) fn element_body(element: &Element) -> Attributes {
    let body = Attributes::default().nest(1, data(&element.key));
    match &element.rest {
        Rest::Nothing => body,
        Rest::UpTo(last) => body.nest(10, data(last)),
        Rest::Behind => body.number(3, INTERVAL_END),
        Rest::Verdict(code, chain) => body.nest(2, verdict(*code, chain)),
    }
}

pub(super) fn element(body: &[u8]) -> Option<Element> {
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

/// `linux/netfilter/nfnetlink.h`.
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
/// NFPROTO_IPV6.
const IP6: u8 = 10;
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
const DATA_VERDICT: u32 = 0xffff_ff00;
const INTERVAL_END: u32 = 1;
const SET_INTERVAL: u32 = 4;
const SET_MAP: u32 = 8;
const SET_CONCATENATION: u32 = 0x80;
/// Bits of a type in the type of several fields (`nft` alone looks at it).
const TYPE_BITS: u32 = 6;
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
            Rest::Verdict(u32::MAX - 3, "leaf".to_owned()),
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
