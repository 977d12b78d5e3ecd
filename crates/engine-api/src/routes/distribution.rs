// SPDX-License-Identifier: Apache-2.0
//! `GET /distribution/NAME/json`: what a registry has under a name.

use std::sync::Arc;

use api_types::docker::{DistributionInspect, OciDescriptor, OciPlatform};
use axum::Json;
use axum::extract::{Path, State};
use engine::Engine;
use oci::ImageRef;

use super::auth::RegistryAuth;
use super::trust::images_for;
use crate::convert::from_image::bytes;
use crate::error::ApiError;

/// A name may have slashes.
pub(crate) async fn about(
    State(engine): State<Arc<Engine>>,
    Path(path): Path<String>,
    auth: RegistryAuth,
) -> Result<Json<DistributionInspect>, ApiError> {
    let Some((name, "json")) = path.rsplit_once('/') else {
        return Err(ApiError::NoRoute(format!("GET /distribution/{path}")));
    };
    let name: ImageRef = name.parse()?;
    let found = images_for(&engine, &name, auth).distribution(&name).await?;
    let platforms = found.platforms.into_iter().map(|platform| OciPlatform {
        os: Some(platform.os),
        architecture: Some(platform.architecture),
        variant: platform.variant,
        ..OciPlatform::default()
    });
    let descriptor = OciDescriptor {
        media_type: Some(found.descriptor.media_type),
        digest: Some(found.descriptor.digest.to_string()),
        size: Some(bytes(found.descriptor.size)),
        ..OciDescriptor::default()
    };
    Ok(Json(DistributionInspect { descriptor, platforms: platforms.collect() }))
}
