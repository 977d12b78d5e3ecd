// SPDX-License-Identifier: Apache-2.0
//! `cp`: files of a container as archives, out and in; whether it runs or not.
//!
//! What is seen is the container's root with its binds and volumes (`view.rs`), as Docker has it: not what the kernel shows
//! in `/proc` and `/sys`, and no tmpfs. Every path is resolved in that root, where no link and no race of the container's
//! leads out (`path.rs`).

mod path;
mod view;

use std::io::{BufWriter, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

use jiff::Timestamp;
use layer::{Extraction, Limits, Owners, Writer};
use rustix::fs::{FileType, Mode, OFlags, Stat, StatVfsMountFlags, fstat, fstatvfs, openat};
use rustix::io::Errno;

use crate::Engine;
use crate::container::Container;
use crate::create::Turn;
use crate::error::EngineError;
use crate::user;
use crate::userns::{self, IdRange};
use path::{Found, Wanted};
use view::View;

const BUFFER: usize = 256 << 10;

/// What is known of a file of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStat {
    /// The last part of its path.
    pub name: String,
    /// In bytes.
    pub size: i64,
    /// Type and permissions, as stat(2) has them.
    pub mode: u32,
    /// When it was last modified.
    pub mtime: Timestamp,
    /// Where a symbolic link leads in the end; empty for everything else.
    pub link_target: String,
}

/// How files are put into a container.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExtractOptions {
    /// They become the container's user's, instead of whose the archive says.
    pub users: bool,
    /// No directory is replaced by something else, nor something else by a directory.
    pub keep_kinds: bool,
}

/// A file or directory of a container, about to be written as an archive.
#[must_use = "nothing is written before `write`"]
pub struct PathArchive {
    /// What it is.
    pub stat: PathStat,
    view: View,
    found: Found,
    wanted: Wanted,
}

/// A directory of a container, about to be extracted into.
#[must_use = "nothing is extracted before `extract`"]
pub struct Destination {
    view: View,
    at: String,
    owners: Owners,
    keep_kinds: bool,
    container: Arc<Container>,
    /// Nobody starts or removes it meanwhile.
    _turn: Turn,
}

impl Engine {
    /// What a container's file is. A link that the path ends with is not followed, unless a slash stands behind it.
    ///
    /// # Errors
    /// No such container, or no such file in it.
    pub async fn stat_path(self: &Arc<Self>, name: &str, path: &str) -> Result<PathStat, EngineError> {
        Ok(self.archive_of(name, path, false).await?.stat)
    }

    /// Opens a file or directory of a container, to be written by [`PathArchive::write`].
    ///
    /// # Errors
    /// No such container, or no such file in it.
    pub async fn archive_path(self: &Arc<Self>, name: &str, path: &str) -> Result<PathArchive, EngineError> {
        self.archive_of(name, path, true).await
    }

    async fn archive_of(self: &Arc<Self>, name: &str, path: &str, tell: bool) -> Result<PathArchive, EngineError> {
        let wanted = Wanted::new(path)?;
        let container = self.container(name)?;
        let turn = Arc::clone(&container.lifecycle).lock_owned().await;
        let engine = Arc::clone(self);
        self.blocking("look into a container", move || {
            let mut view = engine.view(&container)?;
            // One that runs may be stopped while it is read; one that does not must not be started.
            if !view.runs {
                view.turn = Some(turn);
            }
            let missing = |errno: Errno| no_such_path(&container, &wanted.text, errno);
            let found = path::open(view.root.as_fd(), &wanted).map_err(missing)?;
            let stat = stat_of(&view, &wanted, &found).map_err(missing)?;
            if tell {
                container.tell("archive-path", []);
            }
            Ok(PathArchive { stat, view, found, wanted })
        })
        .await
    }

    /// Opens a directory of a container, to be filled by [`Destination::extract`].
    ///
    /// # Errors
    /// No such container, or no such directory in it; one that the container itself may not write to.
    pub async fn destination(
        self: &Arc<Self>,
        name: &str,
        path: &str,
        options: ExtractOptions,
    ) -> Result<Destination, EngineError> {
        let wanted = Wanted::new(path)?;
        let container = self.container(name)?;
        let turn = Arc::clone(&container.lifecycle).lock_owned().await;
        let engine = Arc::clone(self);
        self.blocking("look into a container", move || {
            let view = engine.view(&container)?;
            let missing = |errno: Errno| no_such_path(&container, &wanted.text, errno);
            let at = path::canonical(view.root.as_fd(), &wanted.path).map_err(missing)?;
            let directory = path::open_directory(view.root.as_fd(), &at).map_err(|errno| match errno {
                Errno::NOTDIR => EngineError::invalid("path", "extraction point is not a directory"),
                errno => missing(errno),
            })?;
            check_writable(&view, &container, &directory).map_err(missing)??;
            let owners = owners(&view, &container, options.users)?;
            Ok(Destination { view, at, owners, keep_kinds: options.keep_kinds, container, _turn: turn })
        })
        .await
    }
}

