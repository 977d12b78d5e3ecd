// SPDX-License-Identifier: Apache-2.0
//! What can be asked about volumes.

use api_types::docker::{Volume, VolumeCreateRequest, VolumeListResponse, VolumePruneResponse};
use bytes::Bytes;
use http::Method;

use crate::body::RequestBody;
use crate::error::ClientError;
use crate::images::{Filter, filters_json};
use crate::transport::Client;
use crate::url::{Path, encode};

impl Client {
    /// The volumes there are; of them those that `filters` let through.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn list_volumes(&self, filters: &[Filter]) -> Result<Vec<Volume>, ClientError> {
        let path = Path::new("/volumes").with_some("filters", filters_json(filters)).into_string();
        let list: VolumeListResponse = self.json(Method::GET, &path, RequestBody::Empty).await?;
        Ok(list.volumes.unwrap_or_default())
    }

    /// Make a volume; the one that has the name already, if one has.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses: a name or an option that cannot be.
    pub async fn create_volume(&self, wish: &VolumeCreateRequest) -> Result<Volume, ClientError> {
        let body = RequestBody::json(wish).map_err(ClientError::Encode)?;
        self.json(Method::POST, "/volumes/create", body).await
    }

    /// All about one volume, as the daemon's JSON.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn inspect_volume_json(&self, name: &str) -> Result<Bytes, ClientError> {
        self.bytes(Method::GET, &format!("/volumes/{}", encode(name))).await
    }

    /// Remove a volume. With `force` it need not be there.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses: `Conflict` when a container has it.
    pub async fn remove_volume(&self, name: &str, force: bool) -> Result<(), ClientError> {
        let path = Path::new(format!("/volumes/{}", encode(name))).with_flag("force", force).into_string();
        self.send(Method::DELETE, &path, RequestBody::Empty).await.map(drop)
    }

    /// Remove the volumes that no container has and `filters` let through: without `all=true` among them, those that nobody
    /// has named.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn prune_volumes(&self, filters: &[Filter]) -> Result<VolumePruneResponse, ClientError> {
        let path = Path::new("/volumes/prune").with_some("filters", filters_json(filters)).into_string();
        self.json(Method::POST, &path, RequestBody::Empty).await
    }
}
