// SPDX-License-Identifier: Apache-2.0
//! Pushing an image, or all tags of a repository.

use api_types::ProgressLine;
use axum::response::Response;
use engine::Engine;
use image::{Compression, Images, Packing, PushOptions};
use oci::ImageRef;
use serde_json::json;

use super::auth::RegistryAuth;
use super::platforms;
use super::progress::{self, Kinds, Lines};
use super::trust::images_for;
use crate::error::ApiError;
use crate::extract::Parameters;
use crate::version::Version;

/// `POST /images/{name}/push`.
pub(super) async fn push(
    engine: &Engine,
    name: &str,
    version: Version,
    parameters: &Parameters,
    auth: RegistryAuth,
) -> Result<Response, ApiError> {
    let name: ImageRef = match parameters.get("tag") {
        Some(tag) => format!("{name}:{tag}").parse()?,
        None => name.parse()?,
    };
    let packing = match parameters.get("compression") {
        None => Packing::Usual,
        Some("keep") => Packing::Keep,
        Some("gzip") => Packing::As(Compression::Gzip),
        Some("zstd") => Packing::As(Compression::Zstd),
        Some(other) => return Err(ApiError::invalid("compression", format!("{other:?} is not gzip, zstd or keep"))),
    };
    let options = PushOptions { packing };
    let images = images_for(engine, &name, auth);
    // Without a tag all of the repository's are meant, as Docker's API has it.
    let names = match name.tag().is_some() || name.digest().is_some() {
        true => vec![name],
        false => {
            super::images::blocking("list tags", {
                let images = images.clone();
                move || images.tags(&name)
            })
            .await?
        }
    };
    if let Some(platform) = platforms::one(46, version, parameters)? {
        let (images, names) = (images.clone(), names.clone());
        let find = move || names.iter().map(|name| images.resolve(&name.canonical())).collect::<Result<Vec<_>, _>>();
        for image in super::images::blocking("look up images", find).await? {
            platforms::must_serve(&image, [&platform])?;
        }
    }
    progress::stream(
        "a push",
        Kinds::Push,
        move |lines| async move { push_all(&images, &names, options, &lines).await },
    )
    .await
}

async fn push_all(
    images: &Images,
    names: &[ImageRef],
    options: PushOptions,
    lines: &Lines,
) -> Result<Vec<ProgressLine>, ApiError> {
    if let Some(first) = names.first() {
        let repository = format!("{}/{}", first.registry(), first.repository());
        lines.say(progress::status(format!("The push refers to repository [{repository}]"))).await;
    }
    for name in names {
        let pushed = images.push(name, options, lines).await?;
        let (tag, digest, size) = (name.tag().unwrap_or("latest"), pushed.digest, pushed.size);
        lines.say(progress::status(format!("{tag}: digest: {digest} size: {size}"))).await;
        let aux = json!({"Tag": tag, "Digest": digest, "Size": size});
        lines.say(ProgressLine { aux: Some(aux), ..ProgressLine::default() }).await;
    }
    Ok(Vec::new())
}
