// SPDX-License-Identifier: Apache-2.0
//! Signatures that are wanted: from a registry that lies about them, and before anything else is asked for.

use errors::{Classify as _, Kind, chain};
use image::{Image, ImageError, Images, Quiet};
use oci::{Digest, ImageRef};
use trust::{Payload, Prefix, PrivateKey, PublicKey, SignatureManifest, Written, tag_of};

use crate::fixture::{Draft, Host, tar, three_layers};
use crate::tiny_registry::TinyRegistry;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An image in a registry whose images must be signed.
struct Scene {
    host: Host,
    registry: TinyRegistry,
    name: ImageRef,
    digest: Digest,
    key: PrivateKey,
}

impl Scene {
    fn new() -> Scene {
        let (host, registry) = (Host::new(), TinyRegistry::start());
        let draft = Draft::new(&three_layers());
        let (name, digest) = (registry.push("app", &draft), Digest::of(&draft.finish().0));
        let pair = PrivateKey::generate(b"").unwrap();
        let prefix: Prefix = name.registry().parse().unwrap();
        host.images.add_trust_rule(&prefix, PublicKey::from_pem(&pair.public).unwrap()).unwrap();
        let key = PrivateKey::from_pem(&pair.private, Some(b"")).unwrap();
        Scene { host, registry, name, digest, key }
    }

    /// A signature over the image, which the registry does not have yet.
    fn signed(&self) -> (Vec<u8>, Written) {
        let payload = Payload { name: self.name.clone(), digest: self.digest }.to_text("test", 1);
        let written = SignatureManifest::empty().with(&payload, &self.key.sign(&payload).unwrap(), None).unwrap();
        (payload, written)
    }

    fn put_signatures(&self, media_type: &str, manifest: &[u8]) {
        self.registry.put_manifest("app", &tag_of(self.digest), media_type, manifest);
    }

    async fn pull(&self) -> Result<Image, ImageError> {
        self.host.images.pull(&self.name, None, &Quiet).await
    }

    /// The error of a pull, which leaves nothing.
    async fn refused(&self) -> ImageError {
        let error = self.pull().await.unwrap_err();
        self.host.assert_empty();
        error
    }
}

fn admitted(images: &Images, text: &str) -> Result<(), ImageError> {
    images.admit(text, &images.resolve(text).unwrap())
}

#[tokio::test]
async fn an_unsigned_image_is_refused_before_a_single_blob_is_asked_for() {
    let scene = Scene::new();
    let error = scene.refused().await;
    assert_eq!((error.kind(), scene.registry.blob_requests()), (Kind::PermissionDenied, 0), "{}", chain(&error));
    assert!(matches!(error, ImageError::Untrusted { .. }));
    // Who pulls is not told to pull.
    let hint = error.hint().unwrap();
    assert!(hint.contains("corten image sign") && !hint.contains("corten pull"), "{hint}");
}

#[tokio::test]
async fn a_signed_image_is_pulled_and_admitted_also_by_the_next_daemon() {
    let scene = Scene::new();
    let (payload, written) = scene.signed();
    scene.put_signatures(OCI_MANIFEST, &written.manifest);
    scene.registry.put_blob("app", Digest::of(&payload), payload);
    scene.pull().await.unwrap();
    for images in [&scene.host.images, &scene.host.reopened(None)] {
        admitted(images, &scene.name.to_string()).unwrap();
        // Another repository under the rule is another image, whatever it is made of.
        let other: ImageRef = format!("{}/other:1", scene.name.registry()).parse().unwrap();
        images.tag(&scene.name.to_string(), &other).unwrap();
        assert!(matches!(admitted(images, &other.to_string()), Err(ImageError::Untrusted { .. })));
    }
}

