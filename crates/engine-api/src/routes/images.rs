// SPDX-License-Identifier: Apache-2.0
//! Images: list, inspect, history, tag, remove.

use std::sync::Arc;

use api_types::docker::{ImageDeleteResponseItem, ImageSummary};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::Engine;
use image::ImageError;

use crate::convert::{by_version, from_image};
use crate::error::ApiError;
use crate::extract::Parameters;
use crate::filters::Filters;
use crate::routes::auth::RegistryAuth;
use crate::routes::pull::reference;
use crate::routes::{archives, push};
use crate::version::Version;

/// Run `work`, which reads files, on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ApiError> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(|_| ApiError::Worker(what))??)
}

pub(crate) async fn list(
    State(engine): State<Arc<Engine>>,
    version: Version,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let mut filters = Filters::of(&parameters)?.into_list()?;
    // Before there were filters by name, this was one.
    if version.is_before(25) && filters.references.is_empty() {
        filters.references.extend(parameters.get("filter").map(str::to_owned));
    }
    let images = engine.images().clone();
    let selected = blocking("list images", move || images.select(&filters)).await?;
    let containers = engine.list(true);
    let mut listed: Vec<_> = selected
        .iter()
        .map(|image| ImageSummary {
            containers: containers.iter().filter(|record| record.image_id == image.id).count() as i64,
            ..from_image::summary(image)
        })
        .collect();
    listed.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.repo_tags.cmp(&b.repo_tags)));
    by_version::answer(version, listed, by_version::images)
}

/// `GET /images/NAME/…`: a name may have slashes, so what is asked about it is told by the path's end.
pub(crate) async fn about(
    State(engine): State<Arc<Engine>>,
    Path(path): Path<String>,
    version: Version,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let no_route = || ApiError::NoRoute(format!("GET /images/{path}"));
    let (name, question) = path.rsplit_once('/').ok_or_else(no_route)?;
    if question == "get" {
        return archives::save_named(&engine, vec![name.to_owned()], &parameters).await;
    }
    let (images, name) = (engine.images().clone(), name.to_owned());
    match question {
        "json" => {
            let (image, says) = blocking("look up an image", move || {
                let image = images.resolve(&name)?;
                let says = images.run_configuration(image.id)?;
                Ok((image, says))
            })
            .await?;
            by_version::answer(version, from_image::inspect(&image, &says), by_version::image)
        }
        "history" => {
            let image = blocking("look up an image", move || images.resolve(&name)).await?;
            Ok(Json(from_image::history(&image)).into_response())
        }
        _ => Err(no_route()),
    }
}

/// `POST /images/NAME/…`, likewise.
pub(crate) async fn act(
    State(engine): State<Arc<Engine>>,
    Path(path): Path<String>,
    parameters: Parameters,
    auth: RegistryAuth,
) -> Result<Response, ApiError> {
    match path.rsplit_once('/') {
        Some((name, "tag")) => tag(&engine, name, &parameters).await,
        Some((name, "push")) => push::push(&engine, name, &parameters, auth).await,
        _ => Err(ApiError::NoRoute(format!("POST /images/{path}"))),
    }
}

async fn tag(engine: &Engine, name: &str, parameters: &Parameters) -> Result<Response, ApiError> {
    let repository = parameters.get("repo").ok_or_else(|| ApiError::invalid("repo", "a new name is needed"))?;
    let new = reference(repository, parameters.get("tag"))?;
    let (images, name) = (engine.images().clone(), name.to_owned());
    blocking("give an image a name", move || images.tag(&name, &new)).await?;
    Ok(StatusCode::CREATED.into_response())
}

pub(crate) async fn remove(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Json<Vec<ImageDeleteResponseItem>>, ApiError> {
    let removed = engine.remove_image(&name, parameters.flag("force")).await?;
    Ok(Json(removed.iter().map(from_image::removed).collect()))
}
