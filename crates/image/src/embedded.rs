// SPDX-License-Identifier: Apache-2.0
//! The embedded image: this very executable as a container, so that a first `run` needs no network.
//!
//! It is made when it is first asked for. Which file it was made from is recorded; when the executable has changed, it
//! is made anew. The same file always gives the same digests.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use metadata::{Durability, Table, Write};
use oci::document::Descriptor;
use oci::{Digest, ImageRef, Platform};
use serde::{Deserialize, Serialize};
use tar::{Builder, EntryType, Header};

use crate::changes::{Empty, RunConfig};
use crate::error::ImageError;
use crate::fetch;
use crate::import::{self, BuiltLayer, Making};
use crate::records::{ImageRecord, NameRecord};
use crate::references::Session;
use crate::trusted::Kept;
use crate::{Images, records};

/// The name of the embedded image.
pub const EMBEDDED_NAME: &str = "corten/hello:latest";
/// [`EMBEDDED_NAME`] → [`Origin`].
const ORIGIN: Table = Table::new("embedded-image");
/// Files, directories and the configuration bear the epoch: the image must depend on the executable alone.
const CREATED: &str = "1970-01-01T00:00:00Z";
const BUFFER: usize = 256 << 10;
const PASSWD: &[u8] = b"root:x:0:0:root:/:/corten\nnobody:x:65534:65534:nobody:/:/corten\n";
const GROUP: &[u8] = b"root:x:0:\nnogroup:x:65534:\n";

/// Where the embedded image comes from.
pub(crate) struct Embedded {
    executable: Option<PathBuf>,
    /// Held while it is made: whoever asks meanwhile waits for it.
    making: Mutex<()>,
}

/// The file that an embedded image was made of, and the image's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Origin {
    device: u64,
    inode: u64,
    size: u64,
    modified_s: i64,
    modified_ns: i64,
    manifest: Digest,
}

impl Origin {
    fn of(file: &std::fs::Metadata, manifest: Digest) -> Origin {
        Origin {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified_s: file.mtime(),
            modified_ns: file.mtime_nsec(),
            manifest,
        }
    }
}

impl Embedded {
    pub(crate) fn new(executable: Option<PathBuf>) -> Embedded {
        Embedded { executable, making: Mutex::new(()) }
    }
}

/// Whether `name` means the embedded image.
pub(crate) fn is_embedded(name: &str) -> bool {
    // Everything else is sorted out without parsing: this is on every container's way.
    (name.ends_with("corten/hello") || name.ends_with("corten/hello:latest"))
        && name.parse::<ImageRef>().is_ok_and(|name| name.with_default_tag().to_string() == EMBEDDED_NAME)
}

/// Forgets where the image `manifest` came from, so that it is made anew when it is asked for.
pub(crate) fn forget(tx: &Write<'_>, manifest: Digest) -> Result<(), ImageError> {
    let origin = tx.get::<Origin>(ORIGIN, EMBEDDED_NAME)?;
    if origin.is_some_and(|origin| origin.manifest == manifest) {
        tx.delete(ORIGIN, EMBEDDED_NAME)?;
    }
    Ok(())
}

impl Images {
    /// Sees to it that [`EMBEDDED_NAME`] means an image of the executable as it is now. A name that the user has given
    /// to another image stays as it is.
    pub(crate) fn ensure_embedded(&self) -> Result<(), ImageError> {
        let embedded = &self.inner.embedded;
        let Some(path) = &embedded.executable else { return Ok(()) };
        let unreadable = |source| ImageError::Executable { path: path.clone(), source };
        // A panic while it was made has left nothing that is referred to.
        let _making = embedded.making.lock().unwrap_or_else(PoisonError::into_inner);
        let name: ImageRef = EMBEDDED_NAME.parse()?;
        let (named, origin) = self.inner.metadata.read(|tx| {
            let named = match tx.get::<NameRecord>(records::NAMES, &name.canonical())? {
                Some(named) => tx.get::<ImageRecord>(records::IMAGES, &named.manifest.to_string())?,
                None => None,
            };
            Ok::<_, ImageError>((named, tx.get::<Origin>(ORIGIN, EMBEDDED_NAME)?))
        })?;
        let current = std::fs::metadata(path).map_err(unreadable)?;
        if let Some(named) = named
            && (!named.embedded || origin == Some(Origin::of(&current, named.manifest)))
        {
            return Ok(());
        }
        self.make_embedded(path, &name)
    }

