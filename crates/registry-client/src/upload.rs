// SPDX-License-Identifier: Apache-2.0
//! A blob on its way to a registry (distribution-spec, "Pushing blobs").
//!
//! ```text
//! POST ──▶ session ──PUT, all of it──▶ stored
//!             │  ▲
//!    broken,  │  └──GET: so far ──▶ PUT, the rest
//!    too much │
//!             └──PATCH, PATCH, …, PUT of the last chunk
//! ```

use std::sync::Arc;

use http::header::RANGE;
use http::{HeaderMap, Method, Response, StatusCode};
use hyper::body::Incoming;
use oci::{Algorithm, Digest, ImageRef};

use crate::ask::{Ask, Outgoing, Payload};
use crate::body::{Part, Source};
use crate::client::Client;
use crate::error::RegistryError;
use crate::push::{same_digest, upload_location};
use crate::transport::Heard;

/// The size of chunks where the registry does not take a blob in one piece, in bytes. Below the limits of the proxies
/// that are known to be in front of registries, and a multiple of what object stores want as a part.
const CHUNK: u64 = 16 << 20;
/// As much must be stored between two failures for the first to be forgiven.
const PROGRESS: u64 = 1 << 20;

impl Client {
    /// Uploads the blob `digest`, which has `size` bytes, to `image`'s repository. In one piece, or in chunks where the
    /// registry refuses so much at once; goes on where it stopped when the connection breaks, and begins anew when the
    /// registry has forgotten the upload. `progress` hears how many bytes are on their way or there; the number can
    /// go back. A few hundred kilobytes are in memory.
    ///
    /// # Errors
    /// The registry is gone for good, or refuses the blob; the source cannot be read.
    pub async fn push_blob(
        &self,
        image: &ImageRef,
        digest: Digest,
        size: u64,
        source: Arc<dyn Source>,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), RegistryError> {
        let upload = Upload { client: self, image, digest, size, source, progress, session: None, chunk: None };
        upload.run().await
    }

    /// Tells the registry that an upload will not go on. Only for its sake: it would find out by itself.
    pub(crate) async fn abandon(&self, image: &ImageRef, location: &str) {
        let ask = Ask::push(image.registry(), image.repository(), location);
        let _: Result<_, RegistryError> = self.transport().once(ask, &Outgoing::empty(Method::DELETE), None).await;
    }
}

struct Upload<'a> {
    client: &'a Client,
    image: &'a ImageRef,
    digest: Digest,
    size: u64,
    source: Arc<dyn Source>,
    progress: Heard<'a>,
    session: Option<Session>,
    /// The size of chunks, once the registry has refused the whole.
    chunk: Option<u64>,
}

/// An upload that the registry knows of.
struct Session {
    /// Where it goes on.
    location: String,
    /// Bytes that are stored.
    stored: u64,
    /// The smallest chunk that the registry takes, the last one aside.
    smallest: u64,
}

/// What follows a step.
enum Next {
    /// All is stored.
    Done,
    /// The next chunk.
    Chunk,
    /// The registry has forgotten the session: a new one.
    Anew(RegistryError),
    /// The registry has other bytes than was thought: ask it.
    Ask(RegistryError),
}

