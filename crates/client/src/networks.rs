// SPDX-License-Identifier: Apache-2.0
//! What can be asked about networks. `name` is a name, an id, or a unique beginning of an id.

use api_types::docker::{
    EndpointSettings, Network, NetworkConnectRequest, NetworkCreateRequest, NetworkCreateResponse,
    NetworkDisconnectRequest, NetworkPruneResponse,
};
use bytes::Bytes;
use http::Method;

use crate::body::RequestBody;
use crate::error::ClientError;
use crate::images::{Filter, filters_json};
use crate::transport::Client;
use crate::url::{Path, encode};

fn path_of(name: &str, verb: &str) -> String {
    format!("/networks/{}{verb}", encode(name))
}

impl Client {
    /// The networks that the filters let through.
    ///
    /// # Errors
    /// The daemon cannot be reached, or there is no such filter.
    pub async fn list_networks(&self, filters: &[Filter]) -> Result<Vec<Network>, ClientError> {
        let path = Path::new("/networks").with_some("filters", filters_json(filters));
        self.json(Method::GET, &path.into_string(), RequestBody::Empty).await
    }

    /// All about a network, as the daemon's JSON.
    ///
    /// # Errors
    /// The daemon cannot be reached; there is no such network.
    pub async fn inspect_network_json(&self, name: &str, verbose: bool) -> Result<Bytes, ClientError> {
        self.bytes(Method::GET, &Path::new(path_of(name, "")).with_flag("verbose", verbose).into_string()).await
    }

    /// Make a network.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses: the name is taken, addresses are, or something is not supported.
    pub async fn create_network(&self, request: &NetworkCreateRequest) -> Result<NetworkCreateResponse, ClientError> {
        let body = RequestBody::json(request).map_err(ClientError::Encode)?;
        self.json(Method::POST, "/networks/create", body).await
    }

    /// Remove a network that no running container is in.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn remove_network(&self, name: &str) -> Result<(), ClientError> {
        self.send(Method::DELETE, &path_of(name, ""), RequestBody::Empty).await.map(drop)
    }

    /// Remove the networks that no container names.
    ///
    /// # Errors
    /// The daemon cannot be reached, or there is no such filter.
    pub async fn prune_networks(&self, filters: &[Filter]) -> Result<NetworkPruneResponse, ClientError> {
        let path = Path::new("/networks/prune").with_some("filters", filters_json(filters));
        self.json(Method::POST, &path.into_string(), RequestBody::Empty).await
    }

    /// Give a container a place in a network.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn connect_network(
        &self,
        name: &str,
        container: &str,
        wish: EndpointSettings,
    ) -> Result<(), ClientError> {
        let request = NetworkConnectRequest { container: container.to_owned(), endpoint_config: Some(wish) };
        let body = RequestBody::json(&request).map_err(ClientError::Encode)?;
        self.send(Method::POST, &path_of(name, "/connect"), body).await.map(drop)
    }

    /// Take a container out of a network.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn disconnect_network(&self, name: &str, container: &str, force: bool) -> Result<(), ClientError> {
        let request = NetworkDisconnectRequest { container: container.to_owned(), force: Some(force) };
        let body = RequestBody::json(&request).map_err(ClientError::Encode)?;
        self.send(Method::POST, &path_of(name, "/disconnect"), body).await.map(drop)
    }
}
