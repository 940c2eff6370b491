//! Calls: a body of bounded size and time, and the node's signature over it.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use sixwire_proto::registry::{BODY_LIMIT, CALL_HEADER, Call, CallSignature};

use super::refused::Refused;
use crate::clock;
use crate::refusal::Refusal;
use crate::replay::Replays;

/// How long a node may take to send a body.
const BODY_TIME: Duration = Duration::from_secs(15);

/// Reads a body.
pub(super) async fn body_of(body: Body) -> Result<Bytes, Refused> {
    match tokio::time::timeout(BODY_TIME, to_bytes(body, BODY_LIMIT)).await {
        Err(_) => {
            let text = format!("the body did not arrive within {} s", BODY_TIME.as_secs());
            Err(Refused::too_slow(Refusal::Malformed(text)))
        }
        Ok(Err(_)) => {
            let text = format!("the body was cut off, or is over {BODY_LIMIT} octets");
            Err(Refused::too_large(Refusal::Malformed(text)))
        }
        Ok(Ok(body)) => Ok(body),
    }
}

/// Reads a signed call, and checks its clock and signature. Whether the node may call, and for the
/// first time, is the registrar's to say.
pub(super) async fn signed(request: Request) -> Result<(CallSignature, Bytes), Refused> {
    let (head, body) = request.into_parts();
    let mut headers = head.headers.get_all(CALL_HEADER).iter();
    let (Some(header), None) = (headers.next(), headers.next()) else {
        return Err(Refusal::Signature("want one sixwire-call header").into());
    };
    let header = header.to_str().map_err(|_| Refusal::Signature("the header is no text"))?;
    let call: CallSignature = header.parse().map_err(Refusal::Signature)?;
    Replays::check_clock(&call, clock::now())?;
    let body = body_of(body).await?;
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let covered = Call { method: head.method.as_str(), path, body: &body };
    if !call.covers(&covered) {
        return Err(Refusal::Signature("it is not over this call").into());
    }
    Ok((call, body))
}
