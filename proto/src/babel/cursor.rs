//! A bounded view of received octets that cannot be read past its end.

/// The octets not read yet. A cursor taken from another one never sees beyond its own share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a>(&'a [u8]);

/// The octets ended before the field did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End;

impl<'a> Cursor<'a> {
    pub(super) fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left.
    pub(super) fn octets(self) -> &'a [u8] {
        self.0
    }

    /// The next `N` octets.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], End> {
        let (head, rest) = self.0.split_first_chunk().ok_or(End)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, End> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, End> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, End> {
        self.array().map(u32::from_be_bytes)
    }

    /// A cursor of its own over the next `length` octets.
    pub(super) fn take(&mut self, length: usize) -> Result<Self, End> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(End)?;
        self.0 = rest;
        Ok(Self(head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_read_consumes_nothing() {
        let mut cursor = Cursor::new(&[1, 2, 3]);
        assert_eq!(cursor.u32(), Err(End));
        assert!(cursor.take(4).is_err());
        assert_eq!(cursor.u16(), Ok(0x0102));
        assert_eq!(cursor.u8(), Ok(3));
        assert_eq!(cursor.u8(), Err(End));
    }

    #[test]
    fn a_taken_share_ends_where_it_was_cut() {
        let mut cursor = Cursor::new(&[1, 2, 3]);
        let mut share = cursor.take(1).unwrap();
        assert_eq!((share.u8(), share.u8()), (Ok(1), Err(End)));
        assert_eq!(cursor.octets(), [2, 3]);
    }
}
