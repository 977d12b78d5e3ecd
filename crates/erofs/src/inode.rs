// SPDX-License-Identifier: Apache-2.0
//! Inodes of the extended form (`struct erofs_inode_extended`), and what stands right behind each.

use crate::layout::Layout;
use crate::{BLOCK, Device, Inode, InodeId, Kind, Problem, Tree, WriteError, directory, xattr};

/// Bytes of an inode of the extended form.
const SIZE: u64 = 64;
/// Says where a file's only chunk is (`struct erofs_inode_chunk_index`). Stands at a multiple of its size.
const CHUNK: u64 = 8;
/// The longest target of a link that the kernel can hand out.
const MAX_LINK: usize = 4095;
/// The largest chunk that can be said, as a power of two of blocks.
const MAX_CHUNK: u32 = 31;
/// Chunks are given as [`CHUNK`], not as mere block numbers of the image itself.
const CHUNK_INDEXES: u16 = 0x20;

/// How an inode's content is kept (`EROFS_INODE_…`).
#[derive(Clone, Copy)]
enum Form {
    /// In blocks only.
    Plain = 0,
    /// In blocks, and what does not fill one behind the inode.
    Inline = 2,
    /// On the device.
    Chunks = 4,
}

/// Whether the format can express it, apart from its names.
pub(crate) fn check(inode: &Inode<'_>, device: &Device) -> Result<(), Problem> {
    if inode.nanoseconds >= 1_000_000_000 {
        return Err(Problem::Time);
    }
    match inode.kind {
        Kind::File { size: 0, .. } => Ok(()),
        // The kernel reads whole blocks, the last one too.
        Kind::File { offset, size } => {
            let end = offset.checked_add(size).and_then(|end| end.checked_next_multiple_of(BLOCK));
            let there = end.is_some_and(|end| end <= device.size) && offset.is_multiple_of(BLOCK);
            if there && size <= BLOCK << MAX_CHUNK { Ok(()) } else { Err(Problem::Data) }
        }
        Kind::Symlink(target) if target.is_empty() || target.len() > MAX_LINK => Err(Problem::Link),
        Kind::CharDevice(major, minor) | Kind::BlockDevice(major, minor) if major >= 1 << 12 || minor >= 1 << 20 => {
            Err(Problem::DeviceNumber)
        }
        _ => Ok(()),
    }
}

/// What stands behind an inode, in bytes from its start.
pub(crate) struct Extent {
    /// All bytes.
    pub(crate) length: u64,
    /// None of them may be in another block than the last one.
    pub(crate) in_one_block: bool,
}

/// How much room an inode takes whose content (a directory's or a link's) has `content` bytes.
pub(crate) fn extent(inode: &Inode<'_>, content: u64) -> Result<Extent, Problem> {
    let head = SIZE + xattr::bytes(&inode.xattrs)?.len() as u64;
    Ok(match form(inode, head, content) {
        Form::Plain => Extent { length: head, in_one_block: false },
        Form::Inline => Extent { length: head + content % BLOCK, in_one_block: true },
        Form::Chunks => Extent { length: head.next_multiple_of(CHUNK) + CHUNK, in_one_block: false },
    })
}

fn form(inode: &Inode<'_>, head: u64, content: u64) -> Form {
    match inode.kind {
        Kind::File { size: 1.., .. } => Form::Chunks,
        Kind::Directory | Kind::Symlink(_) if !content.is_multiple_of(BLOCK) && head + content % BLOCK <= BLOCK => {
            Form::Inline
        }
        _ => Form::Plain,
    }
}

/// How many of its content's bytes are in blocks of their own.
pub(crate) fn outside(inode: &Inode<'_>, content: u64) -> u64 {
    let xattrs = xattr::bytes(&inode.xattrs).map_or(0, |bytes| bytes.len() as u64);
    match form(inode, SIZE + xattrs, content) {
        Form::Inline => content - content % BLOCK,
        _ => content,
    }
}

/// The number of an inode's type in a directory.
pub(crate) fn file_type(kind: &Kind<'_>) -> u8 {
    match kind {
        Kind::File { .. } => 1,
        Kind::Directory => 2,
        Kind::CharDevice(..) => 3,
        Kind::BlockDevice(..) => 4,
        Kind::Fifo => 5,
        Kind::Symlink(_) => 7,
    }
}

