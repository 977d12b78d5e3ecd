// SPDX-License-Identifier: Apache-2.0
//! Images: list, inspect, remove.

use std::sync::Arc;

use api_types::docker::{ImageDeleteResponseItem, ImageInspect, ImageSummary};
use axum::Json;
use axum::extract::{Path, State};
use engine::Engine;
use image::ImageError;

use crate::convert::from_image;
use crate::error::ApiError;
use crate::extract::Parameters;

/// Run `work`, which reads files, on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ApiError> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(|_| ApiError::Worker(what))??)
}

pub(crate) async fn list(
    State(engine): State<Arc<Engine>>,
    parameters: Parameters,
) -> Result<Json<Vec<ImageSummary>>, ApiError> {
    if parameters.get("filters").is_some_and(|filters| filters != "{}") {
        return Err(ApiError::Unsupported("filters".into()));
    }
    let images = engine.images().clone();
    let mut listed: Vec<_> =
        blocking("list images", move || images.list()).await?.iter().map(from_image::summary).collect();
    listed.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.repo_tags.cmp(&b.repo_tags)));
    Ok(Json(listed))
}

pub(crate) async fn inspect(
    State(engine): State<Arc<Engine>>,
    Path(path): Path<String>,
) -> Result<Json<ImageInspect>, ApiError> {
    let name = path.strip_suffix("/json").ok_or_else(|| ApiError::NoRoute(format!("GET /images/{path}")))?.to_owned();
    let images = engine.images().clone();
    let image = blocking("look up an image", move || images.resolve(&name)).await?;
    Ok(Json(from_image::inspect(&image)))
}

pub(crate) async fn remove(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Json<Vec<ImageDeleteResponseItem>>, ApiError> {
    let removed = engine.remove_image(&name, parameters.flag("force")).await?;
    Ok(Json(removed.iter().map(from_image::removed).collect()))
}
