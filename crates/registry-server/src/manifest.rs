// SPDX-License-Identifier: Apache-2.0
//! What a pushed manifest says (image-spec, `manifest.md` and `image-index.md`): its type, what it refers to, its subject.
//!
//! Types that nobody knows are taken as they are: an artifact may have any. Of a known type, what is not as its
//! specification says is refused, so that two readers cannot see two different images under one digest (CVE-2021-41190).

use std::collections::BTreeMap;

use bytes::Bytes;
use oci::{Algorithm, Digest};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

/// The longest manifest, in bytes (distribution-spec, "Pushing Manifests": at least 4 MB should be supported).
pub(crate) const MAX_MANIFEST: usize = 4 << 20;
/// The longest media type (RFC 6838, section 4.2: 127 characters on each side of the slash).
const MAX_MEDIA_TYPE: usize = 255;

/// The media type of an OCI image index, as lists of referrers are.
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's first format, whose signatures change its digest.
const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+";

/// Why a manifest cannot be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    #[error("the manifest is not JSON of its type")]
    Json(#[source] serde_json::Error),
    #[error("{0:?} is not a media type")]
    MediaType(String),
    #[error("there is neither a Content-Type nor a mediaType that says what it is")]
    Untyped,
    #[error("the Content-Type is {header}, but the manifest says that it is {inside}")]
    TwoTypes { header: String, inside: String },
    #[error("it reads as an index and as an image at once")]
    Ambiguous,
    #[error("its type says {media_type}, its content does not")]
    OtherContent { media_type: String },
    #[error("manifests of the type {0} are not supported")]
    Schema1(String),
    #[error("one of its descriptors is wrong")]
    Descriptor(#[source] oci::DigestError),
}

/// Something that a manifest refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) digest: Digest,
    /// Bytes.
    pub(crate) size: u64,
    /// Whether the repository must have it. Layers that may not be distributed lie elsewhere.
    pub(crate) required: bool,
}

/// A manifest as it was pushed, understood.
#[derive(Debug, Clone)]
pub(crate) struct Pushed {
    /// The digest of `body`.
    pub(crate) digest: Digest,
    /// As its client says.
    pub(crate) media_type: String,
    /// Byte for byte.
    pub(crate) body: Bytes,
    /// All it needs.
    pub(crate) references: Vec<Reference>,
    /// The manifest it is about, which need not exist.
    pub(crate) subject: Option<Digest>,
    artifact_type: Option<String>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Document {
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    /// Of artifact manifests, as they were before image-spec 1.1.
    blobs: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    urls: Option<Vec<String>>,
}

/// A descriptor as lists of referrers have it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Referrer<'a> {
    media_type: &'a str,
    digest: Digest,
    size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<&'a BTreeMap<String, String>>,
}

impl Pushed {
    /// What `body` says, which was pushed with this `Content-Type`. Its digest is to be of `algorithm`.
    pub(crate) fn read(content_type: Option<&str>, body: Bytes, algorithm: Algorithm) -> Result<Pushed, ManifestError> {
        let header = content_type.map(|value| value.split(';').next().unwrap_or(value).trim());
        let header = header.filter(|value| !matches!(*value, "" | "application/json" | "application/octet-stream"));
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Typed {
            media_type: Option<String>,
        }
        let inside = serde_json::from_slice::<Typed>(&body).map_err(ManifestError::Json)?.media_type;
        let inside = inside.filter(|inside| !inside.is_empty());
        if let (Some(header), Some(inside)) = (header, &inside)
            && header != inside
        {
            return Err(ManifestError::TwoTypes { header: header.to_owned(), inside: inside.clone() });
        }
        let media_type = header.map(str::to_owned).or(inside).ok_or(ManifestError::Untyped)?;
        checked_media_type(&media_type)?;
        if media_type.starts_with(SCHEMA_1) {
            return Err(ManifestError::Schema1(media_type));
        }
        let document = Document::read(&media_type, &body)?;
        let references = document.references()?;
        let subject = match &document.subject {
            Some(subject) => Some(subject.digest.parse().map_err(ManifestError::Descriptor)?),
            None => None,
        };
        Ok(Pushed {
            digest: algorithm.digest(&body),
            media_type,
            references,
            subject,
            artifact_type: document.artifact_type(),
            annotations: document.annotations,
            body,
        })
    }

