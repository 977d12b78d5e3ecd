// SPDX-License-Identifier: Apache-2.0
//! Where a registry keeps signatures: an image manifest under the tag `sha256-<hex>.sig`, each of whose layers is a payload
//! with its signature as an annotation (cosign's `SIGNATURE_SPEC.md`).

use oci::Digest;
use serde::Deserialize;
use serde_json::{Value, json};

/// The media type of a payload.
pub const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation of a layer that holds the signature of its payload, in base64.
pub const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// The most signatures of one image that are looked at.
const MOST_SIGNATURES: usize = 100;
/// The longest payload, in bytes: one is some 300 bytes, with annotations of its maker's.
const LONGEST_PAYLOAD: u64 = 128 << 10;
/// The longest signature in base64: that of an RSA key of 8192 bits takes 1368.
const LONGEST_SIGNATURE: usize = 4096;

/// Why a document is no manifest of signatures.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Not the JSON that it must be.
    #[error("the manifest of its signatures is malformed: {0}")]
    Malformed(String),
    /// More signatures than anybody needs.
    #[error("its manifest of signatures has {0} of them; at most {MOST_SIGNATURES} are read")]
    TooMany(usize),
}

/// The tag under which the signatures of the manifest with this digest are.
pub fn tag_of(digest: Digest) -> String {
    digest.to_string().replace(':', "-") + ".sig"
}

/// A payload that can be fetched, and its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The payload's digest.
    pub digest: Digest,
    /// Its size in bytes, at most 128 KiB.
    pub size: u64,
    /// The signature, in base64.
    pub signature: String,
}

/// The signatures of one image in a registry.
#[derive(Debug, Clone, PartialEq)]
pub struct SignatureManifest {
    document: Value,
    /// The digest and the size of its configuration; `None` for one that is not in a registry yet.
    pub config: Option<(Digest, u64)>,
    /// The signatures in it.
    pub signatures: Vec<Listed>,
    /// How many layers were passed over: attestations, other types, payloads without a signature or too long.
    pub passed_over: usize,
}

/// The documents that put a signature into a registry. The payload is a blob as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The configuration, a blob.
    pub config: Vec<u8>,
    /// The manifest.
    pub manifest: Vec<u8>,
    /// The manifest's media type.
    pub media_type: &'static str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: u32,
    config: Layer,
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default)]
    annotations: Option<std::collections::BTreeMap<String, String>>,
}

impl Layer {
    fn listed(self) -> Option<Listed> {
        let signature = self.annotations?.remove(SIGNATURE_ANNOTATION)?;
        let taken = self.media_type == SIMPLE_SIGNING
            && self.size <= LONGEST_PAYLOAD
            && !signature.is_empty()
            && signature.len() <= LONGEST_SIGNATURE;
        taken.then_some(Listed { digest: self.digest, size: self.size, signature })
    }
}

impl SignatureManifest {
    /// One without a signature.
    pub fn empty() -> SignatureManifest {
        let document = json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": []});
        SignatureManifest { document, config: None, signatures: Vec::new(), passed_over: 0 }
    }

    /// The signatures in a manifest.
    ///
    /// # Errors
    /// It is none, or has too many.
    pub fn parse(text: &[u8]) -> Result<SignatureManifest, ManifestError> {
        let malformed = |error: serde_json::Error| ManifestError::Malformed(error.to_string());
        let document: Value = serde_json::from_slice(text).map_err(malformed)?;
        let shape = Shape::deserialize(&document).map_err(malformed)?;
        if shape.schema_version != 2 {
            return Err(ManifestError::Malformed(format!("schema version {}", shape.schema_version)));
        }
        let all = shape.layers.len();
        if all > MOST_SIGNATURES {
            return Err(ManifestError::TooMany(all));
        }
        let config = Some((shape.config.digest, shape.config.size));
        let signatures: Vec<Listed> = shape.layers.into_iter().filter_map(Layer::listed).collect();
        Ok(SignatureManifest { document, config, passed_over: all - signatures.len(), signatures })
    }

