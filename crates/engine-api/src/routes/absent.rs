// SPDX-License-Identifier: Apache-2.0
//! Docker's routes for what Corten does not have: they say so by name. What is asked of a store that there is not is
//! answered as for an empty one, because clients ask it of every daemon (`docker system prune` of the build cache).

use std::sync::Arc;

use api_types::docker::BuildPruneResponse;
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use engine::Engine;

use super::images;
use crate::error::ApiError;
use crate::extract::Parameters;
use crate::filters::Filters;

pub(super) fn routes() -> Router<Arc<Engine>> {
    Router::new()
        .route("/build", post(build))
        .route("/build/cancel", post(cancel_build))
        .route("/build/prune", post(prune_builds))
        .route("/session", post(session))
        .route("/grpc", post(session))
        .route("/images/search", images::namesake(get(search)))
        .route("/containers/{name}/checkpoints", get(checkpoints).post(checkpoints))
        .route("/containers/{name}/checkpoints/{checkpoint}", delete(checkpoints))
}

async fn build() -> ApiError {
    ApiError::Unsupported("building images".to_owned())
}

/// No build is under way: there is nothing to cancel.
async fn cancel_build() -> StatusCode {
    StatusCode::NO_CONTENT
}

async fn prune_builds(parameters: Parameters) -> Result<Json<BuildPruneResponse>, ApiError> {
    // Which there are, only a builder knows.
    Filters::of(&parameters)?;
    Ok(Json(BuildPruneResponse { caches_deleted: Some(Vec::new()), space_reclaimed: Some(0) }))
}

async fn session() -> ApiError {
    ApiError::Unsupported("a builder's session".to_owned())
}

async fn search() -> ApiError {
    ApiError::Unsupported("searching a registry (the registries' protocol has no search)".to_owned())
}

async fn checkpoints() -> ApiError {
    ApiError::Unsupported("a checkpoint through the API (`corten oci checkpoint` makes one of a bundle)".to_owned())
}
