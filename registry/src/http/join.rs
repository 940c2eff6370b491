//! `POST /v1/join`: a token buys a certificate.

use axum::extract::{Request, State};
use axum::{Extension, Json};
use sixwire_proto::envelope::Envelope;
use sixwire_proto::join::Token;
use sixwire_proto::registry::{ErrorCode, Join, JoinAnswer};
use tracing::info;

use super::call::body_of;
use super::refused::Refused;
use super::throttle::Throttle;
use super::{Registry, Source};
use crate::clock;
use crate::refusal::Refusal;
use crate::registrar::JoinRequest;
use crate::store::TokenHash;

pub(super) async fn join(
    State(registry): State<Registry>,
    Extension(Source(source)): Extension<Source>,
    request: Request,
) -> Result<Json<JoinAnswer>, Refused> {
    let now = clock::now();
    registry
        .throttled(source, |throttle, source| throttle.check(source, now))
        .map_err(Refused::throttled)?;
    let body = body_of(request.into_body()).await?;
    let outcome = match read(&body) {
        Ok(request) => registry.desk.ask(move |registrar| registrar.join(&request, now)).await,
        Err(refusal) => Err(refusal),
    };
    outcome.map(Json).map_err(|refusal| {
        info!(%source, %refusal, "join refused");
        if is_guess(&refusal) {
            registry
                .throttled(source, |throttle: &mut Throttle, source| throttle.fail(source, now));
        }
        refusal.into()
    })
}

fn read(body: &[u8]) -> Result<JoinRequest, Refusal> {
    let envelope: Envelope =
        serde_json::from_slice(body).map_err(|e| Refusal::Malformed(e.to_string()))?;
    let key = envelope.signer();
    let join: Join = envelope.open(&key).map_err(Refusal::JoinRequest)?;
    let token: Token = join.token.parse().map_err(|_| {
        Refusal::Malformed("the token is damaged or cut off: copy the whole join string".to_owned())
    })?;
    Ok(JoinRequest { key, token: TokenHash::of(&token), name: join.name })
}

/// Whether the caller may be trying out tokens. Who brings a spent or expired one had it.
fn is_guess(refusal: &Refusal) -> bool {
    matches!(refusal.code(), ErrorCode::Malformed | ErrorCode::Signature | ErrorCode::TokenUnknown)
}
