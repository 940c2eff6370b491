//! A TCP connection to whichever of a host's addresses answers first.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::CONNECT_TIMEOUT;

/// Time an address has for itself before the next one is tried beside it (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);
/// Most addresses of one name that are tried.
const ADDRESS_LIMIT: usize = 16;

/// Connects to `host`, trying all its addresses in the resolver's order.
pub(super) async fn to_any(host: &str, port: u16) -> Result<TcpStream> {
    let addresses: Vec<SocketAddr> = lookup_host((host, port)).await?.take(ADDRESS_LIMIT).collect();
    let mut attempts = JoinSet::new();
    let mut failure = Error::new(ErrorKind::NotFound, "the name has no addresses");
    for address in addresses {
        attempts.spawn(connect(address));
        match timeout(HEAD_START, attempts.join_next()).await {
            Ok(Some(Ok(Ok(stream)))) => return Ok(stream),
            Ok(Some(Ok(Err(reason)))) => failure = reason,
            Ok(Some(Err(_)) | None) | Err(_) => {}
        }
    }
    while let Some(attempt) = attempts.join_next().await {
        match attempt {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(reason)) => failure = reason,
            Err(ended) => failure = Error::other(ended),
        }
    }
    Err(failure)
}

async fn connect(address: SocketAddr) -> Result<TcpStream> {
    timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
        .await
        .unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
        .map_err(|reason| Error::new(reason.kind(), format!("{address}: {reason}")))
}
