//! Attributes of netlink messages (`linux/netlink.h`, `struct nlattr`), for the families that the library has no
//! messages for: written one after the other, some of them into others, and read back.

use rtnetlink::packet_core::Emitable;

/// Attributes, written: the body of a message, or of a nested attribute.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attributes(Vec<u8>);

impl Attributes {
    /// A body that begins with a header of its family.
    pub(crate) fn after(header: impl Into<Vec<u8>>) -> Self {
        Self(header.into())
    }

    /// Adds an attribute of some octets.
    pub(crate) fn put(mut self, kind: u16, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        let length = u16::try_from(HEADER + value.len()).expect("who writes keeps to the limit");
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Adds a number in network order.
    pub(crate) fn number(self, kind: u16, value: u32) -> Self {
        self.put(kind, value.to_be_bytes())
    }

    /// Adds a text.
    pub(crate) fn text(self, kind: u16, value: &str) -> Self {
        self.put(kind, [value.as_bytes(), &[0]].concat())
    }

    /// Adds an attribute of attributes.
    pub(crate) fn nest(self, kind: u16, inner: Self) -> Self {
        self.put(kind | NLA_F_NESTED, inner.0)
    }

    /// Octets so far.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Emitable for Attributes {
    fn buffer_len(&self) -> usize {
        self.0.len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.0);
    }
}

/// The attributes of a body, each with its kind, up to one that is cut short.
pub(crate) fn attributes(body: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let [a, b, c, d] = *rest.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = rest.get(HEADER..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([c, d]) & NLA_TYPE_MASK, value))
    })
}

/// The first attribute of a kind.
pub(crate) fn attribute(body: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(body).find_map(|(found, value)| (found == kind).then_some(value))
}

/// A number in network order.
pub(crate) fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

/// A text, with or without the zero behind it.
pub(crate) fn text(value: &[u8]) -> Option<&str> {
    let text = value.split(|octet| *octet == 0).next()?;
    std::str::from_utf8(text).ok()
}

/// `struct nlattr`: length and kind.
const HEADER: usize = 4;
const NLA_F_NESTED: u16 = 0x8000;
/// Without the flags for nesting and byte order.
const NLA_TYPE_MASK: u16 = 0x3fff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let inner = Attributes::default().number(1, 7).text(2, "lo");
        let outer = Attributes::after([9; 4]).put(5, [1, 2, 3]).nest(6, inner);
        assert_eq!(outer.len() % 4, 0);
        let body = &outer.0[4..];
        assert_eq!(attribute(body, 5), Some(&[1, 2, 3][..]));
        let inner = attribute(body, 6).unwrap();
        assert_eq!(attribute(inner, 1).and_then(number), Some(7));
        assert_eq!(attribute(inner, 2).and_then(text), Some("lo"));
        assert_eq!(attribute(inner, 3), None);
    }

    #[test]
    fn an_attribute_cut_short_ends_the_reading() {
        assert_eq!(attributes(&[]).count(), 0);
        assert_eq!(attributes(&[8, 0, 1, 0, 1, 2]).count(), 0);
        assert_eq!(attributes(&[3, 0, 1, 0, 5, 0, 2, 0, 1]).count(), 0);
        assert_eq!(attributes(&[5, 0, 2, 0, 1]).count(), 1);
    }
}
