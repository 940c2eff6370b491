//! Calls to the registry: HTTP/1.1 over TLS, one connection for each call. They are rare.

mod connect;
mod error;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use serde::de::DeserializeOwned;
use sixwire_proto::certificate::Chain;
use sixwire_proto::envelope::Envelope;
use sixwire_proto::join::bracketed;
use sixwire_proto::keys::SecretKey;
use sixwire_proto::peer::MESSAGE_LIMIT;
use sixwire_proto::registry::{
    CALL_HEADER, Call, ErrorBody, ErrorCode, Join, JoinAnswer, PeersAnswer, Presence,
};
use sixwire_proto::time::Timestamp;
use tokio::time::timeout;

use crate::daemon::store::Network;
pub use error::RegistryError;

/// The registry of one network, and how to be sure that it is the one.
#[derive(Clone, Debug)]
pub struct RegistryClient {
    host: String,
    port: u16,
    tls: Arc<ClientConfig>,
}

/// Who calls, and when by its own clock.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The node's key.
    pub key: &'a SecretKey,
    /// Now.
    pub time: Timestamp,
}

/// Time for a connection to one address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a whole call: name, connection, TLS, request, answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

impl RegistryClient {
    /// A client for the registry of `network`. Does not connect yet.
    ///
    /// # Errors
    /// [`RegistryError::Name`] for a host that TLS knows no name for, [`RegistryError::TrustStore`]
    /// where there is no pin, and this machine knows no authorities either.
    pub fn new(network: &Network) -> Result<Self, RegistryError> {
        tls::server_name(&network.host)?;
        let tls = match network.tls_pin {
            Some(pin) => tls::pinned(pin),
            None => tls::by_authorities()?,
        };
        Ok(Self { host: network.host.clone(), port: network.port, tls: Arc::new(tls) })
    }

    /// Spends a token for a certificate. Safe to repeat with the same key and token.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn join(&self, key: &SecretKey, join: &Join) -> Result<JoinAnswer, RegistryError> {
        let body = json(&Envelope::seal(key, join));
        self.once(Call { method: "POST", path: "/v1/join", body: &body }, None).await
    }

    /// A new certificate for the one the node has.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn renew(&self, caller: Caller<'_>) -> Result<JoinAnswer, RegistryError> {
        self.signed(Call { method: "POST", path: "/v1/renew", body: b"" }, caller).await
    }

    /// Tells where the node can be reached, and asks whom it may dial.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn peers(
        &self,
        caller: Caller<'_>,
        presence: &Presence,
    ) -> Result<PeersAnswer, RegistryError> {
        let body = json(presence);
        self.signed(Call { method: "POST", path: "/v1/peers", body: &body }, caller).await
    }

    /// The network state.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn state(&self, caller: Caller<'_>) -> Result<Chain, RegistryError> {
        self.signed(Call { method: "GET", path: "/v1/state", body: b"" }, caller).await
    }

    /// `HOST:PORT`, for people.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}", bracketed(&self.host), self.port)
    }

    /// A signed call; once more with the registry's time if that is what it refuses.
    async fn signed<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
        caller: Caller<'_>,
    ) -> Result<T, RegistryError> {
        match self.once(call, Some(caller)).await {
            Err(RegistryError::Refused { code: ErrorCode::Clock, time, .. }) => {
                tracing::warn!(
                    registry = %self.place(),
                    registry_time = %time,
                    own_time = %caller.time,
                    "this machine's clock is wrong; calling again with the registry's time"
                );
                self.once(call, Some(Caller { time, ..caller })).await
            }
            other => other,
        }
    }

    async fn once<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
        caller: Option<Caller<'_>>,
    ) -> Result<T, RegistryError> {
        let exchange = async {
            let request = self.request(call, caller)?;
            let tls = match caller {
                Some(Caller { time, .. }) => tls::judged_at(&self.tls, time),
                None => Arc::clone(&self.tls),
            };
            self.exchange(tls, request).await
        };
        let (status, body) = timeout(CALL_TIMEOUT, exchange)
            .await
            .map_err(|_| RegistryError::TimedOut { place: self.place(), limit: CALL_TIMEOUT })??;
        self.read(status, &body)
    }

    fn request(
        &self,
        call: Call<'_>,
        caller: Option<Caller<'_>>,
    ) -> Result<Request<Full<Bytes>>, RegistryError> {
        let method = Method::from_bytes(call.method.as_bytes()).expect("GET and POST are methods");
        let mut request =
            Request::builder().method(method).uri(call.path).header(HOST, self.place());
        if !call.body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(Caller { key, time }) = caller {
            let mut nonce = [0; 16];
            getrandom::fill(&mut nonce).map_err(|_| RegistryError::Randomness)?;
            request = request.header(CALL_HEADER, call.sign(key, time, nonce).to_string());
        }
        let body = Full::new(Bytes::copy_from_slice(call.body));
        request.body(body).map_err(|_| RegistryError::Name(self.host.clone()))
    }

    async fn exchange(
        &self,
        tls: Arc<ClientConfig>,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), RegistryError> {
        let stream = connect::to_any(&self.host, self.port)
            .await
            .map_err(|reason| RegistryError::Unreachable { place: self.place(), reason })?;
        let name = tls::server_name(&self.host)?;
        let stream = tokio_rustls::TlsConnector::from(tls)
            .connect(name, stream)
            .await
            .map_err(|reason| RegistryError::of_handshake(self.place(), &reason))?;
        let broken = |reason: hyper::Error| RegistryError::Broken { place: self.place(), reason };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let answered = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MESSAGE_LIMIT).collect().await;
            let body =
                body.map_err(|_| RegistryError::NotARegistry { place: self.place(), status })?;
            Ok((status, body.to_bytes()))
        };
        // The connection is driven here, by nobody else, and ends with the answer.
        tokio::pin!(answered);
        tokio::select! {
            biased;
            answer = &mut answered => answer,
            _ = connection => answered.await,
        }
    }

    fn read<T: DeserializeOwned>(
        &self,
        status: StatusCode,
        body: &[u8],
    ) -> Result<T, RegistryError> {
        let foreign = || RegistryError::NotARegistry { place: self.place(), status };
        if status.is_success() {
            return serde_json::from_slice(body).map_err(|_| foreign());
        }
        let ErrorBody { code, message, time } =
            serde_json::from_slice(body).map_err(|_| foreign())?;
        Err(RegistryError::Refused {
            place: self.place(),
            code,
            message: printable(&message),
            time,
        })
    }
}

fn json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("registry bodies have text keys only")
}

/// What a stranger wrote, fit for a terminal and a log.
fn printable(text: &str) -> String {
    text.chars().take(500).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests;
