// SPDX-License-Identifier: Apache-2.0
//! Paths of a container, resolved in its root: openat2(2) with `RESOLVE_IN_ROOT`, where links lead to what they would lead
//! to in the container, and never out of it.

use std::collections::VecDeque;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, StatxFlags, fstat, openat, openat2, readlinkat, statat, statx,
};
use rustix::io::Errno;

use crate::error::EngineError;
use crate::mount::clean;

/// So many links lead to a file at most, as in the kernel.
const MAX_LINKS: usize = 40;

/// A path as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// As it was written.
    pub(super) text: String,
    /// Absolute, and cleaned by its text.
    pub(super) path: String,
    /// What it is called in an archive: its last part, `.` for what ends with one, `/` for the root.
    pub(super) base: String,
    /// A link at its end is followed: a slash or a dot stands behind it.
    follow: bool,
}

impl Wanted {
    pub(super) fn new(text: &str) -> Result<Wanted, EngineError> {
        if text.is_empty() || text.contains('\0') {
            return Err(EngineError::invalid("path", "no path was given, or one with a zero byte"));
        }
        let path = clean(text);
        let ends_with_dot = text == "." || text.ends_with("/.");
        let base = match path.rsplit_once('/') {
            _ if ends_with_dot => ".",
            Some((_, "")) | None => "/",
            Some((_, base)) => base,
        };
        let base = base.to_owned();
        Ok(Wanted { text: text.to_owned(), base, follow: ends_with_dot || text.ends_with('/'), path })
    }
}

/// What is at a path.
pub(super) enum Found {
    /// A directory, open to be read.
    Directory(OwnedFd),
    /// Anything else, by its directory.
    Other {
        /// The directory.
        parent: OwnedFd,
        /// The name in it.
        name: CString,
        /// What it was when it was found.
        stat: Stat,
    },
}

fn in_root(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    loop {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        match openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // Something was renamed meanwhile, and the kernel could not be sure.
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
}

/// The directory at `path`.
pub(super) fn open_directory(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    in_root(root, path, OFlags::RDONLY | OFlags::DIRECTORY)
}

pub(super) fn open(root: BorrowedFd<'_>, wanted: &Wanted) -> Result<Found, Errno> {
    let no_follow = if wanted.follow { OFlags::DIRECTORY } else { OFlags::NOFOLLOW };
    let handle = in_root(root, &wanted.path, OFlags::PATH | no_follow)?;
    if FileType::from_raw_mode(fstat(&handle)?.st_mode) == FileType::Directory {
        // By its handle: it is this directory, whatever has its name by now.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        return Ok(Found::Directory(openat(&handle, ".", flags, Mode::empty())?));
    }
    // The root is a directory: what is not has a slash before its name.
    let (directory, name) = wanted.path.rsplit_once('/').ok_or(Errno::NOENT)?;
    let directory = if directory.is_empty() { "/" } else { directory };
    let parent = in_root(root, directory, OFlags::PATH | OFlags::DIRECTORY)?;
    let name = CString::new(name).map_err(|_| Errno::INVAL)?;
    let stat = statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(Found::Other { parent, name, stat })
}

/// `path` without links, as far as it is there; what is not is added as it is. It is for showing and for names: whoever
/// opens it resolves it in the root again.
pub(super) fn canonical(root: BorrowedFd<'_>, path: &str) -> Result<String, Errno> {
    let parts = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<String>>();
    let mut left: VecDeque<String> = parts(path).into();
    let mut done: Vec<String> = Vec::new();
    let mut links = 0;
    let mut is_there = true;
    while let Some(part) = left.pop_front() {
        match part.as_str() {
            "" | "." => continue,
            ".." => {
                done.pop();
                continue;
            }
            _ if !is_there => {
                done.push(part);
                continue;
            }
            _ => {}
        }
        let target = match in_root(root, &format!("/{}", done.join("/")), OFlags::PATH | OFlags::DIRECTORY) {
            Ok(parent) => match readlinkat(&parent, part.as_str(), Vec::new()) {
                Ok(target) => Some(target),
                Err(Errno::INVAL) => None,
                Err(Errno::NOENT) => {
                    is_there = false;
                    None
                }
                Err(errno) => return Err(errno),
            },
            Err(Errno::NOENT | Errno::NOTDIR) => {
                is_there = false;
                None
            }
            Err(errno) => return Err(errno),
        };
        let Some(target) = target else {
            done.push(part);
            continue;
        };
        links += 1;
        if links > MAX_LINKS {
            return Err(Errno::LOOP);
        }
        let target = target.to_string_lossy();
        if target.starts_with('/') {
            done.clear();
        }
        for part in parts(&target).into_iter().rev() {
            left.push_front(part);
        }
    }
    Ok(format!("/{}", done.join("/")))
}

/// Which mount a file is on.
pub(super) fn mount_id(file: &impl AsFd) -> Result<u64, Errno> {
    Ok(statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_says_what_it_is_called_and_whether_it_follows() {
        for (text, path, base, follow) in [
            ("/a/b", "/a/b", "b", false),
            ("a/b/", "/a/b", "b", true),
            ("/a/b/.", "/a/b", ".", true),
            (".", "/", ".", true),
            ("/", "/", "/", true),
            ("../../x", "/x", "x", false),
        ] {
            let wanted = Wanted::new(text).unwrap();
            assert_eq!((wanted.path.as_str(), wanted.base.as_str(), wanted.follow), (path, base, follow), "{text}");
        }
        assert!(Wanted::new("").is_err() && Wanted::new("a\0b").is_err());
    }

    #[test]
    fn no_link_leads_out_of_the_root() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "x").unwrap();
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("a/file"), "inside").unwrap();
        symlink(outside.path(), at("out")).unwrap();
        symlink("../../../../..", at("up")).unwrap();
        symlink("/a/file", at("absolute")).unwrap();
        symlink("loop", at("loop")).unwrap();
        let dir = fs::File::open(root.path()).unwrap();
        let open = |path: &str| open(dir.as_fd(), &Wanted::new(path).unwrap());
        assert_eq!(open("/out/secret").err(), Some(Errno::NOENT));
        assert_eq!(open("/out/").err(), Some(Errno::NOENT));
        assert!(matches!(open("/up/a/b"), Ok(Found::Directory(_))));
        assert!(matches!(open("/out"), Ok(Found::Other { .. })), "the link itself");
        assert_eq!(open("/loop/x").err(), Some(Errno::LOOP));
        assert_eq!(open("/a/file/").err(), Some(Errno::NOTDIR));
        let canonical = |path: &str| canonical(dir.as_fd(), path);
        assert_eq!(canonical("/absolute").unwrap(), "/a/file");
        assert_eq!(canonical("/up/a/../new/x").unwrap(), "/new/x");
        assert_eq!(canonical("/out/x").unwrap(), format!("{}/x", outside.path().display()));
        assert_eq!(canonical("/loop"), Err(Errno::LOOP));
    }
}
