// SPDX-License-Identifier: Apache-2.0
//! `GET /events`: what happens to containers and images, a line of JSON for each event, as it happens.

use std::sync::Arc;

use api_types::{EventActor, EventMessage};
use axum::body::{Body as HttpBody, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use engine::{Engine, Event, EventKind};
use futures_util::stream;
use jiff::Timestamp;

use super::logs::seconds;
use crate::error::ApiError;
use crate::extract::Parameters;
use crate::filters::{Filters, moment};

pub(crate) async fn events(State(engine): State<Arc<Engine>>, parameters: Parameters) -> Result<Response, ApiError> {
    let now = Timestamp::now();
    let (since, until) = (bound("since", &parameters, now)?, bound("until", &parameters, now)?);
    if let (Some(since), Some(until)) = (since, until)
        && until < since
    {
        return Err(ApiError::invalid("since", format!("{since} is later than until, {until}")));
    }
    // Before the answer: whoever has its head misses nothing that happens from then on.
    let events = engine.events(since, until, Filters::of(&parameters)?.into_events()?);
    let pieces = stream::unfold(events, |mut events| async move {
        let piece = match events.next().await {
            Ok(batch) => Ok(lines(&batch?)),
            Err(error) => {
                // All that the client sees is that the answer breaks off: a line that is no event would be read as one.
                tracing::warn!(error = errors::chain(&error), "a client of /events is cut off");
                Err(error)
            }
        };
        Some((piece, events))
    });
    Ok(([(CONTENT_TYPE, "application/json")], HttpBody::from_stream(pieces)).into_response())
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

fn lines(events: &[Arc<Event>]) -> Bytes {
    let mut lines = Vec::new();
    for event in events {
        // A struct of strings and numbers always becomes JSON.
        lines.extend(serde_json::to_vec(&message(event)).unwrap_or_default());
        lines.push(b'\n');
    }
    lines.into()
}

fn message(event: &Event) -> EventMessage {
    // Docker has these of containers and images only.
    let (status, id) = match event.kind {
        EventKind::Container | EventKind::Image => (event.action.to_string(), event.id.clone()),
        EventKind::Network | EventKind::Volume => (String::new(), String::new()),
    };
    let from = match event.kind {
        EventKind::Container => event.attributes.get("image").cloned().unwrap_or_default(),
        EventKind::Image | EventKind::Network | EventKind::Volume => String::new(),
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

    #[test]
    fn old_and_new_clients_read_the_same_message() {
        let event = Event {
            kind: EventKind::Container,
            action: "die".into(),
            id: "abc".into(),
            attributes: [("image", "busybox"), ("exitCode", "3")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            time: "2024-05-06T07:08:09.000000010Z".parse().unwrap(),
        };
        let line = lines(&[Arc::new(event)]);
        assert_eq!(
            std::str::from_utf8(&line).unwrap(),
            "{\"status\":\"die\",\"id\":\"abc\",\"from\":\"busybox\",\"Type\":\"container\",\"Action\":\"die\",\
             \"Actor\":{\"ID\":\"abc\",\"Attributes\":{\"exitCode\":\"3\",\"image\":\"busybox\"}},\"scope\":\"local\",\
             \"time\":1714979289,\"timeNano\":1714979289000000010}\n"
        );
    }
}
