// SPDX-License-Identifier: Apache-2.0
//! Images: list, inspect, history, tag, remove.

use std::sync::Arc;

use api_types::docker::{ImageDeleteResponseItem, ImageSummary};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::Engine;
use image::{Image, ImageError, Platform};

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
    if parameters.flag("identity") && !version.is_before(54) && !parameters.flag("manifests") {
        return Err(ApiError::invalid("identity", "is told with the manifests: ask for these, too (manifests=1)"));
    }
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
            let platform = platform_since(49, version, &parameters)?;
            let (image, says) = blocking("look up an image", move || {
                let image = images.resolve(&name)?;
                let says = images.run_configuration(image.id)?;
                Ok((image, says))
            })
            .await?;
            be_of(&image, platform)?;
            by_version::answer(version, from_image::inspect(&image, &says), by_version::image)
        }
        "history" => {
            let platform = platform_since(48, version, &parameters)?;
            let image = blocking("look up an image", move || images.resolve(&name)).await?;
            be_of(&image, platform)?;
            Ok(Json(from_image::history(&image)).into_response())
        }
        "attestations" => Err(ApiError::Unsupported(
            "attestations: of an index only the image of one platform is kept here, without what is said of it, so this"
                .into(),
        )),
        _ => Err(no_route()),
    }
}

/// The platform that is asked for, since the version 1.`minor`.
fn platform_since(minor: u32, version: Version, parameters: &Parameters) -> Result<Option<Platform>, ApiError> {
    if version.is_before(minor) { Ok(None) } else { archives::platform(parameters) }
}

/// Refuses an image that is here for another platform than the one that is asked about.
fn be_of(image: &Image, platform: Option<Platform>) -> Result<(), ApiError> {
    let config = &image.config;
    let (os, architecture) = (config.os().to_string(), config.architecture().to_string());
    let is_it = |wanted: &Platform| {
        let variant = wanted.variant.is_none() || wanted.variant == *config.variant();
        (&wanted.os, &wanted.architecture) == (&os, &architecture) && variant
    };
    match platform.filter(|wanted| !is_it(wanted)) {
        None => Ok(()),
        Some(wanted) => Err(ApiError::OtherPlatform { is: format!("{os}/{architecture}"), wanted: wanted.to_string() }),
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
    if parameters.all("platforms").any(|list| !matches!(list, "" | "null" | "[]")) {
        return Err(ApiError::Unsupported(
            "platforms: an image is here for one of them and is removed whole, so this".into(),
        ));
    }
    let removed = engine.remove_image(&name, parameters.flag("force")).await?;
    Ok(Json(removed.iter().map(from_image::removed).collect()))
}
