// SPDX-License-Identifier: Apache-2.0
//! What a killed copy left beside its destination: told from what a running one is making by a lock, because a process's
//! id may be another's by now, or mean another process in another namespace.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::tree::DIRECTORY;

const MARK: &[u8] = b".corten-";
const END: &[u8] = b".part";

/// The name of the `number`th thing that this process is making under `prefix`.
pub(crate) fn name(prefix: &OsStr, number: u32) -> OsString {
    let numbers = format!("{}-{number}", std::process::id());
    OsString::from_vec([prefix.as_bytes(), MARK, numbers.as_bytes(), END].concat())
}

/// Whether [`name`] may have given this name.
fn is_ours(name: &[u8], prefix: &OsStr) -> bool {
    let rest = name.strip_prefix(prefix.as_bytes()).and_then(|rest| rest.strip_prefix(MARK));
    let numbers = rest.and_then(|rest| rest.strip_suffix(END)).and_then(|numbers| str::from_utf8(numbers).ok());
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers.and_then(|numbers| numbers.split_once('-')).is_some_and(|(pid, nth)| is_number(pid) && is_number(nth))
}

/// Locks what was just made as `path`. `false` when somebody took it for a leftover meanwhile, and removes it.
pub(crate) fn claim(made: &OwnedFd, path: &Path) -> bool {
    // A file system without locks gives nobody else one either, and nothing on it is taken for a leftover.
    if rustix::fs::flock(made, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
        return false;
    }
    // Who had the lock before may have removed it, and let go again.
    let (Ok(made), Ok(named)) = (rustix::fs::fstat(made), rustix::fs::lstat(path)) else { return false };
    (made.st_dev, made.st_ino) == (named.st_dev, named.st_ino)
}

/// Removes from `directory` what has such a name and no process. What cannot be removed stays: it is in nobody's way, and
/// may be another user's.
pub(crate) fn remove(directory: &Path, prefix: &OsStr) {
    // An empty path is the working directory.
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let Ok(at) = rustix::fs::open(directory, DIRECTORY, Mode::empty()) else { return };
    let Ok(entries) = Dir::read_from(&at) else { return };
    // Removed when the directory is read: it must not change meanwhile.
    let names = entries.filter_map(Result::ok).map(|entry| entry.file_name().to_owned());
    let names: Vec<_> = names.filter(|name| is_ours(name.to_bytes(), prefix)).collect();
    for name in names {
        // A pipe must not be waited for, and a link is none of ours.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let Ok(leftover) = rustix::fs::openat(&at, &name, flags, Mode::empty()) else { continue };
        if rustix::fs::flock(&leftover, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        // One that was finished between the two steps has another name now, and this one may be a third's.
        let opened = rustix::fs::fstat(&leftover).map(|stat| (stat.st_dev, stat.st_ino));
        let named = rustix::fs::statat(&at, &name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| (stat.st_dev, stat.st_ino));
        if opened.is_ok() && opened == named {
            // As said above.
            let _ = layer::remove_tree(&at, &name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_programs_making_are_meant() {
        let prefix = OsStr::new(".image.tar");
        assert!(is_ours(name(prefix, 7).as_bytes(), prefix));
        for other in [".image.tar.7.part", ".image.tar.corten-7.part", ".image.tar.corten-7-x.part", "image.tar"] {
            assert!(!is_ours(other.as_bytes(), prefix), "{other}");
        }
        assert!(!is_ours(name(OsStr::new(".image"), 0).as_bytes(), prefix));
        assert!(!is_ours(name(prefix, 0).as_bytes(), OsStr::new(".image")));
    }

    #[test]
    fn what_is_locked_or_linked_to_stays_and_the_rest_goes() {
        let (directory, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |number| directory.path().join(name(OsStr::new(".x"), number));
        std::fs::write(outside.path().join("kept"), "").unwrap();
        std::fs::write(at(0), "left").unwrap();
        std::fs::create_dir_all(at(1).join("blobs")).unwrap();
        std::fs::write(at(2), "in the making").unwrap();
        std::os::unix::fs::symlink(outside.path(), at(3)).unwrap();
        let making: OwnedFd = std::fs::File::open(at(2)).unwrap().into();
        assert!(claim(&making, &at(2)));
        remove(directory.path(), OsStr::new(".x"));
        assert_eq!([0, 1, 2].map(|number| at(number).exists()), [false, false, true]);
        assert!(at(3).is_symlink() && outside.path().join("kept").exists());
        drop(making);
        remove(directory.path(), OsStr::new(".x"));
        assert!(!at(2).exists());
    }

    #[test]
    fn what_another_holds_or_has_removed_is_not_claimed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let made: OwnedFd = std::fs::File::create(&path).unwrap().into();
        let other = std::fs::File::open(&path).unwrap();
        rustix::fs::flock(&other, FlockOperation::LockExclusive).unwrap();
        assert!(!claim(&made, &path));
        drop(other);
        assert!(claim(&made, &path));
        std::fs::remove_file(&path).unwrap();
        assert!(!claim(&made, &path));
    }
}
