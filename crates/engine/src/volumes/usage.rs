// SPDX-License-Identifier: Apache-2.0
//! Volumes in containers that run: mounted when the first of them starts, if options say what to mount, and unmounted when
//! the last one has ended.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::Problem;
use oci::ContainerId;
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use rustix::mount::{UnmountFlags, unmount};

use super::{Volume, Volumes, bytes_of, is_mounted, lock, options};
use crate::Engine;
use crate::container::{Container, Record};
use crate::error::EngineError;
use crate::mount::VolumeMount;
use crate::surroundings::Subpath;

/// A volume, what it takes on disk, and how many containers it is in.
#[derive(Debug, Clone)]
pub struct VolumeUsage {
    /// It.
    pub volume: Volume,
    /// Where the host has its files.
    pub place: String,
    /// Bytes that the disk really gave. Nothing is said of what options mount: it need not be on this host's disks.
    pub bytes: Option<u64>,
    /// Containers that have it, running or not.
    pub containers: usize,
}

/// Volumes that are mounted, if options say what to mount, as long as this lives.
pub(crate) struct InUse {
    volumes: Arc<Volumes>,
    names: Vec<String>,
    /// For which container they were told of as mounted: they are told of as unmounted then.
    told: Option<ContainerId>,
}

impl InUse {
    /// They are in use as long as the run of a container from now on.
    pub(crate) fn leave_to_run(mut self) {
        self.names.clear();
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        for name in &self.names {
            self.volumes.release(name);
            if let Some(container) = &self.told {
                self.volumes.tell_unmounted(name, container);
            }
        }
    }
}

impl Volumes {
    /// Uses them for a while, as a run of a container does.
    pub(crate) fn take_into_use(self: &Arc<Self>, names: impl Iterator<Item = String>) -> Result<InUse, EngineError> {
        let mut used = InUse { volumes: Arc::clone(self), names: Vec::new(), told: None };
        for name in names {
            self.acquire(&name)?;
            used.names.push(name);
        }
        Ok(used)
    }

    fn tell_unmounted(&self, name: &str, container: &ContainerId) {
        self.tell("unmount", name, [("container", container.to_string())]);
    }

    /// One more run of a container uses it.
    fn acquire(&self, name: &str) -> Result<(), EngineError> {
        let turn = self.turn(name)?;
        let mut turn = lock(&turn);
        let volume = self.get(name)?;
        if turn.runs == 0
            && let Some(plan) = options::plan(&volume.options)?
            && !is_mounted(&self.place(name))?
        {
            plan.mount(&self.place(name))?;
        }
        turn.runs += 1;
        Ok(())
    }

    /// A run that used it has ended. What goes wrong is in the log: nobody waits for it.
    fn release(&self, name: &str) {
        // Removed with force, perhaps: then it is unmounted as well.
        let Ok(turn) = self.turn(name) else { return };
        let mut turn = lock(&turn);
        turn.runs = turn.runs.saturating_sub(1);
        if turn.runs == 0
            && let Err(error) = self.unmount_if_mounted(name)
        {
            tracing::error!(volume = name, error = errors::chain(&error), "a volume stays mounted");
        }
    }

    /// Whether options say what to mount, or may have said so: of one that was removed with force nobody knows.
    pub(crate) fn has_mount(&self, name: &str) -> bool {
        self.get(name).map_or(true, |volume| !volume.options.is_empty())
    }

    /// A container that an earlier daemon has started uses it.
    pub(super) fn adopt_use(&self, name: &str) {
        if let Ok(turn) = self.turn(name) {
            lock(&turn).runs += 1;
        }
    }

    pub(super) fn unmount_if_mounted(&self, name: &str) -> Result<(), EngineError> {
        self.unmount_place(&self.place(name))
    }

    pub(super) fn unmount_place(&self, path: &Path) -> Result<(), EngineError> {
        while is_mounted(path)? {
            unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
                .map_err(|errno| EngineError::io("unmount", path)(errno.into()))?;
        }
        Ok(())
    }

    /// What of a volume is mounted, found by descriptor: no link in the volume leads out of it.
    pub(crate) fn open_source(&self, volume: &VolumeMount) -> Result<OwnedFd, EngineError> {
        let place = self.place(&volume.name);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let data = open(&place, flags, Mode::empty()).map_err(|errno| EngineError::io("open", &place)(errno.into()))?;
        let Some(subpath) = &volume.subpath else { return Ok(data) };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        match openat2(&data, subpath, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Ok(found) => Ok(found),
            Err(errno) => {
                let reason = format!("cannot access the path {subpath:?} of the volume {}: {errno}", volume.name);
                Err(EngineError::invalid("volume-subpath", reason))
            }
        }
    }

