// SPDX-License-Identifier: Apache-2.0
//! Media types of images: those of the OCI image-spec ("Media Types"), and Docker's ("Image Manifest V 2, Schema 2"), which
//! say the same of the same documents.

use serde::{Deserialize, Serialize};

/// An OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI image index: one image for several platforms.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An OCI image configuration.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Docker's image manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's image configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// Whose types an image's documents have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Those of the OCI image-spec.
    Oci,
    /// Docker's.
    Docker,
}

impl Format {
    /// The format of a manifest or an index of this type.
    pub fn of(media_type: &str) -> Option<Format> {
        match media_type {
            OCI_MANIFEST | OCI_INDEX => Some(Format::Oci),
            DOCKER_MANIFEST | DOCKER_LIST => Some(Format::Docker),
            _ => None,
        }
    }

    /// The type of manifests.
    pub fn manifest(self) -> &'static str {
        match self {
            Format::Oci => OCI_MANIFEST,
            Format::Docker => DOCKER_MANIFEST,
        }
    }

    /// The type of indexes.
    pub fn index(self) -> &'static str {
        match self {
            Format::Oci => OCI_INDEX,
            Format::Docker => DOCKER_LIST,
        }
    }

    /// The type of configurations.
    pub fn config(self) -> &'static str {
        match self {
            Format::Oci => OCI_CONFIG,
            Format::Docker => DOCKER_CONFIG,
        }
    }
}

/// Whether it is the type of an index, which lists images for several platforms.
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, OCI_INDEX | DOCKER_LIST)
}

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all: a tar archive.
    None,
    /// gzip, RFC 1952, one or several members.
    Gzip,
    /// Zstandard, RFC 8878, one or several frames.
    Zstd,
}

/// What the type of a layer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LayerType {
    /// How it is compressed.
    pub compression: Compression,
    /// Whether registries may hand it out: the base layers of some Windows images come from their maker only.
    pub distributable: bool,
}

impl LayerType {
    /// A layer that is compressed so and may be handed out.
    pub fn of(compression: Compression) -> LayerType {
        LayerType { compression, distributable: true }
    }

    /// What `media_type` says, in either format; `None` when it is no layer's.
    pub fn parse(media_type: &str) -> Option<LayerType> {
        let (oci, docker) = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.");
        let (distributable, compression) = if let Some(rest) = media_type.strip_prefix(oci) {
            let (distributable, rest) = match rest.strip_prefix("nondistributable.") {
                Some(rest) => (false, rest),
                None => (true, rest),
            };
            (distributable, rest.strip_prefix("v1.tar")?)
        } else {
            let rest = media_type.strip_prefix(docker)?;
            match rest.strip_prefix("foreign.") {
                Some(rest) => (false, rest.strip_prefix("diff.tar")?),
                None => (true, rest.strip_prefix("diff.tar")?),
            }
        };
        let compression = match compression {
            "" => Compression::None,
            "+gzip" | ".gzip" => Compression::Gzip,
            "+zstd" | ".zstd" => Compression::Zstd,
            _ => return None,
        };
        Some(LayerType { compression, distributable })
    }

    /// The type that says this in `format`. Docker's format has none for zstd.
    pub fn name(self, format: Format) -> Option<&'static str> {
        Some(match (format, self.distributable, self.compression) {
            (Format::Oci, true, Compression::None) => "application/vnd.oci.image.layer.v1.tar",
            (Format::Oci, true, Compression::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
            (Format::Oci, true, Compression::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
            (Format::Oci, false, Compression::None) => "application/vnd.oci.image.layer.nondistributable.v1.tar",
            (Format::Oci, false, Compression::Gzip) => "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            (Format::Oci, false, Compression::Zstd) => "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
            (Format::Docker, true, Compression::None) => "application/vnd.docker.image.rootfs.diff.tar",
            (Format::Docker, true, Compression::Gzip) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            (Format::Docker, false, Compression::None) => "application/vnd.docker.image.rootfs.foreign.diff.tar",
            (Format::Docker, false, Compression::Gzip) => "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            (Format::Docker, _, Compression::Zstd) => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_a_layer_is_read_as_it_is_written() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            for distributable in [true, false] {
                for format in [Format::Oci, Format::Docker] {
                    let layer = LayerType { compression, distributable };
                    match layer.name(format) {
                        Some(name) => assert_eq!(LayerType::parse(name), Some(layer), "{name}"),
                        None => assert_eq!((format, compression), (Format::Docker, Compression::Zstd)),
                    }
                }
            }
        }
        // Some builders write it, although Docker's format has no such type.
        let zstd = LayerType::parse("application/vnd.docker.image.rootfs.diff.tar.zstd");
        assert_eq!(zstd, Some(LayerType::of(Compression::Zstd)));
        for none in ["", "text/plain", OCI_CONFIG, "application/vnd.oci.image.layer.v1.tar+xz"] {
            assert_eq!(LayerType::parse(none), None, "{none}");
        }
    }
}
