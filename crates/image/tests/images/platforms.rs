// SPDX-License-Identifier: Apache-2.0
//! Archives of an image for several platforms: those that are wanted are loaded, and one of them bears the name.

use errors::{Classify as _, Kind};
use image::{ImageError, Loaded, Platform};
use layer::{Entry, Kind as Member, Writer};
use oci::Digest;
use serde_json::json;

use crate::fixture::{Draft, Host, architecture, tar};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An image layout whose one name stands for builds for this host and for s390x, each of a layer of its own.
fn archive() -> Vec<u8> {
    let mut files = Vec::new();
    let mut entries = Vec::new();
    for architecture in ["s390x", architecture()] {
        let mut draft = Draft::new(&[tar(&[("architecture", architecture)])]);
        draft.config["architecture"] = json!(architecture);
        let (manifest, blobs) = draft.finish();
        let platform = json!({"os": "linux", "architecture": architecture});
        let (digest, size) = (Digest::of(&manifest), manifest.len());
        entries.push(json!({"mediaType": MANIFEST, "digest": digest, "size": size, "platform": platform}));
        files.extend(blobs.into_values().chain([manifest]));
    }
    let inner = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).to_string();
    let outer = json!({"schemaVersion": 2, "manifests": [{"mediaType": INDEX, "digest": Digest::of(&inner),
        "size": inner.len(), "annotations": {"io.containerd.image.name": "docker.io/library/both:1"}}]});
    files.push(inner.into_bytes());
    let files = files.into_iter().map(|file| (format!("blobs/sha256/{}", Digest::of(&file).hex()), file));
    let documents = [("index.json", outer.to_string()), ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#.into())];
    let documents = documents.map(|(name, text)| (name.to_owned(), text.into_bytes()));
    let mut writer = Writer::new(Vec::new());
    for (name, content) in files.chain(documents) {
        let mut entry = Entry::new(Member::File, name, 0o644);
        entry.size = content.len() as u64;
        writer.file(&entry, &content).unwrap();
    }
    writer.finish().unwrap()
}

fn load(host: &Host, platforms: &[&str]) -> Result<Vec<(String, Vec<String>)>, ImageError> {
    let platforms: Vec<Platform> = platforms.iter().map(|text| text.parse().unwrap()).collect();
    let told = |Loaded { image, names }: Loaded| {
        (image.config.architecture().to_string(), names.iter().map(ToString::to_string).collect())
    };
    Ok(host.images.load(&archive()[..], &platforms)?.into_iter().map(told).collect())
}

#[test]
fn of_several_platforms_this_hosts_bears_the_name() {
    let own = format!("linux/{}", architecture());
    let named = |architecture: &str| (architecture.to_owned(), vec!["both:1".to_owned()]);
    let host = Host::new();
    assert_eq!(load(&host, &[]).unwrap(), [named(architecture())]);
    let host = Host::new();
    assert_eq!(load(&host, &["linux/s390x", &own]).unwrap(), [named(architecture()), ("s390x".to_owned(), vec![])]);
    let image = host.images.resolve("both:1").unwrap();
    assert_eq!(image.config.architecture().to_string(), architecture());
    assert_eq!(host.images.list().unwrap().len(), 2, "the other is here without a name");
    // Of what is under the name, only this one can be saved.
    let save = |platforms: &[Platform]| host.images.save(&["both:1".to_owned()], platforms).map(drop);
    let (own, other): (Platform, Platform) = (own.parse().unwrap(), "linux/s390x".parse().unwrap());
    save(std::slice::from_ref(&own)).unwrap();
    let error = save(&[own, other]).unwrap_err();
    assert!(error.to_string().contains("linux/s390x"), "{error}");
}

#[test]
fn a_platform_that_is_not_there_is_named_and_nothing_is_kept() {
    let host = Host::new();
    let own = format!("linux/{}", architecture());
    let error = load(&host, &[&own, "linux/mips64"]).unwrap_err();
    assert!(error.to_string().contains("linux/mips64") && error.kind() == Kind::Unsupported, "{error}");
    host.assert_empty();
    assert_eq!(load(&host, &["linux/s390x"]).unwrap(), [("s390x".to_owned(), vec!["both:1".to_owned()])]);
}
