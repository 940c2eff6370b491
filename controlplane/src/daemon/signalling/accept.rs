//! Connections that others open to us, from the first packet to the `hello`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quinn::{Connection, Endpoint, SendStream};
use sixwire_proto::peer::{Answer, Request};
use tokio::time::timeout;

use super::counters::Count;
use super::membership::Rejection;
use super::session::Origin;
use super::stream::{self, StreamError, refused};
use super::{CloseCode, Core, Limits, canonical, tls};

/// Handshakes under way, in all and from each source: a stranger that opens many and finishes none
/// does not keep others out.
#[derive(Default)]
pub(super) struct Handshakes(Mutex<Underway>);

#[derive(Default)]
struct Underway {
    total: usize,
    by_source: BTreeMap<IpAddr, usize>,
}

/// A place among the handshakes under way, given back when dropped.
struct Place {
    handshakes: Arc<Handshakes>,
    source: IpAddr,
}

/// Takes the connections of an endpoint until it closes.
pub(super) async fn run(core: Arc<Core>, endpoint: Endpoint, handshakes: Arc<Handshakes>) {
    while let Some(incoming) = endpoint.accept().await {
        let source = source(canonical(incoming.remote_address()).ip());
        if handshakes.total() >= core.limits.unproven && !incoming.remote_address_validated() {
            core.counters.add(Count::RetrySent);
            // Fails for proven addresses only, which do not come here.
            let _ = incoming.retry();
        } else if let Some(place) = handshakes.enter(source, &core.limits) {
            tokio::spawn(admit(core.clone(), incoming, place));
        } else {
            core.counters.add(Count::HandshakeOverLimit);
            incoming.refuse();
        }
    }
}

async fn admit(core: Arc<Core>, incoming: quinn::Incoming, _place: Place) {
    let remote = incoming.remote_address();
    match timeout(core.limits.handshake, greet(&core, incoming)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            core.counters.add(Count::HandshakeFailed);
            core.log(remote, "handshake failed", &error);
        }
        Err(_) => {
            core.counters.add(Count::HandshakeTimedOut);
            core.log(remote, "handshake failed", &"no hello came in time");
        }
    }
}

async fn greet(core: &Arc<Core>, incoming: quinn::Incoming) -> Result<(), StreamError> {
    let lost = |error: quinn::ConnectionError| StreamError::Lost(error.to_string());
    let connection = incoming.accept().map_err(lost)?.await.map_err(lost)?;
    let (mut send, recv) = connection.accept_bi().await.map_err(lost)?;
    let membership = core.membership();
    let outcome = match stream::read_request(recv).await {
        Ok(Request::Hello(hello)) => match tls::peer_key(&connection) {
            Some(key) => core.welcome((connection.clone(), Origin::Served), key, hello),
            None => Err(Rejection::Malformed("no raw public key was shown".to_owned())),
        },
        Ok(_) => Err(Rejection::NoHello),
        Err(StreamError::Malformed(text)) => Err(Rejection::Malformed(text)),
        Err(error @ StreamError::Lost(_)) => return Err(error),
    };
    match outcome {
        Ok(_) => {
            core.counters.add(Count::Accepted);
            stream::write_answer(&mut send, &Answer::Hello(membership.hello())).await
        }
        Err(rejection) => refuse(core, (connection, send), rejection).await,
    }
}

/// Says why, waits a moment until that has arrived, and closes.
async fn refuse(
    core: &Core,
    (connection, mut send): (Connection, SendStream),
    rejection: Rejection,
) -> Result<(), StreamError> {
    core.counters.add(Count::of(rejection.refusal()));
    core.log_peer(&connection, "peer refused", &rejection);
    let answer = refused(rejection.refusal(), rejection.to_string());
    let said = stream::write_answer(&mut send, &answer).await;
    if said.is_ok() {
        let _ = timeout(LAST_WORD, send.stopped()).await;
    }
    CloseCode::Refused.close(&connection);
    Ok(())
}

impl Handshakes {
    fn total(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    fn enter(self: &Arc<Self>, source: IpAddr, limits: &Limits) -> Option<Place> {
        let mut underway = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let from_source = underway.by_source.get(&source).copied().unwrap_or(0);
        if underway.total >= limits.handshakes || from_source >= limits.handshakes_per_source {
            return None;
        }
        underway.total += 1;
        underway.by_source.insert(source, from_source + 1);
        Some(Place { handshakes: self.clone(), source })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut underway = self.handshakes.0.lock().unwrap_or_else(PoisonError::into_inner);
        underway.total -= 1;
        match underway.by_source.get_mut(&self.source) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => drop(underway.by_source.remove(&self.source)),
        }
    }
}

/// What one party is likely to own as a whole: an IPv4 address, an IPv6 /64.
fn source(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) >> 64 << 64).into(),
    }
}

/// How long a refusal may take to arrive.
const LAST_WORD: Duration = Duration::from_secs(1);
