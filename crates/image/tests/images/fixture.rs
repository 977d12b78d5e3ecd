// SPDX-License-Identifier: Apache-2.0
//! A host's stores in a directory of their own, and images to put into them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use content::ContentStore;
use image::{Event, Image, Images, Options, PolicyFile, Progress};
use metadata::Store;
use oci::{Algorithm, Digest, ImageRef};
use registry_client::CredentialSource;
use serde_json::{Value, json};
use snapshot::{Directories, MountOptions, Snapshotter};
use tempfile::TempDir;

/// The stores of one host. They go with it.
pub(crate) struct Host {
    pub(crate) dir: TempDir,
    pub(crate) images: Images,
    pub(crate) content: Arc<ContentStore>,
    pub(crate) layers: Arc<Directories>,
    pub(crate) metadata: Arc<Store>,
}

impl Host {
    pub(crate) fn new() -> Host {
        Host::with_executable(None)
    }

    pub(crate) fn with_executable(executable: Option<PathBuf>) -> Host {
        assert!(rustix::process::geteuid().is_root(), "these tests need root");
        let dir = tempfile::tempdir().unwrap();
        let (content, layers, metadata) = stores(dir.path());
        let images = open(&content, &layers, &metadata, executable);
        Host { dir, images, content, layers, metadata }
    }

    /// The same stores, as the daemon finds them when it starts anew.
    pub(crate) fn reopened(&self, executable: Option<PathBuf>) -> Images {
        open(&self.content, &self.layers, &self.metadata, executable)
    }

    pub(crate) fn blobs(&self) -> Vec<Digest> {
        self.content.blobs().unwrap().into_iter().map(|(digest, _)| digest).collect()
    }

    pub(crate) fn layers(&self) -> Vec<Digest> {
        self.layers.layers().unwrap().into_iter().map(|(diff_id, _)| diff_id).collect()
    }

    /// Nothing is stored, nothing is named, nothing is half-made.
    pub(crate) fn assert_empty(&self) {
        assert_eq!(self.blobs(), []);
        assert_eq!(self.layers(), []);
        assert_eq!(self.images.list().unwrap(), []);
        let ingest = std::fs::read_dir(self.dir.path().join("content/ingest")).unwrap();
        assert_eq!(ingest.count(), 0, "a blob was left half-written");
    }

    /// The image's root, mounted; the mount goes with it.
    pub(crate) fn mount(&self, image: &Image) -> Mounted {
        let dir = tempfile::tempdir_in(self.dir.path()).unwrap();
        let root = self.layers.mount(dir.path(), &image.layers, MountOptions::default()).unwrap();
        Mounted { root, _dir: dir }
    }

    /// Where other tools read this host's images.
    pub(crate) fn layout(&self) -> PathBuf {
        self.dir.path().join("content")
    }
}

fn stores(dir: &Path) -> (Arc<ContentStore>, Arc<Directories>, Arc<Store>) {
    let content = ContentStore::open(&dir.join("content")).unwrap();
    let layers = Directories::open(dir).unwrap();
    let metadata = Store::open(&dir.join("metadata.redb")).unwrap();
    (content.into(), layers.into(), metadata.into())
}

pub(crate) fn open(
    content: &Arc<ContentStore>,
    layers: &Arc<Directories>,
    metadata: &Arc<Store>,
    executable: Option<PathBuf>,
) -> Images {
    let registry = registry_client::Options {
        idle_timeout: Duration::from_secs(2),
        backoff: Duration::from_millis(5),
        credentials: CredentialSource::Anonymous,
        ..registry_client::Options::default()
    };
    let layers: Arc<dyn Snapshotter> = Arc::<Directories>::clone(layers);
    // No test depends on what this host trusts.
    let policy = PolicyFile::named(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/images/policy.json").into());
    let options = Options { executable, registry, policy, ..Options::default() };
    Images::open(Arc::clone(content), layers, Arc::clone(metadata), options).unwrap()
}

/// A mounted root, read through its descriptor: it is in no mount table.
pub(crate) struct Mounted {
    root: OwnedFd,
    _dir: TempDir,
}

impl Mounted {
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        format!("/proc/self/fd/{}/{path}", self.root.as_raw_fd()).into()
    }

    pub(crate) fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap()
    }

    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(path)).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// Everything that was reported.
#[derive(Default)]
pub(crate) struct Recorder(Mutex<Vec<Event>>);

impl Progress for Recorder {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Recorder {
    pub(crate) fn count(&self, wanted: image::Status) -> usize {
        self.0.lock().unwrap().iter().filter(|event| event.status == wanted).count()
    }