impl Upload<'_> {
    async fn run(mut self) -> Result<(), RegistryError> {
        let (mut failures, mut forgiven_at) = (0, 0);
        loop {
            let stored = self.session.as_ref().map_or(0, |session| session.stored);
            if stored >= forgiven_at + PROGRESS {
                (failures, forgiven_at) = (0, stored);
            }
            let (error, ask) = match self.step().await {
                Ok(Next::Done) => return Ok(()),
                Ok(Next::Chunk) => continue,
                Ok(Next::Anew(error)) => (error, false),
                Ok(Next::Ask(error)) => (error, true),
                Err(error) if error.is_passing() => (error, true),
                Err(error) => return Err(self.give_up(error).await),
            };
            if failures >= self.client.transport().options.retries {
                return Err(self.give_up(error).await);
            }
            if error.is_passing() {
                match self.client.transport().pause_after(error, failures).await {
                    Ok(()) => {}
                    Err(error) => return Err(self.give_up(error).await),
                }
            }
            failures += 1;
            if failures > 1 && self.size > CHUNK {
                // A proxy that refuses so much at once may hang up before its answer can be read.
                self.chunk = Some(CHUNK);
            }
            if !ask {
                self.session = None;
            } else if self.session.is_some() && self.find_out().await? {
                return Ok(());
            }
        }
    }

    async fn give_up(&mut self, error: RegistryError) -> RegistryError {
        if let Some(session) = self.session.take()
            && !matches!(error, RegistryError::Unreachable { .. })
            && !error.is_passing()
        {
            self.client.abandon(self.image, &session.location).await;
        }
        error
    }

    fn ask<'b>(&'b self, path: &'b str) -> Ask<'b> {
        Ask::push(self.image.registry(), self.image.repository(), path)
    }

    /// Begins a session if there is none, and sends the next bytes.
    async fn step(&mut self) -> Result<Next, RegistryError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => self.begin().await?,
        };
        let (from, location) = (session.stored, session.location.clone());
        let length = self.chunk.map_or(self.size, |chunk| chunk.max(session.smallest));
        self.session = Some(session);
        let end = from.saturating_add(length).min(self.size);
        let is_last = end == self.size;
        let part = Arc::new(Part::new(Arc::clone(&self.source), from, end, !is_last || from > 0));
        let (method, path) = match is_last {
            true => (Method::PUT, with_digest(&location, &self.digest)),
            false => (Method::PATCH, location),
        };
        let outgoing = Outgoing { method, payload: Payload::Part(Arc::clone(&part)) };
        let answer = self.client.transport().once(self.ask(&path), &outgoing, Some(self.progress)).await;
        if let Some(source) = part.take_failure() {
            let (image, digest) = (self.image.to_string(), self.digest);
            return Err(RegistryError::Source { image, digest, source });
        }
        self.after(answer?, &path, is_last, end).await
    }

    async fn begin(&self) -> Result<Session, RegistryError> {
        // So that the registry can hash what comes as it comes (distribution-spec, "Pushing a blob").
        let hint = match self.digest.algorithm() {
            Algorithm::Sha256 => "",
            Algorithm::Sha512 => "?digest-algorithm=sha512",
        };
        let path = format!("/v2/{}/blobs/uploads/{hint}", self.image.repository());
        let ask = self.ask(&path);
        let response = self.client.transport().exchange(ask, &Outgoing::empty(Method::POST)).await?;
        if response.status() != StatusCode::ACCEPTED {
            return Err(self.refused(ask, response).await);
        }
        let smallest =
            response.headers().get("oci-chunk-min-length").and_then(|value| value.to_str().ok()?.parse().ok());
        let location = self.location(ask, response.headers())?;
        Ok(Session { location, stored: 0, smallest: smallest.unwrap_or(0) })
    }

    /// What an answer to `PUT` or `PATCH` means.
    async fn after(
        &mut self,
        response: Response<Incoming>,
        path: &str,
        is_last: bool,
        end: u64,
    ) -> Result<Next, RegistryError> {
        let ask = self.ask(path);
        match response.status() {
            status if status.is_success() && is_last => {
                same_digest(self.image, response.headers(), self.digest)?;
                (self.progress)(self.size);
                Ok(Next::Done)
            }
            status if status.is_success() => {
                let location = self.location(ask, response.headers())?;
                let stored = stored(response.headers()).unwrap_or(end);
                if let Some(session) = &mut self.session {
                    (session.location, session.stored) = (location, stored.min(self.size));
                }
                Ok(Next::Chunk)
            }
            StatusCode::NOT_FOUND => Ok(Next::Anew(self.refused(ask, response).await)),
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(Next::Ask(self.refused(ask, response).await)),
            StatusCode::PAYLOAD_TOO_LARGE if self.chunk.is_none() && self.size > CHUNK => {
                let refused = self.refused(ask, response).await;
                self.chunk = Some(CHUNK);
                Ok(Next::Ask(refused))
            }
            _ => Err(self.refused(ask, response).await),
        }
    }

    /// Asks how much is stored. `true` when the blob is there: then only the answer that said so was lost.
    async fn find_out(&mut self) -> Result<bool, RegistryError> {
        if self.client.blob_exists(self.image, self.digest).await? {
            (self.progress)(self.size);
            return Ok(true);
        }
        let Some(session) = self.session.take() else { return Ok(false) };
        let ask = self.ask(&session.location);
        let response = self.client.transport().get(ask).await?;
        // A registry that cannot tell loses what it has: the next step begins anew.
        if !response.status().is_success() {
            return Ok(false);
        }
        // `0-0` is what some registries say of an upload without a byte. More than there is, is nonsense.
        let Some(stored) = stored(response.headers()).filter(|stored| (2..=self.size).contains(stored)) else {
            return Ok(false);
        };
        let location = upload_location(ask, response.headers()).unwrap_or(session.location);
        self.session = Some(Session { location, stored, smallest: session.smallest });
        (self.progress)(stored);
        Ok(false)
    }

    fn location(&self, ask: Ask<'_>, headers: &HeaderMap) -> Result<String, RegistryError> {
        upload_location(ask, headers).ok_or_else(|| RegistryError::NoLocation {
            registry: self.image.registry().to_owned(),
            path: ask.path.to_owned(),
        })
    }

    async fn refused(&self, ask: Ask<'_>, response: Response<Incoming>) -> RegistryError {
        self.client.refused_push(ask, self.image, format!("blob {}", self.digest), response).await
    }
}

/// The address that ends an upload: its parameters must stay.
fn with_digest(location: &str, digest: &Digest) -> String {
    let separator = if location.contains('?') { '&' } else { '?' };
    format!("{location}{separator}digest={digest}")
}

/// How many bytes `Range: 0-99` says are stored.
fn stored(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(RANGE)?.to_str().ok()?.trim();
    let last: u64 = range.strip_prefix("bytes=").unwrap_or(range).strip_prefix("0-")?.parse().ok()?;
    last.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_that_ends_an_upload_keeps_its_parameters() {
        let digest = Digest::of("x");
        assert_eq!(with_digest("/v2/a/blobs/uploads/1", &digest), format!("/v2/a/blobs/uploads/1?digest={digest}"));
        assert_eq!(with_digest("https://b/u?_state=x", &digest), format!("https://b/u?_state=x&digest={digest}"));
    }

    #[test]
    fn what_is_stored_is_read_in_every_form_that_registries_write() {
        let stored = |text: &str| stored(&HeaderMap::from_iter([(RANGE, text.parse().unwrap())]));
        assert_eq!(stored("0-99"), Some(100));
        assert_eq!(stored("bytes=0-99"), Some(100));
        for bad in ["", "99", "1-99", "0-", "0-x", "0-18446744073709551615"] {
            assert_eq!(stored(bad), None, "{bad}");
        }
    }
}
