// SPDX-License-Identifier: Apache-2.0
//! The copy itself: what goes, in which form, and in which order. Blobs before the manifest that names them, manifests
//! before their index, and the destination's name for it all at the very end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use layer::Compression;
use oci::document::{Descriptor, Manifest};
use oci::manifest::{ConvertError, NewEntry, NewLayer, converted, converted_index};
use oci::media_type::{Format, LayerType};
use oci::{Digest, Platform};

use crate::blob::{Expected, Reader, Verified};
use crate::destination::{Destination, Layers, Role};
use crate::directory::{DirectoryDestination, DirectorySource};
use crate::docker_archive::{DockerArchiveDestination, DockerArchiveSource};
use crate::document::{self, Document, inconsistent};
use crate::error::TransferError;
use crate::name::Place;
use crate::oci_archive::{OciArchiveDestination, OciArchiveSource};
use crate::oci_layout::{LayoutDestination, LayoutSource};
use crate::progress::{Event, Progress, Quiet, Status};
use crate::registry::{Registries, RegistryDestination, RegistrySource};
use crate::source::Source;
use crate::spool;
use crate::stop::Stop;

/// An index may hold indexes; deeper than this it is a maze.
const MAX_NESTING: usize = 3;

/// How an image is copied. By default as it is, and of one for several platforms the one for this host.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// All of an index, not only one of its images.
    pub all: bool,
    /// Which of an index's images. The one for this host.
    pub platform: Option<Platform>,
    /// The format of the manifests. The one they have, or the only one that the destination knows.
    pub format: Option<Format>,
    /// How layers are compressed. As they are; layers that come uncompressed out of a docker-archive, with gzip.
    pub compression: Option<Compression>,
    /// One of [`layer::levels`].
    pub level: Option<i32>,
    /// Fail rather than change a digest.
    pub preserve_digests: bool,
}

/// What the destination has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// The digest of its manifest or index. A docker-archive has none; then that of the manifest that was read.
    pub digest: Digest,
}

/// Copies the image `from` to `to`. Blocks, so it must not be called on a thread of the registries' runtime. After an
/// error the destination is as it was before, save blobs that a registry may have got.
///
/// # Errors
/// [`TransferError`].
pub fn copy(
    from: &Place,
    to: &Place,
    options: &Options,
    registries: &Registries,
    stop: &Stop,
    progress: Arc<dyn Progress>,
) -> Result<Copied, TransferError> {
    let (from_text, to_text) = (from.to_string(), to.to_string());
    let source = open(from, &from_text, registries, stop)?;
    let top = selected(&*source, &from_text, options)?;
    let destination = create(to, &to_text, registries, stop)?;
    let format = wanted_format(options, destination.format(), &to_text)?;
    if top.is_index() && !destination.holds_indexes() {
        return Err(TransferError::NoRoomForIndex { place: to_text });
    }
    let copy = Copy {
        from: &from_text,
        source: &*source,
        destination: &*destination,
        options,
        format,
        stop,
        progress,
        done: Mutex::default(),
        compressing: Mutex::default(),
    };
    let top = copy.document(top, true, 0)?;
    if stop.is_stopped() {
        return Err(TransferError::Stopped);
    }
    destination.finish()?;
    Ok(Copied { digest: top.digest })
}

fn open(place: &Place, text: &str, registries: &Registries, stop: &Stop) -> Result<Box<dyn Source>, TransferError> {
    Ok(match place {
        Place::Registry(name) => Box::new(RegistrySource::new(name, registries, stop)),
        Place::Layout(path, reference) => Box::new(LayoutSource::open(text, path, reference.as_deref())?),
        Place::LayoutArchive(path, reference) => Box::new(OciArchiveSource::open(text, path, reference.as_deref())?),
        Place::DockerArchive(path, choice) => Box::new(DockerArchiveSource::open(text, path, choice)?),
        Place::Directory(path) => Box::new(DirectorySource::open(text, path)?),
    })
}

