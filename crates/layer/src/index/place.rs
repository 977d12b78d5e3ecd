// SPDX-License-Identifier: Apache-2.0
//! What each entry does to the tree: the rules of `tree.rs`, in the same order.

use std::collections::BTreeMap;

use crate::error::Refusal;
use crate::implied::Paths;
use crate::index::nodes::{Lost, Node, NodeId, NodeKind, Nodes};
use crate::index::{Obstacle, Xattrs};
use crate::metadata;
use crate::name::{self, Meaning};
use crate::reader::{Entry, Kind};
use crate::{Limits, Time, UnpackError};

/// What a directory gets that the archive uses and does not describe, and the root.
const IMPLIED_MODE: u16 = 0o755;
const SET_GROUP: u16 = 0o2000;

const ROOT: NodeId = 0;

/// A tree being built.
pub(super) struct Tree<'l> {
    limits: &'l Limits,
    max_memory: usize,
    memory: usize,
    begun: bool,
    done: Done,
}

/// What [`Tree::finish`] hands out.
pub(super) struct Done {
    pub(super) nodes: Nodes,
    pub(super) opaque_root: bool,
    pub(super) dropped_xattrs: u64,
    pub(super) implied: Vec<Vec<u8>>,
}

/// Either refuses the archive, or finds that this tree cannot express it.
enum Stop {
    Refused(UnpackError),
    Obstacle(Obstacle),
}

impl From<UnpackError> for Stop {
    fn from(error: UnpackError) -> Stop {
        Stop::Refused(error)
    }
}

impl From<Obstacle> for Stop {
    fn from(obstacle: Obstacle) -> Stop {
        Stop::Obstacle(obstacle)
    }
}

type Placed<T = ()> = Result<T, Stop>;

