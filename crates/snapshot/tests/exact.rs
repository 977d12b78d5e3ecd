// SPDX-License-Identifier: Apache-2.0
//! A layer mounted from its archive is, file by file, the layer unpacked into a directory: types, modes, owners, times to
//! the nanosecond, extended attributes, links, sizes, content, device numbers, and overlayfs's whiteouts and opaque
//! directories. Needs root, mmdebstrap, and a kernel that mounts EROFS from files.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../../layer/tests/support/mod.rs"]
mod raw;

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use layer::Limits;
use oci::Digest;
use proptest::prelude::*;
use raw::{Head, Raw, head};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};
use snapshot::{Directories, Snapshotter, TarIndex};
use tempfile::TempDir;

/// Both ways to keep a layer.
struct Both {
    archives: TarIndex,
    archives_root: TempDir,
    directories: Directories,
    directories_root: TempDir,
}

impl Both {
    fn new() -> Both {
        let (archives_root, directories_root) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
        let archives = TarIndex::open(archives_root.path()).expect("this test needs EROFS mounted from files");
        let directories = Directories::open(directories_root.path()).unwrap();
        Both { archives, archives_root, directories, directories_root }
    }

    /// Has `tar` kept in both ways, compares, and removes it. Returns how many files there are.
    fn compare(&self, tar: &[u8]) -> usize {
        let diff_id = Digest::of(tar);
        let begun = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap() - 1;
        let info = self.directories.unpack(&diff_id, &mut &tar[..]).unwrap();
        assert_eq!(self.archives.unpack(&diff_id, &mut &tar[..]).unwrap(), info);
        let unpacked = self.directories_root.path().join("layers").join(diff_id.hex()).join("diff");
        let kept = self.archives_root.path().join("layers").join(diff_id.hex());
        assert!(std::fs::read(kept.join("layer.tar")).unwrap() == tar, "the archive was not kept as it is");
        let implied = |layer: &Path| std::fs::read(layer.join("implied")).ok();
        let directory = self.directories_root.path().join("layers").join(diff_id.hex());
        assert_eq!(implied(&kept).map(lossy), implied(&directory).map(lossy), "directories that are not described");
        let mount = mount(&kept);
        let expected = dump(&unpacked, Some(begun));
        let found = dump(Path::new(&format!("/proc/self/fd/{}/", mount.as_raw_fd())), None);
        for (path, what) in &expected {
            assert_eq!(found.get(path).map(|found| found.like(what)), Some(what.clone()), "{path:?}");
        }
        assert_eq!(found.len(), expected.len(), "more than there should be");
        drop(mount);
        assert!(self.archives.remove_layer(&diff_id).unwrap() && self.directories.remove_layer(&diff_id).unwrap());
        expected.len()
    }
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

fn open(directory: &Path) -> std::fs::File {
    std::fs::File::open(directory).unwrap()
}

/// The layer itself, without an overlay above it that hides whiteouts.
fn mount(layer: &Path) -> OwnedFd {
    let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    fsconfig_set_flag(&context, "ro").unwrap();
    fsconfig_set_string(&context, "source", layer.join("index.erofs")).unwrap();
    fsconfig_set_string(&context, "device", layer.join("layer.tar")).unwrap();
    fsconfig_create(&context).unwrap();
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY).unwrap()
}

/// Everything about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    what: String,
    mode: u32,
    owner: (u32, u32),
    /// None for what the archive uses and does not describe: unpacked, it has the time at which that was done.
    mtime: Option<(i64, i64)>,
    links: u64,
    /// The first name of the same file.
    first: PathBuf,
    xattrs: Vec<(String, Vec<u8>)>,
}

impl Seen {
    /// The same, with no time where `other` has none.
    fn like(&self, other: &Seen) -> Seen {
        Seen { mtime: self.mtime.filter(|_| other.mtime.is_some()), ..self.clone() }
    }
}

