// SPDX-License-Identifier: Apache-2.0
//! Archives that mean harm. Whatever comes of each, a neighbouring directory must look exactly as before: its files,
//! owners, modes, times and link counts. Needs root, because root is who could do harm.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::Read;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use errors::{Classify as _, Kind};
use layer::{FormatError, Indexed, Limits, Refusal, UnpackError, Unpacked};
use oci::Digest;
use proptest::prelude::*;
use support::{Head, Raw, checksum, dump, head, number};

/// A directory to unpack into, and a neighbour that no archive may reach.
struct Place {
    outer: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let outer = tempfile::tempdir().unwrap();
        let place = Place { outer };
        std::fs::create_dir(place.root()).unwrap();
        std::fs::create_dir(place.sentinel()).unwrap();
        std::fs::write(place.sentinel().join("file"), b"precious").unwrap();
        place
    }

    fn root(&self) -> PathBuf {
        self.outer.path().join("root")
    }

    fn sentinel(&self) -> PathBuf {
        self.outer.path().join("sentinel")
    }

    /// The neighbour's absolute path below it, for archives to aim at.
    fn aim(&self, name: &str) -> String {
        self.sentinel().join(name).to_str().unwrap().to_owned()
    }

    fn unpack_with(&self, tar: impl Read, limits: &Limits) -> Result<Unpacked, UnpackError> {
        let before = dump(self.outer.path(), Some("root"));
        let root = std::fs::File::open(self.root()).unwrap();
        let result = layer::unpack(tar, root.as_fd(), limits);
        assert_eq!(dump(self.outer.path(), Some("root")), before, "something outside was touched");
        result
    }

    /// The same, and the archive's tree put together in memory must come to the same.
    fn unpack_within(&self, tar: &[u8], limits: &Limits) -> Result<Unpacked, UnpackError> {
        let empty = std::fs::read_dir(self.root()).unwrap().next().is_none();
        let result = self.unpack_with(tar, limits);
        if empty {
            let mut kept = Vec::new();
            let indexed = layer::index(tar, limits, |bytes| {
                kept.extend_from_slice(bytes);
                Ok(())
            });
            assert!(indexed.is_err() || kept == tar, "something was not kept");
            assert_alike(&result, indexed);
        }
        result
    }

    fn unpack(&self, tar: &[u8]) -> Result<Unpacked, UnpackError> {
        self.unpack_within(tar, &Limits::default())
    }

    #[track_caller]
    fn refuses(&self, raw: Raw, expected: Refusal) {
        match self.unpack(&raw.end()) {
            Err(error @ UnpackError::Refused { source, .. }) => {
                assert_eq!(source, expected, "{error}");
                let kind = if matches!(expected, Refusal::Type(_)) { Kind::Unsupported } else { Kind::Corrupt };
                assert_eq!(error.kind(), kind);
                assert!(error.hint().is_some());
            }
            other => panic!("expected {expected:?}, got {other:?}"),
        }
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8(std::fs::read(self.root().join(name)).unwrap()).unwrap()
    }
}

/// A layer that is kept as its archive is refused for what it would be refused for when it is unpacked.
fn assert_alike(unpacked: &Result<Unpacked, UnpackError>, indexed: Result<Indexed, UnpackError>) {
    match (unpacked, indexed) {
        // It will be unpacked.
        (_, Ok(Indexed { nodes: Err(_), .. })) => {}
        (Ok(unpacked), Ok(indexed)) => assert_eq!(*unpacked, indexed.unpacked),
        (Err(UnpackError::Refused { source: one, .. }), Err(UnpackError::Refused { source: other, .. })) => {
            assert_eq!(*one, other);
        }
        (Err(one), Err(other)) => assert_eq!(one.kind(), other.kind(), "{one:?} and {other:?}"),
        (one, other) => panic!("unpacked: {one:?}, indexed: {other:?}"),
    }
}

/// Whether `path` is a whiteout.
fn is_whiteout(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.file_type().is_char_device() && meta.rdev() == 0)
}

fn is_opaque(path: &Path) -> bool {
    support::xattrs(path).contains(&("trusted.overlay.opaque".to_owned(), b"y".to_vec()))
}

