// SPDX-License-Identifier: Apache-2.0
//! What manifests and indexes say, as far as it decides something. The documents themselves are kept and handed on byte
//! for byte; [`crate::manifest`] makes one of another.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::Digest;
use crate::platform::Platform;

/// A reference to other content (image-spec, `descriptor.md`).
///
/// What is not set is not written. An optional part that is `null` is one that is not set: encoders of Go write such.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    pub media_type: String,
    /// The content's digest.
    pub digest: Digest,
    /// The content's size in bytes.
    pub size: u64,
    /// For which machines the image is made, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Where the content can also be had.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// What its makers say of it.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// One that says what it must, and nothing else. `size` is in bytes.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Descriptor {
        let media_type = media_type.into();
        Descriptor { media_type, digest, size, platform: None, urls: Vec::new(), annotations: BTreeMap::new() }
    }
}

/// An image's manifest (image-spec, `manifest.md`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// 2.
    pub schema_version: u32,
    /// Its own type, where it says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, bottom first.
    pub layers: Vec<Descriptor>,
}

/// What an index lists (image-spec, `image-index.md`); the `index.json` of an image layout is one, too.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Index {
    /// Manifests, and further indexes. None where the index has no list.
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
}

/// An index has no image for the platform in question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherPlatforms {
    /// For which it has some, in its order. Entries that name no platform do not count, nor do attestations.
    pub available: Vec<Platform>,
}

/// The one of an index's entries that is for `wanted`: the first, as containerd has it, because makers put first what
/// they prefer.
///
/// # Errors
/// [`OtherPlatforms`] when there is none. Who asked knows which image it was, and makes an error of it.
pub fn choose<'a>(entries: &'a [Descriptor], wanted: &Platform) -> Result<&'a Descriptor, OtherPlatforms> {
    let serves = |entry: &&Descriptor| entry.platform.as_ref().is_some_and(|platform| platform.serves(wanted));
    entries.iter().find(serves).ok_or_else(|| {
        let named = entries.iter().filter_map(|entry| entry.platform.as_ref());
        OtherPlatforms { available: named.filter(|platform| is_of_images(platform)).cloned().collect() }
    })
}

/// Whether what an index lists for this platform is an image: attestations stand there as manifests for `unknown/unknown`.
pub fn is_of_images(platform: &Platform) -> bool {
    platform.os != "unknown"
}

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media_type::{OCI_CONFIG, OCI_MANIFEST};

    fn entry(platform: &str) -> Descriptor {
        Descriptor { platform: platform.parse().ok(), ..Descriptor::new(OCI_MANIFEST, Digest::of(platform), 1) }
    }

    #[test]
    fn the_first_that_serves_is_chosen() {
        let all = ["unknown/unknown", "linux/arm/v6", "linux/arm64/v8", "linux/arm64", "linux/amd64", "linux/amd64/v3"];
        let all = all.map(entry);
        for (wanted, found) in
            [("linux/amd64", "linux/amd64"), ("linux/arm64", "linux/arm64/v8"), ("linux/amd64/v3", "linux/amd64/v3")]
        {
            assert_eq!(choose(&all, &wanted.parse().unwrap()), Ok(&entry(found)), "{wanted}");
        }
    }

    #[test]
    fn what_there_is_instead_has_no_attestations_and_nothing_unnamed() {
        let mut all = ["linux/s390x", "unknown/unknown", "linux/arm/v6"].map(entry).to_vec();
        all.insert(1, Descriptor::new(OCI_MANIFEST, Digest::of("x"), 1));
        let available = ["linux/s390x", "linux/arm/v6"].map(|text| text.parse().unwrap()).to_vec();
        assert_eq!(choose(&all, &"linux/amd64".parse().unwrap()), Err(OtherPlatforms { available }));
    }

    #[test]
    fn what_is_not_set_is_not_written() {
        let config = Descriptor::new(OCI_CONFIG, Digest::of("c"), 7);
        let mut layer = Descriptor::new("l", Digest::of("l"), 8);
        layer.annotations.insert("k".into(), "v".into());
        layer.urls.push("u".into());
        let manifest = Manifest { schema_version: 2, media_type: None, config, layers: vec![layer] };
        let (c, l) = (Digest::of("c"), Digest::of("l"));
        let text = format!(r#"{{"schemaVersion":2,"config":{{"mediaType":"{OCI_CONFIG}","digest":"{c}","size":7}},"#)
            + &format!(
                r#""layers":[{{"mediaType":"l","digest":"{l}","size":8,"urls":["u"],"annotations":{{"k":"v"}}}}]}}"#
            );
        assert_eq!(serde_json::to_string(&manifest).unwrap(), text);
        assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), manifest);
    }

    #[test]
    fn null_is_not_set() {
        let text = format!(
            r#"{{"manifests":[{{"mediaType":"m","digest":"{}","size":1,"platform":null,"urls":null,"annotations":null}}]}}"#,
            Digest::of("d")
        );
        let index: Index = serde_json::from_str(&text).unwrap();
        assert_eq!(index.manifests, [Descriptor::new("m", Digest::of("d"), 1)]);
        assert_eq!(serde_json::from_str::<Index>("{}").unwrap().manifests, []);
    }
}
