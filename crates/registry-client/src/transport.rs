// SPDX-License-Identifier: Apache-2.0
//! Requests: time limits, repetitions, redirects, and the choice between TLS and plain HTTP.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, HeaderValue, LOCATION, RANGE, RETRY_AFTER, USER_AGENT};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;

use crate::auth::Tokens;
use crate::connector::{ConnectError, Connector};
use crate::error::RegistryError;
use crate::location;
use crate::options::Options;

/// What this client calls itself.
const AGENT: &str = concat!("corten/", env!("CARGO_PKG_VERSION"));
/// Redirects followed before it is called a loop.
const MAX_REDIRECTS: usize = 10;
/// The part of an error's body that is read for the registry's own words.
const MAX_ERROR_BODY: u64 = 16 << 10;

/// What is asked for: the same whichever address answers in the end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    /// The registry, as the image name gives it.
    pub(crate) registry: &'a str,
    /// The repository whose content is wanted; decides which token is needed.
    pub(crate) repository: &'a str,
    /// Path and query.
    pub(crate) path: &'a str,
    /// The media types that are understood.
    pub(crate) accept: Option<&'static str>,
    /// The first byte wanted of it.
    pub(crate) from: u64,
}

/// Sends requests, and keeps what was learnt about each registry.
pub(crate) struct Transport {
    pub(crate) options: Options,
    http: HttpClient<Connector, Empty<Bytes>>,
    schemes: Mutex<HashMap<String, &'static str>>,
    pub(crate) tokens: Tokens,
}

impl Transport {
    pub(crate) fn new(options: Options) -> Transport {
        let connector = Connector::new(options.connect_timeout, options.extra_roots.clone());
        let http = HttpClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Transport { options, http, schemes: Mutex::default(), tokens: Tokens::default() }
    }

    /// The answer of the registry, with whatever status, after logging in where it asks for that. Repeats what fails
    /// for a passing reason.
    pub(crate) async fn get(&self, ask: Ask<'_>) -> Result<Response<Incoming>, RegistryError> {
        let mut failures = 0;
        loop {
            let error = match self.get_once(ask).await {
                Ok(response) => match self.refusal(ask, &response) {
                    None => return Ok(response),
                    Some(refusal) => refusal,
                },
                Err(error) => error,
            };
            if !error.is_passing() || failures == self.options.retries {
                return Err(error);
            }
            let pause = match error {
                RegistryError::RateLimited { wait: Some(wait), .. } if wait > self.options.max_retry_after => {
                    return Err(error);
                }
                RegistryError::RateLimited { wait: Some(wait), .. } => wait,
                _ => self.pause(failures),
            };
            tokio::time::sleep(pause).await;
            failures += 1;
        }
    }

    /// The pause before the repetition that follows `failures` earlier ones.
    pub(crate) fn pause(&self, failures: u32) -> Duration {
        self.options.backoff.saturating_mul(1 << failures.min(8))
    }

    /// The error behind a status that may pass by itself.
    fn refusal(&self, ask: Ask<'_>, response: &Response<Incoming>) -> Option<RegistryError> {
        let status = response.status();
        let registry = ask.registry.to_owned();
        if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE {
            // The other form, a date, is as good as no advice: clocks differ.
            let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
            if wait.is_some() || status == StatusCode::TOO_MANY_REQUESTS {
                return Some(RegistryError::RateLimited { registry, wait: wait.map(Duration::from_secs) });
            }
        }
        let error = RegistryError::Status { registry, path: ask.path.to_owned(), status, message: None };
        error.is_passing().then_some(error)
    }

    /// One request and, when the registry wants a login, a second one.
    async fn get_once(&self, ask: Ask<'_>) -> Result<Response<Incoming>, RegistryError> {
        let scheme = self.scheme(ask.registry).await?;
        let text = format!("{scheme}://{}{}", location::authority_of(ask.registry), ask.path);
        let uri: Uri = text.parse().map_err(|error: http::uri::InvalidUri| RegistryError::Unreachable {
            registry: ask.registry.to_owned(),
            source: error.into(),
        })?;
        let response = self.follow(ask, uri.clone(), self.tokens.get(ask)).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        match self.log_in(ask, scheme, &response).await? {
            Some(authorization) => self.follow(ask, uri, Some(authorization)).await,
            None => Ok(response),
        }
    }