#[test]
fn absolute_names_are_refused_or_taken_below_the_root() {
    let place = Place::new();
    let aim = place.aim("evil");
    place.refuses(Raw::default().pax(&[("path", aim.as_bytes())]).file("x", b""), Refusal::Absolute);
    place.refuses(Raw::default().long(b'L', aim.as_bytes()).file("x", b""), Refusal::Absolute);
    let limits = Limits { absolute_names: true, ..Limits::default() };
    let tar = Raw::default().pax(&[("path", aim.as_bytes())]).file("x", b"tame").end();
    place.unpack_within(&tar, &limits).unwrap();
    assert_eq!(place.read(aim.trim_start_matches('/')), "tame");
}

#[test]
fn names_with_dot_dot_are_refused() {
    for name in ["../sentinel/evil", "a/../../sentinel/evil", "..", "a/..", "./../x"] {
        Place::new().refuses(Raw::default().directory("a").file(name, b"evil"), Refusal::DotDot);
        Place::new().refuses(Raw::default().directory("a").hard_link("x", name), Refusal::DotDot);
    }
}

#[test]
fn a_planted_symlink_does_not_lead_out() {
    let place = Place::new();
    for target in [place.aim(""), "../sentinel".into(), "../../../../../../../../etc".into(), "loop".into()] {
        let place = Place::new();
        place.refuses(Raw::default().symlink("loop", &target).file("loop/evil", b"evil"), Refusal::Parent);
        place.refuses(Raw::default().symlink("loop", &target).directory("loop/evil"), Refusal::Parent);
        place.refuses(Raw::default().symlink("loop", &target).file("loop/.wh.file", b""), Refusal::Parent);
        place.refuses(Raw::default().symlink("loop", &target).file("loop/.wh..wh..opq", b""), Refusal::Parent);
        place.refuses(Raw::default().symlink("loop", &target).file("loop/deeper/evil", b""), Refusal::Parent);
    }
    // `/` is the layer's own root, and `..` of it is itself: what is found there is inside.
    let tar = Raw::default().directory("real").symlink("l", "/../../real").file("l/f", b"in").symlink("up", "..");
    place.unpack(&tar.file("up/g", b"in").end()).unwrap();
    assert_eq!((place.read("real/f"), place.read("g")), ("in".to_owned(), "in".to_owned()));
    // As are links in the middle that only lead out and back by the host's names.
    let aim = place.aim("");
    place.refuses(Raw::default().symlink("a", &aim).symlink("b", "a/..").file("b/x", b""), Refusal::Parent);
}

#[test]
fn an_entry_over_a_symlink_replaces_it() {
    let place = Place::new();
    let (file, directory) = (place.aim("file"), place.aim(""));
    let tar = Raw::default()
        .symlink("f", &file)
        .file("f", b"mine")
        .symlink("d", &directory)
        .add(&Head { mode: 0o777, owner: (9, 9), ..head(b'5', b"d") }, b"")
        .symlink("p", &file)
        .add(&head(b'6', b"p"), b"")
        .symlink("h", &file)
        .hard_link("h", "f");
    place.unpack(&tar.end()).unwrap();
    let kind = |name: &str| place.root().join(name).symlink_metadata().unwrap().file_type();
    assert!(kind("f").is_file() && kind("d").is_dir() && kind("p").is_fifo() && kind("h").is_file());
}

#[test]
fn hard_links_stay_inside() {
    let place = Place::new();
    let (file, directory) = (place.aim("file"), place.aim(""));
    place.refuses(Raw::default().hard_link("x", &file), Refusal::Absolute);
    place.refuses(Raw::default().hard_link("x", "../sentinel/file"), Refusal::DotDot);
    place.refuses(Raw::default().symlink("d", &directory).hard_link("x", "d/file"), Refusal::HardLink);
    place.refuses(Raw::default().hard_link("x", "nothing"), Refusal::HardLink);
    place.refuses(Raw::default().directory("y").hard_link("x", "y"), Refusal::HardLink);
    place.refuses(Raw::default().hard_link("x", "."), Refusal::HardLink);
    let limits = Limits { absolute_names: true, ..Limits::default() };
    let tar = Raw::default().pax(&[("linkpath", file.as_bytes())]).hard_link("x", "y").end();
    assert_eq!(place.unpack_within(&tar, &limits).unwrap_err().kind(), Kind::Corrupt, "below the root, not there");
}

