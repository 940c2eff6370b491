//! Connections that we open: all addresses of a node are tried, staggered, and the first that
//! answers with the node's key wins (as RFC 8305 does for TCP).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, Endpoint};
use sixwire_proto::peer::{Answer, Request};
use sixwire_proto::router_id::RouterId;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::call::CallError;
use super::counters::Count;
use super::session::{Origin, Session};
use super::stream::{self, StreamError};
use super::{CloseCode, Core, canonical, tls};

impl Core {
    /// An authenticated connection to `node`, made now.
    ///
    /// # Errors
    /// [`CallError`].
    pub(super) async fn dial(
        self: &Arc<Self>,
        node: RouterId,
        addresses: &[SocketAddr],
    ) -> Result<Arc<Session>, CallError> {
        let connection = self.connect(node, addresses).await?;
        let remote = canonical(connection.remote_address());
        let greeted = self.greet(&connection, node).await;
        match &greeted {
            Ok(_) => self.counters.add(Count::Dialled),
            Err(error) => {
                self.log(remote, "dialled peer is of no use", error);
                CloseCode::Refused.close(&connection);
            }
        }
        greeted
    }

    async fn greet(
        self: &Arc<Self>,
        connection: &Connection,
        node: RouterId,
    ) -> Result<Arc<Session>, CallError> {
        let remote = canonical(connection.remote_address());
        let hello = stream::encode(&Request::Hello(self.membership().hello()));
        let answer = timeout(self.limits.handshake, stream::ask(connection, &hello))
            .await
            .unwrap_or_else(|_| Err(StreamError::Lost("no answer to hello".to_owned())))
            .map_err(|error| CallError::of(error, node, remote))?;
        let unexpected = |text: &str| CallError::Malformed { node, remote, text: text.to_owned() };
        match answer {
            Answer::Hello(hello) => {
                let key = tls::peer_key(connection)
                    .ok_or_else(|| unexpected("no raw public key was shown"))?;
                self.welcome((connection.clone(), Origin::Dialled), key, hello).map_err(
                    |rejection| {
                        self.counters.add(Count::RejectedByUs);
                        CallError::Rejected { node, remote, rejection }
                    },
                )
            }
            Answer::Refused { reason, text } => {
                self.counters.add(Count::RefusedByPeer);
                Err(CallError::Refused { node, remote, reason, text })
            }
            _ => Err(unexpected("the answer to hello is none")),
        }
    }

    async fn connect(
        self: &Arc<Self>,
        node: RouterId,
        addresses: &[SocketAddr],
    ) -> Result<Connection, CallError> {
        let mut routes = routes(&self.endpoints, addresses).into_iter();
        let mut attempts = JoinSet::new();
        let mut failures: Vec<String> = Vec::new();
        loop {
            if let Some((endpoint, address)) = routes.next() {
                attempts.spawn(attempt(self.clone(), endpoint, (node, address)));
            } else if attempts.is_empty() {
                break;
            }
            tokio::select! {
                Some(ended) = attempts.join_next() => match ended {
                    Ok(Ok(connection)) => return Ok(connection),
                    Ok(Err(failure)) => failures.push(failure),
                    Err(error) => failures.push(error.to_string()),
                },
                () = sleep(STAGGER), if routes.len() > 0 => {}
            }
        }
        if failures.is_empty() {
            return Err(CallError::NoAddress(node));
        }
        Err(CallError::Unreachable { node, tried: failures.join("; ") })
    }
}

async fn attempt(
    core: Arc<Core>,
    endpoint: Endpoint,
    (node, address): (RouterId, SocketAddr),
) -> Result<Connection, String> {
    let name = tls::expected_name(node);
    let connecting = endpoint
        .connect_with(core.client.clone(), address, &name)
        .map_err(|error| format!("{address}: {error}"))?;
    match timeout(core.limits.handshake, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) if tls::is_unexpected_node(&error) => {
            core.counters.add(Count::UnexpectedNode);
            Err(format!("{address}: another node is there"))
        }
        Ok(Err(error)) => Err(format!("{address}: {error}")),
        Err(_) => Err(format!("{address}: no answer")),
    }
}

/// From which endpoint to try which address, in the order to try. IPv4 goes out of a socket of its
/// own if there is one, and out of `[::]` otherwise.
fn routes(endpoints: &[Endpoint], addresses: &[SocketAddr]) -> Vec<(Endpoint, SocketAddr)> {
    let local = |endpoint: &Endpoint| endpoint.local_addr().ok();
    let v4_apart = endpoints.iter().filter_map(local).any(|local| local.is_ipv4());
    let carries = |endpoint: &Endpoint, remote: IpAddr| {
        local(endpoint).is_some_and(|local| match (local.ip(), remote) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => true,
            (IpAddr::V6(any), IpAddr::V4(_)) => any.is_unspecified() && !v4_apart,
            (IpAddr::V4(_), IpAddr::V6(_)) => false,
        })
    };
    addresses
        .iter()
        .filter(|address| address.port() != 0 && is_unicast(address.ip()))
        .flat_map(|address| {
            let through = endpoints.iter().filter(|endpoint| carries(endpoint, address.ip()));
            through.map(|endpoint| (endpoint.clone(), *address))
        })
        .take(ATTEMPT_LIMIT)
        .collect()
}

fn is_unicast(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !address.is_unspecified() && !address.is_multicast() && !broadcast
}

/// Head start of an address before the next one is tried too (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);
/// Most ways to try for one call.
const ATTEMPT_LIMIT: usize = 16;
