//! The listener: TLS connections, each bounded in time, all of them bounded in number.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use sixwire_proto::prefix::Prefix;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use crate::Error;

/// Where a request comes from: an extension of each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source(pub IpAddr);

/// What all listeners share.
#[derive(Clone)]
pub struct Service {
    router: Router,
    tls: watch::Receiver<Arc<ServerConfig>>,
    stop: watch::Receiver<Stop>,
    connections: Arc<Semaphore>,
    places: Arc<Mutex<BTreeMap<Prefix, usize>>>,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Accept connections.
    NotYet,
    /// Accept no more, finish those there are.
    Now,
}

/// Most connections at once; further ones wait to be accepted.
pub const CONNECTION_LIMIT: u32 = 1024;
/// Most connections at once from one place, see [`place_of`]; further ones are closed.
pub const PLACE_LIMIT: usize = 256;
/// How long a TLS handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How long a request's head may take.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a connection may last, whatever it does.
const CONNECTION_TIME: Duration = Duration::from_secs(60);
/// How long the last connections may take after the stop.
const DRAIN_TIME: Duration = Duration::from_secs(10);
/// How long to wait when the system has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Takes an address to listen on.
///
/// # Errors
/// [`Error::Listen`].
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|cause| Error::Listen { address, cause })
}

/// The place an address belongs to, for counting: an IPv4 address, or an IPv6 /64, in which one
/// machine can have as many addresses as it likes.
#[must_use]
pub fn place_of(source: IpAddr) -> Prefix {
    let length = if source.is_ipv4() { 32 } else { 64 };
    Prefix::containing(source, length).expect("both lengths fit their family")
}

impl Service {
    /// A service of these resources.
    #[must_use]
    pub fn new(
        router: Router,
        tls: watch::Receiver<Arc<ServerConfig>>,
        stop: watch::Receiver<Stop>,
    ) -> Self {
        let connections = Arc::new(Semaphore::new(CONNECTION_LIMIT as usize));
        Self { router, tls, stop, connections, places: Arc::default() }
    }

    /// Accepts connections until the stop.
    pub async fn accept_from(self, listener: TcpListener) {
        let stopped = stopped(self.stop.clone());
        tokio::pin!(stopped);
        loop {
            let accepted = tokio::select! {
                () = &mut stopped => return,
                accepted = self.accept(&listener) => accepted,
            };
            if let Some((stream, source, permit)) = accepted {
                tokio::spawn(self.clone().serve(stream, source, permit));
            }
        }
    }

    /// Waits until the last connection has ended, but not for ever.
    pub async fn drain(&self) {
        let all = self.connections.acquire_many(CONNECTION_LIMIT);
        if timeout(DRAIN_TIME, all).await.is_err() {
            info!("closing connections that did not end by themselves");
        }
    }

    async fn accept(
        &self,
        listener: &TcpListener,
    ) -> Option<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
        let permit = self.connections.clone().acquire_owned().await.ok()?;
        match listener.accept().await {
            Ok((stream, source)) => Some((stream, source.ip().to_canonical(), permit)),
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                None
            }
        }
    }

    async fn serve(self, stream: TcpStream, source: IpAddr, permit: OwnedSemaphorePermit) {
        let _permit = permit;
        let Some(_seat) = Seat::take(&self.places, place_of(source)) else {
            debug!(%source, "too many connections from one place");
            return;
        };
        if timeout(CONNECTION_TIME, self.talk(stream, source)).await.is_err() {
            debug!(%source, "connection took too long");
        }
    }

    async fn talk(self, stream: TcpStream, source: IpAddr) {
        let acceptor = TlsAcceptor::from(self.tls.borrow().clone());
        let stream = match timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return debug!(%source, %error, "no TLS"),
            Err(_) => return debug!(%source, "TLS took too long"),
        };
        let router = self.router.layer(Extension(Source(source)));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stopped(self.stop) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            debug!(%source, %error, "connection failed");
        }
    }
}

/// Waits for the stop. That nobody is left to give it is the same.
pub async fn stopped(mut stop: watch::Receiver<Stop>) {
    let _ = stop.wait_for(|stop| *stop == Stop::Now).await;
}

/// One connection's share of its place's limit, given back when dropped.
struct Seat {
    places: Arc<Mutex<BTreeMap<Prefix, usize>>>,
    place: Prefix,
}

impl Seat {
    fn take(places: &Arc<Mutex<BTreeMap<Prefix, usize>>>, place: Prefix) -> Option<Self> {
        let mut counts = places.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let count = counts.entry(place).or_default();
        if *count >= PLACE_LIMIT {
            return None;
        }
        *count += 1;
        Some(Self { places: places.clone(), place })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.places.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(count) = counts.get_mut(&self.place) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.place);
            }
        }
    }
}