fn create(
    place: &Place,
    text: &str,
    registries: &Registries,
    stop: &Stop,
) -> Result<Box<dyn Destination>, TransferError> {
    Ok(match place {
        Place::Registry(name) => Box::new(RegistryDestination::new(name, registries, stop)),
        Place::Layout(path, reference) => Box::new(LayoutDestination::create(text, path, reference.as_deref())?),
        Place::LayoutArchive(path, reference) => {
            Box::new(OciArchiveDestination::create(text, path, reference.as_deref())?)
        }
        Place::DockerArchive(path, choice) => Box::new(DockerArchiveDestination::create(text, path, choice)?),
        Place::Directory(path) => Box::new(DirectoryDestination::create(text, path)?),
    })
}

/// The index itself where all of it is wanted, else the manifest for one platform.
fn selected(source: &dyn Source, place: &str, options: &Options) -> Result<Document, TransferError> {
    let mut found = source.top()?;
    if options.all {
        return Ok(found);
    }
    let wanted = options.platform.clone().unwrap_or_else(Platform::host);
    for _ in 0..MAX_NESTING {
        if !found.is_index() {
            return Ok(found);
        }
        let entry = document::choose(place, &found.entries(place)?, &wanted)?;
        found = source.manifest(&entry)?.checked(place, &entry)?;
    }
    Err(inconsistent(place, "its index leads to further indexes without end"))
}

/// The format that all manifests shall have; `None` where each keeps its own.
fn wanted_format(options: &Options, only: Option<Format>, place: &str) -> Result<Option<Format>, TransferError> {
    match (options.format, only) {
        (Some(wanted), Some(only)) if wanted != only => {
            Err(TransferError::Format { place: place.to_owned(), docker: only == Format::Docker })
        }
        (None, None) if options.compression == Some(Compression::Zstd) => Ok(Some(Format::Oci)),
        (wanted, only) => Ok(wanted.or(only)),
    }
}

/// What becomes of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It is copied as it is.
    AsItIs,
    /// It is compressed so, or not at all.
    Repack(Compression),
    /// It stays where its maker has it.
    Leave,
}

struct Copy<'a> {
    from: &'a str,
    source: &'a dyn Source,
    destination: &'a dyn Destination,
    options: &'a Options,
    format: Option<Format>,
    stop: &'a Stop,
    progress: Arc<dyn Progress>,
    /// Blobs that are at the destination, and what they are called there if they were changed.
    done: Mutex<BTreeMap<Digest, Option<NewLayer>>>,
    /// Compressing takes all processors as it is.
    compressing: Mutex<()>,
}

