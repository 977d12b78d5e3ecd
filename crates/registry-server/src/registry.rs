// SPDX-License-Identifier: Apache-2.0
//! The registry: its storage, how it behaves, and serving it.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::access_log::AccessLog;
use crate::auth::Access;
use crate::http::{Blocks, ROOM};
use crate::metrics::Metrics;
use crate::mirror::Mirror;
use crate::storage::{Storage, StorageError, Uploads};
use crate::tls::Identity;

/// How a registry behaves.
#[derive(Debug)]
pub struct Options {
    /// Where everything is kept. Made where it is missing; the directory above must exist.
    pub root: PathBuf,
    /// Another content store on the same file system, whose blobs are linked instead of being stored a second time.
    pub share_with: Option<PathBuf>,
    /// Whether nothing may be pushed or deleted. No.
    pub read_only: bool,
    /// Who may do what. Everybody everything.
    pub access: Access,
    /// The certificate to serve TLS with. None: plain HTTP.
    pub tls: Option<Identity>,
    /// The registry of which this one is a cache. None.
    pub mirror: Option<Mirror>,
    /// Where requests are logged. Nowhere.
    pub access_log: Option<AccessLog>,
    /// When and what to collect of what nobody needs. Every hour, after a day.
    pub collection: Option<Collection>,
    /// What clients may make it bear.
    pub limits: Limits,
}

/// Garbage collection.
#[derive(Debug, Clone, Copy)]
pub struct Collection {
    /// The time between two collections.
    pub interval: Duration,
    /// How long a blob may be without a manifest that refers to it, and an upload without a request.
    pub grace: Duration,
}

/// What clients may make a registry bear. The defaults are right for everything but tests.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once; further ones wait. 1024.
    pub connections: usize,
    /// How long a client may take to send a request's head, and to begin the next one. 30 s.
    pub head: Duration,
    /// How long a client may send nothing of a body, or take nothing of an answer. 60 s.
    pub idle: Duration,
    /// How long a client may take to send 256 KiB of a body or a manifest, and to take 256 KiB of an answer. 256 s: a
    /// kibibyte a second.
    pub block: Duration,
    /// Blobs that a cache fetches at once; a fetch goes on when its client leaves, so clients must not be able to begin any
    /// number. 32.
    pub fetches: usize,
    /// How long requests under way may take when the registry ends. 10 s.
    pub last_requests: Duration,
}

impl Options {
    /// A registry that keeps everything below `root`, and otherwise behaves as the defaults say.
    pub fn new(root: impl Into<PathBuf>) -> Options {
        Options {
            root: root.into(),
            share_with: None,
            read_only: false,
            access: Access::Open,
            tls: None,
            mirror: None,
            access_log: None,
            collection: Some(Collection::default()),
            limits: Limits::default(),
        }
    }
}

impl Default for Collection {
    fn default() -> Collection {
        Collection { interval: Duration::from_secs(3600), grace: Duration::from_secs(24 * 3600) }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 1024,
            head: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            block: Duration::from_secs(256),
            fetches: 32,
            last_requests: Duration::from_secs(10),
        }
    }
}

/// An open registry. One process at a time has a root.
#[derive(Debug)]
pub struct Registry {
    pub(crate) options: Options,
    pub(crate) storage: Arc<Storage>,
    pub(crate) uploads: Uploads,
    pub(crate) metrics: Metrics,
    pub(crate) blocks: Blocks,
    /// Bytes of long bodies that may still come into memory.
    pub(crate) room: Arc<Semaphore>,
    /// Places for blobs that are fetched.
    pub(crate) fetches: Arc<Semaphore>,
}

impl Registry {
    /// Opens the registry. Blocks while it looks at the disk.
    ///
    /// # Errors
    /// The root is another process's, or cannot be used.
    pub fn open(options: Options) -> Result<Registry, StorageError> {
        let (storage, uploads) = Storage::open(&options.root, options.share_with.as_deref())?;
        let fetches = Arc::new(Semaphore::new(options.limits.fetches));
        let (metrics, blocks, room) = (Metrics::default(), Blocks::default(), Arc::new(Semaphore::new(ROOM)));
        Ok(Registry { options, storage: storage.into(), uploads, metrics, blocks, room, fetches })
    }

    /// Serves it on `listener` until `shutdown` is ready; requests under way then have ten seconds to end.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let registry = Arc::new(self);
        let collecting = registry
            .options
            .collection
            .filter(|_| !registry.options.read_only)
            .map(|collection| tokio::spawn(crate::collection::run(Arc::clone(&registry), collection)));
        crate::http::serve(registry, listener, shutdown).await;
        // One under way ends by itself: its thread is not stopped, and what it has done is whole at every moment.
        if let Some(collecting) = collecting {
            collecting.abort();
        }
    }
}
