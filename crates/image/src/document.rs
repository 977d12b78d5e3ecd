// SPDX-License-Identifier: Apache-2.0
//! An image's documents: index, manifest and configuration. Text in, checked values out.
//!
//! Only the fields that decide something are read; the documents themselves are stored byte for byte.

use oci::document::{Descriptor, Index, Manifest, OtherPlatforms};
use oci::image_spec::ImageConfiguration;
use oci::{Algorithm, Digest, Platform};
use serde::Deserialize;

use crate::error::{ImageError, WrongPlatform};

/// The type of the manifests that are made here.
pub(crate) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// The type of the configurations that are made here.
pub(crate) const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_CONFIG_TYPE: &str = "application/vnd.docker.container.image.v1+json";
/// The longest configuration: what registries accept as a manifest, and far more than any image needs.
pub(crate) const MAX_CONFIG: u64 = 8 << 20;
/// The most layers that overlayfs stacks (`OVL_MAX_STACK`).
const MAX_LAYERS: usize = 500;

/// The one of an index's manifests that is for `wanted`.
pub(crate) fn choose(image: &str, index: &[u8], wanted: &Platform) -> Result<Descriptor, ImageError> {
    let index: Index = parse(image, "index", index)?;
    let other = |other: OtherPlatforms| wrong_platform(image, wanted, other.available);
    oci::document::choose(&index.manifests, wanted).cloned().map_err(other)
}

pub(crate) fn wrong_platform(image: &str, wanted: &Platform, available: Vec<Platform>) -> ImageError {
    let (image, wanted, host) = (image.to_owned(), wanted.clone(), Platform::host());
    ImageError::Platform(Box::new(WrongPlatform { image, wanted, available, host }))
}

/// A manifest whose parts are all of known types.
pub(crate) fn manifest(image: &str, text: &[u8]) -> Result<Manifest, ImageError> {
    let manifest: Manifest = parse(image, "manifest", text)?;
    if !matches!(manifest.config.media_type.as_str(), CONFIG_TYPE | DOCKER_CONFIG_TYPE) {
        return Err(unknown_type(image, "configuration", &manifest.config.media_type));
    }
    if manifest.config.size > MAX_CONFIG {
        return Err(inconsistent(image, "its configuration is larger than a configuration can be"));
    }
    for layer in &manifest.layers {
        check_layer_type(image, layer)?;
    }
    if manifest.layers.len() > MAX_LAYERS {
        let (image, count) = (image.to_owned(), manifest.layers.len());
        return Err(ImageError::TooManyLayers { image, count, max: MAX_LAYERS });
    }
    Ok(manifest)
}

/// Layers are recognised by their first bytes and verified by their diff ID; the type only has to be one whose meaning
/// is known.
fn check_layer_type(image: &str, layer: &Descriptor) -> Result<(), ImageError> {
    match layer.media_type.as_str() {
        "application/vnd.oci.image.layer.v1.tar"
        | "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.oci.image.layer.v1.tar+zstd"
        | "application/vnd.docker.image.rootfs.diff.tar"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Ok(()),
        "application/vnd.oci.image.layer.nondistributable.v1.tar"
        | "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
        | "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
        | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => {
            Err(ImageError::NotDistributable { image: image.to_owned(), layer: layer.digest })
        }
        other => Err(unknown_type(image, "layer", other)),
    }
}

/// A configuration that belongs to `manifest` and is for `wanted`; with it the diff IDs, bottom first.
pub(crate) fn config(
    image: &str,
    text: &[u8],
    manifest: &Manifest,
    wanted: &Platform,
) -> Result<(ImageConfiguration, Vec<Digest>), ImageError> {
    let (config, diff_ids) = parse_config(image, text)?;
    if diff_ids.len() != manifest.layers.len() {
        return Err(inconsistent(image, "its manifest and its configuration differ in the number of layers"));
    }
    serves(image, &config, wanted)?;
    Ok((config, diff_ids))
}

/// Refuses a configuration that is not for `wanted`.
pub(crate) fn serves(image: &str, config: &ImageConfiguration, wanted: &Platform) -> Result<(), ImageError> {
    let platform = Platform::of(config);
    if platform.serves(wanted) { Ok(()) } else { Err(wrong_platform(image, wanted, vec![platform])) }
}

/// A configuration and its diff IDs.
pub(crate) fn parse_config(image: &str, text: &[u8]) -> Result<(ImageConfiguration, Vec<Digest>), ImageError> {
    let config: ImageConfiguration = parse(image, "configuration", text)?;
    if config.rootfs().typ() != "layers" {
        return Err(inconsistent(image, "its configuration describes no layers"));
    }
    let diff_ids: Result<Vec<Digest>, _> = config.rootfs().diff_ids().iter().map(|text| text.parse()).collect();
    let diff_ids = diff_ids.map_err(|_| inconsistent(image, "its configuration has a diff ID that is no digest"))?;
    // Nobody makes others, and containerd takes none: it hashes what it unpacks by this algorithm, whatever is said.
    if let Some(other) = diff_ids.iter().find(|diff_id| diff_id.algorithm() != Algorithm::Sha256) {
        return Err(ImageError::DiffIdAlgorithm { image: image.to_owned(), algorithm: other.algorithm().as_str() });
    }
    Ok((config, diff_ids))
}

