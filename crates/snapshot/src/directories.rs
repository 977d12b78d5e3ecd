// SPDX-License-Identifier: Apache-2.0
//! A directory per layer, which works on every kernel.
//!
//! A layer is synced by syncfs(2) on its file system: thousands of small files are on disk sooner by that than by an
//! fsync each. The price is that what others have written to that file system waits as well.

use std::collections::HashSet;
use std::io::Read;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

use layer::Limits;
use oci::Digest;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::At as _;
use crate::index;
use crate::inherited::{Inherited, Lower};
use crate::mounts::Mounts;
use crate::overlay::{self, Method, Overlay};
use crate::ready::{Ready, Taken, Turn};
use crate::store::{ARCHIVE, DIFF, DIRECTORY, EMPTY, Form, INDEX, Store};
use crate::{Description, Ids, LayerInfo, MountOptions, SnapshotError, Snapshotter, mapped, points, writable};

/// Layers as plain directories. Those that [`TarIndex`](crate::TarIndex) has kept as archives are mounted as well, if the
/// kernel can; otherwise they count as absent.
pub struct Directories {
    pub(crate) store: Store,
    pub(crate) limits: Limits,
    pub(crate) mounts: Mounts,
    inherited: Inherited,
    pub(crate) ready: Ready,
    method: OnceLock<Method>,
    /// Why layers are not kept as archives, where that was not a choice.
    reason: Option<String>,
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
        let store = Store::open(root)?;
        if !store.has(Form::Archive) {
            return Ok(Directories::over(store, limits, None));
        }
        match index::probe(&store) {
            Ok(()) => Ok(Directories::over(store, limits, None)),
            Err(refusal) => Ok(Directories::without_archives(store, limits, &refusal)),
        }
    }

    /// Over a store whose archives cannot be mounted here.
    pub(crate) fn without_archives(store: Store, limits: Limits, refusal: &SnapshotError) -> Directories {
        store.forget(Form::Archive);
        Directories::over(store, limits, Some(errors::chain(refusal)))
    }

    pub(crate) fn over(store: Store, limits: Limits, reason: Option<String>) -> Directories {
        let limits = Limits { end_marker: false, ..limits };
        Directories {
            store,
            limits,
            mounts: Mounts::default(),
            inherited: Inherited::default(),
            ready: Ready::default(),
            method: OnceLock::new(),
            reason,
        }
    }

    /// Unpacks into `directory`, which has that name in the store, and syncs.
    pub(crate) fn unpack_into(
        &self,
        diff_id: &Digest,
        tar: impl Read,
        directory: &OwnedFd,
        name: &str,
    ) -> Result<(LayerInfo, Form), SnapshotError> {
        let path = || self.store.path.join(name);
        rustix::fs::mkdirat(directory, DIFF, Mode::RWXU).at("make", path)?;
        let diff = rustix::fs::openat(directory, DIFF, DIRECTORY | OFlags::RDONLY, Mode::empty()).at("open", path)?;
        // What `/` is when the archive does not say. Not by mkdirat: the umask has no say in it.
        rustix::fs::fchmod(&diff, Mode::from_raw_mode(0o755)).at("chmod", path)?;
        let unpacked = layer::unpack(tar, diff.as_fd(), &self.limits)
            .map_err(|source| SnapshotError::Unpack { diff_id: *diff_id, source })?;
        let info = LayerInfo::of(&unpacked, diff_id)?;
        self.store.describe(directory, name, &info)?;
        self.store.list_implied(directory, name, &unpacked.implied)?;
        rustix::fs::syncfs(directory).at("sync", path)?;
        Ok((info, Form::Directory))
    }

    /// The directories to stack, top first. A layer that occurs twice counts where it is topmost (overlayfs refuses one
    /// directory twice, and what it hides below is its own), and one with an opaque root ends the list. Above them all
    /// may be what the layers' implied directories inherit from each other.
    fn lower(&self, container_dir: &Path, layers: &[Digest]) -> Result<Vec<OwnedFd>, SnapshotError> {
        let mut seen = HashSet::new();
        let mut lower = Vec::new();
        for diff_id in layers.iter().rev() {
            let (info, form) = self.store.layer(diff_id)?;
            if !seen.insert(*diff_id) {
                continue;
            }
            let root = self.open_layer(container_dir, diff_id, form)?;
            lower.push(Lower { diff_id: *diff_id, root, has_implied: info.has_implied });
            if info.opaque_root {
                break;
            }
        }
        let top = self.inherited.top(&self.store, &lower)?;
        Ok(top.into_iter().chain(lower.into_iter().map(|lower| lower.root)).collect())
    }

    /// The layer's root directory.
    pub(crate) fn open_layer(
        &self,
        container_dir: &Path,
        diff_id: &Digest,
        form: Form,
    ) -> Result<OwnedFd, SnapshotError> {
        match form {
            Form::Directory => self.store.open_in(diff_id, DIFF, DIRECTORY | OFlags::PATH),
            Form::Archive => self.mounts.share(diff_id, container_dir, || {
                let image = self.store.open_in(diff_id, INDEX, OFlags::RDONLY)?;
                let archive = self.store.open_in(diff_id, ARCHIVE, OFlags::RDONLY)?;
                index::mount(&image, &archive)
            }),
        }
    }

    pub(crate) fn method(&self) -> Result<Method, SnapshotError> {
        if let Some(method) = self.method.get() {
            return Ok(*method);
        }
        let method = overlay::probe(self.store.open_empty(EMPTY[0])?.as_fd())?;
        Ok(*self.method.get_or_init(|| method))
    }

    /// [`Snapshotter::mount`], in a given way.
    pub(crate) fn mount_by(
        &self,
        method: Method,
        container_dir: &Path,
        layers: &[Digest],
        options: MountOptions,
        ids: Option<Ids<'_>>,
    ) -> Result<OwnedFd, SnapshotError> {
        let mut lower = self.lower(container_dir, layers)?;
        if lower.is_empty() {
            lower.push(self.store.open_empty(EMPTY[0])?);
        }
        let scratch = self.store.path.join(EMPTY[0]);
        if options.read_only {
            // Without a writable directory overlayfs wants two others.
            if lower.len() == 1 {
                lower.push(self.store.open_empty(EMPTY[1])?);
            }
            let lower = mapped::all(lower, ids)?;
            let overlay = Overlay { lower: &lower, writable: None, volatile: false, scratch: &scratch };
            return mapped::stack(&overlay, method, ids, None);
        }
        // Where names are joined to one text, they must not get more.
        let takes = matches!(method, Method::Descriptors | Method::Append) && lower.len() < overlay::MAX_LAYERS;
        if options.mount_points && takes {
            lower.push(points::open(&self.store)?);
        }
        let writable = mapped::writable(writable::prepare(container_dir, &lower[0])?, container_dir, ids)?;
        let lower = mapped::all(lower, ids)?;
        let both = Some((writable.upper.as_fd(), writable.work.as_fd()));
        let overlay = Overlay { lower: &lower, writable: both, volatile: options.volatile, scratch: &scratch };
        mapped::stack(&overlay, method, ids, writable.mount())
    }

    /// Mounts anew, where nothing waits that could be taken. What waited there for something else goes first.
    fn mount_anew(
        &self,
        mut turn: Turn<'_>,
        container_dir: &Path,
        layers: &[Digest],
        options: MountOptions,
        ids: Option<Ids<'_>>,
    ) -> Result<OwnedFd, SnapshotError> {
        turn.clear(&self.mounts)?;
        let mount = self.mount_by(self.method()?, container_dir, layers, options, ids);
        mount.inspect_err(|_| self.mounts.release(container_dir))
    }

    /// [`Directories::mount_anew`], for nobody yet. What a container has written there already could not be told from
    /// what is to go with the mount: such a directory is refused.
    fn mount_ahead(
        &self,
        turn: &mut Turn<'_>,
        container_dir: &Path,
        layers: &[Digest],
        options: MountOptions,
    ) -> Result<OwnedFd, SnapshotError> {
        turn.clear(&self.mounts)?;
        if !options.read_only {
            if writable::open_upper(container_dir)?.is_some() {
                return Err(Errno::EXIST)
                    .at("make, ahead of a container, the writable directory in", || container_dir.into());
            }
            turn.makes_writable();
        }
        let mount = self.mount_by(self.method()?, container_dir, layers, options, None);
        mount.inspect_err(|_| self.mounts.release(container_dir))
    }
}

