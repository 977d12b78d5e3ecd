// SPDX-License-Identifier: Apache-2.0
//! What the store holds: `GET /system/df` as Docker answers it up to API 1.51 and since, and Corten's own questions.

use serde::{Deserialize, Serialize};

use crate::docker::{BuildCache, ContainerSummary, ImageSummary, SystemDataUsageResponse, Volume};

/// The answer to `GET /system/df`. Sizes are bytes that the disk really gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DiskUsage {
    /// Bytes of all images: blobs and unpacked layers, each once.
    pub layers_size: i64,
    /// Each image; `Size` and `SharedSize` are bytes on disk here.
    pub images: Vec<ImageSummary>,
    /// Each container; `SizeRw` is all that it takes: its writable layer, its log, its files.
    pub containers: Vec<ContainerSummary>,
    /// Volumes.
    #[serde(default)]
    pub volumes: Option<Vec<Volume>>,
    /// What builds have left.
    #[serde(default)]
    pub build_cache: Option<Vec<BuildCache>>,
    /// The same in numbers, by kind, since API 1.52.
    #[serde(flatten)]
    pub by_kind: SystemDataUsageResponse,
    /// What only Corten tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreUsage>,
}

/// Images on disk, by what they are made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StoreUsage {
    /// How many blobs there are.
    pub blobs: usize,
    /// Bytes of blobs.
    pub content: i64,
    /// How many unpacked layers there are.
    pub layer_count: usize,
    /// Bytes of unpacked layers.
    pub layers: i64,
    /// Bytes of both that no image needs.
    pub unreferenced: i64,
    /// Bytes that removing all images without containers would give back.
    pub reclaimable: i64,
}

/// The answer to `GET /corten/v1/system/check`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CheckReport {
    /// Blobs that were hashed.
    pub blobs: usize,
    /// Bytes of them.
    pub bytes: u64,
    /// Images whose documents and references were compared.
    pub images: usize,
    /// Unpacked layers that images refer to.
    pub layers: usize,
    /// What is broken.
    pub problems: Vec<StoreProblem>,
}

/// Something in the store that is broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StoreProblem {
    /// What.
    pub subject: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

/// The answer to `GET /corten/v1/images/{name}/waste`. Sizes are bytes of files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WasteReport {
    /// The image's id.
    pub id: String,
    /// Bytes of all its layers' files.
    pub size: u64,
    /// Bytes that it could be smaller by.
    pub wasted: u64,
    /// Its layers, bottom first.
    pub layers: Vec<WastefulLayer>,
}

/// The waste in one layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WastefulLayer {
    /// The layer's diff ID.
    #[serde(rename = "DiffID")]
    pub diff_id: String,
    /// The instruction that made it.
    pub created_by: String,
    /// Bytes of its files.
    pub size: u64,
    /// Bytes that it could be smaller by.
    pub wasted: u64,
    /// Why, the most first.
    pub findings: Vec<WasteFinding>,
}

/// Bytes wasted for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WasteFinding {
    /// `hidden`, `repeated` or `cache`.
    pub kind: String,
    /// How many bytes.
    pub bytes: u64,
    /// In how many files.
    pub files: u64,
    /// Why, in words: the instruction that hides them, whose cache it is.
    pub reason: String,
    /// What would keep them out.
    pub remedy: String,
    /// The largest of the files.
    pub examples: Vec<WastedFile>,
}

/// One of the files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WastedFile {
    /// Its path, relative to the root.
    pub path: String,
    /// Its bytes.
    pub bytes: u64,
}
