// SPDX-License-Identifier: Apache-2.0
//! Files of a container: what one is, archives of them, and archives extracted into it.

use std::sync::Arc;

use api_types::{PATH_STAT_HEADER, PathStat};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use engine::{Engine, ExtractOptions};

use crate::error::ApiError;
use crate::extract::Parameters;
use crate::{download, upload};

/// `HEAD /containers/NAME/archive?path=…`.
pub(crate) async fn stat(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let stat = engine.stat_path(&name, wanted(&parameters)?).await?;
    told(StatusCode::OK.into_response(), stat)
}

/// `GET /containers/NAME/archive?path=…`.
pub(crate) async fn read(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let archive = engine.archive_path(&name, wanted(&parameters)?).await?;
    let stat = archive.stat.clone();
    told(download::send("copying from a container", move |out| archive.write(out)), stat)
}

/// `PUT /containers/NAME/archive?path=…`.
pub(crate) async fn write(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    parameters: Parameters,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let options =
        ExtractOptions { users: parameters.flag("copyUIDGID"), keep_kinds: parameters.flag("noOverwriteDirNonDir") };
    let destination = engine.destination(&name, wanted(&parameters)?, options).await?;
    upload::receive(request.into_body(), "copying to a container", move |archive| destination.extract(archive)).await?;
    Ok(StatusCode::OK)
}

fn wanted(parameters: &Parameters) -> Result<&str, ApiError> {
    parameters.get("path").ok_or_else(|| ApiError::invalid("path", "bad parameter: 'path' cannot be empty"))
}

fn told(mut response: Response, stat: engine::PathStat) -> Result<Response, ApiError> {
    let stat = PathStat {
        name: stat.name,
        size: stat.size,
        mode: PathStat::go_mode(stat.mode),
        mtime: stat.mtime.to_string(),
        link_target: stat.link_target,
    };
    // Strings and numbers always become JSON, and base64 is always a header's value.
    let json = serde_json::to_vec(&stat).unwrap_or_default();
    if let Ok(value) = HeaderValue::from_str(&BASE64.encode(json)) {
        response.headers_mut().insert(HeaderName::from_static(PATH_STAT_HEADER), value);
    }
    Ok(response)
}
