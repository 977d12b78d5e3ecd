// SPDX-License-Identifier: Apache-2.0
//! Logging in: the token flow of the distribution protocol ("Token Authentication Specification" of the CNCF
//! distribution project) and HTTP Basic (RFC 7617).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use http::header::{HeaderValue, WWW_AUTHENTICATE};
use http::{Method, Response, StatusCode, Uri};
use hyper::body::Incoming;
use serde::Deserialize;

use crate::ask::{Access, Ask, Outgoing, Payload};
use crate::challenge::{self, Challenge};
use crate::credentials::{Credentials, Secret};
use crate::error::RegistryError;
use crate::location;
use crate::transport::Transport;

/// Token services answer with a few kilobytes.
const MAX_TOKEN_ANSWER: u64 = 1 << 20;

/// The `Authorization` headers that registries have accepted, by registry and what may be done with them. One that has
/// expired is replaced when the registry says so.
#[derive(Default)]
pub(crate) struct Tokens {
    headers: Mutex<HashMap<(String, Vec<String>), HeaderValue>>,
    /// Identity tokens that logins got, by registry.
    identities: Mutex<HashMap<String, String>>,
}

impl Tokens {
    pub(crate) fn get(&self, ask: Ask<'_>) -> Option<HeaderValue> {
        self.headers.lock().unwrap_or_else(PoisonError::into_inner).get(&Tokens::key(ask)).cloned()
    }

    fn put(&self, ask: Ask<'_>, header: HeaderValue) {
        self.headers.lock().unwrap_or_else(PoisonError::into_inner).insert(Tokens::key(ask), header);
    }

    /// The identity token that a login at `registry` got, if any.
    pub(crate) fn identity(&self, registry: &str) -> Option<String> {
        self.identities.lock().unwrap_or_else(PoisonError::into_inner).get(registry).cloned()
    }

    fn put_identity(&self, registry: &str, token: String) {
        self.identities.lock().unwrap_or_else(PoisonError::into_inner).insert(registry.to_owned(), token);
    }

    fn key(ask: Ask<'_>) -> (String, Vec<String>) {
        (ask.registry.to_owned(), ask.access.scopes(ask.repository))
    }
}

impl Transport {
    /// The `Authorization` header that satisfies the challenge in `response`, a 401 from the registry that speaks
    /// `scheme`. `None` when there is nothing to log in with.
    pub(crate) async fn log_in(
        &self,
        ask: Ask<'_>,
        scheme: &str,
        response: &Response<Incoming>,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let headers = response.headers().get_all(WWW_AUTHENTICATE);
        let challenges: Vec<Challenge> =
            headers.iter().filter_map(|value| value.to_str().ok()).flat_map(challenge::parse).collect();
        let find = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        let credentials = self.credentials(ask).await?;
        let authorization = if let Some(Credentials { secret: Secret::Bearer(token), .. }) = &credentials {
            Some(format!("Bearer {token}"))
        } else if let Some(challenge) = find("bearer") {
            Some(self.token(ask, scheme, challenge, credentials).await?)
        } else if find("basic").is_some() {
            credentials.and_then(|credentials| credentials.basic())
        } else {
            None
        };
        let Some(authorization) = authorization else { return Ok(None) };
        let mut header = HeaderValue::try_from(authorization)
            .map_err(|_| impossible(ask, "its token or your password cannot be sent in a header"))?;
        header.set_sensitive(true);
        self.tokens.put(ask, header.clone());
        Ok(Some(header))
    }

    pub(crate) async fn credentials(&self, ask: Ask<'_>) -> Result<Option<Credentials>, RegistryError> {
        let (source, registry) = (self.options.credentials.clone(), ask.registry.to_owned());
        // A helper may take its time.
        let found = tokio::task::spawn_blocking(move || source.find(&registry)).await;
        let registry = ask.registry.to_owned();
        match found {
            Ok(found) => found.map_err(|source| RegistryError::Credentials { registry, source }),
            // A panic of ours; without credentials the registry decides.
            Err(_) => Ok(None),
        }
    }

