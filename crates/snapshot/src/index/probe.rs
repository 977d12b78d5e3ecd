// SPDX-License-Identifier: Apache-2.0
//! Whether layers can be mounted from their archives here: tried once, with an archive of one file. It needs a kernel
//! that mounts EROFS from files (6.12) with detached mounts below an overlay (6.15), the rights of the initial user
//! namespace, and a file system under the data root from which such mounts can read.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;

use erofs::{BLOCK, Device, Inode, InodeId, Kind, ROOT, Tree};
use errors::Classify as _;
use rustix::fs::{Mode, OFlags};

use crate::SnapshotError;
use crate::error::At as _;
use crate::overlay::{self, Method, Overlay};
use crate::store::{ARCHIVE, DIRECTORY, EMPTY, Form, INDEX, Store};

const NAME: &str = "file";
const CONTENT: &[u8; BLOCK as usize] = &[b'x'; BLOCK as usize];

/// Mounts and reads one file. The error says what was refused. A full disk tells nothing: then archives that are there
/// say that it can be done.
pub(crate) fn probe(store: &Store) -> Result<(), SnapshotError> {
    let attempted = store.temporary().and_then(|(directory, name)| {
        let result = attempt(store, &directory, &name);
        layer::remove_tree(&store.layers, &*name).at("remove", || store.path.join(&name))?;
        result
    });
    match attempted {
        Err(error) if error.kind() == errors::Kind::NoSpace && store.has(Form::Archive) => Ok(()),
        attempted => attempted,
    }
}

fn attempt(store: &Store, directory: &OwnedFd, name: &str) -> Result<(), SnapshotError> {
    let path = || store.path.join(name);
    let make = |name| {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        rustix::fs::openat(directory, name, flags, Mode::RUSR).at("make", path)
    };
    let (archive, image) = (make(ARCHIVE)?, File::from(make(INDEX)?));
    rustix::io::pwrite(&archive, CONTENT, 0).at("write", path)?;
    let device = Device { size: BLOCK, uuid: [0; 16] };
    erofs::write(&OneFile, &device, &image).map_err(|source| SnapshotError::WriteIndex { path: path(), source })?;
    let mount = super::mount(&image.into(), &archive)?;
    // Without a writable directory overlayfs wants two others.
    let empty =
        rustix::fs::openat(&store.layers, EMPTY[0], DIRECTORY | OFlags::PATH, Mode::empty()).at("open", path)?;
    let overlay = Overlay { lower: &[mount, empty], writable: None, volatile: false, scratch: &store.path };
    let root = overlay::mount(&overlay, Method::Descriptors)?;
    let file = rustix::fs::openat(&root, NAME, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).at("open", path)?;
    let mut content = Vec::new();
    File::from(file).read_to_end(&mut content).at("read", path)?;
    match content == CONTENT {
        true => Ok(()),
        false => Err(std::io::Error::from(std::io::ErrorKind::InvalidData)).at("read", path),
    }
}

/// A root directory with one file, which is all of the device.
struct OneFile;

impl Tree for OneFile {
    fn size(&self) -> u32 {
        2
    }

    fn inode(&self, id: InodeId) -> Inode<'_> {
        let kind = if id == ROOT { Kind::Directory } else { Kind::File { offset: 0, size: BLOCK } };
        Inode { kind, mode: 0o755, uid: 0, gid: 0, seconds: 0, nanoseconds: 0, xattrs: Vec::new() }
    }

    fn names(&self, id: InodeId) -> impl Iterator<Item = (&[u8], InodeId)> {
        (id == ROOT).then_some((NAME.as_bytes(), 1)).into_iter()
    }
}
