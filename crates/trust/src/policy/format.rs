// SPDX-License-Identifier: Apache-2.0
//! The policy's JSON. Fields that are not known, fields that stand twice and requirements that contradict themselves are
//! errors: half a policy is worse than none.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::identity::Identity;
use super::{Policy, PolicyError};

/// What `signedBy` may say of its keys.
const KEY_TYPES: &[&str] = &["GPGKeys", "signedByGPGKeys", "X509Certificates", "signedByX509CAs"];

/// One thing that must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Requirement {
    /// Anything will do.
    Accept,
    /// Nothing will do.
    Reject,
    /// A signature by one of these keys, for a name that matches.
    Signed { keys: Keys, identity: Identity },
    /// Something that Corten cannot see to.
    Unsupported(&'static str),
}

/// Where keys are. There is one at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Keys {
    Files(Vec<PathBuf>),
    /// PEM.
    Data(Vec<Vec<u8>>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    default: Vec<Item>,
    #[serde(default)]
    transports: Unique<Unique<Vec<Item>>>,
}

/// A requirement as it is written.
#[derive(Deserialize)]
#[serde(tag = "type", deny_unknown_fields, rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Item {
    InsecureAcceptAnything {},
    Reject {},
    SignedBy {
        key_type: String,
        #[serde(default)]
        key_path: Option<IgnoredAny>,
        #[serde(default)]
        key_paths: Option<IgnoredAny>,
        #[serde(default)]
        key_data: Option<IgnoredAny>,
        #[serde(default)]
        signed_identity: Option<SignedIdentity>,
    },
    SignedBaseLayer {
        base_layer_identity: SignedIdentity,
    },
    SigstoreSigned {
        #[serde(default)]
        key_path: Option<String>,
        #[serde(default)]
        key_paths: Option<Vec<String>>,
        #[serde(default)]
        key_data: Option<String>,
        #[serde(default)]
        key_datas: Option<Vec<String>>,
        #[serde(default)]
        fulcio: Option<IgnoredAny>,
        #[serde(default)]
        pki: Option<IgnoredAny>,
        #[serde(default)]
        rekor_public_key_path: Option<IgnoredAny>,
        #[serde(default)]
        rekor_public_key_paths: Option<IgnoredAny>,
        #[serde(default)]
        rekor_public_key_data: Option<IgnoredAny>,
        #[serde(default)]
        rekor_public_key_datas: Option<IgnoredAny>,
        #[serde(default)]
        signed_identity: Option<SignedIdentity>,
    },
}

/// A `signedIdentity` as it is written.
#[derive(Deserialize)]
#[serde(tag = "type", deny_unknown_fields, rename_all = "camelCase", rename_all_fields = "camelCase")]
enum SignedIdentity {
    MatchExact {},
    MatchRepoDigestOrExact {},
    MatchRepository {},
    ExactReference { docker_reference: String },
    ExactRepository { docker_repository: String },
    RemapIdentity { prefix: String, signed_prefix: String },
}

/// A map whose keys stand once. serde's own would keep the last of two.
struct Unique<V>(BTreeMap<String, V>);