impl Snapshotter for Directories {
    fn contains(&self, diff_id: &Digest) -> bool {
        self.store.layer(diff_id).is_ok()
    }

    fn unpack(&self, diff_id: &Digest, tar: &mut dyn Read) -> Result<LayerInfo, SnapshotError> {
        self.store.make(diff_id, |directory, name| self.unpack_into(diff_id, tar, directory, name))
    }

    fn layer(&self, diff_id: &Digest) -> Result<LayerInfo, SnapshotError> {
        self.store.layer(diff_id).map(|(info, _)| info)
    }

    fn remove_layer(&self, diff_id: &Digest) -> Result<bool, SnapshotError> {
        let mut removal = self.ready.reclaim(diff_id);
        if let Some(mut outdated) = removal.outdated.take() {
            // What could not be removed has nothing of the layer, and is told to who wants that directory next.
            let _: Result<(), SnapshotError> = outdated.clear(&self.mounts);
        }
        self.mounts.forget(diff_id);
        self.inherited.forget(&self.store, diff_id)?;
        self.store.remove(diff_id)
    }

    fn layers(&self) -> Result<Vec<(Digest, LayerInfo)>, SnapshotError> {
        Ok(self.store.all().into_iter().map(|(diff_id, info, _)| (diff_id, info)).collect())
    }

