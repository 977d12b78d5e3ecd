// SPDX-License-Identifier: Apache-2.0
//! Images as the kernel sees them: sizes around every boundary of the format, and a tree with very many files. Needs
//! root, and a kernel that mounts EROFS from files (6.12). What an archive's files come to is tested in `snapshot`.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use erofs::{BLOCK, Device, Inode, InodeId, Kind, Problem, Tree, WriteError};
use proptest::prelude::*;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

/// An inode with its names, which are empty for all but directories.
struct Node {
    kind: Owned,
    mode: u16,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    names: BTreeMap<Vec<u8>, InodeId>,
}

#[derive(Clone)]
enum Owned {
    Directory,
    File(u64, u64),
    Symlink(Vec<u8>),
    Device(u32, u32),
    Fifo,
}

struct Nodes(Vec<Node>);

impl Nodes {
    fn new() -> Nodes {
        let mut nodes = Nodes(Vec::new());
        nodes.node(Owned::Directory);
        nodes
    }

    fn node(&mut self, kind: Owned) -> InodeId {
        self.0.push(Node { kind, mode: 0o640, xattrs: Vec::new(), names: BTreeMap::new() });
        u32::try_from(self.0.len() - 1).unwrap()
    }

    fn name(&mut self, directory: InodeId, name: impl AsRef<[u8]>, id: InodeId) {
        self.0[directory as usize].names.insert(name.as_ref().to_vec(), id);
    }

    fn add(&mut self, directory: InodeId, name: impl AsRef<[u8]>, kind: Owned) -> InodeId {
        let id = self.node(kind);
        self.name(directory, name, id);
        id
    }
}

impl Tree for Nodes {
    fn size(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap()
    }

    fn inode(&self, id: InodeId) -> Inode<'_> {
        let node = &self.0[id as usize];
        let kind = match &node.kind {
            Owned::Directory => Kind::Directory,
            Owned::File(offset, size) => Kind::File { offset: *offset, size: *size },
            Owned::Symlink(target) => Kind::Symlink(target),
            Owned::Device(major, minor) => Kind::CharDevice(*major, *minor),
            Owned::Fifo => Kind::Fifo,
        };
        let xattrs = node.xattrs.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        Inode { kind, mode: node.mode, uid: 70_000 + id, gid: id, seconds: -i64::from(id), nanoseconds: id, xattrs }
    }

    fn names(&self, id: InodeId) -> impl Iterator<Item = (&[u8], InodeId)> {
        self.0[id as usize].names.iter().map(|(name, id)| (&name[..], *id))
    }
}

/// A mounted image. The mount is attached nowhere, and ends with this.
struct Mounted {
    root: OwnedFd,
    _dir: tempfile::TempDir,
}

impl Mounted {
    fn of(tree: &Nodes, device: &[u8]) -> Mounted {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("device"), device).unwrap();
        let image = File::create(dir.path().join("image")).unwrap();
        let described = Device { size: device.len() as u64, uuid: [7; 16] };
        let length = erofs::write(tree, &described, BufWriter::new(&image)).unwrap();
        assert_eq!(image.metadata().unwrap().len(), length);
        fsck(dir.path());
        let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC).expect("this test needs root and EROFS");
        fsconfig_set_flag(&context, "ro").unwrap();
        fsconfig_set_string(&context, "source", dir.path().join("image")).unwrap();
        fsconfig_set_string(&context, "device", dir.path().join("device")).unwrap();
        fsconfig_create(&context).unwrap();
        let root = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY).unwrap();
        Mounted { root, _dir: dir }
    }

    fn path(&self, path: &str) -> PathBuf {
        format!("/proc/self/fd/{}/{path}", self.root.as_raw_fd()).into()
    }
}

/// Has the image checked by the format's own tool, where there is one that knows blocks of 512 bytes (1.6, Debian 13).
#[allow(clippy::disallowed_methods, reason = "the peer that checks")]
fn fsck(dir: &Path) {
    let program = std::env::var_os("FSCK_EROFS").unwrap_or_else(|| "fsck.erofs".into());
    let Ok(said) = std::process::Command::new(&program).arg("--version").output() else { return };
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let version = said.lines().next().and_then(|line| line.rsplit(' ').next()).unwrap_or_default();
    let minor = version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
    if minor.is_none_or(|minor| minor < 6) {
        return;
    }
    let device = format!("--device={}", dir.join("device").display());
    let mut command = std::process::Command::new(&program);
    let checked = command.args(["--extract", &device]).arg(dir.join("image")).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr) + String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{program:?} {version}: {said}");
}

