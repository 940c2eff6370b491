//! `POST /v1/renew`: a certificate that has used up a third of its life buys a new one.

use axum::Json;
use axum::extract::{Request, State};
use sixwire_proto::registry::JoinAnswer;

use super::Registry;
use super::call::signed;
use super::refused::Refused;
use crate::clock;

pub(super) async fn renew(
    State(registry): State<Registry>,
    request: Request,
) -> Result<Json<JoinAnswer>, Refused> {
    let (call, _) = signed(request).await?;
    let answer = registry.desk.ask(move |registrar| registrar.renew(&call, clock::now())).await?;
    Ok(Json(answer))
}
