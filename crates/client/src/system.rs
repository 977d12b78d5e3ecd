// SPDX-License-Identifier: Apache-2.0
//! What can be asked about the daemon and its host.

use api_types::docker::{SystemInfo, SystemVersion};
use api_types::{CheckReport, DiskUsage, LEASES_ROUTE, Lease};
use http::Method;

use crate::body::RequestBody;
use crate::error::ClientError;
use crate::transport::Client;

impl Client {
    /// The names of the networks.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn network_names(&self) -> Result<Vec<String>, ClientError> {
        #[derive(serde::Deserialize)]
        struct Named {
            #[serde(rename = "Name")]
            name: String,
        }
        let list: Vec<Named> = self.json(Method::GET, "/networks", RequestBody::Empty).await?;
        Ok(list.into_iter().map(|network| network.name).collect())
    }

    /// That the daemon answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), ClientError> {
        self.send(Method::GET, "/_ping", RequestBody::Empty).await.map(drop)
    }

    /// The daemon's version.
    ///
    /// # Errors
    /// The daemon cannot be reached.
    pub async fn version(&self) -> Result<SystemVersion, ClientError> {
        self.json(Method::GET, "/version", RequestBody::Empty).await
    }

    /// What the daemon holds, and what its host can do.
    ///
    /// # Errors
    /// The daemon cannot be reached.
    pub async fn info(&self) -> Result<SystemInfo, ClientError> {
        self.json(Method::GET, "/info", RequestBody::Empty).await
    }

    /// What is on disk.
    ///
    /// # Errors
    /// The daemon cannot be reached.
    pub async fn disk_usage(&self) -> Result<DiskUsage, ClientError> {
        self.json(Method::GET, "/system/df", RequestBody::Empty).await
    }

    /// What clients of the daemon want to keep.
    ///
    /// # Errors
    /// The daemon cannot be reached.
    pub async fn leases(&self) -> Result<Vec<Lease>, ClientError> {
        self.json(Method::GET, LEASES_ROUTE, RequestBody::Empty).await
    }

    /// Verify the daemon's store.
    ///
    /// # Errors
    /// The daemon cannot be reached, or cannot read its store.
    pub async fn check(&self) -> Result<CheckReport, ClientError> {
        self.json(Method::GET, "/corten/v1/system/check", RequestBody::Empty).await
    }
}