    fn mount(&self, container_dir: &Path, layers: &[Digest], options: MountOptions) -> Result<OwnedFd, SnapshotError> {
        match self.ready.take(container_dir, layers, options) {
            Taken::Mount(mount) => Ok(mount),
            Taken::Turn(turn) => self.mount_anew(turn, container_dir, layers, options, None),
        }
    }

    fn mount_mapped(
        &self,
        container_dir: &Path,
        layers: &[Digest],
        options: MountOptions,
        ids: Ids<'_>,
    ) -> Result<OwnedFd, SnapshotError> {
        self.mount_anew(self.ready.turn(container_dir), container_dir, layers, options, Some(ids))
    }

    fn prepare(&self, container_dir: &Path, layers: &[Digest], options: MountOptions) -> Result<(), SnapshotError> {
        let Some(mut begun) = self.ready.begin(container_dir, layers, options)? else { return Ok(()) };
        if let Some(mut outdated) = begun.outdated.take() {
            // What could not be removed is told to who wants that directory next.
            let _: Result<(), SnapshotError> = outdated.clear(&self.mounts);
        }
        match self.mount_ahead(&mut begun.turn, container_dir, layers, options) {
            Ok(mount) => match self.ready.offer(begun, layers, options, mount) {
                None => Ok(()),
                Some(mut outdated) => outdated.clear(&self.mounts),
            },
            Err(error) => {
                // Why it failed matters more than what could not be removed, which is told to who wants that directory next.
                let _: Result<(), SnapshotError> = begun.turn.clear(&self.mounts);
                Err(error)
            }
        }
    }

    fn unmounted(&self, container_dir: &Path) {
        let mut turn = self.ready.turn(container_dir);
        // What could not be removed is told to who wants that directory next.
        let _: Result<(), SnapshotError> = turn.clear(&self.mounts);
        self.mounts.release(container_dir);
    }

    fn remove_container(&self, container_dir: &Path) -> Result<(), SnapshotError> {
        let mut turn = self.ready.turn(container_dir);
        turn.clear(&self.mounts)?;
        self.mounts.release(container_dir);
        writable::remove(container_dir)
    }

    fn disk_usage(&self, diff_id: &Digest) -> Result<u64, SnapshotError> {
        let layer = self.store.open_in(diff_id, ".", DIRECTORY | OFlags::RDONLY)?;
        layer::disk_usage(layer.as_fd()).at("measure", || self.store.path.join(diff_id.hex()))
    }

    fn describe(&self) -> Description {
        let stacking = match self.method() {
            Ok(Method::Descriptors) => "by descriptor",
            Ok(Method::Append) => "one by one",
            Ok(_) => "by name",
            Err(_) => "not possible",
        };
        let mut status = vec![("Layers", self.store.path.display().to_string()), ("Overlay", stacking.to_owned())];
        status.extend(self.reason.as_ref().map(|reason| ("Archives", format!("not used: {reason}"))));
        let status = status.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Description { driver: "directories".to_owned(), status }
    }
}

#[cfg(test)]
mod tests;
