// SPDX-License-Identifier: Apache-2.0
//! Where layers lie, whatever their form: how they appear, are found again and go.
//!
//! ```text
//! layers/<hex of the diff id>/            a layer
//!   info.json                             LayerInfo
//!   diff/                                 either the layer in the form overlayfs reads as a lower directory,
//!   layer.tar, index.erofs                or its archive, byte for byte, and the image that is mounted over it
//!   implied                               paths of directories that its archive does not describe, if there are such
//! layers/.inherited-<hex>/                what these are over other layers (`inherited.rs`)
//! layers/.tmp-<pid>-<n>/                  being made or removed; locked by whoever does it
//! layers/.empty/{0,1}/                    for images without layers, and where overlayfs wants two directories
//! layers/.mount-points/                   what containers have mounts on (`points.rs`)
//! ```
//!
//! A layer appears by one rename, after all of it was synced, and the rename itself is then made durable by an fsync of
//! `layers/`.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use oci::Digest;
use rustix::fs::{AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::claims::{Claim, Claims};
use crate::error::At as _;
use crate::{LayerInfo, SnapshotError, points};

/// A layer's directory, if it has that form.
pub(crate) const DIFF: &str = "diff";
/// A layer's archive, if it has that form.
pub(crate) const ARCHIVE: &str = "layer.tar";
/// The image that says where in the archive the files are.
pub(crate) const INDEX: &str = "index.erofs";
/// Directories without anything in them.
pub(crate) const EMPTY: [&str; 2] = [".empty/0", ".empty/1"];
const INFO: &str = "info.json";
const IMPLIED: &str = "implied";
const TEMPORARY: &str = ".tmp-";
/// An info file is some sixty bytes.
const MAX_INFO: u64 = 4096;

pub(crate) const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// How a layer is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As a directory.
    Directory,
    /// As its archive, with an index.
    Archive,
}

/// The directory of all layers.
pub(crate) struct Store {
    pub(crate) path: PathBuf,
    pub(crate) layers: OwnedFd,
    known: RwLock<BTreeMap<Digest, (LayerInfo, Form)>>,
    claims: Claims,
    next: AtomicU64,
}

impl Store {
    /// Opens the layers under `root/layers`, makes that directory (mode 0700) where it is missing, and removes what
    /// interrupted calls left.
    pub(crate) fn open(root: &Path) -> Result<Store, SnapshotError> {
        let path = root.join("layers");
        make_directory(CWD, &path, &path)?;
        let layers = rustix::fs::open(&path, DIRECTORY | OFlags::RDONLY, Mode::empty()).at("open", || path.clone())?;
        for empty in [".empty", EMPTY[0], EMPTY[1]] {
            make_directory(&layers, Path::new(empty), &path.join(empty))?;
        }
        for empty in EMPTY {
            let empty_path = || path.join(empty);
            let fd = rustix::fs::openat(&layers, empty, DIRECTORY | OFlags::RDONLY, Mode::empty());
            // What a container without any layer sees as the mode of `/`.
            rustix::fs::fchmod(fd.at("open", empty_path)?, Mode::from_raw_mode(0o755)).at("chmod", empty_path)?;
        }
        let store =
            Store { path, layers, known: RwLock::default(), claims: Claims::default(), next: AtomicU64::new(0) };
        points::make(&store)?;
        store.scan()?;
        Ok(store)
    }

    /// Removes leftovers, and learns which layers are here.
    fn scan(&self) -> Result<(), SnapshotError> {
        let path = || self.path.clone();
        let mut known = BTreeMap::new();
        for entry in Dir::read_from(&self.layers).at("list", path)? {
            let entry = entry.at("list", path)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name.starts_with(TEMPORARY) {
                self.remove_leftover(name)?;
            } else if let Ok(diff_id) = format!("sha256:{name}").parse::<Digest>()
                && let Some(layer) = self.read(name)
            {
                known.insert(diff_id, layer);
            }
        }
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(())
    }

