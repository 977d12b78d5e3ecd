// SPDX-License-Identifier: Apache-2.0
//! Signatures in registries, and the daemon's rules about them.

use api_types::{RegistrySignatures, SignatureText, TrustRule, TrustRuleRequest};
use http::Method;

use crate::body::RequestBody;
use crate::error::ClientError;
use crate::transport::{Client, decode};
use crate::url::{Path, encode};

impl Client {
    /// What the registry has under `name`, and the signatures of it, which nobody has verified. `auth` is the value of an
    /// `X-Registry-Auth` header.
    ///
    /// # Errors
    /// The daemon or the registry cannot be reached, or refuses.
    pub async fn registry_signatures(&self, name: &str, auth: Option<&str>) -> Result<RegistrySignatures, ClientError> {
        let path = format!("/corten/v1/images/{}/signatures", encode(name));
        let response = self.send_for(Method::GET, &path, RequestBody::Empty, auth).await?;
        decode(&Method::GET, &path, response).await
    }

    /// Put a signature beside the image `name` in its registry, and keep it with the image that is here. `auth` is the value
    /// of an `X-Registry-Auth` header.
    ///
    /// # Errors
    /// The daemon or the registry cannot be reached, or refuses.
    pub async fn add_signature(
        &self,
        name: &str,
        signature: &SignatureText,
        auth: Option<&str>,
    ) -> Result<(), ClientError> {
        let path = format!("/corten/v1/images/{}/signatures", encode(name));
        let body = RequestBody::json(signature).map_err(ClientError::Encode)?;
        self.send_for(Method::POST, &path, body, auth).await.map(drop)
    }

    /// The rules about who must have signed which images.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn trust_rules(&self) -> Result<Vec<TrustRule>, ClientError> {
        self.json(Method::GET, "/corten/v1/trust", RequestBody::Empty).await
    }

    /// Have images under `prefix` signed by the public key `key` (PEM), or by one that was named for it before.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn add_trust_rule(&self, prefix: &str, key: &str) -> Result<(), ClientError> {
        let request = TrustRuleRequest { prefix: prefix.to_owned(), key: key.to_owned() };
        let body = RequestBody::json(&request).map_err(ClientError::Encode)?;
        self.send(Method::POST, "/corten/v1/trust", body).await.map(drop)
    }

    /// Forget the rule for `prefix`.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses: `NotFound` when there is none.
    pub async fn remove_trust_rule(&self, prefix: &str) -> Result<(), ClientError> {
        let path = Path::new("/corten/v1/trust").with("prefix", prefix).into_string();
        self.send(Method::DELETE, &path, RequestBody::Empty).await.map(drop)
    }
}
