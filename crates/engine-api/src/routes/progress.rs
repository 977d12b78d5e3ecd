// SPDX-License-Identifier: Apache-2.0
//! Work whose progress is the answer: lines of JSON, as Docker writes them, while a pull or a push is under way.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};

use api_types::{ErrorBody, ProgressDetail, ProgressLine};
use axum::body::{Body as HttpBody, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use errors::Report;
use futures_util::{StreamExt, stream};
use image::{Event, Progress, Status};
use oci::Digest;
use tokio::sync::mpsc;

use crate::error::ApiError;

/// So many lines may wait for a slow reader; progress that does not fit is left out.
const QUEUE: usize = 256;

/// In which words progress is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kinds {
    /// Those of a pull.
    Pull,
    /// Those of a push.
    Push,
}

/// Answers with the lines of `work`, the last of which it returns, or which say why it failed. What fails before the
/// first line is an answer of its own. Work whose client has left ends.
pub(crate) async fn stream<F>(
    what: &'static str,
    kinds: Kinds,
    work: impl FnOnce(Lines) -> F + Send + 'static,
) -> Result<Response, ApiError>
where
    F: Future<Output = Result<Vec<ProgressLine>, ApiError>> + Send,
{
    let (lines, mut received) = mpsc::channel(QUEUE);
    let (done, mut end) = tokio::sync::oneshot::channel();
    let work = tokio::spawn(async move {
        let result = work(Lines { lines, kinds, said: Mutex::default() }).await;
        // A client that left need not know how it ended.
        let _ = done.send(result);
    });
    // Dropped with the answer's body: a pull whose client left ends.
    let work = AbortOnDrop(work);
    let first = tokio::select! {
        biased;
        // That there will be no line is known a moment before how it ended.
        Some(line) = received.recv() => line,
        ended = &mut end => return match ended {
            Ok(Ok(last)) => Ok(answer(stream::iter(last))),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ApiError::Worker(what)),
        },
    };
    let rest = stream::unfold((received, Some(end), work), move |(mut received, end, work)| async move {
        if let Some(line) = received.recv().await {
            return Some((vec![line], (received, end, work)));
        }
        let last = match end?.await {
            Ok(Ok(last)) => last,
            Ok(Err(error)) => vec![failure(Report::from(&error))],
            Err(_) => vec![failure(Report::from(&ApiError::Worker(what)))],
        };
        Some((last, (received, None, work)))
    });
    Ok(answer(stream::iter([first]).chain(rest.flat_map(stream::iter))))
}

/// A line that says only this.
pub(crate) fn status(text: impl Into<String>) -> ProgressLine {
    ProgressLine { status: Some(text.into()), ..ProgressLine::default() }
}

/// The line that says that it failed.
fn failure(error: Report) -> ProgressLine {
    let error = ErrorBody::from(error);
    ProgressLine { error: Some(error.message.clone()), error_detail: Some(error), ..ProgressLine::default() }
}

/// Lines of JSON as they come.
pub(crate) fn answer(lines: impl stream::Stream<Item = ProgressLine> + Send + 'static) -> Response {
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
pub(crate) struct Lines {
    lines: mpsc::Sender<ProgressLine>,
    kinds: Kinds,
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
            Status::Compressing => ("Compressing", None),
            Status::Uploading { done, total } => {
                if !self.is_news(event.layer, done, total) {
                    return;
                }
                ("Pushing", Some(ProgressDetail { current: Some(done), total: Some(total) }))
            }
            Status::Mounted => ("Mounted from another repository", None),
            Status::Exists if self.kinds == Kinds::Push => ("Layer already exists", None),
            Status::Exists => ("Already exists", None),
            Status::Done if self.kinds == Kinds::Push => ("Pushed", None),
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
    /// Says this before all else: then what follows fails in a line of the answer.
    pub(crate) async fn say(&self, line: ProgressLine) {
        // A client that left need not hear it.
        let _ = self.lines.send(line).await;
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_fails_before_its_first_line_is_no_answer_with_lines() {
        let failed = stream("a test", Kinds::Pull, |lines| async move {
            drop(lines);
            tokio::task::yield_now().await;
            Err(ApiError::NoTags("a".to_owned()))
        });
        assert!(matches!(failed.await, Err(ApiError::NoTags(_))));
        let answered = stream("a test", Kinds::Pull, |lines| async move {
            lines.say(status("first")).await;
            Err(ApiError::NoTags("a".to_owned()))
        });
        let body = axum::body::to_bytes(answered.await.unwrap().into_body(), 1 << 12).await.unwrap();
        let text = String::from_utf8_lossy(&body);
        assert!(text.starts_with("{\"status\":\"first\"") && text.contains("\"error\":"), "{text}");
    }

    #[test]
    fn progress_in_bytes_is_told_in_hundredths() {
        let (lines, _received) = mpsc::channel(1);
        let lines = Lines { lines, kinds: Kinds::Pull, said: Mutex::default() };
        let layer = Digest::of("layer");
        let told = (0..=1000).filter(|done| lines.is_news(layer, *done, 1000)).count();
        assert_eq!(told, 101);
    }
}
