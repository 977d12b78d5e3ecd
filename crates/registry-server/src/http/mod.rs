// SPDX-License-Identifier: Apache-2.0
//! The protocol over HTTP: connections, routes, and one file for each kind of thing that is asked for.

mod answer;
mod blobs;
mod blocks;
mod body;
mod connection;
mod exchange;
mod idle;
mod lists;
mod manifests;
mod pass;
mod query;
mod range;
mod route;
mod uploads;

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Method, Request, Response};
use hyper::body::Incoming;

use crate::auth::Door;
use crate::error::ApiError;
use crate::metrics::Stored;
use crate::registry::Registry;
use crate::storage::StorageError;

pub(crate) use answer::received;
pub(crate) use blocks::Blocks;
pub(crate) use body::{Body, ROOM};
pub(crate) use connection::serve;

use exchange::{Exchange, Watched};
use query::Query;
pub(crate) use route::ManifestReference;
use route::Route;

/// The answer to a request, whatever happens.
async fn answer(registry: &Arc<Registry>, client: SocketAddr, request: Request<Incoming>) -> Response<Watched> {
    let mut exchange = Exchange::begin(registry, client, &request);
    let response = match dispatch(registry, request, &mut exchange).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    };
    exchange.answer(response)
}

async fn dispatch(
    registry: &Arc<Registry>,
    request: Request<Incoming>,
    exchange: &mut Exchange,
) -> Result<Response<Body>, ApiError> {
    let route = Route::of(request.uri().path())?;
    exchange.route = route.name();
    let door = Door::of(request.headers(), registry.options.tls.is_some(), exchange.client.ip());
    if route == Route::Pass && request.method() == Method::GET {
        // Whoever comes for a pass has none yet.
        return pass::give(registry, &request, &door, exchange).await;
    }
    let wanted = route.wanted(request.method());
    let caller = registry.options.access.identify(request.headers(), &door, wanted).await?;
    exchange.user.clone_from(&caller.name);
    caller.check(&door, wanted)?;
    let method = request.method().clone();
    if registry.options.read_only && !matches!(method, Method::GET | Method::HEAD) {
        return Err(ApiError::ReadOnly);
    }
    let query = Query::of(request.uri());
    match (route, &method) {
        (Route::Base, &Method::GET | &Method::HEAD) => Ok(answer::support()),
        (Route::Metrics, &Method::GET) => metrics(registry).await,
        (Route::Catalog, &Method::GET) => lists::catalog(registry, &caller, &query).await,
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
        (Route::Uploads(name), &Method::POST) => uploads::begin(registry, &caller, &name, &query, request).await,
        (Route::Upload(name, id), &Method::GET | &Method::HEAD) => uploads::status(registry, &name, id).await,
        (Route::Upload(name, id), &Method::PATCH) => uploads::patch(registry, &name, id, request).await,
        (Route::Upload(name, id), &Method::PUT) => uploads::finish(registry, &name, id, &query, request).await,
        (Route::Upload(name, id), &Method::DELETE) => uploads::cancel(registry, &name, id).await,
        (route, _) => Err(ApiError::Method { method, allow: route.methods() }),
    }
}

/// GET `/metrics`.
async fn metrics(registry: &Arc<Registry>) -> Result<Response<Body>, ApiError> {
    let (storage, uploads) = (Arc::clone(&registry.storage), registry.uploads.clone());
    let stored = blocking(move || {
        let (blobs, bytes, repositories) = storage.totals()?;
        Ok::<_, StorageError>(Stored { blobs, bytes, repositories, uploads: uploads.count()? })
    })
    .await?;
    Ok(answer::json(::metrics::CONTENT_TYPE, registry.metrics.render(stored)))
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
