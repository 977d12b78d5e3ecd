// SPDX-License-Identifier: Apache-2.0
//! Whose files are in a tree that is mounted with the ids of a user namespace, and whose in an archive of it: the ids that
//! the namespace's members know.

use crate::reader::Entry;

/// Who a file's owner is in an archive that has no id there, as the kernel shows it (`/proc/sys/kernel/overflowuid`).
const NOBODY: u32 = 65534;
/// The attribute that holds a file's capabilities (xattr(7), capabilities(7)): a revision with flags, two sets, and in the
/// third revision the id of the root for whom they hold.
const CAPABILITY: &[u8] = b"security.capability";
/// Bytes of the two sets.
const SETS: usize = 16;
const REVISION_2: u32 = 0x0200_0000;
const REVISION_3: u32 = 0x0300_0000;
const REVISION: u32 = 0xff00_0000;

/// Ids in a row, of a tree: the first of them is 0 in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// The first user id.
    pub uid: u32,
    /// The first group id.
    pub gid: u32,
    /// How many there are of each.
    pub count: u32,
}

impl Ids {
    /// The tree's ids of a user and a group of the archive's; `None` where it has none for them.
    pub fn in_tree(self, uid: u64, gid: u64) -> Option<(u32, u32)> {
        let place = |first: u32, id: u64| {
            let id = u32::try_from(id).ok().filter(|id| *id < self.count)?;
            first.checked_add(id)
        };
        Some((place(self.uid, uid)?, place(self.gid, gid)?))
    }

    /// The archive's ids of a user and a group of the tree's.
    pub fn in_archive(self, uid: u64, gid: u64) -> (u64, u64) {
        let place = |first: u32, id: u64| {
            id.checked_sub(first.into()).filter(|id| *id < self.count.into()).unwrap_or(NOBODY.into())
        };
        (place(self.uid, uid), place(self.gid, gid))
    }

    /// An entry as the tree is to have it; `None` where the tree has no ids for it. Capabilities are those of the
    /// namespace's root: nobody else's can be in such a tree.
    pub(crate) fn placed(self, mut entry: Entry) -> Option<Entry> {
        let (uid, gid) = self.in_tree(entry.uid, entry.gid)?;
        (entry.uid, entry.gid) = (uid.into(), gid.into());
        for (_, value) in entry.xattrs.iter_mut().filter(|(name, _)| *name == CAPABILITY) {
            if let Some(own) = for_root_of_tree(value, self.uid) {
                *value = own;
            }
        }
        Some(entry)
    }

    /// An entry as the archive has it. Capabilities that hold for the namespace's root are in the archive what they would be
    /// without a namespace.
    pub(crate) fn archived(self, entry: &Entry) -> Entry {
        let mut entry = entry.clone();
        (entry.uid, entry.gid) = self.in_archive(entry.uid, entry.gid);
        for (_, value) in entry.xattrs.iter_mut().filter(|(name, _)| *name == CAPABILITY) {
            if let Some(plain) = for_root(value, self.uid) {
                *value = plain;
            }
        }
        entry
    }
}

/// A file's capabilities.
struct Capabilities<'a> {
    flags: u32,
    sets: &'a [u8],
    /// For which root they hold; the second revision has none but the host's.
    root: Option<u32>,
}

impl<'a> Capabilities<'a> {
    fn read(value: &'a [u8]) -> Option<Capabilities<'a>> {
        let (head, tail) = value.split_first_chunk::<4>()?;
        let magic = u32::from_le_bytes(*head);
        let (sets, root) = match magic & REVISION {
            REVISION_2 => (tail, None),
            REVISION_3 => tail.split_last_chunk::<4>().map(|(sets, root)| (sets, Some(u32::from_le_bytes(*root))))?,
            _ => return None,
        };
        (sets.len() == SETS).then_some(Capabilities { flags: magic & !REVISION, sets, root })
    }

    /// The same for this root.
    fn of(self, root: Option<u32>) -> Vec<u8> {
        let revision = if root.is_some() { REVISION_3 } else { REVISION_2 };
        let mut value = [&(self.flags | revision).to_le_bytes()[..], self.sets].concat();
        value.extend(root.iter().flat_map(|root| root.to_le_bytes()));
        value
    }
}

/// Capabilities that hold for the host's root, as they hold for this one.
fn for_root_of_tree(value: &[u8], root: u32) -> Option<Vec<u8>> {
    let holds = Capabilities::read(value).filter(|holds| holds.root.unwrap_or(0) == 0)?;
    Some(holds.of(Some(root)))
}

/// Capabilities of the third revision that hold for this root, as the second has them.
fn for_root(value: &[u8], root: u32) -> Option<Vec<u8>> {
    let holds = Capabilities::read(value).filter(|holds| holds.root == Some(root))?;
    Some(holds.of(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: Ids = Ids { uid: 100_000, gid: 200_000, count: 65536 };

    #[test]
    fn ids_are_told_in_the_tree_and_in_the_archive() {
        assert_eq!(IDS.in_tree(0, 33), Some((100_000, 200_033)));
        assert_eq!((IDS.in_tree(65536, 0), IDS.in_tree(0, u64::MAX)), (None, None));
        assert_eq!(IDS.in_archive(100_033, 200_000), (33, 0));
        assert_eq!(IDS.in_archive(0, 265_536), (65534, 65534));
    }

    #[test]
    fn capabilities_of_the_namespaces_root_are_roots() {
        let sets = [7u8; 16];
        let third = |root: u32| [&0x0300_0001_u32.to_le_bytes()[..], &sets, &root.to_le_bytes()].concat();
        let second = [&0x0200_0001_u32.to_le_bytes()[..], &sets].concat();
        assert_eq!(for_root(&third(100_000), 100_000), Some(second.clone()));
        assert_eq!(for_root(&third(5), 100_000), None, "somebody else's");
        assert_eq!(for_root(&second, 100_000), None);
        assert_eq!(for_root(b"x", 0), None);
        for roots in [second.clone(), third(0)] {
            assert_eq!(for_root_of_tree(&roots, 100_000), Some(third(100_000)));
        }
        assert_eq!(for_root_of_tree(&third(5), 100_000), None);
        assert_eq!(for_root_of_tree(&second[..12], 100_000), None);
    }
}
