// SPDX-License-Identifier: Apache-2.0
//! A container's log: raw from a terminal, else in Docker's framing.

use std::sync::Arc;

use axum::body::Body as HttpBody;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
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
    let details = parameters.flag("details");
    let lines = engine.logs(&name, options).await?;
    let pieces = stream::unfold(lines, move |mut lines| async move {
        let piece = match lines.next().await? {
            Ok(batch) => Ok(framed(&batch, Shown { timestamps, details }, tty)),
            Err(error) => {
                tracing::error!(error = errors::chain(&error), "a log cannot be read to its end");
                Err(error)
            }
        };
        Some((piece, lines))
    });
    Ok(([(CONTENT_TYPE, content_type(tty, version))], HttpBody::from_stream(pieces)).into_response())
}

pub(super) fn options(parameters: &Parameters) -> Result<LogOptions, ApiError> {
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

/// What is shown of a line beside its text.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shown {
    timestamps: bool,
    details: bool,
}

/// Lines as they are sent.
pub(super) fn framed(lines: &[LogLine], shown: Shown, tty: bool) -> Bytes {
    let mut sent = BytesMut::new();
    lines.iter().for_each(|line| write_line(&mut sent, line, shown, tty));
    sent.freeze()
}

/// Adds a line as it is sent: its time, what is said of the container, and the text.
fn write_line(sent: &mut BytesMut, line: &LogLine, shown: Shown, tty: bool) {
    let stamp = if shown.timestamps { format!("{} ", line.time) } else { String::new() };
    let said = if shown.details { format!("{} ", attributes(line)) } else { String::new() };
    if !tty {
        sent.put_slice(&[line.stream, 0, 0, 0]);
        // A line is at most 16 KiB: the shim cuts longer ones. What options may say of a container came in one request.
        sent.put_u32(u32::try_from(stamp.len() + said.len() + line.text.len()).unwrap_or(u32::MAX));
    }
    for part in [stamp, said] {
        sent.put_slice(part.as_bytes());
    }
    sent.put_slice(line.text.as_bytes());
}

/// `name=value,name=value`, encoded as a query is.
fn attributes(line: &LogLine) -> String {
    let pairs = line.attributes.iter().map(|(name, value)| format!("{}={}", query(name), query(value)));
    pairs.collect::<Vec<String>>().join(",")
}

/// Text as it stands in a query.
fn query(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        b' ' => "+".to_owned(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_framed_unless_it_is_a_terminals() {
        let attributes = [("tag", "a b"), ("x", "1,2=&")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let line = LogLine { time: "T".into(), stream: 2, text: "hi\n".into(), attributes: attributes.into() };
        let sent = |timestamps, details, tty| {
            let mut sent = BytesMut::new();
            write_line(&mut sent, &line, Shown { timestamps, details }, tty);
            sent
        };
        assert_eq!(sent(false, false, true), &b"hi\n"[..]);
        assert_eq!(sent(true, false, true), &b"T hi\n"[..]);
        assert_eq!(sent(true, false, false), &b"\x02\0\0\0\0\0\0\x05T hi\n"[..]);
        assert_eq!(sent(true, true, true), &b"T tag=a+b,x=1%2C2%3D%26 hi\n"[..]);
    }
}