    pub(crate) fn has_download(&self) -> bool {
        let events = self.0.lock().unwrap();
        events.iter().any(|event| matches!(event.status, image::Status::Downloading { .. }))
    }
}

/// Names that end in `/` are directories.
pub(crate) fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        // Hostile names are what some tests are about: the library would refuse them.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        let is_dir = name.ends_with('/');
        header.set_entry_type(if is_dir { tar::EntryType::Directory } else { tar::EntryType::Regular });
        header.set_mode(if is_dir { 0o755 } else { 0o644 });
        header.set_size(content.len() as u64);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_600_000_000);
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

/// Bytes that no compression makes smaller.
pub(crate) fn noise(len: usize, seed: u64) -> String {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(33 + (state % 90) as u8)
    };
    std::iter::repeat_with(next).take(len).collect()
}

pub(crate) fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

/// An image that does not exist yet, as documents and blobs. Every part can be made wrong before it is used.
#[derive(Clone)]
pub(crate) struct Draft {
    /// By which everything is named but the layers' archives.
    algorithm: Algorithm,
    pub(crate) config: Value,
    pub(crate) manifest: Value,
    pub(crate) blobs: BTreeMap<Digest, Vec<u8>>,
}

impl Draft {
    /// An image of these uncompressed layers, each stored compressed in another way.
    pub(crate) fn new(layers: &[Vec<u8>]) -> Draft {
        Draft::named_by(Algorithm::Sha256, layers)
    }

    /// The same, with every blob named by this algorithm.
    pub(crate) fn named_by(algorithm: Algorithm, layers: &[Vec<u8>]) -> Draft {
        let mut draft = Draft { algorithm, config: Value::Null, manifest: Value::Null, blobs: BTreeMap::new() };
        let mut descriptors = Vec::new();
        for (n, tar) in layers.iter().enumerate() {
            let (blob, suffix) = match n % 3 {
                0 => (gzip(tar), "+gzip"),
                1 => (zstd(tar), "+zstd"),
                _ => (tar.clone(), ""),
            };
            let media_type = format!("application/vnd.oci.image.layer.v1.tar{suffix}");
            descriptors.push(json!({"mediaType": media_type, "digest": algorithm.digest(&blob), "size": blob.len()}));
            draft.blobs.insert(algorithm.digest(&blob), blob);
        }
        let diff_ids: Vec<Digest> = layers.iter().map(Digest::of).collect();
        draft.config = json!({
            "created": "2024-05-06T07:08:09Z", "architecture": architecture(), "os": "linux",
            "config": {"Cmd": ["/bin/true"], "Env": ["A=b"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        draft.manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json"},
            "layers": descriptors,
        });
        draft
    }

    /// The digest of layer `n`'s blob.
    pub(crate) fn layer(&self, n: usize) -> Digest {
        self.manifest["layers"][n]["digest"].as_str().unwrap().parse().unwrap()
    }

    /// The configuration, stored, and the manifest that names it.
    pub(crate) fn finish(&self) -> (Vec<u8>, BTreeMap<Digest, Vec<u8>>) {
        let mut blobs = self.blobs.clone();
        let config = serde_json::to_vec(&self.config).unwrap();
        let mut manifest = self.manifest.clone();
        manifest["config"]["digest"] = json!(self.algorithm.digest(&config));
        manifest["config"]["size"] = json!(config.len());
        blobs.insert(self.algorithm.digest(&config), config);
        (serde_json::to_vec(&manifest).unwrap(), blobs)
    }

    /// Writes the image as an OCI layout that other tools can read, under the tag `latest`.
    pub(crate) fn write_layout(&self, dir: &Path) {
        let (manifest, mut blobs) = self.finish();
        let digest = self.algorithm.digest(&manifest);
        let index = json!({"schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": manifest.len(),
            "annotations": {"org.opencontainers.image.ref.name": "latest"},
        }]});
        blobs.insert(digest, manifest);
        std::fs::create_dir_all(dir.join("blobs").join(self.algorithm.as_str())).unwrap();
        std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        std::fs::write(dir.join("index.json"), index.to_string()).unwrap();
        for (digest, blob) in blobs {
            std::fs::write(dir.join("blobs").join(digest.blob_name()), blob).unwrap();
        }
    }
}

pub(crate) fn name(text: &str) -> ImageRef {
    text.parse().unwrap()
}

/// The three layers of most tests: files, a whiteout and an opaque directory, and more files.
pub(crate) fn three_layers() -> [Vec<u8>; 3] {
    [
        tar(&[("etc/", ""), ("etc/keep", "kept"), ("etc/gone", "x"), ("dir/", ""), ("dir/a", "a"), ("dir/b", "b")]),
        tar(&[("etc/", ""), ("etc/.wh.gone", ""), ("dir/", ""), ("dir/.wh..wh..opq", ""), ("dir/c", "c")]),
        tar(&[("etc/", ""), ("etc/keep", "changed"), ("top", "t")]),
    ]
}
