// SPDX-License-Identifier: Apache-2.0
//! What a container uses: once, or every second as long as the client listens.

use std::sync::Arc;
use std::time::Duration;

use api_types::ContainerUsage;
use axum::Json;
use axum::body::{Body as HttpBody, Bytes};
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use engine::{Engine, Sample};
use errors::{Classify, Kind};
use futures_util::stream;
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};

use crate::convert::from_sample;
use crate::error::ApiError;
use crate::extract::Parameters;

/// From one sample to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// `GET /containers/NAME/stats?stream=…&one-shot=…`.
pub(crate) async fn stats(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let streaming = parameters.get("stream").is_none() || parameters.flag("stream");
    let one_shot = parameters.flag("one-shot");
    if streaming && one_shot {
        return Err(ApiError::invalid("one-shot", "cannot have stream=true and one-shot=true"));
    }
    // It is this container that is meant, whatever is called so later.
    let id = engine.container(&name)?.id.to_string();
    let first = engine.stats(&id).await?;
    if streaming {
        return Ok(every_second(engine, id, first));
    }
    // The share of a processor takes two samples; of what does not run there is none.
    if one_shot || first.counters.is_none() {
        return Ok(Json(from_sample::stats(&first, None)).into_response());
    }
    sleep(INTERVAL).await;
    let second = engine.stats(&id).await?;
    Ok(Json(from_sample::stats(&second, Some(&first))).into_response())
}

/// `GET /corten/v1/stats?all=…`, or `?container=NAME&container=NAME…&skip-missing=…`: what many use, in one pass.
pub(crate) async fn usage(
    State(engine): State<Arc<Engine>>,
    parameters: Parameters,
) -> Result<Json<Vec<ContainerUsage>>, ApiError> {
    let names: Vec<String> = parameters.all("container").map(str::to_owned).collect();
    let samples = if names.is_empty() {
        engine.stats_of_all(parameters.flag("all")).await?
    } else {
        engine.stats_of(names, parameters.flag("skip-missing")).await?
    };
    Ok(Json(samples.into_iter().map(|(asked, sample)| from_sample::usage(asked, &sample)).collect()))
}

/// What is told next, and what was told before it.
struct Next {
    at: Instant,
    sample: Option<Sample>,
    previous: Option<Sample>,
}

/// A line of JSON a second. It ends with the container, or when its reader has gone.
fn every_second(engine: Arc<Engine>, id: String, first: Sample) -> Response {
    let next = Next { at: Instant::now(), sample: Some(first), previous: None };
    let lines = stream::unfold(next, move |mut next| {
        let (engine, id) = (Arc::clone(&engine), id.clone());
        async move {
            sleep_until(next.at).await;
            let sample = match next.sample.take() {
                Some(sample) => Ok(sample),
                None => engine.stats(&id).await,
            };
            let sample = match sample {
                Ok(sample) => sample,
                Err(error) if error.kind() == Kind::NotFound => return None,
                Err(error) => {
                    tracing::error!(error = errors::chain(&error), "counters cannot be read any more");
                    return Some((Err(error), Next { at: next.at + INTERVAL, sample: None, previous: None }));
                }
            };
            let told = line(&from_sample::stats(&sample, next.previous.as_ref()));
            Some((Ok(told), Next { at: next.at + INTERVAL, sample: None, previous: Some(sample) }))
        }
    });
    ([(CONTENT_TYPE, "application/json")], HttpBody::from_stream(lines)).into_response()
}

fn line(value: &Value) -> Bytes {
    format!("{value}\n").into()
}
