// SPDX-License-Identifier: Apache-2.0
//! The daemon and its host.

use std::sync::Arc;

use api_types::docker::{SystemVersion, SystemVersionComponents, SystemVersionPlatform};
use api_types::{API_VERSION, MIN_API_VERSION};
use axum::Json;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, HeaderName, PRAGMA};
use axum::response::IntoResponse;
use engine::Engine;
use serde_json::Value;

use crate::convert::{by_version, complete, from_info};
use crate::error::ApiError;
use crate::version::Version;

/// What this node is to a swarm, by Docker's word.
const SWARM: HeaderName = HeaderName::from_static("swarm");

/// What Go calls this machine.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

pub(crate) async fn ping() -> impl IntoResponse {
    let headers = [(SWARM, "inactive"), (CACHE_CONTROL, "no-cache, no-store, must-revalidate"), (PRAGMA, "no-cache")];
    (headers, "OK")
}

pub(crate) async fn version(State(engine): State<Arc<Engine>>) -> Json<SystemVersion> {
    let version = env!("CARGO_PKG_VERSION");
    let kernel = engine.info().kernel;
    // Newer clients look only here.
    let details = [
        ("ApiVersion", API_VERSION),
        ("MinAPIVersion", MIN_API_VERSION),
        ("Os", "linux"),
        ("Arch", architecture()),
        ("KernelVersion", &kernel),
        ("Experimental", "false"),
    ];
    Json(SystemVersion {
        platform: Some(SystemVersionPlatform { name: "Corten".into() }),
        components: Some(vec![SystemVersionComponents {
            name: "Engine".into(),
            version: version.into(),
            details: Some(details.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
        }]),
        version: Some(version.into()),
        api_version: Some(API_VERSION.into()),
        min_api_version: Some(MIN_API_VERSION.into()),
        os: Some("linux".into()),
        arch: Some(architecture().into()),
        kernel_version: Some(kernel.clone()),
        ..SystemVersion::default()
    })
}

pub(crate) async fn info(State(engine): State<Arc<Engine>>, version: Version) -> Result<Json<Value>, ApiError> {
    let mut answer = serde_json::to_value(from_info::info(engine.info())).map_err(ApiError::Answer)?;
    complete::info(&mut answer);
    by_version::info(version, &mut answer);
    Ok(Json(answer))
}
