//! The UDP sockets that signalling listens on and dials from.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU32;

use socket2::{Domain, Protocol, Socket, Type};

/// Why signalling could not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program has the port.
    #[error(
        "UDP port {} of {} is in use: stop the program that has it (another sixwire?), or set \
         signalling.port", .0.port(), .0.ip()
    )]
    InUse(SocketAddr),
    /// The system refused the socket.
    #[error("cannot listen on UDP {0}: {1}; check signalling.listen and signalling.port")]
    Socket(SocketAddr, io::Error),
    /// The mark that keeps our packets out of our own tunnels was refused.
    #[error("cannot set fwmark {0:#x} on the signalling socket: {1}; run with CAP_NET_ADMIN")]
    Mark(NonZeroU32, io::Error),
    /// No address was given.
    #[error("signalling has no address to listen on; set signalling.listen")]
    NoAddress,
    /// The TLS library refused the node key.
    #[error("cannot use the node key for signalling: {0}")]
    Key(#[from] rustls::Error),
}

/// A socket for each address. `[::]` takes IPv4 too, unless IPv4 has an address of its own in the
/// list; where the system has no IPv6 it becomes `0.0.0.0`.
///
/// # Errors
/// [`BindError`]; then none is open.
pub(super) fn bind(
    addresses: &[SocketAddr],
    mark: Option<NonZeroU32>,
) -> Result<Vec<UdpSocket>, BindError> {
    let v4_apart = addresses.iter().any(SocketAddr::is_ipv4);
    if addresses.is_empty() {
        return Err(BindError::NoAddress);
    }
    addresses
        .iter()
        .map(|&address| {
            let v6_only = v4_apart || !address.ip().is_unspecified();
            match open(address, Family { v6_only, mark }) {
                Err(BindError::Socket(_, e)) if address.ip().is_unspecified() && no_ipv6(&e) => {
                    let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
                    open(v4, Family { v6_only, mark })
                }
                opened => opened,
            }
        })
        .collect()
}

struct Family {
    v6_only: bool,
    mark: Option<NonZeroU32>,
}

fn open(address: SocketAddr, family: Family) -> Result<UdpSocket, BindError> {
    let error = |e: io::Error| match e.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse(address),
        _ => BindError::Socket(address, e),
    };
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))
        .map_err(error)?;
    if address.is_ipv6() {
        socket.set_only_v6(family.v6_only).map_err(error)?;
    }
    if let Some(mark) = family.mark {
        socket.set_mark(mark.get()).map_err(|e| BindError::Mark(mark, e))?;
    }
    socket.bind(&address.into()).map_err(error)?;
    socket.set_nonblocking(true).map_err(error)?;
    Ok(socket.into())
}

fn no_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(EAFNOSUPPORT | EADDRNOTAVAIL))
}

const EAFNOSUPPORT: i32 = nix::errno::Errno::EAFNOSUPPORT as i32;
const EADDRNOTAVAIL: i32 = nix::errno::Errno::EADDRNOTAVAIL as i32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_named_with_the_key_to_change() {
        let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = holder.local_addr().unwrap();
        let error = bind(&[address], None).unwrap_err().to_string();
        let want = format!("UDP port {} of 127.0.0.1 is in use: stop", address.port());
        assert!(error.starts_with(&want) && error.ends_with("set signalling.port"), "{error}");
    }

    #[test]
    fn any_ipv6_takes_ipv4_too_unless_ipv4_has_its_own_address() {
        let both = bind(&["[::]:0".parse().unwrap()], None).unwrap();
        let port = both[0].local_addr().unwrap().port();
        assert!(bind(&[SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))], None).is_err());
        drop(both);
        let apart = bind(&["[::]:0".parse().unwrap(), "0.0.0.0:0".parse().unwrap()], None).unwrap();
        let port = apart[0].local_addr().unwrap().port();
        assert!(bind(&[SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))], None).is_ok());
    }

    #[test]
    fn the_mark_is_on_the_socket() {
        let mark = NonZeroU32::new(0x6326).unwrap();
        match bind(&["127.0.0.1:0".parse().unwrap()], Some(mark)) {
            Ok(sockets) => {
                assert_eq!(socket2::SockRef::from(&sockets[0]).mark().unwrap(), mark.get());
            }
            Err(BindError::Mark(_, error)) => println!("SKIP: no CAP_NET_ADMIN here: {error}"),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn an_address_of_another_machine_and_no_address_are_refused() {
        let error = bind(&["192.0.2.1:0".parse().unwrap()], None).unwrap_err();
        assert!(matches!(error, BindError::Socket(..)), "{error}");
        assert!(matches!(bind(&[], None), Err(BindError::NoAddress)));
    }
}
