// SPDX-License-Identifier: Apache-2.0
//! Networks: list, inspect, create, remove, connect, disconnect, prune.

use std::sync::Arc;

use api_types::docker::{
    NetworkConnectRequest, NetworkCreateRequest, NetworkCreateResponse, NetworkDisconnectRequest, NetworkInspect,
    NetworkPruneResponse,
};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use engine::Engine;

use crate::convert::{by_version, endpoints, networks};
use crate::error::ApiError;
use crate::extract::{Body, Parameters};
use crate::filters::Filters;
use crate::version::Version;

/// The version whose lists do not tell of members any more.
const SUMMARIES: u32 = 28;
/// The version whose lists have no place for members any more, and that tells how many addresses are in use.
const STATUS: u32 = 52;

pub(crate) async fn list(
    State(engine): State<Arc<Engine>>,
    version: Version,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let networks = engine.select_networks(&Filters::of(&parameters)?.into_networks()?)?;
    if !version.has_what_went_with(STATUS) {
        return Ok(Json(networks.iter().map(networks::summary).collect::<Vec<_>>()).into_response());
    }
    // Older clients look for the containers of each, which are told only to the oldest.
    let members = |network: &engine::Network| match version.is_before(SUMMARIES) {
        true => engine.members(&network.id),
        false => Vec::new(),
    };
    let mut whole: Vec<_> = networks.iter().map(|network| networks::inspect(network, &members(network))).collect();
    by_version::networks(version, &mut whole);
    Ok(Json(whole).into_response())
}

/// `verbose` tells of services of a swarm, of which there are none.
pub(crate) async fn inspect(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    version: Version,
    parameters: Parameters,
) -> Result<Json<NetworkInspect>, ApiError> {
    let network = engine.find_network(&name)?;
    if parameters.get("scope").is_some_and(|scope| scope != "local") {
        return Err(ApiError::invalid("scope", format!("the network {name} is local, as all networks here are")));
    }
    let members = engine.members(&network.id);
    let status = (!version.is_before(STATUS)).then(|| networks::status(&network, &members));
    let mut answer = [NetworkInspect { status, ..networks::inspect(&network, &members) }];
    by_version::networks(version, &mut answer);
    let [answer] = answer;
    Ok(Json(answer))
}

pub(crate) async fn create(
    State(engine): State<Arc<Engine>>,
    Body(body): Body<NetworkCreateRequest>,
) -> Result<(StatusCode, Json<NetworkCreateResponse>), ApiError> {
    let made = engine.create_network(networks::spec(body)?).await?;
    let answer = NetworkCreateResponse { id: made.id.to_string(), warning: String::new() };
    Ok((StatusCode::CREATED, Json(answer)))
}

pub(crate) async fn remove(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    engine.remove_network(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn connect(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    Body(body): Body<NetworkConnectRequest>,
) -> Result<StatusCode, ApiError> {
    let wish = endpoints::wish(&body.endpoint_config.unwrap_or_default())?;
    engine.connect(&name, &body.container, wish).await?;
    Ok(StatusCode::OK)
}

pub(crate) async fn disconnect(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    Body(body): Body<NetworkDisconnectRequest>,
) -> Result<StatusCode, ApiError> {
    engine.disconnect(&name, &body.container, body.force.unwrap_or(false)).await?;
    Ok(StatusCode::OK)
}

pub(crate) async fn prune(
    State(engine): State<Arc<Engine>>,
    parameters: Parameters,
) -> Result<Json<NetworkPruneResponse>, ApiError> {
    let filters = Filters::of(&parameters)?.into_network_prune()?;
    let removed = engine.prune_networks(move |network| filters.admit(network)).await?;
    Ok(Json(NetworkPruneResponse { networks_deleted: Some(removed) }))
}

/// A route that is the name of a network as well, which can be asked for and removed.
pub(crate) fn namesake(route: MethodRouter<Arc<Engine>>) -> MethodRouter<Arc<Engine>> {
    let inspect = |state: State<Arc<Engine>>, uri: Uri, version: Version, parameters: Parameters| async move {
        inspect(state, Path(super::namesake(&uri)), version, parameters).await
    };
    let remove = |state: State<Arc<Engine>>, uri: Uri| async move { remove(state, Path(super::namesake(&uri))).await };
    route.get(inspect).delete(remove)
}
