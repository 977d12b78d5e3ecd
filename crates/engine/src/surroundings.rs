// SPDX-License-Identifier: Apache-2.0
//! What a start looks up on the host before a container's specification is made: device files and their numbers, the
//! namespaces of other containers, shared memory. The specification itself is made without looking anything up.

mod cdi;
mod devices;
pub(crate) mod images;
mod namespaces;
mod shared_memory;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci::runtime_spec::LinuxNamespaceType;

use cgroup::CgroupPath;
use oci::ContainerId;

use crate::Engine;
use crate::container::{Container, Record};
use crate::error::EngineError;
use crate::request::{ContainerSpec, IpcMode};
use crate::userns::UserNamespace;

pub(crate) use cdi::{Additions, write_bundle};
pub(crate) use namespaces::not_shareable;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    /// Device files beyond those that every container has.
    pub(crate) devices: Vec<HostDevice>,
    /// Block devices with limits of their own.
    pub(crate) block: BlockDevices,
    /// Namespaces of others.
    pub(crate) joined: Vec<Joined>,
    /// What the devices' vendors add.
    pub(crate) additions: Additions,
    /// What is bound at `/dev/shm`, where that is not a file system of the container's own.
    pub(crate) shared_memory: Option<PathBuf>,
    /// The container is to see the host's message queues, and the host shows them nowhere.
    pub(crate) no_queues: bool,
    /// Parts of volumes.
    pub(crate) subpaths: Vec<Subpath>,
    /// The user namespace, if it is not the host's.
    pub(crate) user_namespace: Option<UserNamespace>,
    /// Where images are mounted on the host for the container to bind them.
    pub(crate) images: PathBuf,
}

/// A part of a volume.
#[derive(Debug)]
pub(crate) struct Subpath {
    /// Where it goes in the container.
    pub(crate) target: String,
    /// A path that leads to it as long as the descriptor is open, whatever becomes of its name meanwhile.
    pub(crate) path: PathBuf,
    pub(crate) _held: OwnedFd,
}

/// A device file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostDevice {
    /// Where it is in the container.
    pub(crate) path: PathBuf,
    /// Where the host has it; `None` where somebody described it by its numbers.
    pub(crate) source: Option<PathBuf>,
    /// What it is.
    pub(crate) kind: DeviceType,
    pub(crate) major: i64,
    pub(crate) minor: i64,
    /// Permission bits.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// What may be done with it, some of `rwm`; empty where a rule for all devices says so.
    pub(crate) access: String,
}

/// Kinds of device files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceType {
    Block,
    Character,
    Fifo,
}

/// Limits by device number.
pub(crate) type NumberLimits = Vec<((i64, i64), u64)>;

/// Block devices with limits of their own, by number.
#[derive(Debug, Default)]
pub(crate) struct BlockDevices {
    pub(crate) weights: NumberLimits,
    pub(crate) read_bps: NumberLimits,
    pub(crate) write_bps: NumberLimits,
    pub(crate) read_iops: NumberLimits,
    pub(crate) write_iops: NumberLimits,
}

/// A namespace of another container's.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) kind: LinuxNamespaceType,
    /// A path that leads to it as long as the descriptor is open, whatever becomes of the other container meanwhile.
    pub(crate) path: PathBuf,
    file: OwnedFd,
}

impl Joined {
    /// Its file.
    pub(crate) fn into_file(self) -> OwnedFd {
        self.file
    }
}

/// Takes from the host what was mounted in a shim's directory for its container, which keeps it.
pub(crate) fn unmount(shim_dir: &Path) {
    shared_memory::unmount(shim_dir);
    images::unmount(shim_dir);
}

impl Engine {
    /// Looks up what the start of this container needs.
    pub(crate) fn look_around(&self, record: &Record) -> Result<Surroundings, EngineError> {
        let wish = &record.spec;
        let mut around = Surroundings {
            devices: devices::of(wish)?,
            block: devices::with_limits(&wish.resources)?,
            ..Surroundings::default()
        };
        self.add_described(&wish.devices.requests, &mut around)?;
        around.joined = self.namespaces_of_others(&wish.isolation)?;
        around.shared_memory = match &wish.isolation.ipc {
            IpcMode::Private | IpcMode::None => None,
            IpcMode::Host => Some(PathBuf::from("/dev/shm")),
            IpcMode::Shareable => Some(shared_memory::path(&self.shim_dir(&record.id))),
            IpcMode::Container(other) => Some(self.shared_memory_of(other)?),
        };
        let sees_hosts = record.ids.is_some() && wish.isolation.ipc == IpcMode::Host;
        around.no_queues = sees_hosts && !Path::new("/dev/mqueue").is_dir();
        around.subpaths = self.volume_parts(record)?;
        around.images = images::directory(&self.shim_dir(&record.id));
        Ok(around)
    }

    /// Makes the file system for the shared memory of a container that lets others join it, in its shim's directory.
    pub(crate) fn make_shared_memory(&self, record: &Record) -> Result<(), EngineError> {
        if record.spec.isolation.ipc != IpcMode::Shareable {
            return Ok(());
        }
        let size = record.spec.isolation.shm_size.unwrap_or(crate::spec::defaults::SHM_SIZE);
        shared_memory::mount(&self.shim_dir(&record.id), size, record.ids)
    }

    /// The control group of a container with this wish.
    pub(crate) fn cgroup_path(&self, id: &ContainerId, spec: &ContainerSpec) -> CgroupPath {
        // A parent that is no path was refused when the container was created.
        let own = spec.isolation.cgroup_parent.as_deref().and_then(|parent| parent.parse::<CgroupPath>().ok());
        own.as_ref().unwrap_or(&self.config.cgroup_parent).child(id)
    }

    /// The control group of a container.
    pub(crate) fn cgroup_of(&self, container: &Container) -> CgroupPath {
        container.with_record(|record| self.cgroup_path(&container.id, &record.spec))
    }
}
