// SPDX-License-Identifier: Apache-2.0
//! What happens to containers and images, as it comes over HTTP: a line of JSON for each event.

use api_types::EventMessage;
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::body::RequestBody;
use crate::error::ClientError;
use crate::images::{Filter, LONGEST_LINE, Lines, filters_json};
use crate::transport::Client;
use crate::url::Path;

/// Events being heard.
pub struct EventStream {
    body: Incoming,
    lines: Lines,
    path: String,
}

impl Client {
    /// Events from now on; before that those since `since` and until `until` (seconds since the epoch, perhaps with a
    /// fraction) of the last 256. Ends with `until`, or else with the daemon. Nothing is missed that happens after this has
    /// returned.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn events(
        &self,
        since: Option<&str>,
        until: Option<&str>,
        filters: &[Filter],
    ) -> Result<EventStream, ClientError> {
        let path = Path::new("/events").with_some("since", since).with_some("until", until);
        let path = path.with_some("filters", filters_json(filters)).into_string();
        let response = self.send(Method::GET, &path, RequestBody::Empty).await?;
        Ok(EventStream { body: response.into_body(), lines: Lines::default(), path })
    }
}

impl EventStream {
    /// The next event; `None` at the end.
    ///
    /// # Errors
    /// [`ClientError::Events`] when the daemon broke off; a line that is no event.
    pub async fn next(&mut self) -> Result<Option<EventMessage>, ClientError> {
        loop {
            while let Some(line) = self.lines.next() {
                if !line.iter().all(u8::is_ascii_whitespace) {
                    return self.event(&line).map(Some);
                }
            }
            if self.lines.length() > LONGEST_LINE {
                return Err(ClientError::Framing("an event is longer than any can be"));
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            if let Ok(data) = frame.map_err(ClientError::Events)?.into_data() {
                self.lines.push(&data);
            }
        }
    }

    fn event(&self, line: &Bytes) -> Result<EventMessage, ClientError> {
        serde_json::from_slice(line).map_err(|source| ClientError::Malformed {
            method: Method::GET,
            path: self.path.clone(),
            source,
        })
    }
}