impl PathArchive {
    /// Writes the archive. Blocks until all of it is written.
    ///
    /// # Errors
    /// A file cannot be read, or `out` cannot be written to. The archive is cut off then.
    pub fn write(self, out: impl Write) -> Result<(), EngineError> {
        let PathArchive { view, found, wanted, .. } = self;
        let out = BufWriter::with_capacity(BUFFER, out);
        let mut archive = Writer::new(out).of_ids(view.ids.map(IdRange::of_tree));
        let name = wanted.base.as_bytes();
        match &found {
            Found::Directory(directory) => layer::pack_as(directory.as_fd(), name, &mut archive)?,
            Found::Other { parent, name: last, .. } => layer::pack_one(parent.as_fd(), last, name, &mut archive)?,
        }
        let written = archive.finish().and_then(|mut out| out.flush());
        drop(view);
        written.map_err(|source| EngineError::Pack(layer::PackError::Output(source)))
    }
}

impl Destination {
    /// Extracts an archive, which may be compressed. Blocks until all of it is read.
    ///
    /// # Errors
    /// The archive is broken or hostile, something in the container is in its way, or cannot be written. A part of it is
    /// there then.
    pub fn extract(self, archive: impl Read) -> Result<(), EngineError> {
        // As much as the container's disk takes is its maker's matter.
        let limits = Limits {
            max_bytes: u64::MAX,
            max_entries: u64::MAX,
            absolute_names: true,
            end_marker: false,
            ..Limits::default()
        };
        let extraction = Extraction {
            at: self.at.trim_start_matches('/').as_bytes(),
            owners: self.owners,
            keep_kinds: self.keep_kinds,
            rename: None,
            ids: self.view.ids.map(IdRange::of_tree),
        };
        let _acting = userns::act_as_root(self.view.ids)?;
        let archive = layer::decompressed(archive).map_err(layer::UnpackError::Read)?;
        layer::extract(archive, self.view.root.as_fd(), &extraction, &limits)?;
        self.container.tell("extract-to-dir", []);
        Ok(())
    }
}

fn no_such_path(container: &Container, path: &str, errno: Errno) -> EngineError {
    match errno {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP => EngineError::NoSuchPath {
            path: path.to_owned(),
            container: container.with_record(|record| record.name.clone()),
        },
        errno => EngineError::io("open the container's", path)(errno.into()),
    }
}

fn stat_of(view: &View, wanted: &Wanted, found: &Found) -> Result<PathStat, Errno> {
    let stat = match found {
        Found::Directory(directory) => fstat(directory)?,
        Found::Other { stat, .. } => *stat,
    };
    let link_target = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => path::canonical(view.root.as_fd(), &wanted.path)?,
        _ => String::new(),
    };
    Ok(PathStat {
        name: wanted.base.clone(),
        size: stat.st_size,
        mode: stat.st_mode,
        mtime: modified(&stat),
        link_target,
    })
}

/// When it was last modified; the epoch for what no calendar has.
fn modified(stat: &Stat) -> Timestamp {
    let nanoseconds = i32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    Timestamp::new(stat.st_mtime, nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Whether the container itself could write there: cp is no way around what it was started with.
fn check_writable(view: &View, container: &Container, directory: &impl AsFd) -> Result<Result<(), EngineError>, Errno> {
    let refuse = |reason| Ok(Err(EngineError::invalid("path", reason)));
    let read_only = fstatvfs(directory)?.f_flag.contains(StatVfsMountFlags::RDONLY);
    if path::mount_id(directory)? == path::mount_id(&view.root)? {
        if read_only || container.with_record(|record| record.spec.read_only) {
            return refuse("container rootfs is marked read-only");
        }
    } else if read_only {
        return refuse("mounted volume is marked read-only");
    }
    Ok(Ok(()))
}

fn owners(view: &View, container: &Container, users: bool) -> Result<Owners, EngineError> {
    let user = container.with_record(|record| record.process.user.clone());
    if !users || user.is_empty() {
        return Ok(Owners::Archived);
    }
    let root = openat(&view.root, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| EngineError::io("open the container's", "/")(errno.into()))?;
    let identity = user::look_up(root.as_fd(), &user, &[])?;
    Ok(Owners::These { uid: identity.uid, gid: identity.gid })
}
