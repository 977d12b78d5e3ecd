// SPDX-License-Identifier: Apache-2.0
//! Making a detached overlay mount (kernel documentation, `filesystems/overlayfs.rst`), on every kernel since 5.15.
//!
//! Directories are given to the kernel as descriptors. Where it wants a text, it gets `/proc/self/fd/N`: short, so that
//! many layers fit, and free of the characters that overlayfs would ask to be escaped.

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

use crate::SnapshotError;

/// `OVL_MAX_STACK` of the kernel.
pub(crate) const MAX_LAYERS: usize = 500;
/// What fsconfig(2) takes as the text of one option, with its zero byte.
const MAX_VALUE: usize = 256;
/// What mount(2) takes as all options, with its zero byte.
const MAX_DATA: usize = 4096;

/// How this kernel is told which directories to stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// Descriptors, one by one. Linux 6.13.
    Descriptors,
    /// Names, one by one. Linux 6.5.
    Append,
    /// All names in one option. fsconfig(2) takes a dozen of them; with more layers mount(2) is called, in a mount
    /// namespace of its own, from which the mount is then cloned.
    Joined,
    /// By mount(2) however few layers there are.
    #[cfg(test)]
    Classic,
}

/// An overlay to be mounted.
pub(crate) struct Overlay<'o> {
    /// The read-only directories, top first.
    pub(crate) lower: &'o [OwnedFd],
    /// The writable directory and its work directory, on one file system.
    pub(crate) writable: Option<(BorrowedFd<'o>, BorrowedFd<'o>)>,
    pub(crate) volatile: bool,
    /// An empty directory to mount on for a moment, seen by nobody.
    pub(crate) scratch: &'o Path,
}

/// Which method the kernel knows: asked of a context that is thrown away, with any directory.
pub(crate) fn probe(directory: BorrowedFd<'_>) -> Result<Method, SnapshotError> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|e| failed("fsopen(\"overlay\")", e))?;
    if fsconfig_set_fd(&context, "lowerdir+", directory).is_ok() {
        return Ok(Method::Descriptors);
    }
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|e| failed("fsopen(\"overlay\")", e))?;
    // Before 6.5 the options were only collected: what is unknown was noticed when the mount was made. The name of
    // something that is no directory tells a kernel that looks at once.
    let unknown = fsconfig_set_string(&context, "lowerdir+", "/proc/self/no such directory") == Err(Errno::NOENT);
    let known = fsconfig_set_string(&context, "lowerdir+", name(directory)).is_ok();
    Ok(if unknown && known { Method::Append } else { Method::Joined })
}

/// Makes the mount. `Joined` turns to `Classic` when the names do not fit.
pub(crate) fn mount(overlay: &Overlay<'_>, method: Method) -> Result<OwnedFd, SnapshotError> {
    if overlay.lower.len() > MAX_LAYERS {
        return Err(SnapshotError::TooManyLayers { count: overlay.lower.len(), max: MAX_LAYERS });
    }
    match method {
        #[cfg(test)]
        Method::Classic => classic(overlay),
        Method::Joined if joined(overlay.lower).len() >= MAX_VALUE => classic(overlay),
        method => detached(overlay, method),
    }
}

/// Options that hold for every mount. The kernel's defaults can be changed by module parameters and build options; what
/// a container sees must not depend on them. Redirects are not followed, because an image's archive could have made
/// them, and not written, because a layer made from the writable directory could not hold them. Without the index a
/// writable directory survives being copied to another disk.
const OPTIONS: [(&str, &str); 3] = [("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off")];

