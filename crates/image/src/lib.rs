// SPDX-License-Identifier: Apache-2.0
//! Images: names, pull, push, import, commit, save, load, removal, and the embedded image.
//!
//! An image is here when three things are: its documents and blobs in the content store, its layers unpacked by the
//! snapshotter, and a record of it in the metadata. They come in that order and go in the reverse one, so that whatever
//! has a record can be run. Names are given last.
//!
//! **Architecture Invariant:** every change of names and records, and every removal of content, happens under one lock
//! (`references.rs`); content that an operation still needs is pinned there first, and what a client wants to keep is
//! under a lease (`lease.rs`). So a pull and a removal may run at
//! the same time.

mod changes;
mod check;
mod collect;
mod commit;
mod distribution;
mod document;
mod embedded;
mod error;
mod fetch;
mod filter;
mod history;
mod import;
mod lease;
mod load;
mod locks;
mod news;
mod progress;
mod prune;
mod pull;
mod push;
mod recompress;
mod records;
mod references;
mod remove;
mod room;
mod save;
mod signatures;
mod trusted;
mod usage;
mod uses;
mod waste;

use std::path::PathBuf;
use std::sync::Arc;

use content::ContentStore;
use metadata::Store;
use oci::image_spec::ImageConfiguration;
use oci::{Digest, ImageRef};
use registry_client::{Client, Credentials, RateLimit};
use snapshot::Snapshotter;
use tokio::sync::Semaphore;

pub use layer::Compression;
pub use oci::Platform;

pub use changes::{Healthcheck, Overrides};
pub use check::{Checked, Problem};
pub use collect::{Collected, Gone, Marks, Threshold};
pub use commit::Commit;
pub use distribution::Distribution;
pub use embedded::EMBEDDED_NAME;
pub use error::{ImageError, WrongPlatform};
pub use filter::Filters;
pub use history::Instruction;
pub use import::Import;
pub use lease::{Lease, LeaseId, LeaseIdError, Resource};
pub use load::{LoadError, Loaded};
pub use news::{Deed, Listener, News};
pub use progress::{Event, Progress, Quiet, Status};
pub use prune::Pruned;
pub use push::{Packing, PushOptions, Pushed};
pub use references::Held;
pub use remove::{ImageUser, Removed};
pub use room::RoomMaker;
pub use save::Saving;
pub use signatures::InRegistry;
pub use trusted::PolicyFile;
pub use usage::{Content, ImageUsage, Usage};
pub use waste::{Finding, LayerWaste, Reason, Waste};

use embedded::Embedded;
use locks::Locks;
use news::Listeners;
use references::{Holds, References, Sessions};
use room::Room;
use uses::Uses;

/// Layers fetched at the same time, over all pulls. The largest come first, and with fewer at a time one that is left over
/// keeps a single processor busy in the end.
const PARALLEL_LAYERS: usize = 6;

/// How images are had. The default is right for the daemon.
#[derive(Debug, Clone)]
pub struct Options {
    /// The executable inside the embedded image; `None` for none. The one that runs.
    pub executable: Option<PathBuf>,
    /// How registries are spoken to.
    pub registry: registry_client::Options,
    /// So many layers are fetched at the same time, over all pulls. 6.
    pub downloads: usize,
    /// So many layers are sent at the same time, over all pushes. 5.
    pub uploads: usize,
    /// The host's policy about signatures. `/etc/containers/policy.json`, where there is one.
    pub policy: PolicyFile,
}

impl Default for Options {
    fn default() -> Options {
        // By this name it can be read even after an update has replaced the file.
        Options {
            executable: Some(PathBuf::from("/proc/self/exe")),
            registry: registry_client::Options::default(),
            downloads: PARALLEL_LAYERS,
            uploads: push::PARALLEL_UPLOADS,
            policy: PolicyFile::default(),
        }
    }
}

/// An image that is here, and can be run.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// The image's id: the digest of its configuration.
    pub id: Digest,
    /// The digest of its manifest. Two registries may hold one image under two manifests, packed differently.
    pub manifest: Digest,
    /// The media type of its manifest, as it came.
    pub manifest_type: String,
    /// Bytes of its manifest.
    pub manifest_size: u64,
    /// All its names, with a tag or with a digest, sorted.
    pub names: Vec<ImageRef>,
    /// What registries call it: each name's repository with the digest that the registry gave for it.
    pub repo_digests: Vec<ImageRef>,
    /// The configuration.
    pub config: ImageConfiguration,
    /// The diff IDs of its layers, bottom first: what a snapshotter mounts.
    pub layers: Vec<Digest>,
    /// The size of each layer's files, in bytes and in the same order.
    pub layer_sizes: Vec<u64>,
    /// The size of its unpacked layers, in bytes.
    pub size: u64,
    /// When it was made, as its configuration says (RFC 3339).
    pub created: Option<String>,
}

