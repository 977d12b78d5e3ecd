// SPDX-License-Identifier: Apache-2.0
//! Who asks a registry: the credentials in `X-Registry-Auth`, and `POST /auth`, which tries some.

use std::sync::Arc;

use api_types::docker::AuthResponse;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use engine::Engine;
use registry_client::Credentials;
use serde::Deserialize;

use crate::error::ApiError;

/// The credentials that a client sends along, if any.
pub(crate) struct RegistryAuth(pub(crate) Option<Credentials>);

impl<S: Send + Sync> FromRequestParts<S> for RegistryAuth {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<RegistryAuth, ApiError> {
        let Some(header) = parts.headers.get("x-registry-auth") else { return Ok(RegistryAuth(None)) };
        match Credentials::from_header(header.as_bytes()) {
            Ok(credentials) => Ok(RegistryAuth(credentials)),
            Err(error) => Err(ApiError::invalid("X-Registry-Auth", error.to_string())),
        }
    }
}

/// Tries the credentials in the body at the registry in it. Nothing is stored: that is the client's part.
pub(crate) async fn check(State(engine): State<Arc<Engine>>, body: Bytes) -> Result<Json<AuthResponse>, ApiError> {
    #[derive(Deserialize)]
    struct Server {
        #[serde(default)]
        serveraddress: String,
    }
    let server: Server = serde_json::from_slice(&body).map_err(ApiError::Body)?;
    let wrong = |problem: &str| ApiError::invalid("body", problem);
    let credentials = Credentials::from_json(&body).map_err(|error| wrong(&error.to_string()))?;
    let credentials = credentials.ok_or_else(|| wrong("it has no user name and no token"))?;
    let registry = oci::registry_of(&server.serveraddress)?;
    let identity_token = engine.images().acting_as(&registry, credentials).check_login(&registry).await?;
    Ok(Json(AuthResponse { status: "Login Succeeded".to_owned(), identity_token }))
}
