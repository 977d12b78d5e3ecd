// SPDX-License-Identifier: Apache-2.0
//! Images made here: from a root file system's archive, and what all such images have in common.

use std::collections::BTreeMap;
use std::io::{self, Read};

use content::BlobWriter;
use oci::document::{Descriptor, Manifest};
use oci::{Digest, ImageRef, Platform};
use registry_client::Download;
use serde::Serialize;

use crate::changes::{self, RunConfig};
use crate::document::{self, CONFIG_TYPE, MANIFEST_TYPE};
use crate::error::ImageError;
use crate::fetch;
use crate::records::{self, ImageRecord};
use crate::references::Session;
use crate::room::RoomyWriter;
use crate::{Deed, Image, Images};

/// A layer that is in the content store, unpacked or not.
pub(crate) struct BuiltLayer {
    pub(crate) blob: Descriptor,
    pub(crate) diff_id: Digest,
}

/// What an imported image shall be, besides its root file system.
#[derive(Debug, Clone, Default)]
pub struct Import {
    /// Its name, if it gets one.
    pub name: Option<ImageRef>,
    /// Instructions such as `CMD ["/bin/sh"]`, applied to an otherwise empty configuration.
    pub changes: Vec<String>,
    /// What there is to say about it; `imported` where nothing is said.
    pub comment: Option<String>,
    /// What it is made for; this host where nothing is said.
    pub platform: Option<Platform>,
}

/// What a configuration made here says besides its layer.
pub(crate) struct Making<'a> {
    pub(crate) run: RunConfig,
    /// RFC 3339.
    pub(crate) created: String,
    pub(crate) comment: &'a str,
    pub(crate) platform: &'a Platform,
    pub(crate) embedded: bool,
}

#[derive(Serialize)]
struct ConfigDocument<'a> {
    created: &'a str,
    architecture: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<&'a str>,
    os: &'a str,
    config: &'a RunConfig,
    rootfs: RootFs<'a>,
    history: [BTreeMap<&'static str, &'a str>; 1],
}

#[derive(Serialize)]
struct RootFs<'a> {
    r#type: &'a str,
    diff_ids: [Digest; 1],
}

impl Images {
    /// Makes an image called `name` of the root file system in the archive `reader`: a tar, plain or compressed with
    /// gzip or zstd. `changes` are lines such as `CMD ["/bin/sh"]`, applied to an otherwise empty configuration, so
    /// without one the image has no command. Blocks until it is done.
    ///
    /// # Errors
    /// [`ImageError::Change`]; [`ImageError::Input`]; [`ImageError::Archive`] for an archive that is none, is cut off
    /// or is hostile. Nothing is kept then.
    pub fn import(&self, reader: impl Read, name: &ImageRef, changes: &[String]) -> Result<Image, ImageError> {
        self.import_as(reader, &Import { name: Some(name.clone()), changes: changes.to_vec(), ..Import::default() })
    }

    /// The archive at `url`, to be imported.
    ///
    /// # Errors
    /// [`ImageError::Download`].
    pub async fn archive_at(&self, url: &str) -> Result<Download, ImageError> {
        Ok(self.registry.download(url).await?)
    }

    /// The same, with all that can be said about the image.
    ///
    /// # Errors
    /// As those of [`Images::import`].
    pub fn import_as(&self, reader: impl Read, import: &Import) -> Result<Image, ImageError> {
        let name = import.name.as_ref().map(records::tagged).transpose()?;
        let run = changes::apply(&import.changes)?;
        let (session, _) = Session::begin(&self.inner);
        let label = name.as_ref().map_or_else(|| "the archive".to_owned(), ImageRef::to_string);
        let layer = store_archive(&session, reader)?;
        fetch::unpack_stored(session.store(), &label, layer.blob.digest, layer.diff_id)?;
        let created = jiff::Timestamp::now().to_string();
        let comment = import.comment.as_deref().unwrap_or("imported");
        let platform = import.platform.clone().unwrap_or_else(Platform::host);
        let making = Making { run, created, comment, platform: &platform, embedded: false };
        let record = assemble(&session, &label, layer, making)?;
        let manifest = record.manifest;
        let store = session.store();
        store.put_images(&[(record, name.iter().cloned().collect())])?;
        let image = store.image(manifest)?;
        store.happened_to(&image, Deed::Imported);
        if let Some(name) = name {
            store.happened_to(&image, Deed::Tagged(name));
        }
        Ok(image)
    }
}

