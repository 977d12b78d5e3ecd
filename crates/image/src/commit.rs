// SPDX-License-Identifier: Apache-2.0
//! Committing: what a container changed, as one more layer on the image that it was made from.

use std::io::{self, Write};
use std::num::NonZero;
use std::os::fd::BorrowedFd;

use layer::{Form, Gzip, PackError, Writer};
use oci::document::{Descriptor, Manifest};
use oci::{Digest, Hasher, ImageRef};
use serde_json::{Map, Value, json};

use crate::changes::{self, Overrides};
use crate::document::{self, MANIFEST_TYPE, MAX_CONFIG};
use crate::error::ImageError;
use crate::fetch;
use crate::import::{BuiltLayer, commit_pinned};
use crate::records::ImageRecord;
use crate::references::Session;
use crate::room::RoomyWriter;
use crate::{Deed, Image, Images};

const GZIP_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const DOCKER_GZIP_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const BUFFER: usize = 256 << 10;

/// What an image is to be made of a container.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The id of the image that the container was made from.
    pub base: Digest,
    /// The new image's name, if it gets one.
    pub name: Option<ImageRef>,
    /// How the container differs from its image's configuration.
    pub overrides: Overrides,
    /// Instructions of the Dockerfile language, applied after that.
    pub changes: Vec<String>,
    /// Who made it.
    pub author: Option<String>,
    /// What its maker wants to say.
    pub comment: Option<String>,
    /// The command that made the changes, for the history.
    pub created_by: String,
    /// Files (relative paths) that are left out while they are empty: something was mounted on them.
    pub mount_points: Vec<String>,
}

impl Images {
    /// Makes an image: the base with the layer of `changed`, which is an overlay's upper directory (`None`: nothing was
    /// changed). The layer is compressed with gzip; manifest and layer are of the OCI's or Docker's types, as those of
    /// the base. Blocks until it is done.
    ///
    /// # Errors
    /// [`ImageError::NotFound`] when the base is gone; [`ImageError::Change`]; [`ImageError::Pack`]. Nothing is kept
    /// then.
    pub fn commit(&self, commit: &Commit, changed: Option<BorrowedFd<'_>>) -> Result<Image, ImageError> {
        let name = commit.name.as_ref().map(crate::records::tagged).transpose()?;
        let (session, _) = Session::begin(&self.inner);
        let base = self.base(&session, commit.base)?;
        let store = session.store();
        let label = name.as_ref().map_or_else(|| commit.base.to_string(), ImageRef::to_string);
        let manifest = document::manifest(&label, &store.content.read_blob(&base.manifest, MAX_CONFIG)?)?;
        let config = store.content.read_blob(&base.id, MAX_CONFIG)?;
        // Before the work, because it may be refused.
        let invalid = |source| ImageError::Document { image: label.clone(), document: "configuration", source };
        let config: Map<String, Value> = serde_json::from_slice(&config).map_err(invalid)?;
        let run = changes::over(&label, config.get("config"), &commit.overrides, &commit.changes)?;
        let is_docker = manifest.config.media_type != document::CONFIG_TYPE;
        let layer = store_layer(&session, commit, changed, is_docker)?;
        fetch::unpack_stored(store, &label, layer.blob.digest, layer.diff_id)?;
        let config = configuration(config, run, commit, layer.diff_id, manifest.layers.len());
        let record = assemble(&session, &label, &base, manifest, &config, layer)?;
        let manifest = record.manifest;
        store.put_images(&[(record, name.iter().cloned().collect())])?;
        let image = store.image(manifest)?;
        if let Some(name) = name {
            store.happened_to(&image, Deed::Tagged(name));
        }
        Ok(image)
    }

    /// The record of the image `id`, whose content stays from now on.
    fn base(&self, session: &Session, id: Digest) -> Result<ImageRecord, ImageError> {
        let find = || -> Result<ImageRecord, ImageError> {
            let view = self.inner.view()?;
            let record = view.manifests_of(id).first().and_then(|manifest| view.images.get(manifest)).cloned();
            record.ok_or_else(|| ImageError::NotFound { name: id.to_string() })
        };
        find()?.content().for_each(|digest| session.pin(digest));
        // It may have been removed before it was pinned.
        find()
    }
}

/// Hashes what passes on to the encoder.
struct Hashed<'s> {
    hasher: Hasher,
    out: Gzip<RoomyWriter<'s>>,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn store_layer(
    session: &Session,
    commit: &Commit,
    changed: Option<BorrowedFd<'_>>,
    is_docker: bool,
) -> Result<BuiltLayer, ImageError> {
    let writer = session.store().blob_writer()?;
    let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let out = Hashed { hasher: Hasher::new(), out: Gzip::new(writer, None, threads) };
    let mut archive = Writer::new(io::BufWriter::with_capacity(BUFFER, out));
    let mount_points: Vec<&str> = commit.mount_points.iter().map(String::as_str).collect();
    if let Some(changed) = changed {
        layer::pack(changed, Form::Changes { mount_points: &mount_points }, &mut archive).map_err(ImageError::Pack)?;
    }
    let output = |source| ImageError::Pack(PackError::Output(source));
    let hashed = archive.finish().map_err(output)?.into_inner().map_err(|error| output(error.into_error()))?;
    let diff_id = hashed.hasher.finish();
    session.pin(diff_id);
    let (digest, size) = commit_pinned(session, hashed.out.finish().map_err(output)?.into_inner())?;
    let media_type = if is_docker { DOCKER_GZIP_LAYER } else { GZIP_LAYER }.to_owned();
    Ok(BuiltLayer { blob: Descriptor::new(media_type, digest, size), diff_id })
}

