// SPDX-License-Identifier: Apache-2.0
//! The documents of an OCI image layout (image-spec, `image-layout.md`): the same in a directory and in an archive.

use std::collections::BTreeMap;

use oci::Digest;
use oci::document::{Descriptor, Index};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::document::{Document, encode, inconsistent, parse};
use crate::error::TransferError;

pub(crate) const LAYOUT: &str = "oci-layout";
pub(crate) const INDEX: &str = "index.json";
/// What `oci-layout` holds.
pub(crate) const VERSION: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// The reference by which an image is found.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// An image's full name, as Docker and containerd write it beside.
const IMAGE_NAME: &str = "io.containerd.image.name";

/// Where a blob is.
pub(crate) fn blob(digest: &Digest) -> String {
    format!("blobs/{}", digest.blob_name())
}

/// Whether the text of `oci-layout` is that of a known version.
pub(crate) fn check(place: &str, text: Option<&[u8]>) -> Result<(), TransferError> {
    #[derive(Deserialize)]
    struct Layout {
        #[serde(rename = "imageLayoutVersion")]
        version: String,
    }
    let layout = text.and_then(|text| serde_json::from_slice::<Layout>(text).ok());
    match layout {
        Some(layout) if layout.version == "1.0.0" => Ok(()),
        _ => Err(TransferError::Layout { place: place.to_owned() }),
    }
}

/// The entry of `index.json` that `reference` means; without one, the only one.
pub(crate) fn find(place: &str, index: &[u8], reference: Option<&str>) -> Result<Descriptor, TransferError> {
    let mut entries = parse::<Index>(place, INDEX, index)?.manifests;
    let available = |entries: &[Descriptor]| entries.iter().filter_map(name_of).map(str::to_owned).collect();
    let place = || place.to_owned();
    let Some(wanted) = reference else {
        return match entries.len() {
            0 => Err(TransferError::NoImage { place: place(), available: Vec::new() }),
            1 => Ok(entries.remove(0)),
            _ => Err(TransferError::Several { place: place(), available: shown(&entries) }),
        };
    };
    let has = |entry: &&Descriptor, key: &str| entry.annotations.get(key).is_some_and(|name| name == wanted);
    // By its reference, or else by the full name that Docker gives it: of several images with the tag 1.0, say.
    for key in [REF_NAME, IMAGE_NAME] {
        let mut found = entries.iter().filter(|entry| has(entry, key));
        match (found.next(), found.next()) {
            (Some(first), Some(second)) if first.digest != second.digest => {
                return Err(inconsistent(&place(), "its index has this reference twice, for different images"));
            }
            (Some(first), _) => return Ok(first.clone()),
            (None, _) => {}
        }
    }
    Err(TransferError::NoImage { place: place(), available: available(&entries) })
}

fn name_of(entry: &Descriptor) -> Option<&str> {
    entry.annotations.get(REF_NAME).or_else(|| entry.annotations.get(IMAGE_NAME)).map(String::as_str)
}

/// The entries' names, or the digests of those without.
fn shown(entries: &[Descriptor]) -> Vec<String> {
    entries.iter().map(|entry| name_of(entry).map_or_else(|| entry.digest.to_string(), str::to_owned)).collect()
}

/// `index.json` after `top` has become the image of `reference`: what is there of others stays as it is.
pub(crate) fn with(
    place: &str,
    before: Option<&[u8]>,
    top: &Document,
    reference: Option<&str>,
) -> Result<Vec<u8>, TransferError> {
    let mut index: Map<String, Value> = match before {
        Some(text) => parse(place, INDEX, text)?,
        None => Map::new(),
    };
    index.insert("schemaVersion".to_owned(), json!(2));
    let mut entry = top.descriptor();
    entry.annotations =
        reference.map(|name| BTreeMap::from([(REF_NAME.to_owned(), name.to_owned())])).unwrap_or_default();
    let list = index.entry("manifests").or_insert_with(|| json!([]));
    let list = list.as_array_mut().ok_or_else(|| inconsistent(place, "its index has no list of manifests"))?;
    let name = |entry: &Value| entry["annotations"][REF_NAME].as_str().map(str::to_owned);
    list.retain(|there| match (name(there), reference) {
        (Some(there), Some(wanted)) => there != wanted,
        // A nameless image is replaced by itself only.
        (None, None) => there["digest"] != json!(top.digest),
        _ => true,
    });
    list.push(json!(entry));
    encode(place, INDEX, &index)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn document(text: &str) -> Document {
        Document::read("x", format!(r#"{{"schemaVersion":2,"layers":[],"x":"{text}"}}"#), None).unwrap()
    }

    #[test]
    fn an_image_is_found_by_its_reference_and_replaced_by_it() {
        let (one, two, three) = (document("1"), document("2"), document("3"));
        let index = with("x", None, &one, Some("a")).unwrap();
        assert_eq!(find("x", &index, None).unwrap().digest, one.digest);
        let index = with("x", Some(&index), &two, Some("b")).unwrap();
        assert_eq!(find("x", &index, Some("a")).unwrap().digest, one.digest);
        assert!(
            matches!(find("x", &index, None), Err(TransferError::Several { available, .. }) if available == ["a", "b"])
        );
        assert!(matches!(find("x", &index, Some("c")), Err(TransferError::NoImage { .. })));
        let index = with("x", Some(&index), &three, Some("a")).unwrap();
        assert_eq!(find("x", &index, Some("a")).unwrap().digest, three.digest);
        let nameless = with("x", Some(&index), &one, None).unwrap();
        let again: Value = serde_json::from_slice(&with("x", Some(&nameless), &one, None).unwrap()).unwrap();
        assert_eq!(again["manifests"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn what_others_wrote_stays() {
        let before =
            json!({"schemaVersion": 2, "annotations": {"k": "v"}, "manifests": [{"digest": "sha512:00", "other": 1}]});
        let after = with("x", Some(before.to_string().as_bytes()), &document("1"), Some("a")).unwrap();
        let after: Value = serde_json::from_slice(&after).unwrap();
        assert_eq!((&after["annotations"], &after["manifests"][0]), (&before["annotations"], &before["manifests"][0]));
        assert!(with("x", Some(b"[]"), &document("1"), None).is_err());
        assert!(with("x", Some(br#"{"manifests":1}"#), &document("1"), None).is_err());
    }

    #[test]
    fn a_full_name_finds_what_docker_saved() {
        let entry = |name: &str| {
            let annotations = json!({REF_NAME: "1", IMAGE_NAME: format!("docker.io/library/{name}:1")});
            json!({"mediaType": "m", "digest": Digest::of(name), "size": 1, "annotations": annotations})
        };
        let index = json!({"manifests": [entry("a"), entry("b")]}).to_string();
        let found = find("x", index.as_bytes(), Some("docker.io/library/b:1")).unwrap();
        assert_eq!(found.digest, Digest::of("b"));
        assert!(matches!(find("x", index.as_bytes(), Some("1")), Err(TransferError::Inconsistent { .. })));
    }

    #[test]
    fn only_the_known_version_is_read() {
        assert!(check("x", Some(VERSION)).is_ok());
        for bad in [None, Some(&b"{}"[..]), Some(br#"{"imageLayoutVersion":"2.0.0"}"#)] {
            assert!(check("x", bad).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_index_is_read_or_refused(text in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = find("x", &text, Some("a"));
            let _ = with("x", Some(&text), &document("1"), Some("a"));
        }
    }
}
