// SPDX-License-Identifier: Apache-2.0
//! The store: what it takes on disk, what of it can go, whether it is whole, and what images waste.

use std::sync::Arc;

use api_types::docker::ImagePruneResponse;
use api_types::{CheckReport, DiskUsage};
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use engine::Engine;

use super::auth::RegistryAuth;
use super::images::blocking;
use super::trust;
use crate::convert::{from_image, from_store};
use crate::error::ApiError;
use crate::extract::Parameters;
use crate::filters::Filters;

/// `GET /system/df`.
pub(crate) async fn usage(State(engine): State<Arc<Engine>>) -> Result<Json<DiskUsage>, ApiError> {
    Ok(Json(from_store::usage(&engine.disk_usage().await?)))
}

/// `POST /images/prune`.
pub(crate) async fn prune_images(
    State(engine): State<Arc<Engine>>,
    parameters: Parameters,
) -> Result<Json<ImagePruneResponse>, ApiError> {
    let pruned = engine.prune_images(Filters::of(&parameters)?.into_prune()?).await?;
    Ok(Json(ImagePruneResponse {
        images_deleted: Some(pruned.removed.iter().map(from_image::removed).collect()),
        space_reclaimed: Some(from_image::bytes(pruned.reclaimed)),
    }))
}

/// `GET /corten/v1/system/check`.
pub(crate) async fn check(State(engine): State<Arc<Engine>>) -> Result<Json<CheckReport>, ApiError> {
    Ok(Json(from_store::checked(engine.check().await?)))
}

/// `GET /corten/v1/images/NAME/waste` and `…/signatures`. A name may have slashes.
pub(crate) async fn about_image(
    State(engine): State<Arc<Engine>>,
    Path(path): Path<String>,
    auth: RegistryAuth,
) -> Result<Response, ApiError> {
    let name = match path.rsplit_once('/') {
        Some((name, "waste")) => name,
        Some((name, "signatures")) => return trust::signatures(&engine, name, auth).await,
        _ => return Err(ApiError::NoRoute(format!("GET /corten/v1/images/{path}"))),
    };
    let (images, name) = (engine.images().clone(), name.to_owned());
    let waste = blocking("look for waste", move || images.waste(&name)).await?;
    Ok(Json(from_store::waste(&waste)).into_response())
}
