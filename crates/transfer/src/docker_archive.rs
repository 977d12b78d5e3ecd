// SPDX-License-Identifier: Apache-2.0
//! `docker-archive:`: images in an archive as `docker save` writes it: `manifest.json` names a configuration, tags and
//! layers. There is no manifest in such an archive, so one is made up while it is read; and there are no digests of
//! layers, so what verifies them are the diff IDs of the configuration.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use layer::Compression;
use oci::document::{Descriptor, Manifest};
use oci::media_type::{Format, LayerType};
use oci::{Algorithm, Digest, Hasher, ImageRef};
use serde::{Deserialize, Serialize};

use crate::blob::{PIECE, Reader, Stretch, Verified};
use crate::destination::{Destination, Layers, Role};
use crate::document::{Document, MAX_CONFIG, MAX_MANIFEST, encode, inconsistent, parse};
use crate::error::TransferError;
use crate::name::Choice;
use crate::oci_layout::missing;
use crate::packed::{Packed, Packing};
use crate::source::Source;
use crate::spool;

const MANIFEST: &str = "manifest.json";

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// The diff IDs that a configuration has.
fn diff_ids(place: &str, config: &[u8]) -> Result<Vec<Digest>, TransferError> {
    #[derive(Deserialize)]
    struct Config {
        rootfs: RootFs,
    }
    #[derive(Deserialize)]
    struct RootFs {
        #[serde(default)]
        diff_ids: Option<Vec<Digest>>,
    }
    Ok(parse::<Config>(place, "configuration", config)?.rootfs.diff_ids.unwrap_or_default())
}

/// An archive's image to be read.
pub(crate) struct DockerArchiveSource {
    place: String,
    packed: Packed,
    manifest: Document,
    /// Where the blobs are, by the digests that the manifest gives them.
    blobs: BTreeMap<Digest, String>,
}

impl DockerArchiveSource {
    pub(crate) fn open(place: &str, path: &Path, choice: &Choice) -> Result<DockerArchiveSource, TransferError> {
        let packed = Packed::open(path)?;
        let items = packed.document(place, MANIFEST, MANIFEST, MAX_MANIFEST)?;
        let items = items.ok_or_else(|| missing(place, "document", MANIFEST))?;
        let item = chosen(place, parse(place, MANIFEST, &items)?, choice)?;
        let config = packed.document(place, &item.config, "configuration", MAX_CONFIG)?;
        let config = config.ok_or_else(|| missing(place, "configuration", &item.config))?;
        let (diff_ids, paths) = (diff_ids(place, &config)?, item.layers.unwrap_or_default());
        if diff_ids.len() != paths.len() {
            return Err(inconsistent(place, "its manifest.json and its configuration differ in the number of layers"));
        }
        let config_digest = Digest::of(&config);
        let mut blobs = BTreeMap::from([(config_digest, item.config)]);
        let mut layers = Vec::new();
        for (path, diff_id) in paths.into_iter().zip(diff_ids) {
            let stretch = packed.stretch(&path).ok_or_else(|| missing(place, "layer", &path))?;
            let (digest, compression) = identified(place, &stretch, diff_id)?;
            blobs.insert(digest, path);
            layers.push((compression, digest, stretch.size));
        }
        // Docker's format, whose configuration it is, unless it has no word for how a layer is compressed.
        let is_docker = layers.iter().all(|(compression, ..)| *compression != Compression::Zstd);
        let format = if is_docker { Format::Docker } else { Format::Oci };
        let layers = layers.into_iter().map(|(compression, digest, size)| {
            // Each of the formats that was chosen has one.
            Descriptor::new(LayerType::of(compression).name(format).unwrap_or_default(), digest, size)
        });
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(format.manifest().to_owned()),
            config: Descriptor::new(format.config(), config_digest, config.len() as u64),
            layers: layers.collect(),
        };
        let manifest = Document::read(place, encode(place, "manifest", &manifest)?, None)?;
        Ok(DockerArchiveSource { place: place.to_owned(), packed, manifest, blobs })
    }
}

/// The one of the archive's images that is meant.
fn chosen(place: &str, mut items: Vec<Item>, choice: &Choice) -> Result<Item, TransferError> {
    let tags = |item: &Item| item.repo_tags.clone().unwrap_or_default();
    let available = |items: &[Item]| items.iter().flat_map(tags).collect::<Vec<_>>();
    let index = match choice {
        Choice::Only if items.len() > 1 => {
            let available = items
                .iter()
                .enumerate()
                .map(|(index, item)| tags(item).into_iter().next().unwrap_or_else(|| format!("@{index}")));
            return Err(TransferError::Several { place: place.to_owned(), available: available.collect() });
        }
        Choice::Only => Some(0),
        Choice::Nth(index) => Some(*index),
        Choice::Named(wanted) => items.iter().position(|item| {
            let is_it = |tag: &String| tag.parse::<ImageRef>().is_ok_and(|name| name.with_default_tag() == *wanted);
            tags(item).iter().any(is_it)
        }),
    };
    match index.filter(|index| *index < items.len()) {
        Some(index) => Ok(items.swap_remove(index)),
        None => Err(TransferError::NoImage { place: place.to_owned(), available: available(&items) }),
    }
}

