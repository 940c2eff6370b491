//! What a device leaves to its successor, should the helper be killed: its configuration, in memory
//! that the daemon holds on to. It never touches a disk.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use nix::sys::memfd::{MFdFlags, memfd_create};

/// A text that is there in whole whenever its writer is killed: of two places, each write takes the
/// older, and counts only once its head is there.
pub(super) struct Saved {
    file: File,
    writes: u64,
}

/// What stands before a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    /// The number of the write; 0 for none.
    number: u64,
    length: u64,
}

impl Saved {
    /// Memory without a text.
    pub(super) fn new() -> io::Result<Self> {
        let file = File::from(memfd_create("sixwire", MFdFlags::MFD_CLOEXEC)?);
        Ok(Self { file, writes: 0 })
    }

    /// Goes on with the memory of a predecessor.
    pub(super) fn resume(memory: OwnedFd) -> io::Result<Self> {
        let mut saved = Self { file: File::from(memory), writes: 0 };
        saved.writes = saved.latest()?.0.number;
        Ok(saved)
    }

    /// Another handle to the same memory.
    pub(super) fn descriptor(&self) -> io::Result<OwnedFd> {
        Ok(self.file.try_clone()?.into())
    }

    /// Puts a text in place of the last.
    pub(super) fn write(&mut self, text: &str) -> io::Result<()> {
        let head = Head { number: self.writes + 1, length: text.len() as u64 };
        if head.length > PLACE - HEAD {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let place = head.number % 2 * PLACE;
        self.file.write_all_at(text.as_bytes(), place + HEAD)?;
        // Sixteen octets at the start of a page: all or nothing.
        self.file.write_all_at(&head.octets(), place)?;
        self.writes = head.number;
        Ok(())
    }

    /// The last text.
    pub(super) fn read(&self) -> io::Result<String> {
        let (head, place) = self.latest()?;
        if head.number == 0 {
            return Ok(String::new());
        }
        let length = usize::try_from(head.length).map_err(io::Error::other)?;
        if head.length > PLACE - HEAD || self.file.metadata()?.len() < place + HEAD + head.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut text = vec![0; length];
        self.file.read_exact_at(&mut text, place + HEAD)?;
        String::from_utf8(text).map_err(io::Error::other)
    }

    fn latest(&self) -> io::Result<(Head, u64)> {
        let head = |place| -> io::Result<(Head, u64)> { Ok((self.head(place)?, place)) };
        Ok(head(0)?.max(head(PLACE)?))
    }

    fn head(&self, place: u64) -> io::Result<Head> {
        let mut octets = [0; 16];
        match self.file.read_exact_at(&mut octets, place) {
            // Nothing was written so far.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Head::default()),
            outcome => outcome.map(|()| Head::of(octets)),
        }
    }
}

impl Head {
    fn octets(self) -> [u8; 16] {
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(&self.number.to_ne_bytes());
        octets[8..].copy_from_slice(&self.length.to_ne_bytes());
        octets
    }

    fn of(octets: [u8; 16]) -> Self {
        let number = |half: &[u8]| half.first_chunk().map_or(0, |half| u64::from_ne_bytes(*half));
        Self { number: number(&octets[..8]), length: number(&octets[8..]) }
    }
}

/// Octets of a head.
const HEAD: u64 = 16;
/// Octets of a place; what is not written takes no memory.
const PLACE: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_finds_the_last_text_and_goes_on() {
        let mut saved = Saved::new().unwrap();
        assert_eq!(saved.read().unwrap(), "");
        for text in ["one", "twotwo", "3"] {
            saved.write(text).unwrap();
            let mut next = Saved::resume(saved.descriptor().unwrap()).unwrap();
            assert_eq!(next.read().unwrap(), text);
            next.write("again").unwrap();
            saved = next;
            assert_eq!(saved.read().unwrap(), "again");
        }
    }

    #[test]
    fn a_write_that_was_cut_off_counts_for_nothing() {
        let mut saved = Saved::new().unwrap();
        saved.write("first").unwrap();
        saved.write("second").unwrap();
        // The third took the place of the first and did not get as far as its head.
        saved.file.write_all_at(b"thi", PLACE + HEAD).unwrap();
        let next = Saved::resume(saved.descriptor().unwrap()).unwrap();
        assert_eq!(next.read().unwrap(), "second");
    }

    #[test]
    fn memory_that_is_shorter_than_it_says_is_refused() {
        let saved = Saved::new().unwrap();
        saved.file.write_all_at(&Head { number: 9, length: u64::MAX / 2 }.octets(), 0).unwrap();
        assert!(saved.read().is_err());
    }
}
