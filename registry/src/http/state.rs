//! `GET /v1/state`: the network state in force.

use axum::Json;
use axum::extract::{Request, State};
use sixwire_proto::certificate::Chain;

use super::Registry;
use super::call::signed;
use super::refused::Refused;
use crate::clock;

pub(super) async fn state(
    State(registry): State<Registry>,
    request: Request,
) -> Result<Json<Chain>, Refused> {
    let (call, _) = signed(request).await?;
    let state = registry.desk.ask(move |registrar| registrar.state(&call, clock::now())).await?;
    Ok(Json(state))
}
