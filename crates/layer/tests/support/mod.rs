// SPDX-License-Identifier: Apache-2.0
//! Archives made byte by byte, because no honest writer makes the hostile ones; and trees written out for comparison.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(dead_code, reason = "each test program uses its part")]

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

/// An archive in the making.
#[derive(Clone, Default)]
pub(crate) struct Raw(pub(crate) Vec<u8>);

/// One header. The default: an empty regular file, mode 0644, owned by root.
#[derive(Clone)]
pub(crate) struct Head<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) kind: u8,
    pub(crate) link: &'a [u8],
    pub(crate) mode: u32,
    pub(crate) owner: (u64, u64),
    pub(crate) size: Option<u64>,
    pub(crate) mtime: u64,
    pub(crate) device: (u32, u32),
}

pub(crate) fn head(kind: u8, name: &[u8]) -> Head<'_> {
    Head { name, kind, link: b"", mode: 0o644, owner: (0, 0), size: None, mtime: 1_000_000_000, device: (0, 0) }
}

impl Raw {
    pub(crate) fn add(mut self, head: &Head<'_>, data: &[u8]) -> Raw {
        let size = head.size.unwrap_or(data.len() as u64);
        self.0.extend_from_slice(&block(head, size));
        self.data(data)
    }

    /// Data, filled up to a block.
    pub(crate) fn data(mut self, data: &[u8]) -> Raw {
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &str, data: &[u8]) -> Raw {
        self.add(&head(b'0', name.as_bytes()), data)
    }

    pub(crate) fn directory(self, name: &str) -> Raw {
        self.add(&Head { mode: 0o755, ..head(b'5', name.as_bytes()) }, b"")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Raw {
        self.add(&Head { link: target.as_bytes(), mode: 0o777, ..head(b'2', name.as_bytes()) }, b"")
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Raw {
        self.add(&Head { link: target.as_bytes(), ..head(b'1', name.as_bytes()) }, b"")
    }

    /// PAX records for the next entry.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Raw {
        let mut content = Vec::new();
        for (key, value) in records {
            let body = key.len() + value.len() + 3;
            let mut length = body + 1;
            while length != body + length.to_string().len() {
                length = body + length.to_string().len();
            }
            content.extend_from_slice(format!("{length} {key}=").as_bytes());
            content.extend_from_slice(value);
            content.push(b'\n');
        }
        self.add(&head(b'x', b"PaxHeaders/x"), &content)
    }

    /// A GNU long name for the next entry.
    pub(crate) fn long(self, kind: u8, name: &[u8]) -> Raw {
        self.add(&head(kind, b"././@LongLink"), &[name, b"\0"].concat())
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

fn block(head: &Head<'_>, size: u64) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, head.name);
    put(100, format!("{:07o}", head.mode).as_bytes());
    put(108, &number(head.owner.0, 8));
    put(116, &number(head.owner.1, 8));
    put(124, &number(size, 12));
    put(136, &number(head.mtime, 12));
    put(156, &[head.kind]);
    put(157, head.link);
    put(257, b"ustar  \0");
    put(329, format!("{:07o}", head.device.0).as_bytes());
    put(337, format!("{:07o}", head.device.1).as_bytes());
    checksum(&mut block);
    block
}

/// Octal where it fits, else base-256.
pub(crate) fn number(value: u64, width: usize) -> Vec<u8> {
    let octal = format!("{value:0digits$o}\0", digits = width - 1);
    if octal.len() == width {
        return octal.into_bytes();
    }
    let mut bytes = vec![0; width];
    bytes[0] = 0x80;
    for (i, byte) in value.to_be_bytes().into_iter().enumerate() {
        if let Some(at) = (width + i).checked_sub(8) {
            bytes[at] |= byte;
        }
    }
    bytes
}

pub(crate) fn checksum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block[..512].iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// Everything about everything below `root`, one text per path; `skip` is left out.
pub(crate) fn dump(root: &Path, skip: Option<&str>) -> BTreeMap<Vec<u8>, String> {
    let mut all = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    walk(root, Path::new(""), skip, &mut all, &mut inodes);
    all
}

fn walk(
    root: &Path,
    path: &Path,
    skip: Option<&str>,
    all: &mut BTreeMap<Vec<u8>, String>,
    inodes: &mut BTreeMap<u64, Vec<u8>>,
) {
    let full = root.join(path);
    let meta = full.symlink_metadata().unwrap();
    let kind = meta.file_type();
    let name = path.as_os_str().as_bytes().to_vec();
    let what = if kind.is_dir() {
        "directory".to_owned()
    } else if kind.is_symlink() {
        format!("-> {:?}", std::fs::read_link(&full).unwrap())
    } else if kind.is_file() {
        let content = std::fs::read(&full).unwrap();
        let first = inodes.entry(meta.ino()).or_insert_with(|| name.clone()).clone();
        format!("{} {} links, first {:?}", oci::Digest::of(content), meta.nlink(), String::from_utf8_lossy(&first))
    } else {
        format!("{:?} {:#x}", (kind.is_char_device(), kind.is_block_device(), kind.is_fifo()), meta.rdev())
    };
    let text = format!(
        "{what} {:o} {}:{} {}.{:09} {:?}",
        meta.mode(),
        meta.uid(),
        meta.gid(),
        meta.mtime(),
        meta.mtime_nsec(),
        xattrs(&full)
    );
    all.insert(name, text);
    if kind.is_dir() {
        let mut names: Vec<_> = std::fs::read_dir(&full).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        for name in names {
            if skip.is_none_or(|skip| name != skip) {
                walk(root, &path.join(name), None, all, inodes);
            }
        }
    }
}

pub(crate) fn xattrs(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut list = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, &mut list[..]).unwrap();
    let mut found: Vec<_> = list[..length]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 4096];
            let length = rustix::fs::lgetxattr(path, CString::new(name).unwrap(), &mut value[..]).unwrap();
            value.truncate(length);
            (String::from_utf8_lossy(name).into_owned(), value)
        })
        .collect();
    found.sort();
    found
}