#[test]
fn a_hard_link_to_a_symlink_out_is_the_symlink() {
    let place = Place::new();
    let file = place.aim("file");
    let tar = Raw::default()
        .symlink("s", &file)
        // The entry's own mode must not reach what the link names.
        .add(&Head { mode: 0o4777, owner: (7, 7), link: b"s", ..head(b'1', b"h") }, b"")
        .add(&Head { link: b"h", ..head(b'1', b"h2") }, b"")
        .file("h", b"mine");
    place.unpack(&tar.end()).unwrap();
    assert_eq!(place.read("h"), "mine");
    assert!(place.root().join("h2").symlink_metadata().unwrap().is_symlink());
}

#[test]
fn a_hard_link_to_itself_or_into_what_it_replaces_loses_no_more_than_it_must() {
    let place = Place::new();
    place.unpack(&Raw::default().file("a", b"kept").hard_link("a", "a").hard_link("a", "./a").end()).unwrap();
    assert_eq!(place.read("a"), "kept");
    place.refuses(Raw::default().file("d/t", b"").hard_link("d", "d/t"), Refusal::HardLink);
}

#[test]
fn devices_are_made_as_the_archive_says_and_never_opened() {
    let place = Place::new();
    let tar = Raw::default()
        .add(&Head { device: (1, 3), mode: 0o666, ..head(b'3', b"null") }, b"")
        .add(&Head { device: (8, 1), mode: 0o4600, owner: (5, 6), ..head(b'4', b"disk") }, b"")
        .add(&Head { mode: 0o640, ..head(b'6', b"pipe") }, b"")
        .add(&Head { device: (1, 3), ..head(b'3', b"null") }, b"");
    place.unpack(&tar.clone().end()).unwrap();
    let meta = |name: &str| place.root().join(name).symlink_metadata().unwrap();
    assert!(meta("null").file_type().is_char_device() && meta("null").rdev() == rustix::fs::makedev(1, 3));
    assert!(meta("disk").file_type().is_block_device() && meta("disk").rdev() == rustix::fs::makedev(8, 1));
    assert_eq!((meta("disk").mode() & 0o7777, meta("disk").uid(), meta("disk").gid()), (0o4600, 5, 6));
    // Neither a pipe nor a device can stand for a directory, or be waited for.
    for parent in ["pipe", "null", "disk"] {
        Place::new().refuses(tar.clone().file(&format!("{parent}/x"), b""), Refusal::Parent);
    }
    place.unpack(&Raw::default().file("pipe", b"a file now").end()).unwrap();
    assert_eq!(place.read("pipe"), "a file now");
}

#[test]
fn huge_files_stop_at_the_limit_before_a_byte_is_written() {
    let huge = 1u64 << 50;
    let sparse = |size: u64| {
        let tar = Raw::default().add(&Head { size: Some(512), ..head(b'S', b"huge") }, b"");
        let mut tar = tar.0;
        tar[386..398].copy_from_slice(&number(0, 12));
        tar[398..410].copy_from_slice(&number(512, 12));
        tar[483..495].copy_from_slice(&number(size, 12));
        checksum(&mut tar);
        Raw(tar).data(&[7; 512])
    };
    let pax = Raw::default()
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"huge"),
            ("GNU.sparse.realsize", huge.to_string().as_bytes()),
        ])
        .file("x", &[&b"0\n"[..], &[0; 510]].concat());
    let plain = Raw::default().add(&Head { size: Some(huge), ..head(b'0', b"huge") }, b"");
    let many = sparse(40 << 30).0.repeat(2);
    let pax_size = Raw::default().pax(&[("size", b"18446744073709551615")]).file("x", b"");
    let mid = sparse(1 << 62);
    for raw in [sparse(huge), mid, pax, plain, Raw(many), pax_size] {
        let place = Place::new();
        let error = place.unpack(&raw.clone().end()).unwrap_err();
        assert!(matches!(error, UnpackError::Limit { .. }), "{error:?}");
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(matches!(layer::inspect(&raw.end()[..], &Limits::default()), Err(UnpackError::Limit { .. })));
    }
    // Within the limit a hole costs nothing.
    let place = Place::new();
    place.unpack(&sparse(1 << 30).end()).unwrap();
    let meta = place.root().join("huge").metadata().unwrap();
    assert_eq!(meta.len(), 1 << 30);
    assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
}

