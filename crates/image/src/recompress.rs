// SPDX-License-Identifier: Apache-2.0
//! Layers compressed anew for a push, and the manifest that names them. The image here stays what it is: its diff IDs, and
//! so its id, are the same.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::num::NonZero;

use layer::Compression;
use oci::Digest;
use oci::manifest::{self, ConvertError, NewLayer};
use oci::media_type::{Format, OCI_MANIFEST};

use crate::Inner;
use crate::document;
use crate::error::ImageError;
use crate::import::commit_pinned;
use crate::push;
use crate::references::Session;

/// How a layer's blob is compressed: by its first bytes, whatever its manifest says. Blocks.
pub(crate) fn compression(store: &Inner, image: &str, blob: Digest) -> Result<Compression, ImageError> {
    let mut start = Vec::with_capacity(4);
    let file = push::open(store, image, blob)?;
    file.take(4).read_to_end(&mut start).map_err(|source| ImageError::ReadBlob { digest: blob, source })?;
    Ok(layer::detect(&start))
}

/// Compresses a layer's blob as `wanted`. The new blob stays here until the session ends. Blocks.
pub(crate) fn layer(session: &Session, image: &str, blob: Digest, wanted: Compression) -> Result<NewLayer, ImageError> {
    let unreadable = |source| ImageError::Decompress { image: image.to_owned(), layer: blob, source };
    let tar = layer::decompressed(push::open(session.store(), image, blob)?).map_err(unreadable)?;
    let mut writer = session.store().blob_writer()?;
    let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    layer::compress(tar, &mut writer, wanted, threads).map_err(unreadable)?;
    let (digest, size) = commit_pinned(session, writer.into_inner())?;
    Ok(NewLayer { digest, size, compression: wanted })
}

/// The manifest `text` with other layers, and its type: the OCI one, because Docker's knows no zstd. Annotations and all else
/// stay.
pub(crate) fn manifest(
    image: &str,
    text: &[u8],
    changed: &BTreeMap<Digest, NewLayer>,
) -> Result<(Vec<u8>, String), ImageError> {
    let converted = manifest::converted(text, Format::Oci, changed).map_err(|error| match error {
        ConvertError::Json(source) => ImageError::Document { image: image.to_owned(), document: "manifest", source },
        _ => document::inconsistent(image, "its manifest is none of an image"),
    })?;
    Ok((converted, OCI_MANIFEST.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

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
        let changed = BTreeMap::from([(a, NewLayer { digest: new, size: 3, compression: Compression::Zstd })]);
        let (text, manifest_type) = manifest("x", &serde_json::to_vec(&text).unwrap(), &changed).unwrap();
        let found: Value = serde_json::from_slice(&text).unwrap();
        let expected = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "annotations": {"k": "v"},
            "config": {"mediaType": document::CONFIG_TYPE, "digest": a, "size": 1},
            "layers": [
                {"mediaType": "application/vnd.oci.image.layer.v1.tar+zstd", "digest": new, "size": 3, "annotations": {"x": "y"}},
                {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": b, "size": 8},
            ],
        });
        assert_eq!((found, manifest_type.as_str()), (expected, OCI_MANIFEST));
    }
}
