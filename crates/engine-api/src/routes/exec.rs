// SPDX-License-Identifier: Apache-2.0
//! Docker's exec: create, start, inspect, resize.

use std::sync::Arc;

use api_types::docker::{ExecConfig, ExecInspectResponse, ExecStartConfig, ProcessConfig};
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::{Engine, Output};
use errors::{Classify as _, Kind};
use serde_json::{Value, json};
use shim::frame;
use tokio::io::AsyncWriteExt as _;

use super::attach::{content_type, detach_keys};
use super::containers::size;
use crate::convert::{complete, to_spec};
use crate::error::ApiError;
use crate::extract::{Body, Parameters};
use crate::hijack::Carrier;
use crate::version::Version;

pub(crate) async fn create(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    Body(config): Body<ExecConfig>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    detach_keys(config.detach_keys.as_deref())?;
    let id = engine.exec_create(&name, to_spec::exec(config)?)?;
    Ok((StatusCode::CREATED, Json(json!({ "Id": id }))))
}

pub(crate) async fn start(
    State(engine): State<Arc<Engine>>,
    Path(id): Path<String>,
    version: Version,
    request: Request,
) -> Result<Response, ApiError> {
    let (mut parts, body) = request.into_parts();
    // Only a start that is not detached takes the connection over; which it is, the body says.
    let carrier = Carrier::of(&mut parts);
    let Body(config) = Body::<ExecStartConfig>::from_parts(body).await?;
    // Before 1.42 it was said by a resize.
    if let Some(size) = to_spec::console_size(config.console_size.as_deref()).filter(|_| !version.is_before(42)) {
        engine.exec_sized(&id, size)?;
    }
    if config.detach == Some(true) {
        if let Some(session) = engine.exec_start(&id).await? {
            // It was made to be attached to: its output has to go somewhere.
            let nobody = tokio::io::join(tokio::io::empty(), tokio::io::sink());
            tokio::spawn(session.copy_docker(nobody, std::future::pending(), Output::Raw));
        }
        return Ok(StatusCode::OK.into_response());
    }
    let spec = engine.exec_inspect(&id)?.spec;
    carrier.check(spec.stdin)?;
    let keys = detach_keys(spec.detach_keys.as_deref())?;
    let session = match engine.exec_start(&id).await {
        Ok(session) => session,
        // It was tried: Docker's clients read why it failed from the stream, and the exit code from the exec.
        Err(error) if error.kind() != Kind::Conflict && engine.exec_inspect(&id)?.exit_code.is_some() => {
            let text = format!("{}\r\n", errors::chain(&error));
            let said = match spec.tty {
                true => text.into_bytes(),
                false => frame::encode(frame::Kind::Stdout, text.as_bytes())
                    .map_err(|error| ApiError::invalid("Cmd", error.to_string()))?,
            };
            return Ok(carrier.carry(content_type(spec.tty, version), |mut client| async move {
                client.write_all(&said).await?;
                client.shutdown().await
            }));
        }
        Err(error) => return Err(error.into()),
    };
    let session = session.ok_or_else(|| ApiError::invalid("Detach", "this exec was created without any stream"))?;
    let session = session.left_by(keys);
    let output = if session.tty() { Output::Raw } else { Output::Multiplexed };
    Ok(carrier.carry(content_type(session.tty(), version), move |mut client| {
        let hung_up = client.hung_up();
        session.copy_docker(client, hung_up, output)
    }))
}

pub(crate) async fn inspect(
    State(engine): State<Arc<Engine>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let view = engine.exec_inspect(&id)?;
    let (entrypoint, arguments) = view.spec.command.split_first().map_or(("", &[][..]), |(e, a)| (e.as_str(), a));
    let answer = ExecInspectResponse {
        can_remove: Some(false),
        detach_keys: Some(view.spec.detach_keys.unwrap_or_default()),
        id: Some(view.id),
        running: Some(view.running),
        exit_code: view.exit_code.map(i64::from),
        process_config: Some(ProcessConfig {
            tty: Some(view.spec.tty),
            entrypoint: Some(entrypoint.to_owned()),
            arguments: Some(arguments.to_vec()),
            user: Some(view.spec.user.clone().unwrap_or_default()),
            privileged: Some(view.spec.privileged),
        }),
        open_stdin: Some(view.spec.stdin),
        open_stdout: Some(!view.spec.detach),
        open_stderr: Some(!view.spec.detach),
        container_id: Some(view.container.to_string()),
        pid: Some(view.pid.unwrap_or(0).into()),
    };
    let mut answer = serde_json::to_value(answer).map_err(ApiError::Answer)?;
    complete::exec(&mut answer);
    Ok(Json(answer))
}

pub(crate) async fn resize(
    State(engine): State<Arc<Engine>>,
    Path(id): Path<String>,
    parameters: Parameters,
) -> Result<StatusCode, ApiError> {
    let (rows, cols) = size(&parameters)?;
    engine.exec_resize(&id, rows, cols).await?;
    Ok(StatusCode::OK)
}
