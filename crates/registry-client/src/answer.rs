// SPDX-License-Identifier: Apache-2.0
//! Bodies of answers, read with limits of size and time.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Deserialize;

use crate::ask::Ask;
use crate::error::RegistryError;
use crate::transport::{Transport, broken, silent};

/// The part of an error's body that is read for the registry's own words.
const MAX_ERROR_BODY: u64 = 16 << 10;

impl Transport {
    /// Reads a body of at most `limit` bytes.
    pub(crate) async fn read(&self, ask: Ask<'_>, mut body: Incoming, limit: u64) -> Result<Bytes, RegistryError> {
        let mut content = Vec::new();
        while let Some(chunk) = self.next_chunk(ask, &mut body).await? {
            if content.len() as u64 + chunk.len() as u64 > limit {
                let (registry, path) = (ask.registry.to_owned(), ask.path.to_owned());
                return Err(RegistryError::TooLarge { registry, path, limit });
            }
            content.extend_from_slice(&chunk);
        }
        Ok(content.into())
    }

    /// The next bytes of a body; `None` at its end.
    pub(crate) async fn next_chunk(&self, ask: Ask<'_>, body: &mut Incoming) -> Result<Option<Bytes>, RegistryError> {
        loop {
            let frame = match tokio::time::timeout(self.options.idle_timeout, body.frame()).await {
                Err(_) => return Err(silent(ask, self.options.idle_timeout)),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(broken(ask, error)),
                Ok(Some(Ok(frame))) => frame,
            };
            // Trailers are no content.
            if let Ok(data) = frame.into_data()
                && !data.is_empty()
            {
                return Ok(Some(data));
            }
        }
    }

    /// What the registry itself says about an error (distribution-spec, "Error Codes"), made safe to print.
    pub(crate) async fn message(&self, ask: Ask<'_>, body: Incoming) -> Option<String> {
        #[derive(Deserialize)]
        struct Errors {
            errors: Vec<Entry>,
        }
        #[derive(Deserialize)]
        struct Entry {
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: String,
        }
        // The status has told already that it failed: whatever cannot be read adds nothing.
        let body = self.read(ask, body, MAX_ERROR_BODY).await.ok()?;
        let entry = serde_json::from_slice::<Errors>(&body).ok()?.errors.into_iter().next()?;
        let text = if entry.message.is_empty() { entry.code } else { entry.message };
        let text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
        (!text.is_empty()).then_some(text)
    }
}