impl Copy<'_> {
    /// Copies a manifest or an index with all that it names. Gives what it has become.
    fn document(&self, document: Document, is_top: bool, depth: usize) -> Result<Document, TransferError> {
        if !document.is_index() {
            return self.image(document, is_top);
        }
        if depth > MAX_NESTING {
            return Err(inconsistent(self.from, "its index leads to further indexes without end"));
        }
        let mut changed = BTreeMap::new();
        let mut seen = BTreeMap::new();
        for entry in document.entries(self.from)? {
            if seen.insert(entry.digest, ()).is_some() {
                continue;
            }
            let child = self.source.manifest(&entry)?.checked(self.from, &entry)?;
            let child = self.document(child, false, depth + 1)?;
            if child.digest != entry.digest {
                let (digest, size, media_type) = (child.digest, child.text.len() as u64, child.media_type);
                changed.insert(entry.digest, NewEntry { digest, size, media_type });
            }
        }
        let document = match self.format_of(&document) {
            format if changed.is_empty() && Format::of(&document.media_type) == Some(format) => document,
            format => {
                if self.options.preserve_digests {
                    return Err(self.would_change("the destination holds indexes of another format"));
                }
                let text = converted_index(&document.text, format, &changed).map_err(|error| self.convert(error))?;
                Document::read(self.from, text, Some(format.index()))?
            }
        };
        self.put(&document, is_top)?;
        Ok(document)
    }

    /// Copies one image.
    fn image(&self, document: Document, is_top: bool) -> Result<Document, TransferError> {
        let manifest = document.manifest(self.from)?;
        let steps = self.steps(&manifest)?;
        let format = self.format_of(&document);
        let repacks = steps.iter().any(|(_, step)| matches!(step, Step::Repack(_)));
        let is_changed = repacks || Format::of(&document.media_type) != Some(format);
        if self.options.preserve_digests {
            if self.source.is_made_up() {
                return Err(self.would_change("a docker-archive has no manifest whose digest could be kept"));
            }
            if is_changed {
                let why = if repacks {
                    "its layers would be compressed otherwise"
                } else {
                    "its manifest would be of another format"
                };
                return Err(self.would_change(why));
            }
        }
        if is_changed {
            // Said before anything was moved.
            self.convertible(&document, &steps, format)?;
        } else if is_top {
            self.destination.accepts(&document)?;
        }
        let changed = self.layers(steps)?;
        self.blob(Role::Config, &manifest.config)?;
        let document = if is_changed {
            let text = converted(&document.text, format, &changed).map_err(|error| self.convert(error))?;
            Document::read(self.from, text, Some(format.manifest()))?
        } else {
            document
        };
        self.put(&document, is_top)?;
        Ok(document)
    }

    fn put(&self, document: &Document, is_top: bool) -> Result<(), TransferError> {
        if is_top {
            self.destination.accepts(document)?;
        }
        self.destination.put_manifest(document, is_top)
    }

    fn format_of(&self, document: &Document) -> Format {
        // A document's type is one that has a format: `Document::read` takes no other.
        self.format.or_else(|| Format::of(&document.media_type)).unwrap_or(Format::Oci)
    }

    /// Converts the manifest as it will be converted, with made-up digests, to see whether it can be.
    fn convertible(
        &self,
        document: &Document,
        steps: &[(Descriptor, Step)],
        format: Format,
    ) -> Result<(), TransferError> {
        let planned = steps.iter().filter_map(|(layer, step)| match *step {
            Step::Repack(compression) => {
                Some((layer.digest, NewLayer { digest: layer.digest, size: layer.size, compression }))
            }
            _ => None,
        });
        converted(&document.text, format, &planned.collect()).map(drop).map_err(|error| self.convert(error))
    }

    fn convert(&self, source: ConvertError) -> TransferError {
        TransferError::Convert { place: self.from.to_owned(), source }
    }

    fn would_change(&self, why: &str) -> TransferError {
        TransferError::WouldChange { place: self.from.to_owned(), why: why.to_owned() }
    }

    /// What becomes of each layer, once for each blob.
    fn steps(&self, manifest: &Manifest) -> Result<Vec<(Descriptor, Step)>, TransferError> {
        let (mut steps, mut sizes) = (Vec::new(), BTreeMap::new());
        for layer in &manifest.layers {
            match sizes.insert(layer.digest, layer.size) {
                None => steps.push((layer.clone(), self.step(layer)?)),
                Some(size) if size == layer.size => {}
                Some(_) => return Err(inconsistent(self.from, "one layer appears with two sizes")),
            }
        }
        Ok(steps)
    }

    fn step(&self, layer: &Descriptor) -> Result<Step, TransferError> {
        let is_plain = self.destination.layers() == Layers::Plain;
        let Some(layer_type) = LayerType::parse(&layer.media_type) else {
            if !is_plain && self.options.compression.is_none() {
                return Ok(Step::AsItIs);
            }
            let media_type = layer.media_type.chars().take(200).collect();
            return Err(self.convert(ConvertError::Type { part: "layer", media_type }));
        };
        let is_made_up = self.source.is_made_up();
        let is_tar = layer_type.compression == Compression::None;
        if !layer_type.distributable && !layer.urls.is_empty() {
            if is_plain {
                return Err(TransferError::NotDistributable { place: self.from.to_owned(), layer: layer.digest });
            }
            return Ok(Step::Leave);
        }
        if is_plain {
            // What a type says is not believed where it has to be true.
            return Ok(if is_made_up && is_tar { Step::AsItIs } else { Step::Repack(Compression::None) });
        }
        match self.options.compression {
            Some(wanted) if wanted != layer_type.compression => Ok(Step::Repack(wanted)),
            Some(_) => Ok(Step::AsItIs),
            None if is_made_up && is_tar && self.destination.layers() == Layers::Compressed => {
                Ok(Step::Repack(Compression::Gzip))
            }
            None => Ok(Step::AsItIs),
        }
    }

    /// Copies layers. Gives those that were changed.
    fn layers(&self, mut layers: Vec<(Descriptor, Step)>) -> Result<BTreeMap<Digest, NewLayer>, TransferError> {
        let threads = layers.len().min(self.destination.parallel());
        if threads > 1 {
            // The largest first: it takes longest. One after another they keep their order, which an archive shows.
            layers.sort_by_key(|(layer, _)| std::cmp::Reverse(layer.size));
        }
        let digests: Vec<Digest> = layers.iter().map(|(layer, _)| layer.digest).collect();
        let queue = Mutex::new(layers.into_iter());
        let failure = Mutex::new(None);
        let work = || loop {
            let Some((layer, step)) = locked(&queue).next() else { return };
            if let Err(error) = self.layer(&layer, step) {
                // The first one counts: the others' come of it.
                locked(&failure).get_or_insert(error);
                self.stop.stop();
                return;
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
        if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let done = locked(&self.done);
        Ok(digests.into_iter().filter_map(|digest| Some((digest, (*done.get(&digest)?)?))).collect())
    }

    fn layer(&self, layer: &Descriptor, step: Step) -> Result<(), TransferError> {
        match step {
            Step::Leave => Ok(()),
            Step::AsItIs => self.blob(Role::Layer, layer),
            Step::Repack(_) if locked(&self.done).contains_key(&layer.digest) => Ok(()),
            Step::Repack(wanted) => self.repack(layer, wanted),
        }
    }

    /// Sees to it that the destination has the blob.
    fn blob(&self, role: Role, blob: &Descriptor) -> Result<(), TransferError> {
        if locked(&self.done).contains_key(&blob.digest) {
            return Ok(());
        }
        let mount = || self.source.repository().map_or(Ok(false), |from| self.destination.mount(blob, from));
        let status = if self.destination.has_blob(blob)? {
            Status::Exists
        } else if mount()? {
            Status::Mounted
        } else {
            let what = if role == Role::Config { "configuration" } else { "layer" };
            let content = self.verified(self.source.blob(blob)?, what, blob, Arc::clone(&self.progress));
            self.put_blob(role, blob, &content)?;
            Status::Done
        };
        self.progress.event(Event { blob: blob.digest, status });
        locked(&self.done).insert(blob.digest, None);
        Ok(())
    }

    /// Compresses a layer anew, and gives it to the destination if that has no such blob.
    fn repack(&self, layer: &Descriptor, wanted: Compression) -> Result<(), TransferError> {
        let content = self.verified(self.source.blob(layer)?, "layer", layer, Arc::clone(&self.progress));
        let (new, stretch) = {
            let _turn = (wanted != Compression::None).then(|| locked(&self.compressing));
            spool::repacked(&content, self.from, layer.digest, wanted, self.options.level)?
        };
        let blob = Descriptor::new(layer.media_type.clone(), new.digest, new.size);
        if !self.destination.has_blob(&blob)? {
            let content = self.verified(Box::new(stretch), "layer", &blob, Arc::new(Quiet));
            self.put_blob(Role::Layer, &blob, &content)?;
        }
        self.progress.event(Event { blob: layer.digest, status: Status::Done });
        locked(&self.done).insert(layer.digest, Some(new));
        Ok(())
    }

    fn verified(
        &self,
        reader: Box<dyn Reader>,
        what: &'static str,
        blob: &Descriptor,
        progress: Arc<dyn Progress>,
    ) -> Arc<Verified> {
        let expected = Expected { place: self.from, what, blob };
        Arc::new(Verified::new(reader, &expected, self.stop.clone(), progress))
    }

    fn put_blob(&self, role: Role, blob: &Descriptor, content: &Arc<Verified>) -> Result<(), TransferError> {
        // Where the blob itself was the reason, it says more than what came of it.
        self.destination.put_blob(role, blob, content).map_err(|error| content.take_failure().unwrap_or(error))
    }
}

/// Nothing can panic while it is locked.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
