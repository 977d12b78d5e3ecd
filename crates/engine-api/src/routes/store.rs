// SPDX-License-Identifier: Apache-2.0
//! The store: what it takes on disk, what of it can go, whether it is whole, and what images waste.

use std::sync::Arc;

use api_types::CheckReport;
use api_types::docker::{ImagePruneResponse, SystemDataUsageResponse};
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use engine::Engine;

use super::auth::RegistryAuth;
use super::images::blocking;
use super::trust;
use crate::convert::{by_version, from_image, from_store};
use crate::error::ApiError;
use crate::extract::Parameters;
use crate::filters::Filters;
use crate::version::Version;

/// The version that tells of the disk by kind.
const BY_KIND: u32 = 52;

/// `GET /system/df?type=…&verbose=…`.
pub(crate) async fn usage(
    State(engine): State<Arc<Engine>>,
    version: Version,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    const KINDS: [&str; 4] = ["container", "image", "volume", "build-cache"];
    // Before 1.42 nobody could choose.
    let chosen: Vec<&str> = if version.is_before(42) { Vec::new() } else { parameters.all("type").collect() };
    if let Some(unknown) = chosen.iter().find(|kind| !KINDS.contains(kind)) {
        return Err(ApiError::invalid("type", format!("\"{unknown}\" is none of {}", KINDS.join(", "))));
    }
    let mut usage = from_store::usage(&engine.disk_usage().await?);
    let wanted = |kind| chosen.is_empty() || chosen.contains(&kind);
    let verbose = parameters.flag("verbose") && !version.is_before(BY_KIND);
    let kinds = from_store::by_kind(&usage, verbose).map_err(ApiError::Answer)?;
    usage.by_kind = SystemDataUsageResponse {
        image_usage: kinds.image_usage.filter(|_| wanted("image")),
        container_usage: kinds.container_usage.filter(|_| wanted("container")),
        volume_usage: kinds.volume_usage.filter(|_| wanted("volume")),
        build_cache_usage: kinds.build_cache_usage.filter(|_| wanted("build-cache")),
    };
    if verbose {
        // Who asks for this knows where the lists are now.
        return Ok(Json(usage.by_kind).into_response());
    }
    let mut answer = serde_json::to_value(usage).map_err(ApiError::Answer)?;
    let lists = [
        ("container", "Containers"),
        ("image", "Images"),
        ("image", "LayersSize"),
        ("volume", "Volumes"),
        ("build-cache", "BuildCache"),
    ];
    if let Some(answer) = answer.as_object_mut() {
        for (_, list) in lists.iter().filter(|(kind, _)| !wanted(kind)) {
            answer.remove(*list);
        }
    }
    by_version::disk_usage(version, &mut answer);
    Ok(Json(answer).into_response())
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
