// SPDX-License-Identifier: Apache-2.0
//! A user namespace that is there before its container: so that a root file system can be mounted with its ids, and a
//! network namespace belongs to it.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use errors::{Kind, Report};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use sys::mount::{ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID};
use sys::process::{CloneArgs, CloneFlags};

use crate::apply::StepError;
use crate::apply::mounts::new_mount;
use crate::error::LaunchError;
use crate::id_map::namespaces;
use crate::namespaces::clone_in;
use crate::plan::IdMaps;
use crate::prepare::open_namespace;

/// Makes a user namespace with these ids. The caller must have one thread and the rights over the ids.
///
/// # Errors
/// [`LaunchError`]; nothing is left then.
pub fn make(ids: &IdMaps) -> Result<OwnedFd, LaunchError> {
    let [user] = namespaces(ids, CloneFlags::empty(), ["ns/user"])?;
    Ok(user)
}

/// The same, and a network namespace that belongs to it.
///
/// # Errors
/// As those of [`make`].
pub fn make_with_network(ids: &IdMaps) -> Result<[OwnedFd; 2], LaunchError> {
    namespaces(ids, CloneFlags::NEWNET, ["ns/user", "ns/net"])
}

/// Opens the user namespace whose file is at `path`.
///
/// # Errors
/// As those of [`make`].
pub fn open(path: &Path) -> Result<OwnedFd, LaunchError> {
    open_namespace(path)
}

/// The same, and a network namespace that belongs to it.
///
/// # Errors
/// As those of [`make`].
pub fn network_of(path: &Path) -> Result<[OwnedFd; 2], LaunchError> {
    let user = open_namespace(path)?;
    let network = from_child(None, "make a network namespace in another user namespace", || {
        sys::namespace::setns(user.as_fd(), CloneFlags::NEWUSER)?;
        sys::namespace::unshare(CloneFlags::NEWNET)?;
        open_namespace(Path::new("/proc/self/ns/net"))
    })?;
    Ok([user, network])
}

/// A detached mount of the procfs of a pid namespace, whose file is at `path`: who is root of another user namespace than
/// that one's may not make one. The caller must have one thread.
///
/// # Errors
/// As those of [`make`].
pub fn procfs_of(path: &Path) -> Result<OwnedFd, LaunchError> {
    let namespace = open_namespace(path)?;
    from_child(Some(namespace.as_fd()), "mount the procfs of another pid namespace", || interface("proc"))
}

/// A detached mount of the sysfs that shows a network namespace, whose file is at `path`. The caller must have one thread.
///
/// # Errors
/// As those of [`make`].
pub fn sysfs_of(path: &Path) -> Result<OwnedFd, LaunchError> {
    let namespace = open_namespace(path)?;
    from_child(None, "mount the sysfs of another network namespace", || {
        sys::namespace::setns(namespace.as_fd(), CloneFlags::NEWNET)?;
        interface("sysfs")
    })
}

/// A mount of one of the kernel's own interfaces.
fn interface(kind: &str) -> Result<OwnedFd, LaunchError> {
    new_mount(kind, Some(kind), &[], ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC).map_err(|error| match error {
        StepError::Call(error) => error.into(),
        // Nothing but system calls is needed.
        _ => sys::Error::new(format!("mount {kind}"), Errno::INVAL).into(),
    })
}

/// A file that a child opens, which is somewhere else by then; in the pid namespace `of` if one is given.
fn from_child(
    of: Option<BorrowedFd<'_>>,
    what: &'static str,
    open: impl FnOnce() -> Result<OwnedFd, LaunchError>,
) -> Result<OwnedFd, LaunchError> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|errno| sys::Error::new("socketpair(AF_UNIX, SOCK_SEQPACKET)", errno))?;
    let child = clone_in(of, CloneArgs::default(), || match open() {
        Ok(file) => i32::from(sys::fds::send_with(&theirs, b"+", &[file.as_fd()]).is_err()),
        Err(error) => {
            // What cannot be said is missed by who listens.
            let _ = sys::fds::send_with(&theirs, errors::chain(&error).as_bytes(), &[]);
            1
        }
    })?;
    drop(theirs);
    let mut answer = [0; 1024];
    let received = sys::fds::recv_with(&ours, &mut answer);
    // It has said all that it has to say.
    rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED))
        .map_err(|errno| sys::Error::new("waitid(P_PIDFD, WEXITED)", errno))?;
    let (length, files) = received?;
    files.into_iter().next().ok_or_else(|| {
        let said = String::from_utf8_lossy(&answer[..length]).into_owned();
        Report::new(Kind::Unsupported, format!("{what}: {said}")).into()
    })
}