/// The images of this host. A clone is the same store.
#[derive(Clone)]
pub struct Images {
    inner: Arc<Inner>,
    registry: Client,
}

struct Inner {
    content: Arc<ContentStore>,
    layers: Arc<dyn Snapshotter>,
    metadata: Arc<Store>,
    references: References,
    holds: Holds,
    sessions: Sessions,
    fetching: Locks,
    listeners: Listeners,
    slots: Semaphore,
    uploads: Semaphore,
    embedded: Embedded,
    policy: PolicyFile,
    room: Room,
    uses: Uses,
}

impl Images {
    /// The images whose content, layers and records are in these stores.
    ///
    /// # Errors
    /// The stores cannot be read, or `index.json` cannot be brought up to date.
    pub fn open(
        content: Arc<ContentStore>,
        layers: Arc<dyn Snapshotter>,
        metadata: Arc<Store>,
        options: Options,
    ) -> Result<Images, ImageError> {
        let images = Images {
            inner: Arc::new(Inner {
                content,
                layers,
                metadata,
                references: References::default(),
                holds: Holds::default(),
                sessions: Sessions::default(),
                fetching: Locks::default(),
                listeners: Listeners::default(),
                slots: Semaphore::new(options.downloads),
                uploads: Semaphore::new(options.uploads),
                embedded: Embedded::new(options.executable),
                policy: options.policy,
                room: Room::default(),
                uses: Uses::default(),
            }),
            registry: Client::new(options.registry),
        };
        // Names are committed before the index is written; a crash may have come between the two.
        images.inner.write_index(&images.inner.references.lock())?;
        Ok(images)
    }

    /// The same images for somebody whom `registry` knows by these credentials.
    #[must_use]
    pub fn acting_as(&self, registry: &str, credentials: Credentials) -> Images {
        Images { inner: Arc::clone(&self.inner), registry: self.registry.acting_as(registry, credentials) }
    }

    /// The image called `name`: a name (`latest` is meant where it has no tag), a name with a digest, an id or its
    /// beginning. The embedded image is made when it is first asked for, and anew when the executable has changed.
    ///
    /// # Errors
    /// [`ImageError::NotFound`], [`ImageError::Ambiguous`], and what can go wrong with the embedded image.
    pub fn resolve(&self, name: &str) -> Result<Image, ImageError> {
        if embedded::is_embedded(name) {
            self.ensure_embedded()?;
        }
        self.inner.find(name)
    }

    /// The `config` of the configuration of the image `id`, as it stands there: with what is Docker's alone, which
    /// [`Image::config`] has not. Null where it has none.
    ///
    /// # Errors
    /// It is not here, or no JSON.
    pub fn run_configuration(&self, id: Digest) -> Result<serde_json::Value, ImageError> {
        #[derive(serde::Deserialize)]
        struct Configuration {
            #[serde(default)]
            config: serde_json::Value,
        }
        let text = self.inner.content.read_blob(&id, document::MAX_CONFIG)?;
        let invalid = |source| ImageError::Document { image: id.to_string(), document: "configuration", source };
        Ok(serde_json::from_slice::<Configuration>(&text).map_err(invalid)?.config)
    }

    /// The manifest of the image that is called `name` here, if there is one.
    ///
    /// # Errors
    /// The metadata cannot be read.
    pub fn manifest_of(&self, name: &ImageRef) -> Result<Option<Digest>, ImageError> {
        match self.inner.find(&name.canonical()) {
            Ok(image) => Ok(Some(image.manifest)),
            Err(ImageError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How many pulls `registry` still allows to whoever asks here, as it said last.
    pub fn rate_limit(&self, registry: &str) -> Option<RateLimit> {
        self.registry.rate_limit(registry)
    }

    /// Whether `registry` (a host and perhaps a port) answers, and accepts whom it is asked as. The answer is the identity
    /// token that it gives for the password, if it does.
    ///
    /// # Errors
    /// The registry's.
    pub async fn check_login(&self, registry: &str) -> Result<Option<String>, ImageError> {
        Ok(self.registry.check(registry).await?)
    }

    /// All images, with and without names, sorted by their names.
    ///
    /// # Errors
    /// The metadata cannot be read.
    pub fn list(&self) -> Result<Vec<Image>, ImageError> {
        self.inner.list()
    }

    /// Gives the image called `name` the further name `new`, which no longer means another image then.
    ///
    /// # Errors
    /// [`ImageError::NotFound`]; [`ImageError::DigestName`] when `new` has a digest.
    pub fn tag(&self, name: &str, new: &ImageRef) -> Result<Image, ImageError> {
        let new = records::tagged(new)?;
        let image = self.resolve(name)?;
        self.inner.put_name(&new, image.manifest, None)?;
        self.inner.note_use(image.id);
        self.inner.happened_to(&image, Deed::Tagged(new));
        self.inner.image(image.manifest)
    }
}