#[test]
fn links_and_directories_of_every_size_around_the_blocks() {
    let mut tree = Nodes::new();
    let sizes: Vec<usize> = (1..1200).chain([1535, 1536, 1537, 4094, 4095]).collect();
    let links = tree.add(0, "links", Owned::Directory);
    for &size in &sizes {
        tree.add(links, format!("{size}"), Owned::Symlink(vec![b'l'; size]));
    }
    let directories = tree.add(0, "directories", Owned::Directory);
    // `.` and `..` take 27 bytes, an entry 12 and its name.
    for count in 0..60 {
        for length in [2, 9, 200, 255] {
            let directory = tree.add(directories, format!("{count}-{length}"), Owned::Directory);
            for i in 0..count {
                tree.add(directory, format!("{i:0length$}"), Owned::Fifo);
            }
        }
    }
    let mounted = Mounted::of(&tree, b"");
    for size in sizes {
        let target = std::fs::read_link(mounted.path(&format!("links/{size}"))).unwrap();
        assert_eq!(target.into_os_string().len(), size);
    }
    for count in 0..60usize {
        for length in [2, 9, 200, 255usize] {
            let path = mounted.path(&format!("directories/{count}-{length}"));
            assert_eq!(std::fs::read_dir(&path).unwrap().count(), count, "{path:?}");
            for i in 0..count {
                assert!(path.join(format!("{i:0length$}")).symlink_metadata().unwrap().file_type().is_fifo());
            }
            assert!(!path.join("missing").exists() && !path.join("0").exists() && !path.join("~").exists());
        }
    }
    let meta = mounted.path("directories").metadata().unwrap();
    assert_eq!((meta.nlink(), meta.uid(), meta.mode()), (2 + 240, 70_000 + directories, 0o40_640));
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (-i64::from(directories), i64::from(directories)));
}

#[test]
fn files_are_ranges_of_the_device_and_may_have_several_names() {
    let device: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_le_bytes).collect();
    let mut tree = Nodes::new();
    let mut files = Vec::new();
    for (i, size) in [0, 1, 511, 512, 513, 4095, 4096, 4097, 1 << 20, (1 << 20) + 1, 9_999_999].into_iter().enumerate()
    {
        let offset = i as u64 * 7 * BLOCK;
        tree.add(0, format!("{size}"), Owned::File(offset, size));
        files.push((size, offset));
    }
    let shared = tree.add(0, "a", Owned::File(512, 100));
    let below = tree.add(0, "d", Owned::Directory);
    tree.name(below, "b", shared);
    tree.name(0, "c", shared);
    tree.add(0, "device", Owned::Device(4095, 0xf_ffff));
    let mounted = Mounted::of(&tree, &device);
    for (size, offset) in files {
        let content = std::fs::read(mounted.path(&format!("{size}"))).unwrap();
        assert!(content == device[offset as usize..(offset + size) as usize], "{size} bytes at {offset}");
    }
    let inode = |name| mounted.path(name).metadata().map(|meta| (meta.ino(), meta.nlink())).unwrap();
    assert!(inode("a") == inode("d/b") && inode("a") == inode("c") && inode("a").1 == 3, "{:?}", inode("a"));
    assert_eq!(mounted.path("device").metadata().unwrap().rdev(), rustix::fs::makedev(4095, 0xf_ffff));
}

#[test]
fn attributes_of_every_size_do_not_disturb_what_follows() {
    let mut tree = Nodes::new();
    let sizes: Vec<usize> = (0..700).chain([2000, 65_535]).collect();
    for &size in &sizes {
        for (word, kind) in
            [("f", Owned::File(0, 5)), ("d", Owned::Directory), ("s", Owned::Symlink(vec![b'x'; size % 500 + 1]))]
        {
            let id = tree.add(0, format!("{word}{size}"), kind);
            let xattrs = &mut tree.0[id as usize].xattrs;
            xattrs.push((b"trusted.first".to_vec(), b"1".to_vec()));
            xattrs.push((b"trusted.overlay.second".to_vec(), vec![b'v'; size]));
        }
    }
    let mounted = Mounted::of(&tree, &b"hello world".repeat(512));
    let mut value = vec![0; 70_000];
    for size in sizes {
        let path = |word| mounted.path(&format!("{word}{size}"));
        assert_eq!(std::fs::read(path("f")).unwrap(), b"hello");
        assert_eq!(std::fs::read_dir(path("d")).unwrap().count(), 0);
        assert_eq!(std::fs::read_link(path("s")).unwrap().into_os_string().len(), size % 500 + 1);
        for word in ["f", "d", "s"] {
            let length = rustix::fs::lgetxattr(path(word), "trusted.overlay.second", &mut value[..]).unwrap();
            assert_eq!(length, size);
            let length = rustix::fs::llistxattr(path(word), &mut value[..]).unwrap();
            assert_eq!(&value[..length], b"trusted.first\0trusted.overlay.second\0");
        }
    }
}