/// Everything below `root`. What is younger than `begun` has no time.
fn dump(root: &Path, begun: Option<i64>) -> BTreeMap<PathBuf, Seen> {
    let (mut all, mut inodes) = (BTreeMap::new(), BTreeMap::new());
    let mut left = vec![PathBuf::new()];
    while let Some(path) = left.pop() {
        let full = root.join(&path);
        let meta = full.symlink_metadata().unwrap();
        let kind = meta.file_type();
        let mut what = format!("{kind:?} {} {:#x}", if kind.is_dir() { 0 } else { meta.len() }, meta.rdev());
        if kind.is_symlink() {
            what = format!("-> {:?}", std::fs::read_link(&full).unwrap());
        } else if kind.is_file() {
            what += &Digest::of(std::fs::read(&full).unwrap()).to_string();
        } else if kind.is_dir() {
            let mut names: Vec<_> =
                std::fs::read_dir(&full).unwrap().map(|e| path.join(e.unwrap().file_name())).collect();
            names.sort();
            left.extend(names.into_iter().rev());
        }
        let (xattrs, links) = (raw::xattrs(&full), if kind.is_dir() { 0 } else { meta.nlink() });
        let first = inodes.entry(meta.ino()).or_insert_with(|| path.clone()).clone();
        let mtime = Some((meta.mtime(), meta.mtime_nsec())).filter(|(s, _)| begun.is_none_or(|begun| *s < begun));
        let owner = (meta.uid(), meta.gid());
        all.insert(path, Seen { what, mode: meta.mode(), owner, mtime, links, first, xattrs });
    }
    all
}

#[test]
fn one_of_everything() {
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let many: Raw = (0..2000).fold(Raw::default(), |raw, i| raw.file(&format!("many/{:x}", i * 7919), &[i as u8; 3]));
    let tar = Raw::default()
        .add(&Head { mode: 0o1751, owner: (3, 4), ..head(b'5', b"./") }, b"")
        .directory("d")
        .file("d/f", &[1; 700])
        .add(&Head { owner: (1 << 22, u64::from(u32::MAX) - 1), mode: 0o6755, ..head(b'0', b"owned") }, b"abc")
        .pax(&[("path", &b"long/".repeat(25)), ("mtime", b"-1.25"), ("SCHILY.xattr.user.x", b"y")])
        .directory("x")
        .pax(&[("mtime", b"8589934592.000000001"), ("SCHILY.xattr.user.a", b""), ("SCHILY.xattr.trusted.b", &[7; 900])])
        .file("attributes", &[5; 512])
        .pax(&[("SCHILY.xattr.security.capability", capability), ("mtime", b"1.5")])
        .file("ping", b"")
        .pax(&[("SCHILY.xattr.trusted.overlay.opaque", b"y"), ("SCHILY.xattr.user.a", b"1")])
        .symlink("dropped", "attributes")
        .long(b'L', &[b'n'; 255])
        .file("x", &vec![3; 100_000])
        .long(b'K', &[b't'; 4000])
        .symlink("far", "")
        .add(&Head { mode: 0o000, owner: (7, 8), link: b"d/f", ..head(b'2', b"s") }, b"")
        .hard_link("h", "d/f")
        .hard_link("s2", "s")
        .add(&Head { device: (1, 3), mode: 0o666, ..head(b'3', b"null") }, b"")
        .add(&Head { device: (4095, 0xf_ffff), ..head(b'4', b"disk") }, b"")
        .add(&Head { mode: 0o640, ..head(b'6', b"pipe") }, b"")
        .file(".wh.gone", b"")
        .file("d/.wh.gone", b"")
        .file("opaque/.wh..wh..opq", b"")
        .file(".wh.replaced", b"")
        .directory("replaced")
        .add(&Head { mode: 0o2775, owner: (11, 12), ..head(b'5', b"group") }, b"")
        .file("group/implied/file", b"")
        .file("group/.wh.gone", b"")
        .symlink("way", "/group/implied")
        .file("way/through/a/link", b"here")
        .file("twice", b"first, and longer")
        .file("twice", b"last")
        .file("d/was/a/directory", b"")
        .file("d/was", b"");
    let tar = Raw([tar.0, many.0].concat()).end();
    let files = Both::new().compare(&tar);
    assert!(files > 2035, "{files}");
}