    /// The same with one more signature. `config` is the text of the configuration that it has now; what else there is
    /// stays as it is.
    ///
    /// # Errors
    /// There are too many already; the configuration is not what it must be.
    pub fn with(&self, payload: &[u8], signature: &str, config: Option<&[u8]>) -> Result<Written, ManifestError> {
        let malformed = |what: &str| ManifestError::Malformed(what.to_owned());
        let mut document = self.document.clone();
        let layers = document["layers"].as_array_mut().ok_or_else(|| malformed("it has no layers"))?;
        if layers.len() >= MOST_SIGNATURES {
            return Err(ManifestError::TooMany(layers.len() + 1));
        }
        let digest = Digest::of(payload).to_string();
        layers.push(json!({
            "mediaType": SIMPLE_SIGNING, "digest": digest, "size": payload.len(),
            "annotations": {SIGNATURE_ANNOTATION: signature},
        }));
        let mut described = match config {
            Some(text) => serde_json::from_slice(text).map_err(|error| ManifestError::Malformed(error.to_string()))?,
            None => json!({"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}}),
        };
        match described.pointer_mut("/rootfs/diff_ids") {
            Some(Value::Array(ids)) => ids.push(digest.into()),
            _ => return Err(malformed("its configuration has no rootfs.diff_ids")),
        }
        let config = described.to_string().into_bytes();
        document["config"] =
            json!({"mediaType": CONFIG, "digest": Digest::of(&config).to_string(), "size": config.len()});
        Ok(Written { config, manifest: document.to_string().into_bytes(), media_type: MANIFEST })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn signatures_are_added_to_what_is_there() {
        let first = SignatureManifest::empty().with(b"one", "c2ln", None).unwrap();
        let read = SignatureManifest::parse(&first.manifest).unwrap();
        assert_eq!(read.config, Some((Digest::of(&first.config), first.config.len() as u64)));
        let second = read.with(b"two", "bW9yZQ==", Some(&first.config)).unwrap();
        let read = SignatureManifest::parse(&second.manifest).unwrap();
        let listed = |text: &[u8], signature: &str| Listed {
            digest: Digest::of(text),
            size: text.len() as u64,
            signature: signature.to_owned(),
        };
        assert_eq!(read.signatures, [listed(b"one", "c2ln"), listed(b"two", "bW9yZQ==")]);
        let config: Value = serde_json::from_slice(&second.config).unwrap();
        let ids = [Digest::of(b"one").to_string(), Digest::of(b"two").to_string()];
        assert_eq!(config["rootfs"]["diff_ids"], json!(ids));
        assert!(read.with(b"three", "x", Some(b"{}")).is_err(), "not the configuration of signatures");
    }

    #[test]
    fn what_is_no_signature_is_passed_over_and_kept() {
        let layer = |kind: &str, size: u64, annotations: Value| json!({"mediaType": kind, "digest": Digest::of(b"x"), "size": size, "annotations": annotations});
        let config = json!({"mediaType": CONFIG, "digest": Digest::of(b"c"), "size": 1});
        let layers = json!([
            layer("application/vnd.dsse.envelope.v1+json", 10, json!({SIGNATURE_ANNOTATION: "c2ln"})),
            layer(SIMPLE_SIGNING, LONGEST_PAYLOAD + 1, json!({SIGNATURE_ANNOTATION: "c2ln"})),
            layer(SIMPLE_SIGNING, 10, json!({SIGNATURE_ANNOTATION: "x".repeat(LONGEST_SIGNATURE + 1)})),
            layer(SIMPLE_SIGNING, 10, json!({"other": "c2ln"})),
            layer(SIMPLE_SIGNING, 10, Value::Null),
            layer(SIMPLE_SIGNING, 10, json!({SIGNATURE_ANNOTATION: "c2ln"})),
        ]);
        let text = json!({"schemaVersion": 2, "config": config, "layers": layers, "annotations": {"kept": "yes"}});
        let read = SignatureManifest::parse(text.to_string().as_bytes()).unwrap();
        assert_eq!((read.signatures.len(), read.passed_over), (1, 5));
        let more = read.with(b"one", "c2ln", None).unwrap();
        let more: Value = serde_json::from_slice(&more.manifest).unwrap();
        assert_eq!((more["layers"].as_array().unwrap().len(), &more["annotations"]["kept"]), (7, &json!("yes")));
    }

    #[test]
    fn too_many_signatures_are_neither_read_nor_written() {
        let mut written = SignatureManifest::empty().with(b"x", "c2ln", None).unwrap();
        for _ in 1..MOST_SIGNATURES {
            let read = SignatureManifest::parse(&written.manifest).unwrap();
            written = read.with(b"x", "c2ln", Some(&written.config)).unwrap();
        }
        let mut document: Value = serde_json::from_slice(&written.manifest).unwrap();
        let full = SignatureManifest::parse(&written.manifest).unwrap();
        assert_eq!(full.with(b"x", "c2ln", Some(&written.config)), Err(ManifestError::TooMany(101)));
        let layers = document["layers"].as_array_mut().unwrap();
        layers.push(layers[0].clone());
        assert_eq!(SignatureManifest::parse(document.to_string().as_bytes()), Err(ManifestError::TooMany(101)));
    }

    #[test]
    fn the_tag_is_cosigns() {
        assert_eq!(tag_of(Digest::of(b"")), format!("sha256-{}.sig", Digest::of(b"").hex()));
    }

    proptest! {
        #[test]
        fn any_text_parses_or_not_and_never_panics(text in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(SignatureManifest::parse(&text).is_err());
        }

        #[test]
        fn a_damaged_manifest_parses_or_not_and_never_panics(place in 0usize..2000, byte in any::<u8>()) {
            let mut text = SignatureManifest::empty().with(b"one", "c2ln", None).unwrap().manifest;
            let place = place % text.len();
            text[place] = byte;
            if let Ok(read) = SignatureManifest::parse(&text) {
                let _ = read.with(b"two", "c2ln", None);
            }
        }
    }
}
