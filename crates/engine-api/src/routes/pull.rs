// SPDX-License-Identifier: Apache-2.0
//! Making images: a pull from a registry, or an import of an archive in the request's body.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use api_types::ProgressLine;
use axum::body::{Body as HttpBody, BodyDataStream, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use engine::Engine;
use futures_util::{StreamExt, stream};
use oci::ImageRef;
use registry_client::RateLimit;
use tokio::sync::mpsc;

use super::auth::RegistryAuth;
use super::progress::{self, Kinds, answer};
use crate::error::ApiError;
use crate::extract::Parameters;

/// How long the rest of a refused archive is read and thrown away, so that its sender can read the answer.
const DRAIN: Duration = Duration::from_secs(10);

pub(crate) async fn create(
    State(engine): State<Arc<Engine>>,
    parameters: Parameters,
    auth: RegistryAuth,
    request: Request,
) -> Result<Response, ApiError> {
    match (parameters.get("fromImage"), parameters.get("fromSrc")) {
        (Some(name), None) => pull(engine, name, &parameters, auth).await,
        (None, Some("-")) => import(engine, &parameters, request.into_body()).await,
        (None, Some(_)) => Err(ApiError::Unsupported("importing from a URL".into())),
        _ => Err(ApiError::invalid("fromImage", "say either fromImage or fromSrc")),
    }
}

/// `name` with `tag`, which may be a digest.
fn reference(name: &str, tag: Option<&str>) -> Result<ImageRef, ApiError> {
    Ok(match tag {
        None => name.parse()?,
        Some(digest) if digest.contains(':') => format!("{name}@{digest}").parse()?,
        Some(tag) => format!("{name}:{tag}").parse()?,
    })
}

async fn pull(
    engine: Arc<Engine>,
    name: &str,
    parameters: &Parameters,
    RegistryAuth(credentials): RegistryAuth,
) -> Result<Response, ApiError> {
    let name = reference(name, parameters.get("tag"))?;
    let platform = parameters.get("platform").map(str::parse).transpose()?;
    let images = match credentials {
        Some(credentials) => engine.images().acting_as(name.registry(), credentials),
        None => engine.images().clone(),
    };
    progress::stream("a pull", Kinds::Pull, move |lines| async move {
        images.pull(&name, platform, &lines).await?;
        let limit = images.rate_limit(name.registry()).filter(RateLimit::is_nearly_used_up);
        let few = limit.map(|limit| progress::status(few_left(name.registry(), limit)));
        let last = progress::status(format!("Status: Image is up to date for {}", name.canonical()));
        Ok(few.into_iter().chain([last]).collect())
    })
    .await
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

async fn import(engine: Arc<Engine>, parameters: &Parameters, body: HttpBody) -> Result<Response, ApiError> {
    if parameters.get("message").is_some() {
        return Err(ApiError::Unsupported("message".into()));
    }
    let repository = parameters.get("repo").ok_or_else(|| ApiError::invalid("repo", "an image needs a name"))?;
    let name = reference(repository, parameters.get("tag"))?;
    let changes: Vec<String> = parameters.all("changes").map(str::to_owned).collect();
    let (pieces, received) = mpsc::channel(4);
    let images = engine.images().clone();
    let work = super::images::blocking("an import", move || {
        images.import(Archive { received, piece: Bytes::new() }, &name, &changes)
    });
    let mut body = body.into_data_stream();
    let (imported, ()) = tokio::join!(work, forward(&mut body, pieces));
    if imported.is_err() {
        let drain = async { while body.next().await.is_some_and(|piece| piece.is_ok()) {} };
        // Only for politeness: whoever sends more than fits into this does not get to read why.
        let _ = tokio::time::timeout(DRAIN, drain).await;
    }
    let line = ProgressLine { status: Some(imported?.id.to_string()), ..ProgressLine::default() };
    Ok(answer(stream::iter([line])))
}

/// Hand the body on until it ends or nobody reads it any more.
async fn forward(body: &mut BodyDataStream, pieces: mpsc::Sender<io::Result<Bytes>>) {
    while let Some(piece) = body.next().await {
        let broken = piece.is_err();
        if pieces.send(piece.map_err(io::Error::other)).await.is_err() || broken {
            return;
        }
    }
}

/// A body as a blocking reader sees it.
struct Archive {
    received: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Archive {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.received.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
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

    #[test]
    fn an_archive_that_breaks_off_is_an_error_and_not_its_end() {
        let (sender, received) = mpsc::channel(4);
        sender.try_send(Ok(Bytes::from("abc"))).unwrap();
        sender.try_send(Err(io::Error::other("gone"))).unwrap();
        let mut archive = Archive { received, piece: Bytes::new() };
        let mut two = [0; 2];
        assert_eq!(archive.read(&mut two).unwrap(), 2);
        assert_eq!(archive.read(&mut two).unwrap(), 1);
        assert!(archive.read(&mut two).is_err());
    }
}