#[test]
fn what_an_index_cannot_express_is_unpacked() {
    let sparse: &[(&str, &[u8])] =
        &[("GNU.sparse.map", b"0,3,1000,2"), ("GNU.sparse.size", b"2000"), ("GNU.sparse.name", b"sparse")];
    // Everybody may read and write, and so may user 7.
    let list = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x06\0\x07\0\0\0\x04\0\x06\0\xff\xff\xff\xff\x10\0\x06\0\xff\xff\xff\xff\x20\0\x06\0\xff\xff\xff\xff";
    for tar in [
        Raw::default().file("first", b"1").pax(sparse).file("x", b"12345").file("last", b"2"),
        Raw::default().pax(&[("SCHILY.xattr.system.posix_acl_access", list)]).file("listed", b""),
        Raw::default().pax(&[("SCHILY.xattr.user.large", &[7; 3000])]).file("large", b""),
    ] {
        let (tar, root) = (tar.end(), tempfile::tempdir().unwrap());
        let store = TarIndex::open(root.path()).unwrap();
        let diff_id = Digest::of(&tar);
        let info = store.unpack(&diff_id, &mut &tar[..]).unwrap();
        assert_eq!(info.archive_size, tar.len() as u64);
        let layer = root.path().join("layers").join(diff_id.hex());
        let mut names: Vec<_> = std::fs::read_dir(&layer).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["diff", "implied", "info.json"]);
        let expected = tempfile::tempdir().unwrap();
        layer::unpack(&tar[..], open(expected.path()).as_fd(), &Limits::default()).unwrap();
        // The times of the roots, which these archives do not describe, are now and now.
        let (mut one, mut other) = (dump(expected.path(), Some(0)), dump(&layer.join("diff"), Some(0)));
        for root in [&mut one, &mut other] {
            root.remove(Path::new(""));
        }
        assert_eq!(one, other);
    }
}

#[test]
fn this_machines_own_files() {
    let both = Both::new();
    for path in ["/etc", "/usr/sbin"] {
        assert!(both.compare(&packed(path)) > 100);
    }
}

#[test]
fn a_real_debian() {
    let root = testkit::fixtures::debian::root(testkit::fixtures::debian::Form::Plain);
    assert!(Both::new().compare(&std::fs::read(root).unwrap()) > 5000);
}

#[allow(clippy::disallowed_methods, reason = "the peer that packs")]
fn packed(path: &str) -> Vec<u8> {
    let arguments = ["--format=posix", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-c", "-C", path, "."];
    let output = std::process::Command::new("tar").args(arguments).output().expect("this test needs GNU tar");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// One entry: what it is, which name it has, and which it leads to.
type Step = (usize, usize, usize);

/// Entries over a few names that lead to each other, all below `top`.
fn soup(top: &str, steps: &[Step]) -> Raw {
    let names = ["a", "b", "a/b", "b/a", "a/file", "b/file", "c/d/e", "a/c"];
    let mut raw = Raw::default();
    for (time, &(what, name, target)) in steps.iter().enumerate() {
        let (plain, name) = (names[name], format!("{top}/{}", names[name]));
        let linked = names[target];
        let hidden = plain.rsplit_once('/').map_or((top.to_owned(), plain), |(d, n)| (format!("{top}/{d}"), n));
        let mtime = format!("{time}.{target}");
        let records: [(&str, &[u8]); 2] = [("mtime", mtime.as_bytes()), ("SCHILY.xattr.user.x", linked.as_bytes())];
        raw = raw.pax(&records[..1 + target % 2]);
        raw = match what {
            0 => raw.symlink(&name, linked),
            1 => raw.symlink(&name, &format!("/{top}/{linked}")),
            2 => raw.symlink(&name, &format!("../{linked}")),
            3 => raw.hard_link(&name, &format!("{top}/{linked}")),
            4 => {
                raw.add(&Head { mode: [0o755, 0o2750][target % 2], owner: (3, 4), ..head(b'5', name.as_bytes()) }, b"")
            }
            5 => raw.file(&format!("{}/.wh.{}", hidden.0, hidden.1), b""),
            6 => raw.file(&format!("{name}/.wh..wh..opq"), b""),
            7 => raw.add(&Head { mode: 0o4751, owner: (5, 6), ..head(b'0', name.as_bytes()) }, linked.as_bytes()),
            8 => raw.add(&Head { device: (target as u32, 0), ..head(b'3', name.as_bytes()) }, b""),
            _ => raw.file(&name, &vec![target as u8; target * 600]),
        };
    }
    raw
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever an archive does with a few names, if it may: several such archives beside each other in one.
    #[test]
    fn whatever_entries_do_to_each_other(
        soups in proptest::collection::vec(proptest::collection::vec((0usize..10, 0usize..8, 0usize..8), 1..14), 24),
    ) {
        let mut all = Raw::default();
        let mut accepted = 0;
        for (i, steps) in soups.iter().enumerate() {
            let raw = soup(&format!("top-{i}"), steps);
            let scratch = tempfile::tempdir_in("/dev/shm").unwrap();
            // What is refused is refused in both ways: `layer/tests/hostile.rs` sees to it.
            if layer::unpack(&raw.clone().end()[..], open(scratch.path()).as_fd(), &Limits::default()).is_ok() {
                all = Raw([all.0, raw.0].concat());
                accepted += 1;
            }
        }
        prop_assume!(accepted > 0);
        Both::new().compare(&all.end());
    }
}
