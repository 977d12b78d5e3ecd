// SPDX-License-Identifier: Apache-2.0
//! The processes of a container.

use std::sync::Arc;

use api_types::docker::ContainerTopResponse;
use axum::Json;
use axum::extract::{Path, State};
use engine::Engine;

use crate::error::ApiError;
use crate::extract::Parameters;

/// `GET /containers/NAME/top?ps_args=…`.
pub(crate) async fn top(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Json<ContainerTopResponse>, ApiError> {
    let options: Vec<&str> = parameters.get("ps_args").unwrap_or_default().split_whitespace().collect();
    let listing = engine.top(&name, &options).await?;
    let titles = listing.titles.into_iter().map(str::to_owned).collect();
    Ok(Json(ContainerTopResponse { titles: Some(titles), processes: Some(listing.rows) }))
}