/// The base's configuration with what is new. `below` is how many layers the base has.
fn configuration(
    mut config: Map<String, Value>,
    run: Value,
    commit: &Commit,
    diff_id: Digest,
    below: usize,
) -> Map<String, Value> {
    let created = jiff::Timestamp::now().to_string();
    // What Docker's builders tell of the container that the base was made in.
    for stale in ["container", "container_config", "id", "parent", "docker_version"] {
        config.remove(stale);
    }
    let mut entry = json!({"created": created, "created_by": commit.created_by});
    for (key, value) in [("author", &commit.author), ("comment", &commit.comment)] {
        if let Some(value) = value {
            entry[key] = value.as_str().into();
        }
    }
    if let Some(author) = &commit.author {
        config.insert("author".into(), author.as_str().into());
    }
    config.insert("created".into(), created.into());
    config.insert("config".into(), run);
    if let Some(diff_ids) =
        config.get_mut("rootfs").and_then(|rootfs| rootfs.get_mut("diff_ids")).and_then(Value::as_array_mut)
    {
        diff_ids.push(diff_id.to_string().into());
    }
    if !config.get("history").is_some_and(Value::is_array) {
        config.insert("history".into(), json!([]));
    }
    if let Some(history) = config.get_mut("history").and_then(Value::as_array_mut) {
        // Every layer below must have its entry, or the new one would be taken for another's.
        let told = history.iter().filter(|entry| entry["empty_layer"] != true).count();
        history.extend(std::iter::repeat_n(json!({}), below.saturating_sub(told)));
        history.push(entry);
    }
    config
}

fn assemble(
    session: &Session,
    label: &str,
    base: &ImageRecord,
    mut manifest: Manifest,
    config: &Map<String, Value>,
    layer: BuiltLayer,
) -> Result<ImageRecord, ImageError> {
    let store = session.store();
    let encode = |document| move |source| ImageError::Document { image: label.to_owned(), document, source };
    let config = serde_json::to_vec(config).map_err(encode("configuration"))?;
    let id = Digest::of(&config);
    session.pin(id);
    store.put_blob(&config)?;
    let blob = layer.blob.digest;
    manifest.config = Descriptor { digest: id, size: config.len() as u64, ..manifest.config };
    manifest.layers.push(layer.blob);
    // What the base's makers say of its parts is not said of this image.
    for part in manifest.layers.iter_mut().chain([&mut manifest.config]) {
        part.annotations.clear();
        part.urls.clear();
    }
    let is_docker = manifest.config.media_type != document::CONFIG_TYPE;
    let media_type = if is_docker { registry_client::media_type::DOCKER_MANIFEST } else { MANIFEST_TYPE };
    manifest.media_type = Some(media_type.to_owned());
    let text = serde_json::to_vec(&manifest).map_err(encode("manifest"))?;
    let digest = Digest::of(&text);
    session.pin(digest);
    store.put_blob(&text)?;
    let (config, _) = document::parse_config(label, &config)?;
    // As strict as with a pulled one: too many layers are refused here.
    document::manifest(label, &text)?;
    let mut layers = base.layers.clone();
    layers.push(store.layer_record(blob, layer.diff_id)?);
    Ok(ImageRecord::new(Descriptor::new(media_type, digest, text.len() as u64), id, config, layers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_layer_has_the_last_entry_of_the_history() {
        let base = json!({"rootfs": {"type": "layers", "diff_ids": ["a", "b"]}, "container": "x",
            "history": [{"created_by": "ADD"}, {"created_by": "ENV", "empty_layer": true}]});
        let Value::Object(base) = base else { panic!() };
        let commit = Commit {
            base: Digest::of(""),
            name: None,
            overrides: Overrides::default(),
            changes: Vec::new(),
            author: Some("me".into()),
            comment: None,
            created_by: "make".into(),
            mount_points: Vec::new(),
        };
        let new = Value::Object(configuration(base, json!({}), &commit, Digest::of("c"), 2));
        let by: Vec<_> = new["history"].as_array().unwrap().iter().map(|entry| &entry["created_by"]).collect();
        assert_eq!(by, [&json!("ADD"), &json!("ENV"), &Value::Null, &json!("make")]);
        assert_eq!(new["rootfs"]["diff_ids"][2], Digest::of("c").to_string());
        assert_eq!((&new["author"], new.get("container")), (&json!("me"), None));
    }
}
