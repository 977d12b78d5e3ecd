// SPDX-License-Identifier: Apache-2.0
//! Files and directories in memory, and names resolved in them as openat2(2) does with `RESOLVE_IN_ROOT`.

use std::collections::BTreeMap;

use crate::Time;
use crate::index::Xattrs;

/// A node's number.
pub type NodeId = u32;

/// How many links the kernel follows for one name (`MAXSYMLINKS`).
const MAX_LINKS: u32 = 40;
/// The longest name of a file.
const MAX_NAME: usize = 255;

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A file whose data is in the archive.
    File {
        /// Where it begins, in bytes: a multiple of 512.
        offset: u64,
        /// Its size in bytes.
        size: u64,
    },
    /// A directory, and what is in it.
    Directory(BTreeMap<Box<[u8]>, NodeId>),
    /// A symbolic link.
    Symlink(Box<[u8]>),
    /// A character device: major and minor number. 0 and 0 is overlayfs's whiteout.
    CharDevice(u32, u32),
    /// A block device.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
}

/// A file, directory, link or device, which may have several names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Permission, set-id and sticky bits.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The owner's group.
    pub gid: u32,
    /// When it was last changed. What the archive uses and does not describe has the time of the entry that needed it.
    pub mtime: Time,
    /// Extended attributes, overlayfs's mark of an opaque directory among them.
    pub xattrs: Xattrs,
    /// A directory that the archive uses and does not describe: over a layer that has it, it is what it is there.
    pub implied: bool,
}

/// The nodes of a tree by their numbers; 0 is the root directory. Some may be reached no more.
#[derive(Debug)]
pub struct Nodes(Vec<Node>);

/// Why a name leads to no directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// A part of it does not exist.
    NoEntry,
    /// A part of it is something else.
    NotDirectory,
    /// Links that lead to each other.
    Loop,
    /// A link's target has a name in it that no file can have.
    NameTooLong,
}

impl Nodes {
    pub(super) fn new(root: Node) -> Nodes {
        Nodes(vec![root])
    }

    /// How many nodes there are.
    pub fn count(&self) -> u32 {
        // The limit of memory is far below.
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// A node. Panics for a number that is none.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.0[id as usize]
    }

