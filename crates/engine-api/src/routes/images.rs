// SPDX-License-Identifier: Apache-2.0
//! Images: list, inspect, history, tag, remove.

use std::collections::HashMap;
use std::sync::Arc;

use api_types::docker::{ImageDeleteResponseItem, ImageInspect, ImageSummary};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use engine::Engine;
use image::{Image, ImageError, Platform, Removed};
use oci::Digest;

use crate::convert::{by_version, from_image};
use crate::error::ApiError;
use crate::extract::Parameters;
use crate::filters::Filters;
use crate::routes::auth::RegistryAuth;
use crate::routes::pull::reference;
use crate::routes::{archives, platforms, push};
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
    let with_manifests = !version.is_before(47) && parameters.flag("manifests");
    let images = engine.images().clone();
    let selected = blocking("list images", move || {
        let content = |image: Image| -> Result<_, ImageError> {
            Ok((if with_manifests { Some(images.content_of(&image)?) } else { None }, image))
        };
        images.select(&filters)?.into_iter().map(content).collect::<Result<Vec<_>, _>>()
    })
    .await?;
    let shared = match !version.is_before(42) && parameters.flag("shared-size") {
        true => shared_sizes(&engine).await?,
        false => HashMap::new(),
    };
    let containers = engine.list(true);
    let users = |image: &Image| containers.iter().filter(|record| record.image_id == image.id).collect::<Vec<_>>();
    let mut listed: Vec<_> = selected
        .iter()
        .map(|(content, image)| {
            let users = users(image);
            let ids = || users.iter().map(|record| record.id.to_string()).collect();
            ImageSummary {
                containers: users.len() as i64,
                shared_size: shared.get(&image.manifest).copied().map_or(-1, from_image::bytes),
                manifests: content.map(|content| vec![from_image::manifest(image, content, ids())]),
                ..from_image::summary(image)
            }
        })
        .collect();
    listed.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.repo_tags.cmp(&b.repo_tags)));
    by_version::answer(version, listed, by_version::images)
}

/// How much of each image, by its manifest, another has as well, in bytes.
async fn shared_sizes(engine: &Engine) -> Result<HashMap<Digest, u64>, ApiError> {
    let images = engine.images().clone();
    let usage = blocking("measure images", move || images.usage(&|_| false)).await?;
    Ok(usage.images.into_iter().map(|one| (one.image.manifest, one.shared)).collect())
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
        return archives::save_named(&engine, vec![name.to_owned()], version, &parameters).await;
    }
    let (images, name) = (engine.images().clone(), name.to_owned());
    match question {
        "json" => inspect(&engine, name, version, &parameters).await,
        "history" => {
            let platform = platforms::one(48, version, &parameters)?;
            let image = blocking("look up an image", move || images.resolve(&name)).await?;
            platforms::must_serve(&image, &platform)?;
            Ok(Json(from_image::history(&image)).into_response())
        }
        "attestations" => Err(ApiError::Unsupported(
            "attestations: of an index only the image of one platform is kept here, without what is said of it, so this"
                .into(),
        )),
        _ => Err(no_route()),
    }
}

/// `GET /images/NAME/json?manifests=…&platform=…`.
async fn inspect(
    engine: &Arc<Engine>,
    name: String,
    version: Version,
    parameters: &Parameters,
) -> Result<Response, ApiError> {
    let platform = platforms::one(49, version, parameters)?;
    let with_manifests = !version.is_before(48) && parameters.flag("manifests");
    if with_manifests && platform.is_some() {
        return Err(ApiError::invalid(
            "manifests",
            "all are told, and so not those of one platform: leave out one of the two",
        ));
    }
    let images = engine.images().clone();
    let (image, says, named, content) = blocking("look up an image", move || {
        let image = images.resolve(&name)?;
        let (says, named) = (images.run_configuration(image.id)?, images.named_at(&image)?);
        let content = if with_manifests { Some(images.content_of(&image)?) } else { None };
        Ok((image, says, named, content))
    })
    .await?;
    platforms::must_serve(&image, &platform)?;
    let manifests = content.map(|content| vec![from_image::manifest(&image, content, users(engine, &image))]);
    let answer = ImageInspect { manifests, ..from_image::inspect(&image, &says, named) };
    by_version::answer(version, answer, by_version::image)
}

/// The containers that were made from an image.
fn users(engine: &Engine, image: &Image) -> Vec<String> {
    let records = engine.list(true);
    records.iter().filter(|record| record.image_id == image.id).map(|record| record.id.to_string()).collect()
}

/// `POST /images/NAME/…`, likewise.
pub(crate) async fn act(
    State(engine): State<Arc<Engine>>,
    Path(path): Path<String>,
    version: Version,
    parameters: Parameters,
    auth: RegistryAuth,
) -> Result<Response, ApiError> {
    match path.rsplit_once('/') {
        Some((name, "tag")) => tag(&engine, name, &parameters).await,
        Some((name, "push")) => push::push(&engine, name, version, &parameters, auth).await,
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
    version: Version,
    parameters: Parameters,
) -> Result<Json<Vec<ImageDeleteResponseItem>>, ApiError> {
    let force = parameters.flag("force");
    let platforms = if version.is_before(50) { Vec::new() } else { platforms::named("platforms", &parameters)? };
    let removed = match platforms.is_empty() {
        true => engine.remove_image(&name, force).await?,
        false => remove_content(&engine, name, platforms, force).await?,
    };
    Ok(Json(removed.iter().map(from_image::removed).collect()))
}

/// Removes what an image has for these platforms, from all its names. It has it for one alone, so nothing stays.
async fn remove_content(
    engine: &Arc<Engine>,
    name: String,
    platforms: Vec<Platform>,
    force: bool,
) -> Result<Vec<Removed>, ApiError> {
    if !force {
        let problem = "what is removed would go from all names of the image: say force=1 to have it so";
        return Err(ApiError::invalid("platforms", problem));
    }
    let images = engine.images().clone();
    let image = blocking("look up an image", move || images.resolve(&name)).await?;
    platforms::must_serve(&image, &platforms)?;
    Ok(engine.remove_image(&image.id.to_string(), true).await?)
}

/// A route that is the name of an image as well, which can be removed.
pub(crate) fn namesake(route: MethodRouter<Arc<Engine>>) -> MethodRouter<Arc<Engine>> {
    let remove = |state: State<Arc<Engine>>, uri: Uri, version: Version, parameters: Parameters| async move {
        remove(state, Path(super::namesake(&uri)), version, parameters).await
    };
    route.delete(remove)
}
