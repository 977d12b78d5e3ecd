// SPDX-License-Identifier: Apache-2.0
//! What a registry has, without pulling it: under a name the manifest or index and the platforms it serves; the tags of a
//! repository.

use oci::document::{Descriptor, Index, Manifest as Document, is_of_images};
use oci::image_spec::ImageConfiguration;
use oci::{ImageRef, Platform, media_type};

use crate::Images;
use crate::document::{MAX_CONFIG, inconsistent, parse};
use crate::error::ImageError;
use crate::signatures::small_blob;

/// An image as its registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// The manifest or index under the name.
    pub descriptor: Descriptor,
    /// The platforms it has images for.
    pub platforms: Vec<Platform>,
}

impl Images {
    /// What the registry has under `name`. Nothing is stored.
    ///
    /// # Errors
    /// The registry's; a document that is not what it must be.
    pub async fn distribution(&self, name: &ImageRef) -> Result<Distribution, ImageError> {
        let name = name.clone().with_default_tag();
        let found = self.registry.manifest(&name).await?;
        let image = name.to_string();
        let platforms = if media_type::is_index(&found.media_type) {
            let index: Index = parse(&image, "index", &found.body)?;
            index.manifests.into_iter().filter_map(|entry| entry.platform).filter(is_of_images).collect()
        } else {
            let manifest: Document = parse(&image, "manifest", &found.body)?;
            let config = &manifest.config;
            // What is no image (a chart, a signature) has a configuration of its own kind, and no platform.
            if matches!(config.media_type.as_str(), media_type::OCI_CONFIG | media_type::DOCKER_CONFIG) {
                if config.size > MAX_CONFIG {
                    return Err(inconsistent(&image, "its configuration is larger than a configuration can be"));
                }
                let text = small_blob(&self.registry, &name, config.digest, config.size).await?;
                let config: ImageConfiguration = parse(&image, "configuration", &text)?;
                vec![Platform::of(&config)]
            } else {
                Vec::new()
            }
        };
        // At most 4 MiB, as the registry's client takes them.
        let descriptor = Descriptor::new(found.media_type, found.digest, found.body.len() as u64);
        Ok(Distribution { descriptor, platforms })
    }

    /// The tags that the registry has in the repository of `name`, as it gives them.
    ///
    /// # Errors
    /// The registry's.
    pub async fn tags_in_registry(&self, name: &ImageRef) -> Result<Vec<String>, ImageError> {
        Ok(self.registry.tags(name).await?)
    }
}
