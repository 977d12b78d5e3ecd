// SPDX-License-Identifier: Apache-2.0
//! One task per running container: it waits for the shim's last word, or for the shim's death, and settles what is left.
//!
//! The order is the user's: first the exit is known and the name is free, then, off everybody's path, the cgroup, the
//! shim's directory and the writable layer go.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use cgroup::{CgroupError, CgroupPath};
use jiff::Timestamp;
use metadata::Durability;
use oci::ContainerId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shim::Exit;
use tokio::net::UnixStream;

use crate::container::{Container, Exited, Phase};
use crate::error::EngineError;
use crate::frames::{self, Frame};
use crate::reconcile::SHIM_RECORD;
use crate::{CONTAINERS, Engine};

/// How long a shim may take to remove its cgroup and go, after it reported the exit.
const SHIM_GRACE: Duration = Duration::from_secs(10);

impl Engine {
    /// Waits for a running container's exit in a task of its own.
    pub(crate) fn supervise(self: &Arc<Self>, container: Arc<Container>, mut control: UnixStream, shim: OwnedFd) {
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            // From here, so that whoever waits for the start to be told does not wait for another thread to wake for this.
            engine.have_next();
            let exit = loop {
                match frames::read(&mut control).await {
                    Ok(Frame::Exited(exit)) => break Some(exit),
                    Ok(_) => {}
                    Err(_) => break None,
                }
            };
            drop(control);
            let exited = match exit {
                Some(exit) => Some(exited_from(&exit)),
                None => engine.lost(&container).await,
            };
            if let Some(exited) = exited {
                engine.settle(&container, exited, Some(shim));
            }
        });
    }

    /// The shim is gone without a word to us. What it recorded counts; otherwise its container is ended, because
    /// nobody keeps its log or reaps it any more.
    async fn lost(self: &Arc<Self>, container: &Arc<Container>) -> Option<Exited> {
        let (engine, target) = (Arc::clone(self), Arc::clone(container));
        let exited = self
            .blocking("end an orphaned container", move || {
                if let Ok(Some(exit)) = shim::read_exit(&engine.shim_dir(&target.id)) {
                    return Ok(exited_from(&exit));
                }
                engine.end_orphan(&target.id, &engine.cgroup_of(&target));
                Ok(lost_exit())
            })
            .await;
        exited.inspect_err(|error| tracing::error!(error = errors::chain(error), "an orphan may still run")).ok()
    }

    /// Ends whatever runs in a container's cgroup, and removes the cgroup.
    pub(crate) fn end_orphan(&self, id: &ContainerId, path: &CgroupPath) {
        match self.cgroups.open(path) {
            Ok(cgroup) => {
                if let Err(error) = cgroup.kill() {
                    tracing::error!(container = %id, error = errors::chain(&error), "cannot kill an orphaned container");
                }
            }
            Err(CgroupError::NotFound { .. }) => {}
            Err(error) => {
                tracing::error!(container = %id, error = errors::chain(&error), "cannot open an orphan's cgroup");
            }
        }
        self.remove_cgroup(id, path);
    }

    /// Records the exit, lets everybody who waits know, and takes the rest down in the background.
    pub(crate) fn settle(self: &Arc<Self>, container: &Arc<Container>, exited: Exited, shim: Option<OwnedFd>) {
        let shim = shim.map(Arc::new);
        if let Some(shim) = &shim {
            container.leaves(shim);
        }
        let (again, endpoints) = self.end_run(container, exited);
        self.watch_health(container);
        // In Docker's order: what it had is told of before its end is.
        let exited = container.with_record(|record| record.state.exited().cloned());
        exited.iter().for_each(|exited| container.tell_want_of_memory(exited));
        self.leave_networks(container, endpoints);
        self.leave_volumes(container, shim.clone());
        exited.iter().for_each(|exited| container.tell_end(exited));
        container.tell_stopped();
        if container.goes_at_its_end() {
            self.forget(container, shim, true);
            return;
        }
        self.announce_end(container, again);
        let (engine, container) = (Arc::clone(self), Arc::clone(container));
        self.in_background("settle an exit", move || {
            engine.await_shim_opt(shim.as_deref());
            if let Some(shim) = &shim {
                container.left(shim);
            }
            let _turn = container.lifecycle.blocking_lock();
            // Unless it was started again meanwhile.
            if container.with_record(|record| record.state.running().is_none()) {
                engine.layers.unmounted(&container.dir);
            }
            // The shim's directory holds the only durable word of the exit until the record is synced.
            if let Err(error) = engine.write_record(&container, Durability::Synced) {
                tracing::error!(container = %container.id, error = errors::chain(&error), "cannot record an exit");
                return;
            }
            // A container that was started again meanwhile owns these names now.
            if container.with_record(|record| record.state.running().is_none()) {
                engine.remove_cgroup(&container.id, &engine.cgroup_of(&container));
                engine.remove_shim_dir(&container.id);
            }
        });
    }

    /// Has a run's volumes unmounted. What options have mounted goes when the processes are gone that see it, and nobody
    /// waits for that; for most there is nothing to unmount.
    fn leave_volumes(self: &Arc<Self>, container: &Arc<Container>, shim: Option<Arc<OwnedFd>>) {
        let names: Vec<String> =
            container.with_record(|record| record.volumes().map(|volume| volume.name.clone()).collect());
        let (mounted, plain): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| self.volumes.has_mount(name));
        plain.iter().for_each(|name| self.leave_volume(container, name));
        if mounted.is_empty() {
            return;
        }
        let (engine, container) = (Arc::clone(self), Arc::clone(container));
        self.in_background("unmount a container's volumes", move || {
            engine.await_shim_opt(shim.as_deref());
            mounted.iter().for_each(|name| engine.leave_volume(&container, name));
        });
    }

    /// Removes a container that no longer runs: name and record at once, its files in the background, with `volumes` those
    /// volumes as well that nobody has named.
    pub(crate) fn forget(self: &Arc<Self>, container: &Arc<Container>, shim: Option<Arc<OwnedFd>>, volumes: bool) {
        let (name, code) = container.with_record(|record| {
            self.images.note_use(record.image_id);
            (record.name.clone(), record.state.exited().map(|exited| exited.code))
        });
        self.registry().by_id.remove(&container.id);
        self.release_name(&name, &container.id);
        // In Docker's order, its volumes go first; here their files do so in the background.
        let told_later = volumes && container.with_record(|record| record.volumes().any(|volume| volume.anonymous));
        if !told_later {
            container.tell("destroy", []);
        }
        container.announce(Phase::Removed(code));
        let (engine, container) = (Arc::clone(self), Arc::clone(container));
        self.in_background("remove a container's files", move || {
            engine.await_shim_opt(shim.as_deref());
            engine.end_waiting_shim(&container);
            engine.remove_cgroup(&container.id, &engine.cgroup_of(&container));
            // Who sends its last lines elsewhere says when it gives up.
            let patience = logging::PATIENCE;
            let _ = engine.handle.block_on(async { tokio::time::timeout(patience, container.forwarding.over()).await });
            engine.remove_files(&container);
            if volumes {
                engine.remove_anonymous_volumes(&container);
            }
            if told_later {
                container.tell("destroy", []);
            }
        });
    }

    /// The record, then the writable layer and the log, then the shim's directory: a crash in between leaves only
    /// what the next start recognises as nobody's.
    pub(crate) fn remove_files(&self, container: &Container) {
        let deleted =
            self.store.write(Durability::Relaxed, |tx| tx.delete(CONTAINERS, container.id.as_str()).map(|_| ()));
        if let Err(error) = deleted {
            let error: metadata::MetadataError = error;
            tracing::error!(container = %container.id, error = errors::chain(&error), "cannot delete a record");
            return;
        }
        self.remove_container_dir(&container.dir);
        self.remove_shim_dir(&container.id);
    }

    /// The writable layer (which has directories that only descriptors get into), then the directory itself.
    pub(crate) fn remove_container_dir(&self, dir: &std::path::Path) {
        if let Err(error) = self.layers.remove_container(dir) {
            tracing::error!(dir = %dir.display(), error = errors::chain(&error), "cannot remove a writable layer");
        }
        match fs::remove_dir_all(dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::error!(dir = %dir.display(), %error, "cannot remove a container's directory"),
        }
    }

    /// Writes a container's record off the caller's path. Until then the shim's directory tells a new daemon.
    pub(crate) fn remember_later(self: &Arc<Self>, container: &Arc<Container>) {
        let (engine, container) = (Arc::clone(self), Arc::clone(container));
        self.in_background("write a record", move || {
            let _turn = container.lifecycle.blocking_lock();
            if let Err(error) = engine.write_record(&container, Durability::Relaxed) {
                tracing::error!(container = %container.id, error = errors::chain(&error), "cannot write a record");
            }
        });
    }

    /// Writes a container's record, unless the container was removed: it must not rise again. The caller has the turn.
    pub(crate) fn write_record(
        &self,
        container: &Container,
        durability: Durability,
    ) -> Result<(), metadata::MetadataError> {
        let record = container.record();
        if !self.registry().by_id.contains_key(&record.id) {
            return Ok(());
        }
        self.store.write(durability, |tx| tx.put(CONTAINERS, record.id.as_str(), &record))
    }

    pub(crate) fn remove_cgroup(&self, id: &ContainerId, path: &CgroupPath) {
        let removed = match self.cgroups.open(path) {
            Ok(cgroup) => cgroup.remove(),
            Err(CgroupError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            tracing::error!(container = %id, error = errors::chain(&error), "cannot remove a cgroup");
        }
    }

    /// Makes a shim's directory nobody's: the next daemon, if it comes before the directory is gone, takes it away.
    pub(crate) fn forget_shim_record(&self, id: &ContainerId) -> Result<(), EngineError> {
        let path = self.shim_dir(id).join(SHIM_RECORD);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(EngineError::io("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    pub(crate) fn remove_shim_dir(&self, id: &ContainerId) {
        let dir = self.shim_dir(id);
        crate::surroundings::unmount(&dir);
        // A shim that nobody waits for may still put a file there.
        let removed = (0..3)
            .map(|_| fs::remove_dir_all(&dir))
            .find(|removed| !matches!(removed, Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty));
        match removed {
            Some(Ok(())) => {}
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Some(Err(error)) => tracing::error!(dir = %dir.display(), %error, "cannot remove a shim's directory"),
            None => tracing::error!(dir = %dir.display(), "cannot remove a shim's directory: somebody fills it"),
        }
    }

    /// Waits, a bounded time, until a shim has gone.
    pub(crate) fn await_shim(&self, shim: &OwnedFd) {
        let mut fds = [PollFd::new(shim, PollFlags::IN)];
        let limit = Timespec { tv_sec: SHIM_GRACE.as_secs() as i64, tv_nsec: 0 };
        match poll(&mut fds, Some(&limit)) {
            Ok(0) => tracing::warn!("a shim takes longer than {} s to go", SHIM_GRACE.as_secs()),
            Ok(_) => {}
            Err(errno) => tracing::warn!(%errno, "cannot wait for a shim"),
        }
    }

    fn await_shim_opt(&self, shim: Option<&OwnedFd>) {
        if let Some(shim) = shim {
            self.await_shim(shim);
        }
    }
}

/// The shim's word as the record keeps it.
pub(crate) fn exited_from(exit: &Exit) -> Exited {
    Exited {
        code: exit.code,
        oom_killed: exit.oom_killed,
        started: None,
        finished: exit.at.parse().unwrap_or_else(|_| Timestamp::now()),
        error: None,
    }
}

/// A container whose shim died without recording an exit was killed with it.
pub(crate) fn lost_exit() -> Exited {
    Exited {
        code: 137,
        oom_killed: false,
        started: None,
        finished: Timestamp::now(),
        error: Some("its shim was killed, and the container with it".to_owned()),
    }
}