#[test]
fn malformed_sparse_maps_are_refused() {
    let pax = |records: &[(&str, &[u8])], data: &[u8]| Raw::default().pax(records).file("x", data);
    let one: &[(&str, &[u8])] =
        &[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"100")];
    let block = |text: &[u8]| {
        let mut block = text.to_vec();
        block.resize(512, 0);
        block
    };
    for raw in [
        pax(one, b"1\n0\n5\n"),
        pax(one, &block(b"1\n0\n5\n")),
        pax(one, &block(b"99999999\n0\n5\n")),
        pax(one, &block(b"18446744073709551615\n")),
        pax(one, &block(b"1\n99\n5\n")),
        pax(one, &block(b"111111111111111111111111111111111111")),
        pax(one, &[b'1'; 1024]),
        pax(&[("GNU.sparse.map", b"0,5,3"), ("GNU.sparse.size", b"100")], b"12345"),
        pax(&[("GNU.sparse.map", b"0,9"), ("GNU.sparse.size", b"100")], b"12345"),
        pax(&[("GNU.sparse.map", b"0,5")], b"12345"),
        pax(&[("GNU.sparse.numbytes", b"5"), ("GNU.sparse.size", b"5")], b"12345"),
        pax(&[("GNU.sparse.size", b"5")], b"12345"),
        pax(&[("GNU.sparse.major", b"2"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"5")], b"12345"),
    ] {
        let error = Place::new().unpack(&raw.end()).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{error:?}");
    }
}

/// A reader that says how much of it was wanted.
struct Counted<'a>(&'a mut u64, u64);

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = buffer.len().min(usize::try_from(self.1).unwrap_or(usize::MAX));
        buffer[..length].fill(b'1');
        self.1 -= length as u64;
        *self.0 += length as u64;
        Ok(length)
    }
}

#[test]
fn an_extended_header_of_gigabytes_is_refused_unread() {
    for kind in [b'x', b'g', b'L', b'K'] {
        let start = Raw::default().add(&Head { size: Some(8 << 30), ..head(kind, b"bomb") }, b"").0;
        let mut read = 0;
        let bomb = start.chain(Counted(&mut read, 8 << 30));
        let error = Place::new().unpack_with(bomb, &Limits::default()).unwrap_err();
        assert!(matches!(error, UnpackError::Limit { what: "bytes in an extended header", .. }), "{error:?}");
        assert!(read < 1 << 20, "{read} bytes were read");
        let bomb = start.chain(Counted(&mut read, 8 << 30));
        assert!(matches!(layer::index(bomb, &Limits::default(), |_| Ok(())), Err(UnpackError::Limit { .. })));
        assert!(read < 2 << 20, "{read} bytes were read");
    }
}

#[test]
fn endless_archives_stop_at_the_limits() {
    let limits = Limits { max_entries: 100, max_bytes: 1 << 20, ..Limits::default() };
    let error = |tar: &[u8]| Place::new().unpack_within(tar, &limits).unwrap_err();
    let files: Raw = (0..101).fold(Raw::default(), |raw, i| raw.file(&format!("{i}"), b""));
    assert!(matches!(error(&files.end()), UnpackError::Limit { what: "entries", limit: 100 }));
    let globals: Raw = (0..101).fold(Raw::default(), |raw, _| raw.add(&head(b'g', b"g"), b"6 a=b\n"));
    assert!(matches!(error(&globals.end()), UnpackError::Limit { what: "entries", limit: 100 }));
    let mut padding = Raw::default().end();
    padding.resize(2 << 20, 0);
    assert!(matches!(error(&padding), UnpackError::Limit { what: "bytes in its archive", .. }));
    let big = Raw::default().file("a", &vec![1; 600 << 10]).file("b", &vec![1; 600 << 10]).end();
    assert!(matches!(error(&big), UnpackError::Limit { .. }));
}

