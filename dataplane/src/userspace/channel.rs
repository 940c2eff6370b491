//! A connection between daemon and helper: a JSON line each way, and descriptors with it.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;

/// One end of it.
pub(super) struct Channel {
    stream: UnixStream,
    received: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Channel {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, received: Vec::new(), descriptors: Vec::new() }
    }

    /// Says something, and hands copies of descriptors over with it.
    pub(super) async fn send(
        &mut self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        let numbers: Vec<_> = descriptors.iter().map(|descriptor| descriptor.as_raw_fd()).collect();
        let rights = [ControlMessage::ScmRights(&numbers)];
        let rights = if numbers.is_empty() { &[] } else { &rights[..] };
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let stream = &self.stream;
        let write = || {
            let slices = [IoSlice::new(&line)];
            Ok(sendmsg::<()>(stream.as_raw_fd(), &slices, rights, flags, None)?)
        };
        let sent = stream.async_io(Interest::WRITABLE, write).await?;
        self.stream.write_all(&line[sent..]).await
    }

    /// What the other end says next, and the descriptors that came with it; `None` when it hung up.
    pub(super) async fn receive<T: DeserializeOwned>(
        &mut self,
    ) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        loop {
            if let Some(end) = self.received.iter().position(|octet| *octet == b'\n') {
                let message = serde_json::from_slice(&self.received[..end])?;
                self.received.drain(..=end);
                return Ok(Some((message, std::mem::take(&mut self.descriptors))));
            }
            if self.received.len() > LONGEST_LINE {
                return Err(io::Error::other("a line without an end"));
            }
            if self.read().await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Waits until the other end hangs up, which it does by its end at the latest.
    pub(super) async fn closed(mut self) {
        // It says nothing unasked; if it did, nobody would listen.
        while self.read().await.is_ok_and(|octets| octets > 0) {
            self.received.clear();
            self.descriptors.clear();
        }
    }

    async fn read(&mut self) -> io::Result<usize> {
        let Self { stream, received, descriptors } = self;
        let mut octets = [0; 4096];
        let count = stream
            .async_io(Interest::READABLE, || {
                let mut space = nix::cmsg_space!([i32; DESCRIPTORS]);
                let mut slices = [IoSliceMut::new(&mut octets)];
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
                let fd = stream.as_raw_fd();
                let message = recvmsg::<()>(fd, &mut slices, Some(&mut space), flags)?;
                for control in message.cmsgs()? {
                    if let ControlMessageOwned::ScmRights(numbers) = control {
                        descriptors.extend(numbers.into_iter().map(own::take));
                    }
                }
                Ok(message.bytes)
            })
            .await?;
        received.extend_from_slice(&octets[..count]);
        Ok(count)
    }
}

/// The call for which nobody has a safe wrapper.
mod own {
    #![expect(unsafe_code, reason = "received descriptors come as numbers")]

    use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

    pub(super) fn take(number: RawFd) -> OwnedFd {
        // SAFETY: the kernel has just made it for us, and nobody else has seen the number.
        unsafe { OwnedFd::from_raw_fd(number) }
    }
}

/// Octets; the names of 3000 interfaces.
const LONGEST_LINE: usize = 64 << 10;
/// Descriptors that come at a time.
const DESCRIPTORS: usize = 2;

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;

    use super::*;

    #[tokio::test]
    async fn descriptors_come_with_the_line_they_were_sent_with() {
        let (a, b) = UnixStream::pair().unwrap();
        let (mut a, mut b) = (Channel::new(a), Channel::new(b));
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        a.send(&"first", &[writer.as_fd(), reader.as_fd()]).await.unwrap();
        a.send(&"x".repeat(20_000), &[]).await.unwrap();
        let (line, descriptors): (String, _) = b.receive().await.unwrap().unwrap();
        assert_eq!((line.as_str(), descriptors.len()), ("first", 2));
        let (line, none): (String, _) = b.receive().await.unwrap().unwrap();
        assert_eq!((line.len(), none.len()), (20_000, 0));
        writer.write_all(b"hello").unwrap();
        drop(writer);
        let mut copy = std::fs::File::from(descriptors.into_iter().nth(1).unwrap());
        let mut text = [0; 5];
        copy.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"hello");
        drop(a);
        assert!(b.receive::<String>().await.unwrap().is_none());
        assert!(reader.read(&mut text).is_ok());
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_refused() {
        let (a, b) = UnixStream::pair().unwrap();
        let mut b = Channel::new(b);
        let flood = tokio::spawn(async move {
            let mut a = a;
            while a.write_all(&[b'x'; 4096]).await.is_ok() {}
        });
        assert!(b.receive::<String>().await.is_err());
        drop(b);
        flood.await.unwrap();
    }
}
