// SPDX-License-Identifier: Apache-2.0
//! Honest archives, made by GNU tar in every format it has, unpacked here and by GNU tar, and compared file by file:
//! type, mode, owner, time, links, content, extended attributes. Needs root and GNU tar.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use layer::{Compression, Limits};
use oci::Digest;
use rustix::fs::{FileType, Mode, XattrFlags};

#[allow(clippy::disallowed_methods, reason = "the peer that is compared with")]
fn gnu_tar(arguments: &[&str], directory: &Path, archive: &Path) {
    let common = ["--numeric-owner", "--xattrs", "--xattrs-include=*"];
    let output = std::process::Command::new("tar")
        .args(common)
        .args(arguments)
        .arg("-C")
        .arg(directory)
        .arg("-f")
        .arg(archive)
        .args(if arguments.contains(&"-c") { &["."][..] } else { &[] })
        .output()
        .expect("this test needs GNU tar");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// One of everything that a root file system can hold.
fn build(root: &Path) {
    let fs = |path: &str| root.join(path);
    for directory in ["usr/share/deep/er", "tmp", "empty", "xattrs"] {
        std::fs::create_dir_all(fs(directory)).unwrap();
    }
    for size in [0, 1, 511, 512, 513, 4096, 131_071, 131_072, 131_073, 1_000_000] {
        let content: Vec<u8> = (0..size).map(|i: usize| (i * 7 + i / 251) as u8).collect();
        std::fs::write(fs(&format!("usr/share/file-{size}")), content).unwrap();
    }
    std::fs::write(fs("su"), b"x").unwrap();
    std::os::unix::fs::chown(fs("su"), Some(1000), Some(3_000_000)).unwrap();
    std::fs::set_permissions(fs("su"), std::fs::Permissions::from_mode(0o6751)).unwrap();
    std::fs::set_permissions(fs("tmp"), std::fs::Permissions::from_mode(0o1777)).unwrap();
    std::fs::set_permissions(fs("empty"), std::fs::Permissions::from_mode(0o000)).unwrap();
    std::fs::hard_link(fs("su"), fs("su-again")).unwrap();
    std::fs::hard_link(fs("su"), fs("usr/share/deep/su-deep")).unwrap();
    std::os::unix::fs::symlink("../nowhere", fs("usr/link")).unwrap();
    std::os::unix::fs::symlink("/".to_owned() + &"long/".repeat(60), fs("long-link")).unwrap();
    std::fs::hard_link(fs("usr/link"), fs("usr/link-again")).unwrap();
    std::fs::write(fs(&"n".repeat(240)), b"long name").unwrap();
    std::fs::write(root.join(OsStr::from_bytes(b"latin-\xe9\nline")), b"odd name").unwrap();
    let device = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(rustix::fs::CWD, fs("null"), FileType::CharacterDevice, Mode::RWXU, device).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, fs("loop0"), FileType::BlockDevice, Mode::RUSR, rustix::fs::makedev(7, 300))
        .unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, fs("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    for (path, name, value) in [
        ("xattrs", "user.directory", &b"d"[..]),
        ("usr/share/file-1", "user.binary", b"a\0b\n=c"),
        // CAP_NET_RAW, permitted and effective, as `setcap` writes it.
        ("usr/share/file-512", "security.capability", b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
    ] {
        rustix::fs::setxattr(fs(path), name, value, XattrFlags::empty()).unwrap();
    }
    let sparse = std::fs::File::create(fs("sparse")).unwrap();
    sparse.set_len(40 << 20).unwrap();
    for i in 0..30 {
        sparse.write_all_at(&[i + 1; 5000], u64::from(i) << 20).unwrap();
    }
    std::fs::File::create(fs("all-hole")).unwrap().set_len(1 << 20).unwrap();
    std::os::unix::fs::lchown(fs("usr/link"), Some(7), Some(8)).unwrap();
    for (path, seconds, nanoseconds) in
        [("su", 1, 5), ("usr/link", 1_234_567_890, 123_456_789), ("usr", -100, 250_000_000), ("tmp", 1 << 33, 0)]
    {
        let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(rustix::fs::CWD, fs(path), &times, flags).unwrap();
    }
}

#[track_caller]
fn same(expected: &Path, found: &Path, what: &str) {
    let (expected, found) = (support::dump(expected, None), support::dump(found, None));
    for (name, text) in &expected {
        let shown = String::from_utf8_lossy(name);
        assert_eq!(found.get(name), Some(text), "{what}: {shown:?}");
    }
    assert_eq!(found.len(), expected.len(), "{what}: more than there should be");
}

/// Unpacks `archive` here and by GNU tar, and compares.
fn compare(archive: &Path, what: &str) -> tempfile::TempDir {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = std::fs::File::open(ours.path()).unwrap();
    let unpacked = layer::unpack(std::fs::File::open(archive).unwrap(), root.as_fd(), &Limits::default()).unwrap();
    let bytes = std::fs::read(archive).unwrap();
    assert_eq!(unpacked.diff_id, Digest::of(&bytes), "{what}");
    assert_eq!(layer::inspect(&bytes[..], &Limits::default()).unwrap().bytes, unpacked.bytes, "{what}");
    gnu_tar(&["-x", "-p", "--same-owner"], theirs.path(), archive);
    same(theirs.path(), ours.path(), what);
    ours
}

#[test]
fn everything_comes_out_as_gnu_tar_would_have_it() {
    let source = tempfile::tempdir().unwrap();
    build(source.path());
    let archive = source.path().with_extension("tar");
    for format in [
        &["--no-xattrs", "--format=gnu"][..],
        &["--no-xattrs", "--format=gnu", "--sparse"],
        &["--format=posix"],
        &["--format=posix", "--sparse", "--sparse-version=0.0"],
        &["--format=posix", "--sparse", "--sparse-version=0.1"],
        &["--format=posix", "--sparse", "--sparse-version=1.0"],
        &["--format=posix", "--sort=name"],
    ] {
        gnu_tar(&[format, &["-c"]].concat(), source.path(), &archive);
        let ours = compare(&archive, &format!("{format:?}"));
        let sparse = ours.path().join("sparse").metadata().unwrap();
        assert_eq!(sparse.len(), 40 << 20);
        if format.contains(&"--sparse") {
            assert!(sparse.blocks() * 512 < 4 << 20, "{format:?}: the holes were filled");
        }
        // The format that loses nothing is also compared with the source.
        if format.contains(&"--format=posix") {
            same(source.path(), ours.path(), &format!("{format:?} and the source"));
        }
        std::fs::remove_file(&archive).unwrap();
    }
}

#[test]
fn old_formats_come_out_as_gnu_tar_would_have_them() {
    let source = tempfile::tempdir().unwrap();
    let deep = source.path().join("d".repeat(80)).join("e".repeat(60));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("f"), b"needs the prefix field").unwrap();
    std::os::unix::fs::symlink("x", source.path().join("soft")).unwrap();
    let archive = source.path().with_extension("tar");
    gnu_tar(&["--no-xattrs", "--format=ustar", "-c"], source.path(), &archive);
    compare(&archive, "ustar");
    std::fs::remove_dir_all(source.path().join("d".repeat(80))).unwrap();
    std::fs::create_dir(source.path().join("directory")).unwrap();
    std::fs::write(source.path().join("directory/f"), b"v7").unwrap();
    gnu_tar(&["--no-xattrs", "--format=v7", "-c"], source.path(), &archive);
    compare(&archive, "v7");
    std::fs::remove_file(&archive).unwrap();
}

