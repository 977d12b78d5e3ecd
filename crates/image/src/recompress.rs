// SPDX-License-Identifier: Apache-2.0
//! Layers compressed anew for a push, and the manifest that names them. The image here stays what it is: its diff IDs, and
//! so its id, are the same.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::num::NonZero;

use layer::Compression;
use oci::Digest;
use registry_client::media_type::OCI_MANIFEST;
use serde_json::{Value, json};

use crate::document::{self, CONFIG_TYPE};
use crate::error::ImageError;
use crate::fetch;
use crate::import::commit_pinned;
use crate::push;
use crate::references::Session;

/// A layer in another compression.
pub(crate) struct Recompressed {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    media_type: &'static str,
}

/// Compresses a layer's blob as `wanted`, unless it is so already. The new blob stays here until the session ends. Blocks.
pub(crate) fn layer(
    session: &Session,
    image: &str,
    blob: Digest,
    wanted: Compression,
) -> Result<Option<Recompressed>, ImageError> {
    let unreadable = |source| ImageError::Decompress { image: image.to_owned(), layer: blob, source };
    let mut file = push::open(session.store(), image, blob)?;
    let mut start = Vec::with_capacity(4);
    file.by_ref().take(4).read_to_end(&mut start).map_err(unreadable)?;
    if layer::detect(&start) == wanted {
        return Ok(None);
    }
    let tar = fetch::decompressed(start.chain(file)).map_err(unreadable)?;
    let mut writer = session.store().content.writer(None, None)?;
    let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    layer::compress(tar, &mut writer, wanted, threads).map_err(unreadable)?;
    let (digest, size) = commit_pinned(session, writer)?;
    Ok(Some(Recompressed { digest, size, media_type: oci_type(wanted) }))
}

fn oci_type(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "application/vnd.oci.image.layer.v1.tar",
        Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
        Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
    }
}

/// The manifest `text` with other layers, and its type: the OCI one, because Docker's knows no zstd. Annotations and all else
/// stay.
pub(crate) fn manifest(
    image: &str,
    text: &[u8],
    changed: &BTreeMap<Digest, Recompressed>,
) -> Result<(Vec<u8>, String), ImageError> {
    let invalid = |source| ImageError::Document { image: image.to_owned(), document: "manifest", source };
    let mut manifest: Value = serde_json::from_slice(text).map_err(invalid)?;
    manifest["mediaType"] = json!(OCI_MANIFEST);
    manifest["config"]["mediaType"] = json!(CONFIG_TYPE);
    let layers = manifest["layers"].as_array_mut();
    let layers = layers.ok_or_else(|| document::inconsistent(image, "its manifest has no list of layers"))?;
    for layer in layers {
        let digest = layer["digest"].as_str().and_then(|text| text.parse::<Digest>().ok());
        if let Some(new) = digest.and_then(|digest| changed.get(&digest)) {
            layer["digest"] = json!(new.digest);
            layer["size"] = json!(new.size);
            layer["mediaType"] = json!(new.media_type);
        } else if let Some(oci) = layer["mediaType"].as_str().and_then(from_docker) {
            layer["mediaType"] = json!(oci);
        }
    }
    Ok((serde_json::to_vec(&manifest).map_err(invalid)?, OCI_MANIFEST.to_owned()))
}

/// The OCI type that means the same as one of Docker's.
fn from_docker(media_type: &str) -> Option<&'static str> {
    match media_type.strip_prefix("application/vnd.docker.image.rootfs.diff.tar")? {
        "" => Some(oci_type(Compression::None)),
        ".gzip" => Some(oci_type(Compression::Gzip)),
        ".zstd" => Some(oci_type(Compression::Zstd)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_docker_manifest_becomes_an_oci_one_and_keeps_its_annotations() {
        let (a, b, new) = (Digest::of("a"), Digest::of("b"), Digest::of("new"));
        let text = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "annotations": {"k": "v"},
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": a, "size": 1},
            "layers": [
                {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "digest": a, "size": 7, "annotations": {"x": "y"}},
                {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "digest": b, "size": 8},
            ],
        });
        let media_type = oci_type(Compression::Zstd);
        let changed = BTreeMap::from([(a, Recompressed { digest: new, size: 3, media_type })]);
        let (text, manifest_type) = manifest("x", &serde_json::to_vec(&text).unwrap(), &changed).unwrap();
        let found: Value = serde_json::from_slice(&text).unwrap();
        let expected = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "annotations": {"k": "v"},
            "config": {"mediaType": CONFIG_TYPE, "digest": a, "size": 1},
            "layers": [
                {"mediaType": media_type, "digest": new, "size": 3, "annotations": {"x": "y"}},
                {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": b, "size": 8},
            ],
        });
        assert_eq!((found, manifest_type.as_str()), (expected, OCI_MANIFEST));
    }
}
