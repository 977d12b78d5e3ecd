// SPDX-License-Identifier: Apache-2.0
//! Making images: a pull from a registry, or an import of an archive in the request's body or at a URL.

mod all_tags;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api_types::{ProgressDetail, ProgressLine};
use axum::body::{Body as HttpBody, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use engine::Engine;
use futures_util::stream;
use image::{ImageError, Images, Import, Platform};
use oci::ImageRef;
use registry_client::{Download, RateLimit};
use tokio::sync::mpsc;

use super::auth::RegistryAuth;
use super::images::blocking;
use super::platforms;
use super::progress::{self, Kinds, Lines, answer};
use super::trust::images_for;
use crate::error::ApiError;
use crate::extract::Parameters;
use crate::upload::{self, Upload};

/// The shortest time between two lines about one download.
const TELL_EVERY: Duration = Duration::from_millis(100);

pub(crate) async fn create(
    State(engine): State<Arc<Engine>>,
    parameters: Parameters,
    auth: RegistryAuth,
    request: Request,
) -> Result<Response, ApiError> {
    match (parameters.get("fromImage"), parameters.get("fromSrc")) {
        (Some(name), None) => pull(engine, name, &parameters, auth).await,
        (None, Some("-")) => import(engine, &parameters, request.into_body()).await,
        (None, Some(url)) => import_from(engine, url, &parameters).await,
        _ => Err(ApiError::invalid("fromImage", "say either fromImage or fromSrc")),
    }
}

/// `name` with `tag`, which may be a digest.
pub(crate) fn reference(name: &str, tag: Option<&str>) -> Result<ImageRef, ApiError> {
    Ok(match tag {
        None => name.parse()?,
        Some(digest) if digest.contains(':') => format!("{name}@{digest}").parse()?,
        Some(tag) => format!("{name}:{tag}").parse()?,
    })
}

/// Without a tag all of the repository's are meant, as Docker's API has it.
async fn pull(
    engine: Arc<Engine>,
    name: &str,
    parameters: &Parameters,
    auth: RegistryAuth,
) -> Result<Response, ApiError> {
    // Clients of old write the name of a repository so.
    let name = reference(name.strip_suffix(':').unwrap_or(name), parameters.get("tag"))?;
    let platform = parameters.get("platform").map(str::parse).transpose()?;
    let images = images_for(&engine, &name, auth);
    progress::stream("a pull", Kinds::Pull, move |lines| async move {
        match name.tag().is_some() || name.digest().is_some() {
            true => pull_one(&images, &name, platform, &lines).await,
            false => all_tags::pull(&images, &name, platform, &lines).await,
        }
    })
    .await
}

/// Pulls one image; the answer is what is said of it last.
async fn pull_one(
    images: &Images,
    name: &ImageRef,
    platform: Option<Platform>,
    lines: &Lines,
) -> Result<Vec<ProgressLine>, ApiError> {
    let (store, known_as) = (images.clone(), name.clone());
    let before = blocking("look up an image", move || store.manifest_of(&known_as)).await?;
    let image = images.pull(name, platform, lines).await?;
    let limit = images.rate_limit(name.registry()).filter(RateLimit::is_nearly_used_up);
    let few = limit.map(|limit| few_left(name.registry(), limit));
    let is_here = |known: &&ImageRef| known.registry() == name.registry() && known.repository() == name.repository();
    let digest = image.repo_digests.iter().find(is_here).and_then(ImageRef::digest).unwrap_or(image.manifest);
    let status = match before == Some(image.manifest) {
        true => format!("Status: Image is up to date for {name}"),
        false => format!("Status: Downloaded newer image for {name}"),
    };
    let last = few.into_iter().chain([format!("Digest: {digest}"), status]);
    Ok(last.map(progress::status).collect())
}

/// That the registry will soon say no.
fn few_left(registry: &str, limit: RateLimit) -> String {
    let window = limit.window.map(|window| format!(" in {}", api_types::human_duration(window.as_secs())));
    let RateLimit { limit, remaining, .. } = limit;
    format!(
        "{registry} allows {remaining} more pulls, of {limit}{}: a login may allow more",
        window.unwrap_or_default()
    )
}

/// What is said of an image that is imported.
fn wanted(parameters: &Parameters) -> Result<Import, ApiError> {
    Ok(Import {
        name: parameters.get("repo").map(|name| reference(name, parameters.get("tag"))).transpose()?,
        changes: parameters.all("changes").map(str::to_owned).collect(),
        comment: parameters.get("message").map(str::to_owned),
        platform: platforms::any_version(parameters)?,
    })
}

async fn import(engine: Arc<Engine>, parameters: &Parameters, body: HttpBody) -> Result<Response, ApiError> {
    let import = wanted(parameters)?;
    let images = engine.images().clone();
    let imported = upload::receive(body, "an import", move |archive| images.import_as(archive, &import)).await;
    let line = ProgressLine { status: Some(imported?.id.to_string()), ..ProgressLine::default() };
    Ok(answer(stream::iter([line])))
}

/// Imports what the daemon fetches itself.
async fn import_from(engine: Arc<Engine>, url: &str, parameters: &Parameters) -> Result<Response, ApiError> {
    let import = wanted(parameters)?;
    let images = engine.images().clone();
    // As Docker reads it.
    let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    progress::stream("an import", Kinds::Pull, move |lines| async move {
        let download = images.archive_at(&url).await?;
        lines.say(progress::status(format!("Downloading from {}", download.url()))).await;
        let (pieces, received) = mpsc::channel(upload::QUEUE);
        let work = blocking("an import", move || images.import_as(Upload::new(received), &import));
        let (imported, broken) = tokio::join!(work, forward(download, pieces, &lines));
        // That the archive is cut off is not the archive's fault then.
        broken?;
        Ok(vec![progress::status(imported?.id.to_string())])
    })
    .await
}

/// Hands a download on until it ends or nobody reads it any more.
async fn forward(
    mut download: Download,
    pieces: mpsc::Sender<io::Result<Bytes>>,
    lines: &Lines,
) -> Result<(), ImageError> {
    let (mut done, mut told) = (0, None::<Instant>);
    loop {
        let piece = match download.chunk().await {
            Ok(Some(piece)) => piece,
            Ok(None) => return Ok(()),
            Err(error) => {
                // The reader may have given up already.
                let _ = pieces.send(Err(io::ErrorKind::ConnectionAborted.into())).await;
                return Err(error.into());
            }
        };
        done += piece.len() as u64;
        if pieces.send(Ok(piece)).await.is_err() {
            return Ok(());
        }
        if told.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            told = Some(Instant::now());
            let detail = ProgressDetail { current: Some(done), total: download.length() };
            let line = ProgressLine { progress_detail: Some(detail), ..progress::status("Importing") };
            lines.say(line).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_may_be_a_digest() {
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(reference("127.0.0.1:5000/x", Some("1")).unwrap().tag(), Some("1"));
        assert_eq!(reference("x", Some(&digest)).unwrap().digest().unwrap().to_string(), digest);
        assert_eq!(reference("x:2", None).unwrap().tag(), Some("2"));
        assert!(reference("X Y", None).is_err());
    }

    #[test]
    fn a_limit_is_told_in_words() {
        let limit = RateLimit { limit: 100, remaining: 3, window: Some(Duration::from_secs(21600)) };
        let text = few_left("docker.io", limit);
        assert_eq!(text, "docker.io allows 3 more pulls, of 100 in 6 hours: a login may allow more");
    }
}
