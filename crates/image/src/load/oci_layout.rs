// SPDX-License-Identifier: Apache-2.0
//! `index.json`: the images of an archive that is an OCI image layout (image-spec, `image-layout.md`).

use std::collections::BTreeMap;

use ::oci::document::{self, Descriptor, Index};
use ::oci::{ImageRef, Platform};
use registry_client::media_type;
use serde::Deserialize;

use super::error::LoadError;
use super::members::Members;
use super::{Archived, Found, blob, bounded, name};
use crate::document::MAX_CONFIG;
use crate::error::ImageError;
use crate::references::Session;
use crate::save::{IMAGE_NAME, REF_NAME};

/// Indexes may hold indexes; deeper than this it is a maze.
const MAX_NESTING: usize = 3;

#[derive(Deserialize)]
struct Layout {
    #[serde(rename = "imageLayoutVersion")]
    version: String,
}

/// The images that `index.json` names; none where the archive is no image layout.
pub(super) fn images(session: &Session, members: &Members, platforms: &[Platform]) -> Result<Archived, ImageError> {
    let mut images = Archived::new();
    let (Some(layout), Some(index)) = (members.document("oci-layout"), members.document("index.json")) else {
        return Ok(images);
    };
    let layout: Layout = parse("oci-layout", layout)?;
    if layout.version != "1.0.0" {
        return Err(LoadError::Layout(layout.version.chars().take(40).collect()).into());
    }
    let entries = parse::<Index>("index.json", index)?.manifests;
    bounded(entries.len())?;
    for entry in entries {
        let names = named(&entry.annotations)?;
        for found in manifests_for(session, members, &entry, platforms)? {
            let image = images.entry(found.digest).or_insert_with(|| Found {
                manifest: found.digest,
                media_type: found.media_type,
                names: Default::default(),
            });
            image.names.extend(names.clone());
        }
    }
    Ok(images)
}

fn parse<T: for<'de> Deserialize<'de>>(document: &'static str, text: &[u8]) -> Result<T, LoadError> {
    serde_json::from_slice(text).map_err(|source| LoadError::Document { document, source })
}

/// The name that an entry's annotations give: the full one, or one that is more than a tag.
fn named(annotations: &BTreeMap<String, String>) -> Result<Option<ImageRef>, LoadError> {
    if let Some(full) = annotations.get(IMAGE_NAME) {
        return name(full).map(Some);
    }
    // A tag without a repository names nothing.
    let text = annotations.get(REF_NAME).filter(|text| text.contains(['/', ':']));
    text.map(|text| name(text)).transpose()
}

/// The manifests of `top` for `platforms`, each once; without any the one for this host, or the first that came along.
fn manifests_for(
    session: &Session,
    members: &Members,
    top: &Descriptor,
    platforms: &[Platform],
) -> Result<Vec<Descriptor>, ImageError> {
    let wanted: Vec<Option<&Platform>> = match platforms {
        [] => vec![None],
        some => some.iter().map(Some).collect(),
    };
    let mut found: Vec<Descriptor> = Vec::new();
    for platform in wanted {
        if let Some(manifest) = manifest_for(session, members, top, platform)?
            && !found.contains(&manifest)
        {
            found.push(manifest);
        }
    }
    if found.is_empty() {
        let what = "manifest for the platform in question, in its index";
        return Err(LoadError::Missing { what, name: top.digest.to_string() }.into());
    }
    Ok(found)
}

/// Goes from an index to one of its manifests: for `platform`, or for this host, or the first that came along.
fn manifest_for(
    session: &Session,
    members: &Members,
    top: &Descriptor,
    platform: Option<&Platform>,
) -> Result<Option<Descriptor>, ImageError> {
    let mut found = top.clone();
    for _ in 0..MAX_NESTING {
        let text = blob(session, found.digest, MAX_CONFIG)?;
        if text.len() as u64 != found.size {
            return Err(
                LoadError::Missing { what: "manifest of the right size", name: found.digest.to_string() }.into()
            );
        }
        if !matches!(found.media_type.as_str(), media_type::OCI_INDEX | media_type::DOCKER_LIST) {
            return Ok(Some(found));
        }
        let all = parse::<Index>("an index", &text)?.manifests.into_iter();
        let here: Vec<Descriptor> = all.filter(|entry| members.has_blob(&entry.digest)).collect();
        match choose(&here, platform) {
            Some(next) => found = next,
            None => return Ok(None),
        }
    }
    Err(LoadError::Missing { what: "manifest at the end of its indexes,", name: found.digest.to_string() }.into())
}

fn choose(here: &[Descriptor], platform: Option<&Platform>) -> Option<Descriptor> {
    let for_platform = |wanted: &Platform| document::choose(here, wanted).ok();
    let is_image = |entry: &&Descriptor| entry.platform.as_ref().is_none_or(document::is_of_images);
    let found = match platform {
        Some(wanted) => for_platform(wanted),
        None => for_platform(&Platform::host()).or_else(|| here.iter().find(is_image)),
    };
    found.cloned()
}

#[cfg(test)]
mod tests {
    use ::oci::Digest;

    use super::*;

    #[test]
    fn a_tag_alone_is_no_name() {
        let named = |pairs: &[(&str, &str)]| {
            let annotations = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            named(&annotations).map(|name| name.map(|name| name.to_string()))
        };
        assert_eq!(named(&[]).unwrap(), None);
        assert_eq!(named(&[(REF_NAME, "latest")]).unwrap(), None);
        assert_eq!(named(&[(REF_NAME, "a:1")]).unwrap().as_deref(), Some("a:1"));
        let full = [(IMAGE_NAME, "docker.io/library/b:2"), (REF_NAME, "2")];
        assert_eq!(named(&full).unwrap().as_deref(), Some("b:2"));
        assert!(named(&[(IMAGE_NAME, "A B")]).is_err());
    }

    #[test]
    fn the_hosts_platform_is_preferred_and_attestations_are_no_images() {
        let entry = |platform: &str| {
            let descriptor = Descriptor::new(media_type::OCI_MANIFEST, Digest::of(platform), 1);
            Descriptor { platform: platform.parse().ok(), ..descriptor }
        };
        let host = Platform::host().to_string();
        let all = ["unknown/unknown", "linux/s390x", &host].map(entry);
        let digest = |wanted: Option<&str>, count: usize| {
            let wanted = wanted.map(|text| text.parse().unwrap());
            choose(&all[..count], wanted.as_ref()).map(|entry| entry.digest)
        };
        assert_eq!(digest(None, 3), Some(Digest::of(&host)));
        assert_eq!(digest(None, 2), Some(Digest::of("linux/s390x")));
        assert_eq!(digest(None, 1), None);
        assert_eq!(digest(Some("linux/s390x"), 3), Some(Digest::of("linux/s390x")));
        assert_eq!(digest(Some("linux/ppc64le"), 3), None);
    }
}
