// SPDX-License-Identifier: Apache-2.0
//! `GET /events`: what happens to containers and images, a line of JSON for each event, as it happens.

use std::sync::Arc;

use api_types::{EventActor, EventMessage};
use axum::body::{Body as HttpBody, Bytes};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use engine::{Engine, Event, EventKind};
use futures_util::stream;
use jiff::Timestamp;

use super::logs::seconds;
use crate::error::ApiError;
use crate::extract::Parameters;
use crate::filters::{Filters, moment};
use crate::version::Version;

/// The version whose clients read lines of JSON by that name, and no event's old fields any more.
const LINES: u32 = 52;
/// What RFC 7464 puts before each text of JSON.
const RECORD_SEPARATOR: u8 = 0x1e;

/// How a stream of events is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// What versions before 1.52 call JSON, and is lines of it.
    Json,
    /// <https://jsonlines.org>
    JsonLines,
    /// The same under an older name.
    NewlineDelimited,
    /// RFC 7464.
    Sequence,
}

impl Form {
    const NEGOTIATED: [Form; 3] = [Form::JsonLines, Form::NewlineDelimited, Form::Sequence];

    /// What a client of `version` gets: what it names, or what its version is used to. `*/*` names nothing.
    fn choose(headers: &HeaderMap, version: Version) -> Form {
        let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let ranges: Vec<(&str, f32)> = accepted.flat_map(|value| value.split(',')).map(media_range).collect();
        let weight = |form: Form| {
            let named = ranges.iter().filter(|(name, _)| name.eq_ignore_ascii_case(form.media_type()));
            named.map(|(_, weight)| *weight).fold(0.0, f32::max)
        };
        // Of equals, the first.
        let best = Form::NEGOTIATED.into_iter().rev().max_by(|a, b| weight(*a).total_cmp(&weight(*b)));
        match best.filter(|form| weight(*form) > 0.0) {
            Some(form) => form,
            None if version.has_what_went_with(LINES) => Form::Json,
            None => Form::JsonLines,
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Form::Json => "application/json",
            Form::JsonLines => "application/jsonl",
            Form::NewlineDelimited => "application/x-ndjson",
            Form::Sequence => "application/json-seq",
        }
    }
}

/// A media range of `Accept` and its weight: 1 where none is given, 0 where it is none.
fn media_range(text: &str) -> (&str, f32) {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
    (name, weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0)))
}

pub(crate) async fn events(
    State(engine): State<Arc<Engine>>,
    version: Version,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let (since, until) = bounds(&parameters, Timestamp::now())?;
    // Before the answer: whoever has its head misses nothing that happens from then on.
    let events = engine.events(since, until, Filters::of(&parameters)?.into_events()?);
    let (form, with_old_fields) = (Form::choose(&headers, version), version.has_what_went_with(LINES));
    let pieces = stream::unfold(events, move |mut events| async move {
        let piece = match events.next().await {
            Ok(batch) => Ok(lines(&batch?, form, with_old_fields)),
            Err(error) => {
                // All that the client sees is that the answer breaks off: a line that is no event would be read as one.
                tracing::warn!(error = errors::chain(&error), "a client of /events is cut off");
                Err(error)
            }
        };
        Some((piece, events))
    });
    Ok(([(CONTENT_TYPE, form.media_type())], HttpBody::from_stream(pieces)).into_response())
}

/// From when and until when events are wanted.
pub(super) fn bounds(
    parameters: &Parameters,
    now: Timestamp,
) -> Result<(Option<Timestamp>, Option<Timestamp>), ApiError> {
    let (since, until) = (bound("since", parameters, now)?, bound("until", parameters, now)?);
    match (since, until) {
        (Some(since), Some(until)) if until < since => {
            Err(ApiError::invalid("since", format!("{since} is later than until, {until}")))
        }
        bounds => Ok(bounds),
    }
}

