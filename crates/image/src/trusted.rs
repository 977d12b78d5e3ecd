// SPDX-License-Identifier: Apache-2.0
//! Which images may be pulled and run: the host's policy and the rules of `corten trust`, asked at a pull with what the
//! registry has, and at each start with what was kept then.
//!
//! **Architecture Invariant:** what cannot be read refuses. There is no way around it that looks like an answer.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use metadata::{Durability, Table, Write};
use oci::{Digest, ImageRef};
use registry_client::Client;
use serde::{Deserialize, Serialize};
use trust::{Policy, Prefix, PublicKey, Reason, Refusal, Rules, Signature, Subject, Trust};

use crate::error::ImageError;
use crate::fetch::blocking;
use crate::records::{IMAGES, ImageRecord, with_digest};
use crate::{Image, Images, Inner, embedded, signatures};

/// Manifest digest → [`Kept`].
pub(crate) const SIGNATURES: Table = Table::new("image-signatures");
/// Prefix → keys.
const RULES: Table = Table::new("trust-rules");
/// The longest policy or key that is read, and one byte: more is no policy.
const LONGEST_FILE: u64 = (1 << 20) + 1;
/// Signatures that are kept with an image, and digests of indexes that lead to it. The newest stay.
const MOST_KEPT: usize = 100;

/// Where the policy about signatures is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    path: PathBuf,
    /// Whether it must be there.
    required: bool,
}

impl Default for PolicyFile {
    /// The host's, which is obeyed where there is one.
    fn default() -> PolicyFile {
        PolicyFile { path: "/etc/containers/policy.json".into(), required: false }
    }
}

impl PolicyFile {
    /// A file that must be there: who names one wants it obeyed.
    pub fn named(path: PathBuf) -> PolicyFile {
        PolicyFile { path, required: true }
    }

