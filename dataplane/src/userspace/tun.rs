//! TUN interfaces that take and give several packets at once, with checksums to be completed.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read as _, Write as _};
use std::ops::Range;
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt as _;

use nix::errno::Errno;
use nix::libc;
use tokio::io::unix::AsyncFd;

use super::coalesce::PARTS;
use super::virtio::{self, Offload};
use crate::model::IfName;

/// A TUN interface; it lives as long as this, or a copy of its descriptor.
pub(super) struct Tun {
    file: File,
    name: IfName,
}

impl Tun {
    /// Makes an interface.
    pub(super) fn create(name: &IfName, mtu: u32) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")?;
        let mut request = request(name);
        let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
        request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).map_err(io::Error::other)?;
        control::set_interface(file.as_fd(), &mut request)?;
        // UDP in one piece is known since 6.2.
        control::set_offload(file.as_fd(), TCP | UDP)
            .or_else(|_| control::set_offload(file.as_fd(), TCP))?;
        let tun = Self { file, name: name.clone() };
        tun.set_mtu(mtu)?;
        Ok(tun)
    }

    /// Carries on with an interface that lives.
    ///
    /// # Errors
    /// `EBADFD` when it was deleted meanwhile.
    pub(super) fn resume(descriptor: OwnedFd, name: &IfName) -> io::Result<Self> {
        let file = File::from(descriptor);
        let mut request = request(name);
        control::get_interface(file.as_fd(), &mut request)?;
        if request.ifr_name != self::request(name).ifr_name {
            return Err(io::Error::other("it has another name"));
        }
        Ok(Self { file, name: name.clone() })
    }

    /// Another handle to the same interface, which lives as long as any.
    pub(super) fn descriptor(&self) -> io::Result<OwnedFd> {
        Ok(self.file.try_clone()?.into())
    }

    /// Has the runtime of this thread watch it.
    pub(super) fn watched(self) -> io::Result<AsyncFd<Self>> {
        control::watch(self)
    }

    /// Its MTU.
    pub(super) fn mtu(&self) -> io::Result<usize> {
        let mut request = request(&self.name);
        let socket = any_socket()?;
        control::get_mtu(socket.as_fd(), &mut request)?;
        let mtu = control::mtu_of(&request);
        usize::try_from(mtu).map_err(io::Error::other)
    }

    /// Reads a packet: what is left to do with it, and where it is in `buffer`.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<(Option<Offload>, Range<usize>)> {
        let length = (&self.file).read(buffer)?;
        let offload = buffer[..length].first_chunk().and_then(|header| Offload::read(*header));
        Ok((offload, virtio::LEN.min(length)..length))
    }

    /// Writes a packet that lies in pieces in `buffer`.
    pub(super) fn write(
        &self,
        offload: Offload,
        buffer: &[u8],
        parts: &[Range<usize>],
    ) -> io::Result<()> {
        let header = offload.write();
        let mut slices = [IoSlice::new(&[]); PARTS + 1];
        slices[0] = IoSlice::new(&header);
        for (slice, part) in slices[1..].iter_mut().zip(parts) {
            *slice = IoSlice::new(&buffer[part.clone()]);
        }
        // The kernel takes a packet whole or not at all.
        (&self.file).write_vectored(&slices[..=parts.len().min(PARTS)]).map(|_| ())
    }

    fn set_mtu(&self, mtu: u32) -> io::Result<()> {
        let mut request = request(&self.name);
        request.ifr_ifru.ifru_mtu = libc::c_int::try_from(mtu).map_err(io::Error::other)?;
        control::set_mtu(any_socket()?.as_fd(), &request)
    }
}

impl AsRawFd for Tun {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// Whether the interface behind the descriptor was deleted.
pub(super) fn is_detached(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EBADFD as i32)
}

fn any_socket() -> io::Result<std::os::unix::net::UnixDatagram> {
    // The kernel asks for some socket to speak about interfaces; any is as good.
    std::os::unix::net::UnixDatagram::unbound()
}

fn request(name: &IfName) -> libc::ifreq {
    let mut octets = [0; libc::IFNAMSIZ];
    // A name has at most 15 octets, so a zero follows.
    for (to, from) in octets.iter_mut().zip(name.as_str().bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    libc::ifreq { ifr_name: octets, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_mtu: 0 } }
}

/// The calls for which nobody has a safe wrapper.
mod control {
    #![expect(unsafe_code, reason = "nobody has a safe wrapper for these calls")]

    use super::{AsRawFd as _, AsyncFd, BorrowedFd, Tun, io, libc};

    mod calls {
        use super::libc;

        nix::ioctl_write_ptr_bad!(tun_set_iff, libc::TUNSETIFF, libc::ifreq);
        nix::ioctl_read_bad!(tun_get_iff, libc::TUNGETIFF, libc::ifreq);
        nix::ioctl_write_int_bad!(tun_set_offload, libc::TUNSETOFFLOAD);
        nix::ioctl_write_ptr_bad!(set_mtu, libc::SIOCSIFMTU, libc::ifreq);
        nix::ioctl_readwrite_bad!(get_mtu, libc::SIOCGIFMTU, libc::ifreq);
    }

    pub(super) fn set_interface(fd: BorrowedFd<'_>, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: the request is a whole `ifreq` with a terminated name.
        unsafe { calls::tun_set_iff(fd.as_raw_fd(), request) }?;
        Ok(())
    }

    pub(super) fn get_interface(fd: BorrowedFd<'_>, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: the request is a whole `ifreq`.
        unsafe { calls::tun_get_iff(fd.as_raw_fd(), request) }?;
        Ok(())
    }

    pub(super) fn set_offload(fd: BorrowedFd<'_>, flags: libc::c_uint) -> io::Result<()> {
        let flags = libc::c_int::try_from(flags).map_err(io::Error::other)?;
        // SAFETY: the argument is a number.
        unsafe { calls::tun_set_offload(fd.as_raw_fd(), flags) }?;
        Ok(())
    }

    pub(super) fn set_mtu(fd: BorrowedFd<'_>, request: &libc::ifreq) -> io::Result<()> {
        // SAFETY: the request is a whole `ifreq` with a terminated name.
        unsafe { calls::set_mtu(fd.as_raw_fd(), request) }?;
        Ok(())
    }

    pub(super) fn get_mtu(fd: BorrowedFd<'_>, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: the request is a whole `ifreq` with a terminated name.
        unsafe { calls::get_mtu(fd.as_raw_fd(), request) }?;
        Ok(())
    }

    pub(super) fn watch(tun: Tun) -> io::Result<AsyncFd<Tun>> {
        // SAFETY: the file is opened before, closed after, and never exchanged.
        Ok(unsafe { AsyncFd::register(tun) }?)
    }

    pub(super) fn mtu_of(request: &libc::ifreq) -> libc::c_int {
        // SAFETY: every variant is plain numbers, so any of them can be read.
        unsafe { request.ifr_ifru.ifru_mtu }
    }
}

/// Checksums to be completed, TCP in one piece.
const TCP: libc::c_uint = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
/// UDP in one piece.
const UDP: libc::c_uint = libc::TUN_F_USO4 | libc::TUN_F_USO6;
