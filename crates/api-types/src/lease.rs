// SPDX-License-Identifier: Apache-2.0
//! Leases: `/corten/v1/leases`. A client that works on images or blobs keeps them here for as long as it needs them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The route of all leases; below it `/ID` and `/ID/resources`.
pub const LEASES_ROUTE: &str = "/corten/v1/leases";
/// How long a lease lasts if its maker does not say: a day, in seconds.
pub const DEFAULT_LEASE: u64 = 24 * 3600;

/// The body of `POST /corten/v1/leases`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct LeaseRequest {
    /// Its id: 1 to 128 letters, digits, `_`, `-` or `.`.
    #[serde(rename = "ID")]
    pub id: String,
    /// How long it lasts, in seconds; a day without it, a year at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// What its maker wants to remember of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// The body of `PUT /corten/v1/leases/{id}/resources`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct LeaseResource {
    /// An image's name or id, a manifest's digest, or the digest of a blob or a layer.
    pub resource: String,
}

/// A lease, as these routes answer; `GET /corten/v1/leases` with a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Lease {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// When it was made (RFC 3339).
    pub created: String,
    /// When it ends by itself (RFC 3339).
    pub expires: String,
    /// What its maker wants to remember of it.
    pub labels: BTreeMap<String, String>,
    /// Digests of the manifests of images that it protects, with all that they are made of.
    pub images: Vec<String>,
    /// Digests of other blobs and layers that it protects.
    pub content: Vec<String>,
}
