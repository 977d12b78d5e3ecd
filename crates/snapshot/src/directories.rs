// SPDX-License-Identifier: Apache-2.0
//! A directory per layer.
//!
//! ```text
//! layers/<hex of the diff id>/diff/       the layer, in the form overlayfs reads as a lower directory
//! layers/<hex of the diff id>/info.json   LayerInfo
//! layers/.tmp-<pid>-<n>/                  being unpacked or removed; locked by whoever does it
//! layers/.empty/{0,1}/                    for images without layers, and where overlayfs wants two directories
//! ```
//!
//! A layer appears by one rename, after syncfs(2) on its file system: thousands of small files are on disk sooner by
//! that than by an fsync each, and the rename itself is then made durable by an fsync of `layers/`. The price is that
//! what others have written to that file system waits as well.

use std::collections::{BTreeMap, HashSet};
use std::io::{Read, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use layer::Limits;
use oci::Digest;
use rustix::fs::{CWD, Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::error::At as _;
use crate::overlay::{self, Method, Overlay};
use crate::{Description, LayerInfo, MountOptions, SnapshotError, Snapshotter, writable};

const DIFF: &str = "diff";
const INFO: &str = "info.json";
const EMPTY: [&str; 2] = [".empty/0", ".empty/1"];
const TEMPORARY: &str = ".tmp-";
/// An info file is some sixty bytes.
const MAX_INFO: u64 = 4096;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Layers as plain directories.
pub struct Directories {
    path: PathBuf,
    layers: OwnedFd,
    known: RwLock<BTreeMap<Digest, LayerInfo>>,
    claims: Claims,
    limits: Limits,
    next: AtomicU64,
    method: OnceLock<Method>,
}

impl Directories {
    /// Opens the layers under `root/layers`, makes that directory (mode 0700) where it is missing, and removes what
    /// interrupted calls left. `root` must exist.
    pub fn open(root: &Path) -> Result<Directories, SnapshotError> {
        Directories::with_limits(root, Limits::default())
    }

    /// The same, with other limits for archives. Whether they end with a marker is not looked at: a layer's digest
    /// proves that it is whole.
    pub fn with_limits(root: &Path, limits: Limits) -> Result<Directories, SnapshotError> {
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
        let directories = Directories {
            path,
            layers,
            known: RwLock::default(),
            claims: Claims::default(),
            limits: Limits { end_marker: false, ..limits },
            next: AtomicU64::new(0),
            method: OnceLock::new(),
        };
        directories.scan()?;
        Ok(directories)
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
                && let Some(info) = self.read_info(name)
            {
                known.insert(diff_id, info);
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
    /// unpacked again.
    fn read_info(&self, name: &str) -> Option<LayerInfo> {
        let layer = rustix::fs::openat(&self.layers, name, DIRECTORY | OFlags::RDONLY, Mode::empty()).ok()?;
        rustix::fs::openat(&layer, DIFF, DIRECTORY | OFlags::PATH, Mode::empty()).ok()?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&layer, INFO, flags, Mode::empty()).ok()?;
        let mut json = Vec::new();
        std::fs::File::from(file).take(MAX_INFO).read_to_end(&mut json).ok()?;
        serde_json::from_slice(&json).ok()
    }

    /// A new, locked directory that [`Directories::scan`] leaves alone while it is open, and removes afterwards.
    fn temporary(&self) -> Result<(OwnedFd, String), SnapshotError> {
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

    fn unpack_into(
        &self,
        diff_id: &Digest,
        tar: &mut dyn Read,
        directory: &OwnedFd,
        name: &str,
    ) -> Result<LayerInfo, SnapshotError> {
        let path = || self.path.join(name);
        rustix::fs::mkdirat(directory, DIFF, Mode::RWXU).at("make", path)?;
        let diff = rustix::fs::openat(directory, DIFF, DIRECTORY | OFlags::RDONLY, Mode::empty()).at("open", path)?;
        // What `/` is when the archive does not say. Not by mkdirat: the umask has no say in it.
        rustix::fs::fchmod(&diff, Mode::from_raw_mode(0o755)).at("chmod", path)?;
        let unpacked = layer::unpack(tar, diff.as_fd(), &self.limits)
            .map_err(|source| SnapshotError::Unpack { diff_id: *diff_id, source })?;
        if unpacked.diff_id != *diff_id {
            return Err(SnapshotError::Digest { expected: *diff_id, found: unpacked.diff_id });
        }
        let info =
            LayerInfo { size: unpacked.bytes, archive_size: unpacked.archive_bytes, opaque_root: unpacked.opaque_root };
        let json = serde_json::to_vec(&info).map_err(std::io::Error::from).at("encode", path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, INFO, flags, Mode::RUSR | Mode::WUSR).at("make", path)?;
        std::fs::File::from(file).write_all(&json).at("write", path)?;
        rustix::fs::syncfs(directory).at("sync", path)?;
        Ok(info)
    }

    /// Gives the layer in `temporary` its name. What had it before was not whole.
    fn publish(&self, diff_id: &Digest, temporary: &str) -> Result<(), SnapshotError> {
        let (hex, path) = (diff_id.hex(), || self.path.join(diff_id.hex()));
        layer::remove_tree(&self.layers, &*hex).at("replace", path)?;
        rustix::fs::renameat(&self.layers, temporary, &self.layers, &*hex).at("name", path)?;
        rustix::fs::fsync(&self.layers).at("sync", || self.path.clone())
    }

    fn info(&self, diff_id: &Digest) -> Option<LayerInfo> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(diff_id).copied()
    }

    /// The directories to stack, top first. A layer that occurs twice counts where it is topmost (overlayfs refuses one
    /// directory twice, and what it hides below is its own), and one with an opaque root ends the list.
    fn lower(&self, layers: &[Digest]) -> Result<Vec<OwnedFd>, SnapshotError> {
        let mut seen = HashSet::new();
        let mut lower = Vec::new();
        for diff_id in layers.iter().rev() {
            let info = self.layer(diff_id)?;
            if !seen.insert(*diff_id) {
                continue;
            }
            lower.push(self.open_layer(diff_id)?);
            if info.opaque_root {
                break;
            }
        }
        Ok(lower)
    }

    fn open_layer(&self, diff_id: &Digest) -> Result<OwnedFd, SnapshotError> {
        let path = format!("{}/{DIFF}", diff_id.hex());
        match rustix::fs::openat(&self.layers, &path, DIRECTORY | OFlags::PATH, Mode::empty()) {
            Ok(layer) => Ok(layer),
            Err(Errno::NOENT) => Err(SnapshotError::NoLayer { diff_id: *diff_id }),
            Err(error) => Err(error).at("open", || self.path.join(path)),
        }
    }

    fn open_empty(&self, name: &str) -> Result<OwnedFd, SnapshotError> {
        rustix::fs::openat(&self.layers, name, DIRECTORY | OFlags::PATH, Mode::empty())
            .at("open", || self.path.join(name))
    }

    fn method(&self) -> Result<Method, SnapshotError> {
        if let Some(method) = self.method.get() {
            return Ok(*method);
        }
        let method = overlay::probe(self.open_empty(EMPTY[0])?.as_fd())?;
        Ok(*self.method.get_or_init(|| method))
    }

    /// [`Snapshotter::mount`], in a given way.
    pub(crate) fn mount_by(
        &self,
        method: Method,
        container_dir: &Path,
        layers: &[Digest],
        options: MountOptions,
    ) -> Result<OwnedFd, SnapshotError> {
        let mut lower = self.lower(layers)?;
        if lower.is_empty() {
            lower.push(self.open_empty(EMPTY[0])?);
        }
        let scratch = self.path.join(EMPTY[0]);
        if options.read_only {
            // Without a writable directory overlayfs wants two others.
            if lower.len() == 1 {
                lower.push(self.open_empty(EMPTY[1])?);
            }
            let overlay = Overlay { lower: &lower, writable: None, volatile: false, scratch: &scratch };
            return overlay::mount(&overlay, method);
        }
        let writable = writable::prepare(container_dir, &lower[0])?;
        let both = Some((writable.upper.as_fd(), writable.work.as_fd()));
        let overlay = Overlay { lower: &lower, writable: both, volatile: options.volatile, scratch: &scratch };
        overlay::mount(&overlay, method)
    }
}

impl Snapshotter for Directories {
    fn contains(&self, diff_id: &Digest) -> bool {
        self.info(diff_id).is_some()
    }

    fn unpack(&self, diff_id: &Digest, tar: &mut dyn Read) -> Result<LayerInfo, SnapshotError> {
        let _claim = self.claims.claim(diff_id);
        if let Some(info) = self.info(diff_id) {
            return Ok(info);
        }
        let (directory, name) = self.temporary()?;
        let result = self
            .unpack_into(diff_id, tar, &directory, &name)
            .and_then(|info| self.publish(diff_id, &name).map(|()| info));
        match result {
            Ok(info) => {
                self.known.write().unwrap_or_else(PoisonError::into_inner).insert(*diff_id, info);
                Ok(info)
            }
            Err(error) => {
                // The reason it failed matters more than what could not be removed: that is done at the next start.
                let _: std::io::Result<()> = layer::remove_tree(&self.layers, &*name);
                Err(error)
            }
        }
    }

    fn layer(&self, diff_id: &Digest) -> Result<LayerInfo, SnapshotError> {
        self.info(diff_id).ok_or(SnapshotError::NoLayer { diff_id: *diff_id })
    }

    fn remove_layer(&self, diff_id: &Digest) -> Result<bool, SnapshotError> {
        let _claim = self.claims.claim(diff_id);
        let (hex, path) = (diff_id.hex(), || self.path.join(diff_id.hex()));
        let temporary = self.temporary_name();
        // First out of sight, in one step; a removal that is interrupted is finished at the next start.
        match rustix::fs::renameat(&self.layers, &*hex, &self.layers, &temporary) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(error).at("remove", path),
        }
        let known = self.known.write().unwrap_or_else(PoisonError::into_inner).remove(diff_id);
        layer::remove_tree(&self.layers, &*temporary).at("remove", path)?;
        Ok(known.is_some())
    }

    fn layers(&self) -> Result<Vec<(Digest, LayerInfo)>, SnapshotError> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        Ok(known.iter().map(|(diff_id, info)| (*diff_id, *info)).collect())
    }

    fn mount(&self, container_dir: &Path, layers: &[Digest], options: MountOptions) -> Result<OwnedFd, SnapshotError> {
        self.mount_by(self.method()?, container_dir, layers, options)
    }

    fn remove_container(&self, container_dir: &Path) -> Result<(), SnapshotError> {
        writable::remove(container_dir)
    }

    fn disk_usage(&self, diff_id: &Digest) -> Result<u64, SnapshotError> {
        let path = || self.path.join(diff_id.hex());
        match rustix::fs::openat(&self.layers, diff_id.hex(), DIRECTORY | OFlags::RDONLY, Mode::empty()) {
            Ok(layer) => layer::disk_usage(layer.as_fd()).at("measure", path),
            Err(Errno::NOENT) => Err(SnapshotError::NoLayer { diff_id: *diff_id }),
            Err(error) => Err(error).at("open", path),
        }
    }

    fn describe(&self) -> Description {
        let stacking = match self.method() {
            Ok(Method::Descriptors) => "by descriptor",
            Ok(Method::Append) => "one by one",
            Ok(_) => "by name",
            Err(_) => "not possible",
        };
        let status = [("Layers", self.path.display().to_string()), ("Overlay", stacking.to_owned())];
        Description {
            driver: "directories".to_owned(),
            status: status.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        }
    }
}

fn make_directory(parent: impl std::os::fd::AsFd, name: &Path, path: &Path) -> Result<(), SnapshotError> {
    match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error).at("make", || path.to_owned()),
    }
}

/// Which layers somebody is working on.
#[derive(Default)]
struct Claims {
    taken: Mutex<HashSet<Digest>>,
    released: Condvar,
}

/// The right to change one layer.
struct Claim<'c> {
    claims: &'c Claims,
    diff_id: Digest,
}

impl Claims {
    /// Waits until nobody else has the layer.
    fn claim(&self, diff_id: &Digest) -> Claim<'_> {
        let mut taken = self.lock();
        while !taken.insert(*diff_id) {
            taken = self.released.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        Claim { claims: self, diff_id: *diff_id }
    }

    /// A set of digests is whole whatever panicked while it was locked.
    fn lock(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.claims.lock().remove(&self.diff_id);
        self.claims.released.notify_all();
    }
}

#[cfg(test)]
mod tests;
