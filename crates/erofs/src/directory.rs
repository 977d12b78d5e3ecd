// SPDX-License-Identifier: Apache-2.0
//! Directories (`struct erofs_dirent`): blocks of fixed-size entries in front and their names behind, in the order of
//! the names' bytes over all blocks, in which the kernel searches by halving.

use crate::{BLOCK, InodeId, Problem, Tree};

const ENTRY: usize = 12;
/// The longest name.
const MAX_NAME: usize = 255;

/// The names of a directory in their order, `.` and `..` among them.
pub(crate) fn sorted(tree: &impl Tree, id: InodeId, parent: InodeId) -> Result<Vec<(&[u8], InodeId)>, Problem> {
    let mut names: Vec<(&[u8], InodeId)> = tree.names(id).collect();
    for (name, child) in &names {
        if name.is_empty() || name.len() > MAX_NAME || matches!(*name, b"." | b"..") {
            return Err(Problem::Name);
        }
        if name.contains(&0) || name.contains(&b'/') {
            return Err(Problem::Name);
        }
        if *child >= tree.size() {
            return Err(Problem::Reference);
        }
    }
    names.push((b".", id));
    names.push((b"..", parent));
    names.sort_unstable_by_key(|(name, _)| *name);
    match names.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        true => Err(Problem::Duplicate),
        false => Ok(names),
    }
}

/// How many of `names` go into the next block.
fn in_block(names: &[(&[u8], InodeId)]) -> usize {
    let mut room = BLOCK as usize;
    let fits = |(name, _): &&(&[u8], InodeId)| match room.checked_sub(ENTRY + name.len()) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    };
    names.iter().take_while(fits).count()
}

/// Bytes of the directory: whole blocks, and what the last one needs.
pub(crate) fn size(mut names: &[(&[u8], InodeId)]) -> u64 {
    let mut blocks = 0;
    loop {
        let (block, rest) = names.split_at(in_block(names));
        if rest.is_empty() {
            return blocks * BLOCK + block.iter().map(|(name, _)| (ENTRY + name.len()) as u64).sum::<u64>();
        }
        blocks += 1;
        names = rest;
    }
}

/// The directory's bytes; `entry` tells an inode's number and the number of its type.
pub(crate) fn bytes(mut names: &[(&[u8], InodeId)], entry: impl Fn(InodeId) -> (u64, u8)) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !names.is_empty() {
        let (block, rest) = names.split_at(in_block(names));
        bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
        let mut name_at = block.len() * ENTRY;
        for (name, id) in block {
            let (number, file_type) = entry(*id);
            bytes.extend_from_slice(&number.to_le_bytes());
            // Inside a block.
            bytes.extend_from_slice(&(name_at as u16).to_le_bytes());
            bytes.extend_from_slice(&[file_type, 0]);
            name_at += name.len();
        }
        bytes.extend(block.iter().flat_map(|(name, _)| *name));
        names = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_filled_and_the_last_one_is_as_long_as_it_must_be() {
        let names: Vec<Vec<u8>> = (0..100).map(|i| format!("name-{i:03}").into_bytes()).collect();
        let names: Vec<(&[u8], InodeId)> = names.iter().map(|name| (&name[..], 7)).collect();
        for count in [2, 25, 26, 50, 51, 100] {
            let bytes = bytes(&names[..count], |id| (u64::from(id), 1));
            assert_eq!(bytes.len() as u64, size(&names[..count]), "{count}");
            assert_eq!(
                bytes.len(),
                count / 25 * 512 + count % 25 * 20 - if count % 25 == 0 { 12 } else { 0 },
                "{count}"
            );
        }
        let bytes = bytes(&names[..2], |id| (u64::from(id), 2));
        assert_eq!(bytes[..12], [7, 0, 0, 0, 0, 0, 0, 0, 24, 0, 2, 0]);
        assert_eq!(&bytes[24..], b"name-000name-001");
    }

    #[test]
    fn the_longest_names_have_a_block_each() {
        let long = [b'x'; MAX_NAME];
        let names: [(&[u8], InodeId); 3] = [(b".", 0), (&long, 1), (&long, 2)];
        assert_eq!(size(&names), 512 + 12 + 255);
    }
}
