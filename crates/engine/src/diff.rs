// SPDX-License-Identifier: Apache-2.0
//! `diff`: which files a container has added, changed and deleted.
//!
//! What overlayfs keeps of changes is compared with the image's layers, which are mounted for the occasion, alone and read
//! only. A file that was copied up and is what it was has not changed; a directory has when something in it has.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fgetxattr, lgetxattr, openat, statat};
use rustix::io::Errno;
use snapshot::{MOUNT_POINTS, MountOptions};

use crate::Engine;
use crate::container::Container;
use crate::error::EngineError;

/// Directories in which something is mounted, in an image without them: no news unless they have something in them.
const MADE_FOR_MOUNTS: [&[u8]; 4] = [b"/dev", b"/etc", b"/proc", b"/sys"];
/// The longest path, as the kernel has it.
const MAX_PATH: usize = 4095;

/// What has happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is another than the image's.
    Modified,
    /// The image has none of this name.
    Added,
    /// The container has none any more.
    Deleted,
}

/// A file that is not as the image has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its path, from `/`; what is no UTF-8 is replaced.
    pub path: String,
    /// What has happened to it.
    pub kind: ChangeKind,
}

impl Engine {
    /// What a container has changed, as it is now: by names, a directory before what is in it.
    ///
    /// # Errors
    /// No such container; its image's layers cannot be mounted; a directory cannot be read.
    pub async fn changes(self: &Arc<Self>, name: &str) -> Result<Vec<Change>, EngineError> {
        let container = self.container(name)?;
        // No removal in between, and no other comparison.
        let turn = Arc::clone(&container.lifecycle).lock_owned().await;
        let engine = Arc::clone(self);
        self.blocking("compare", move || {
            let _turn = turn;
            engine.changes_blocking(&container)
        })
        .await
    }

    fn changes_blocking(&self, container: &Container) -> Result<Vec<Change>, EngineError> {
        let Some(upper) = self.layers.changes(&container.dir)? else { return Ok(Vec::new()) };
        // Not the container's own directory: its layers stay in use when these are let go.
        let user = container.dir.join("diff");
        let options = MountOptions { read_only: true, ..MountOptions::default() };
        let lower = container.with_record(|record| self.layers.mount(&user, &record.layers, options))?;
        // The overlay holds what it lies on.
        self.layers.unmounted(&user);
        compare(upper.as_fd(), lower.as_fd())
    }
}

/// A directory that is being compared.
struct Level {
    upper: OwnedFd,
    /// The image's directory, if it has one here.
    lower: Option<OwnedFd>,
    /// Whether nothing of the image's directory shows through.
    opaque: bool,
    /// What is left to be compared, the next one last.
    names: Vec<CString>,
    /// How long the path of the directory above is.
    parent: usize,
    /// How long its own is.
    length: usize,
    /// What is said of it once something in it has changed; nothing when it was said.
    untold: Option<ChangeKind>,
}

/// Compares what overlayfs keeps of changes with what lies below.
fn compare(upper: BorrowedFd<'_>, lower: BorrowedFd<'_>) -> Result<Vec<Change>, EngineError> {
    let open = |directory| open_directory(directory, c".");
    let failed = |errno: Errno| failure("open", b"/", errno);
    let (upper, lower) = (open(upper).map_err(failed)?, open(lower).map_err(failed)?);
    let mut changes = Vec::new();
    let mut path = Vec::new();
    let root =
        Level { upper, lower: Some(lower), opaque: false, names: Vec::new(), parent: 0, length: 0, untold: None };
    let mut levels = vec![root.listed(&path)?];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.pop() else {
            path.truncate(level.parent);
            levels.pop();
            continue;
        };
        path.truncate(level.length);
        path.push(b'/');
        path.extend_from_slice(name.to_bytes());
        if path.len() > MAX_PATH {
            return Err(failure("compare", &path, Errno::NAMETOOLONG));
        }
        let found = level.look(&name, &path)?;
        if let Some(kind) = found.kind {
            tell(&mut levels, &path, kind, &mut changes);
        }
        if let Some(below) = found.below {
            levels.push(below);
        }
    }
    Ok(changes)
}

/// Says what has happened to the file at `path`, and before it what is still untold of the directories above.
fn tell(levels: &mut [Level], path: &[u8], kind: ChangeKind, changes: &mut Vec<Change>) {
    let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    for level in levels {
        if let Some(kind) = level.untold.take() {
            changes.push(Change { path: text(&path[..level.length]), kind });
        }
    }
    changes.push(Change { path: text(path), kind });
}

/// What has happened to a file, and the directory to go on with, if it is one.
#[derive(Default)]
struct Found {
    kind: Option<ChangeKind>,
    below: Option<Level>,
}

