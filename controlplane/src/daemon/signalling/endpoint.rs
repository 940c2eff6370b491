//! QUIC as signalling uses it: few small messages, little memory, nothing from strangers.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::{CryptoError, HmacKey};
use quinn::{
    ClientConfig, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, IdleTimeout,
    ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use sha2::{Digest as _, Sha256};
use sixwire_proto::keys::SecretKey;

use super::socket::BindError;
use super::stream::REQUEST_LIMIT;
use super::tls::Handshake;
use super::{CloseCode, Limits};

/// The endpoints on these sockets and the configuration for dialling from any of them.
///
/// # Errors
/// [`BindError`].
pub(super) fn open(
    sockets: Vec<UdpSocket>,
    key: &SecretKey,
    limits: &Limits,
) -> Result<(Vec<Endpoint>, ClientConfig), BindError> {
    let handshake = Handshake::new(key)?;
    let transport = Arc::new(transport(limits));
    let mut client = ClientConfig::new(Arc::new(handshake.client()?));
    client.transport_config(transport.clone());
    let mut server = ServerConfig::with_crypto(Arc::new(handshake.server()?));
    server
        .transport_config(transport)
        .max_incoming(limits.handshakes)
        .incoming_buffer_size(INCOMING_BUFFER)
        .incoming_buffer_size_total(INCOMING_BUFFER * limits.handshakes as u64);
    let config = endpoint_config(key);
    let endpoints = sockets
        .into_iter()
        .map(|socket| {
            let local = socket.local_addr().map_err(|e| BindError::Socket(UNKNOWN, e))?;
            let runtime = Arc::new(TokioRuntime);
            Endpoint::new(config.clone(), Some(server.clone()), socket, runtime)
                .map_err(|e| BindError::Socket(local, e))
        })
        .collect::<Result<_, _>>()?;
    Ok((endpoints, client))
}

impl CloseCode {
    pub(super) fn close(self, connection: &quinn::Connection) {
        let (code, reason) = self.parts();
        connection.close(VarInt::from_u32(code), reason.as_bytes());
    }

    pub(super) fn close_all(self, endpoint: &Endpoint) {
        let (code, reason) = self.parts();
        endpoint.close(VarInt::from_u32(code), reason.as_bytes());
    }
}

/// What holds before the `hello`: one stream, a request's worth of octets. A known peer gets more.
fn transport(limits: &Limits) -> TransportConfig {
    let before_hello = u32::try_from(REQUEST_LIMIT).expect("REQUEST_LIMIT is small") + 1024;
    let idle = limits.idle.min(LONGEST_IDLE);
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .receive_window(VarInt::from_u32(before_hello))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        .crypto_buffer_size(CRYPTO_BUFFER)
        .initial_mtu(SMALLEST_PACKET)
        .mtu_discovery_config(None)
        .max_idle_timeout(Some(IdleTimeout::try_from(idle).expect("bounded by LONGEST_IDLE")));
    transport
}

/// Reset tokens come from the node key, and any connection id may be one of ours, so that a node
/// that was restarted resets the connections it has forgotten (RFC 9000 §10.3) instead of leaving
/// them to time out.
fn endpoint_config(key: &SecretKey) -> EndpointConfig {
    let secret = Sha256::new()
        .chain_update(b"sixwire reset token v1\0")
        .chain_update(key.to_pkcs8().as_slice())
        .finalize();
    let mut config = EndpointConfig::new(Arc::new(ResetKey(secret.into())));
    config.cid_generator(|| Box::new(RandomIds));
    config
}

/// Connection ids without structure.
struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; CONNECTION_ID_LENGTH];
        getrandom::fill(&mut id).expect("a system that made our keys has randomness");
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_LENGTH
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Makes reset tokens: SHA-256 over this secret and the connection id, of which QUIC takes the
/// first half.
struct ResetKey([u8; 32]);

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature: &mut [u8]) {
        let digest = Sha256::new().chain_update(self.0).chain_update(data).finalize();
        signature.copy_from_slice(&digest);
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let mut expected = [0; 32];
        self.sign(data, &mut expected);
        if signature == expected { Ok(()) } else { Err(CryptoError) }
    }
}

/// Octets of one stream on the way to us: a large answer comes in a few pieces.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Octets of all streams on the way to a peer.
const SEND_WINDOW: u64 = 512 * 1024;
/// Octets of TLS handshake messages out of order; raw keys make them short.
const CRYPTO_BUFFER: usize = 8 * 1024;
/// Octets kept for a connection that is not accepted yet.
const INCOMING_BUFFER: u64 = 16 * 1024;
/// UDP payload that every path of QUIC carries (RFC 9000 §14); signalling needs no larger ones,
/// and does without probing for them.
const SMALLEST_PACKET: u16 = 1200;
const CONNECTION_ID_LENGTH: usize = 8;
const LONGEST_IDLE: Duration = Duration::from_secs(3600);
const UNKNOWN: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), 0);
