// SPDX-License-Identifier: Apache-2.0
//! The choice between TLS and plain HTTP.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::{Method, StatusCode};

use crate::ask::{Ask, Outgoing};
use crate::error::RegistryError;
use crate::location;
use crate::transport::Transport;

/// What each registry that may do without TLS was found to speak.
#[derive(Clone, Default)]
pub(crate) struct Schemes(Arc<Mutex<HashMap<String, &'static str>>>);

impl Transport {
    /// `https`, or `http` where that is allowed and the registry speaks it.
    ///
    /// Loopback addresses (as with Docker) and registries named in the options may do without TLS. They are asked in
    /// plain HTTP first: a TLS server answers that with an error at once, while a plain server may wait for the rest
    /// of what it takes for a request. Nothing secret is in that first question.
    pub(crate) async fn scheme(&self, registry: &str) -> Result<&'static str, RegistryError> {
        let may_be_plain = self.options.unverified
            || location::is_loopback(location::authority_of(registry))
            || self.options.insecure_registries.iter().any(|insecure| insecure == registry)
            // Whoever asks for an image has been told by now of what cannot be read.
            || self.routes().is_ok_and(|routes| routes.is_insecure(registry));
        if !may_be_plain {
            return Ok("https");
        }
        if let Some(scheme) = self.schemes.0.lock().unwrap_or_else(PoisonError::into_inner).get(registry) {
            return Ok(scheme);
        }
        let ask = Ask::pull(registry, "", "/v2/");
        let uri = address(ask, "http")?;
        let scheme = match self.send(ask, &Outgoing::empty(Method::GET), &uri, None, None).await {
            Ok(response) if response.status() == StatusCode::BAD_REQUEST => "https",
            Ok(_) => "http",
            // Not remembered: it may only be starting.
            Err(RegistryError::Broken { .. }) => return Ok("https"),
            Err(error) => return Err(error),
        };
        self.schemes.0.lock().unwrap_or_else(PoisonError::into_inner).insert(registry.to_owned(), scheme);
        Ok(scheme)
    }
}

/// The root of the registry that `ask` is for.
pub(crate) fn address(ask: Ask<'_>, scheme: &str) -> Result<http::Uri, RegistryError> {
    let text = format!("{scheme}://{}/v2/", location::authority_of(ask.registry));
    text.parse().map_err(|error: http::uri::InvalidUri| RegistryError::Unreachable {
        registry: ask.registry.to_owned(),
        source: error.into(),
    })
}