impl Level {
    /// The same with the names that it has, and that the image's has when those do not show any more.
    fn listed(mut self, path: &[u8]) -> Result<Level, EngineError> {
        let failed = |errno: Errno| failure("list", path, errno);
        self.names = names(self.upper.as_fd()).map_err(failed)?;
        if let (true, Some(lower)) = (self.opaque, &self.lower) {
            self.names.extend(names(lower.as_fd()).map_err(failed)?);
        }
        self.names.sort_unstable_by(|a, b| b.cmp(a));
        self.names.dedup();
        Ok(self)
    }

    fn look(&self, name: &CStr, path: &[u8]) -> Result<Found, EngineError> {
        let failed = |errno: Errno| failure("examine", path, errno);
        let before = match &self.lower {
            Some(lower) => stat(lower.as_fd(), name).map_err(failed)?,
            None => None,
        };
        let is_whiteout = |stat: &Stat| kind_of(stat) == FileType::CharacterDevice && stat.st_rdev == 0;
        let after = stat(self.upper.as_fd(), name).map_err(failed)?.filter(|stat| !is_whiteout(stat));
        let Some(after) = after else {
            return Ok(Found { kind: before.map(|_| ChangeKind::Deleted), below: None });
        };
        let kind = match &before {
            None if is_mount_point(&after, path) => return Ok(Found::default()),
            None => Some(ChangeKind::Added),
            Some(before) if differ(before, &after) || self.capabilities_differ(name) => Some(ChangeKind::Modified),
            Some(_) => None,
        };
        let is_directory = |stat: &Stat| kind_of(stat) == FileType::Directory;
        // One that has become something else has lost what was in it.
        if !is_directory(&after) {
            return Ok(Found { kind, below: None });
        }
        let upper = match open_directory(self.upper.as_fd(), name) {
            // Removed or replaced since it was looked at.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Found::default()),
            other => other.map_err(failed)?,
        };
        let lower = match (&self.lower, before.filter(is_directory)) {
            (Some(lower), Some(_)) => Some(open_directory(lower.as_fd(), name).map_err(failed)?),
            _ => None,
        };
        let opaque = self.opaque || is_opaque(&upper);
        let later = kind == Some(ChangeKind::Added) && MADE_FOR_MOUNTS.contains(&path);
        let (kind, untold) = match kind {
            Some(kind) if later => (None, Some(kind)),
            None => (None, Some(ChangeKind::Modified)),
            told => (told, None),
        };
        let (parent, length) = (self.length, path.len());
        let below = Level { upper, lower, opaque, names: Vec::new(), parent, length, untold };
        Ok(Found { kind, below: Some(below.listed(path)?) })
    }

    /// Whether a file has other capabilities than the image's; the times of files say nothing of those.
    fn capabilities_differ(&self, name: &CStr) -> bool {
        let Some(lower) = &self.lower else { return false };
        let of = |directory: &OwnedFd| {
            // By this name of the directory the call that takes no descriptor reaches the file, and follows nothing.
            let path = [format!("/proc/self/fd/{}/", directory.as_raw_fd()).as_bytes(), name.to_bytes()].concat();
            let mut value = [0; 64];
            lgetxattr(path.as_slice(), c"security.capability", &mut value).ok().map(|length| value[..length].to_vec())
        };
        of(lower) != of(&self.upper)
    }
}

/// Whether a file is not what it was. Of directories the size and the time say only that something in it has changed.
fn differ(before: &Stat, after: &Stat) -> bool {
    let identity = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_rdev);
    let content = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    identity(before) != identity(after) || kind_of(after) != FileType::Directory && content(before) != content(after)
}

/// Whether it is an empty file that something is mounted on.
fn is_mount_point(stat: &Stat, path: &[u8]) -> bool {
    let named = || MOUNT_POINTS.iter().any(|point| path.strip_prefix(b"/") == Some(point.as_bytes()));
    kind_of(stat) == FileType::RegularFile && stat.st_size == 0 && named()
}

fn kind_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Nothing when there is no such file, or no longer.
fn stat(directory: BorrowedFd<'_>, name: &CStr) -> Result<Option<Stat>, Errno> {
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

fn open_directory(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// overlayfs's mark on a directory that hides the layers below.
fn is_opaque(directory: &OwnedFd) -> bool {
    let mut value = [0; 1];
    fgetxattr(directory, c"trusted.overlay.opaque", &mut value).is_ok_and(|length| value[..length] == *b"y")
}

fn names(directory: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}

fn failure(action: &'static str, path: &[u8], errno: Errno) -> EngineError {
    let path = if path.is_empty() { "/".to_owned() } else { String::from_utf8_lossy(path).into_owned() };
    EngineError::io(action, path)(errno.into())
}

#[cfg(test)]
mod tests;