    /// The policy as it is now.
    fn read(&self) -> Result<Policy, ImageError> {
        match read_file(&self.path) {
            Ok(text) => {
                Policy::parse(&text).map_err(|source| ImageError::PolicyMalformed { path: self.path.clone(), source })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.required => Ok(Policy::default()),
            Err(source) => Err(ImageError::PolicyUnreadable { path: self.path.clone(), source }),
        }
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(LONGEST_FILE).read_to_end(&mut text)?;
    Ok(text)
}

/// What is kept of an image's signatures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Digests of what registries answered to its names: indexes that lead to it, manifests that it was pushed as.
    sources: BTreeSet<Digest>,
    /// Those that counted when they came, the newest last.
    signatures: Vec<KeptSignature>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptSignature {
    payload: String,
    signature: String,
}

impl Kept {
    /// Signatures over `source`, or over the image's manifest.
    pub(crate) fn new(source: Digest, signatures: impl IntoIterator<Item = Signature>) -> Kept {
        // A payload is JSON, so it is text; what is none counts nowhere.
        let text = |signature: Signature| {
            let payload = String::from_utf8(signature.payload).ok()?;
            Some(KeptSignature { payload, signature: signature.signature })
        };
        Kept { sources: BTreeSet::from([source]), signatures: signatures.into_iter().filter_map(text).collect() }
    }

    /// Adds these to what is kept with the image.
    pub(crate) fn keep(self, tx: &Write<'_>, manifest: Digest) -> Result<(), ImageError> {
        if self.signatures.is_empty() {
            return Ok(());
        }
        let key = manifest.to_string();
        let mut all = tx.get::<Kept>(SIGNATURES, &key)?.unwrap_or_default();
        all.signatures.retain(|old| !self.signatures.contains(old));
        all.signatures.extend(self.signatures);
        all.signatures.drain(..all.signatures.len().saturating_sub(MOST_KEPT));
        all.sources.retain(|old| *old != manifest);
        while all.sources.len() >= MOST_KEPT {
            all.sources.pop_first();
        }
        all.sources.extend(self.sources);
        Ok(tx.put(SIGNATURES, &key, &all)?)
    }
}

/// A digest decides alone: the tag beside it is for the reader.
fn judged(name: &ImageRef) -> ImageRef {
    name.digest().and_then(|digest| with_digest(name, digest)).unwrap_or_else(|| name.clone().with_default_tag())
}

/// What a registry has is refused.
fn not_pulled(image: &ImageRef) -> impl FnOnce(Refusal) -> ImageError {
    let image = image.to_string();
    move |refusal| ImageError::Untrusted { image, at_pull: true, source: Box::new(refusal) }
}

/// What is here is refused.
fn not_run(image: &str) -> impl FnOnce(Refusal) -> ImageError {
    let image = image.to_owned();
    move |refusal| ImageError::Untrusted { image, at_pull: false, source: Box::new(refusal) }
}

/// What to do about a refusal.
pub(crate) fn hint(image: &str, at_pull: bool, refusal: &Refusal) -> Option<String> {
    match refusal.reason {
        // The registry was asked for its signatures just now.
        Reason::Unsigned | Reason::Unverified(_) if at_pull => {
            Some(format!("whoever has the key signs it: corten image sign --key FILE {image}"))
        }
        Reason::Unsigned | Reason::Unverified(_) => Some(format!(
            "if it is signed by now, `corten pull {image}` fetches its signatures; if not, whoever has the key signs it: \
             corten image sign --key FILE {image}"
        )),
        Reason::Nameless => Some("give it a name: corten tag".to_owned()),
        _ => Some("the policy is /etc/containers/policy.json, or the daemon's --signature-policy".to_owned()),
    }
}

/// Whether the image needs a signature.
pub(crate) fn wants_signature(trust: &Trust, name: &ImageRef) -> Result<bool, ImageError> {
    trust.wants_signature(&judged(name)).map_err(not_pulled(name))
}

/// The signatures in the registry that make an image acceptable. Of the digests the first is its manifest's, the second that of
/// what the registry answered to the name.
pub(crate) async fn verified(
    registry: &Client,
    name: &ImageRef,
    digests: &[Digest; 2],
    trust: Trust,
) -> Result<Kept, ImageError> {
    let wanted: BTreeSet<Digest> = digests.iter().copied().collect();
    let mut found = Vec::new();
    for digest in wanted {
        found.extend(signatures::fetch(registry, name, digest).await?);
    }
    let (name, digests) = (name.clone(), *digests);
    blocking(move || {
        let subject = Subject { name: &judged(&name), digests: &digests };
        let counting = trust.judge(subject, &found, &read_file).map_err(not_pulled(&name))?;
        let counting: BTreeSet<usize> = counting.into_iter().collect();
        let kept = found.into_iter().enumerate().filter(|(place, _)| counting.contains(place));
        Ok(Kept::new(digests[1], kept.map(|(_, signature)| signature)))
    })
    .await
}

/// What is known here about an image's signatures.
struct Evidence {
    /// The digests that stand for it.
    digests: Vec<Digest>,
    signatures: Vec<Signature>,
    /// Whether it was made from an executable of this program.
    is_embedded: bool,
}

impl Evidence {
    /// Whether the image may be run under all of `names`; `text` is what it was asked for as, should there be none.
    fn judge(&self, trust: &Trust, text: &str, names: &[ImageRef]) -> Result<(), ImageError> {
        if names.is_empty() {
            return trust.judge_nameless().map_err(not_run(text));
        }
        for name in names {
            if self.is_embedded && embedded::is_embedded(&name.to_string()) {
                continue;
            }
            let subject = Subject { name: &judged(name), digests: &self.digests };
            trust.judge(subject, &self.signatures, &read_file).map_err(not_run(&name.to_string()))?;
        }
        Ok(())
    }
}

impl Inner {
    /// What is known about an image that has these manifests: each of them names the same configuration, and so the
    /// same content, so that a signature over one is a signature over all.
    fn evidence(&self, manifests: &[Digest]) -> Result<Evidence, ImageError> {
        let mut all = Evidence { digests: manifests.to_vec(), signatures: Vec::new(), is_embedded: false };
        self.metadata.read(|tx| {
            for key in manifests.iter().map(Digest::to_string) {
                all.is_embedded |= tx.get::<ImageRecord>(IMAGES, &key)?.is_some_and(|record| record.embedded);
                let kept = tx.get::<Kept>(SIGNATURES, &key)?.unwrap_or_default();
                all.digests.extend(kept.sources);
                let signature =
                    |kept: KeptSignature| Signature { payload: kept.payload.into_bytes(), signature: kept.signature };
                all.signatures.extend(kept.signatures.into_iter().map(signature));
            }
            Ok::<_, ImageError>(())
        })?;
        Ok(all)
    }

    /// The policy and the rules as they are now.
    pub(crate) fn trust(&self) -> Result<Trust, ImageError> {
        Ok(Trust { policy: self.policy.read()?, rules: self.trust_rules()? })
    }

    fn trust_rules(&self) -> Result<Rules, ImageError> {
        let rules = self.metadata.read(|tx| tx.list::<Vec<PublicKey>>(RULES))?;
        let rules = rules.into_iter().map(|(prefix, keys)| match prefix.parse::<Prefix>() {
            Ok(prefix) => Ok((prefix, keys)),
            // It was a prefix when it was written.
            Err(_) => Err(ImageError::Name(oci::ReferenceError::Repository(prefix))),
        });
        rules.collect()
    }
}

impl Images {
    /// Whether `image`, which was found as `text`, may be run today: by the name that it was found by, or by all its names
    /// where it was found by its id. No registry is asked.
    ///
    /// The embedded image under its own name is part of this program, and is not asked about.
    ///
    /// # Errors
    /// [`ImageError::Untrusted`]; the policy cannot be read.
    pub fn admit(&self, text: &str, image: &Image) -> Result<(), ImageError> {
        let trust = self.inner.trust()?;
        if trust.accepts_anything() {
            return Ok(());
        }
        let names = found_by(text, image).map_or_else(|| image.names.clone(), |name| vec![name]);
        self.inner.evidence(&[image.manifest])?.judge(&trust, text, &names)
    }

    /// Whether a container may be started today that was made of the image `id` when `text` led to it: by the name that it
    /// was made by, whatever that name means by now; or by all names that the image has now, where it was made by id.
    /// Otherwise as [`Images::admit`].
    ///
    /// # Errors
    /// [`ImageError::Untrusted`]; the policy cannot be read.
    pub fn admit_again(&self, text: &str, id: Digest) -> Result<(), ImageError> {
        let trust = self.inner.trust()?;
        if trust.accepts_anything() {
            return Ok(());
        }
        let view = self.inner.view()?;
        let manifests = view.manifests_of(id);
        let names = view.names.into_iter().filter(|(_, record)| manifests.contains(&record.manifest));
        let names: Vec<ImageRef> = names.map(|(name, _)| name).collect();
        let names = made_by(text, id, &names).map_or(names, |name| vec![name]);
        self.inner.evidence(&manifests)?.judge(&trust, text, &names)
    }

    /// The rules of `corten trust`.
    ///
    /// # Errors
    /// The metadata cannot be read.
    pub fn trust_rules(&self) -> Result<Rules, ImageError> {
        self.inner.trust_rules()
    }

    /// From now on images under `prefix` must be signed by `key`, or by one of the keys that were named for it before.
    ///
    /// # Errors
    /// The metadata cannot be written.
    pub fn add_trust_rule(&self, prefix: &Prefix, key: PublicKey) -> Result<(), ImageError> {
        self.inner.metadata.write(Durability::Synced, |tx| {
            let mut keys = tx.get::<Vec<PublicKey>>(RULES, &prefix.to_string())?.unwrap_or_default();
            if !keys.contains(&key) {
                keys.push(key);
            }
            Ok(tx.put(RULES, &prefix.to_string(), &keys)?)
        })
    }

    /// Forgets the rule for `prefix`.
    ///
    /// # Errors
    /// [`ImageError::NoRule`]; the metadata cannot be written.
    pub fn remove_trust_rule(&self, prefix: &Prefix) -> Result<(), ImageError> {
        self.inner.metadata.write(Durability::Synced, |tx| match tx.delete(RULES, &prefix.to_string())? {
            true => Ok(()),
            false => Err(ImageError::NoRule { prefix: prefix.clone() }),
        })
    }
}

/// The name by which `text` has led to the image `id`, which has `names` by now; `None` where it was its id or the
/// beginning of that.
fn made_by(text: &str, id: Digest, names: &[ImageRef]) -> Option<ImageRef> {
    let name = text.parse::<ImageRef>().ok()?.with_default_tag();
    let reads_as_its_id = id.to_string().starts_with(text) || id.hex().starts_with(text);
    (!reads_as_its_id || names.contains(&name)).then_some(name)
}

/// The name by which `text` found the image; `None` where it was an id or the beginning of one.
fn found_by(text: &str, image: &Image) -> Option<ImageRef> {
    let name = text.parse::<ImageRef>().ok()?.with_default_tag();
    let same_repository =
        |known: &ImageRef| known.registry() == name.registry() && known.repository() == name.repository();
    let is_its = match name.digest() {
        Some(_) => image.names.iter().any(same_repository),
        None => image.names.contains(&name),
    };
    is_its.then_some(name)
}
