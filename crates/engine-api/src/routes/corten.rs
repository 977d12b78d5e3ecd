// SPDX-License-Identifier: Apache-2.0
//! Corten's own routes: one round trip for what Docker's API takes several, and the shim's frames as they are.

use std::sync::Arc;

use api_types::explain::Explanation;
use api_types::{
    AttachRequest, CONTAINER_HEADER, ExecRequest, ExecResponse, RunRequest, RunResponse, TracedStep, WARNING_HEADER,
};
use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use engine::{AttachOptions, Engine, RunOptions, Session};
use shim::frame::{self, Kind};
use tokio::io::AsyncWriteExt;

use crate::convert::{old_wishes, to_spec};
use crate::error::ApiError;
use crate::extract::Body;
use crate::hijack::Hijack;
use crate::routes::containers::check_platform;
use crate::version::Version;

pub(crate) async fn run(State(engine): State<Arc<Engine>>, request: Request) -> Result<Response<HttpBody>, ApiError> {
    let (mut parts, body) = request.into_parts();
    let hijack = Hijack::from_request_parts(&mut parts, &()).await;
    let Body(request) = Body::<RunRequest>::from_parts(body).await?;
    let (mut spec, warnings) = old_wishes::container(Version::UNNAMED, request.config, request.name)?;
    if let Some(size) = request.size {
        spec.console_size = Some((size.rows, size.cols));
    }
    spec.client_start_ns = Some(request.client_start_ns).filter(|at| *at != 0);
    check_platform(&engine, &spec.image, request.platform.as_deref()).await?;
    // Whoever cannot be streamed to is told before anything is started.
    let hijack = if request.detach { None } else { Some(hijack?) };

    let options = RunOptions { attach: hijack.is_some(), trace: request.trace, steps: Vec::new() };
    let mut ran = engine.run(spec, options).await?;
    ran.warnings.extend(warnings);
    let (Some(hijack), Some(session)) = (hijack, ran.session) else {
        let steps = ran.started.steps.into_iter();
        let steps = steps.map(|step| TracedStep { name: step.name, at_ns: step.at_ns }).collect();
        let answer = RunResponse { id: ran.id.to_string(), warnings: ran.warnings, steps };
        return Ok((StatusCode::CREATED, Json(answer)).into_response());
    };
    let started = request.trace.then(|| started_frame(&ran.started)).transpose()?;
    let mut response = hijack.frames(move |mut client| async move {
        if let Some(frame) = started {
            client.write_all(&frame).await?;
        }
        session.copy_frames(client).await
    })?;
    let headers = response.headers_mut();
    // An id is hexadecimal.
    if let Ok(id) = HeaderValue::from_str(ran.id.as_str()) {
        headers.insert(CONTAINER_HEADER, id);
    }
    for warning in &ran.warnings {
        if let Ok(warning) = HeaderValue::from_str(warning) {
            headers.append(WARNING_HEADER, warning);
        }
    }
    Ok(response)
}

/// The frame that tells of the start with all steps, those before the shim's included.
fn started_frame(started: &shim::Started) -> Result<Vec<u8>, ApiError> {
    let message = serde_json::to_vec(started).map_err(ApiError::Body)?;
    frame::encode(Kind::Started, &message).map_err(|error| ApiError::invalid("trace", error.to_string()))
}

pub(crate) async fn exec(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response<HttpBody>, ApiError> {
    let (mut parts, body) = request.into_parts();
    let hijack = Hijack::from_request_parts(&mut parts, &()).await;
    let Body(request) = Body::<ExecRequest>::from_parts(body).await?;
    let mut spec = to_spec::exec(request.config)?;
    spec.detach = request.detach;
    if let Some(size) = request.size {
        spec.console_size = Some((size.rows, size.cols));
    }
    let hijack = if request.detach { None } else { Some(hijack?) };
    let id = engine.exec_create(&name, spec)?;
    let session = engine.exec_start(&id).await?;
    match (hijack, session) {
        (Some(hijack), Some(session)) => frames(hijack, session, None),
        _ => Ok((StatusCode::CREATED, Json(ExecResponse { id })).into_response()),
    }
}

pub(crate) async fn attach(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    hijack: Hijack,
    Body(request): Body<AttachRequest>,
) -> Result<Response<HttpBody>, ApiError> {
    let record = engine.inspect(&name)?;
    let session = match (record.state.running(), request.start) {
        (None, true) => engine.start_attached(record.id.as_str()).await?,
        (None, false) => {
            return Err(ApiError::Stopped { name: record.name, status: record.state.status() });
        }
        (Some(_), _) => {
            let streams = request.streams;
            let options = AttachOptions { stdin: streams.stdin, stdout: streams.stdout, stderr: streams.stderr };
            engine.attach(record.id.as_str(), options).await?
        }
    };
    frames(hijack, session, Some(record.id.as_str()))
}

/// `GET /corten/v1/containers/NAME/explain`.
pub(crate) async fn explain(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
) -> Result<Json<Explanation>, ApiError> {
    Ok(Json(engine.explain(&name).await?))
}

fn frames(hijack: Hijack, session: Session, id: Option<&str>) -> Result<Response<HttpBody>, ApiError> {
    let mut response = hijack.frames(move |client| session.copy_frames(client))?;
    if let Some(Ok(id)) = id.map(HeaderValue::from_str) {
        response.headers_mut().insert(CONTAINER_HEADER, id);
    }
    Ok(response)
}
