//! Many requests in one send, with one acknowledgement behind the last: a hundred thousand routes in a
//! fraction of a second. The kernel does what it is asked before the send returns, so nothing here waits.

use std::io;

use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::packet_core::Emitable;
use rtnetlink::sys::{Socket, SocketAddr};
use socket2::SockRef;

use super::notices::Notice;

/// Requests to be sent together, in order.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// Where each begins.
    starts: Vec<usize>,
}

/// A socket for batches, which gets nothing but the answers to them.
pub(crate) struct BatchSocket {
    socket: Socket,
    port: u32,
    sequence: u32,
}

/// An answer of the kernel.
struct Answer<'a> {
    kind: u16,
    sequence: u32,
    port: u32,
    body: &'a [u8],
}

impl Batch {
    /// Adds a request; `flags` without `NLM_F_REQUEST`.
    pub(crate) fn add(&mut self, kind: u16, flags: u16, body: &impl Emitable) {
        let start = self.bytes.len();
        let length = HEADER + body.buffer_len();
        self.bytes.resize(start + length.next_multiple_of(4), 0);
        self.starts.push(start);
        if let Some(room) = self.bytes.get_mut(start + HEADER..start + length) {
            body.emit(room);
        }
        let length = u32::try_from(length).expect("a request is short");
        self.put(start, &length.to_ne_bytes());
        self.put(start + 4, &kind.to_ne_bytes());
        self.put(start + 6, &(flags | NLM_F_REQUEST).to_ne_bytes());
    }

    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    /// Numbers the requests from `first`, and has the one at this position acknowledged.
    fn seal(&mut self, first: u32, acknowledged: usize) {
        let starts = std::mem::take(&mut self.starts);
        for (start, number) in starts.iter().zip(0_u32..) {
            self.put(start + 8, &first.wrapping_add(number).to_ne_bytes());
        }
        if let Some(start) = starts.get(acknowledged)
            && let Some([low, high]) = self.bytes.get(start + 6..start + 8)
        {
            let flags = u16::from_ne_bytes([*low, *high]) | NLM_F_ACK;
            self.put(start + 6, &flags.to_ne_bytes());
        }
        self.starts = starts;
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        if let Some(room) = self.bytes.get_mut(at..at + value.len()) {
            room.copy_from_slice(value);
        }
    }
}

impl BatchSocket {
    /// Opens a socket of a netlink family in the network namespace of the calling thread.
    pub(crate) fn open(family: isize) -> io::Result<Self> {
        let mut socket = Socket::new(family)?;
        let port = socket.bind_auto()?.port_number();
        socket.set_non_blocking(true)?;
        // A refusal carries its number, not the request again, so that those of a whole batch find room.
        socket.set_cap_ack(true)?;
        // Without the privilege for more, the default has to do, and does.
        let _ = SockRef::from(&socket).set_recv_buffer_size(BUFFER);
        let _ = setsockopt(&socket, sockopt::SndBufForce, &BUFFER);
        Ok(Self { socket, port, sequence: 0 })
    }

    /// The port that the kernel names as the originator of what is done here.
    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// Sends the requests, at most [`MOST`]; gives what the kernel refused, by position.
    ///
    /// # Errors
    /// When the kernel does not answer: nothing is known of the whole batch then.
    pub(crate) fn send(&mut self, batch: Batch) -> io::Result<Vec<(usize, io::Error)>> {
        match batch.len().checked_sub(1) {
            Some(last) => self.exchange(batch, last, |position| position == last),
            None => Ok(Vec::new()),
        }
    }

    /// Sends requests of which all are done or none, between two that frame them.
    ///
    /// # Errors
    /// Why nothing was done.
    pub(crate) fn commit(&mut self, batch: Batch) -> io::Result<()> {
        // The frame has an answer only when that is the last one.
        let Some(last) = batch.len().checked_sub(2) else { return Ok(()) };
        let refused = self.exchange(batch, last, |position| position == last || position == 0)?;
        refused.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
    }

    /// What the kernel refused, until the request at `acknowledged` is acknowledged or a refusal `ends` it.
    fn exchange(
        &mut self,
        mut batch: Batch,
        acknowledged: usize,
        ends: impl Fn(usize) -> bool,
    ) -> io::Result<Vec<(usize, io::Error)>> {
        let mut refused = Vec::new();
        let first = self.sequence.wrapping_add(1);
        batch.seal(first, acknowledged);
        self.sequence = self.sequence.wrapping_add(u32::try_from(batch.len()).unwrap_or(u32::MAX));
        self.socket.send_to(&batch.bytes, &SocketAddr::new(0, 0), 0)?;
        let mut buffer = Vec::with_capacity(ANSWER);
        loop {
            self.receive(&mut buffer)?;
            for answer in answers(&buffer) {
                let position = answer.sequence.wrapping_sub(first) as usize;
                if answer.kind != NLMSG_ERROR || position > acknowledged {
                    continue;
                }
                match error(answer.body) {
                    Some(error) => refused.push((position, error)),
                    None if position == acknowledged => return Ok(refused),
                    None => {}
                }
                if refused.last().is_some_and(|(position, _)| ends(*position)) {
                    return Ok(refused);
                }
            }
        }
    }

