// SPDX-License-Identifier: Apache-2.0
//! A blob on its way: a stream of bytes that survives a broken connection.

use std::fmt;
use std::time::Instant;

use bytes::{Buf as _, Bytes};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE};
use http::{HeaderMap, StatusCode};
use hyper::body::Incoming;
use oci::{Digest, ImageRef};

use crate::ask::Ask;
use crate::client::Client;
use crate::error::RegistryError;
use crate::ranges::{Ahead, Pace, Wanted};

/// As much must come between two failures for the first to be forgiven. Bounds how long a dying connection is nursed.
const PROGRESS: u64 = 256 << 10;

/// The content of a blob, as it comes.
///
/// Gives exactly as many bytes as the manifest promises, or an error. Whether they hash to the digest is for the
/// receiver to find out: it has to read them anyway. A stream that breaks goes on from where it broke (a `Range`
/// request; servers that ignore it send what is already here again, and it is skipped). Where one connection is slow,
/// further ones fetch ranges ahead (`ranges.rs`).
pub struct Blob {
    client: Client,
    image: ImageRef,
    digest: Digest,
    size: u64,
    /// Bytes handed out, or not wanted.
    given: u64,
    /// Bytes still to be dropped because the server began again at the front.
    skip: u64,
    body: Option<Incoming>,
    /// Failures since `forgiven_at`.
    failures: u32,
    forgiven_at: u64,
    pace: Pace,
    ahead: Ahead,
    /// Whether the registry is known to ignore ranges.
    whole_only: bool,
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({}, {} of {} bytes)", self.digest, self.given, self.size)
    }
}

impl Blob {
    pub(crate) async fn open(
        client: Client,
        image: ImageRef,
        digest: Digest,
        size: u64,
        from: u64,
    ) -> Result<Blob, RegistryError> {
        let mut blob = Blob {
            client,
            image,
            digest,
            size,
            given: from,
            skip: 0,
            body: None,
            failures: 0,
            forgiven_at: from,
            pace: Pace::default(),
            ahead: Ahead::default(),
            whole_only: false,
        };
        // Nobody needs to be asked for nothing.
        if from < size {
            blob.connect().await?;
        }
        Ok(blob)
    }

    /// The size that the manifest promises, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The next bytes; `None` when all `size` of them were given.
    ///
    /// # Errors
    /// The registry is gone for good, or sends more or less than it should.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        loop {
            let error = match self.next().await {
                Ok(chunk) => return Ok(chunk),
                Err(error) => error,
            };
            self.body = None;
            // All is here; only the end of the answer is missing.
            if error.is_passing() && self.given == self.size {
                return Ok(None);
            }
            if self.given - self.forgiven_at >= PROGRESS {
                self.failures = 0;
            }
            self.forgiven_at = self.given;
            self.client.transport().pause_after(error, self.failures).await?;
            self.failures += 1;
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        while self.ahead.start().is_some_and(|start| self.given >= start) {
            if !self.ahead.is_usable().await {
                // The first connection goes on as if nothing had been.
                self.whole_only = true;
                break;
            }
            self.body = None;
            // A registry that refuses ranges for good is not asked for more of them.
            match self.ahead.chunk(self.given).await.inspect_err(|_| self.whole_only = true)? {
                Some(chunk) => {
                    self.given += chunk.len() as u64;
                    return Ok(Some(chunk));
                }
                None => self.ahead.fill(&self.wanted(), self.given),
            }
        }
        self.next_of_first().await
    }

    /// The next bytes of the first connection, which ends where ranges begin.
    async fn next_of_first(&mut self) -> Result<Option<Bytes>, RegistryError> {
        if self.body.is_none() && self.given < self.size {
            self.connect().await?;
            self.pace = Pace::default();
        }
        let path = self.path();
        loop {
            let Some(body) = &mut self.body else { return Ok(None) };
            let ask = ask(&self.image, &path, self.given);
            let begun = Instant::now();
            let Some(mut chunk) = self.client.transport().next_chunk(ask, body).await? else {
                return if self.given == self.size { Ok(None) } else { Err(self.wrong_size(Some(self.given))) };
            };
            self.pace.note(chunk.len() as u64, begun.elapsed());
            let skipped = self.skip.min(chunk.len() as u64);
            // Not longer than the chunk, so it fits.
            chunk.advance(skipped as usize);
            self.skip -= skipped;
            if chunk.is_empty() {
                continue;
            }
            if chunk.len() as u64 > self.size - self.given {
                return Err(self.wrong_size(None));
            }
            let room = self.ahead.start().map_or(u64::MAX, |start| start - self.given);
            // What does not fit is longer than the chunk.
            chunk.truncate(usize::try_from(room).unwrap_or(usize::MAX));
            self.given += chunk.len() as u64;
            if !self.whole_only && self.ahead.start().is_none() && self.pace.is_slow() {
                self.ahead.fill(&self.wanted(), self.given);
            }
            return Ok(Some(chunk));
        }
    }

    fn wanted(&self) -> Wanted {
        Wanted { client: self.client.clone(), image: self.image.clone(), digest: self.digest, size: self.size }
    }

    /// Asks for what is still missing.
    async fn connect(&mut self) -> Result<(), RegistryError> {
        let path = self.path();
        let ask = ask(&self.image, &path, self.given);
        let response = self.client.transport().get(ask).await?;
        let status = response.status();
        let expected = self.size - self.given;
        let announced = match status {
            StatusCode::OK => {
                self.skip = self.given;
                length(response.headers()).map(|length| (length, self.size))
            }
            StatusCode::PARTIAL_CONTENT if range_start(response.headers()) == Some(self.given) => {
                self.skip = 0;
                length(response.headers()).map(|length| (length, expected))
            }
            StatusCode::NOT_FOUND => {
                let (image, registry) = (self.image.to_string(), self.image.registry().to_owned());
                return Err(RegistryError::BlobNotFound { image, registry, digest: self.digest });
            }
            StatusCode::RANGE_NOT_SATISFIABLE => return Err(self.wrong_size(Some(self.given))),
            _ => return Err(self.client.refused(ask, &self.image.to_string(), response).await),
        };
        if let Some((announced, expected)) = announced
            && announced != expected
        {
            return Err(self.wrong_size(Some(announced)));
        }
        self.body = Some(response.into_body());
        Ok(())
    }

    fn path(&self) -> String {
        format!("/v2/{}/blobs/{}", self.image.repository(), self.digest)
    }

    fn wrong_size(&self, actual: Option<u64>) -> RegistryError {
        let registry = self.image.registry().to_owned();
        RegistryError::WrongSize { registry, digest: self.digest, expected: self.size, actual }
    }
}

fn ask<'a>(image: &'a ImageRef, path: &'a str, from: u64) -> Ask<'a> {
    Ask { from, ..Ask::pull(image.registry(), image.repository(), path) }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Where the content of a 206 begins: `bytes 100-199/200` (RFC 9110, section 14.4).
pub(crate) fn range_start(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_RANGE)?.to_str().ok()?.trim().strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}
