//! `sixwire-registry serve`: serves the nodes until told to stop.

use tokio::sync::watch;
use tracing::info;

use super::start_log;
use crate::Error;
use crate::config::Config;
use crate::listener::Stop;
use crate::server::{Server, ServerConfiguration, StopSignals};

pub(super) fn run(config: Config) -> Result<(), Error> {
    let config = start_log(config);
    let path = config.directory.path().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| Error::File { action: "start the runtime for", path, cause })?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> Result<(), Error> {
    let Config { directory, listen, tls, .. } = config;
    let signals = StopSignals::catch();
    let server = Server::open(ServerConfiguration { directory, listen, tls }).await?;
    for address in server.addresses()? {
        info!(%address, "listening");
    }
    let (stop, stopped) = watch::channel(Stop::NotYet);
    let signals = tokio::spawn(signals.pass_on(stop));
    let outcome = server.serve(stopped).await;
    signals.abort();
    info!("stopped");
    outcome
}