    /// Lists objects: the body of each.
    ///
    /// # Errors
    /// When the kernel refuses or does not answer.
    pub(crate) fn dump(&mut self, kind: u16, body: &impl Emitable) -> io::Result<Vec<Vec<u8>>> {
        let mut batch = Batch::default();
        batch.add(kind, NLM_F_DUMP, body);
        self.sequence = self.sequence.wrapping_add(1);
        batch.seal(self.sequence, 0);
        self.socket.send_to(&batch.bytes, &SocketAddr::new(0, 0), 0)?;
        let (mut objects, mut buffer) = (Vec::new(), Vec::with_capacity(ANSWER));
        loop {
            self.receive(&mut buffer)?;
            for answer in answers(&buffer).filter(|one| one.sequence == self.sequence) {
                match answer.kind {
                    NLMSG_DONE => return Ok(objects),
                    NLMSG_ERROR => {
                        if let Some(error) = error(answer.body) {
                            return Err(error);
                        }
                    }
                    _ => objects.push(answer.body.to_vec()),
                }
            }
        }
    }

    fn receive(&self, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.clear();
        self.socket.recv(buffer, 0).map(drop)
    }
}

/// The messages of one datagram.
fn answers(bytes: &[u8]) -> impl Iterator<Item = Answer<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*rest.first_chunk()?) as usize;
        let message = rest.get(..length).filter(|_| length >= HEADER)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Answer {
            kind: u16::from_ne_bytes(*message.get(4..)?.first_chunk()?),
            sequence: u32::from_ne_bytes(*message.get(8..)?.first_chunk()?),
            port: u32::from_ne_bytes(*message.get(12..)?.first_chunk()?),
            body: message.get(HEADER..)?,
        })
    })
}

/// The messages of a datagram of events.
pub(crate) fn messages(bytes: &[u8]) -> impl Iterator<Item = Notice<'_>> {
    answers(bytes).map(|Answer { kind, port, body, .. }| Notice { kind, port, body })
}

/// What an `NLMSG_ERROR` says; zero is an acknowledgement.
fn error(body: &[u8]) -> Option<io::Error> {
    let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
    (code != 0).then(|| io::Error::from_raw_os_error(code.saturating_neg()))
}

/// Requests in a batch. Their refusals, 768 octets of buffer each, fit half the default (208 KiB).
pub(crate) const MOST: usize = 128;
const BUFFER: usize = 1 << 20;
/// `linux/netlink.h`: header, flags and kinds.
const HEADER: usize = 16;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
pub(crate) const NLM_F_REPLACE: u16 = 0x100;
pub(crate) const NLM_F_EXCL: u16 = 0x200;
pub(crate) const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// The kernel fills at most this much of a datagram of a dump.
const ANSWER: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_numbered_padded_and_the_last_is_acknowledged() {
        struct Body;
        impl Emitable for Body {
            fn buffer_len(&self) -> usize {
                5
            }
            fn emit(&self, buffer: &mut [u8]) {
                buffer.copy_from_slice(&[7; 5]);
            }
        }
        let mut batch = Batch::default();
        batch.add(24, NLM_F_CREATE, &Body);
        batch.add(25, 0, &Body);
        batch.seal(u32::MAX, 1);
        let read: Vec<_> = answers(&batch.bytes).map(|a| (a.kind, a.sequence, a.body)).collect();
        assert_eq!(read, [(24, u32::MAX, &[7; 5][..]), (25, 0, &[7; 5][..])]);
        assert_eq!(batch.bytes.len(), 48);
        let flags = |at: usize| u16::from_ne_bytes([batch.bytes[at + 6], batch.bytes[at + 7]]);
        assert_eq!(
            (flags(0), flags(24)),
            (NLM_F_REQUEST | NLM_F_CREATE, NLM_F_REQUEST | NLM_F_ACK)
        );
    }

    #[test]
    fn an_answer_cut_short_is_no_answer() {
        assert_eq!(answers(&[]).count(), 0);
        assert_eq!(answers(&[16, 0, 0, 0, 2, 0, 0, 0]).count(), 0);
        assert_eq!(answers(&[3, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).count(), 0);
    }
}