    /// What each takes on disk. `users` says how many containers have one.
    pub(crate) fn usage(&self, users: &dyn Fn(&str) -> usize) -> Vec<VolumeUsage> {
        let measure = |volume: Volume| {
            let bytes = match volume.options.is_empty() {
                // Removed meanwhile, or unreadable: then nothing is known of it.
                true => bytes_of(&self.place(&volume.name)).ok(),
                false => None,
            };
            let place = self.place(&volume.name).display().to_string();
            VolumeUsage { containers: users(&volume.name), volume, place, bytes }
        };
        self.list().into_iter().map(measure).collect()
    }
}

impl Engine {
    /// Mounts the volumes of a container that is about to start. All of them, or none.
    pub(crate) fn mount_volumes(&self, container: &Container, record: &Record) -> Result<(), EngineError> {
        let mut mounted: Vec<&VolumeMount> = Vec::new();
        for volume in record.volumes() {
            if let Err(error) = self.volumes.acquire(&volume.name) {
                mounted.iter().for_each(|volume| self.volumes.release(&volume.name));
                return Err(error);
            }
            mounted.push(volume);
        }
        mounted.into_iter().for_each(|volume| self.tell_volume_mounted(container, volume));
        Ok(())
    }

    /// Uses the volumes of a container for a while, and tells of it, as Docker does where files are copied.
    pub(crate) fn use_volumes(&self, container: &Container, record: &Record) -> Result<InUse, EngineError> {
        let mut used = self.volumes.take_into_use(record.volumes().map(|volume| volume.name.clone()))?;
        record.volumes().for_each(|volume| self.tell_volume_mounted(container, volume));
        used.told = Some(container.id.clone());
        Ok(used)
    }

    pub(crate) fn tell_volume_mounted(&self, container: &Container, volume: &VolumeMount) {
        let own = [
            ("container", container.id.to_string()),
            ("destination", volume.target.clone()),
            ("propagation", volume.propagation.clone().unwrap_or_default()),
            ("read/write", (!volume.read_only).to_string()),
        ];
        self.volumes.tell("mount", &volume.name, own);
    }

    /// The parts of volumes that a container mounts.
    pub(crate) fn volume_parts(&self, record: &Record) -> Result<Vec<Subpath>, EngineError> {
        let part = |volume: &VolumeMount| {
            let held = self.volumes.open_source(volume)?;
            let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), held.as_raw_fd()));
            Ok(Subpath { target: volume.target.clone(), path, _held: held })
        };
        record.volumes().filter(|volume| volume.subpath.is_some()).map(part).collect()
    }

    /// Takes that back when the run has ended, or none came of it.
    pub(crate) fn unmount_volumes(&self, container: &Container) {
        let names: Vec<String> =
            container.with_record(|record| record.volumes().map(|volume| volume.name.clone()).collect());
        names.iter().for_each(|name| self.leave_volume(container, name));
    }

    /// A container uses a volume no longer.
    pub(crate) fn leave_volume(&self, container: &Container, name: &str) {
        self.volumes.release(name);
        self.volumes.tell_unmounted(name, &container.id);
    }

    /// Removes those volumes of a container that is gone which nobody has named, and no other container has.
    pub(crate) fn remove_anonymous_volumes(&self, container: &Container) {
        let names: Vec<String> = container.with_record(|record| {
            record.volumes().filter(|volume| volume.anonymous).map(|volume| volume.name.clone()).collect()
        });
        for name in names {
            match self.volumes.remove(&name, &|name| self.volume_users(name)) {
                Ok(()) | Err(EngineError::NoSuchVolume(_) | EngineError::VolumeInUse { .. }) => {}
                Err(error) => {
                    tracing::error!(volume = name, error = errors::chain(&error), "cannot remove a container's volume");
                }
            }
        }
    }

    /// Volumes of containers that are not there, and volumes without their files.
    pub(crate) fn volume_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for volume in self.volumes.list() {
            let place = self.volumes.place(&volume.name);
            if !place.is_dir() && self.volumes.get(&volume.name).is_ok() {
                problems.push(Problem {
                    subject: format!("volume {}", volume.name),
                    problem: format!("its directory {} is missing", place.display()),
                    remedy: "put it back from a backup; an empty one is made at the daemon's next start".to_owned(),
                });
            }
        }
        for record in self.list(true) {
            for volume in record.volumes().filter(|volume| self.volumes.get(&volume.name).is_err()) {
                problems.push(Problem {
                    subject: format!("container {}", record.name),
                    problem: format!("its volume {} is missing: it cannot be started", volume.name),
                    remedy: format!("corten volume create {}, or corten rm {}", volume.name, record.name),
                });
            }
        }
        problems
    }

    /// The ids of containers that have a volume, running or not.
    pub(crate) fn volume_users(&self, name: &str) -> Vec<String> {
        let registry = self.registry();
        let users = registry
            .by_id
            .values()
            .filter(|container| container.with_record(|record| record.volumes().any(|volume| volume.name == name)));
        users.map(|container| container.id.to_string()).collect()
    }
}
