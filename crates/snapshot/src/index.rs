// SPDX-License-Identifier: Apache-2.0
//! A layer's index: the EROFS image that says where in its archive the files are, written and mounted.
//!
//! **Architecture Invariant:** only images that this program has written are mounted. A file system's metadata is read
//! by the kernel with little distrust, and archives come from anywhere.

mod probe;

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::os::fd::OwnedFd;

use erofs::{Device, Inode, InodeId, Kind, Tree, WriteError};
use layer::{NodeKind, Nodes};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

use crate::SnapshotError;
use crate::overlay::{log, name};

pub(crate) use probe::probe;

const BUFFER: usize = 64 << 10;

/// Writes the image of `nodes`, whose files are in the archive `device`, to `file`.
pub(crate) fn write(nodes: &Nodes, device: &Device, file: &File) -> Result<(), WriteError> {
    let mut out = BufWriter::with_capacity(BUFFER, file);
    erofs::write(&Source(nodes), device, &mut out)?;
    Ok(out.flush()?)
}

/// A layer's tree as the image's writer wants it.
struct Source<'n>(&'n Nodes);

impl Tree for Source<'_> {
    fn size(&self) -> u32 {
        self.0.count()
    }

    fn inode(&self, id: InodeId) -> Inode<'_> {
        let node = self.0.node(id);
        let kind = match &node.kind {
            NodeKind::File { offset, size } => Kind::File { offset: *offset, size: *size },
            NodeKind::Directory(_) => Kind::Directory,
            NodeKind::Symlink(target) => Kind::Symlink(target),
            NodeKind::CharDevice(major, minor) => Kind::CharDevice(*major, *minor),
            NodeKind::BlockDevice(major, minor) => Kind::BlockDevice(*major, *minor),
            NodeKind::Fifo => Kind::Fifo,
        };
        Inode {
            kind,
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            seconds: node.mtime.seconds,
            nanoseconds: node.mtime.nanoseconds,
            xattrs: node.xattrs.iter().collect(),
        }
    }

    fn names(&self, id: InodeId) -> impl Iterator<Item = (&[u8], InodeId)> {
        self.0.names(id)
    }
}

/// Mounts `image`, whose files are in `archive`, and returns the detached mount, which is in no mount table. It lasts as
/// long as something holds it: a descriptor, or an overlay above it.
pub(crate) fn mount(image: &OwnedFd, archive: &OwnedFd) -> Result<OwnedFd, SnapshotError> {
    let failed = |step, log, error: Errno| SnapshotError::Index { step, log, source: error.into() };
    let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC);
    let context = context.map_err(|error| failed("fsopen(\"erofs\")", String::new(), error))?;
    let step = |step| {
        let context = &context;
        move |error| failed(step, log(context), error)
    };
    fsconfig_set_flag(&context, "ro").map_err(step("ro"))?;
    fsconfig_set_string(&context, "source", name(image)).map_err(step("source"))?;
    fsconfig_set_string(&context, "device", name(archive)).map_err(step("device"))?;
    fsconfig_create(&context).map_err(step("fsconfig(FSCONFIG_CMD_CREATE)"))?;
    let read_only = MountAttrFlags::MOUNT_ATTR_RDONLY;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, read_only).map_err(step("fsmount"))
}