    fn make_embedded(&self, path: &Path, name: &ImageRef) -> Result<(), ImageError> {
        let unreadable = |source| ImageError::Executable { path: path.to_owned(), source };
        let file = File::open(path).map_err(unreadable)?;
        let attributes = file.metadata().map_err(unreadable)?;
        let (session, _) = Session::begin(&self.inner);
        let store = session.store();
        // The archive is made in pieces of 8 KiB; hashed and written in larger ones it costs fewer system calls.
        let mut archive = Builder::new(BufWriter::with_capacity(BUFFER, store.blob_writer()?));
        write_layer(&mut archive, file, attributes.size()).map_err(unreadable)?;
        let writer = archive.into_inner().map_err(unreadable)?;
        let writer = writer.into_inner().map_err(|error| unreadable(error.into_error()))?;
        let (digest, size) = import::commit_pinned(&session, writer.into_inner())?;
        fetch::unpack_stored(store, EMBEDDED_NAME, digest, digest)?;
        let media_type = "application/vnd.oci.image.layer.v1.tar";
        let layer = BuiltLayer { blob: Descriptor::new(media_type, digest, size), diff_id: digest };
        let (run, created, platform) = (run_config(), CREATED.to_owned(), Platform::host());
        let making = Making { run, created, comment: "embedded", platform: &platform, embedded: true };
        let record = import::assemble(&session, EMBEDDED_NAME, layer, making)?;
        store.put_image(&record, name, None, Kept::default())?;
        store.metadata.write(Durability::Synced, |tx| {
            Ok::<(), ImageError>(tx.put(ORIGIN, EMBEDDED_NAME, &Origin::of(&attributes, record.manifest))?)
        })
    }
}

fn run_config() -> RunConfig {
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    RunConfig {
        entrypoint: Some(vec!["/corten".to_owned(), "hello".to_owned()]),
        env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/".to_owned()],
        exposed_ports: BTreeMap::from([("8080/tcp".to_owned(), Empty {})]),
        working_dir: Some("/".to_owned()),
        labels: BTreeMap::from([
            // Asks whoever runs it for the time of the client's start.
            label("corten.client-start", "1"),
            label("org.opencontainers.image.title", "corten/hello"),
            label("org.opencontainers.image.version", env!("CARGO_PKG_VERSION")),
        ]),
        ..RunConfig::default()
    }
}

/// The archive of the image's one layer.
fn write_layer(archive: &mut Builder<impl io::Write>, executable: File, size: u64) -> io::Result<()> {
    for (path, mode) in [("etc/", 0o755), ("data/", 0o755), ("tmp/", 0o1777)] {
        append(archive, path, mode, EntryType::Directory, 0, io::empty())?;
    }
    append(archive, "etc/group", 0o644, EntryType::Regular, GROUP.len() as u64, GROUP)?;
    append(archive, "etc/passwd", 0o644, EntryType::Regular, PASSWD.len() as u64, PASSWD)?;
    append(archive, "corten", 0o755, EntryType::Regular, size, executable)?;
    archive.finish()
}

fn append(
    archive: &mut Builder<impl io::Write>,
    path: &str,
    mode: u32,
    kind: EntryType,
    size: u64,
    content: impl Read,
) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_path(path)?;
    header.set_mode(mode);
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    let mut content = Exactly { content: content.take(size), missing: size };
    archive.append(&header, &mut content)
}

/// A reader that fails when its content is shorter than was announced: the archive would be broken.
struct Exactly<R> {
    content: R,
    missing: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(buffer)?;
        self.missing -= count as u64;
        if count == 0 && self.missing > 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(count)
    }
}
