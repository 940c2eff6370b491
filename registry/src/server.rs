//! The server: what `serve` runs, from the first check to the last connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::authority::BACKDATE;
use crate::desk::Desk;
use crate::directory::Directory;
use crate::listener::{Service, Stop, bind, stopped};
use crate::registrar::Registrar;
use crate::tls::TlsFiles;
use crate::{Error, clock, http};

/// Where and how to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfiguration {
    /// Where the registry lies.
    pub directory: Directory,
    /// Addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// A TLS certificate that others vouch for; without one, the registry's own.
    pub tls: Option<TlsFiles>,
}

/// A server that has its addresses and its database.
pub struct Server {
    directory: Directory,
    listeners: Vec<TcpListener>,
    files: TlsFiles,
    tls: watch::Sender<Arc<ServerConfig>>,
    registrar: Registrar,
    hangup: Option<Signal>,
}

/// Time between two looks at what is to be renewed and forgotten.
const UPKEEP: Duration = Duration::from_secs(6 * 3600);

impl Server {
    /// Opens the registry and takes the addresses.
    ///
    /// # Errors
    /// [`Error`]; nothing has changed then.
    pub async fn open(configuration: ServerConfiguration) -> Result<Self, Error> {
        let ServerConfiguration { directory, listen, tls } = configuration;
        directory.check()?;
        let own = TlsFiles::own(&directory);
        let pin = if tls.is_some() { None } else { Some(own.pin()?) };
        let files = tls.unwrap_or(own);
        let config = files.load()?;
        let mut listeners = Vec::new();
        for address in listen {
            listeners.push(bind(address).await?);
        }
        let mut registrar = Registrar::open(&directory)?;
        renew_issuer(&mut registrar, &directory)?;
        registrar.set_tls_pin(pin)?;
        check_clock(&mut registrar)?;
        let hangup = listen_for(SignalKind::hangup());
        let tls = watch::Sender::new(config);
        Ok(Self { directory, listeners, files, tls, registrar, hangup })
    }

    /// The addresses taken.
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub fn addresses(&self) -> Result<Vec<SocketAddr>, Error> {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        self.listeners
            .iter()
            .map(|l| l.local_addr().map_err(|cause| Error::Listen { address: unknown, cause }))
            .collect()
    }

    /// Serves until `stop` says so, then ends the connections and closes the database.
    ///
    /// # Errors
    /// [`Error::DeskClosed`].
    pub async fn serve(self, stop: watch::Receiver<Stop>) -> Result<(), Error> {
        let (desk, thread) = Desk::open(self.registrar);
        let router = http::router(desk.clone());
        let service = Service::new(router, self.tls.subscribe(), stop.clone());
        for listener in self.listeners {
            tokio::spawn(service.clone().accept_from(listener));
        }
        let upkeep = tokio::spawn(upkeep(desk.clone(), self.directory));
        let reload = tokio::spawn(reload(self.hangup, self.files, self.tls));
        let outcome = tokio::select! {
            () = stopped(stop) => Ok(()),
            () = desk.closed() => Err(Error::DeskClosed),
        };
        upkeep.abort();
        reload.abort();
        service.drain().await;
        desk.close().await;
        // Its panic, if there was one, is told by `outcome`.
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        outcome
    }
}

/// Warns when the clock stands before the last state was signed: certificates would be of the past.
fn check_clock(registrar: &mut Registrar) -> Result<(), Error> {
    let (now, signed) = (clock::now(), registrar.state_signed_at()?);
    if now + BACKDATE < signed {
        warn!(%now, %signed, "the clock is behind the last network state: set it");
    }
    Ok(())
}

/// Renews the issuer if it is time and the root key is at hand.
fn renew_issuer(registrar: &mut Registrar, directory: &Directory) -> Result<(), Error> {
    let now = clock::now();
    if !registrar.authority().wants_renewal(now) {
        return Ok(());
    }
    let not_after = registrar.authority().not_after();
    if let Some(root) = directory.root_key()? {
        let not_after = registrar.renew_issuer(&root, now)?;
        info!(%not_after, "issuer renewed");
        return Ok(());
    }
    let path = directory.root_key_path();
    if now > not_after {
        return Err(Error::IssuerExpired { expired: not_after, path });
    }
    warn!(
        %not_after, path = %path.display(),
        "the issuer ends soon: put the root key in place and restart, or no node can renew"
    );
    Ok(())
}

async fn upkeep(desk: Desk, directory: Directory) {
    let mut interval = tokio::time::interval(UPKEEP);
    loop {
        interval.tick().await;
        let directory = directory.clone();
        let done = desk.ask(move |registrar| {
            if let Err(error) = renew_issuer(registrar, &directory) {
                error!(%error, "the issuer is not renewed");
            }
            registrar.forget_lapsed(clock::now())
        });
        if let Err(error) = done.await {
            warn!(%error, "upkeep failed");
        }
    }
}

/// Reads the TLS files again on SIGHUP: an ACME client renewed them.
async fn reload(hangup: Option<Signal>, files: TlsFiles, tls: watch::Sender<Arc<ServerConfig>>) {
    let Some(mut hangup) = hangup else { return };
    while hangup.recv().await.is_some() {
        match files.load() {
            Ok(config) => {
                tls.send_replace(config);
                info!("TLS certificate read again");
            }
            Err(error) => error!(%error, "TLS certificate not read again; the old one stays"),
        }
    }
}

fn listen_for(kind: SignalKind) -> Option<Signal> {
    signal(kind).map_err(|error| warn!(%error, "cannot listen for a signal")).ok()
}

/// The system's wish that we stop: SIGTERM or SIGINT.
pub struct StopSignals {
    terminate: Option<Signal>,
    interrupt: Option<Signal>,
}

impl StopSignals {
    /// From now on these signals do not end the program by themselves.
    #[must_use]
    pub fn catch() -> Self {
        Self {
            terminate: listen_for(SignalKind::terminate()),
            interrupt: listen_for(SignalKind::interrupt()),
        }
    }

    /// Waits for one and passes it on.
    pub async fn pass_on(self, stop: watch::Sender<Stop>) {
        tokio::select! {
            () = next(self.terminate) => {}
            () = next(self.interrupt) => {}
        }
        info!("stopping");
        stop.send_replace(Stop::Now);
    }
}

async fn next(signal: Option<Signal>) {
    match signal {
        Some(mut signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}
