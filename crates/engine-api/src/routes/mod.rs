// SPDX-License-Identifier: Apache-2.0
//! The table of routes. Each handler validates, calls one method of the engine and translates the answer.

mod absent;
mod archives;
mod attach;
mod auth;
mod changes;
mod containers;
mod corten;
mod distribution;
mod events;
mod exec;
mod files;
pub(crate) mod images;
mod leases;
mod logs;
#[cfg(test)]
mod mutated;
mod networks;
mod platforms;
mod plugins;
mod ports;
mod progress;
mod pull;
mod push;
mod stats;
mod store;
mod swarm;
mod system;
mod top;
mod trust;
mod volumes;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use engine::Engine;

use crate::error::ApiError;
use crate::extract::BODY_LIMIT;
use crate::metrics;

/// All routes.
pub(crate) fn router(engine: Arc<Engine>) -> Router {
    Router::new()
        .route("/metrics", get(metrics::metrics))
        .route("/_ping", get(system::ping).head(system::ping))
        .route("/version", get(system::version))
        .route("/info", get(system::info))
        .route("/events", get(events::events))
        .route("/containers/json", containers::namesake(get(containers::list)))
        .route("/containers/create", containers::namesake(post(containers::create)))
        .route("/containers/prune", containers::namesake(post(containers::prune)))
        .route("/containers/{name}", delete(containers::remove))
        .route("/containers/{name}/json", get(containers::inspect))
        .route("/containers/{name}/start", post(containers::start))
        .route("/containers/{name}/stop", post(containers::stop))
        .route("/containers/{name}/restart", post(containers::restart))
        .route("/containers/{name}/kill", post(containers::kill))
        .route("/containers/{name}/pause", post(containers::pause))
        .route("/containers/{name}/unpause", post(containers::unpause))
        .route("/containers/{name}/rename", post(containers::rename))
        .route("/containers/{name}/update", post(containers::update))
        .route("/containers/{name}/wait", post(containers::wait))
        .route("/containers/{name}/resize", post(containers::resize))
        .route("/containers/{name}/stats", get(stats::stats))
        .route("/containers/{name}/top", get(top::top))
        .route("/containers/{name}/logs", get(logs::logs))
        .route("/containers/{name}/attach", post(attach::attach))
        .route("/containers/{name}/attach/ws", get(attach::websocket))
        .route("/containers/{name}/exec", post(exec::create))
        .route("/exec/{id}/start", post(exec::start))
        .route("/exec/{id}/json", get(exec::inspect))
        .route("/exec/{id}/resize", post(exec::resize))
        .route("/containers/{name}/changes", get(changes::changes))
        .route("/containers/{name}/export", get(archives::export))
        .route("/containers/{name}/archive", get(files::read).head(files::stat).put(files::write))
        .route("/commit", post(archives::commit))
        .route("/images/json", images::namesake(get(images::list)))
        .route("/images/create", images::namesake(post(pull::create)))
        .route("/images/prune", images::namesake(post(store::prune_images)))
        .route("/system/df", get(store::usage))
        .route("/corten/v1/system/check", get(store::check))
        .route("/corten/v1/images/{*name}", get(store::about_image).post(trust::act))
        .route("/corten/v1/trust", get(trust::rules).post(trust::add_rule).delete(trust::remove_rule))
        .route(api_types::LEASES_ROUTE, get(leases::list).post(leases::create))
        .route("/corten/v1/leases/{id}", delete(leases::remove))
        .route("/corten/v1/leases/{id}/resources", put(leases::add))
        .route("/images/get", images::namesake(get(archives::save)))
        .route("/images/load", images::namesake(post(archives::load)))
        // An image's name may have slashes.
        .route("/images/{*name}", get(images::about).post(images::act).delete(images::remove))
        .route("/volumes", get(volumes::list))
        .route(
            "/volumes/{*name}",
            get(volumes::inspect).post(volumes::act).put(volumes::update).delete(volumes::remove),
        )
        .route("/networks", get(networks::list))
        .route("/networks/create", networks::namesake(post(networks::create)))
        .route("/networks/prune", networks::namesake(post(networks::prune)))
        .route("/networks/{name}", get(networks::inspect).delete(networks::remove))
        .route("/networks/{name}/connect", post(networks::connect))
        .route("/networks/{name}/disconnect", post(networks::disconnect))
        .route("/auth", post(auth::check))
        .route("/distribution/{*name}", get(distribution::about))
        .merge(absent::routes())
        .merge(plugins::routes())
        .merge(swarm::routes())
        .route(api_types::RUN_ROUTE, post(corten::run))
        .route(api_types::USAGE_ROUTE, get(stats::usage))
        .route("/corten/v1/containers/{name}/exec", post(corten::exec))
        .route("/corten/v1/containers/{name}/attach", post(corten::attach))
        .route("/corten/v1/containers/{name}/explain", get(corten::explain))
        .route("/corten/v1/containers/{name}/ports", post(ports::change))
        .fallback(no_route)
        .method_not_allowed_fallback(no_route)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn(metrics::note))
        .with_state(engine)
}

/// The last word of a path that is a route, and may be the name of something as well: Docker tells the two apart by the method.
fn namesake(uri: &Uri) -> String {
    uri.path().rsplit('/').next().unwrap_or_default().to_owned()
}

async fn no_route(method: Method, uri: Uri) -> Response {
    // A browser's question before a request to another site: it is told nothing that would allow it.
    if method == Method::OPTIONS {
        return StatusCode::OK.into_response();
    }
    ApiError::NoRoute(format!("{method} {}", uri.path())).into_response()
}