/// The type as stat(2) has it.
fn type_bits(kind: &Kind<'_>) -> u16 {
    match kind {
        Kind::File { .. } => 0o100_000,
        Kind::Directory => 0o040_000,
        Kind::CharDevice(..) => 0o020_000,
        Kind::BlockDevice(..) => 0o060_000,
        Kind::Fifo => 0o010_000,
        Kind::Symlink(_) => 0o120_000,
    }
}

/// What a directory or a link holds; empty for anything else.
pub(crate) fn content(tree: &impl Tree, layout: &Layout, id: InodeId) -> Result<Vec<u8>, WriteError> {
    match tree.inode(id).kind {
        Kind::Symlink(target) => Ok(target.to_vec()),
        Kind::Directory => {
            let names = directory::sorted(tree, id, layout.parent(id));
            let names = names.map_err(|source| WriteError::Inode { inode: id, source })?;
            Ok(directory::bytes(&names, |id| (layout.number(id), file_type(&tree.inode(id).kind))))
        }
        _ => Ok(Vec::new()),
    }
}

/// The inode, and what stands behind it. `serial` is its number among all of them.
pub(crate) fn bytes(tree: &impl Tree, layout: &Layout, id: InodeId, serial: usize) -> Result<Vec<u8>, WriteError> {
    let inode = tree.inode(id);
    let failed = |source| WriteError::Inode { inode: id, source };
    let xattrs = xattr::bytes(&inode.xattrs).map_err(failed)?;
    let content = content(tree, layout, id)?;
    let form = form(&inode, SIZE + xattrs.len() as u64, content.len() as u64);
    let size = match inode.kind {
        Kind::File { size, .. } => size,
        _ => content.len() as u64,
    };
    let mut bytes = Vec::with_capacity(BLOCK as usize);
    // The lowest bit says that the form is the extended one.
    bytes.extend_from_slice(&(1 | ((form as u16) << 1)).to_le_bytes());
    bytes.extend_from_slice(&xattr::count(xattrs.len()).map_err(failed)?.to_le_bytes());
    bytes.extend_from_slice(&(type_bits(&inode.kind) | (inode.mode & 0o7777)).to_le_bytes());
    bytes.extend_from_slice(&[0; 2]);
    bytes.extend_from_slice(&size.to_le_bytes());
    bytes.extend_from_slice(&place(&inode.kind, layout, id).to_le_bytes());
    // Only told to 32-bit programs, which have no room for the real number.
    bytes.extend_from_slice(&(serial as u32).wrapping_add(1).to_le_bytes());
    bytes.extend_from_slice(&inode.uid.to_le_bytes());
    bytes.extend_from_slice(&inode.gid.to_le_bytes());
    bytes.extend_from_slice(&inode.seconds.to_le_bytes());
    bytes.extend_from_slice(&inode.nanoseconds.to_le_bytes());
    bytes.extend_from_slice(&layout.links(id).to_le_bytes());
    bytes.extend_from_slice(&[0; 16]);
    bytes.extend_from_slice(&xattrs);
    match (form, inode.kind) {
        (Form::Chunks, Kind::File { offset, .. }) => {
            bytes.resize(bytes.len().next_multiple_of(CHUNK as usize), 0);
            // The upper half of the block number, which no device here needs; then the device, counted from 1.
            bytes.extend_from_slice(&[0, 0, 1, 0]);
            bytes.extend_from_slice(&((offset / BLOCK) as u32).to_le_bytes());
        }
        (Form::Inline, _) => bytes.extend_from_slice(&content[content.len() - content.len() % BLOCK as usize..]),
        _ => {}
    }
    Ok(bytes)
}

/// The field that says where the content is, or which device it is.
fn place(kind: &Kind<'_>, layout: &Layout, id: InodeId) -> u32 {
    match *kind {
        // One chunk for the whole file, whatever its size.
        Kind::File { size: size @ 1.., .. } => {
            let blocks = size.div_ceil(BLOCK);
            u32::from(CHUNK_INDEXES) | blocks.next_power_of_two().trailing_zeros()
        }
        Kind::CharDevice(major, minor) | Kind::BlockDevice(major, minor) => {
            (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
        }
        _ => layout.blocks_of(id).map_or(0, |start| (start / BLOCK) as u32),
    }
}
