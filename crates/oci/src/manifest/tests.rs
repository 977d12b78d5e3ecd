// SPDX-License-Identifier: Apache-2.0

use proptest::prelude::*;

use super::*;
use crate::media_type::{DOCKER_CONFIG, DOCKER_LIST, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST};

fn layer(format: Format, compression: Compression, digest: &str) -> Value {
    json!({"mediaType": LayerType::of(compression).name(format), "digest": Digest::of(digest), "size": 7})
}

fn manifest(format: Format, layers: &[Value]) -> Value {
    let config = json!({"mediaType": format.config(), "digest": Digest::of("config"), "size": 2});
    let annotations = json!({"kept": "yes"});
    json!({"schemaVersion": 2, "mediaType": format.manifest(), "config": config, "layers": layers, "annotations": annotations})
}

fn text(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

#[test]
fn a_manifest_becomes_the_other_format_and_comes_back_as_it_was() {
    for (format, other) in [(Format::Docker, Format::Oci), (Format::Oci, Format::Docker)] {
        let of = |format| {
            let layers = [layer(format, Compression::Gzip, "a"), layer(format, Compression::None, "b")];
            manifest(format, &layers)
        };
        let there = converted(&text(&of(format)), other, &BTreeMap::new()).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&there).unwrap(), of(other));
        let back = converted(&there, format, &BTreeMap::new()).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&back).unwrap(), of(format));
    }
}

#[test]
fn a_layer_is_replaced_by_its_digest_and_loses_what_described_its_compression() {
    let mut old = layer(Format::Oci, Compression::Zstd, "a");
    old["annotations"] = json!({"io.github.containers.zstd-chunked.manifest-position": "1:2", "mine": "x"});
    old["data"] = json!("eA==");
    let before = manifest(Format::Oci, &[old, layer(Format::Oci, Compression::Gzip, "b")]);
    let new = NewLayer { digest: Digest::of("new"), size: 9, compression: Compression::Gzip };
    let after = converted(&text(&before), Format::Docker, &BTreeMap::from([(Digest::of("a"), new)])).unwrap();
    let after: Value = serde_json::from_slice(&after).unwrap();
    let mut expected = layer(Format::Docker, Compression::Gzip, "new");
    expected["size"] = json!(9);
    expected["annotations"] = json!({"mine": "x"});
    assert_eq!(after["layers"][0], expected);
    assert_eq!(after["layers"][1], layer(Format::Docker, Compression::Gzip, "b"));
}

#[test]
fn what_the_other_format_does_not_know_is_refused_by_name() {
    let zstd = manifest(Format::Oci, &[layer(Format::Oci, Compression::Zstd, "a")]);
    let error = converted(&text(&zstd), Format::Docker, &BTreeMap::new()).unwrap_err();
    assert!(error.to_string().contains("tar+zstd"), "{error}");
    let mut chart = manifest(Format::Oci, &[]);
    chart["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json");
    let error = converted(&text(&chart), Format::Docker, &BTreeMap::new()).unwrap_err();
    assert!(error.to_string().contains("helm"), "{error}");
    for bad in [json!([]), json!({}), json!({"config": {"mediaType": OCI_CONFIG}, "layers": [1]})] {
        assert!(converted(&text(&bad), Format::Oci, &BTreeMap::new()).is_err(), "{bad}");
        assert!(converted_index(&text(&bad), Format::Oci, &BTreeMap::new()).is_err(), "{bad}");
    }
}

#[test]
fn an_index_names_the_new_manifests_and_keeps_the_platforms() {
    let entry = |format: Format, name: &str, size: u64| json!({"mediaType": format.manifest(), "digest": Digest::of(name), "size": size, "platform": {"os": "linux", "architecture": name}});
    let index = |format: Format, entries: &[Value]| json!({"schemaVersion": 2, "mediaType": format.index(), "manifests": entries});
    let before = index(Format::Docker, &[entry(Format::Docker, "a", 1), entry(Format::Docker, "b", 2)]);
    let new = |name: &str, size| NewEntry { digest: Digest::of(name), size, media_type: OCI_MANIFEST.to_owned() };
    let entries = BTreeMap::from([(Digest::of("a"), new("c", 3)), (Digest::of("b"), new("d", 4))]);
    let after = converted_index(&text(&before), Format::Oci, &entries).unwrap();
    let mut expected = index(Format::Oci, &[entry(Format::Oci, "c", 3), entry(Format::Oci, "d", 4)]);
    expected["manifests"][0]["platform"]["architecture"] = json!("a");
    expected["manifests"][1]["platform"]["architecture"] = json!("b");
    assert_eq!(serde_json::from_slice::<Value>(&after).unwrap(), expected);
}

#[test]
fn a_document_is_one_kind_and_says_so() {
    let image = manifest(Format::Docker, &[]);
    assert_eq!(type_of(&text(&image), None).unwrap(), DOCKER_MANIFEST);
    assert_eq!(type_of(&text(&image), Some(DOCKER_MANIFEST)).unwrap(), DOCKER_MANIFEST);
    assert!(matches!(type_of(&text(&image), Some(OCI_MANIFEST)), Err(TypeError::Ambiguous { .. })));
    let mut bare = image.clone();
    bare.as_object_mut().unwrap().remove("mediaType");
    assert_eq!(type_of(&text(&bare), None).unwrap(), OCI_MANIFEST);
    assert!(matches!(type_of(&text(&bare), Some(DOCKER_LIST)), Err(TypeError::Ambiguous { .. })));
    let both = json!({"schemaVersion": 2, "manifests": [], "layers": []});
    assert!(matches!(type_of(&text(&both), None), Err(TypeError::Ambiguous { .. })));
    assert_eq!(type_of(&text(&json!({"schemaVersion": 2, "manifests": []})), None).unwrap(), OCI_INDEX);
    assert!(matches!(type_of(&text(&json!({"schemaVersion": 1})), None), Err(TypeError::Unknown(_))));
    assert!(matches!(type_of(&text(&bare), Some(DOCKER_CONFIG)), Err(TypeError::Unknown(_))));
    assert!(matches!(type_of(b"[]", None), Err(TypeError::Json(_))));
}

proptest! {
    #[test]
    fn any_text_is_a_document_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = type_of(&bytes, None);
        let _ = converted(&bytes, Format::Docker, &BTreeMap::new());
        let _ = converted_index(&bytes, Format::Oci, &BTreeMap::new());
    }
}
