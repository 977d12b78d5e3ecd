// SPDX-License-Identifier: Apache-2.0
//! A container's root with its binds and volumes, in a mount namespace that no process is in: nobody else sees it, and it is
//! gone with its last descriptor.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat, openat2};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount_change, move_mount, open_tree};
use snapshot::MountOptions;
use sys::mount::{ATTR_RDONLY, Attributes};
use sys::process::CloneFlags;

use crate::Engine;
use crate::container::{Container, Record};
use crate::create::Turn;
use crate::error::EngineError;
use crate::export::cloned_root;
use crate::mount::{Mount, clean};
use crate::rootfs;
use crate::user::Identity;
use crate::userns::{self, IdRange, UserNamespace};
use crate::volumes::InUse;

/// What is seen of a container.
pub(super) struct View {
    /// Its root.
    pub(super) root: OwnedFd,
    /// The ids with which it is mounted.
    pub(super) ids: Option<IdRange>,
    /// Whether it ran when this was made.
    pub(super) runs: bool,
    /// Nobody starts it meanwhile, if it must not be.
    pub(super) turn: Option<Turn>,
    /// What is mounted below the root goes with the namespace.
    _namespace: Option<OwnedFd>,
    _volumes: InUse,
}

/// Something to be mounted: detached, and where it goes.
struct Placed {
    tree: OwnedFd,
    target: String,
}

impl Engine {
    /// What is seen of a container. The caller has its turn.
    pub(super) fn view(&self, container: &Container) -> Result<View, EngineError> {
        let record = container.record();
        let running = match record.state.running() {
            Some(running) => cloned_root(running)?,
            None => None,
        };
        let runs = running.is_some();
        let namespace = self.user_namespace_for_files(&record)?;
        let root = match running {
            Some(root) => root,
            None => {
                if let Some(shim) = container.leaving() {
                    self.await_shim(&shim);
                }
                let options = MountOptions { mount_points: true, ..MountOptions::default() };
                let root = match &namespace {
                    None => self.layers.mount(&container.dir, &record.layers, options)?,
                    Some(own) => self.layers.mount_mapped(&container.dir, &record.layers, options, own.for_mounts())?,
                };
                // The overlay holds what it lies on.
                self.layers.unmounted(&container.dir);
                root
            }
        };
        let volumes = self.use_volumes(container, &record)?;
        let placed = self.placed(&record, namespace.as_ref())?;
        let (root, namespace) = match placed.is_empty() {
            true => (root, None),
            false => {
                let (root, namespace) = assemble(root, placed, container.dir.clone(), record.ids)?;
                (root, Some(namespace))
            }
        };
        Ok(View { root, ids: record.ids, runs, turn: None, _namespace: namespace, _volumes: volumes })
    }

    /// The container's binds and volumes, those above before those below.
    fn placed(&self, record: &Record, namespace: Option<&UserNamespace>) -> Result<Vec<Placed>, EngineError> {
        let mut placed = Vec::new();
        for mount in record.mounts() {
            let (source, recursive, read_only) = match mount {
                Mount::Image(image) => {
                    let target = clean(&image.target);
                    placed.push(Placed { tree: self.image_tree(&record.id, image, namespace)?, target });
                    continue;
                }
                Mount::Bind { source, read_only, options, .. } => {
                    let opened = open(source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
                    let opened = match opened {
                        Ok(opened) => opened,
                        // It has gone, or is made at the first start: what lies below shows instead.
                        Err(Errno::NOENT) => continue,
                        Err(errno) => {
                            return Err(EngineError::io("open the bind mount's source", source)(errno.into()));
                        }
                    };
                    (opened, !options.non_recursive, *read_only)
                }
                Mount::Volume(volume) => (self.volumes.open_source(volume)?, true, volume.read_only),
                Mount::Tmpfs { .. } => continue,
            };
            let mut flags =
                OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
            if recursive {
                flags |= OpenTreeFlags::AT_RECURSIVE;
            }
            let target = clean(mount.target());
            let tree = open_tree(&source, "", flags)
                .map_err(|errno| EngineError::io("clone what is mounted at", &target)(errno.into()))?;
            if let Some(namespace) = namespace.filter(|_| mount.volume().is_some() || mount.is_idmapped()) {
                let file = namespace.for_mounts().namespace;
                sys::mount::map_ids(tree.as_fd(), false, file).map_err(EngineError::Namespace)?;
            }
            if read_only {
                let attributes = Attributes { set: ATTR_RDONLY, ..Attributes::default() };
                sys::mount::setattr(tree.as_fd(), true, &attributes).map_err(EngineError::Namespace)?;
            }
            placed.push(Placed { tree, target });
        }
        Ok(placed)
    }
}

/// Mounts all of it, on a thread that enters a namespace of its own and ends there: the root, and the namespace.
fn assemble(
    root: OwnedFd,
    placed: Vec<Placed>,
    place: PathBuf,
    ids: Option<IdRange>,
) -> Result<(OwnedFd, OwnedFd), EngineError> {
    let work = move || -> Result<(OwnedFd, OwnedFd), EngineError> {
        sys::namespace::unshare(CloneFlags::NEWNS).map_err(EngineError::Namespace)?;
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |errno: Errno| EngineError::io(action, path)(errno.into())
        };
        // Nothing of this is the host's.
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).map_err(failed("make private the mounts below", Path::new("/")))?;
        attach(&root, &open(&place, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(failed("open", &place))?)
            .map_err(failed("mount the container's root on", &place))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open(&place, flags, Mode::empty()).map_err(failed("open", &place))?;
        for Placed { tree, target } in placed {
            let found = mount_point(&root, &tree, &target, ids)?;
            attach(&tree, &found).map_err(failed("mount the container's", Path::new(&target)))?;
        }
        let own = Path::new("/proc/thread-self/ns/mnt");
        let namespace = File::open(own).map_err(EngineError::io("open", own))?;
        Ok((root, namespace.into()))
    };
    let thread = std::thread::Builder::new().name("view".to_owned()).spawn(work);
    let thread = thread.map_err(EngineError::io("start a thread in", "/proc/self/task"))?;
    thread.join().map_err(|_| EngineError::Worker("look into a container"))?
}

fn attach(tree: &OwnedFd, target: &OwnedFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", target, "", flags)
}

/// What is mounted on at `target`; made where a container that was never started does not have it.
fn mount_point(root: &OwnedFd, tree: &OwnedFd, target: &str, ids: Option<IdRange>) -> Result<OwnedFd, EngineError> {
    let failed = |errno: Errno| EngineError::io("open the container's", target)(errno.into());
    let find = || {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(root, target, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
    };
    match find() {
        Err(Errno::NOENT) => {}
        other => return other.map_err(failed),
    }
    let owner = Identity { uid: 0, gid: 0, groups: Vec::new(), home: String::new() };
    if FileType::from_raw_mode(fstat(tree).map_err(failed)?.st_mode) == FileType::Directory {
        rootfs::make_working_directory(root.as_fd(), target, &owner, ids)?;
        return find().map_err(failed);
    }
    let (directory, name) = target.rsplit_once('/').ok_or_else(|| failed(Errno::INVAL))?;
    rootfs::make_working_directory(root.as_fd(), directory, &owner, ids)?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = if directory.is_empty() { "/" } else { directory };
    let parent = openat2(root, directory, flags, Mode::empty(), resolve).map_err(failed)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let _acting = userns::act_as_root(ids)?;
    drop(openat(&parent, name, flags, Mode::from_raw_mode(0o644)).map_err(failed)?);
    find().map_err(failed)
}
