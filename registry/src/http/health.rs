//! `GET /v1/health`: whether the registry and its database work, for monitoring.

use axum::Json;
use axum::extract::State;
use sixwire_proto::registry::Health;

use super::Registry;
use super::refused::Refused;
use crate::clock;

pub(super) async fn health(State(registry): State<Registry>) -> Result<Json<Health>, Refused> {
    let health = registry.desk.ask(|registrar| registrar.health(clock::now())).await?;
    Ok(Json(health))
}