    /// Its entry in the list of its subject's referrers.
    pub(crate) fn descriptor(&self) -> Vec<u8> {
        let referrer = Referrer {
            media_type: &self.media_type,
            digest: self.digest,
            size: self.body.len(),
            artifact_type: self.artifact_type.as_deref(),
            annotations: self.annotations.as_ref(),
        };
        // A structure of strings is always JSON.
        serde_json::to_vec(&referrer).unwrap_or_default()
    }
}

impl Document {
    fn read(media_type: &str, body: &[u8]) -> Result<Document, ManifestError> {
        let is_index = matches!(media_type, INDEX | DOCKER_LIST);
        let is_image = matches!(media_type, IMAGE | DOCKER_IMAGE);
        if !is_index && !is_image {
            // A JSON object, whatever is in it; if it has the parts that are known, they mean the same.
            serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(body).map_err(ManifestError::Json)?;
            return Ok(serde_json::from_slice(body).unwrap_or_default());
        }
        let document: Document = serde_json::from_slice(body).map_err(ManifestError::Json)?;
        let has_images_parts = document.config.is_some() || document.layers.is_some();
        if document.manifests.is_some() && has_images_parts {
            return Err(ManifestError::Ambiguous);
        }
        if (is_index && has_images_parts) || (is_image && (document.manifests.is_some() || document.config.is_none())) {
            return Err(ManifestError::OtherContent { media_type: media_type.to_owned() });
        }
        Ok(document)
    }

    fn references(&self) -> Result<Vec<Reference>, ManifestError> {
        let lists = [&self.layers, &self.blobs, &self.manifests].into_iter().flatten().flatten();
        let all = self.config.iter().chain(lists);
        all.map(|descriptor| {
            Ok(Reference {
                digest: descriptor.digest.parse().map_err(ManifestError::Descriptor)?,
                size: descriptor.size,
                required: !descriptor.lies_elsewhere(),
            })
        })
        .collect()
    }

    /// The artifact's type: as it says or, of an image, the configuration's (distribution-spec, "Listing Referrers").
    fn artifact_type(&self) -> Option<String> {
        let said = self.artifact_type.clone().filter(|said| !said.is_empty());
        said.or_else(|| self.config.as_ref().map(|config| config.media_type.clone())).filter(|said| !said.is_empty())
    }
}

impl Descriptor {
    /// Whether it is a layer that registries need not have (image-spec, `layer.md`, "Non-Distributable Layers").
    fn lies_elsewhere(&self) -> bool {
        self.urls.as_ref().is_some_and(|urls| !urls.is_empty())
            || self.media_type.contains(".nondistributable.")
            || self.media_type.contains(".foreign.")
    }
}

