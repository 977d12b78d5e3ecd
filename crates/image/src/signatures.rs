// SPDX-License-Identifier: Apache-2.0
//! Signatures in registries: found beside the image under cosign's tag, and added there.

use std::collections::BTreeSet;
use std::sync::Arc;

use content::ContentError;
use metadata::Durability;
use oci::{Digest, ImageRef};
use registry_client::{Client, Manifest, RegistryError, media_type};
use trust::{ManifestError, Payload, Signature, SignatureManifest, tag_of};

use crate::error::ImageError;
use crate::fetch::blocking;
use crate::records::{IMAGES, ImageRecord};
use crate::trusted::Kept;
use crate::{Images, Inner};

/// The longest configuration of signatures: a digest for each of a hundred, and what else is there.
const LONGEST_CONFIG: u64 = 1 << 20;

/// What a registry has under an image's name, and the signatures of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InRegistry {
    /// The name, with a tag or a digest.
    pub name: ImageRef,
    /// The digest of the manifest or index.
    pub digest: Digest,
    /// The signatures over it, as they are there: nobody has verified them.
    pub signatures: Vec<Signature>,
}

/// The name under which the signatures of the manifest `digest` are.
fn place(name: &ImageRef, digest: Digest) -> Result<ImageRef, ImageError> {
    Ok(format!("{}/{}:{}", name.registry(), name.repository(), tag_of(digest)).parse()?)
}

fn read(image: &ImageRef, found: &Manifest) -> Result<SignatureManifest, ImageError> {
    let unusable = |source| ImageError::Signatures { image: image.to_string(), source };
    if found.media_type != media_type::OCI_MANIFEST {
        return Err(unusable(ManifestError::Malformed(format!("it is a {}", found.media_type))));
    }
    SignatureManifest::parse(&found.body).map_err(unusable)
}

/// What is there, if anything is.
fn if_any(asked: Result<Manifest, RegistryError>) -> Result<Option<Manifest>, ImageError> {
    match asked {
        Ok(found) => Ok(Some(found)),
        Err(RegistryError::ImageNotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The signatures that the registry has over the manifest `digest` of `image`.
pub(crate) async fn fetch(registry: &Client, image: &ImageRef, digest: Digest) -> Result<Vec<Signature>, ImageError> {
    match if_any(registry.manifest(&place(image, digest)?).await)? {
        Some(found) => payloads(registry, image, &found).await,
        None => Ok(Vec::new()),
    }
}

/// The signatures that a manifest lists, with their payloads.
async fn payloads(registry: &Client, image: &ImageRef, found: &Manifest) -> Result<Vec<Signature>, ImageError> {
    let mut signatures = Vec::new();
    for listed in read(image, found)?.signatures {
        let payload = small_blob(registry, image, listed.digest, listed.size).await?;
        signatures.push(Signature { payload, signature: listed.signature });
    }
    Ok(signatures)
}

/// A blob whose size is bounded.
pub(crate) async fn small_blob(
    registry: &Client,
    image: &ImageRef,
    digest: Digest,
    size: u64,
) -> Result<Vec<u8>, ImageError> {
    let mut blob = registry.blob(image, digest, size).await?;
    let mut text = Vec::new();
    while let Some(piece) = blob.chunk().await? {
        text.extend_from_slice(&piece);
    }
    match digest.matches(digest.algorithm().digest(&text)) {
        Ok(()) => Ok(text),
        Err(mismatch) => {
            let source = Box::new(ContentError::Digest(mismatch));
            Err(ImageError::Blob { image: image.to_string(), digest, source })
        }
    }
}

impl Images {
    /// What the registry has under `name`, and the signatures of it. No mirror is asked: whoever signs the answer must not be
    /// told by somebody else what it is, and signatures go to the registry.
    ///
    /// # Errors
    /// The registry's; signatures that are not what they must be.
    pub async fn in_registry(&self, name: &ImageRef) -> Result<InRegistry, ImageError> {
        let name = name.clone().with_default_tag();
        let digest = self.registry.own_manifest(&name).await?.digest;
        let signatures = match if_any(self.registry.own_manifest(&place(&name, digest)?).await)? {
            Some(found) => payloads(&self.registry, &name, &found).await?,
            None => Vec::new(),
        };
        Ok(InRegistry { name, digest, signatures })
    }

    /// Puts a signature beside the image in its registry, unless it is there already, and keeps it with the image that is
    /// here, if it is.
    ///
    /// # Errors
    /// [`ImageError::OtherPayload`]; the registry's; signatures there that cannot be added to.
    pub async fn add_signature(&self, name: &ImageRef, signature: Signature) -> Result<(), ImageError> {
        let other = || ImageError::OtherPayload { image: name.to_string() };
        let payload = Payload::parse(&signature.payload).map_err(|_| other())?;
        let same = payload.name.registry() == name.registry() && payload.name.repository() == name.repository();
        if !same || name.digest().is_some_and(|digest| digest != payload.digest) {
            return Err(other());
        }
        self.push_signature(name, payload.digest, &signature).await?;
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.keep_signature(payload.digest, signature)).await
    }

    async fn push_signature(&self, name: &ImageRef, digest: Digest, signature: &Signature) -> Result<(), ImageError> {
        let registry = &self.registry;
        let place = place(name, digest)?;
        let there = if_any(registry.own_manifest(&place).await)?;
        let there = there.map_or(Ok(SignatureManifest::empty()), |found| read(name, &found))?;
        let payload = Digest::of(&signature.payload);
        if there.signatures.iter().any(|listed| listed.digest == payload && listed.signature == signature.signature) {
            return Ok(());
        }
        let unusable = |source| ImageError::Signatures { image: name.to_string(), source };
        let config = match there.config {
            Some((_, size)) if size > LONGEST_CONFIG => {
                return Err(unusable(ManifestError::Malformed(format!("a configuration of {size} bytes"))));
            }
            Some((digest, size)) => Some(small_blob(registry, name, digest, size).await?),
            None => None,
        };
        let written = there.with(&signature.payload, &signature.signature, config.as_deref()).map_err(unusable)?;
        for blob in [&signature.payload, &written.config] {
            let digest = Digest::of(blob);
            if !registry.blob_exists(name, digest).await? {
                registry.push_blob(name, digest, blob.len() as u64, Arc::new(blob.clone()), &|_| {}).await?;
            }
        }
        registry.push_manifest(&place, written.media_type, written.manifest.into()).await?;
        Ok(())
    }
}

impl Inner {
    /// Keeps a signature over `digest` with the images here of which a registry says that they are that.
    fn keep_signature(&self, digest: Digest, signature: Signature) -> Result<(), ImageError> {
        let _pins = self.references.lock();
        let view = self.view()?;
        let named = view.names.iter().map(|(_, named)| named);
        let mut manifests: BTreeSet<Digest> =
            named.filter(|named| named.source == Some(digest)).map(|named| named.manifest).collect();
        manifests.insert(digest);
        self.metadata.write(Durability::Synced, |tx| {
            for manifest in manifests {
                if tx.get::<ImageRecord>(IMAGES, &manifest.to_string())?.is_some() {
                    Kept::new(digest, [signature.clone()]).keep(tx, manifest)?;
                }
            }
            Ok(())
        })
    }
}
