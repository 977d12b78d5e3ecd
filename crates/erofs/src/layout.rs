// SPDX-License-Identifier: Apache-2.0
//! Where everything stands in the image: decided before the first byte is written, because directories name the places
//! of what they hold.

use std::collections::HashMap;

use crate::inode::{self, Extent};
use crate::{BLOCK, Device, InodeId, Kind, Problem, ROOT, Tree, WriteError, directory};

/// Where the inodes begin, in bytes.
pub(crate) const INODES: u64 = 3 * BLOCK;
/// Inodes stand at multiples of this many bytes, and are numbered by it.
const SLOT: u64 = 32;

/// The plan of an image.
pub(crate) struct Layout {
    /// The inodes that are reached from the root, in the order in which they stand.
    pub(crate) order: Vec<InodeId>,
    /// Blocks of the whole image.
    pub(crate) blocks: u64,
    /// By inode: its number. 0 for those that are not reached.
    numbers: Vec<u32>,
    /// By inode: how many names it has; a directory, how many directories name it.
    links: Vec<u32>,
    parents: HashMap<InodeId, InodeId>,
    /// First blocks of content that has blocks of its own.
    content: HashMap<InodeId, u32>,
}

impl Layout {
    /// Plans the image of `tree`, and finds what cannot be expressed.
    pub(crate) fn of(tree: &impl Tree, device: &Device) -> Result<Layout, WriteError> {
        let size = tree.size() as usize;
        let mut layout = Layout {
            order: Vec::new(),
            blocks: 0,
            numbers: vec![0; size],
            links: vec![0; size],
            parents: HashMap::new(),
            content: HashMap::new(),
        };
        if size == 0 || tree.inode(ROOT).kind != Kind::Directory {
            return Err(WriteError::Inode { inode: ROOT, source: Problem::Root });
        }
        // Block numbers have 32 bits.
        if device.size.div_ceil(BLOCK) > u64::from(u32::MAX) {
            return Err(WriteError::TooLarge);
        }
        layout.order.push(ROOT);
        layout.parents.insert(ROOT, ROOT);
        let (mut next, mut at) = (0, INODES);
        // Bytes of content in blocks of its own so far, by who has it.
        let mut outside = Vec::new();
        while let Some(&id) = layout.order.get(next) {
            next += 1;
            let (extent, blocks) =
                layout.reach(tree, device, id).map_err(|source| WriteError::Inode { inode: id, source })?;
            at = position(at, &extent);
            layout.numbers[id as usize] = u32::try_from(at / SLOT).map_err(|_| WriteError::TooLarge)?;
            at += extent.length;
            if blocks > 0 {
                outside.push((id, blocks));
            }
        }
        let mut block = at.div_ceil(BLOCK);
        for (id, blocks) in outside {
            layout.content.insert(id, u32::try_from(block).map_err(|_| WriteError::TooLarge)?);
            block += blocks;
        }
        layout.blocks = block;
        u32::try_from(block).map(|_| layout).map_err(|_| WriteError::TooLarge)
    }

    /// Looks at one inode: what it holds is put into the order. The room it takes, and how many blocks of its own.
    fn reach(&mut self, tree: &impl Tree, device: &Device, id: InodeId) -> Result<(Extent, u64), Problem> {
        let inode = tree.inode(id);
        inode::check(&inode, device)?;
        let content = match inode.kind {
            Kind::Symlink(target) => target.len() as u64,
            Kind::Directory => {
                let names = directory::sorted(tree, id, self.parent(id))?;
                for &(name, child) in &names {
                    self.name(tree, id, name, child)?;
                }
                directory::size(&names)
            }
            _ => 0,
        };
        let extent = inode::extent(&inode, content)?;
        Ok((extent, inode::outside(&inode, content).div_ceil(BLOCK)))
    }

    fn name(&mut self, tree: &impl Tree, directory: InodeId, name: &[u8], child: InodeId) -> Result<(), Problem> {
        let links = &mut self.links[child as usize];
        *links = links.checked_add(1).ok_or(Problem::Reference)?;
        if matches!(name, b"." | b"..") {
            return Ok(());
        }
        if tree.inode(child).kind == Kind::Directory {
            if self.parents.insert(child, directory).is_some() {
                return Err(Problem::Reference);
            }
            self.order.push(child);
        } else if *links == 1 {
            self.order.push(child);
        }
        Ok(())
    }

    /// The number by which directories name an inode.
    pub(crate) fn number(&self, id: InodeId) -> u64 {
        u64::from(self.numbers[id as usize])
    }

    /// Where an inode stands, in bytes.
    pub(crate) fn position(&self, id: InodeId) -> u64 {
        self.number(id) * SLOT
    }

    /// How many names an inode has, `.` and `..` included.
    pub(crate) fn links(&self, id: InodeId) -> u32 {
        self.links[id as usize]
    }

    /// The directory that a directory is in; the root's is the root.
    pub(crate) fn parent(&self, id: InodeId) -> InodeId {
        self.parents.get(&id).copied().unwrap_or(ROOT)
    }

    /// Where the blocks of an inode's content begin, in bytes, if it has some.
    pub(crate) fn blocks_of(&self, id: InodeId) -> Option<u64> {
        self.content.get(&id).map(|&block| u64::from(block) * BLOCK)
    }
}

/// Where an inode can stand, from byte `at` on.
fn position(at: u64, extent: &Extent) -> u64 {
    let at = at.next_multiple_of(SLOT);
    let end = at + extent.length;
    if extent.in_one_block && at / BLOCK != (end - 1) / BLOCK { at.next_multiple_of(BLOCK) } else { at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_not_be_divided_goes_to_the_next_block() {
        let whole = |length| Extent { length, in_one_block: true };
        assert_eq!(position(1536, &whole(512)), 1536);
        assert_eq!(position(1537, &whole(100)), 1568);
        assert_eq!(position(1568, &whole(480)), 1568);
        assert_eq!(position(1568, &whole(481)), 2048);
        assert_eq!(position(1568, &Extent { length: 600, in_one_block: false }), 1568);
    }
}
