// SPDX-License-Identifier: Apache-2.0
//! Extended attributes as far as they can be judged without a file system.

use crate::index::{NodeKind, Obstacle};
use crate::metadata;
use crate::reader::Entry;

/// overlayfs's mark on a directory that hides the layers below.
const OPAQUE: &[u8] = b"trusted.overlay.opaque";
const CAPABILITY: &[u8] = b"security.capability";
/// `VFS_CAP_REVISION_2`, as the kernel has it on any disk; a lowest bit says "effective" (capabilities(7)).
const CAPABILITY_2: u32 = 0x0200_0000;
/// Bytes of a capability of that revision.
const CAPABILITY_SIZE: usize = 20;
/// Bytes of one node's names and values: what any file system takes. Whether it takes more is for it to say.
const MAX_BYTES: usize = 2048;
const MAX_NAME: usize = 255;

/// The extended attributes of one node, by whole names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Xattrs(Vec<Xattr>);

/// A name and a value.
type Xattr = (Box<[u8]>, Box<[u8]>);

impl Xattrs {
    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Bytes of all names and values.
    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// Adds what an entry of this kind may have. Returns how many it may not.
    pub(super) fn apply(&mut self, kind: &NodeKind, entry: &Entry) -> Result<u64, Obstacle> {
        let mut dropped = 0;
        for (name, value) in &entry.xattrs {
            if !metadata::allowed(name) {
                dropped += 1;
                continue;
            }
            match judge(kind, name, value) {
                Some(true) => self.set(name, value),
                Some(false) => dropped += 1,
                None => return Err(Obstacle::Xattr),
            }
        }
        if self.bytes() > MAX_BYTES { Err(Obstacle::Xattr) } else { Ok(dropped) }
    }

    pub(super) fn set_opaque(&mut self) {
        self.set(OPAQUE, b"y");
    }

    fn set(&mut self, name: &[u8], value: &[u8]) {
        match self.0.iter_mut().find(|(known, _)| **known == *name) {
            Some((_, old)) => *old = value.into(),
            None => self.0.push((name.into(), value.into())),
        }
    }
}

/// Whether a file system would keep the attribute, where that is certain.
fn judge(kind: &NodeKind, name: &[u8], value: &[u8]) -> Option<bool> {
    if name.len() > MAX_NAME {
        return None;
    }
    let file_or_directory = matches!(kind, NodeKind::File { .. } | NodeKind::Directory(_));
    if name.len() > b"user.".len() && name.starts_with(b"user.") {
        // The kernel has them on nothing else (xattr(7)).
        Some(file_or_directory)
    } else if name.len() > b"trusted.".len() && name.starts_with(b"trusted.") {
        Some(true)
    } else if name == CAPABILITY && matches!(kind, NodeKind::File { .. }) {
        let (revision, _) = value.split_first_chunk()?;
        (value.len() == CAPABILITY_SIZE && u32::from_le_bytes(*revision) & !1 == CAPABILITY_2).then_some(true)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(kind: &NodeKind, name: &[u8], value: &[u8]) -> Result<(u64, usize), Obstacle> {
        let entry = Entry { xattrs: vec![(name.to_vec(), value.to_vec())], ..Entry::default() };
        let mut xattrs = Xattrs::default();
        xattrs.apply(kind, &entry).map(|dropped| (dropped, xattrs.0.len()))
    }

    #[test]
    fn what_only_a_file_system_can_judge_is_left_to_it() {
        let file = NodeKind::File { offset: 0, size: 0 };
        let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        assert_eq!(judged(&file, b"user.x", b"1"), Ok((0, 1)));
        assert_eq!(judged(&NodeKind::Fifo, b"user.x", b"1"), Ok((1, 0)));
        assert_eq!(judged(&NodeKind::Fifo, b"trusted.x", b"1"), Ok((0, 1)));
        assert_eq!(judged(&file, b"trusted.overlay.opaque", b"y"), Ok((1, 0)));
        assert_eq!(judged(&file, b"security.capability", capability), Ok((0, 1)));
        let mut third = [&capability[..], &[0; 4]].concat();
        third[3] = 3;
        for (name, value) in [
            (&b"security.capability"[..], &b"x"[..]),
            (b"security.capability", &third),
            (b"system.posix_acl_access", b""),
            (b"security.ima", b""),
            (b"user.", b""),
            (b"nothing", b""),
            (&[&b"user."[..], &[b'x'; 251]].concat(), b""),
            (b"user.large", &[0; 2048]),
        ] {
            assert_eq!(judged(&file, name, value), Err(Obstacle::Xattr), "{:?}", String::from_utf8_lossy(name));
        }
    }
}
