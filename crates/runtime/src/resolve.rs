// SPDX-License-Identifier: Apache-2.0
//! Paths inside a container's root, resolved by the kernel with that root as the root: a symbolic link, absolute or
//! full of `..`, cannot lead out of it, however the image's author wrote it and whoever changes it meanwhile.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, readlinkat};
use rustix::io::Errno;

/// What to make at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaf {
    /// A directory.
    Directory,
    /// An empty file.
    File,
}

/// How many symbolic links one path may have before it counts as a loop; the kernel's own number.
const MAX_LINKS: usize = 40;

/// How often a lookup is repeated when the kernel cannot tell, because of a rename meanwhile, whether it got out.
const MAX_RACES: usize = 64;

/// A directory that is the root of lookups.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Root<'fd>(BorrowedFd<'fd>);

impl<'fd> Root<'fd> {
    pub(crate) fn new(root: BorrowedFd<'fd>) -> Root<'fd> {
        Root(root)
    }

    /// Opens `path` in the root.
    pub(crate) fn open(&self, path: &Path, flags: OFlags) -> sys::Result<OwnedFd> {
        self.open_with(path, flags, ResolveFlags::empty())
    }

    /// Opens `path` in the root without following any symbolic link.
    pub(crate) fn open_no_links(&self, path: &Path, flags: OFlags) -> sys::Result<OwnedFd> {
        self.open_with(path, flags, ResolveFlags::NO_SYMLINKS)
    }

    fn open_with(&self, path: &Path, flags: OFlags, resolve: ResolveFlags) -> sys::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        let all = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | resolve;
        let mut result = Err(Errno::AGAIN);
        for _ in 0..MAX_RACES {
            result = openat2(self.0, path, flags, Mode::empty(), all);
            if !matches!(result, Err(Errno::AGAIN | Errno::INTR)) {
                break;
            }
        }
        result.map_err(|errno| {
            let links = if resolve.contains(ResolveFlags::NO_SYMLINKS) { "|RESOLVE_NO_SYMLINKS" } else { "" };
            let root = self.0.as_raw_fd();
            let call = format!("openat2({root}, {path:?}, {{flags={flags:?}, resolve=RESOLVE_IN_ROOT{links}}})");
            sys::Error::new(call, errno)
        })
    }

    /// Opens `path` (`O_PATH`), making what is missing of it: directories with mode 0755, and the leaf.
    pub(crate) fn ensure(&self, path: &Path, leaf: Leaf) -> sys::Result<OwnedFd> {
        match self.open(path, OFlags::PATH) {
            Err(error) if error.errno() == Errno::NOENT => self.make(path, leaf),
            other => other,
        }
    }

    /// As [`Root::ensure`], refusing symbolic links.
    pub(crate) fn ensure_no_links(&self, path: &Path, leaf: Leaf) -> sys::Result<OwnedFd> {
        let flags = if leaf == Leaf::Directory { OFlags::PATH | OFlags::DIRECTORY } else { OFlags::PATH };
        match self.open_no_links(path, flags) {
            Err(error) if error.errno() == Errno::NOENT => {
                self.make(path, leaf)?;
                self.open_no_links(path, flags)
            }
            other => other,
        }
    }

    /// Makes what is missing of a path that leads to nothing.
    ///
    /// It is walked component by component. Each prefix is resolved anew by the kernel, so what is made is made inside the
    /// root; a symbolic link that leads to nothing is followed by hand, as the kernel does not.
    pub(crate) fn make(&self, path: &Path, leaf: Leaf) -> sys::Result<OwnedFd> {
        if let Some(made) = self.make_last(path, leaf)? {
            return Ok(made);
        }
        let mut pending = reversed(path);
        let mut done = PathBuf::from("/");
        let mut links = 0;
        while let Some(component) = pending.pop() {
            let next = done.join(&component);
            match self.open(&next, OFlags::PATH) {
                Ok(_) => {
                    done = next;
                    continue;
                }
                Err(error) if error.errno() == Errno::NOENT => {}
                Err(error) => return Err(error),
            }
            let parent = self.open(&done, OFlags::PATH | OFlags::DIRECTORY)?;
            if let Some(target) = link_target(&parent, &component)? {
                links += 1;
                if links > MAX_LINKS {
                    return Err(sys::Error::new(format!("resolve {path:?}"), Errno::LOOP));
                }
                if target.is_absolute() {
                    done = PathBuf::from("/");
                }
                pending.extend(reversed(&target));
                continue;
            }
            make_one(parent.as_fd(), &component, if pending.is_empty() { leaf } else { Leaf::Directory })?;
            done = next;
        }
        self.open(&done, OFlags::PATH)
    }

