// SPDX-License-Identifier: Apache-2.0
//! An image as Docker's clients read it.

use api_types::docker::{ImageConfig, ImageDeleteResponseItem, ImageInspect, ImageInspectRootFs, ImageSummary};
use image::{Image, Removed};
use jiff::Timestamp;
use oci::ImageRef;
use oci::image_spec::Config;

/// An image as `images` lists it.
pub(crate) fn summary(image: &Image) -> ImageSummary {
    let created = image.created.as_deref().and_then(|time| time.parse::<Timestamp>().ok());
    let labels = image.config.config().as_ref().and_then(|config| config.labels().clone());
    ImageSummary {
        id: image.id.to_string(),
        repo_tags: tags(image),
        repo_digests: digests(image),
        created: created.map_or(0, Timestamp::as_second),
        size: size(image),
        shared_size: -1,
        containers: -1,
        labels: labels.unwrap_or_default().into_iter().collect(),
        ..ImageSummary::default()
    }
}

/// All about an image.
pub(crate) fn inspect(image: &Image) -> ImageInspect {
    ImageInspect {
        id: Some(image.id.to_string()),
        repo_tags: Some(tags(image)),
        repo_digests: Some(digests(image)),
        created: image.created.clone(),
        author: image.config.author().clone(),
        config: Some(image.config.config().as_ref().map(config).unwrap_or_default()),
        architecture: Some(image.config.architecture().to_string()),
        variant: image.config.variant().clone(),
        os: Some(image.config.os().to_string()),
        size: Some(size(image)),
        root_fs: Some(ImageInspectRootFs {
            typ: "layers".into(),
            layers: Some(image.layers.iter().map(ToString::to_string).collect()),
        }),
        ..ImageInspect::default()
    }
}

fn size(image: &Image) -> i64 {
    i64::try_from(image.size).unwrap_or(i64::MAX)
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
    ImageConfig {
        user: Some(config.user().clone().unwrap_or_default()),
        exposed_ports: config.exposed_ports().clone(),
        env: config.env().clone(),
        cmd: config.cmd().clone(),
        volumes: config.volumes().clone(),
        working_dir: Some(config.working_dir().clone().unwrap_or_default()),
        entrypoint: config.entrypoint().clone(),
        labels: config.labels().clone().map(|labels| labels.into_iter().collect()),
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
