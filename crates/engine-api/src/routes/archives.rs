// SPDX-License-Identifier: Apache-2.0
//! Archives: images saved and loaded, containers exported, and images made of containers.

use std::sync::Arc;

use api_types::ProgressLine;
use api_types::docker::ContainerConfig;
use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::{CommitOptions, Engine};
use futures_util::stream;
use image::Loaded;
use serde_json::json;

use super::images::blocking;
use super::platforms;
use super::progress::answer;
use super::pull::reference;
use crate::convert::to_spec;
use crate::download;
use crate::error::ApiError;
use crate::extract::{BODY_LIMIT, BODY_TIMEOUT, Parameters};
use crate::upload;
use crate::version::Version;

/// `GET /images/get?names=…`.
pub(crate) async fn save(
    State(engine): State<Arc<Engine>>,
    version: Version,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    // Docker's clients repeat the parameter; others separate the names by commas.
    let names: Vec<String> = parameters.all("names").flat_map(|names| names.split(',')).map(str::to_owned).collect();
    if names.iter().all(String::is_empty) {
        return Err(ApiError::invalid("names", "say which images to save"));
    }
    save_named(&engine, names, version, &parameters).await
}

/// The archive of the images `names`.
pub(crate) async fn save_named(
    engine: &Engine,
    names: Vec<String>,
    version: Version,
    parameters: &Parameters,
) -> Result<Response, ApiError> {
    let (images, wanted) = (engine.images().clone(), platforms::of_archive(version, parameters)?);
    let saving = blocking("look up images", move || images.save(&names, &wanted)).await?;
    Ok(download::send("saving images", move |out| saving.write(out)))
}

/// `POST /images/load`.
pub(crate) async fn load(
    State(engine): State<Arc<Engine>>,
    version: Version,
    parameters: Parameters,
    request: Request,
) -> Result<Response, ApiError> {
    let (images, wanted) = (engine.images().clone(), platforms::of_archive(version, &parameters)?);
    let work = move |archive| images.load(archive, &wanted);
    let loaded = upload::receive(request.into_body(), "loading images", work).await?;
    let lines: Vec<ProgressLine> = loaded.iter().flat_map(told).collect();
    Ok(answer(stream::iter(lines)))
}

/// `GET /containers/NAME/export`.
pub(crate) async fn export(State(engine): State<Arc<Engine>>, Path(name): Path<String>) -> Result<Response, ApiError> {
    let export = engine.export(&name).await?;
    Ok(download::send("exporting a container", move |out| export.write(out)))
}

/// `POST /commit`.
pub(crate) async fn commit(
    State(engine): State<Arc<Engine>>,
    parameters: Parameters,
    body: HttpBody,
) -> Result<Response, ApiError> {
    let container = parameters.get("container").ok_or_else(|| ApiError::invalid("container", "say which container"))?;
    let body = tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, BODY_LIMIT)).await;
    let body = body.map_err(|_| ApiError::SlowBody)?.map_err(ApiError::Broken)?;
    // Most clients send none.
    let config: Option<ContainerConfig> = match body.trim_ascii() {
        b"" => None,
        text => serde_json::from_slice(text).map_err(ApiError::Body)?,
    };
    let options = CommitOptions {
        name: parameters.get("repo").map(|name| reference(name, parameters.get("tag"))).transpose()?,
        author: parameters.get("author").map(str::to_owned),
        comment: parameters.get("comment").map(str::to_owned),
        config: config.map(to_spec::new_image).transpose()?.unwrap_or_default(),
        changes: parameters.all("changes").flat_map(str::lines).map(str::to_owned).collect(),
        pause: parameters.all("pause").next().is_none() || parameters.flag("pause"),
    };
    let image = engine.commit(container, options).await?;
    Ok((StatusCode::CREATED, Json(json!({ "Id": image.id.to_string() }))).into_response())
}

/// What Docker says of an image that was loaded.
fn told(loaded: &Loaded) -> Vec<ProgressLine> {
    let line = |text: String| ProgressLine { stream: Some(text), ..ProgressLine::default() };
    if loaded.names.is_empty() {
        return vec![line(format!("Loaded image ID: {}\n", loaded.image.id))];
    }
    loaded.names.iter().map(|name| line(format!("Loaded image: {name}\n"))).collect()
}
