// SPDX-License-Identifier: Apache-2.0
//! What the next container gets is made before anybody asks for it: an id, directories and files, a shim that has made the
//! control group, and a root like that of the last container.
//!
//! All of it hangs on the id, so it goes to one container or to none: [`Next`] is taken as a whole by whoever creates one. A
//! container that is created and not started keeps its shim, but only the newest of them does; so at most two shims wait.
//! Whatever is not there, or does not fit, is made as if nothing had been made ahead.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use logging::LogChoice;
use oci::{ContainerId, Digest};
use shim::WaitingShim;
use snapshot::MountOptions;

use crate::Engine;
use crate::container::{Container, Record};
use crate::error::EngineError;
use crate::request::ContainerSpec;
use crate::rootfs::NETWORK_FILES;

/// How long after a start the next container's things are made: what that start does then has the processors first.
const PAUSE: Duration = Duration::from_millis(3);
/// How long a shim that is not needed may take to take back what it made: some cgroups, empty.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was made for a container that nobody has asked for yet.
pub(crate) struct Next {
    /// What it will be called.
    pub(crate) id: ContainerId,
    pub(crate) shim: WaitingShim,
}

/// What the engine has made ahead.
#[derive(Default)]
pub(crate) struct Ahead {
    /// Somebody is about to see to it that there is a next one.
    wanted: AtomicBool,
    next: Mutex<Option<Next>>,
    /// Who was created last, and may have a shim that waits for its start.
    created: Mutex<Weak<Container>>,
    /// The root that the last started container had.
    root: Mutex<Option<(Vec<Digest>, MountOptions)>>,
    /// That of the next one.
    prepared: Mutex<Option<(ContainerId, Vec<Digest>, MountOptions)>>,
}

impl Engine {
    /// Sees to it that there is a [`Next`], when what this start does next is done.
    pub(crate) fn have_next(self: &Arc<Self>) {
        if self.ahead.wanted.swap(true, Ordering::Relaxed) {
            return;
        }
        let engine = Arc::clone(self);
        self.handle.spawn(async move {
            tokio::time::sleep(PAUSE).await;
            engine.ahead.wanted.store(false, Ordering::Relaxed);
            let maker = Arc::clone(&engine);
            if let Err(error) = engine.blocking("make ahead", move || maker.make_next()).await {
                tracing::warn!(error = errors::chain(&error), "the next container's shim is not cloned ahead");
            }
        });
    }

    /// Makes the [`Next`] if there is none. Nothing is left when that fails.
    fn make_next(&self) -> Result<(), EngineError> {
        let mut slot = lock(&self.ahead.next);
        if self.closing.load(Ordering::Acquire) {
            return Ok(());
        }
        let next = match slot.take() {
            Some(next) => next,
            None => {
                let id = self.new_id()?;
                self.make_for(&id).inspect_err(|_| self.remove_made_for(&id))?
            }
        };
        // One root waits at most: that of a container that was created just now is needed first.
        if !lock(&self.ahead.created).upgrade().is_some_and(|container| container.awaits_start()) {
            self.prepare_root(&next.id);
        }
        *slot = Some(next);
        Ok(())
    }

    fn make_for(&self, id: &ContainerId) -> Result<Next, EngineError> {
        self.make_container_dir(id, false)?;
        self.make_files(id)?;
        // Before the shim makes a control group: by this directory the next daemon finds it, should this one be killed.
        self.make_shim_dir(id, false)?;
        let cgroup = self.cgroup_path(id, &ContainerSpec::default()).to_string();
        let shim = self.zygote.prepare(&shim::Ahead { cgroup: Some(cgroup) })?;
        Ok(Next { id: id.clone(), shim })
    }

    /// Makes the files that a start writes, empty: new inodes are a tenth of what a start costs on a disk.
    fn make_files(&self, id: &ContainerId) -> Result<(), EngineError> {
        let dir = self.container_dir(id);
        let of_etc = NETWORK_FILES.map(|name| (dir.join(name), 0o644));
        // As the shim would make it.
        let log = self.usual_log(id).map(|path| (path, 0o600));
        for (path, mode) in of_etc.into_iter().chain(log) {
            let made = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
            made.map_err(EngineError::io("create", path))?;
        }
        Ok(())
    }

    /// Where a container's log is that wishes for none of its own.
    fn usual_log(&self, id: &ContainerId) -> Option<PathBuf> {
        LogChoice::default().or(&self.config.log).path(&self.container_dir(id), id)
    }

