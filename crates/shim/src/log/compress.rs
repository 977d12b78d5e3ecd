// SPDX-License-Identifier: Apache-2.0
//! Compressing a file of the log that is no longer written to, beside the shim: in a child of its own, because the shim
//! has one thread, on which the container's output waits.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};
use sys::process::{Child, clone_plain};

use super::files::with_suffix;

/// The container may wait for it, and lines of a log are alike: a tenth of the size at twice the speed of the default.
const LEVEL: flate2::Compression = flate2::Compression::fast();
/// How much is compressed at once, in bytes.
const CHUNK: usize = 64 << 10;

/// A file that is being compressed.
#[derive(Debug)]
pub(super) struct Compression(Option<Child>);

impl Compression {
    /// Replaces `path` by `<path>.gz`. A file that cannot be compressed stays as it is: readers know both.
    pub(super) fn start(path: PathBuf) -> Compression {
        let child = clone_plain(|| {
            // The container's pipes and the clients' connections: their ends must not wait for this.
            if sys::fds::close_from(3).is_err() {
                return 1;
            }
            i32::from(compress(&path).is_err())
        });
        match child {
            Ok(child) => Compression(Some(child)),
            Err(_) => {
                // No child can be had: the container waits, and its log stays within its bound.
                let _ = compress(&path);
                Compression(None)
            }
        }
    }

    /// Waits until it is done.
    pub(super) fn finish(self) {
        if let Some(child) = self.0 {
            // The shim's loop reaps all children and may have been first: then it is done as well.
            while matches!(waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED), Err(Errno::INTR)) {}
        }
    }
}

/// Writes `<path>.gz`, which is visible when it is whole, and removes `path`.
pub(super) fn compress(path: &Path) -> io::Result<()> {
    let new = with_suffix(path, ".gz.new");
    let done = write_compressed(path, &new).and_then(|()| std::fs::rename(&new, with_suffix(path, ".gz")));
    match done {
        Ok(()) => std::fs::remove_file(path),
        Err(e) => {
            // Half a file takes room that may be what is missing.
            let _ = std::fs::remove_file(&new);
            Err(e)
        }
    }
}

fn write_compressed(path: &Path, new: &Path) -> io::Result<()> {
    let mut plain = BufReader::with_capacity(CHUNK, File::open(path)?);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file: File = openat(CWD, new, flags, Mode::RUSR | Mode::WUSR)?.into();
    let mut encoder = GzEncoder::new(io::BufWriter::with_capacity(CHUNK, file), LEVEL);
    let mut chunk = vec![0; CHUNK];
    loop {
        match plain.read(&mut chunk)? {
            0 => break,
            count => encoder.write_all(&chunk[..count])?,
        }
    }
    encoder.finish()?.flush()
}
