// SPDX-License-Identifier: Apache-2.0
//! The two files that make the store an image layout to other tools: `oci-layout` and `index.json`
//! (image-spec, `image-layout.md` and `image-index.md`).

use std::io::{Read as _, Write as _};

use oci::Digest;
use rustix::fs::{AtFlags, Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::error::{At as _, system};
use crate::{ContentError, ContentStore};

const LAYOUT_FILE: &str = "oci-layout";
const LAYOUT_VERSION: &str = "1.0.0";
const INDEX_FILE: &str = "index.json";
const INDEX_MEDIA_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// An `oci-layout` file is some thirty bytes.
const MAX_LAYOUT_FILE: u64 = 4096;

/// One name in `index.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// The image's name, kept as the annotation `org.opencontainers.image.ref.name`.
    pub name: String,
    /// The manifest's digest.
    pub digest: Digest,
    /// The manifest's media type.
    pub media_type: String,
    /// The manifest's size in bytes.
    pub size: u64,
}

#[derive(Serialize, Deserialize)]
struct Layout {
    #[serde(rename = "imageLayoutVersion")]
    version: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    schema_version: u32,
    media_type: &'a str,
    manifests: Vec<Descriptor<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor<'a> {
    media_type: &'a str,
    digest: Digest,
    size: u64,
    annotations: Annotations<'a>,
}

#[derive(Serialize)]
struct Annotations<'a> {
    #[serde(rename = "org.opencontainers.image.ref.name")]
    name: &'a str,
}

impl ContentStore {
    /// Replaces `index.json`, durably, by one that lists `entries`.
    pub fn write_index(&self, entries: &[IndexEntry]) -> Result<(), ContentError> {
        let manifests = entries
            .iter()
            .map(|entry| Descriptor {
                media_type: &entry.media_type,
                digest: entry.digest,
                size: entry.size,
                annotations: Annotations { name: &entry.name },
            })
            .collect();
        self.replace(INDEX_FILE, &Index { schema_version: 2, media_type: INDEX_MEDIA_TYPE, manifests })
    }

    /// Writes what an image layout must have and this one has not. A layout of another version is not touched.
    pub(crate) fn ensure_layout(&self) -> Result<(), ContentError> {
        match self.read_small(LAYOUT_FILE)? {
            Some(bytes) => match serde_json::from_slice::<Layout>(&bytes) {
                Ok(layout) if layout.version == LAYOUT_VERSION => {}
                _ => return Err(ContentError::Layout { path: self.path.join(LAYOUT_FILE) }),
            },
            None => self.replace(LAYOUT_FILE, &Layout { version: LAYOUT_VERSION.to_owned() })?,
        }
        match rustix::fs::statat(&self.root, INDEX_FILE, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(()),
            Err(rustix::io::Errno::NOENT) => self.write_index(&[]),
            Err(error) => Err(system("stat", self.path.join(INDEX_FILE), error.into())),
        }
    }

    fn read_small(&self, name: &str) -> Result<Option<Vec<u8>>, ContentError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = match rustix::fs::openat(&self.root, name, flags, Mode::empty()) {
            Ok(file) => std::fs::File::from(file),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(system("open", self.path.join(name), error.into())),
        };
        let mut bytes = Vec::new();
        file.take(MAX_LAYOUT_FILE).read_to_end(&mut bytes).at("read", || self.path.join(name))?;
        Ok(Some(bytes))
    }

    /// Writes `value` as the file `name` in the root, whole or not at all.
    fn replace(&self, name: &str, value: &impl Serialize) -> Result<(), ContentError> {
        let path = || self.path.join(name);
        let json = serde_json::to_vec(value).map_err(std::io::Error::from).at("encode", path)?;
        let (mut file, temporary) = self.temporary()?;
        let written = (|| {
            file.write_all(&json)?;
            rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH)?;
            file.sync_all()?;
            rustix::fs::renameat(&self.ingest, &temporary, &self.root, name)?;
            rustix::fs::fsync(&self.root)?;
            Ok::<(), std::io::Error>(())
        })();
        if written.is_err() {
            // Absent once it was renamed; otherwise the next open removes it.
            let _: rustix::io::Result<()> = rustix::fs::unlinkat(&self.ingest, &temporary, AtFlags::empty());
        }
        written.at("write", path)
    }
}