#[test]
fn names_the_kernel_cannot_have_are_refused() {
    let place = Place::new();
    place.refuses(Raw::default().pax(&[("path", b"a\0b")]).file("x", b""), Refusal::Nul);
    place.refuses(Raw::default().pax(&[("linkpath", b"a\0b")]).symlink("x", "y"), Refusal::Nul);
    place.refuses(Raw::default().add(&head(b'2', b"x"), b""), Refusal::Nul);
    place.refuses(Raw::default().add(&head(b'0', b""), b""), Refusal::Nul);
    place.refuses(Raw::default().long(b'L', &[b'n'; 256]).file("x", b""), Refusal::TooLong);
    place.refuses(Raw::default().long(b'L', &b"d/".repeat(3000)).file("x", b""), Refusal::TooLong);
    place.refuses(Raw::default().long(b'K', &[b'n'; 5000]).symlink("x", ""), Refusal::TooLong);
    place.unpack(&Raw::default().long(b'L', &[b'n'; 255]).file("x", b"").end()).unwrap();
}

#[test]
fn deep_trees_are_made_and_replaced() {
    let place = Place::new();
    let deep = b"d/".repeat(1200);
    let tar = Raw::default().long(b'L', &[&deep[..], b"f"].concat()).file("x", b"deep");
    place.unpack(&tar.clone().end()).unwrap();
    place.unpack(&tar.file("d", b"flat").end()).unwrap();
    assert_eq!(place.read("d"), "flat");
}

#[test]
fn unknown_types_are_named() {
    for kind in [b'V', b'M', b'D', b'Z', 1, 255] {
        Place::new().refuses(Raw::default().add(&head(kind, b"x"), b""), Refusal::Type(kind));
    }
}

#[test]
fn whiteouts_hide_only_what_layers_below_have() {
    let place = Place::new();
    for name in [".wh.", ".wh..", ".wh...", "a/.wh...", ".wh..wh.plnk", ".wh.x/y", ".wh..wh..opq/x"] {
        place.refuses(Raw::default().file(name, b""), Refusal::Whiteout);
    }
    place.refuses(Raw::default().directory(".wh.d"), Refusal::Whiteout);
    place.refuses(Raw::default().symlink(".wh.s", "x"), Refusal::Whiteout);

    let tar = Raw::default()
        .file("kept", b"kept")
        .file(".wh.kept", b"")
        .file(".wh.new", b"")
        .file("new", b"new")
        .directory("d1")
        .file(".wh.d1", b"")
        .file(".wh.d2", b"ignored")
        .directory("d2")
        .file(".wh.d3", b"")
        .file("d3/implied", b"")
        .file("o/.wh..wh..opq", b"")
        .directory("o")
        .hard_link(".wh.aufs", ".wh..wh.aufs")
        .symlink("link", &place.aim(""))
        .file(".wh.link", b"");
    let unpacked = place.unpack(&tar.end()).unwrap();
    assert!(!unpacked.opaque_root);
    let root = place.root();
    assert_eq!((place.read("kept"), place.read("new")), ("kept".to_owned(), "new".to_owned()));
    for directory in ["d1", "d2", "d3", "o"] {
        assert!(is_opaque(&root.join(directory)), "{directory}");
    }
    assert!(is_whiteout(&root.join("aufs")));
    assert!(root.join("link").symlink_metadata().unwrap().is_symlink());
    assert!(!root.join(".wh.kept").exists());
    let unpacked = place.unpack(&Raw::default().file(".wh..wh..opq", b"").end()).unwrap();
    assert!(unpacked.opaque_root);
}

