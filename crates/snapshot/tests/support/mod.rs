// SPDX-License-Identifier: Apache-2.0
//! Layers made in memory, and a look into a detached mount from a mount namespace of its own.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;

use oci::Digest;
use rustix::mount::{MountPropagationFlags, MoveMountFlags};

/// The time of everything in a layer made here.
pub(crate) const MTIME: u64 = 1_600_000_000;

pub(crate) struct Layer {
    pub(crate) tar: Vec<u8>,
    pub(crate) diff_id: Digest,
}

pub(crate) struct Builder(tar::Builder<Vec<u8>>);

impl Layer {
    #[allow(clippy::new_ret_no_self, reason = "reads as: a new layer with these files")]
    pub(crate) fn new() -> Builder {
        Builder(tar::Builder::new(Vec::new()))
    }
}

impl Builder {
    pub(crate) fn file(self, path: &str, content: &[u8]) -> Builder {
        self.entry(tar::EntryType::Regular, path, 0o644, (0, 0), content)
    }

    pub(crate) fn directory(self, path: &str, mode: u32) -> Builder {
        self.owned_directory(path, mode, 0, 0)
    }

    pub(crate) fn owned_directory(self, path: &str, mode: u32, uid: u64, gid: u64) -> Builder {
        self.entry(tar::EntryType::Directory, path, mode, (uid, gid), b"")
    }

    fn entry(mut self, kind: tar::EntryType, path: &str, mode: u32, owner: (u64, u64), content: &[u8]) -> Builder {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_path(path).unwrap();
        header.set_mode(mode);
        header.set_uid(owner.0);
        header.set_gid(owner.1);
        header.set_mtime(MTIME);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    pub(crate) fn finish(self) -> Layer {
        let tar = self.0.into_inner().unwrap();
        let diff_id = Digest::of(&tar);
        Layer { tar, diff_id }
    }
}

/// Attaches `mount` in a new mount namespace, which ends with the thread that is in it, and runs `look` there.
pub(crate) fn in_mount<T: Send + 'static>(mount: OwnedFd, look: impl FnOnce(&Path) -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(move || {
        sys::namespace::unshare(sys::process::CloneFlags::NEWNS).expect("this test needs root");
        rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        let target = tempfile::tempdir().unwrap();
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(&mount, "", rustix::fs::CWD, target.path(), flags).unwrap();
        let result = look(target.path());
        rustix::mount::unmount(target.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
        result
    });
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The names in a directory, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

/// A user namespace whose ids are 65536 of the host's from `first` on.
#[allow(dead_code, reason = "not every suite has other ids")]
pub(crate) fn user_namespace(first: u32) -> OwnedFd {
    let mut child = testkit::process::command("unshare")
        .args(["--user", "sh", "-c", "echo; read line"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It says so when it is there.
    child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    let place = |name: &str| format!("/proc/{}/{name}", child.id());
    for name in ["uid_map", "gid_map"] {
        std::fs::write(place(name), format!("0 {first} 65536\n")).unwrap();
    }
    let namespace = std::fs::File::open(place("ns/user")).unwrap();
    drop(child.stdin.take());
    child.wait().unwrap();
    namespace.into()
}
