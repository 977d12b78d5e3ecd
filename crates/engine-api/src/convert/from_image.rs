// SPDX-License-Identifier: Apache-2.0
//! An image as Docker's clients read it.

use api_types::docker::{
    ImageConfig, ImageDeleteResponseItem, ImageHistoryResponseItem, ImageInspect, ImageInspectMetadata,
    ImageInspectRootFs, ImageManifestSummary, ImageManifestSummaryImageData, ImageManifestSummaryImageDataSize,
    ImageManifestSummaryKindEnum, ImageManifestSummarySize, ImageSummary, OciDescriptor, OciPlatform,
};
use image::{Content, Image, Removed};
use jiff::Timestamp;
use oci::ImageRef;
use oci::image_spec::Config;
use serde_json::Value;

use super::from_record::NEVER;

/// An image as `images` lists it.
pub(crate) fn summary(image: &Image) -> ImageSummary {
    let created = image.created.as_deref().and_then(|time| time.parse::<Timestamp>().ok());
    let labels = image.config.config().as_ref().and_then(|config| config.labels().clone());
    ImageSummary {
        id: image.id.to_string(),
        repo_tags: tags(image),
        repo_digests: digests(image),
        created: created.map_or(0, Timestamp::as_second),
        size: bytes(image.size),
        shared_size: -1,
        containers: -1,
        labels: labels.unwrap_or_default().into_iter().collect(),
        descriptor: Some(descriptor(image)),
        ..ImageSummary::default()
    }
}

/// How an image was made, the last step first.
pub(crate) fn history(image: &Image) -> Vec<ImageHistoryResponseItem> {
    let steps = image.history().into_iter().rev().enumerate();
    let item = |(place, step): (usize, image::Instruction)| ImageHistoryResponseItem {
        // Only what it all came to has an id.
        id: if place == 0 { image.id.to_string() } else { "<missing>".into() },
        created: step.created.and_then(|time| time.parse::<Timestamp>().ok()).map_or(0, Timestamp::as_second),
        created_by: step.created_by,
        tags: if place == 0 { tags(image) } else { Vec::new() },
        size: bytes(step.size),
        comment: step.comment,
    };
    steps.map(item).collect()
}

/// All about an image; `says` is the `config` of its configuration as it stands there, `named` when it got its last name.
pub(crate) fn inspect(image: &Image, says: &Value, named: Option<Timestamp>) -> ImageInspect {
    let known = image.config.config().as_ref().map(config).unwrap_or_default();
    ImageInspect {
        id: Some(image.id.to_string()),
        repo_tags: Some(tags(image)),
        repo_digests: Some(digests(image)),
        created: image.created.clone(),
        author: image.config.author().clone().filter(|author| !author.is_empty()),
        comment: image.history().pop().map(|step| step.comment).filter(|comment| !comment.is_empty()),
        descriptor: Some(descriptor(image)),
        config: Some(ImageConfig {
            healthcheck: dockers(says, "Healthcheck"),
            shell: dockers(says, "Shell"),
            on_build: dockers(says, "OnBuild"),
            ..known
        }),
        architecture: Some(image.config.architecture().to_string()),
        variant: image.config.variant().clone(),
        os: Some(image.config.os().to_string()),
        os_version: image.config.os_version().clone(),
        size: Some(bytes(image.size)),
        root_fs: Some(ImageInspectRootFs {
            typ: "layers".into(),
            layers: Some(image.layers.iter().map(ToString::to_string).collect()),
        }),
        metadata: Some(ImageInspectMetadata {
            last_tag_time: Some(named.map_or_else(|| NEVER.to_owned(), |time| time.to_string())),
        }),
        ..ImageInspect::default()
    }
}

/// A field of Docker's alone; what is not of its form is not there for its clients.
fn dockers<T: serde::de::DeserializeOwned>(says: &Value, field: &str) -> Option<T> {
    T::deserialize(says.get(field)?).ok()
}

/// A size as Docker's models have it.
pub(crate) fn bytes(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// The manifest, of the type that it came with.
pub(crate) fn descriptor(image: &Image) -> OciDescriptor {
    OciDescriptor {
        media_type: Some(image.manifest_type.clone()),
        digest: Some(image.manifest.to_string()),
        size: Some(bytes(image.manifest_size)),
        platform: Some(OciPlatform {
            architecture: Some(image.config.architecture().to_string()),
            os: Some(image.config.os().to_string()),
            os_version: image.config.os_version().clone(),
            variant: image.config.variant().clone(),
            os_features: None,
        }),
        ..OciDescriptor::default()
    }
}

/// The manifest of an image, with what is here of it and the containers that were made from it. There is no other: of an index
/// the image for one platform is here.
pub(crate) fn manifest(image: &Image, content: Content, containers: Vec<String>) -> ImageManifestSummary {
    let descriptor = descriptor(image);
    ImageManifestSummary {
        id: image.manifest.to_string(),
        available: content.whole,
        size: ImageManifestSummarySize {
            content: bytes(content.bytes),
            total: bytes(content.bytes.saturating_add(image.size)),
        },
        kind: Some(ImageManifestSummaryKindEnum::IMAGE),
        image_data: Some(ImageManifestSummaryImageData {
            platform: descriptor.platform.clone().unwrap_or_default(),
            containers,
            size: ImageManifestSummaryImageDataSize { unpacked: bytes(image.size) },
        }),
        attestation_data: None,
        descriptor,
    }
}

/// `NAME:TAG` for each name that has a tag.
fn tags(image: &Image) -> Vec<String> {
    let tagged = |name: &ImageRef| name.tag().map(|tag| format!("{}:{tag}", name.familiar_repository()));
    image.names.iter().filter_map(tagged).collect()
}

/// `NAME@DIGEST` for each repository that gave the image a digest.
fn digests(image: &Image) -> Vec<String> {
    let digested = |name: &ImageRef| name.digest().map(|digest| format!("{}@{digest}", name.familiar_repository()));
    image.repo_digests.iter().filter_map(digested).collect()
}

fn config(config: &Config) -> ImageConfig {
    let list = |field: &Option<Vec<String>>| field.clone().filter(|list| !list.is_empty());
    ImageConfig {
        user: config.user().clone().filter(|user| !user.is_empty()),
        exposed_ports: list(config.exposed_ports()),
        env: list(config.env()),
        cmd: list(config.cmd()),
        volumes: list(config.volumes()),
        working_dir: config.working_dir().clone().filter(|path| !path.is_empty()),
        entrypoint: list(config.entrypoint()),
        labels: config.labels().clone().filter(|labels| !labels.is_empty()).map(|labels| labels.into_iter().collect()),
        stop_signal: config.stop_signal().clone(),
        ..ImageConfig::default()
    }
}

/// What a removal did.
pub(crate) fn removed(removed: &Removed) -> ImageDeleteResponseItem {
    match removed {
        Removed::Untagged(name) => {
            let text = match (name.tag(), name.digest()) {
                (Some(tag), _) => format!("{}:{tag}", name.familiar_repository()),
                (None, Some(digest)) => format!("{}@{digest}", name.familiar_repository()),
                (None, None) => name.familiar_repository(),
            };
            ImageDeleteResponseItem { untagged: Some(text), deleted: None }
        }
        Removed::Deleted(digest) => ImageDeleteResponseItem { untagged: None, deleted: Some(digest.to_string()) },
    }
}