/// Seconds since the epoch, perhaps with a fraction; or what the `until` of other routes takes.
fn bound(name: &'static str, parameters: &Parameters, now: Timestamp) -> Result<Option<Timestamp>, ApiError> {
    let Some(text) = parameters.get(name) else { return Ok(None) };
    let problem = || {
        let forms = "seconds since the epoch, a time as in 2024-05-06T07:08:09Z or a span before now as in 10m";
        ApiError::invalid(name, format!("\"{text}\" is none of {forms}"))
    };
    seconds(text).or_else(|| moment(text, now)).map(Some).ok_or_else(problem)
}

fn lines(events: &[Arc<Event>], form: Form, with_old_fields: bool) -> Bytes {
    let mut lines = Vec::new();
    for event in events {
        if form == Form::Sequence {
            lines.push(RECORD_SEPARATOR);
        }
        // A struct of strings and numbers always becomes JSON.
        lines.extend(serde_json::to_vec(&message(event, with_old_fields)).unwrap_or_default());
        lines.push(b'\n');
    }
    lines.into()
}

fn message(event: &Event, with_old_fields: bool) -> EventMessage {
    // Docker has these of containers and images only.
    let (status, id) = match event.kind {
        EventKind::Container | EventKind::Image if with_old_fields => (event.action.to_string(), event.id.clone()),
        _ => (String::new(), String::new()),
    };
    let from = match event.kind {
        EventKind::Container if with_old_fields => event.attributes.get("image").cloned().unwrap_or_default(),
        _ => String::new(),
    };
    EventMessage {
        status,
        id,
        from,
        kind: event.kind.as_str().to_owned(),
        action: event.action.to_string(),
        actor: EventActor { id: event.id.clone(), attributes: event.attributes.clone() },
        scope: "local".to_owned(),
        time: event.time.as_second(),
        // Enough until the year 2262, as in Docker.
        time_nano: i64::try_from(event.time.as_nanosecond()).unwrap_or(i64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#""status":"die","id":"abc","from":"busybox","#;

    fn written(form: Form, with_old_fields: bool) -> String {
        let event = Event {
            kind: EventKind::Container,
            action: "die".into(),
            id: "abc".into(),
            attributes: [("image", "busybox"), ("exitCode", "3")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            time: "2024-05-06T07:08:09.000000010Z".parse().unwrap(),
        };
        String::from_utf8(lines(&[Arc::new(event)], form, with_old_fields).into()).unwrap()
    }

    #[test]
    fn older_clients_read_what_newer_ones_do_and_more() {
        let new = r#""Type":"container","Action":"die","Actor":{"ID":"abc","Attributes":{"exitCode":"3","image":"busybox"}},"scope":"local","time":1714979289,"timeNano":1714979289000000010"#;
        assert_eq!(written(Form::Json, true), format!("{{{OLD}{new}}}\n"));
        assert_eq!(written(Form::JsonLines, false), format!("{{{new}}}\n"));
        assert_eq!(written(Form::Sequence, false), format!("\u{1e}{{{new}}}\n"));
    }

    #[test]
    fn a_client_gets_the_form_that_it_names() {
        let chosen = |version: Version, accept: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(ACCEPT, value.parse().unwrap());
            }
            Form::choose(&headers, version)
        };
        for (accept, form) in [
            (&[][..], Form::JsonLines),
            (&["*/*"], Form::JsonLines),
            (&["application/json"], Form::JsonLines),
            (&["application/json-seq"], Form::Sequence),
            (&["text/html, application/x-ndjson;q=0.5", "application/json-seq;q=0.4"], Form::NewlineDelimited),
            (&["application/json-seq, Application/JSONL"], Form::JsonLines),
            (&["application/json-seq;q=0"], Form::JsonLines),
            (&["application/json-seq;q=much"], Form::JsonLines),
            (&["application/json-seq;q=NaN"], Form::JsonLines),
        ] {
            assert_eq!(chosen(Version::NEWEST, accept), form, "{accept:?}");
        }
        assert_eq!(chosen(Version::of(51), &[]), Form::Json);
        assert_eq!(chosen(Version::of(51), &["application/jsonl"]), Form::JsonLines);
        assert_eq!(chosen(Version::UNNAMED, &[]), Form::Json);
    }
}