    /// Mostly only the last component is missing. `None` when more is, or when something has its name: a link, which leads
    /// to nothing.
    fn make_last(&self, path: &Path, leaf: Leaf) -> sys::Result<Option<OwnedFd>> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
        let parent = match self.open(parent, OFlags::PATH | OFlags::DIRECTORY) {
            Err(error) if error.errno() == Errno::NOENT => return Ok(None),
            parent => parent?,
        };
        match make_new(parent.as_fd(), name, leaf) {
            Ok(()) => self.open(path, OFlags::PATH).map(Some),
            Err(Errno::EXIST) => Ok(None),
            Err(errno) => Err(not_made(parent.as_fd(), name, leaf, errno)),
        }
    }
}

fn reversed(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            _ => None,
        })
        .collect()
}

fn link_target(parent: &OwnedFd, name: &OsStr) -> sys::Result<Option<PathBuf>> {
    use std::os::unix::ffi::OsStringExt;
    match readlinkat(parent, name, Vec::new()) {
        Ok(target) => Ok(Some(PathBuf::from(OsString::from_vec(target.into_bytes())))),
        Err(Errno::NOENT | Errno::INVAL) => Ok(None),
        Err(errno) => Err(sys::Error::new(format!("readlinkat({}, {name:?})", parent.as_raw_fd()), errno)),
    }
}

fn make_one(parent: BorrowedFd<'_>, name: &OsStr, leaf: Leaf) -> sys::Result<()> {
    match make_new(parent, name, leaf) {
        // Somebody else made it meanwhile: as good.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(not_made(parent, name, leaf, errno)),
    }
}

fn make_new(parent: BorrowedFd<'_>, name: &OsStr, leaf: Leaf) -> rustix::io::Result<()> {
    match leaf {
        Leaf::Directory => mkdirat(parent, name, Mode::from_raw_mode(0o755)),
        Leaf::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
            openat(parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    }
}

fn not_made(parent: BorrowedFd<'_>, name: &OsStr, leaf: Leaf, errno: Errno) -> sys::Error {
    let call = if leaf == Leaf::File { "openat(O_CREAT|O_EXCL|O_NOFOLLOW)" } else { "mkdirat" };
    sys::Error::new(format!("{call}({}, {name:?})", parent.as_raw_fd()), errno)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, File) {
        let dir = tempfile::tempdir().unwrap();
        let file = File::open(dir.path()).unwrap();
        (dir, file)
    }

    #[test]
    fn missing_directories_and_files_are_made_inside() {
        let (dir, file) = root();
        let root = Root::new(file.as_fd());
        root.ensure(Path::new("/a/b/c"), Leaf::Directory).unwrap();
        root.ensure(Path::new("/a/b/file"), Leaf::File).unwrap();
        assert!(dir.path().join("a/b/c").is_dir());
        assert!(dir.path().join("a/b/file").is_file());
    }

    #[test]
    fn links_that_lead_out_lead_nowhere_else_than_inside() {
        let (dir, file) = root();
        let root = Root::new(file.as_fd());
        symlink("/outside", dir.path().join("absolute")).unwrap();
        symlink("../../../../outside2", dir.path().join("dots")).unwrap();
        root.ensure(Path::new("/absolute/x"), Leaf::Directory).unwrap();
        root.ensure(Path::new("/dots/y"), Leaf::File).unwrap();
        assert!(dir.path().join("outside/x").is_dir());
        assert!(dir.path().join("outside2/y").is_file());
        assert!(!Path::new("/outside").exists() && !Path::new("/outside2").exists());
    }

    #[test]
    fn loops_and_refused_links_are_errors() {
        let (dir, file) = root();
        let root = Root::new(file.as_fd());
        symlink("b", dir.path().join("a")).unwrap();
        symlink("a", dir.path().join("b")).unwrap();
        assert_eq!(root.ensure(Path::new("/a"), Leaf::Directory).unwrap_err().errno(), Errno::LOOP);
        fs::create_dir(dir.path().join("real")).unwrap();
        symlink("real", dir.path().join("link")).unwrap();
        assert_eq!(root.ensure_no_links(Path::new("/link"), Leaf::Directory).unwrap_err().errno(), Errno::LOOP);
        root.ensure_no_links(Path::new("/real"), Leaf::Directory).unwrap();
        root.ensure_no_links(Path::new("/new/dir"), Leaf::Directory).unwrap();
    }
}