#[test]
fn three_hundred_thousand_files_are_found() {
    let mut tree = Nodes::new();
    for directory in 0..300 {
        let id = tree.add(0, format!("directory-{directory}"), Owned::Directory);
        for file in 0..1000 {
            tree.add(id, format!("file-{file}"), Owned::File(file * BLOCK, 8));
        }
    }
    let device: Vec<u8> = (0..1000u64).flat_map(|i| [i.to_le_bytes(); 64].concat()).collect();
    let mounted = Mounted::of(&tree, &device);
    for directory in [0, 150, 299] {
        let path = mounted.path(&format!("directory-{directory}"));
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1000);
        for file in 0..1000u64 {
            assert_eq!(std::fs::read(path.join(format!("file-{file}"))).unwrap(), file.to_le_bytes());
        }
    }
}

#[test]
fn what_cannot_be_expressed_is_refused_before_a_byte_is_written() {
    let refused = |build: &dyn Fn(&mut Nodes)| {
        let mut tree = Nodes::new();
        build(&mut tree);
        let mut bytes = Vec::new();
        let error = erofs::write(&tree, &Device { size: 4096, uuid: [0; 16] }, &mut bytes).unwrap_err();
        assert_eq!(bytes.len(), 0, "{error}");
        match error {
            WriteError::Inode { source, .. } => source,
            other => panic!("{other}"),
        }
    };
    let with = |name: &[u8], kind: Owned| refused(&|tree| _ = tree.add(0, name, kind.clone()));
    for name in [&b""[..], b".", b"..", b"a/b", b"a\0b", &[b'n'; 256]] {
        assert_eq!(with(name, Owned::Fifo), Problem::Name);
    }
    for (offset, size) in [(1, 1), (512, 4000), (u64::MAX - 511, 1024), (8192, 1), (u64::MAX - 511, 1)] {
        assert_eq!(with(b"f", Owned::File(offset, size)), Problem::Data);
    }
    for target in [vec![], vec![b'x'; 4096]] {
        assert_eq!(with(b"l", Owned::Symlink(target)), Problem::Link);
    }
    assert_eq!(with(b"d", Owned::Device(4096, 0)), Problem::DeviceNumber);
    assert_eq!(with(b"d", Owned::Device(0, 1 << 20)), Problem::DeviceNumber);
    assert_eq!(refused(&|tree| tree.name(0, "nobody", 9)), Problem::Reference);
    assert_eq!(refused(&|tree| tree.name(0, "root", 0)), Problem::Reference);
    let twice = |tree: &mut Nodes| {
        let id = tree.add(0, "a", Owned::Directory);
        tree.name(0, "b", id);
    };
    assert_eq!(refused(&twice), Problem::Reference);
    assert_eq!(refused(&|tree| tree.0[0].kind = Owned::Fifo), Problem::Root);
    let attribute = |tree: &mut Nodes| tree.0[0].xattrs.push((b"system.posix_acl_access".to_vec(), vec![]));
    assert_eq!(refused(&attribute), Problem::Xattr);
}

#[test]
fn what_the_writer_cannot_write_to_is_said() {
    let error = erofs::write(&Nodes::new(), &Device { size: 0, uuid: [0; 16] }, File::open("/dev/null").unwrap());
    assert!(matches!(error, Err(WriteError::Io(_))), "{error:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Names of any bytes and any length, in any number, are all found, and nothing else is listed.
    #[test]
    fn any_names_are_found(names in proptest::collection::btree_set(
        proptest::collection::vec(any::<u8>().prop_filter("no byte of a name", |b| !matches!(b, 0 | b'/')), 1..255), 0..120,
    )) {
        use std::os::unix::ffi::OsStrExt as _;
        let mut tree = Nodes::new();
        for name in names.iter().filter(|name| !matches!(&name[..], b"." | b"..")) {
            tree.add(0, name, Owned::Fifo);
        }
        let mounted = Mounted::of(&tree, b"");
        for name in tree.0[0].names.keys() {
            let path = mounted.path("").join(std::ffi::OsStr::from_bytes(name));
            prop_assert!(path.symlink_metadata().is_ok(), "{:?}", path);
        }
        prop_assert_eq!(std::fs::read_dir(mounted.path("")).unwrap().count(), tree.0[0].names.len());
    }
}
