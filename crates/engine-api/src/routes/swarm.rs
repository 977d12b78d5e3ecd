// SPDX-License-Identifier: Apache-2.0
//! What belongs to a swarm, on a node that is in none: clients ask here whether there is one, and are told as Docker
//! tells them, by status and by the words that they look for. None can be made or joined.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use engine::Engine;

use crate::error::ApiError;

pub(super) fn routes() -> Router<Arc<Engine>> {
    Router::new()
        .route("/swarm", get(no_manager))
        .route("/swarm/init", post(no_swarm_mode))
        .route("/swarm/join", post(no_swarm_mode))
        .route("/swarm/leave", post(no_member))
        .route("/swarm/update", post(no_manager))
        .route("/swarm/unlockkey", get(no_manager))
        .route("/swarm/unlock", post(no_manager))
        .route("/services", get(no_manager))
        .route("/services/create", post(no_manager))
        .route("/services/{id}", get(no_manager).delete(no_manager))
        .route("/services/{id}/update", post(no_manager))
        .route("/services/{id}/logs", get(no_manager))
        .route("/nodes", get(no_manager))
        .route("/nodes/{id}", get(no_manager).delete(no_manager))
        .route("/nodes/{id}/update", post(no_manager))
        .route("/tasks", get(no_manager))
        .route("/tasks/{id}", get(no_manager))
        .route("/tasks/{id}/logs", get(no_manager))
        .route("/secrets", get(no_manager))
        .route("/secrets/create", post(no_manager))
        .route("/secrets/{id}", get(no_manager).delete(no_manager))
        .route("/secrets/{id}/update", post(no_manager))
        .route("/configs", get(no_manager))
        .route("/configs/create", post(no_manager))
        .route("/configs/{id}", get(no_manager).delete(no_manager))
        .route("/configs/{id}/update", post(no_manager))
}

async fn no_manager() -> ApiError {
    ApiError::NoSwarm("This node is not a swarm manager")
}

async fn no_member() -> ApiError {
    ApiError::NoSwarm("This node is not part of a swarm")
}

async fn no_swarm_mode() -> ApiError {
    ApiError::Unsupported("swarm mode".to_owned())
}
