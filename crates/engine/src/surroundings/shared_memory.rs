// SPDX-License-Identifier: Apache-2.0
//! `/dev/shm` of a container that lets others join its IPC namespace: a file system that is mounted on the host, in the
//! directory of the container's shim, because only what is mounted there can be bound into another container.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::error::EngineError;
use crate::userns::IdRange;

/// Where it is in the shim's directory.
pub(super) fn path(shim_dir: &Path) -> PathBuf {
    shim_dir.join("shm")
}

/// Makes it. The shim's directory is root's alone, so nobody else of the host gets at it.
pub(super) fn mount(shim_dir: &Path, size: i64, ids: Option<IdRange>) -> Result<(), EngineError> {
    let path = path(shim_dir);
    fs::DirBuilder::new().mode(0o700).create(&path).map_err(EngineError::io("create", &path))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let (uid, gid) = ids.map_or((0, 0), |ids| (ids.uid, ids.gid));
    let options = CString::new(format!("mode=1777,size={size},uid={uid},gid={gid}")).unwrap_or_default();
    rustix::mount::mount("shm", &path, "tmpfs", flags, Some(options.as_c_str()))
        .map_err(|errno| EngineError::io("mount shared memory at", &path)(errno.into()))
}

/// Takes it from the host, if it is there. Containers that have it keep it.
pub(crate) fn unmount(shim_dir: &Path) {
    let path = path(shim_dir);
    match rustix::mount::unmount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        // There is no such directory, or nothing is mounted on it.
        Ok(()) | Err(Errno::NOENT | Errno::INVAL | Errno::NOTDIR) => {}
        Err(errno) => tracing::error!(path = %path.display(), %errno, "cannot unmount shared memory"),
    }
}