/// The digest of a layer's blob, and how it is compressed. One that is not compressed has its diff ID for a digest, and is
/// compared with it when it is copied; of another, the diff ID is compared here.
fn identified(place: &str, stretch: &Stretch, diff_id: Digest) -> Result<(Digest, Compression), TransferError> {
    let mut start = [0; 4];
    let count = stretch.read_at(&mut start, 0)?;
    let compression = layer::detect(&start[..count]);
    if compression == Compression::None {
        return Ok((diff_id, compression));
    }
    let digest = hashed(Algorithm::Sha256, |buffer, offset| stretch.read_at(buffer, offset))?;
    let content = spool::content(stretch);
    let unreadable = |source| TransferError::Decompress { place: place.to_owned(), layer: digest, source };
    let mut content = layer::decompress(content, compression).map_err(unreadable)?;
    let found = hashed(diff_id.algorithm(), |buffer, _| content.read(buffer).map_err(unreadable))?;
    let wrong = |mismatch| TransferError::Digest { place: place.to_owned(), what: "layer", mismatch };
    diff_id.matches(found).map_err(wrong)?;
    Ok((digest, compression))
}

fn hashed(
    algorithm: Algorithm,
    mut read: impl FnMut(&mut [u8], u64) -> Result<usize, TransferError>,
) -> Result<Digest, TransferError> {
    let (mut hasher, mut buffer, mut offset) = (Hasher::with(algorithm), vec![0; PIECE], 0);
    loop {
        match read(&mut buffer, offset)? {
            0 => return Ok(hasher.finish()),
            count => {
                hasher.update(&buffer[..count]);
                offset += count as u64;
            }
        }
    }
}

impl Source for DockerArchiveSource {
    fn top(&self) -> Result<Document, TransferError> {
        Ok(self.manifest.clone())
    }

    fn manifest(&self, entry: &Descriptor) -> Result<Document, TransferError> {
        Err(missing(&self.place, "manifest", &entry.digest.to_string()))
    }

    fn blob(&self, blob: &Descriptor) -> Result<Box<dyn Reader>, TransferError> {
        let stretch = self.blobs.get(&blob.digest).and_then(|path| self.packed.stretch(path));
        Ok(Box::new(stretch.ok_or_else(|| missing(&self.place, "blob", &blob.digest.to_string()))?))
    }

    fn is_made_up(&self) -> bool {
        true
    }
}

/// An archive to be written: a new one, in the place of one that may be there.
pub(crate) struct DockerArchiveDestination {
    place: String,
    name: Option<ImageRef>,
    packing: Mutex<Packing>,
    configs: Mutex<BTreeMap<Digest, Vec<u8>>>,
}

impl DockerArchiveDestination {
    pub(crate) fn create(place: &str, path: &Path, choice: &Choice) -> Result<DockerArchiveDestination, TransferError> {
        let name = match choice {
            Choice::Only => None,
            Choice::Named(name) => Some(name.clone()),
            Choice::Nth(_) => return Err(TransferError::NumberedDestination { place: place.to_owned() }),
        };
        let (place, packing) = (place.to_owned(), Mutex::new(Packing::create(path)?));
        Ok(DockerArchiveDestination { place, name, packing, configs: Mutex::default() })
    }
}

impl Destination for DockerArchiveDestination {
    fn layers(&self) -> Layers {
        Layers::Plain
    }

    fn holds_indexes(&self) -> bool {
        false
    }

    fn has_blob(&self, _blob: &Descriptor) -> Result<bool, TransferError> {
        // What was written already, the copy knows itself.
        Ok(false)
    }

    fn put_blob(&self, role: Role, blob: &Descriptor, content: &Arc<Verified>) -> Result<(), TransferError> {
        if role == Role::Config {
            let text = content.to_vec()?;
            self.configs.lock().unwrap_or_else(PoisonError::into_inner).insert(blob.digest, text);
            return Ok(());
        }
        let mut packing = self.packing.lock().unwrap_or_else(PoisonError::into_inner);
        packing.blob(&format!("{}.tar", blob.digest.hex()), content)
    }

    fn put_manifest(&self, document: &Document, _is_top: bool) -> Result<(), TransferError> {
        let manifest = document.manifest(&self.place)?;
        let configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = manifest.config.digest;
        let config = configs.get(&digest).ok_or_else(|| missing(&self.place, "configuration", &digest.to_string()))?;
        // They are uncompressed now, so these are their diff IDs.
        let layers: Vec<Digest> = manifest.layers.iter().map(|layer| layer.digest).collect();
        if diff_ids(&self.place, config)? != layers {
            return Err(inconsistent(&self.place, "the layers are not those that the image's configuration describes"));
        }
        let item = Item {
            config: format!("{}.json", digest.hex()),
            repo_tags: Some(self.name.iter().map(ImageRef::to_string).collect()),
            layers: Some(layers.iter().map(|layer| format!("{}.tar", layer.hex())).collect()),
        };
        let mut packing = self.packing.lock().unwrap_or_else(PoisonError::into_inner);
        packing.file(&item.config, config)?;
        packing.file(MANIFEST, &encode(&self.place, MANIFEST, &[item])?)
    }

    fn finish(self: Box<Self>) -> Result<(), TransferError> {
        self.packing.into_inner().unwrap_or_else(PoisonError::into_inner).finish()
    }
}