    fn remove_leftover(&self, name: &str) -> Result<(), SnapshotError> {
        let path = || self.path.join(name);
        let leftover = match rustix::fs::openat(&self.layers, name, DIRECTORY | OFlags::RDONLY, Mode::empty()) {
            Ok(leftover) => leftover,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error).at("open", path),
        };
        if rustix::fs::flock(&leftover, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(());
        }
        layer::remove_tree(&self.layers, name).at("remove", path)
    }

    /// None for a layer that cannot be one of ours as they appear: it counts as absent, and is replaced when it is
    /// made again.
    fn read(&self, name: &str) -> Option<(LayerInfo, Form)> {
        let layer = rustix::fs::openat(&self.layers, name, DIRECTORY | OFlags::RDONLY, Mode::empty()).ok()?;
        let has = |name, file_type| {
            let stat = rustix::fs::statat(&layer, name, AtFlags::SYMLINK_NOFOLLOW);
            stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == file_type)
        };
        let form = if has(DIFF, FileType::Directory) {
            Form::Directory
        } else if has(ARCHIVE, FileType::RegularFile) && has(INDEX, FileType::RegularFile) {
            Form::Archive
        } else {
            return None;
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&layer, INFO, flags, Mode::empty()).ok()?;
        let mut json = Vec::new();
        std::fs::File::from(file).take(MAX_INFO).read_to_end(&mut json).ok()?;
        Some((serde_json::from_slice(&json).ok()?, form))
    }

    /// Waits until nobody else changes the layer.
    pub(crate) fn claim(&self, diff_id: &Digest) -> Claim<'_> {
        self.claims.claim(diff_id)
    }

    /// A layer that is here.
    pub(crate) fn layer(&self, diff_id: &Digest) -> Result<(LayerInfo, Form), SnapshotError> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(diff_id).copied().ok_or(SnapshotError::NoLayer { diff_id: *diff_id })
    }

    /// All layers that are here, in the order of their diff ids.
    pub(crate) fn all(&self) -> Vec<(Digest, LayerInfo, Form)> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().map(|(diff_id, (info, form))| (*diff_id, *info, *form)).collect()
    }

    /// Whether there is a layer of this form.
    pub(crate) fn has(&self, form: Form) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.values().any(|(_, known)| *known == form)
    }

    /// Takes layers of this form for absent: they cannot be mounted here. They are replaced when they are made again.
    pub(crate) fn forget(&self, form: Form) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).retain(|_, (_, known)| *known != form);
    }

    /// Has the layer made by `make`, in a directory of the store with that name, unless it is here.
    pub(crate) fn make(
        &self,
        diff_id: &Digest,
        make: impl FnOnce(&OwnedFd, &str) -> Result<(LayerInfo, Form), SnapshotError>,
    ) -> Result<LayerInfo, SnapshotError> {
        let _claim = self.claim(diff_id);
        if let Ok((info, _)) = self.layer(diff_id) {
            return Ok(info);
        }
        let (directory, name) = self.temporary()?;
        match make(&directory, &name).and_then(|layer| self.publish(diff_id, &name).map(|()| layer)) {
            Ok(layer) => {
                self.known.write().unwrap_or_else(PoisonError::into_inner).insert(*diff_id, layer);
                Ok(layer.0)
            }
            Err(error) => {
                // The reason it failed matters more than what could not be removed: that is done at the next start.
                let _: std::io::Result<()> = layer::remove_tree(&self.layers, &*name);
                Err(error)
            }
        }
    }

    /// A new, locked directory that [`Store::scan`] leaves alone while it is open, and removes afterwards.
    pub(crate) fn temporary(&self) -> Result<(OwnedFd, String), SnapshotError> {
        loop {
            let name = self.temporary_name();
            let path = || self.path.join(&name);
            match rustix::fs::mkdirat(&self.layers, &name, Mode::RWXU) {
                Ok(()) => {
                    let directory = rustix::fs::openat(&self.layers, &name, DIRECTORY | OFlags::RDONLY, Mode::empty())
                        .at("open", path)?;
                    rustix::fs::flock(&directory, FlockOperation::LockExclusive).at("lock", path)?;
                    return Ok((directory, name));
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error).at("make", path),
            }
        }
    }

    fn temporary_name(&self) -> String {
        format!("{TEMPORARY}{}-{}", std::process::id(), self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Writes the layer's description beside it. Returns the open file.
    pub(crate) fn describe(
        &self,
        directory: &OwnedFd,
        name: &str,
        info: &LayerInfo,
    ) -> Result<std::fs::File, SnapshotError> {
        let json = serde_json::to_vec(info).map_err(std::io::Error::from);
        self.write(directory, name, INFO, &json.at("encode", || self.path.join(name).join(INFO))?)
    }

    /// Makes a file in the directory that has that name in the store. Returns it open.
    pub(crate) fn write(
        &self,
        directory: &OwnedFd,
        name: &str,
        file: &str,
        content: &[u8],
    ) -> Result<std::fs::File, SnapshotError> {
        let path = || self.path.join(name).join(file);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let made = rustix::fs::openat(directory, file, flags, Mode::RUSR | Mode::WUSR).at("make", path)?;
        let mut made = std::fs::File::from(made);
        made.write_all(content).at("write", path)?;
        Ok(made)
    }

    /// Writes which directories the layer does not describe, if there are such.
    pub(crate) fn list_implied(
        &self,
        directory: &OwnedFd,
        name: &str,
        paths: &[Vec<u8>],
    ) -> Result<Option<std::fs::File>, SnapshotError> {
        if paths.is_empty() {
            return Ok(None);
        }
        // No path has a zero byte in it.
        let list: Vec<u8> = paths.iter().flat_map(|path| path.iter().copied().chain([0])).collect();
        self.write(directory, name, IMPLIED, &list).map(Some)
    }

    /// The paths of the directories that the layer does not describe.
    pub(crate) fn implied(&self, diff_id: &Digest) -> Result<Vec<Vec<u8>>, SnapshotError> {
        let mut list = Vec::new();
        let mut file = std::fs::File::from(self.open_in(diff_id, IMPLIED, OFlags::RDONLY | OFlags::NOFOLLOW)?);
        file.read_to_end(&mut list).at("read", || self.path.join(diff_id.hex()).join(IMPLIED))?;
        let mut paths: Vec<Vec<u8>> = list.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
        // Behind the last zero byte is nothing.
        paths.pop();
        Ok(paths)
    }

    /// Gives the layer in `temporary` its name. What had it before was not whole.
    fn publish(&self, diff_id: &Digest, temporary: &str) -> Result<(), SnapshotError> {
        let (hex, path) = (diff_id.hex(), || self.path.join(diff_id.hex()));
        layer::remove_tree(&self.layers, &*hex).at("replace", path)?;
        rustix::fs::renameat(&self.layers, temporary, &self.layers, &*hex).at("name", path)?;
        rustix::fs::fsync(&self.layers).at("sync", || self.path.clone())
    }

    /// Takes what has this name in the store, if there is such a thing, out of sight in one step. What is called so
    /// afterwards is to be removed; if that is interrupted, the next start does it.
    fn hide(&self, name: &str) -> Result<Option<String>, SnapshotError> {
        let temporary = self.temporary_name();
        match rustix::fs::renameat(&self.layers, name, &self.layers, &temporary) {
            Ok(()) => Ok(Some(temporary)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error).at("remove", || self.path.join(name)),
        }
    }

    /// Removes what has this name in the store, if there is such a thing.
    pub(crate) fn discard(&self, name: &str) -> Result<(), SnapshotError> {
        let Some(temporary) = self.hide(name)? else { return Ok(()) };
        layer::remove_tree(&self.layers, &*temporary).at("remove", || self.path.join(name))
    }

    /// Removes a layer; says whether it was here.
    pub(crate) fn remove(&self, diff_id: &Digest) -> Result<bool, SnapshotError> {
        let _claim = self.claim(diff_id);
        let hex = diff_id.hex();
        let Some(temporary) = self.hide(&hex)? else { return Ok(false) };
        let known = self.known.write().unwrap_or_else(PoisonError::into_inner).remove(diff_id);
        layer::remove_tree(&self.layers, &*temporary).at("remove", || self.path.join(&hex))?;
        Ok(known.is_some())
    }

    /// Opens what is at `path` in the layer's directory.
    pub(crate) fn open_in(&self, diff_id: &Digest, path: &str, flags: OFlags) -> Result<OwnedFd, SnapshotError> {
        let path = format!("{}/{path}", diff_id.hex());
        match rustix::fs::openat(&self.layers, &path, flags | OFlags::CLOEXEC, Mode::empty()) {
            Ok(opened) => Ok(opened),
            Err(Errno::NOENT) => Err(SnapshotError::NoLayer { diff_id: *diff_id }),
            Err(error) => Err(error).at("open", || self.path.join(path)),
        }
    }

    /// Opens one of the [`EMPTY`] directories.
    pub(crate) fn open_empty(&self, name: &str) -> Result<OwnedFd, SnapshotError> {
        rustix::fs::openat(&self.layers, name, DIRECTORY | OFlags::PATH, Mode::empty())
            .at("open", || self.path.join(name))
    }
}

fn make_directory(at: impl std::os::fd::AsFd, name: &Path, path: &Path) -> Result<(), SnapshotError> {
    match rustix::fs::mkdirat(at, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error).at("make", || path.to_owned()),
    }
}
