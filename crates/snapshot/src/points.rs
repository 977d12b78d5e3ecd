// SPDX-License-Identifier: Apache-2.0
//! What every container has something mounted on. An image need not have these places; where it has not, they would have to
//! be made in the writable directory at every first start, and removed with it. They are made once, in a directory that
//! lies below all layers: whatever a layer has at such a place, or has removed, hides them.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::SnapshotError;
use crate::error::At as _;
use crate::store::{DIRECTORY, Store};

/// The directory below all layers, in the store.
const POINTS: &str = ".mount-points";
const DIRECTORIES: [&str; 4] = ["dev", "etc", "proc", "sys"];
/// The files of every container on which others are mounted: their paths from `/`, without it. Where neither the image nor
/// the container has one, it is there all the same, and empty.
pub const MOUNT_POINTS: [&str; 3] = ["etc/hostname", "etc/hosts", "etc/resolv.conf"];

/// Makes what is missing.
pub(crate) fn make(store: &Store) -> Result<(), SnapshotError> {
    let path = || store.path.join(POINTS);
    let made = |result: rustix::io::Result<()>| match result {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error).at("make", path),
    };
    made(rustix::fs::mkdirat(&store.layers, POINTS, Mode::RWXU))?;
    let top = rustix::fs::openat(&store.layers, POINTS, DIRECTORY | OFlags::RDONLY, Mode::empty()).at("open", path)?;
    for name in DIRECTORIES {
        made(rustix::fs::mkdirat(&top, name, Mode::RWXU))?;
        let directory = rustix::fs::openat(&top, name, DIRECTORY | OFlags::RDONLY, Mode::empty()).at("open", path)?;
        // The umask has no say in it.
        rustix::fs::fchmod(&directory, Mode::from_raw_mode(0o755)).at("chmod", path)?;
    }
    for name in MOUNT_POINTS {
        let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&top, name, flags, Mode::RUSR).at("make", path)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644)).at("chmod", path)?;
    }
    Ok(())
}

/// Opens the directory that has them.
pub(crate) fn open(store: &Store) -> Result<OwnedFd, SnapshotError> {
    rustix::fs::openat(&store.layers, POINTS, DIRECTORY | OFlags::PATH, Mode::empty())
        .at("open", || store.path.join(POINTS))
}
