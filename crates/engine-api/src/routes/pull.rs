// SPDX-License-Identifier: Apache-2.0
//! Making images: a pull from a registry, or an import of an archive in the request's body.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use api_types::{ErrorBody, ProgressDetail, ProgressLine};
use axum::body::{Body as HttpBody, Bytes};
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use engine::Engine;
use errors::Report;
use futures_util::{StreamExt, stream};
use image::{Event, Import, Progress, Status};
use oci::{Digest, ImageRef};
use tokio::sync::mpsc;

use crate::error::ApiError;
use crate::extract::Parameters;
use crate::upload;

/// So many lines may wait for a slow reader; progress that does not fit is left out.
const QUEUE: usize = 256;

pub(crate) async fn create(
    State(engine): State<Arc<Engine>>,
    parameters: Parameters,
    request: Request,
) -> Result<Response, ApiError> {
    match (parameters.get("fromImage"), parameters.get("fromSrc")) {
        (Some(name), None) => pull(engine, name, &parameters).await,
        (None, Some("-")) => import(engine, &parameters, request.into_body()).await,
        (None, Some(_)) => Err(ApiError::Unsupported("importing from a URL".into())),
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

async fn pull(engine: Arc<Engine>, name: &str, parameters: &Parameters) -> Result<Response, ApiError> {
    let name = reference(name, parameters.get("tag"))?;
    let platform = parameters.get("platform").map(str::parse).transpose()?;
    let (lines, mut received) = mpsc::channel(QUEUE);
    let (done, mut end) = tokio::sync::oneshot::channel();
    let shown = name.canonical();
    let work = tokio::spawn(async move {
        let progress = Lines { lines, said: Mutex::default() };
        let result = engine.images().pull(&name, platform, &progress).await;
        // A client that left need not know how it ended.
        let _ = done.send(result);
    });
    // Dropped with the answer's body: a pull whose client left ends.
    let work = AbortOnDrop(work);

    // What fails before the first line is an answer of its own; afterwards it is the last line.
    let first = tokio::select! {
        biased;
        line = received.recv() => line,
        ended = &mut end => match ended {
            Ok(Err(error)) => return Err(error.into()),
            Ok(Ok(image)) => return Ok(answer(stream::iter([last(&shown, Ok(image))]))),
            Err(_) => return Err(ApiError::Worker("a pull")),
        },
    };
    let rest = stream::unfold((received, Some(end), work, shown), |(mut received, end, work, shown)| async move {
        if let Some(line) = received.recv().await {
            return Some((line, (received, end, work, shown)));
        }
        let result = match end?.await {
            Ok(result) => result.map_err(|error| Report::from(&error)),
            Err(_) => Err(Report::from(&ApiError::Worker("a pull"))),
        };
        Some((last(&shown, result), (received, None, work, shown)))
    });
    Ok(answer(stream::iter(first).chain(rest)))
}

/// The last line of a pull.
fn last(name: &str, result: Result<image::Image, Report>) -> ProgressLine {
    match result {
        Ok(_) => ProgressLine { status: Some(format!("Status: Image is up to date for {name}")), ..Default::default() },
        Err(error) => {
            let error = ErrorBody::from(error);
            ProgressLine { error: Some(error.message.clone()), error_detail: Some(error), ..Default::default() }
        }
    }
}

/// Lines of JSON as they come.
pub(super) fn answer(lines: impl stream::Stream<Item = ProgressLine> + Send + 'static) -> Response {
    let lines = lines.map(|line| {
        // A struct of strings and numbers always becomes JSON.
        let mut text = serde_json::to_vec(&line).unwrap_or_default();
        text.extend_from_slice(b"\r\n");
        Ok::<_, Infallible>(Bytes::from(text))
    });
    ([(CONTENT_TYPE, "application/json")], HttpBody::from_stream(lines)).into_response()
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Progress as Docker's lines; of bytes, one line per hundredth of a layer.
struct Lines {
    lines: mpsc::Sender<ProgressLine>,
    said: Mutex<HashMap<Digest, u64>>,
}

impl Progress for Lines {
    fn event(&self, event: Event) {
        let (status, detail) = match event.status {
            Status::Waiting => ("Waiting", None),
            Status::Downloading { done, total } => {
                if !self.is_news(event.layer, done, total) {
                    return;
                }
                ("Downloading", Some(ProgressDetail { current: Some(done), total: Some(total) }))
            }
            Status::Verifying => ("Verifying Checksum", None),
            Status::Extracting => ("Extracting", None),
            Status::Exists => ("Already exists", None),
            Status::Done => ("Pull complete", None),
        };
        let line = ProgressLine {
            id: Some(event.layer.short()),
            status: Some(status.to_owned()),
            progress_detail: detail,
            ..ProgressLine::default()
        };
        // A reader too slow for this line gets the next one.
        let _ = self.lines.try_send(line);
    }
}

impl Lines {
    fn is_news(&self, layer: Digest, done: u64, total: u64) -> bool {
        // The map is whole whatever happened to another thread.
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let before = said.get(&layer).copied();
        let news = before.is_none_or(|before| done >= total || done.saturating_sub(before) >= total / 100);
        if news {
            said.insert(layer, done);
        }
        news
    }
}

async fn import(engine: Arc<Engine>, parameters: &Parameters, body: HttpBody) -> Result<Response, ApiError> {
    let import = Import {
        name: parameters.get("repo").map(|name| reference(name, parameters.get("tag"))).transpose()?,
        changes: parameters.all("changes").map(str::to_owned).collect(),
        comment: parameters.get("message").map(str::to_owned),
        platform: super::archives::platform(parameters)?,
    };
    let images = engine.images().clone();
    let imported = upload::receive(body, "an import", move |archive| images.import_as(archive, &import)).await;
    let line = ProgressLine { status: Some(imported?.id.to_string()), ..ProgressLine::default() };
    Ok(answer(stream::iter([line])))
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
    fn progress_in_bytes_is_told_in_hundredths() {
        let (lines, _received) = mpsc::channel(1);
        let lines = Lines { lines, said: Mutex::default() };
        let layer = Digest::of("layer");
        let told = (0..=1000).filter(|done| lines.is_news(layer, *done, 1000)).count();
        assert_eq!(told, 101);
    }
}