/// Stores the archive as it is, and finds its diff ID on the way: a second reading, of what is still in memory, then
/// unpacks it under that id.
fn store_archive(session: &Session, reader: impl Read) -> Result<BuiltLayer, ImageError> {
    let writer = session.store().blob_writer()?;
    let mut tee = Tee { reader, writer, start: Vec::new() };
    let inspected = (|| {
        let tar = layer::decompressed(&mut tee).map_err(ImageError::Input)?;
        layer::inspect(tar, &layer::Limits::default()).map_err(ImageError::Archive)
    })()?;
    // Bytes behind the compressed stream belong to the blob.
    io::copy(&mut tee, &mut io::sink()).map_err(ImageError::Input)?;
    let media_type = match layer::detect(&tee.start) {
        layer::Compression::None => "application/vnd.oci.image.layer.v1.tar",
        layer::Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
        layer::Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
    };
    session.pin(inspected.diff_id);
    let (digest, size) = commit_pinned(session, tee.writer.into_inner())?;
    let blob = Descriptor::new(media_type, digest, size);
    Ok(BuiltLayer { blob, diff_id: inspected.diff_id })
}

/// Pins a blob whose digest is only known now, and makes it visible.
pub(crate) fn commit_pinned(session: &Session, writer: BlobWriter) -> Result<(Digest, u64), ImageError> {
    session.pin(writer.digest());
    Ok(writer.commit()?)
}

/// Writes configuration and manifest for an image of one layer, and gives the record to be put.
pub(crate) fn assemble(
    session: &Session,
    label: &str,
    layer: BuiltLayer,
    making: Making<'_>,
) -> Result<ImageRecord, ImageError> {
    let store = session.store();
    let document = |document| move |source| ImageError::Document { image: label.to_owned(), document, source };
    let config = serde_json::to_vec(&ConfigDocument {
        created: &making.created,
        architecture: &making.platform.architecture,
        variant: making.platform.variant.as_deref(),
        os: &making.platform.os,
        config: &making.run,
        rootfs: RootFs { r#type: "layers", diff_ids: [layer.diff_id] },
        history: [BTreeMap::from([("created", making.created.as_str()), ("comment", making.comment)])],
    })
    .map_err(document("configuration"))?;
    let id = Digest::of(&config);
    session.pin(id);
    store.put_blob(&config)?;
    let descriptor = Descriptor::new(CONFIG_TYPE, id, config.len() as u64);
    let blob = layer.blob.digest;
    let manifest = serde_json::to_vec(&Manifest {
        schema_version: 2,
        media_type: Some(MANIFEST_TYPE.to_owned()),
        config: descriptor,
        layers: vec![layer.blob],
    })
    .map_err(document("manifest"))?;
    let digest = Digest::of(&manifest);
    session.pin(digest);
    store.put_blob(&manifest)?;
    let (config, _) = document::parse_config(label, &config)?;
    let layers = vec![store.layer_record(blob, layer.diff_id)?];
    let described = Descriptor::new(MANIFEST_TYPE, digest, manifest.len() as u64);
    Ok(ImageRecord { embedded: making.embedded, ..ImageRecord::new(described, id, config, layers) })
}

/// A reader whose bytes are stored as they are read.
struct Tee<'s, R> {
    reader: R,
    writer: RoomyWriter<'s>,
    /// The first bytes, which tell the compression.
    start: Vec<u8>,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        let missing = 4_usize.saturating_sub(self.start.len()).min(count);
        self.start.extend_from_slice(&buffer[..missing]);
        io::Write::write_all(&mut self.writer, &buffer[..count])?;
        Ok(count)
    }
}