    /// Takes away what was made ahead for the container and is not its own: the file of a log that is not kept there.
    pub(crate) fn drop_unfit(&self, record: &Record) -> Result<(), EngineError> {
        let Some(made) = self.usual_log(&record.id) else { return Ok(()) };
        if record.spec.log.path(&self.container_dir(&record.id), &record.id).as_ref() == Some(&made) {
            return Ok(());
        }
        match fs::remove_file(&made) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(EngineError::io("remove", made)(error)),
            _ => Ok(()),
        }
    }

    /// Has a root mounted for it like that of the last container, unless that was done.
    fn prepare_root(&self, id: &ContainerId) {
        let Some((layers, options)) = lock(&self.ahead.root).clone() else { return };
        let mut prepared = lock(&self.ahead.prepared);
        let wanted = (id.clone(), layers, options);
        if prepared.as_ref() == Some(&wanted) {
            return;
        }
        match self.layers.prepare(&self.container_dir(id), &wanted.1, options) {
            Ok(()) => *prepared = Some(wanted),
            // An image that was removed meanwhile, a disk that is full: the next start says so, if it still is.
            Err(error) => tracing::debug!(error = errors::chain(&error), "no root is mounted ahead"),
        }
    }

    /// Remembers what root a container was started with. Only one that is never synced: who wants another than was made
    /// ahead would wait for a whole file system to be written when that is let go of (overlayfs does so without `volatile`).
    pub(crate) fn note_root(&self, layers: &[Digest], options: MountOptions) {
        let mut root = lock(&self.ahead.root);
        if !options.volatile {
            *root = None;
            return;
        }
        if root.as_ref().is_none_or(|(known, how)| known != layers || *how != options) {
            *root = Some((layers.to_vec(), options));
        }
    }

    /// What was made ahead, for a container that is being created. While it is being made that is waited for: it would have to
    /// be made anyway.
    pub(crate) fn take_next(&self) -> Option<Next> {
        lock(&self.ahead.next).take()
    }

    /// Gives back what was taken for a container that could not be created, as it was.
    pub(crate) fn give_next_back(&self, next: Next) {
        let surplus = lock(&self.ahead.next).replace(next);
        if let Some(surplus) = surplus {
            self.let_go(surplus);
        }
    }

    /// The container may have a shim that waits for its start; who was created before it has none any more.
    pub(crate) fn note_created(&self, container: &Arc<Container>) {
        let before = std::mem::replace(&mut *lock(&self.ahead.created), Arc::downgrade(container));
        if let Some(before) = before.upgrade() {
            self.end_waiting_shim(&before);
        }
    }

    /// The container's start will have to have a shim cloned, if it comes at all.
    pub(crate) fn end_waiting_shim(&self, container: &Container) {
        container.end_waiting_shim(|shim| {
            end(shim);
            self.remove_shim_dir(&container.id);
        });
    }

    /// Ends what waits and removes what was made for it, for a daemon that ends.
    pub(crate) fn end_ahead(&self) {
        if let Some(next) = lock(&self.ahead.next).take() {
            self.let_go(next);
        }
        if let Some(container) = lock(&self.ahead.created).upgrade() {
            self.end_waiting_shim(&container);
        }
    }

    pub(crate) fn let_go(&self, next: Next) {
        end(next.shim);
        self.remove_made_for(&next.id);
    }

    fn remove_made_for(&self, id: &ContainerId) {
        let dir = self.container_dir(id);
        self.layers.unmounted(&dir);
        self.remove_container_dir(&dir);
        self.remove_shim_dir(id);
    }

    /// Makes the directory of a container that is being created. `ready`: it was made ahead.
    pub(crate) fn make_container_dir(&self, id: &ContainerId, ready: bool) -> Result<(), EngineError> {
        let dir = self.container_dir(id);
        match DirBuilder::new().mode(0o710).create(&dir) {
            Ok(()) if ready => {
                // Somebody has removed it, and with it what a root that was mounted ahead is to write to.
                self.layers.unmounted(&dir);
                Ok(())
            }
            Err(error) if ready && error.kind() == ErrorKind::AlreadyExists => Ok(()),
            made => made.map_err(EngineError::io("create", &dir)),
        }
    }

    /// Makes the directory of a container's shim, anew. `ready`: it was made ahead, and nothing is in it.
    pub(crate) fn make_shim_dir(&self, id: &ContainerId, ready: bool) -> Result<(), EngineError> {
        let dir = self.shim_dir(id);
        let make = || DirBuilder::new().mode(0o700).create(&dir);
        match make() {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if ready {
                    return Ok(());
                }
                // Left by a run whose daemon and shim both died; nothing of it is needed any more.
                self.remove_shim_dir(id);
                make().map_err(EngineError::io("create", &dir))
            }
            made => made.map_err(EngineError::io("create", &dir)),
        }
    }

    /// An id that nobody has.
    pub(crate) fn new_id(&self) -> Result<ContainerId, EngineError> {
        let mut random = [0; 32];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| EngineError::io("read", "/dev/urandom")(errno.into()))?;
        Ok(ContainerId::from_random(random))
    }
}

/// Has a shim that is not needed take back what it made.
fn end(shim: WaitingShim) {
    let pid = shim.pid();
    if !shim.end(PATIENCE) {
        tracing::warn!(pid, "a shim that is not needed takes longer than {} s to end", PATIENCE.as_secs());
    }
}

fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each is replaced in one go: a panic leaves the old or the new.
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}
