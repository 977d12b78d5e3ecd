// SPDX-License-Identifier: Apache-2.0
//! Requests: time limits, repetitions and redirects.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, LOCATION, PROXY_AUTHORIZATION,
    RANGE, USER_AGENT,
};
use http::{Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client as HttpClient, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use jiff::Timestamp;
use tokio::sync::Semaphore;

use crate::ask::{Ask, Outgoing, Payload};
use crate::auth::Tokens;
use crate::body::{Part, RequestBody};
use crate::connector::{ConnectError, Connector};
use crate::error::RegistryError;
use crate::limits::{self, Limits};
use crate::location;
use crate::mirrors::Down;
use crate::options::Options;
use crate::ranges;
use crate::scheme::{self, Schemes};
use crate::stores::CredentialSource;

/// What this client calls itself.
const AGENT: &str = concat!("corten/", env!("CARGO_PKG_VERSION"));
/// Redirects followed before it is called a loop.
const MAX_REDIRECTS: usize = 10;
/// How often a payload on its way is looked at.
const TICK: Duration = Duration::from_millis(100);

/// Who hears which byte of a payload the connection takes next.
pub(crate) type Heard<'a> = &'a (dyn Fn(u64) + Send + Sync);

/// Where a request goes, and the registry whose credentials it may carry if that is the same place.
struct Address {
    uri: Uri,
    registry: Uri,
}

/// Sends requests, and keeps what was learnt about each registry.
pub(crate) struct Transport {
    pub(crate) options: Options,
    http: HttpClient<Connector, RequestBody>,
    pub(crate) schemes: Schemes,
    pub(crate) tokens: Tokens,
    pub(crate) down: Arc<Down>,
    pub(crate) limits: Limits,
    /// Ranges of blobs that may be in memory ahead of their readers.
    pub(crate) ahead: Arc<Semaphore>,
}

impl Transport {
    pub(crate) fn new(options: Options) -> Transport {
        let connector = Connector::new(&options);
        let http = HttpClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Transport {
            options,
            http,
            schemes: Schemes::default(),
            tokens: Tokens::default(),
            down: Arc::default(),
            limits: Limits::default(),
            ahead: Arc::new(Semaphore::new(ranges::AT_ONCE)),
        }
    }

    /// The same connections, for somebody else.
    pub(crate) fn acting_as(&self, credentials: CredentialSource) -> Transport {
        Transport {
            options: Options { credentials, ..self.options.clone() },
            http: self.http.clone(),
            schemes: self.schemes.clone(),
            tokens: Tokens::default(),
            down: Arc::clone(&self.down),
            // Limits are counted for each user.
            limits: Limits::default(),
            ahead: Arc::clone(&self.ahead),
        }
    }

    /// The answer of the registry to a `GET`. See [`Transport::exchange`].
    pub(crate) async fn get(&self, ask: Ask<'_>) -> Result<Response<Incoming>, RegistryError> {
        self.exchange(ask, &Outgoing::empty(Method::GET)).await
    }

    /// The answer of the registry, with whatever status, after logging in where it asks for that. Repeats what fails
    /// for a passing reason, so it is for requests that may arrive twice.
    pub(crate) async fn exchange(
        &self,
        ask: Ask<'_>,
        outgoing: &Outgoing,
    ) -> Result<Response<Incoming>, RegistryError> {
        let mut failures = 0;
        loop {
            let error = match self.once(ask, outgoing, None).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            self.pause_after(error, failures).await?;
            failures += 1;
        }
    }

    /// Waits before a repetition of what failed with `error`, after `failures` earlier ones.
    ///
    /// # Errors
    /// `error` itself, when it is better not repeated.
    pub(crate) async fn pause_after(&self, error: RegistryError, failures: u32) -> Result<(), RegistryError> {
        // Silence has taken long enough the second time.
        let silent = matches!(error, RegistryError::Silent { .. });
        let retries = if silent { self.options.retries.min(1) } else { self.options.retries };
        if !error.is_passing() || failures >= retries {
            return Err(error);
        }
        let pause = match error {
            RegistryError::RateLimited { wait: Some(wait), .. } if wait > self.options.max_retry_after => {
                return Err(error);
            }
            RegistryError::RateLimited { wait: Some(wait), .. } => wait,
            _ => limits::pause(self.options.backoff, failures),
        };
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// The error behind a status that may pass by itself.
    fn refusal(&self, ask: Ask<'_>, response: &Response<Incoming>) -> Option<RegistryError> {
        let status = response.status();
        let registry = ask.registry.to_owned();
        if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE {
            let wait = limits::retry_after(response.headers(), Timestamp::now());
            if wait.is_some() || status == StatusCode::TOO_MANY_REQUESTS {
                return Some(RegistryError::RateLimited { registry, wait });
            }
        }
        let error = RegistryError::Status { registry, path: ask.path.to_owned(), status, message: None };
        error.is_passing().then_some(error)
    }

    /// One request and, when the registry wants a login, a second one. A status that may pass by itself is an error.
    /// `progress` hears which byte of the payload the connection takes next.
    pub(crate) async fn once(
        &self,
        ask: Ask<'_>,
        outgoing: &Outgoing,
        progress: Option<Heard<'_>>,
    ) -> Result<Response<Incoming>, RegistryError> {
        let scheme = self.scheme(ask.registry).await?;
        let base = scheme::address(ask, scheme)?;
        let uri = location::resolve(&base, ask.path)
            .filter(|uri| base.scheme_str() != Some("https") || uri.scheme_str() == Some("https"))
            .ok_or_else(|| refused_redirect(ask, ask.path.to_owned(), "it is no secure address of a registry"))?;
        let at = Address { uri, registry: base };
        let mut response = self.follow(ask, outgoing, &at, self.tokens.get(ask), progress).await?;
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some(authorization) = self.log_in(ask, scheme, &response).await?
        {
            response = self.follow(ask, outgoing, &at, Some(authorization), progress).await?;
        }
        self.limits.hear(ask.registry, response.headers());
        match self.refusal(ask, &response) {
            None => Ok(response),
            Some(refusal) => Err(refusal),
        }
    }

    /// Sends the request, and follows redirects. `authorization` goes to the registry's own origin only.
    async fn follow(
        &self,
        ask: Ask<'_>,
        outgoing: &Outgoing,
        at: &Address,
        authorization: Option<HeaderValue>,
        progress: Option<Heard<'_>>,
    ) -> Result<Response<Incoming>, RegistryError> {
        let mut uri = at.uri.clone();
        let reads = matches!(outgoing.method, Method::GET | Method::HEAD);
        for _ in 0..=MAX_REDIRECTS {
            let authorization = authorization.clone().filter(|_| location::same_origin(&uri, &at.registry));
            let response = self.send(ask, outgoing, &uri, authorization, progress).await?;
            let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            let Some(location) = response.headers().get(LOCATION).filter(|_| is_redirect) else {
                return Ok(response);
            };
            let location = String::from_utf8_lossy(location.as_bytes()).into_owned();
            if !reads && matches!(response.status().as_u16(), 301..=303) {
                return Err(refused_redirect(ask, location, "the request would lose what it carries"));
            }
            let Some(next) = location::resolve(&uri, &location) else {
                return Err(refused_redirect(ask, location, "it is no address of a registry"));
            };
            if uri.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
                return Err(refused_redirect(ask, location, "it would give up the secure connection"));
            }
            uri = next;
        }
        Err(refused_redirect(ask, uri.to_string(), "there were too many before"))
    }

    /// One request to one address, without interpretation.
    pub(crate) async fn send(
        &self,
        ask: Ask<'_>,
        outgoing: &Outgoing,
        uri: &Uri,
        authorization: Option<HeaderValue>,
        progress: Option<Heard<'_>>,
    ) -> Result<Response<Incoming>, RegistryError> {
        let mut request = Request::builder().method(&outgoing.method).uri(uri).header(USER_AGENT, AGENT);
        if let Some(accept) = ask.accept {
            request = request.header(ACCEPT, accept);
        }
        match ask.end {
            Some(end) => request = request.header(RANGE, format!("bytes={}-{}", ask.from, end.saturating_sub(1))),
            None if ask.from > 0 => request = request.header(RANGE, format!("bytes={}-", ask.from)),
            None => {}
        }
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        // Through a tunnel it is told elsewhere, and must not reach the registry.
        if uri.scheme_str() == Some("http")
            && let Some(authorization) = self.options.proxies.find(uri).and_then(|proxy| proxy.authorization.clone())
        {
            request = request.header(PROXY_AUTHORIZATION, authorization);
        }
        let mut part = None;
        match &outgoing.payload {
            // Some registries insist on it, and hyper leaves it out.
            Payload::Empty if !matches!(outgoing.method, Method::GET | Method::HEAD) => {
                request = request.header(CONTENT_LENGTH, 0);
            }
            Payload::Empty => {}
            Payload::Document(_, media_type) => request = request.header(CONTENT_TYPE, media_type),
            Payload::Part(bytes) => {
                request = request.header(CONTENT_TYPE, "application/octet-stream");
                request = request.header(CONTENT_LENGTH, bytes.end - bytes.from);
                if bytes.with_range {
                    request = request.header(CONTENT_RANGE, format!("{}-{}", bytes.from, bytes.end.saturating_sub(1)));
                }
                part = Some(&**bytes);
            }
        }
        let request = request.body(RequestBody::of(&outgoing.payload)).map_err(|error| broken(ask, error))?;
        self.wait(ask, self.http.request(request), part, progress).await
    }

    /// Waits for an answer, for as long as the payload moves and a while longer.
    async fn wait(
        &self,
        ask: Ask<'_>,
        response: ResponseFuture,
        part: Option<&Part>,
        progress: Option<Heard<'_>>,
    ) -> Result<Response<Incoming>, RegistryError> {
        // Connecting and shaking hands have their own limits; this one bounds the wait for the answer as well.
        let limit = self.options.idle_timeout.saturating_add(self.options.connect_timeout.saturating_mul(2));
        let mut response = std::pin::pin!(response);
        let position = || part.map_or(0, Part::position);
        let (mut seen, mut since) = (position(), Instant::now());
        loop {
            let tick = if part.is_some() { TICK.min(limit) } else { limit };
            match tokio::time::timeout(tick, &mut response).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => return Err(self.classify(ask, error)),
                Err(_) if position() != seen => (seen, since) = (position(), Instant::now()),
                Err(_) if since.elapsed() >= limit => return Err(silent(ask, limit)),
                Err(_) => continue,
            }
            if let Some(progress) = progress {
                progress(seen);
            }
        }
    }

    fn classify(&self, ask: Ask<'_>, error: hyper_util::client::legacy::Error) -> RegistryError {
        let registry = ask.registry.to_owned();
        match error.source().and_then(|cause| cause.downcast_ref::<ConnectError>()) {
            Some(
                ConnectError::Tcp(_)
                | ConnectError::ProxyScheme(_)
                | ConnectError::ProxyTls(..)
                | ConnectError::Tunnel(..)
                | ConnectError::Socks(..),
            ) => RegistryError::Unreachable { registry, source: error.into() },
            Some(_) => RegistryError::Tls { registry, source: error.into() },
            None => broken(ask, error),
        }
    }
}

pub(crate) fn broken(ask: Ask<'_>, error: impl Into<crate::error::Cause>) -> RegistryError {
    RegistryError::Broken { registry: ask.registry.to_owned(), path: ask.path.to_owned(), source: error.into() }
}

fn refused_redirect(ask: Ask<'_>, location: String, why: &'static str) -> RegistryError {
    RegistryError::Redirect { registry: ask.registry.to_owned(), path: ask.path.to_owned(), location, why }
}

/// Nothing came for this long.
pub(crate) fn silent(ask: Ask<'_>, after: Duration) -> RegistryError {
    RegistryError::Silent { registry: ask.registry.to_owned(), path: ask.path.to_owned(), after }
}
