// SPDX-License-Identifier: Apache-2.0
//! Id-mapped mounts: the kernel takes the ids from a user namespace, so one is made for as long as it takes. A process
//! that does nothing is made in it, mapped, and ended; the mount keeps the namespace.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use sys::process::{CloneArgs, CloneFlags};

use crate::error::LaunchError;
use crate::launch::end;
use crate::outside;
use crate::plan::{IdMaps, MapMethod, MountIdSource, MountIds, Operation};
use crate::prepare::open_namespace;

/// Gives the detached mount `tree`, which `operation` will attach, these ids.
pub(crate) fn apply(tree: &OwnedFd, ids: &MountIds, operation: &Operation) -> Result<(), LaunchError> {
    let namespace = namespace_of(ids)?;
    sys::mount::map_ids(tree.as_fd(), ids.recursive, namespace.as_fd()).map_err(|source| {
        let operation = operation.to_string();
        match source.errno() {
            Errno::INVAL | Errno::OPNOTSUPP => LaunchError::NoIdMap { operation, file_system: kind(tree), source },
            _ => LaunchError::Outside { operation, source },
        }
    })
}

/// The user namespace from which the kernel takes these ids.
pub(crate) fn namespace_of(ids: &MountIds) -> Result<OwnedFd, LaunchError> {
    match &ids.source {
        MountIdSource::Namespace(path) => open_namespace(path),
        MountIdSource::Maps(maps) => namespace(maps),
    }
}

/// A user namespace with these ids.
fn namespace(maps: &IdMaps) -> Result<OwnedFd, LaunchError> {
    let [user] = namespaces(maps, CloneFlags::empty(), ["ns/user"])?;
    Ok(user)
}

/// A user namespace with these ids, and others that belong to it: their files, as the process's directory in `/proc` has
/// them.
pub(crate) fn namespaces<const N: usize>(
    maps: &IdMaps,
    others: CloneFlags,
    files: [&'static str; N],
) -> Result<[OwnedFd; N], LaunchError> {
    let (held, hold) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|errno| sys::Error::new("pipe2(O_CLOEXEC)", errno))?;
    let args = CloneArgs { flags: CloneFlags::NEWUSER | others, cgroup: None };
    let child = sys::process::clone3(args, || {
        // Until it is killed, or its maker is gone.
        sys::fds::close(hold.as_fd()).map_or(1, |()| i32::from(rustix::io::read(&held, &mut [0]).is_err()))
    })?;
    let made = outside::map_ids(maps, MapMethod::Written, MapMethod::Written, &child).and_then(|()| {
        let directory = outside::directory(&child)?;
        let mut opened = Vec::with_capacity(N);
        for name in files {
            let file = openat(&directory, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            let call = || format!("openat(/proc/PID, {name:?}, O_RDONLY)");
            opened.push(file.map_err(|errno| sys::Error::new(call(), errno))?);
        }
        // As many were opened as there are names.
        opened.try_into().map_err(|_| sys::Error::new("open namespaces", Errno::BADF).into())
    });
    let ended = end(&child);
    match made {
        Ok(files) => ended.map(|_| files),
        Err(error) => Err(error.undone(ended)),
    }
}

/// The type of the file system, for a reader; its number where this does not know the name.
fn kind(tree: &OwnedFd) -> String {
    let Ok(found) = rustix::fs::fstatfs(tree) else { return "unknown".into() };
    let known = [
        (0xEF53, "ext4"),
        (0x5846_5342, "xfs"),
        (0x9123_683E, "btrfs"),
        (0x0102_1994, "tmpfs"),
        (0x794C_7630, "overlay"),
        (0x8584_58F6, "ramfs"),
        (0x6969, "nfs"),
        (0x9FA0, "proc"),
        (0x6265_6572, "sysfs"),
        (0x6573_5546, "fuse"),
        (0x4d44, "vfat"),
    ];
    let number = u64::try_from(found.f_type).unwrap_or(0);
    known.iter().find(|(magic, _)| *magic == number).map_or_else(|| format!("{number:#x}"), |(_, name)| (*name).into())
}