impl<V> Default for Unique<V> {
    fn default() -> Unique<V> {
        Unique(BTreeMap::new())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Unique<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Unique<V>, D::Error> {
        struct Entries<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Entries<V> {
            type Value = Unique<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique<V>, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, V>()? {
                    if entries.contains_key(&key) {
                        return Err(A::Error::custom(format!("{key:?} stands twice")));
                    }
                    entries.insert(key, value);
                }
                Ok(Unique(entries))
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}

/// The policy in a text.
pub(super) fn parse(text: &[u8]) -> Result<Policy, PolicyError> {
    let text: Text = serde_json::from_slice(text).map_err(|error| PolicyError::Malformed(error.to_string()))?;
    let default = requirements("default", text.default)?;
    let mut registries = BTreeMap::new();
    for (transport, scopes) in text.transports.0 {
        for (scope, items) in scopes.0 {
            let read = requirements(&format!("transports.{transport}.{scope:?}"), items)?;
            // The others are about archives and stores of other programs.
            if transport == "docker" {
                registries.insert(scope, read);
            }
        }
    }
    Ok(Policy { default, registries })
}

fn requirements(place: &str, items: Vec<Item>) -> Result<Vec<Requirement>, PolicyError> {
    let wrong = |problem: String| PolicyError::Requirement { place: place.to_owned(), problem };
    if items.is_empty() {
        return Err(wrong("a list of requirements must not be empty".to_owned()));
    }
    items.into_iter().map(|item| item.requirement().map_err(wrong)).collect()
}

impl Item {
    fn requirement(self) -> Result<Requirement, String> {
        match self {
            Item::InsecureAcceptAnything {} => Ok(Requirement::Accept),
            Item::Reject {} => Ok(Requirement::Reject),
            Item::SignedBy { key_type, key_path, key_paths, key_data, signed_identity } => {
                if !KEY_TYPES.contains(&key_type.as_str()) {
                    return Err(format!("keyType {key_type:?} is not known"));
                }
                one_of(
                    &[key_path.is_some(), key_paths.is_some(), key_data.is_some()],
                    "keyPath, keyPaths and keyData",
                )?;
                signed_identity.map(SignedIdentity::identity).transpose()?;
                Ok(Requirement::Unsupported("signatures by GPG keys (signedBy)"))
            }
            Item::SignedBaseLayer { base_layer_identity } => {
                base_layer_identity.identity()?;
                Ok(Requirement::Unsupported("signatures of base layers (signedBaseLayer)"))
            }
            Item::SigstoreSigned {
                key_path,
                key_paths,
                key_data,
                key_datas,
                fulcio,
                pki,
                rekor_public_key_path,
                rekor_public_key_paths,
                rekor_public_key_data,
                rekor_public_key_datas,
                signed_identity,
            } => {
                let sources = [
                    key_path.is_some(),
                    key_paths.is_some(),
                    key_data.is_some(),
                    key_datas.is_some(),
                    fulcio.is_some(),
                    pki.is_some(),
                ];
                one_of(&sources, "keyPath, keyPaths, keyData, keyDatas, fulcio and pki")?;
                let identity =
                    signed_identity.map(SignedIdentity::identity).transpose()?.unwrap_or(Identity::RepoDigestOrExact);
                if fulcio.is_some() || pki.is_some() {
                    return Ok(Requirement::Unsupported("certificates of signers (fulcio or pki)"));
                }
                let rekor =
                    [rekor_public_key_path, rekor_public_key_paths, rekor_public_key_data, rekor_public_key_datas];
                if rekor.iter().any(Option::is_some) {
                    return Ok(Requirement::Unsupported("entries of a transparency log (rekor)"));
                }
                let files: Vec<String> = key_path.into_iter().chain(key_paths.unwrap_or_default()).collect();
                let data: Vec<String> = key_data.into_iter().chain(key_datas.unwrap_or_default()).collect();
                Ok(Requirement::Signed { keys: keys(files, &data)?, identity })
            }
        }
    }
}

fn one_of(given: &[bool], names: &str) -> Result<(), String> {
    match given.iter().filter(|given| **given).count() {
        1 => Ok(()),
        _ => Err(format!("exactly one of {names} must be there")),
    }
}

fn keys(files: Vec<String>, data: &[String]) -> Result<Keys, String> {
    if files.is_empty() && data.is_empty() {
        return Err("a list of keys must not be empty".to_owned());
    }
    if !files.is_empty() {
        return Ok(Keys::Files(files.into_iter().map(PathBuf::from).collect()));
    }
    let texts = data.iter().map(|text| BASE64_STANDARD.decode(text).map_err(|_| "keyData is not base64".to_owned()));
    Ok(Keys::Data(texts.collect::<Result<_, _>>()?))
}

impl SignedIdentity {
    fn identity(self) -> Result<Identity, String> {
        let name = |text: &str| text.parse().map_err(|error: oci::ReferenceError| error.to_string());
        Ok(match self {
            SignedIdentity::MatchExact {} => Identity::Exact,
            SignedIdentity::MatchRepoDigestOrExact {} => Identity::RepoDigestOrExact,
            SignedIdentity::MatchRepository {} => Identity::Repository,
            SignedIdentity::ExactReference { docker_reference } => {
                let name: oci::ImageRef = name(&docker_reference)?;
                if name.tag().is_none() && name.digest().is_none() {
                    return Err(format!("dockerReference {docker_reference:?} has neither a tag nor a digest"));
                }
                Identity::Reference(name)
            }
            SignedIdentity::ExactRepository { docker_repository } => {
                let name: oci::ImageRef = name(&docker_repository)?;
                if name.tag().is_some() || name.digest().is_some() {
                    return Err(format!("dockerRepository {docker_repository:?} has a tag or a digest"));
                }
                Identity::ExactRepository(name)
            }
            SignedIdentity::RemapIdentity { prefix, signed_prefix } => {
                for text in [&prefix, &signed_prefix] {
                    // A host alone is a prefix as well.
                    if format!("{text}/x").parse::<oci::ImageRef>().is_err() {
                        return Err(format!("{text:?} is no prefix of images' names"));
                    }
                }
                Identity::Remapped { prefix, signed: signed_prefix }
            }
        })
    }
}
