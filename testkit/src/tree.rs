// SPDX-License-Identifier: Apache-2.0
//! All about a tree of files, to be compared with another.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// A file, directory, link or device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its type; with a file's size and hash, a link's target, a device's numbers.
    pub what: String,
    /// Its type and permissions.
    pub mode: u32,
    /// User and group.
    pub owner: (u32, u32),
    /// When it was last changed: seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// The first path, in order, of the same file.
    pub first: PathBuf,
    /// Names and values of its extended attributes, sorted.
    pub xattrs: Vec<(String, Vec<u8>)>,
}

/// Everything below `root` and itself, by relative paths.
///
/// # Panics
/// When something cannot be read.
pub fn dump(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let (mut all, mut inodes) = (BTreeMap::new(), BTreeMap::new());
    let mut left = vec![PathBuf::new()];
    while let Some(path) = left.pop() {
        // An empty path would follow a link that `root` is.
        let full = if path.as_os_str().is_empty() { root.join(".") } else { root.join(&path) };
        let meta = full.symlink_metadata().unwrap_or_else(|error| panic!("{}: {error}", full.display()));
        let kind = meta.file_type();
        let what = if kind.is_dir() {
            let entries = std::fs::read_dir(&full).expect("a directory");
            left.extend(entries.map(|entry| path.join(entry.expect("an entry").file_name())));
            "directory".to_owned()
        } else if kind.is_symlink() {
            format!("link to {:?}", std::fs::read_link(&full).expect("a link"))
        } else if kind.is_file() {
            format!("file of {} bytes, sha256 {}", meta.len(), hash(&full))
        } else {
            let types =
                [(kind.is_char_device(), "character"), (kind.is_block_device(), "block"), (kind.is_fifo(), "fifo")];
            let name = types.iter().find(|(is, _)| *is).map_or("socket", |(_, name)| name);
            format!("{name} {:#x}", meta.rdev())
        };
        // Which path comes first must not depend on the order in which directories are read.
        inodes.entry((meta.dev(), meta.ino())).or_insert_with(Vec::new).push(path.clone());
        let seen = Seen {
            what,
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            first: PathBuf::new(),
            xattrs: xattrs(&full),
        };
        all.insert(path, seen);
    }
    for mut paths in inodes.into_values() {
        paths.sort();
        for path in &paths {
            if let Some(seen) = all.get_mut(path) {
                seen.first.clone_from(&paths[0]);
            }
        }
    }
    all
}

fn hash(path: &Path) -> String {
    let mut hasher = Sha256::new();
    let mut file = File::open(path).expect("root reads everything");
    let mut buffer = vec![0; 256 << 10];
    loop {
        match std::io::Read::read(&mut file, &mut buffer).expect("a file that can be read") {
            0 => return hex::encode(hasher.finalize()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

fn xattrs(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut list = vec![0; 64 << 10];
    let length = rustix::fs::llistxattr(path, &mut list[..]).unwrap_or(0);
    let names = list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut found: Vec<_> = names
        .map(|name| {
            let mut value = vec![0; 64 << 10];
            let read = rustix::fs::lgetxattr(path, CString::new(name).expect("no NUL"), &mut value[..]);
            value.truncate(read.expect("an attribute that was just listed"));
            (String::from_utf8_lossy(name).into_owned(), value)
        })
        .collect();
    found.sort();
    found
}
