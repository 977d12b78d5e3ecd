// SPDX-License-Identifier: Apache-2.0
//! Docker's plugins, of which there are none, and none can be installed.

use std::sync::Arc;

use axum::extract::Path;
use axum::routing::{get, post};
use axum::{Json, Router};
use engine::Engine;
use serde_json::Value;

use crate::error::ApiError;
use crate::extract::Parameters;
use crate::filters::Filters;

pub(super) fn routes() -> Router<Arc<Engine>> {
    Router::new()
        .route("/plugins", get(list))
        .route("/plugins/privileges", get(install))
        .route("/plugins/pull", post(install))
        .route("/plugins/create", post(install))
        // A plugin's name may have slashes.
        .route("/plugins/{*name}", get(about).post(act).delete(none))
}

async fn list(parameters: Parameters) -> Result<Json<Vec<Value>>, ApiError> {
    Filters::of(&parameters)?.into_plugins()?;
    Ok(Json(Vec::new()))
}

async fn install() -> ApiError {
    ApiError::Unsupported("installing plugins".to_owned())
}

/// `GET /plugins/NAME/json`.
async fn about(Path(path): Path<String>) -> ApiError {
    match path.rsplit_once('/') {
        Some((name, "json")) => ApiError::NoPlugin(name.to_owned()),
        _ => ApiError::NoRoute(format!("GET /plugins/{path}")),
    }
}

/// `POST /plugins/NAME/enable` and so on.
async fn act(Path(path): Path<String>) -> ApiError {
    match path.rsplit_once('/') {
        Some((name, "enable" | "disable" | "push" | "set" | "upgrade")) => ApiError::NoPlugin(name.to_owned()),
        _ => ApiError::NoRoute(format!("POST /plugins/{path}")),
    }
}

async fn none(Path(name): Path<String>) -> ApiError {
    ApiError::NoPlugin(name)
}
