// SPDX-License-Identifier: Apache-2.0
//! Manifests and indexes as documents: which kind one is, and the same one in the other format. Text in, text out.
//!
//! What is not said here to change stays: annotations, subjects, fields that nobody here knows.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::digest::Digest;
use crate::media_type::{self, Compression, Format, LayerType};

/// Annotations that describe how a layer is compressed, and mean nothing once it is compressed otherwise.
const OF_COMPRESSION: [&str; 2] = ["io.github.containers.zstd-chunked.", "containerd.io/snapshot/stargz/"];

/// Why a document is neither a manifest nor an index.
#[derive(Debug, thiserror::Error)]
pub enum TypeError {
    /// It is not the JSON of one.
    #[error("it is not valid")]
    Json(#[from] serde_json::Error),
    /// It has a type that is not known.
    #[error("it has the type {0:?}, which is not supported")]
    Unknown(String),
    /// It says that it is one kind of document and reads as another.
    #[error("it is declared as {declared:?} and reads as {found:?}")]
    Ambiguous {
        /// What is said of it.
        declared: String,
        /// What it says itself.
        found: String,
    },
}

/// Why a manifest has no equal in another format.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// It is not the JSON of a manifest.
    #[error("it is not valid")]
    Json(#[from] serde_json::Error),
    /// A part of it is missing, or is not what it should be.
    #[error("it has no {0} that can be read")]
    Shape(&'static str),
    /// It has a part of a type that only the format it is in knows.
    #[error("its {part} has the type {media_type:?}, which the other format does not know")]
    Type {
        /// Which part.
        part: &'static str,
        /// The type.
        media_type: String,
    },
}

/// The type of `text`. What is `declared` about it (by a header, by the index that lists it) and the document must agree,
/// and the document must not read as two kinds at once: otherwise two readers could be made to see two different images
/// under one digest (CVE-2021-41190).
///
/// # Errors
/// [`TypeError`].
pub fn type_of(text: &[u8], declared: Option<&str>) -> Result<String, TypeError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        schema_version: u32,
        media_type: Option<String>,
        manifests: Option<IgnoredAny>,
        layers: Option<IgnoredAny>,
        config: Option<IgnoredAny>,
    }
    let shape: Shape = serde_json::from_slice(text)?;
    if shape.schema_version != 2 {
        let other = || format!("schema version {}", shape.schema_version);
        return Err(TypeError::Unknown(declared.map_or_else(other, str::to_owned)));
    }
    let is_index = shape.manifests.is_some();
    let ambiguous = |declared: &str, found: &str| {
        let (declared, found) = (declared.to_owned(), found.to_owned());
        Err(TypeError::Ambiguous { declared, found })
    };
    if is_index && (shape.layers.is_some() || shape.config.is_some()) {
        return ambiguous(declared.unwrap_or_default(), "both an index and an image manifest");
    }
    if let (Some(declared), Some(inside)) = (declared, &shape.media_type)
        && declared != inside
    {
        return ambiguous(declared, inside);
    }
    let inferred = if is_index { media_type::OCI_INDEX } else { media_type::OCI_MANIFEST };
    let found = declared.map(str::to_owned).or(shape.media_type).unwrap_or_else(|| inferred.to_owned());
    if Format::of(&found).is_none() {
        return Err(TypeError::Unknown(found));
    }
    if media_type::is_index(&found) != is_index { ambiguous(&found, inferred) } else { Ok(found) }
}

/// A layer that takes another's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NewLayer {
    /// Its blob.
    pub digest: Digest,
    /// Bytes of it.
    pub size: u64,
    /// How it is compressed.
    pub compression: Compression,
}

/// The manifest `text` in `format`, with other layers where `layers` has some for their digests. The configuration stays
/// the blob it is: both formats read it, and the image keeps its id.
///
/// # Errors
/// [`ConvertError`].
pub fn converted(text: &[u8], format: Format, layers: &BTreeMap<Digest, NewLayer>) -> Result<Vec<u8>, ConvertError> {
    let mut manifest: Map<String, Value> = serde_json::from_slice(text)?;
    manifest.insert("mediaType".to_owned(), json!(format.manifest()));
    let config = manifest.get_mut("config").and_then(Value::as_object_mut);
    let config = config.ok_or(ConvertError::Shape("configuration"))?;
    let config_type = text_of(config, "mediaType").unwrap_or_default();
    if !matches!(config_type, media_type::OCI_CONFIG | media_type::DOCKER_CONFIG) {
        return Err(ConvertError::Type { part: "configuration", media_type: shown(config_type) });
    }
    config.insert("mediaType".to_owned(), json!(format.config()));
    let list = manifest.get_mut("layers").and_then(Value::as_array_mut);
    for layer in list.ok_or(ConvertError::Shape("list of layers"))? {
        let layer = layer.as_object_mut().ok_or(ConvertError::Shape("list of layers"))?;
        let old = text_of(layer, "mediaType").unwrap_or_default();
        let unknown = |media_type: &str| ConvertError::Type { part: "layer", media_type: shown(media_type) };
        let mut layer_type = LayerType::parse(old).ok_or_else(|| unknown(old))?;
        let digest = text_of(layer, "digest").and_then(|text| text.parse::<Digest>().ok());
        let new = digest.and_then(|digest| layers.get(&digest));
        if let Some(new) = new {
            layer_type.compression = new.compression;
        }
        let name = layer_type.name(format).ok_or_else(|| unknown(layer_type.name(Format::Oci).unwrap_or(old)))?;
        layer.insert("mediaType".to_owned(), json!(name));
        if let Some(new) = new {
            replace(layer, new.digest, new.size);
            if let Some(annotations) = layer.get_mut("annotations").and_then(Value::as_object_mut) {
                annotations.retain(|key, _| !OF_COMPRESSION.iter().any(|prefix| key.starts_with(prefix)));
            }
        }
    }
    Ok(serde_json::to_vec(&manifest)?)
}

/// A manifest that takes another's place in an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// Its digest.
    pub digest: Digest,
    /// Bytes of it.
    pub size: u64,
    /// Its type.
    pub media_type: String,
}

/// The index `text` in `format`, with the manifests of `entries` in the places of those with the digests they are for.
///
/// # Errors
/// [`ConvertError`].
pub fn converted_index(
    text: &[u8],
    format: Format,
    entries: &BTreeMap<Digest, NewEntry>,
) -> Result<Vec<u8>, ConvertError> {
    let mut index: Map<String, Value> = serde_json::from_slice(text)?;
    index.insert("mediaType".to_owned(), json!(format.index()));
    let list = index.get_mut("manifests").and_then(Value::as_array_mut);
    for entry in list.ok_or(ConvertError::Shape("list of manifests"))? {
        let entry = entry.as_object_mut().ok_or(ConvertError::Shape("list of manifests"))?;
        let digest = text_of(entry, "digest").and_then(|text| text.parse::<Digest>().ok());
        if let Some(new) = digest.and_then(|digest| entries.get(&digest)) {
            entry.insert("mediaType".to_owned(), json!(new.media_type));
            replace(entry, new.digest, new.size);
        }
    }
    Ok(serde_json::to_vec(&index)?)
}

fn text_of<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

fn replace(descriptor: &mut Map<String, Value>, digest: Digest, size: u64) {
    descriptor.insert("digest".to_owned(), json!(digest));
    descriptor.insert("size".to_owned(), json!(size));
    // It would hold the old content.
    descriptor.remove("data");
}

fn shown(media_type: &str) -> String {
    media_type.chars().take(200).collect()
}

#[cfg(test)]
mod tests;