fn detached(overlay: &Overlay<'_>, method: Method) -> Result<OwnedFd, SnapshotError> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|e| failed("fsopen(\"overlay\")", e))?;
    let step = |step: &'static str| {
        let context = &context;
        move |error: Errno| SnapshotError::Mount { step, log: log(context), source: error.into() }
    };
    fsconfig_set_string(&context, "source", "overlay").map_err(step("source"))?;
    match method {
        Method::Descriptors => {
            for lower in overlay.lower {
                fsconfig_set_fd(&context, "lowerdir+", lower).map_err(step("lowerdir+"))?;
            }
        }
        Method::Append => {
            for lower in overlay.lower {
                fsconfig_set_string(&context, "lowerdir+", name(lower)).map_err(step("lowerdir+"))?;
            }
        }
        _ => {
            fsconfig_set_string(&context, "lowerdir", joined(overlay.lower)).map_err(step("lowerdir"))?;
        }
    }
    if let Some((upper, work)) = overlay.writable {
        if method == Method::Descriptors {
            fsconfig_set_fd(&context, "upperdir", upper).map_err(step("upperdir"))?;
            fsconfig_set_fd(&context, "workdir", work).map_err(step("workdir"))?;
        } else {
            fsconfig_set_string(&context, "upperdir", name(upper)).map_err(step("upperdir"))?;
            fsconfig_set_string(&context, "workdir", name(work)).map_err(step("workdir"))?;
        }
    }
    for (key, value) in OPTIONS {
        fsconfig_set_string(&context, key, value).map_err(step(key))?;
    }
    if overlay.volatile && overlay.writable.is_some() {
        fsconfig_set_flag(&context, "volatile").map_err(step("volatile"))?;
    }
    fsconfig_create(&context).map_err(step("fsconfig(FSCONFIG_CMD_CREATE)"))?;
    let attributes = match overlay.writable {
        Some(_) => MountAttrFlags::empty(),
        None => MountAttrFlags::MOUNT_ATTR_RDONLY,
    };
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(step("fsmount"))
}

/// Makes the mount in the mount namespace that the calling thread is in, as the layers are; where mount(2) must do it, on
/// the directory `place`, from which the mount is then cloned. The thread's namespace ends with it.
pub(crate) fn mount_here(overlay: &Overlay<'_>, method: Method, place: &Path) -> Result<OwnedFd, SnapshotError> {
    match method {
        #[cfg(test)]
        Method::Classic => by_mount(overlay.lower, overlay.writable, overlay.volatile, place),
        Method::Joined if joined(overlay.lower).len() >= MAX_VALUE => {
            by_mount(overlay.lower, overlay.writable, overlay.volatile, place)
        }
        method => detached(overlay, method),
    }
}

/// mount(2) cannot make a detached mount. A thread in a mount namespace that ends with it can, and take a clone along.
fn classic(overlay: &Overlay<'_>) -> Result<OwnedFd, SnapshotError> {
    let attached = Attached {
        lower: overlay.lower.iter().map(location).collect::<Result<_, _>>()?,
        writable: match overlay.writable {
            Some((upper, work)) => Some((location(upper)?, location(work)?)),
            None => None,
        },
        volatile: overlay.volatile,
        scratch: overlay.scratch.to_owned(),
    };
    let thread = std::thread::Builder::new().name("overlay".to_owned()).spawn(move || attached.mount());
    let thread = thread.map_err(|source| SnapshotError::Mount { step: "thread", log: String::new(), source })?;
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Where a directory is, and which one it is: a descriptor of one mount namespace's mount is no good in another.
struct Location {
    path: PathBuf,
    identity: (u64, u64),
}

fn identity(directory: impl AsFd) -> Result<(u64, u64), SnapshotError> {
    let stat = rustix::fs::fstat(directory).map_err(|e| failed("fstat", e))?;
    Ok((stat.st_dev, stat.st_ino))
}

fn location(directory: impl AsFd) -> Result<Location, SnapshotError> {
    let path = rustix::fs::readlink(name(&directory), Vec::new()).map_err(|e| failed("readlink", e))?;
    Ok(Location { path: PathBuf::from(OsString::from_vec(path.into_bytes())), identity: identity(directory)? })
}

impl Location {
    /// The same directory, in the thread's own mount namespace.
    fn open(&self) -> Result<OwnedFd, SnapshotError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&self.path, flags, Mode::empty()).map_err(|e| failed("open", e))?;
        if identity(&directory)? != self.identity {
            return Err(failed("open again", Errno::STALE));
        }
        Ok(directory)
    }
}

