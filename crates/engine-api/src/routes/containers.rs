// SPDX-License-Identifier: Apache-2.0
//! Containers: create, list, inspect, start, stop, kill, wait, resize, remove, prune.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use api_types::Wish;
use api_types::docker::{
    ContainerCreateBody, ContainerCreateResponse, ContainerPruneResponse, ContainerSummary, ContainerUpdateBody,
    ContainerUpdateResponse, ContainerWaitExitError, ContainerWaitResponse, OciDescriptor,
};
use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use engine::{Condition, Engine, EngineError, RestartPolicy, StartOutcome, StopOutcome};
use errors::{Classify, Kind, Report};
use futures_util::stream;
use oci::Digest;

use super::platforms;
use crate::convert::{by_version, complete, from_image, from_record, old_wishes, to_spec};
use crate::error::ApiError;
use crate::extract::{Body, Parameters};
use crate::filters::Filters;
use crate::version::Version;

pub(crate) async fn create(
    State(engine): State<Arc<Engine>>,
    version: Version,
    parameters: Parameters,
    Body(body): Body<Wish<ContainerCreateBody>>,
) -> Result<Response, ApiError> {
    let (spec, mut warnings) = old_wishes::container(version, body, parameters.get("name").map(str::to_owned))?;
    check_platform(&engine, &spec.image, parameters.get("platform")).await?;
    let created = engine.create(spec).await?;
    warnings.splice(..0, created.warnings);
    let answer = ContainerCreateResponse { id: created.id.to_string(), warnings };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// Refuse an image that is here for another platform than the one the client names.
pub(crate) async fn check_platform(engine: &Arc<Engine>, image: &str, platform: Option<&str>) -> Result<(), ApiError> {
    let Some(platform) = platform else { return Ok(()) };
    let wanted: image::Platform = platform.parse()?;
    let (images, name) = (engine.images().clone(), image.to_owned());
    let found = super::images::blocking("look up an image", move || images.resolve(&name)).await?;
    platforms::must_serve(&found, [&wanted])
}

pub(crate) async fn list(
    State(engine): State<Arc<Engine>>,
    version: Version,
    parameters: Parameters,
) -> Result<Json<Vec<ContainerSummary>>, ApiError> {
    let filters = Filters::of(&parameters)?.into_containers()?;
    // Docker's clients say 0 or -1 for all.
    let limit = parameters.number::<i64>("limit")?.and_then(|limit| usize::try_from(limit).ok()).filter(|n| *n > 0);
    let all = parameters.flag("all") || limit.is_some();
    let records = engine.select(all, filters).await?;
    let records: Vec<_> = records.into_iter().take(limit.unwrap_or(usize::MAX)).collect();
    let now = jiff::Timestamp::now();
    let mut listed: Vec<_> = records.iter().map(|record| from_record::summary(record, now)).collect();
    if parameters.flag("size") {
        for (summary, size) in listed.iter_mut().zip(engine.sizes(records).await?) {
            from_record::add_size(summary, size);
        }
    }
    by_version::containers(version, &mut listed);
    Ok(Json(listed))
}

pub(crate) async fn inspect(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    version: Version,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let container = engine.container(&name)?;
    let record = container.record();
    let log_path = container.shown_log_path().map(|path| path.display().to_string()).unwrap_or_default();
    let mut docker = from_record::inspect(&record, log_path, engine.execs_of(&record.id));
    docker.image_manifest_descriptor = manifest_of(&engine, record.image_id).await?;
    let restart_unhealthy = matches!(record.spec.restart, RestartPolicy::Unhealthy { .. });
    let generated = |name| container.generated(name).map(|path| path.display().to_string());
    docker.resolv_conf_path = generated("resolv.conf");
    docker.hostname_path = generated("hostname");
    docker.hosts_path = generated("hosts");
    let (publish_when_ready, mac) = (record.spec.publish_when_ready, from_record::wished_mac(&record));
    let (checks, findings) = (from_record::check_wishes(&record), from_record::findings(&record));
    if parameters.flag("size") {
        for size in engine.sizes(vec![record]).await? {
            from_record::add_size_to_one(&mut docker, size);
        }
    }
    let answer = Wish { docker, restart_unhealthy, publish_when_ready, checks, findings, ..Wish::default() };
    let mut answer = serde_json::to_value(answer).map_err(ApiError::Answer)?;
    complete::container(&mut answer);
    by_version::container(version, &mut answer, mac);
    Ok(Json(answer).into_response())
}

/// The manifest of a container's image, unless that is not here any more.
async fn manifest_of(engine: &Engine, image: Digest) -> Result<Option<OciDescriptor>, ApiError> {
    let images = engine.images().clone();
    let found = super::images::blocking("look up an image", move || match images.resolve(&image.to_string()) {
        Ok(image) => Ok(Some(image)),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    });
    Ok(found.await?.as_ref().map(from_image::descriptor))
}

pub(crate) async fn start(State(engine): State<Arc<Engine>>, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    let started = engine.start(&name).await.map_err(|error| match error.kind() {
        Kind::CommandNotFound => ApiError::CommandNotFound(Report::from(&error)),
        _ => error.into(),
    });
    Ok(match started? {
        StartOutcome::Started => StatusCode::NO_CONTENT,
        StartOutcome::AlreadyRunning => StatusCode::NOT_MODIFIED,
    })
}

pub(crate) async fn stop(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<StatusCode, ApiError> {
    Ok(match engine.stop(&name, parameters.number("t")?, parameters.get("signal")).await? {
        StopOutcome::Stopped => StatusCode::NO_CONTENT,
        StopOutcome::NotRunning => StatusCode::NOT_MODIFIED,
    })
}

pub(crate) async fn restart(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<StatusCode, ApiError> {
    engine.restart(&name, parameters.number("t")?, parameters.get("signal")).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn pause(State(engine): State<Arc<Engine>>, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    engine.pause(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn unpause(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    engine.unpause(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn rename(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<StatusCode, ApiError> {
    let new = parameters.get("name").ok_or_else(|| ApiError::invalid("name", "no new name was given"))?;
    engine.rename(&name, new).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn update(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    Body(body): Body<Wish<ContainerUpdateBody>>,
) -> Result<Json<ContainerUpdateResponse>, ApiError> {
    let warnings = engine.update(&name, to_spec::changes(body)?).await?;
    Ok(Json(ContainerUpdateResponse { warnings: Some(warnings) }))
}

pub(crate) async fn kill(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<StatusCode, ApiError> {
    engine.kill(&name, parameters.get("signal")).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The answer's head is sent at once: Docker's clients begin to wait before they start the container.
pub(crate) async fn wait(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let condition = match parameters.get("condition") {
        None | Some("not-running") => Condition::NotRunning,
        Some("next-exit") => Condition::NextExit,
        Some("removed") => Condition::Removed,
        Some(other) => return Err(ApiError::invalid("condition", format!("\"{other}\" is no condition"))),
    };
    let mut ended = Box::pin(async move { engine.wait(&name, condition).await });
    // Begun before the answer: it is this container that is meant, and none that gets its name later.
    let answer = match poll_fn(|context| Poll::Ready(ended.as_mut().poll(context))).await {
        Poll::Ready(result) => return Ok(Json(waited(Ok(result?))).into_response()),
        Poll::Pending => stream::once(async move { serde_json::to_vec(&waited(ended.await)) }),
    };
    Ok(([(CONTENT_TYPE, "application/json")], HttpBody::from_stream(answer)).into_response())
}

fn waited(ended: Result<i32, EngineError>) -> ContainerWaitResponse {
    match ended {
        Ok(code) => ContainerWaitResponse { status_code: code.into(), error: None },
        Err(error) => {
            let message = Some(errors::chain(&error));
            ContainerWaitResponse { status_code: -1, error: Some(ContainerWaitExitError { message }) }
        }
    }
}

pub(crate) async fn resize(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<StatusCode, ApiError> {
    let (rows, cols) = size(&parameters)?;
    engine.resize(&name, rows, cols).await?;
    Ok(StatusCode::OK)
}

/// A terminal's size, `h` and `w`.
pub(crate) fn size(parameters: &Parameters) -> Result<(u16, u16), ApiError> {
    let side = |name| parameters.number(name)?.ok_or_else(|| ApiError::invalid(name, "is missing"));
    Ok((side("h")?, side("w")?))
}

pub(crate) async fn remove(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<StatusCode, ApiError> {
    if parameters.flag("link") {
        return Err(ApiError::Unsupported("link".into()));
    }
    engine.remove(&name, parameters.flag("force"), parameters.flag("v")).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A route that is the name of a container as well, which can be removed.
pub(crate) fn namesake(route: MethodRouter<Arc<Engine>>) -> MethodRouter<Arc<Engine>> {
    let remove = |state: State<Arc<Engine>>, uri: Uri, parameters: Parameters| async move {
        remove(state, Path(super::namesake(&uri)), parameters).await
    };
    route.delete(remove)
}

pub(crate) async fn prune(
    State(engine): State<Arc<Engine>>,
    parameters: Parameters,
) -> Result<Json<ContainerPruneResponse>, ApiError> {
    let pruned = engine.prune_containers(Filters::of(&parameters)?.into_container_prune()?).await?;
    Ok(Json(ContainerPruneResponse {
        containers_deleted: Some(pruned.ids.iter().map(ToString::to_string).collect()),
        space_reclaimed: Some(from_image::bytes(pruned.reclaimed)),
    }))
}
