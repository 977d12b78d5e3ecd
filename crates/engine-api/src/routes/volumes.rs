// SPDX-License-Identifier: Apache-2.0
//! Volumes: list, create, inspect, remove, prune.

use std::sync::Arc;

use api_types::docker::{Volume, VolumeCreateRequest, VolumeListResponse, VolumePruneResponse};
use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::{Engine, VolumeSpec};
use serde_json::Value;

use crate::convert::{complete, from_image, from_volume, to_spec};
use crate::error::ApiError;
use crate::extract::{Body, Parameters};
use crate::filters::Filters;
use crate::version::Version;

/// The first version of the API in which a pruning leaves volumes with a name alone.
const ANONYMOUS_ONLY: u32 = 42;

pub(crate) async fn list(State(engine): State<Arc<Engine>>, parameters: Parameters) -> Result<Json<Value>, ApiError> {
    let volumes = engine.volumes(Filters::of(&parameters)?.into_volumes()?).await?;
    let volumes = volumes.iter().map(|volume| from_volume::volume(volume, engine.volume_place(volume))).collect();
    let answer = VolumeListResponse { volumes: Some(volumes), warnings: None };
    let mut answer = serde_json::to_value(answer).map_err(ApiError::Answer)?;
    complete::volumes(&mut answer);
    Ok(Json(answer))
}

/// `POST /volumes/create` and `POST /volumes/prune`, which are names of volumes as well.
pub(crate) async fn act(
    State(engine): State<Arc<Engine>>,
    Path(verb): Path<String>,
    version: Version,
    parameters: Parameters,
    body: HttpBody,
) -> Result<Response, ApiError> {
    match verb.as_str() {
        "create" => create(&engine, Body::from_parts(body).await?.0).await,
        "prune" => Ok(prune(&engine, version, &parameters).await?.into_response()),
        _ => Err(ApiError::NoRoute(format!("POST /volumes/{verb}"))),
    }
}

async fn create(engine: &Arc<Engine>, body: VolumeCreateRequest) -> Result<Response, ApiError> {
    to_spec::check_driver(body.driver.as_deref())?;
    if body.cluster_volume_spec.is_some() {
        return Err(ApiError::Unsupported(
            "ClusterVolumeSpec: this node is not in a swarm, and a cluster volume".into(),
        ));
    }
    let spec = VolumeSpec {
        name: body.name,
        labels: body.labels.unwrap_or_default().into_iter().collect(),
        options: body.driver_opts.unwrap_or_default().into_iter().collect(),
    };
    let volume = engine.create_volume(spec).await?;
    Ok((StatusCode::CREATED, Json(from_volume::volume(&volume, engine.volume_place(&volume)))).into_response())
}

pub(crate) async fn inspect(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
) -> Result<Json<Volume>, ApiError> {
    let volume = engine.volume(&name)?;
    Ok(Json(from_volume::volume(&volume, engine.volume_place(&volume))))
}

/// Only a swarm's volumes can be changed.
pub(crate) async fn update() -> ApiError {
    ApiError::NoSwarm("volume update only valid for cluster volumes, but swarm is unavailable")
}

pub(crate) async fn remove(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<StatusCode, ApiError> {
    engine.remove_volume(&name, parameters.flag("force")).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn prune(
    engine: &Arc<Engine>,
    version: Version,
    parameters: &Parameters,
) -> Result<Json<VolumePruneResponse>, ApiError> {
    let (all, filters) = Filters::of(parameters)?.into_volume_prune()?;
    let all = all.unwrap_or(version.is_before(ANONYMOUS_ONLY));
    let pruned = engine.prune_volumes(all, filters).await?;
    Ok(Json(VolumePruneResponse {
        volumes_deleted: Some(pruned.names),
        space_reclaimed: Some(from_image::bytes(pruned.reclaimed)),
    }))
}