    /// Sends the request, and follows redirects. `authorization` goes to the first address's origin only.
    async fn follow(
        &self,
        ask: Ask<'_>,
        first: Uri,
        authorization: Option<HeaderValue>,
    ) -> Result<Response<Incoming>, RegistryError> {
        let mut uri = first.clone();
        for _ in 0..=MAX_REDIRECTS {
            let authorization = authorization.clone().filter(|_| location::same_origin(&uri, &first));
            let response = self.send(ask, &uri, authorization).await?;
            let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            let Some(location) = response.headers().get(LOCATION).filter(|_| is_redirect) else {
                return Ok(response);
            };
            let location = String::from_utf8_lossy(location.as_bytes()).into_owned();
            let refuse = |location, why| {
                let (registry, path) = (ask.registry.to_owned(), ask.path.to_owned());
                RegistryError::Redirect { registry, path, location, why }
            };
            let Some(next) = location::resolve(&uri, &location) else {
                return Err(refuse(location, "it is no address of a registry"));
            };
            if uri.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
                return Err(refuse(location, "it would give up the secure connection"));
            }
            uri = next;
        }
        let (registry, path) = (ask.registry.to_owned(), ask.path.to_owned());
        Err(RegistryError::Redirect { registry, path, location: uri.to_string(), why: "there were too many before" })
    }

    /// One request to one address, without interpretation.
    pub(crate) async fn send(
        &self,
        ask: Ask<'_>,
        uri: &Uri,
        authorization: Option<HeaderValue>,
    ) -> Result<Response<Incoming>, RegistryError> {
        let mut request = Request::get(uri).header(USER_AGENT, AGENT);
        if let Some(accept) = ask.accept {
            request = request.header(ACCEPT, accept);
        }
        if ask.from > 0 {
            request = request.header(RANGE, format!("bytes={}-", ask.from));
        }
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(Empty::new()).map_err(|error| broken(ask, error))?;
        // Connecting and shaking hands have their own limits; this one bounds the wait for the answer as well.
        let limit = self.options.idle_timeout.saturating_add(self.options.connect_timeout.saturating_mul(2));
        match tokio::time::timeout(limit, self.http.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.classify(ask, error)),
            Err(_) => Err(self.silent(ask)),
        }
    }

    pub(crate) fn silent(&self, ask: Ask<'_>) -> RegistryError {
        let (registry, path) = (ask.registry.to_owned(), ask.path.to_owned());
        RegistryError::Silent { registry, path, after: self.options.idle_timeout }
    }

    fn classify(&self, ask: Ask<'_>, error: hyper_util::client::legacy::Error) -> RegistryError {
        let registry = ask.registry.to_owned();
        match error.source().and_then(|cause| cause.downcast_ref::<ConnectError>()) {
            Some(ConnectError::Tcp(_)) => RegistryError::Unreachable { registry, source: error.into() },
            Some(_) => RegistryError::Tls { registry, source: error.into() },
            None => broken(ask, error),
        }
    }

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
                Err(_) => return Err(self.silent(ask)),
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

    /// `https`, or `http` where that is allowed and the registry speaks it.
    ///
    /// Loopback addresses (as with Docker) and registries named in the options may do without TLS. They are asked in
    /// plain HTTP first: a TLS server answers that with an error at once, while a plain server may wait for the rest
    /// of what it takes for a request. Nothing secret is in that first question.
    pub(crate) async fn scheme(&self, registry: &str) -> Result<&'static str, RegistryError> {
        let may_be_plain = location::is_loopback(location::authority_of(registry))
            || self.options.insecure_registries.iter().any(|insecure| insecure == registry);
        if !may_be_plain {
            return Ok("https");
        }
        if let Some(scheme) = self.schemes.lock().unwrap_or_else(PoisonError::into_inner).get(registry) {
            return Ok(scheme);
        }
        let ask = Ask { registry, repository: "", path: "/v2/", accept: None, from: 0 };
        let text = format!("http://{}/v2/", location::authority_of(registry));
        let uri: Uri = text.parse().map_err(|error: http::uri::InvalidUri| RegistryError::Unreachable {
            registry: registry.to_owned(),
            source: error.into(),
        })?;
        let scheme = match self.send(ask, &uri, None).await {
            Ok(response) if response.status() == StatusCode::BAD_REQUEST => "https",
            Ok(_) => "http",
            // Not remembered: it may only be starting.
            Err(RegistryError::Broken { .. }) => return Ok("https"),
            Err(error) => return Err(error),
        };
        self.schemes.lock().unwrap_or_else(PoisonError::into_inner).insert(registry.to_owned(), scheme);
        Ok(scheme)
    }
}

fn broken(ask: Ask<'_>, error: impl Into<crate::error::Cause>) -> RegistryError {
    RegistryError::Broken { registry: ask.registry.to_owned(), path: ask.path.to_owned(), source: error.into() }
}
