// SPDX-License-Identifier: Apache-2.0
//! The protocol over HTTP: connections, routes, and one file for each kind of thing that is asked for.

mod answer;
mod blobs;
mod body;
mod connection;
mod idle;
mod lists;
mod manifests;
mod query;
mod range;
mod route;
mod uploads;

use std::sync::Arc;

use http::{Method, Request, Response};
use hyper::body::Incoming;

use crate::error::ApiError;
use crate::registry::Registry;

pub(crate) use answer::received;
pub(crate) use body::Body;
pub(crate) use connection::serve;

use query::Query;
use route::{Route, Target};

/// The answer to a request, whatever happens.
async fn answer(registry: &Arc<Registry>, request: Request<Incoming>) -> Response<Body> {
    match dispatch(registry, request).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn dispatch(registry: &Arc<Registry>, request: Request<Incoming>) -> Result<Response<Body>, ApiError> {
    let Target { route, .. } = Target::of(request.uri().path())?;
    let query = Query::of(request.uri());
    let method = request.method().clone();
    if registry.options.read_only && !matches!(method, Method::GET | Method::HEAD) {
        return Err(ApiError::ReadOnly);
    }
    match (route, &method) {
        (Route::Base, &Method::GET | &Method::HEAD) => Ok(answer::support()),
        (Route::Catalog, &Method::GET) => lists::catalog(registry, &query).await,
        (Route::Tags(name), &Method::GET) => lists::tags(registry, &name, &query).await,
        (Route::Referrers(name, subject), &Method::GET) => lists::referrers(registry, &name, &subject, &query).await,
        (Route::Manifest(name, reference), &Method::GET | &Method::HEAD) => {
            manifests::get(registry, &name, &reference, &request).await
        }
        (Route::Manifest(name, reference), &Method::PUT) => {
            manifests::put(registry, &name, &reference, &query, request).await
        }
        (Route::Manifest(name, reference), &Method::DELETE) => manifests::delete(registry, &name, &reference).await,
        (Route::Blob(name, digest), &Method::GET | &Method::HEAD) => {
            blobs::get(registry, &name, &digest, &request).await
        }
        (Route::Blob(name, digest), &Method::DELETE) => blobs::delete(registry, &name, &digest).await,
        (Route::Uploads(name), &Method::POST) => uploads::begin(registry, &name, &query, request).await,
        (Route::Upload(name, id), &Method::GET | &Method::HEAD) => uploads::status(registry, &name, id).await,
        (Route::Upload(name, id), &Method::PATCH) => uploads::patch(registry, &name, id, request).await,
        (Route::Upload(name, id), &Method::PUT) => uploads::finish(registry, &name, id, &query, request).await,
        (Route::Upload(name, id), &Method::DELETE) => uploads::cancel(registry, &name, id).await,
        (route, _) => Err(ApiError::Method { method, allow: route.methods() }),
    }
}

/// Runs what may wait for the disk where waiting harms nobody.
async fn blocking<T, E>(job: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, ApiError>
where
    T: Send + 'static,
    E: Into<ApiError> + Send + 'static,
{
    match tokio::task::spawn_blocking(job).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(ApiError::Worker),
    }
}