impl<'l> Tree<'l> {
    pub(super) fn new(limits: &'l Limits, max_memory: usize) -> Tree<'l> {
        let root = Node { implied: true, ..implied(0, Time::default()) };
        let done = Done { nodes: Nodes::new(root), opaque_root: false, dropped_xattrs: 0, implied: Vec::new() };
        Tree { limits, max_memory, memory: 0, begun: false, done }
    }

    /// Makes what `entry` describes. `data` is where in the archive its data begins.
    pub(super) fn add(&mut self, entry: &Entry, data: u64) -> Result<Result<(), Obstacle>, UnpackError> {
        if !self.begun {
            self.begun = true;
            self.done.nodes.node_mut(ROOT).mtime = entry.mtime;
        }
        let mut path = Vec::new();
        name::normalise(&entry.name, &mut path, self.limits).map_err(|refusal| refused(entry, refusal))?;
        match self.place(&path, entry, data) {
            Ok(()) if self.memory > self.max_memory => Ok(Err(Obstacle::Memory)),
            Ok(()) => Ok(Ok(())),
            Err(Stop::Obstacle(obstacle)) => Ok(Err(obstacle)),
            Err(Stop::Refused(error)) => Err(error),
        }
    }

    /// The tree; where it is wanted, also which directories are implied.
    pub(super) fn finish(mut self, is_whole: bool) -> Result<Done, UnpackError> {
        if is_whole {
            self.done.implied = self.implied()?;
        }
        Ok(self.done)
    }

    fn implied(&self) -> Result<Vec<Vec<u8>>, UnpackError> {
        let nodes = &self.done.nodes;
        let (mut paths, mut left) = (Paths::default(), vec![(ROOT, Vec::new())]);
        if nodes.node(ROOT).implied {
            paths.push(Vec::new())?;
        }
        while let Some((directory, path)) = left.pop() {
            for (name, id) in nodes.names(directory).filter(|(_, id)| nodes.is_directory(*id)) {
                let inner = if path.is_empty() { name.to_vec() } else { [&*path, b"/", name].concat() };
                if nodes.node(id).implied {
                    paths.push(inner.clone())?;
                }
                left.push((id, inner));
            }
        }
        Ok(paths.finish())
    }

    fn place(&mut self, path: &[u8], entry: &Entry, data: u64) -> Placed {
        if path.is_empty() {
            return match entry.kind {
                Kind::Directory => self.describe(ROOT, entry),
                _ => Err(refused(entry, Refusal::Root).into()),
            };
        }
        let meaning = name::meaning(path, entry.kind).map_err(|refusal| refused(entry, refusal))?;
        let (directory, name) = name::split(path);
        let parent = self.parent(directory, entry)?;
        match meaning {
            Meaning::Whiteout(hidden) => {
                self.whiteout(parent, hidden, entry);
                return Ok(());
            }
            Meaning::Opaque if directory.is_empty() => {
                self.done.opaque_root = true;
                return Ok(());
            }
            Meaning::Opaque => {
                self.done.nodes.node_mut(parent).xattrs.set_opaque();
                return Ok(());
            }
            Meaning::Plain => {}
        }
        match entry.kind {
            Kind::File if entry.sparse.is_some() => Err(Obstacle::Sparse.into()),
            Kind::File => self.make(parent, name, entry, NodeKind::File { offset: data, size: entry.size }),
            Kind::Directory => self.directory(parent, name, entry),
            Kind::Symlink => {
                name::symlink_target(&entry.link, self.limits).map_err(|refusal| refused(entry, refusal))?;
                self.make(parent, name, entry, NodeKind::Symlink((&*entry.link).into()))
            }
            Kind::HardLink => Ok(self.hard_link(parent, name, entry)?),
            Kind::Fifo => self.make(parent, name, entry, NodeKind::Fifo),
            Kind::CharDevice | Kind::BlockDevice => {
                let (major, minor) = entry.device;
                if !metadata::is_device(entry.device) {
                    return Err(refused(entry, Refusal::Device).into());
                }
                let block = entry.kind == Kind::BlockDevice;
                let kind = if block { NodeKind::BlockDevice } else { NodeKind::CharDevice };
                self.make(parent, name, entry, kind(major, minor))
            }
        }
    }

    /// A new node in place of whatever has the name.
    fn make(&mut self, parent: NodeId, name: &[u8], entry: &Entry, kind: NodeKind) -> Placed {
        self.done.nodes.unlink(parent, name);
        let id = self.insert(parent, name, Node { kind, ..implied(0, entry.mtime) });
        self.describe(id, entry)
    }

    fn directory(&mut self, parent: NodeId, name: &[u8], entry: &Entry) -> Placed {
        let nodes = &mut self.done.nodes;
        let id = match nodes.get(parent, name) {
            Some(id) if nodes.is_directory(id) => id,
            existing => {
                let hides = existing.is_some_and(|id| nodes.is_whiteout(id));
                nodes.unlink(parent, name);
                let id = self.insert(parent, name, implied(0, entry.mtime));
                if hides {
                    self.done.nodes.node_mut(id).xattrs.set_opaque();
                }
                id
            }
        };
        self.describe(id, entry)
    }

    /// Owner, mode, times and attributes of `entry`.
    fn describe(&mut self, id: NodeId, entry: &Entry) -> Placed {
        let (uid, gid) = metadata::ids(entry)?;
        let node = self.done.nodes.node_mut(id);
        (node.uid, node.gid, node.mtime, node.implied) = (uid, gid, entry.mtime, false);
        // The reader leaves no other bits. A link has no mode of its own.
        node.mode = if matches!(node.kind, NodeKind::Symlink(_)) { 0o777 } else { (entry.mode & 0o7777) as u16 };
        let before = node.xattrs.bytes();
        self.done.dropped_xattrs += node.xattrs.apply(&node.kind, entry)?;
        self.memory += node.xattrs.bytes() - before.min(node.xattrs.bytes());
        Ok(())
    }

    fn hard_link(&mut self, parent: NodeId, name: &[u8], entry: &Entry) -> Result<(), UnpackError> {
        let refuse = |refusal| refused(entry, refusal);
        let mut target = Vec::new();
        name::normalise(&entry.link, &mut target, self.limits).map_err(refuse)?;
        let (directory, target) = name::split(&target);
        let nodes = &mut self.done.nodes;
        let directory = nodes.directory(directory).map_err(|_| refuse(Refusal::HardLink))?;
        let old = nodes.get(directory, target).filter(|id| !nodes.is_directory(*id));
        let old = old.ok_or_else(|| refuse(Refusal::HardLink))?;
        if nodes.get(parent, name) == Some(old) {
            return Ok(());
        }
        nodes.unlink(parent, name);
        // The target may have been below what had to make way.
        if nodes.get(directory, target) != Some(old) {
            return Err(refuse(Refusal::HardLink));
        }
        self.memory += name_memory(name);
        self.done.nodes.link(parent, name, old);
        Ok(())
    }

    /// A whiteout hides what layers below have, not what this one has.
    fn whiteout(&mut self, parent: NodeId, hidden: &[u8], entry: &Entry) {
        let nodes = &mut self.done.nodes;
        match nodes.get(parent, hidden) {
            Some(id) if nodes.is_directory(id) => nodes.node_mut(id).xattrs.set_opaque(),
            Some(_) => {}
            None => {
                let whiteout = implied(self.inherited_group(parent), entry.mtime);
                self.insert(parent, hidden, Node { kind: NodeKind::CharDevice(0, 0), mode: 0, ..whiteout });
            }
        }
    }

    fn insert(&mut self, parent: NodeId, name: &[u8], node: Node) -> NodeId {
        let link = if let NodeKind::Symlink(target) = &node.kind { target.len() } else { 0 };
        self.memory += size_of::<Node>() + link + name_memory(name);
        let id = self.done.nodes.push(node);
        self.done.nodes.link(parent, name, id);
        id
    }

    /// The directory `path`, made where the archive does not describe it.
    fn parent(&mut self, path: &[u8], entry: &Entry) -> Result<NodeId, UnpackError> {
        match self.done.nodes.directory(path) {
            Ok(id) => Ok(id),
            Err(Lost::NoEntry | Lost::NotDirectory) => self.make_parents(path, entry),
            Err(lost) => Err(unreachable_parent(entry, lost)),
        }
    }

    fn make_parents(&mut self, path: &[u8], entry: &Entry) -> Result<NodeId, UnpackError> {
        let (mut current, mut end) = (ROOT, 0);
        for component in path.split(|&byte| byte == b'/') {
            end += component.len();
            let nodes = &mut self.done.nodes;
            current = match nodes.get(current, component) {
                Some(id) if nodes.is_directory(id) => id,
                Some(id) if nodes.is_whiteout(id) => {
                    nodes.unlink(current, component);
                    let made = self.make_implied(current, component, entry);
                    let node = self.done.nodes.node_mut(made);
                    node.xattrs.set_opaque();
                    // What was below is gone, and has nothing to say.
                    node.implied = false;
                    made
                }
                Some(_) => nodes.directory(&path[..end]).map_err(|lost| unreachable_parent(entry, lost))?,
                None => self.make_implied(current, component, entry),
            };
            end += 1;
        }
        Ok(current)
    }

    fn make_implied(&mut self, parent: NodeId, name: &[u8], entry: &Entry) -> NodeId {
        let group = self.inherited_group(parent);
        self.insert(parent, name, Node { implied: true, ..implied(group, entry.mtime) })
    }

    /// The group of what is made in `parent` and not described: in a set-group-id directory that directory's.
    fn inherited_group(&self, parent: NodeId) -> u32 {
        let parent = self.done.nodes.node(parent);
        if parent.mode & SET_GROUP != 0 { parent.gid } else { 0 }
    }
}

/// What a directory is that the archive uses and does not describe, if no layer below says more.
fn implied(gid: u32, mtime: Time) -> Node {
    let kind = NodeKind::Directory(BTreeMap::new());
    Node { kind, mode: IMPLIED_MODE, uid: 0, gid, mtime, xattrs: Xattrs::default(), implied: false }
}

/// What a name takes in a directory, with the room that trees of names leave free.
fn name_memory(name: &[u8]) -> usize {
    name.len().next_multiple_of(16) + 48
}

fn refused(entry: &Entry, refusal: Refusal) -> UnpackError {
    UnpackError::refused(&entry.name, refusal)
}

fn unreachable_parent(entry: &Entry, lost: Lost) -> UnpackError {
    match lost {
        Lost::NameTooLong => refused(entry, Refusal::TooLong),
        Lost::NoEntry | Lost::NotDirectory | Lost::Loop => refused(entry, Refusal::Parent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_that_grows_too_large_is_an_obstacle() {
        let limits = Limits::default();
        let mut tree = Tree::new(&limits, 100_000);
        let entry = |i: u32| Entry { name: format!("d/{i}").into_bytes(), ..Entry::default() };
        let obstacle = (0..10_000).find_map(|i| tree.add(&entry(i), 0).unwrap().err().map(|obstacle| (i, obstacle)));
        let Some((count, Obstacle::Memory)) = obstacle else { panic!("{obstacle:?}") };
        assert!((300..1000).contains(&count), "{count}");
    }
}