#[test]
fn overlayfs_is_not_to_be_forged() {
    let place = Place::new();
    let forged: &[(&str, &[u8])] = &[
        ("SCHILY.xattr.trusted.overlay.redirect", b"/../../etc"),
        ("SCHILY.xattr.trusted.overlay.metacopy", b""),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.security.selinux", b"system_u:object_r:unconfined_t:s0"),
        ("SCHILY.xattr.user.kept", b"a\0b\nc"),
    ];
    let tar = Raw::default().pax(forged).file("f", b"").pax(forged).directory("d").pax(forged).symlink("s", "f");
    let unpacked = place.unpack(&tar.end()).unwrap();
    // A symbolic link can have no user attribute: there the honest one goes as well.
    assert_eq!(unpacked.dropped_xattrs, 16);
    for name in ["f", "d"] {
        let found = support::xattrs(&place.root().join(name));
        assert_eq!(found, [("user.kept".to_owned(), b"a\0b\nc".to_vec())]);
    }
    let long = format!("SCHILY.xattr.user.{}", "x".repeat(300));
    place.refuses(Raw::default().pax(&[(&long, b"")]).file("x", b""), Refusal::Xattr);
    place.refuses(Raw::default().pax(&[("SCHILY.xattr.security.capability", b"x")]).file("x", b""), Refusal::Xattr);
}

#[test]
fn the_root_stays_a_directory() {
    for name in [".", "./", "././"] {
        let place = Place::new();
        place.refuses(Raw::default().file(name, b""), Refusal::Root);
        place.refuses(Raw::default().symlink(name, "/"), Refusal::Root);
        place.refuses(Raw::default().file("x", b"").hard_link(name, "x"), Refusal::Root);
        let tar = Raw::default().add(&Head { mode: 0o1711, owner: (3, 4), ..head(b'5', name.as_bytes()) }, b"");
        place.unpack(&tar.file("x", b"").end()).unwrap();
        let meta = place.root().metadata().unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.mtime()), (0o1711, 3, 4, 1_000_000_000));
    }
}

#[test]
fn owners_and_devices_that_are_no_ids_are_refused() {
    let device = Head { device: (0o7777777, 1), ..head(b'3', b"x") };
    Place::new().refuses(Raw::default().add(&device, b""), Refusal::Device);
    for owner in [(u64::from(u32::MAX), 0), (0, 1 << 40)] {
        let place = Place::new();
        place.refuses(Raw::default().add(&Head { owner, ..head(b'0', b"x") }, b""), Refusal::Owner);
        place.refuses(Raw::default().add(&Head { owner, link: b"y", ..head(b'2', b"x") }, b""), Refusal::Owner);
    }
}

#[test]
fn the_last_of_several_entries_counts() {
    let place = Place::new();
    let tar = Raw::default()
        .file("f", b"first, and longer")
        .file("f", b"last")
        .file("d/inner", b"")
        .file("d", b"a file now")
        .file("e", b"")
        .directory("e")
        .file("e/inner", b"")
        .add(&Head { mode: 0o700, mtime: 5, ..head(b'5', b"e") }, b"");
    place.unpack(&tar.end()).unwrap();
    assert_eq!((place.read("f"), place.read("d")), ("last".to_owned(), "a file now".to_owned()));
    let meta = place.root().join("e").metadata().unwrap();
    assert_eq!((meta.permissions().mode() & 0o777, meta.mtime()), (0o700, 5));
    assert!(place.root().join("e/inner").exists(), "a directory that comes again keeps what is in it");
}

#[test]
fn set_id_bits_survive_the_change_of_owner() {
    let place = Place::new();
    let tar = Raw::default().add(&Head { mode: 0o6755, owner: (1, 2), ..head(b'0', b"su") }, b"x");
    place.unpack(&tar.end()).unwrap();
    assert_eq!(place.root().join("su").metadata().unwrap().mode() & 0o7777, 0o6755);
}

#[test]
fn a_pax_size_decides_where_the_next_header_is() {
    let place = Place::new();
    let inner = Raw::default().file("smuggled", b"").0;
    let mut raw = Raw::default().pax(&[("size", inner.len().to_string().as_bytes())]);
    raw = raw.add(&Head { size: Some(0), ..head(b'0', b"data") }, &inner);
    place.unpack(&raw.file("after", b"").end()).unwrap();
    assert!(!place.root().join("smuggled").exists() && place.root().join("after").exists());
    assert_eq!(std::fs::read(place.root().join("data")).unwrap(), inner);
}