/// Two names and a slash, of characters that a header may have.
fn checked_media_type(text: &str) -> Result<(), ManifestError> {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && !b",;\"/".contains(&b));
    let valid = text.len() <= MAX_MEDIA_TYPE && text.split_once('/').is_some_and(|(a, b)| is_name(a) && is_name(b));
    if valid { Ok(()) } else { Err(ManifestError::MediaType(text.chars().take(MAX_MEDIA_TYPE).collect())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

    fn read(content_type: Option<&str>, body: &str) -> Result<Pushed, ManifestError> {
        Pushed::read(content_type, Bytes::copy_from_slice(body.as_bytes()), Algorithm::Sha256)
    }

    fn image(more: &str) -> String {
        let digest = Digest::of(b"c");
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"a/config","digest":"{digest}","size":1}},
            "layers":[{{"mediaType":"{LAYER}","digest":"{digest}","size":1}}]{more}}}"#
        )
    }

    #[test]
    fn an_images_parts_are_found() {
        let pushed = read(Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8"), &image("")).unwrap();
        assert_eq!((pushed.media_type.as_str(), pushed.references.len()), (IMAGE, 2));
        assert!(pushed.references.iter().all(|reference| reference.required && reference.size == 1));
        assert_eq!(pushed.artifact_type.as_deref(), Some("a/config"), "the configuration's, when it says none");
    }

    #[test]
    fn a_subject_is_listed_with_type_and_annotations() {
        let subject = Digest::of(b"s");
        let more = format!(
            r#","artifactType":"a/sbom","annotations":{{"k":"v"}},"subject":{{"mediaType":"{IMAGE}","digest":"{subject}","size":9}}"#
        );
        let pushed = read(Some(IMAGE), &image(&more)).unwrap();
        assert_eq!(pushed.subject, Some(subject));
        let entry: serde_json::Value = serde_json::from_slice(&pushed.descriptor()).unwrap();
        assert_eq!((&entry["artifactType"], &entry["annotations"]["k"]), (&"a/sbom".into(), &"v".into()));
        assert_eq!(entry["size"], pushed.body.len());
    }

    #[test]
    fn what_two_readers_could_see_differently_is_refused() {
        let both = image(r#","manifests":[]"#);
        assert!(matches!(read(Some(IMAGE), &both), Err(ManifestError::Ambiguous)));
        assert!(matches!(read(Some(INDEX), &both), Err(ManifestError::Ambiguous)));
        assert!(matches!(read(Some(INDEX), &image("")), Err(ManifestError::OtherContent { .. })));
        assert!(matches!(read(Some(IMAGE), r#"{"manifests":[]}"#), Err(ManifestError::OtherContent { .. })));
        let inside = image(r#","mediaType":"application/vnd.oci.image.manifest.v1+json""#);
        assert!(matches!(read(Some(DOCKER_IMAGE), &inside), Err(ManifestError::TwoTypes { .. })));
        assert!(matches!(read(Some(IMAGE), &image(r#","layers":[]"#)), Err(ManifestError::Json(_))), "said twice");
    }

    #[test]
    fn nonsense_is_refused() {
        for (content_type, body) in [
            (Some(IMAGE), "not json"),
            (Some(IMAGE), "[]"),
            (Some("a/b"), "3"),
            (None, "{}"),
            (Some("no slash"), "{}"),
            (Some("a/b\nX-Evil: 1"), "{}"),
            (Some("application/vnd.docker.distribution.manifest.v1+prettyjws"), "{}"),
            (Some(INDEX), r#"{"manifests":[{"digest":"sha256:../../etc","size":1}]}"#),
            (Some(INDEX), r#"{"manifests":[{"digest":"sha512:aa","size":1}]}"#),
            (Some(INDEX), r#"{"manifests":[{"digest":"x","size":-1}]}"#),
        ] {
            assert!(read(content_type, body).is_err(), "{content_type:?} {body}");
        }
    }

    #[test]
    fn an_unknown_type_is_taken_and_its_known_parts_count() {
        assert!(read(Some("application/vnd.example+json"), r#"{"config":"mine"}"#).unwrap().references.is_empty());
        let known = read(Some("application/vnd.example+json"), &image("")).unwrap();
        assert_eq!(known.references.len(), 2);
    }

    #[test]
    fn layers_that_lie_elsewhere_are_not_required() {
        let digest = Digest::of(b"f");
        let more = |layer: &str| format!(r#"{{"config":{{"digest":"{digest}","size":1}},"layers":[{layer}]}}"#);
        for layer in [
            format!(r#"{{"mediaType":"{LAYER}","digest":"{digest}","size":1,"urls":["https://x"]}}"#),
            format!(
                r#"{{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar","digest":"{digest}","size":1}}"#
            ),
        ] {
            let pushed = read(Some(IMAGE), &more(&layer)).unwrap();
            assert_eq!(pushed.references.iter().map(|r| r.required).collect::<Vec<_>>(), [true, false]);
        }
    }
}
