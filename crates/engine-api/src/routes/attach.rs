// SPDX-License-Identifier: Apache-2.0
//! Docker's attach: a hijacked stream, raw from a terminal, else framed.

use std::sync::Arc;

use axum::body::Body as HttpBody;
use axum::extract::{Path, State};
use axum::http::Response;
use engine::{AttachOptions, Engine, Output};

use crate::error::ApiError;
use crate::extract::Parameters;
use crate::hijack::Hijack;

/// What a terminal's stream is called.
pub(crate) const RAW: &str = "application/vnd.docker.raw-stream";
/// What a framed stream is called.
pub(crate) const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";

pub(crate) async fn attach(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    parameters: Parameters,
    hijack: Hijack,
) -> Result<Response<HttpBody>, ApiError> {
    if parameters.flag("logs") {
        return Err(ApiError::Unsupported("logs (ask for the logs first, then attach)".into()));
    }
    if !parameters.flag("stream") {
        return Err(ApiError::invalid("stream", "must be set"));
    }
    let options = AttachOptions {
        stdin: parameters.flag("stdin"),
        stdout: parameters.flag("stdout"),
        stderr: parameters.flag("stderr"),
    };
    let session = engine.attach(&name, options).await?;
    let (output, content_type) = if session.tty() { (Output::Raw, RAW) } else { (Output::Multiplexed, MULTIPLEXED) };
    Ok(hijack.switch(content_type, move |client| session.copy_docker(client, output)))
}
