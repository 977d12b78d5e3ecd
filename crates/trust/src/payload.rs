// SPDX-License-Identifier: Apache-2.0
//! What is signed: the "simple signing" JSON of containers/image (atomic-signature(5)), as cosign uses it.

use oci::{Digest, DigestError, ImageRef, ReferenceError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What `critical.type` must say.
const TYPE: &str = "cosign container image signature";

/// Why a text is no payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// Not the JSON that it must be.
    #[error("its payload is malformed: {0}")]
    Json(String),
    /// A payload for something else.
    #[error("its payload is of the type {0:?}")]
    Type(String),
    /// What it is about is no digest that is understood.
    #[error("its payload is malformed: {0}")]
    Digest(#[from] DigestError),
    /// Whom it is about is no image's name.
    #[error("its payload is malformed: {0}")]
    Name(#[from] ReferenceError),
}

/// The claim that an image's manifest has this digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// What the image is called. A name without a tag means the repository.
    pub name: ImageRef,
    /// The digest of the image's manifest or index.
    pub digest: Digest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    critical: Critical,
    /// Anything; `null` where cosign has nothing to say. It must be there.
    optional: Value,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: Identity,
    image: Image,
    r#type: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Identity {
    docker_reference: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Image {
    docker_manifest_digest: String,
}

impl Payload {
    /// The claim that a text makes. A field that is not known may change what is claimed, so it is an error.
    ///
    /// # Errors
    /// The text is none.
    pub fn parse(text: &[u8]) -> Result<Payload, PayloadError> {
        let text: Text = serde_json::from_slice(text).map_err(|error| PayloadError::Json(error.to_string()))?;
        if text.critical.r#type != TYPE {
            return Err(PayloadError::Type(text.critical.r#type.chars().take(100).collect()));
        }
        if !matches!(text.optional, Value::Null | Value::Object(_)) {
            return Err(PayloadError::Json("`optional` is neither an object nor null".to_owned()));
        }
        let digest = text.critical.image.docker_manifest_digest.parse()?;
        Ok(Payload { name: text.critical.identity.docker_reference.parse()?, digest })
    }

    /// The text to sign. `creator` says who made it, `now` (seconds since 1970) when.
    pub fn to_text(&self, creator: &str, now: i64) -> Vec<u8> {
        let text = json!({
            "critical": {
                "identity": {"docker-reference": self.name.canonical()},
                "image": {"docker-manifest-digest": self.digest.to_string()},
                "type": TYPE,
            },
            "optional": {"creator": creator, "timestamp": now},
        });
        text.to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn payload() -> Payload {
        Payload { name: "a.example/team/app:1".parse().unwrap(), digest: Digest::of(b"x") }
    }

    #[test]
    fn what_is_written_is_read_and_so_is_cosigns() {
        assert_eq!(Payload::parse(&payload().to_text("corten", 1)), Ok(payload()));
        let digest = Digest::of(b"x");
        let cosign = format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"index.docker.io/library/debian"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"{TYPE}"}},"optional":null}}"#
        );
        let read = Payload::parse(cosign.as_bytes()).unwrap();
        assert_eq!((read.name.canonical().as_str(), read.digest), ("docker.io/library/debian", digest));
    }

    #[test]
    fn what_is_not_exactly_a_payload_is_refused() {
        let good = String::from_utf8(payload().to_text("corten", 1)).unwrap();
        for (from, to) in [
            ("{\"critical\"", "{\"more\":1,\"critical\""),
            ("\"type\":", "\"extra\":1,\"type\":"),
            ("\"image\":{", "\"image\":{\"docker-manifest-digest\":\"sha256:0\","),
            ("\"identity\":{", "\"identity\":{\"x\":1,"),
            (TYPE, "atomic container signature"),
            ("sha256:", "md5:"),
            ("a.example/team/app:1", "Not A Name"),
            ("\"optional\":{", "\"optional\":[{"),
            ("\"optional\"", "\"critical\""),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            assert!(Payload::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let missing = good.split(",\"optional\"").next().unwrap().to_owned() + "}";
        assert!(Payload::parse(missing.as_bytes()).is_err(), "{missing}");
        for optional in ["[]", "1", "\"x\""] {
            let bad = missing.replace("}}}", &format!("}}}},\"optional\":{optional}}}"));
            assert!(Payload::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_not_and_never_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Payload::parse(&text).is_err());
        }

        #[test]
        fn a_changed_byte_never_makes_another_claim_of_the_same_kind_unseen(place in 0usize..300, byte in any::<u8>()) {
            let mut text = payload().to_text("corten", 1);
            let place = place % text.len();
            text[place] = byte;
            // It may still be a payload; then it says what its text says.
            if let Ok(read) = Payload::parse(&text) {
                let text = String::from_utf8(text).unwrap();
                prop_assert!(text.contains(&read.digest.to_string()), "{}", text);
            }
        }
    }
}