#[test]
fn this_machines_own_files_come_out_as_they_are() {
    for real in ["/usr/sbin", "/etc/alternatives"] {
        let work = tempfile::tempdir().unwrap();
        let archive = work.path().join("tar");
        gnu_tar(&["--format=posix", "-c"], Path::new(real), &archive);
        compare(&archive, real);
    }
}

#[test]
fn compressed_layers_come_out_the_same() {
    let source = tempfile::tempdir().unwrap();
    std::fs::write(source.path().join("f"), b"text ".repeat(100_000)).unwrap();
    let archive = source.path().with_extension("tar");
    gnu_tar(&["--format=posix", "-c"], source.path(), &archive);
    let tar = std::fs::read(&archive).unwrap();
    std::fs::remove_file(&archive).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&tar).unwrap();
    let zstd = zstd::encode_all(&tar[..], 3).unwrap();
    for (packed, compression) in
        [(tar.clone(), Compression::None), (gzip.finish().unwrap(), Compression::Gzip), (zstd, Compression::Zstd)]
    {
        assert_eq!(layer::detect(&packed), compression);
        let ours = tempfile::tempdir().unwrap();
        let root = std::fs::File::open(ours.path()).unwrap();
        let decoder = layer::decompress(&packed[..], compression).unwrap();
        let unpacked = layer::unpack(decoder, root.as_fd(), &Limits::default()).unwrap();
        assert_eq!(unpacked.diff_id, Digest::of(&tar));
        same(source.path(), ours.path(), &format!("{compression:?}"));
        // Cut short it is corrupt, however it was compressed.
        let half = layer::decompress(&packed[..packed.len() / 2], compression).unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let root = std::fs::File::open(scratch.path()).unwrap();
        let error = layer::unpack(half, root.as_fd(), &Limits::default()).unwrap_err();
        assert_eq!(errors::Classify::kind(&error), errors::Kind::Corrupt, "{error:?}");
    }
}

#[test]
fn what_is_packed_comes_out_the_same_here_and_from_gnu_tar() {
    let source = tempfile::tempdir().unwrap();
    build(source.path());
    let root = std::fs::File::open(source.path()).unwrap();
    let mut archive = layer::Writer::new(Vec::new());
    layer::pack(root.as_fd(), layer::Form::Whole, &mut archive).unwrap();
    let path = source.path().with_extension("packed");
    std::fs::write(&path, archive.finish().unwrap()).unwrap();
    let unpacked = compare(&path, "packed");
    same(source.path(), unpacked.path(), "packed and unpacked");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_directory_takes_what_it_takes() {
    let source = tempfile::tempdir().unwrap();
    build(source.path());
    let root = std::fs::File::open(source.path()).unwrap();
    #[allow(clippy::disallowed_methods, reason = "the peer that is compared with")]
    let du = std::process::Command::new("du").args(["-s", "--block-size=1"]).arg(source.path()).output().unwrap();
    let du: u64 = String::from_utf8_lossy(&du.stdout).split_whitespace().next().unwrap().parse().unwrap();
    assert_eq!(layer::disk_usage(root.as_fd()).unwrap(), du);
}