/// An [`Overlay`] that can be taken to another mount namespace.
struct Attached {
    lower: Vec<Location>,
    writable: Option<(Location, Location)>,
    volatile: bool,
    scratch: PathBuf,
}

impl Attached {
    /// Must run in a thread that ends with it: the thread, and no other, is moved to a new mount namespace.
    fn mount(self) -> Result<OwnedFd, SnapshotError> {
        sys::namespace::unshare(sys::process::CloneFlags::NEWNS).map_err(|error| SnapshotError::Mount {
            step: "unshare",
            log: String::new(),
            source: error.to_io(),
        })?;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).map_err(|e| failed("mount(\"/\", MS_PRIVATE)", e))?;
        let lower = self.lower.iter().map(Location::open).collect::<Result<Vec<_>, _>>()?;
        // Open until the kernel has looked at the names.
        let opened = match &self.writable {
            Some((upper, work)) => Some((upper.open()?, work.open()?)),
            None => None,
        };
        let writable = opened.as_ref().map(|(upper, work)| (upper.as_fd(), work.as_fd()));
        by_mount(&lower, writable, self.volatile, &self.scratch)
    }
}

/// Mounts on the directory `place` by mount(2), and takes a clone of that.
fn by_mount(
    lower: &[OwnedFd],
    writable: Option<(BorrowedFd<'_>, BorrowedFd<'_>)>,
    volatile: bool,
    place: &Path,
) -> Result<OwnedFd, SnapshotError> {
    let mut data = format!("lowerdir={}", joined(lower));
    for (key, value) in OPTIONS {
        data.push_str(&format!(",{key}={value}"));
    }
    let mut flags = MountFlags::RDONLY;
    if let Some((upper, work)) = writable {
        data.push_str(&format!(",upperdir={},workdir={}", name(upper), name(work)));
        data.push_str(if volatile { ",volatile" } else { "" });
        flags = MountFlags::empty();
    }
    if data.len() >= MAX_DATA {
        let max = lower.len() * MAX_DATA / data.len();
        return Err(SnapshotError::TooManyLayers { count: lower.len(), max });
    }
    let data = CString::new(data).map_err(|_| failed("mount", Errno::INVAL))?;
    rustix::mount::mount("overlay", place, "overlay", flags, &*data).map_err(|e| failed("mount", e))?;
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    rustix::mount::open_tree(CWD, place, clone).map_err(|e| failed("open_tree(OPEN_TREE_CLONE)", e))
}

fn joined(lower: &[OwnedFd]) -> String {
    lower.iter().map(name).collect::<Vec<_>>().join(":")
}

/// A name of an open file or directory, for as long as it is open.
pub(crate) fn name(directory: impl AsFd) -> String {
    format!("/proc/self/fd/{}", directory.as_fd().as_raw_fd())
}

fn failed(step: &'static str, error: Errno) -> SnapshotError {
    SnapshotError::Mount { step, log: String::new(), source: error.into() }
}

/// The last thing the kernel wrote about the context. Each read gives one message; none is left in the end.
pub(crate) fn log(context: &OwnedFd) -> String {
    let mut last = String::new();
    let mut buffer = [0; 512];
    while let Ok(length) = rustix::io::read(context, &mut buffer) {
        let message = String::from_utf8_lossy(&buffer[..length]);
        // `e `, `w ` or `i ` in front says how bad it is.
        last = message.trim_end().get(2..).unwrap_or_default().to_owned();
        if length == 0 {
            break;
        }
    }
    last
}