#[test]
fn extended_headers_belong_to_exactly_one_entry() {
    for raw in [
        Raw::default().pax(&[("path", b"a")]),
        Raw::default().long(b'L', b"a"),
        Raw::default().long(b'L', b"a").long(b'L', b"b").file("x", b""),
        Raw::default().pax(&[("path", b"a")]).pax(&[("path", b"b")]).file("x", b""),
    ] {
        let error = Place::new().unpack(&raw.end()).unwrap_err();
        assert!(matches!(error, UnpackError::Format { source: FormatError::Extension, .. }), "{error:?}");
    }
}

/// One of everything.
fn rich() -> Raw {
    Raw::default()
        .directory("./")
        .directory("d")
        .file("d/f", &[1; 700])
        .add(&Head { size: Some(3), owner: (1 << 22, 5), ..head(b'0', b"owned") }, b"abc")
        .pax(&[("path", &b"long/".repeat(25)), ("mtime", b"-1.25"), ("SCHILY.xattr.user.x", b"y")])
        .directory("x")
        .long(b'L', &[b'n'; 200])
        .file("x", b"long")
        .symlink("s", "d/f")
        .hard_link("h", "d/f")
        .add(&Head { device: (1, 3), ..head(b'3', b"null") }, b"")
        .add(&head(b'6', b"pipe"), b"")
        .file(".wh.gone", b"")
        .file("d/.wh..wh..opq", b"")
        .pax(&[("GNU.sparse.map", b"0,3,1000,2"), ("GNU.sparse.size", b"2000"), ("GNU.sparse.name", b"sparse")])
        .file("GNUSparseFile.0/sparse", b"12345")
}

#[test]
fn an_archive_cut_anywhere_is_noticed() {
    let entries = rich().0.len();
    let whole = rich().end();
    let unpacked = Place::new().unpack(&whole).unwrap();
    assert_eq!(unpacked.diff_id, Digest::of(&whole));
    assert_eq!(layer::inspect(&whole[..], &Limits::default()).unwrap().diff_id, unpacked.diff_id);
    for cut in (0..=entries).step_by(512).chain((1..entries).step_by(499)) {
        let place = Place::new();
        let error = place.unpack(&whole[..cut]).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "cut at {cut}: {error}");
        assert!(matches!(error, UnpackError::Format { .. }), "cut at {cut}: {error}");
        assert!(layer::inspect(&whole[..cut], &Limits::default()).is_err());
    }
}

#[test]
fn a_missing_end_marker_is_accepted_where_a_digest_vouches() {
    let limits = Limits { end_marker: false, ..Limits::default() };
    let tar = Raw::default().file("a", b"x").0;
    assert_eq!(Place::new().unpack_within(&tar, &limits).unwrap().diff_id, Digest::of(&tar));
    assert!(Place::new().unpack_within(&tar[..700], &limits).is_err());
    assert_eq!(Place::new().unpack_within(&b""[..], &limits).unwrap().entries, 0);
}

#[test]
fn what_follows_the_archive_is_hashed_and_not_read_as_entries() {
    let place = Place::new();
    let mut tar = Raw::default().file("a", b"").end();
    tar.extend_from_slice(&Raw::default().file("b", b"").end());
    tar.extend_from_slice(&[0xaa; 700]);
    let unpacked = place.unpack(&tar).unwrap();
    assert_eq!((unpacked.diff_id, unpacked.archive_bytes), (Digest::of(&tar), tar.len() as u64));
    assert!(!place.root().join("b").exists());
}

