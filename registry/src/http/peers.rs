//! `POST /v1/peers`: a node says where it can be reached and hears of others.

use axum::extract::{Request, State};
use axum::{Extension, Json};
use sixwire_proto::peer::ADDRESS_LIMIT;
use sixwire_proto::registry::{PeersAnswer, Presence};

use super::call::signed;
use super::refused::Refused;
use super::{Registry, Source};
use crate::clock;
use crate::refusal::Refusal;

/// Most addresses a node may claim; those that hold are fewer.
const CLAIM_LIMIT: usize = 8 * ADDRESS_LIMIT;

pub(super) async fn peers(
    State(registry): State<Registry>,
    Extension(Source(source)): Extension<Source>,
    request: Request,
) -> Result<Json<PeersAnswer>, Refused> {
    let (call, body) = signed(request).await?;
    let presence: Presence =
        serde_json::from_slice(&body).map_err(|e| Refusal::Malformed(e.to_string()))?;
    if presence.addresses.len() > CLAIM_LIMIT {
        let text = format!("addresses: more than {CLAIM_LIMIT}");
        return Err(Refusal::Malformed(text).into());
    }
    let answer = registry
        .desk
        .ask(move |registrar| registrar.peers(&call, (&presence, source), clock::now()))
        .await?;
    Ok(Json(answer))
}