    /// Asks the token service that `challenge` names for leave to do what is asked for.
    async fn token(
        &self,
        ask: Ask<'_>,
        scheme: &str,
        challenge: &Challenge,
        credentials: Option<Credentials>,
    ) -> Result<String, RegistryError> {
        let realm = challenge.parameter("realm").ok_or_else(|| impossible(ask, "it names no token service"))?;
        let base: Uri = realm.parse().map_err(|_| impossible(ask, "its token service has no valid address"))?;
        let authority = base.authority().map(|authority| authority.as_str()).unwrap_or_default();
        let is_safe = match base.scheme_str() {
            Some("https") => true,
            // A password must not leave this machine unencrypted, and no remote registry may point at this machine.
            Some("http") => scheme == "http" && location::is_loopback(authority),
            _ => false,
        };
        if !is_safe || authority.contains('@') {
            return Err(impossible(ask, "its token service is not reached over a secure connection"));
        }
        let service = challenge.parameter("service");
        let scopes = ask.access.scopes(ask.repository);
        if let Some(Credentials { secret: Secret::Identity(token), .. }) = &credentials {
            let form = refresh_form(token, service, &scopes);
            let payload = Payload::Document(form.into(), "application/x-www-form-urlencoded".to_owned());
            return self.ask_for_token(ask, &base, Outgoing { method: Method::POST, payload }, credentials).await;
        }
        let mut query: Vec<String> = base.query().map(str::to_owned).into_iter().collect();
        query.extend(service.map(|service| format!("service={}", location::query_escape(service))));
        if ask.access == Access::Login {
            // "Token Authentication Specification", offline_token: an identity token is wanted as well.
            query.extend(["client_id=corten".to_owned(), "offline_token=true".to_owned()]);
        }
        query.extend(scopes.iter().map(|scope| format!("scope={}", location::query_escape(scope))));
        let path = format!("{}?{}", base.path(), query.join("&"));
        let uri =
            location::resolve(&base, &path).ok_or_else(|| impossible(ask, "its token service has no valid address"))?;
        self.ask_for_token(ask, &uri, Outgoing::empty(Method::GET), credentials).await
    }

    async fn ask_for_token(
        &self,
        ask: Ask<'_>,
        uri: &Uri,
        outgoing: Outgoing,
        credentials: Option<Credentials>,
    ) -> Result<String, RegistryError> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            token: Option<String>,
            #[serde(default)]
            access_token: Option<String>,
            #[serde(default)]
            refresh_token: Option<String>,
        }
        let had_credentials = credentials.is_some();
        let basic = credentials.and_then(|credentials| credentials.basic()).map(HeaderValue::try_from).transpose();
        let mut basic = basic.map_err(|_| impossible(ask, "your password cannot be sent in a header"))?;
        if let Some(header) = &mut basic {
            header.set_sensitive(true);
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let service = Ask { path, accept: None, from: 0, ..ask };
        // Redirects are not followed: a token service that moves must say so in the challenge.
        let response = self.send(service, &outgoing, uri, basic, None).await?;
        let (status, registry) = (response.status(), ask.registry.to_owned());
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let message = self.message(service, response.into_body()).await;
            let image = format!("{}/{}", ask.registry, ask.repository);
            return Err(RegistryError::Unauthorized { registry, image, had_credentials, message });
        }
        if !status.is_success() {
            let message = self.message(service, response.into_body()).await;
            return Err(RegistryError::Status { registry, path: path.to_owned(), status, message });
        }
        let body = self.read(service, response.into_body(), MAX_TOKEN_ANSWER).await?;
        let answer: Answer = serde_json::from_slice(&body).map_err(|source| RegistryError::Malformed {
            registry,
            what: "token",
            source,
        })?;
        if ask.access == Access::Login
            && had_credentials
            && let Some(identity) = answer.refresh_token.filter(|token| !token.is_empty())
        {
            self.tokens.put_identity(ask.registry, identity);
        }
        let token = answer.token.filter(|token| !token.is_empty()).or(answer.access_token);
        match token {
            Some(token) => Ok(format!("Bearer {token}")),
            None => Err(impossible(ask, "its token service gives no token")),
        }
    }
}

fn impossible(ask: Ask<'_>, why: &'static str) -> RegistryError {
    RegistryError::Challenge { registry: ask.registry.to_owned(), why }
}

/// What trades a refresh token for an access token (distribution, "Docker Registry v2 authentication using OAuth2").
fn refresh_form(token: &str, service: Option<&str>, scopes: &[String]) -> String {
    let scopes = scopes.join(" ");
    let fields =
        [("grant_type", "refresh_token"), ("client_id", "corten"), ("refresh_token", token), ("scope", &scopes)];
    let fields = fields.into_iter().chain(service.map(|service| ("service", service)));
    let fields: Vec<String> = fields.map(|(name, value)| format!("{name}={}", location::query_escape(value))).collect();
    fields.join("&")
}
