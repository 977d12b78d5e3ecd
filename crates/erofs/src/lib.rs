// SPDX-License-Identifier: Apache-2.0
//! Writes EROFS images without data (kernel documentation, `filesystems/erofs.rst`; `fs/erofs/erofs_fs.h`): a tree of
//! inodes whose files are ranges of another file, the *device*, which is given when the image is mounted. What
//! `mkfs.erofs --tar=i` makes of a tar archive.
//!
//! ```text
//! block 2        superblock, and the one slot of the device table
//! from block 3   inodes, each followed by its extended attributes and by the rest of its directory or link, or by
//!                where its data is on the device; the root directory first, then directory by directory
//! then           whole blocks of directories and of long links
//! ```
//!
//! Blocks have 512 bytes: the data of a tar archive is aligned to no more. All inodes are of the extended form: the
//! compact one has no times of its own, which nearly every file in an archive needs.
//!
//! **Architecture Invariant:** pure. A tree in, bytes out, in order; nothing is ever read back. There is no reader of
//! images here, and there must be none: an image that somebody else has made is never mounted.

mod checksum;
mod directory;
mod inode;
mod layout;
mod superblock;
mod xattr;

use std::io::{self, Write};

use layout::Layout;

/// Bytes of a block, of the image as of the device.
pub const BLOCK: u64 = 512;

/// Says which inode is meant: a number from 0 up to [`Tree::size`].
pub type InodeId = u32;

/// The root directory.
pub const ROOT: InodeId = 0;

/// What an image is made of.
pub trait Tree {
    /// One more than the highest number of an inode.
    fn size(&self) -> u32;

    /// An inode. Asked several times, and only of those that are reached from the root.
    fn inode(&self, id: InodeId) -> Inode<'_>;

    /// The names in a directory, in any order, without `.` and `..`; of other inodes nothing. An inode with several names
    /// is a file with hard links; a directory has one name.
    fn names(&self, id: InodeId) -> impl Iterator<Item = (&[u8], InodeId)>;
}

/// One file, directory, link or device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode<'t> {
    /// What it is.
    pub kind: Kind<'t>,
    /// Permission, set-id and sticky bits.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The owner's group.
    pub gid: u32,
    /// When it was last changed, in seconds since 1970; also its other times.
    pub seconds: i64,
    /// 0 to 999,999,999, forward from `seconds`.
    pub nanoseconds: u32,
    /// Extended attributes: whole names, and values. In the namespaces `user`, `trusted` and `security`.
    pub xattrs: Vec<(&'t [u8], &'t [u8])>,
}

/// What an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'t> {
    /// A file: `size` bytes of the device, from byte `offset` on, which is a multiple of [`BLOCK`]. The device has all
    /// of the last block.
    File {
        /// Where its data begins.
        offset: u64,
        /// Its size in bytes.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link to this.
    Symlink(&'t [u8]),
    /// A character device: major and minor number.
    CharDevice(u32, u32),
    /// A block device: major and minor number.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
}

/// The file that has the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Its size in bytes.
    pub size: u64,
    /// Identifies the image, as a file system's UUID does.
    pub uuid: [u8; 16],
}

/// Why no image could be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// What was given to take the bytes did not.
    #[error("cannot write the image")]
    Io(#[from] io::Error),
    /// Something that the format cannot express.
    #[error("the format cannot express inode {inode}")]
    Inode {
        /// Which one.
        inode: InodeId,
        /// Why.
        #[source]
        source: Problem,
    },
    /// More blocks than can be numbered.
    #[error("the image would have more than 2^32 blocks")]
    TooLarge,
}

/// What the format cannot express.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A name that is empty, too long (255 bytes are possible), `.` or `..`, or has a slash or a zero byte in it.
    #[error("a name in it is not possible")]
    Name,
    /// Two equal names.
    #[error("a name in it occurs twice")]
    Duplicate,
    /// A number that belongs to no inode, or a second name of a directory.
    #[error("a name in it belongs to an inode that cannot have it")]
    Reference,
    /// The root is not a directory.
    #[error("it is the root and not a directory")]
    Root,
    /// Data that is not in whole blocks of the device.
    #[error("its data is not where the device has blocks")]
    Data,
    /// An empty link, or one of 4096 bytes and more.
    #[error("it is a link that is empty or too long")]
    Link,
    /// A device number that the kernel has no room for: 12 bits for the major one, 20 for the minor.
    #[error("its device number is too large")]
    DeviceNumber,
    /// An extended attribute with a name in another namespace, or too much of them.
    #[error("its extended attributes are not possible")]
    Xattr,
    /// A time whose nanoseconds are a second or more.
    #[error("its time is not valid")]
    Time,
}

/// Writes the image of `tree` to `out`, from its first byte to its last. Returns its length in bytes.
///
/// Of memory it takes some dozen bytes per inode, and the names of one directory at a time.
///
/// # Errors
/// [`WriteError::Inode`] where the tree cannot be expressed, before anything is written; [`WriteError::Io`] when `out`
/// fails.
pub fn write(tree: &impl Tree, device: &Device, mut out: impl Write) -> Result<u64, WriteError> {
    let layout = Layout::of(tree, device)?;
    superblock::write(&layout, device, &mut out)?;
    let mut at = layout::INODES;
    for (serial, &id) in layout.order.iter().enumerate() {
        pad(&mut out, &mut at, layout.position(id))?;
        let bytes = inode::bytes(tree, &layout, id, serial)?;
        out.write_all(&bytes)?;
        at += bytes.len() as u64;
    }
    for &id in &layout.order {
        let Some(start) = layout.blocks_of(id) else { continue };
        pad(&mut out, &mut at, start)?;
        let content = inode::content(tree, &layout, id)?;
        let (blocks, _) = content.split_at(inode::outside(&tree.inode(id), content.len() as u64) as usize);
        out.write_all(blocks)?;
        at += blocks.len() as u64;
    }
    pad(&mut out, &mut at, layout.blocks * BLOCK)?;
    out.flush()?;
    Ok(at)
}

/// Fills up with zeros to the byte `to`.
fn pad(out: &mut impl Write, at: &mut u64, to: u64) -> io::Result<()> {
    let zeros = [0; BLOCK as usize];
    while *at < to {
        // At most a block's bytes, so the number fits.
        let count = (to - *at).min(BLOCK);
        out.write_all(&zeros[..count as usize])?;
        *at += count;
    }
    Ok(())
}