#[tokio::test]
async fn a_registry_that_lies_about_signatures_is_told_so() {
    let scene = Scene::new();
    let (payload, written) = scene.signed();
    scene.put_signatures(OCI_MANIFEST, &written.manifest);
    // No payload; a payload of another content, as long; one that breaks off.
    assert_eq!(scene.refused().await.kind(), Kind::Corrupt);
    let mut changed = payload.clone();
    changed[10] ^= 1;
    scene.registry.put_blob("app", Digest::of(&payload), changed);
    assert!(matches!(scene.refused().await, ImageError::Blob { .. }));
    scene.registry.put_blob("app", Digest::of(&payload), payload.clone());
    scene.registry.stall(Digest::of(&payload));
    assert_eq!(scene.refused().await.kind(), Kind::Unavailable);
    // What is no manifest of signatures.
    for (media_type, text) in [
        ("application/vnd.oci.image.index.v1+json", &br#"{"schemaVersion":2,"manifests":[]}"#[..]),
        (OCI_MANIFEST, br#"{"schemaVersion":2,"layers":"none"}"#),
        (OCI_MANIFEST, b"signatures"),
    ] {
        scene.put_signatures(media_type, text);
        let error = scene.refused().await;
        assert_ne!(error.kind(), Kind::Internal, "{}", chain(&error));
    }
}

#[tokio::test]
async fn a_refused_pull_leaves_the_image_that_is_here() {
    let scene = Scene::new();
    let prefix: Prefix = scene.name.registry().parse().unwrap();
    let keys: Vec<PublicKey> =
        scene.host.images.trust_rules().unwrap().iter().flat_map(|(_, keys)| keys.to_vec()).collect();
    scene.host.images.remove_trust_rule(&prefix).unwrap();
    let image = scene.pull().await.unwrap();
    scene.host.images.add_trust_rule(&prefix, keys[0].clone()).unwrap();
    assert!(scene.pull().await.is_err());
    assert_eq!(scene.host.images.list().unwrap(), [image]);
    let error = admitted(&scene.host.images, &scene.name.to_string()).unwrap_err();
    assert!(matches!(error, ImageError::Untrusted { .. }) && error.hint().unwrap().contains("corten pull"));
}

#[tokio::test]
async fn a_container_is_judged_again_by_the_name_that_it_was_made_by() {
    let scene = Scene::new();
    let (payload, written) = scene.signed();
    scene.put_signatures(OCI_MANIFEST, &written.manifest);
    scene.registry.put_blob("app", Digest::of(&payload), payload);
    let (images, image) = (&scene.host.images, scene.pull().await.unwrap());
    let (name, id) = (scene.name.to_string(), image.id.to_string());
    let is_refused = |text: &str| match images.admit_again(text, image.id) {
        Ok(()) => false,
        Err(ImageError::Untrusted { at_pull: false, .. }) => true,
        Err(other) => panic!("{other}"),
    };
    for text in [name.as_str(), &id, &id[7..19]] {
        assert!(!is_refused(text), "{text}");
    }
    // By another repository's name it was never signed, and by its id it has both.
    let other = format!("{}/other:1", scene.name.registry());
    images.tag(&name, &other.parse().unwrap()).unwrap();
    assert_eq!([is_refused(&name), is_refused(&other), is_refused(&id)], [false, true, true]);
    // The name means another image by now, or none: the container is of the one that was signed.
    images.remove(&other, false, &|_| None).unwrap();
    images.import(&tar(&[("x", "y")])[..], &scene.name, &[]).unwrap();
    assert_eq!([is_refused(&name), is_refused(&other), is_refused(&id)], [false, true, false]);
    assert!(matches!(admitted(images, &name), Err(ImageError::Untrusted { .. })), "the new one is not");
    // Another key than the one that signed it.
    let prefix: Prefix = scene.name.registry().parse().unwrap();
    images.remove_trust_rule(&prefix).unwrap();
    let another = PrivateKey::generate(b"").unwrap();
    images.add_trust_rule(&prefix, PublicKey::from_pem(&another.public).unwrap()).unwrap();
    assert!(is_refused(&name));
}
