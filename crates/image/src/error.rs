// SPDX-License-Identifier: Apache-2.0
//! What can go wrong with an image.

use std::io;
use std::path::PathBuf;

use content::ContentError;
use errors::{Classify, Kind, kind_of_io};
use layer::{PackError, UnpackError};
use metadata::MetadataError;
use oci::{Digest, Platform, ReferenceError};
use registry_client::{DownloadError, RegistryError};
use snapshot::SnapshotError;

use crate::lease::LeaseId;
use crate::load::LoadError;
use crate::trusted;

/// Why an image could not be had, made or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A text that can be no image's name or id.
    #[error(transparent)]
    Name(#[from] ReferenceError),
    /// A name where a tag is needed and a digest was given.
    #[error("cannot give an image the name {name}: a digest is not chosen, it follows from the content")]
    DigestName {
        /// The name.
        name: String,
    },
    /// A name with a digest is to be pushed.
    #[error("cannot push {name}: a registry keeps what it is given under a tag")]
    PushDigest {
        /// The name.
        name: String,
    },
    /// A blob of an image is not here any more, although the image is.
    #[error("blob {blob} of {image} is not on this host, so it cannot be pushed")]
    LayerGone {
        /// The image's name.
        image: String,
        /// The blob.
        blob: Digest,
    },
    /// No image has this name or id.
    #[error("No such image: {name:?}")]
    NotFound {
        /// What was asked for.
        name: String,
    },
    /// The beginning of several images' ids.
    #[error("{prefix:?} is the beginning of {count} image ids")]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// How many images it could mean.
        count: usize,
    },
    /// An archive at a URL.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// The registry.
    #[error(transparent)]
    Registry(Box<RegistryError>),
    /// The content store.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The metadata store.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A blob that came from a registry is not what the image's manifest promises.
    #[error("blob {digest} of {image} is not what was promised")]
    Blob {
        /// The image's name.
        image: String,
        /// The blob.
        digest: Digest,
        /// What differs.
        #[source]
        source: Box<ContentError>,
    },
    /// A layer could not be unpacked.
    #[error("cannot unpack layer {layer} of {image}")]
    Layer {
        /// The image's name.
        image: String,
        /// The blob that holds the layer.
        layer: Digest,
        /// Why.
        #[source]
        source: Box<SnapshotError>,
    },
    /// A layer could not be read back or decompressed.
    #[error("cannot read layer {layer} of {image}")]
    Decompress {
        /// The image's name.
        image: String,
        /// The blob that holds the layer.
        layer: Digest,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What is known of the unpacked layers cannot be read.
    #[error("cannot read the unpacked layers")]
    Layers(#[source] Box<SnapshotError>),
    /// A snapshot could not be removed.
    #[error("cannot remove unpacked layer {layer}")]
    RemoveLayer {
        /// The layer's diff ID.
        layer: Digest,
        /// Why.
        #[source]
        source: Box<SnapshotError>,
    },
    /// The policy or a rule refuses the image.
    #[error("{image} is not trusted")]
    Untrusted {
        /// The image's name.
        image: String,
        /// Whether it is about what a registry has, at a pull, and not about what is here.
        at_pull: bool,
        /// Who refuses, and why.
        #[source]
        source: Box<trust::Refusal>,
    },
    /// The policy about signatures cannot be read, so that nothing can be trusted.
    #[error("cannot read the signature policy {}", path.display())]
    PolicyUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The policy about signatures is not understood, so that nothing can be trusted.
    #[error("the signature policy {} is not valid", path.display())]
    PolicyMalformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: trust::PolicyError,
    },
    /// What a registry has as an image's signatures cannot be read, or not be added to.
    #[error("the signatures of {image} in its registry are not usable")]
    Signatures {
        /// The image's name.
        image: String,
        /// What is wrong.
        #[source]
        source: trust::ManifestError,
    },
    /// A payload that was signed for something else, or is none.
    #[error("what was signed is not the image {image}")]
    OtherPayload {
        /// The image's name.
        image: String,
    },
    /// No rule has this prefix.
    #[error("there is no trust rule for {prefix}")]
    NoRule {
        /// The prefix.
        prefix: trust::Prefix,
    },
    /// A manifest, index or configuration that is not valid JSON of its kind.
    #[error("the {document} of {image} is not valid")]
    Document {
        /// The image's name.
        image: String,
        /// Which of its documents.
        document: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Documents of an image that contradict each other.
    #[error("the documents of {image} do not fit together: {why}")]
    Inconsistent {
        /// The image's name.
        image: String,
        /// What does not fit.
        why: &'static str,
    },
    /// A part of an image in a form that is not known.
    #[error("the {part} of {image} has the type {media_type:?}, which is not supported")]
    MediaType {
        /// The image's name.
        image: String,
        /// Which part.
        part: &'static str,
        /// Its type.
        media_type: String,
    },
    /// A layer that registries do not hand out.
    #[error("layer {layer} of {image} is not distributable: it must be had from its maker")]
    NotDistributable {
        /// The image's name.
        image: String,
        /// The layer.
        layer: Digest,
    },
    /// More layers than overlayfs can stack.
    #[error("{image} has {count} layers; at most {max} can be stacked")]
    TooManyLayers {
        /// The image's name.
        image: String,
        /// How many it has.
        count: usize,
        /// How many are possible.
        max: usize,
    },
    /// An image for other machines only.
    #[error(transparent)]
    Platform(Box<WrongPlatform>),
    /// A pattern for names that breaks the grammar.
    #[error("{0:?} is not a pattern: `*`, `?`, `[a-z]` and `\\` for the next character are known")]
    Pattern(String),
    /// A container needs the image.
    #[error("image {image} is used by {} container {container}", if *.running { "the running" } else { "the stopped" })]
    InUse {
        /// The image's name or id, as it was given.
        image: String,
        /// The container's name or id.
        container: String,
        /// Whether it runs.
        running: bool,
    },
    /// An id that stands for an image with more than one name.
    #[error("image {image} has {count} names")]
    SeveralNames {
        /// The id, as it was given.
        image: String,
        /// How many.
        count: usize,
    },
    /// A lease protects the image.
    #[error("image {image} is under a lease")]
    Leased {
        /// The image's id, as it was given.
        image: String,
    },
    /// No lease has this id, or it has ended.
    #[error("no such lease: {id}")]
    NoLease {
        /// The id.
        id: LeaseId,
    },
    /// There is a lease with this id.
    #[error("the lease {id} exists already")]
    LeaseExists {
        /// The id.
        id: LeaseId,
    },
    /// A lease that ends at once, or too late.
    #[error("a lease of {seconds} seconds cannot be: it lasts from 1 to {most} seconds")]
    LeaseDuration {
        /// What was asked for.
        seconds: u64,
        /// The longest possible.
        most: u64,
    },
    /// A change of the configuration that cannot be understood.
    #[error("cannot apply the change {change:?}: {why}")]
    Change {
        /// The line.
        change: String,
        /// Why not.
        why: &'static str,
    },
    /// What is saved or exported cannot be written to where it goes.
    #[error("cannot write the archive")]
    Output(#[source] io::Error),
    /// A blob cannot be read back.
    #[error("cannot read blob {digest}")]
    ReadBlob {
        /// The blob.
        digest: Digest,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A configuration names its layers by another algorithm than the one that all use.
    #[error("the configuration of {image} names its layers by {algorithm}; only sha256 is supported there")]
    DiffIdAlgorithm {
        /// The image's name.
        image: String,
        /// The algorithm.
        algorithm: &'static str,
    },
    /// An archive of images cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A container's changes cannot be packed.
    #[error("cannot pack the container's changes")]
    Pack(#[source] PackError),
    /// What is imported cannot be read.
    #[error("cannot read the archive")]
    Input(#[source] io::Error),
    /// What is imported is no tar archive, or a hostile one.
    #[error("cannot import the archive")]
    Archive(#[source] UnpackError),
    /// How much room there is cannot be found out.
    #[error("cannot find out how much of the disk is free")]
    FreeSpace(#[source] io::Error),
    /// The executable for the embedded image cannot be read.
    #[error("cannot make the embedded image from {path:?}")]
    Executable {
        /// The executable.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A worker thread panicked; what it did was not kept.
    #[error("a worker of the image store failed")]
    Worker(#[source] tokio::task::JoinError),
}

/// An image that is not made for the machine it is wanted for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{image} is not made for {wanted}, only for {}", list(.available))]
pub struct WrongPlatform {
    /// The image's name.
    pub image: String,
    /// What was asked for: this host's platform, unless another was named.
    pub wanted: Platform,
    /// What the image is made for.
    pub available: Vec<Platform>,
    /// This host's platform.
    pub host: Platform,
}

fn list(platforms: &[Platform]) -> String {
    if platforms.is_empty() {
        return "no platform it names".to_owned();
    }
    platforms.iter().map(Platform::to_string).collect::<Vec<_>>().join(", ")
}

impl From<RegistryError> for ImageError {
    fn from(source: RegistryError) -> ImageError {
        ImageError::Registry(Box::new(source))
    }
}

impl Classify for ImageError {
    fn kind(&self) -> Kind {
        match self {
            ImageError::Name(_)
            | ImageError::DigestName { .. }
            | ImageError::PushDigest { .. }
            | ImageError::Ambiguous { .. }
            | ImageError::Pattern(_)
            | ImageError::LeaseDuration { .. }
            | ImageError::Change { .. }
            | ImageError::OtherPayload { .. } => Kind::InvalidArgument,
            ImageError::Untrusted { source, .. } => source.kind(),
            ImageError::PolicyUnreadable { .. } | ImageError::PolicyMalformed { .. } => Kind::PermissionDenied,
            ImageError::NotFound { .. }
            | ImageError::LayerGone { .. }
            | ImageError::NoLease { .. }
            | ImageError::NoRule { .. } => Kind::NotFound,
            ImageError::Download(source) => source.kind(),
            ImageError::Registry(source) => source.kind(),
            ImageError::Content(source) => source.kind(),
            ImageError::Blob { source, .. } => source.kind(),
            ImageError::Metadata(source) => source.kind(),
            ImageError::Layer { source, .. } | ImageError::Layers(source) | ImageError::RemoveLayer { source, .. } => {
                source.kind()
            }
            ImageError::Archive(source) => source.kind(),
            ImageError::Load(source) => source.kind(),
            ImageError::Pack(source) => source.kind(),
            ImageError::FreeSpace(source) | ImageError::Output(source) | ImageError::ReadBlob { source, .. } => {
                kind_of_io(source)
            }
            ImageError::Decompress { source, .. } | ImageError::Input(source) => match kind_of_io(source) {
                // Decoders say so of bytes that are not what they should be.
                Kind::Internal | Kind::InvalidArgument => Kind::Corrupt,
                kind => kind,
            },
            ImageError::Document { .. } | ImageError::Inconsistent { .. } | ImageError::Signatures { .. } => {
                Kind::Corrupt
            }
            ImageError::MediaType { .. }
            | ImageError::NotDistributable { .. }
            | ImageError::TooManyLayers { .. }
            | ImageError::DiffIdAlgorithm { .. }
            | ImageError::Platform(_) => Kind::Unsupported,
            ImageError::InUse { .. }
            | ImageError::SeveralNames { .. }
            | ImageError::Leased { .. }
            | ImageError::LeaseExists { .. } => Kind::Conflict,
            ImageError::Executable { source, .. } => kind_of_io(source),
            ImageError::Worker(_) => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            ImageError::NotFound { name } => {
                Some(format!("`corten pull {name}` fetches it from its registry; `corten images` lists what is here"))
            }
            ImageError::Ambiguous { .. } => Some("give more digits of the id".to_owned()),
            ImageError::PushDigest { .. } => Some("give the image a tag, and push that".to_owned()),
            ImageError::LayerGone { image, .. } => Some(format!("pull the image again: corten pull {image}")),
            ImageError::Untrusted { image, at_pull, source } => trusted::hint(image, *at_pull, source),
            ImageError::PolicyUnreadable { .. } | ImageError::PolicyMalformed { .. } => Some(
                "no image is pulled or run before it can be read; containers-policy.json(5) describes it".to_owned(),
            ),
            ImageError::NoRule { .. } => Some("`corten trust ls` lists the rules".to_owned()),
            ImageError::DigestName { .. } => Some("give it a tag: NAME:TAG".to_owned()),
            ImageError::Download(source) => source.hint(),
            ImageError::Registry(source) => source.hint(),
            ImageError::Content(source) => source.hint(),
            ImageError::Blob { source, .. } if source.kind() == Kind::Corrupt => {
                Some("the registry's copy is damaged, or was changed on the way: push the image again".to_owned())
            }
            ImageError::Blob { source, .. } => source.hint(),
            ImageError::Metadata(source) => source.hint(),
            ImageError::Layer { source, .. } | ImageError::RemoveLayer { source, .. } => source.hint(),
            ImageError::Archive(source) => source.hint(),
            ImageError::Load(source) => source.hint(),
            ImageError::Pack(source) => source.hint(),
            ImageError::Platform(wrong) if wrong.wanted == wrong.host => Some(format!(
                "this host is {}; an image for another platform can be stored with --platform {}, not run",
                wrong.host,
                wrong.available.first().map_or("OS/ARCHITECTURE".to_owned(), Platform::to_string)
            )),
            ImageError::InUse { running: true, container, .. } => Some(format!("stop and remove {container} first")),
            ImageError::InUse { running: false, container, .. } => {
                Some(format!("remove {container} first, or force the removal of the image's names"))
            }
            ImageError::Leased { .. } => {
                Some("`corten system leases` shows which, and when it ends; whoever holds it can end it".to_owned())
            }
            ImageError::NoLease { .. } => Some("leases end by themselves; make a new one".to_owned()),
            ImageError::LeaseExists { .. } => Some("choose another id, or end that lease first".to_owned()),
            ImageError::SeveralNames { .. } => {
                Some("remove its names one by one, or force the removal of all of them".to_owned())
            }
            ImageError::MediaType { .. } => {
                Some("container images of the OCI format and of Docker's schema 2 are supported".to_owned())
            }
            _ => None,
        }
    }
}