    pub(super) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.0[id as usize]
    }

    pub(super) fn push(&mut self, node: Node) -> NodeId {
        let id = self.count();
        self.0.push(node);
        id
    }

    /// What is in a directory; nothing in anything else.
    pub fn names(&self, directory: NodeId) -> impl Iterator<Item = (&[u8], NodeId)> {
        let names = match &self.node(directory).kind {
            NodeKind::Directory(names) => Some(names),
            _ => None,
        };
        names.into_iter().flatten().map(|(name, id)| (&**name, *id))
    }

    pub(super) fn get(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        match &self.node(directory).kind {
            NodeKind::Directory(names) => names.get(name).copied(),
            _ => None,
        }
    }

    pub(super) fn link(&mut self, directory: NodeId, name: &[u8], id: NodeId) {
        if let NodeKind::Directory(names) = &mut self.node_mut(directory).kind {
            names.insert(name.into(), id);
        }
    }

    /// Takes a name out of its directory; if it was a directory's, everything below is taken out of it as well, for
    /// whoever still knows its number.
    pub(super) fn unlink(&mut self, directory: NodeId, name: &[u8]) {
        let mut left = match &mut self.node_mut(directory).kind {
            NodeKind::Directory(names) => Vec::from_iter(names.remove(name)),
            _ => return,
        };
        while let Some(id) = left.pop() {
            if let NodeKind::Directory(names) = &mut self.node_mut(id).kind {
                left.extend(std::mem::take(names).into_values());
            }
        }
    }

    pub(super) fn is_directory(&self, id: NodeId) -> bool {
        matches!(self.node(id).kind, NodeKind::Directory(_))
    }

    pub(super) fn is_whiteout(&self, id: NodeId) -> bool {
        self.node(id).kind == NodeKind::CharDevice(0, 0)
    }

    /// The directory that `path` leads to from the root, through links that are taken as if the root were `/`.
    pub(super) fn directory(&self, path: &[u8]) -> Result<NodeId, Lost> {
        // The directories from the root down to here, for `..`; and what is still to be gone, the next part last.
        let (mut way, mut rest) = (vec![0], vec![path]);
        let mut links = 0;
        while let Some(text) = rest.pop() {
            let (name, after) = match text.iter().position(|&byte| byte == b'/') {
                Some(slash) => (&text[..slash], Some(&text[slash + 1..])),
                None => (text, None),
            };
            rest.extend(after);
            match name {
                b"" | b"." => continue,
                b".." => {
                    if way.len() > 1 {
                        way.pop();
                    }
                    continue;
                }
                _ if name.len() > MAX_NAME => return Err(Lost::NameTooLong),
                _ => {}
            }
            let here = way.last().copied().unwrap_or(0);
            let next = self.get(here, name).ok_or(Lost::NoEntry)?;
            match &self.node(next).kind {
                NodeKind::Directory(_) => way.push(next),
                NodeKind::Symlink(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Lost::Loop);
                    }
                    if target.starts_with(b"/") {
                        way.truncate(1);
                    }
                    rest.push(target);
                }
                _ => return Err(Lost::NotDirectory),
            }
        }
        Ok(way.last().copied().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(kind: NodeKind) -> Node {
        Node { kind, mode: 0, uid: 0, gid: 0, mtime: Time::default(), xattrs: Xattrs::default(), implied: false }
    }

    fn tree(links: &[(&str, &str)]) -> Nodes {
        let mut nodes = Nodes::new(node(NodeKind::Directory(BTreeMap::new())));
        let a = nodes.push(node(NodeKind::Directory(BTreeMap::new())));
        let b = nodes.push(node(NodeKind::Directory(BTreeMap::new())));
        let file = nodes.push(node(NodeKind::Fifo));
        nodes.link(0, b"a", a);
        nodes.link(a, b"b", b);
        nodes.link(b, b"file", file);
        for (name, target) in links {
            let link = nodes.push(node(NodeKind::Symlink(target.as_bytes().into())));
            nodes.link(a, name.as_bytes(), link);
        }
        nodes
    }

    #[test]
    fn links_are_followed_as_if_the_root_were_the_world() {
        let nodes = tree(&[("up", "../../../a/./b/"), ("root", "/"), ("self", "."), ("via", "root/a/up")]);
        for (path, id) in [("", 0), ("a", 1), ("a/b", 2), ("a/up", 2), ("a/root/a/self", 1), ("a/via", 2)] {
            assert_eq!(nodes.directory(path.as_bytes()), Ok(id), "{path}");
        }
    }

    #[test]
    fn what_leads_nowhere_is_told_apart() {
        let long = "x".repeat(256);
        let nodes = tree(&[("loop", "loop"), ("gone", "nothing/.."), ("file", "b/file/.."), ("long", &long)]);
        for (path, why) in [
            ("a/x/y", Lost::NoEntry),
            ("a/loop", Lost::Loop),
            ("a/gone", Lost::NoEntry),
            ("a/b/file", Lost::NotDirectory),
            ("a/file", Lost::NotDirectory),
            ("a/long", Lost::NameTooLong),
        ] {
            assert_eq!(nodes.directory(path.as_bytes()), Err(why), "{path}");
        }
    }

    #[test]
    fn forty_links_are_followed_and_no_more() {
        let links: Vec<(String, String)> = (0..41).map(|i| (format!("{}", i + 1), format!("{i}"))).collect();
        let links: Vec<(&str, &str)> = links.iter().map(|(name, target)| (&name[..], &target[..])).collect();
        let mut nodes = tree(&links);
        nodes.link(1, b"0", 2);
        assert_eq!(nodes.directory(b"a/40"), Ok(2));
        assert_eq!(nodes.directory(b"a/41"), Err(Lost::Loop));
    }

    #[test]
    fn what_is_taken_out_takes_everything_below_along() {
        let mut nodes = tree(&[]);
        nodes.unlink(0, b"a");
        assert_eq!((nodes.get(0, b"a"), nodes.get(1, b"b"), nodes.get(2, b"file")), (None, None, None));
    }
}
