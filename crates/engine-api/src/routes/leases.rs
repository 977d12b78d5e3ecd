// SPDX-License-Identifier: Apache-2.0
//! Leases: what a client wants to keep, for a while.

use std::sync::Arc;
use std::time::Duration;

use api_types::{DEFAULT_LEASE, Lease, LeaseRequest, LeaseResource};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use engine::Engine;
use image::LeaseId;

use super::images::blocking;
use crate::convert::from_store;
use crate::error::ApiError;
use crate::extract::Body;

fn id(text: &str) -> Result<LeaseId, ApiError> {
    text.parse().map_err(|error: image::LeaseIdError| ApiError::invalid("ID", error.to_string()))
}

/// `GET /corten/v1/leases`.
pub(crate) async fn list(State(engine): State<Arc<Engine>>) -> Result<Json<Vec<Lease>>, ApiError> {
    let images = engine.images().clone();
    let leases = blocking("list leases", move || images.leases()).await?;
    Ok(Json(leases.iter().map(from_store::lease).collect()))
}

/// `POST /corten/v1/leases`.
pub(crate) async fn create(
    State(engine): State<Arc<Engine>>,
    Body(request): Body<LeaseRequest>,
) -> Result<(StatusCode, Json<Lease>), ApiError> {
    let (id, labels) = (id(&request.id)?, request.labels);
    let duration = Duration::from_secs(request.seconds.unwrap_or(DEFAULT_LEASE));
    let images = engine.images().clone();
    let lease = blocking("make a lease", move || images.create_lease(id, duration, labels)).await?;
    Ok((StatusCode::CREATED, Json(from_store::lease(&lease))))
}

/// `PUT /corten/v1/leases/ID/resources`.
pub(crate) async fn add(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    Body(request): Body<LeaseResource>,
) -> Result<Json<Lease>, ApiError> {
    let (images, id) = (engine.images().clone(), id(&name)?);
    let lease = blocking("add to a lease", move || images.add_to_lease(&id, &request.resource)).await?;
    Ok(Json(from_store::lease(&lease)))
}

/// `DELETE /corten/v1/leases/ID`.
pub(crate) async fn remove(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    let (images, id) = (engine.images().clone(), id(&name)?);
    blocking("end a lease", move || images.remove_lease(&id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