pub(crate) fn parse<T: for<'de> Deserialize<'de>>(
    image: &str,
    document: &'static str,
    text: &[u8],
) -> Result<T, ImageError> {
    serde_json::from_slice(text).map_err(|source| ImageError::Document { image: image.to_owned(), document, source })
}

pub(crate) fn inconsistent(image: &str, why: &'static str) -> ImageError {
    ImageError::Inconsistent { image: image.to_owned(), why }
}

fn unknown_type(image: &str, part: &'static str, media_type: &str) -> ImageError {
    let media_type = media_type.chars().take(200).collect();
    ImageError::MediaType { image: image.to_owned(), part, media_type }
}

#[cfg(test)]
mod tests {
    use super::*;
    use errors::{Classify as _, Kind};
    use serde_json::json;

    fn descriptor(media_type: &str) -> serde_json::Value {
        json!({"mediaType": media_type, "digest": Digest::of(media_type).to_string(), "size": 3})
    }

    fn index(platforms: &[&str]) -> Vec<u8> {
        let entries: Vec<_> = platforms
            .iter()
            .map(|text| {
                let platform: Platform = text.parse().unwrap();
                let mut entry = descriptor(MANIFEST_TYPE);
                entry["platform"] = serde_json::to_value(&platform).unwrap();
                entry["digest"] = Digest::of(text).to_string().into();
                entry
            })
            .collect();
        serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": entries})).unwrap()
    }

    fn manifest_text(config: &str, layers: &[&str]) -> Vec<u8> {
        let layers: Vec<_> = layers.iter().map(|layer| descriptor(layer)).collect();
        serde_json::to_vec(&json!({"schemaVersion": 2, "config": descriptor(config), "layers": layers})).unwrap()
    }

    #[test]
    fn an_image_for_other_machines_says_for_which() {
        let text = index(&["linux/s390x", "unknown/unknown", "linux/arm/v6"]);
        let error = choose("a:b", &text, &Platform::host()).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
        let host = Platform::host();
        assert_eq!(error.to_string(), format!("a:b is not made for {host}, only for linux/s390x, linux/arm/v6"));
        assert!(error.hint().unwrap().contains(&format!("this host is {host}")));
    }

    #[test]
    fn what_is_no_container_image_is_refused() {
        let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
        assert_eq!(manifest("a", &manifest_text(CONFIG_TYPE, &[gzip, gzip])).unwrap().layers.len(), 2);
        let helm = manifest("a", &manifest_text("application/vnd.cncf.helm.config.v1+json", &[])).unwrap_err();
        assert!(matches!(helm, ImageError::MediaType { part: "configuration", .. }));
        let odd = manifest("a", &manifest_text(CONFIG_TYPE, &[gzip, "application/x-cpio"])).unwrap_err();
        assert!(odd.to_string().contains("application/x-cpio"));
        let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        let foreign = manifest("a", &manifest_text(CONFIG_TYPE, &[foreign])).unwrap_err();
        assert!(matches!(foreign, ImageError::NotDistributable { .. }));
        let many = vec![gzip; 501];
        assert!(matches!(manifest("a", &manifest_text(CONFIG_TYPE, &many)), Err(ImageError::TooManyLayers { .. })));
        assert!(matches!(manifest("a", b"[]"), Err(ImageError::Document { .. })));
        let other = br#"{"schemaVersion":2,"config":{"mediaType":"x","digest":"sha512:00","size":1},"layers":[]}"#;
        assert_eq!(manifest("a", other).unwrap_err().kind(), Kind::Corrupt);
    }

    #[test]
    fn a_configuration_must_fit_its_manifest() {
        let text = |arch: &str, diff_ids: &[&str], kind: &str| {
            json!({"architecture": arch, "os": "linux", "rootfs": {"type": kind, "diff_ids": diff_ids}}).to_string()
        };
        let one = manifest("a", &manifest_text(CONFIG_TYPE, &["application/vnd.oci.image.layer.v1.tar"])).unwrap();
        let diff_id = Digest::of("x").to_string();
        let wanted: Platform = "linux/amd64".parse().unwrap();
        let read = |text: String| config("a", text.as_bytes(), &one, &wanted);
        assert_eq!(read(text("amd64", &[&diff_id], "layers")).unwrap().1, [Digest::of("x")]);
        for bad in
            [text("amd64", &[], "layers"), text("amd64", &["sha256:x"], "layers"), text("amd64", &[&diff_id], "other")]
        {
            assert!(matches!(read(bad.clone()), Err(ImageError::Inconsistent { .. })), "{bad}");
        }
        let long = Algorithm::Sha512.digest("x").to_string();
        let other = read(text("amd64", &[&long], "layers")).unwrap_err();
        assert!(other.kind() == Kind::Unsupported && other.to_string().contains("sha512"), "{other}");
        let other = read(text("arm64", &[&diff_id], "layers")).unwrap_err();
        assert!(matches!(&other, ImageError::Platform(_)) && other.to_string().contains("linux/arm64"), "{other}");
    }
}