#[test]
fn a_full_disk_is_no_space() {
    let thread = std::thread::spawn(|| {
        // A mount namespace that ends with this thread.
        sys::namespace::unshare(sys::process::CloneFlags::NEWNS).expect("this test needs root");
        let private = rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).unwrap();
        let place = Place::new();
        let size = c"size=256k";
        rustix::mount::mount("tmpfs", place.root(), "tmpfs", rustix::mount::MountFlags::empty(), size).unwrap();
        let tar = Raw::default().file("a", &vec![1; 1 << 20]).end();
        let error = place.unpack_with(&tar[..], &Limits::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::NoSpace, "{error:?}");
        assert!(errors::chain(&error).contains("\"a\"") && error.hint().is_some(), "{error}");
        rustix::mount::unmount(place.root(), rustix::mount::UnmountFlags::DETACH).unwrap();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn an_archive_that_cannot_be_kept_is_no_fault_of_its_own() {
    let tar = Raw::default().file("a", &[1; 300 << 10]).end();
    let mut kept = 0;
    let full = |bytes: &[u8]| {
        kept += bytes.len();
        if kept > 200 << 10 { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    };
    let error = layer::index(&tar[..], &Limits::default(), full).unwrap_err();
    assert!(matches!(error, UnpackError::Keep(_)) && error.kind() == Kind::NoSpace, "{error:?}");
    assert!(error.hint().is_some());
}

#[test]
fn errors_show_hostile_names_escaped_and_shortened() {
    let place = Place::new();
    let name = [&b"../\x1b[2J\n"[..], &[b'x'; 3000]].concat();
    let error = place.unpack(&Raw::default().pax(&[("path", &name)]).file("x", b"").end()).unwrap_err();
    let text = error.to_string();
    assert!(text.len() < 400 && !text.contains(['\n', '\x1b']), "{text:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Any damage, with checksums put right so that it is taken seriously: an error or a safe result, never a panic.
    #[test]
    fn damaged_archives_do_no_harm(
        flips in proptest::collection::vec((0usize..20_000, any::<u8>()), 1..12),
        repair in any::<bool>(),
    ) {
        let mut tar = rich().end();
        let length = tar.len();
        for (at, value) in flips {
            tar[at % length] = value;
        }
        if repair {
            for block in tar.chunks_exact_mut(512) {
                // What has the magic is a header.
                if &block[257..262] == b"ustar" {
                    checksum(block);
                }
            }
        }
        // Sizes that were hit may ask for large files: they are holes or errors, but keep them small here.
        let limits = Limits { max_bytes: 1 << 24, ..Limits::default() };
        if let Err(error) = Place::new().unpack_within(&tar, &limits) {
            prop_assert_ne!(error.kind(), Kind::Internal, "{:?}", error);
        }
    }

    /// Random sequences of links, files, directories and whiteouts over a few names that lead to each other and out.
    #[test]
    fn nothing_built_from_links_reaches_out(steps in proptest::collection::vec((0usize..6, 0usize..6, 0usize..6), 1..16)) {
        let place = Place::new();
        let names = ["a", "b", "a/b", "b/a", "a/file", "b/file"];
        let (out, file) = (place.aim(""), place.aim("file"));
        let targets = ["b", "/", "a/..", "../sentinel", &out, &file];
        for step in 1..=steps.len() {
            let mut raw = Raw::default();
            for &(what, name, target) in &steps[..step] {
                let (name, target) = (names[name], targets[target]);
                let hidden = name.rsplit_once('/').map_or_else(|| format!(".wh.{name}"), |(d, n)| format!("{d}/.wh.{n}"));
                raw = match what {
                    0 => raw.pax(&[("linkpath", target.as_bytes())]).symlink(name, "x"),
                    1 => raw.hard_link(name, names[target.len() % names.len()]),
                    2 => raw.directory(name),
                    3 => raw.file(&hidden, b""),
                    4 => raw.add(&Head { mode: 0o4777, owner: (1, 1), ..head(b'0', name.as_bytes()) }, b"evil"),
                    _ => raw.file(name, b"evil"),
                };
            }
            // On top of what the shorter sequences left: a dirty directory is more dangerous than an empty one.
            let tar = raw.end();
            if let Err(error) = place.unpack(&tar) {
                prop_assert_eq!(error.kind(), Kind::Corrupt, "{:?}", error);
            }
            if step == steps.len() {
                let _ = Place::new().unpack(&tar);
            }
        }
    }
}

#[test]
fn names_that_are_not_utf8_are_kept() {
    let place = Place::new();
    place.unpack(&Raw::default().add(&head(b'0', b"\xff\xfe"), b"").end()).unwrap();
    let name = std::fs::read_dir(place.root()).unwrap().next().unwrap().unwrap().file_name();
    assert_eq!(name.as_bytes(), b"\xff\xfe");
}
