// SPDX-License-Identifier: Apache-2.0
//! A container's log: raw from a terminal, else in Docker's framing.

use std::sync::Arc;

use axum::body::{Body as HttpBody, Bytes};
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use engine::{Engine, LogLine, LogOptions};
use futures_util::stream;
use jiff::Timestamp;

use super::attach::content_type;
use crate::error::ApiError;
use crate::extract::Parameters;
use crate::version::Version;

pub(crate) async fn logs(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    version: Version,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let options = options(&parameters)?;
    let timestamps = parameters.flag("timestamps");
    let tty = engine.inspect(&name)?.spec.tty;
    let lines = engine.logs(&name, options)?;
    let pieces = stream::unfold(lines, move |mut lines| async move {
        let piece = match lines.next().await? {
            Ok(line) => Ok(piece(&line, timestamps, tty)),
            Err(error) => {
                tracing::error!(error = errors::chain(&error), "a log cannot be read to its end");
                Err(error)
            }
        };
        Some((piece, lines))
    });
    Ok(([(CONTENT_TYPE, content_type(tty, version))], HttpBody::from_stream(pieces)).into_response())
}

fn options(parameters: &Parameters) -> Result<LogOptions, ApiError> {
    let (stdout, stderr) = (parameters.flag("stdout"), parameters.flag("stderr"));
    if !stdout && !stderr {
        return Err(ApiError::invalid("stdout", "choose stdout, stderr or both"));
    }
    let tail = match parameters.get("tail") {
        None | Some("all") => None,
        // Docker takes a negative number for all.
        Some(_) => parameters.number::<i64>("tail")?.and_then(|lines| usize::try_from(lines).ok()),
    };
    Ok(LogOptions {
        follow: parameters.flag("follow"),
        tail,
        since: moment("since", parameters)?,
        until: moment("until", parameters)?,
        stdout,
        stderr,
    })
}

/// Seconds since the epoch, perhaps with a fraction; 0 is no bound.
fn moment(name: &'static str, parameters: &Parameters) -> Result<Option<Timestamp>, ApiError> {
    let Some(text) = parameters.get(name).filter(|text| *text != "0") else { return Ok(None) };
    let invalid = || ApiError::invalid(name, format!("\"{text}\" is no time in seconds since the epoch"));
    seconds(text).map(Some).ok_or_else(invalid)
}

/// Seconds since the epoch, perhaps with a fraction of up to nine digits.
pub(super) fn seconds(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let seconds = seconds.parse().ok()?;
    if fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Timestamp::new(seconds, format!("{fraction:0<9}").parse().ok()?).ok()
}

/// A line as it is sent.
pub(super) fn piece(line: &LogLine, timestamps: bool, tty: bool) -> Bytes {
    let stamp = if timestamps { format!("{} ", line.time) } else { String::new() };
    let length = stamp.len() + line.text.len();
    let mut piece = Vec::with_capacity(8 + length);
    if !tty {
        piece.extend_from_slice(&[line.stream, 0, 0, 0]);
        // A line is at most 16 KiB: the shim cuts longer ones.
        piece.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    }
    piece.extend_from_slice(stamp.as_bytes());
    piece.extend_from_slice(line.text.as_bytes());
    piece.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_framed_unless_it_is_a_terminals() {
        let line = LogLine { time: "T".into(), stream: 2, text: "hi\n".into() };
        assert_eq!(piece(&line, false, true).as_ref(), b"hi\n");
        assert_eq!(piece(&line, true, true).as_ref(), b"T hi\n");
        assert_eq!(piece(&line, true, false).as_ref(), b"\x02\0\0\0\0\0\0\x05T hi\n");
    }
}
