// SPDX-License-Identifier: Apache-2.0
//! Committing: the documents of what is made on another image.

use image::{Commit, Overrides, Quiet};
use oci::Digest;
use serde_json::{Value, json};

use crate::fixture::{Draft, Host, three_layers};
use crate::tiny_registry::TinyRegistry;

#[tokio::test]
async fn what_a_base_says_of_its_parts_is_not_said_of_the_new_image() {
    let (host, registry) = (Host::new(), TinyRegistry::start());
    let mut draft = Draft::new(&three_layers());
    let plain = draft.manifest["layers"].clone();
    draft.manifest["annotations"] = json!({"of": "the base"});
    draft.manifest["config"]["annotations"] = json!({"of": "its configuration"});
    draft.manifest["config"]["urls"] = Value::Null;
    draft.manifest["layers"][0]["annotations"] = json!({"of": "a layer"});
    draft.manifest["layers"][1]["urls"] = json!(["http://127.0.0.1/"]);
    let base = host.images.pull(&registry.push("base", &draft), None, &Quiet).await.unwrap();
    let commit = Commit {
        base: base.id,
        name: None,
        overrides: Overrides::default(),
        changes: Vec::new(),
        author: None,
        comment: None,
        created_by: "test".to_owned(),
        mount_points: Vec::new(),
    };
    let made = host.images.commit(&commit, None).unwrap();
    let text = host.content.read_blob(&made.manifest, 1 << 20).unwrap();
    let config = host.content.read_blob(&made.id, 1 << 20).unwrap();
    let new = serde_json::from_slice::<Value>(&text).unwrap()["layers"][3].clone();
    assert_eq!(made.layers[3], Digest::of([0_u8; 1024]), "nothing was changed");
    let mut layers = plain;
    layers.as_array_mut().unwrap().push(new);
    let expected = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": layers,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": made.id, "size": config.len()},
    });
    assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), expected);
}
