// SPDX-License-Identifier: Apache-2.0
//! Signatures in registries, and the rules of `corten trust`.

use std::sync::Arc;

use api_types::{RegistrySignatures, RuleKey, SignatureText, TrustRule, TrustRuleRequest};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::Engine;
use image::Images;
use oci::ImageRef;
use trust::{Prefix, PublicKey, Signature};

use super::auth::RegistryAuth;
use super::images::blocking;
use crate::error::ApiError;
use crate::extract::{Body, Parameters};

pub(super) fn images_for(engine: &Engine, name: &ImageRef, RegistryAuth(credentials): RegistryAuth) -> Images {
    match credentials {
        Some(credentials) => engine.images().acting_as(name.registry(), credentials),
        None => engine.images().clone(),
    }
}

/// `GET /corten/v1/images/NAME/signatures`.
pub(super) async fn signatures(engine: &Engine, name: &str, auth: RegistryAuth) -> Result<Response, ApiError> {
    let name: ImageRef = name.parse()?;
    let found = images_for(engine, &name, auth).in_registry(&name).await?;
    // A payload is JSON: what is no text is no payload.
    let text = |signature: Signature| {
        let payload = String::from_utf8(signature.payload).ok()?;
        Some(SignatureText { payload, signature: signature.signature })
    };
    let answer = RegistrySignatures {
        reference: found.name.canonical(),
        digest: found.digest.to_string(),
        signatures: found.signatures.into_iter().filter_map(text).collect(),
    };
    Ok(Json(answer).into_response())
}

/// `POST /corten/v1/images/NAME/signatures`. A name may have slashes.
pub(crate) async fn act(
    State(engine): State<Arc<Engine>>,
    Path(path): Path<String>,
    auth: RegistryAuth,
    Body(request): Body<SignatureText>,
) -> Result<StatusCode, ApiError> {
    let Some((name, "signatures")) = path.rsplit_once('/') else {
        return Err(ApiError::NoRoute(format!("POST /corten/v1/images/{path}")));
    };
    let name: ImageRef = name.parse()?;
    let signature = Signature { payload: request.payload.into_bytes(), signature: request.signature };
    images_for(&engine, &name, auth).add_signature(&name, signature).await?;
    Ok(StatusCode::CREATED)
}

/// `GET /corten/v1/trust`.
pub(crate) async fn rules(State(engine): State<Arc<Engine>>) -> Result<Json<Vec<TrustRule>>, ApiError> {
    let images = engine.images().clone();
    let rules = blocking("list trust rules", move || images.trust_rules()).await?;
    let rules = rules
        .iter()
        .map(|(prefix, keys)| TrustRule { prefix: prefix.to_string(), keys: keys.iter().map(rule_key).collect() });
    Ok(Json(rules.collect()))
}

fn rule_key(key: &PublicKey) -> RuleKey {
    RuleKey { kind: key.kind().to_owned(), fingerprint: key.fingerprint().to_string(), pem: key.to_pem() }
}

/// `POST /corten/v1/trust`.
pub(crate) async fn add_rule(
    State(engine): State<Arc<Engine>>,
    Body(request): Body<TrustRuleRequest>,
) -> Result<StatusCode, ApiError> {
    let prefix = prefix(&request.prefix)?;
    let key = PublicKey::from_pem(&request.key).map_err(|error| ApiError::invalid("Key", error.to_string()))?;
    let images = engine.images().clone();
    blocking("add a trust rule", move || images.add_trust_rule(&prefix, key)).await?;
    Ok(StatusCode::CREATED)
}

/// `DELETE /corten/v1/trust?prefix=…`.
pub(crate) async fn remove_rule(
    State(engine): State<Arc<Engine>>,
    parameters: Parameters,
) -> Result<StatusCode, ApiError> {
    let prefix = prefix(parameters.get("prefix").unwrap_or_default())?;
    let images = engine.images().clone();
    blocking("remove a trust rule", move || images.remove_trust_rule(&prefix)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn prefix(text: &str) -> Result<Prefix, ApiError> {
    text.parse().map_err(|error: trust::PrefixError| ApiError::invalid("prefix", error.to_string()))
}
