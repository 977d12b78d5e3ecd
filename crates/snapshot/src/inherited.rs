// SPDX-License-Identifier: Apache-2.0
//! Directories that a layer uses and does not describe: over other layers they keep the owner, mode, times and attributes
//! that they have there. overlayfs shows those of the topmost layer that has the directory, and a layer is shared by
//! images with other layers below it: so it is not the layer that is mended. Each stack of layers that needs it gets a
//! small tree of its own on top, of directories only, which are what they should be; overlayfs merges them with those
//! below.
//!
//! Such a tree is made when its layers are first mounted, and goes with any of them.

mod attributes;
mod merged;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Mutex, PoisonError};

use oci::{Digest, Hasher};
use rustix::fs::{Dir, Mode, OFlags};
use rustix::io::Errno;

use crate::SnapshotError;
use crate::error::At as _;
use crate::store::{DIFF, DIRECTORY, Store};

use attributes::Attributes;

/// How the trees' names begin; the rest says of which layers they are.
const PREFIX: &str = ".inherited-";
/// The layers, one a line.
const LAYERS: &str = "layers";

/// A layer to be stacked.
pub(crate) struct Lower {
    pub(crate) diff_id: Digest,
    /// Its root directory.
    pub(crate) root: OwnedFd,
    pub(crate) has_implied: bool,
}

/// The stacks of layers that need no such tree, as far as they are known.
#[derive(Default)]
pub(crate) struct Inherited {
    needless: Mutex<HashSet<Digest>>,
}

impl Inherited {
    /// The tree to be stacked on `layers` (top first), if they need one.
    pub(crate) fn top(&self, store: &Store, layers: &[Lower]) -> Result<Option<OwnedFd>, SnapshotError> {
        // Below the bottom is nothing to inherit.
        let above = layers.split_last().map_or(&[][..], |(_, above)| above);
        if !above.iter().any(|layer| layer.has_implied) {
            return Ok(None);
        }
        let key = key(layers);
        // A set of digests is whole whatever panicked while it was locked.
        let needless = || self.needless.lock().unwrap_or_else(PoisonError::into_inner);
        if needless().contains(&key) {
            return Ok(None);
        }
        let name = format!("{PREFIX}{}", key.hex());
        if let Some(tree) = open(store, &name)? {
            return Ok(Some(tree));
        }
        let _claim = store.claim(&key);
        if let Some(tree) = open(store, &name)? {
            return Ok(Some(tree));
        }
        let directories = plan(store, layers)?;
        if directories.is_empty() {
            needless().insert(key);
            return Ok(None);
        }
        make(store, layers, &directories, &name)?;
        open(store, &name)
    }

    /// Removes the trees of stacks that `diff_id` is in.
    pub(crate) fn forget(&self, store: &Store, diff_id: &Digest) -> Result<(), SnapshotError> {
        let path = || store.path.clone();
        for entry in Dir::read_from(&store.layers).at("list", path)? {
            let entry = entry.at("list", path)?;
            let Some(name) = entry.file_name().to_str().ok().filter(|name| name.starts_with(PREFIX)) else { continue };
            let list = store.path.join(name).join(LAYERS);
            let layers = match std::fs::read_to_string(&list) {
                Ok(layers) => layers,
                // Another thread, which removes another of its layers, was faster.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).at("read", || list),
            };
            if layers.lines().any(|line| line == diff_id.to_string()) {
                store.discard(name)?;
            }
        }
        Ok(())
    }
}

/// What tells one stack from another.
fn key(layers: &[Lower]) -> Digest {
    let mut hasher = Hasher::new();
    layers.iter().for_each(|layer| hasher.update(layer.diff_id.as_bytes()));
    hasher.finish()
}

fn open(store: &Store, name: &str) -> Result<Option<OwnedFd>, SnapshotError> {
    let path = format!("{name}/{DIFF}");
    match rustix::fs::openat(&store.layers, &path, DIRECTORY | OFlags::PATH, Mode::empty()) {
        Ok(tree) => Ok(Some(tree)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error).at("open", || store.path.join(path)),
    }
}

/// The directories of the tree by their paths, the parents first: those that are not what they should be in the layer
/// that shows, and all above them.
fn plan(store: &Store, layers: &[Lower]) -> Result<BTreeMap<Vec<u8>, Attributes>, SnapshotError> {
    let mut implied: Vec<BTreeSet<Vec<u8>>> = Vec::new();
    for layer in layers {
        let paths = if layer.has_implied { store.implied(&layer.diff_id)? } else { Vec::new() };
        implied.push(paths.into_iter().collect());
    }
    let merged = merged::Merged { path: &store.path, layers, implied: &implied };
    let (mut directories, mut alone) = (BTreeMap::new(), HashSet::new());
    let candidates: BTreeSet<&Vec<u8>> = implied.iter().rev().skip(1).flatten().collect();
    for path in candidates {
        // Where one layer is by itself, there is nothing to inherit further down.
        if ancestors(path).any(|ancestor| alone.contains(ancestor)) {
            continue;
        }
        let found = merged.find(path)?;
        if found.is_alone() {
            alone.insert(path.as_slice());
        }
        let Some(attributes) = found.inherited()? else { continue };
        for ancestor in ancestors(path) {
            if !directories.contains_key(ancestor) {
                directories.insert(ancestor.to_vec(), merged.find(ancestor)?.attributes()?);
            }
        }
        directories.insert(path.clone(), attributes);
    }
    Ok(directories)
}

/// The root, and each directory on the way to `path`; not `path` itself.
fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let root = (!path.is_empty()).then_some(&path[..0]);
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    root.into_iter().chain(slashes.map(|(at, _)| &path[..at]))
}

fn make(
    store: &Store,
    layers: &[Lower],
    directories: &BTreeMap<Vec<u8>, Attributes>,
    name: &str,
) -> Result<(), SnapshotError> {
    let (directory, temporary) = store.temporary()?;
    let made = (|| {
        let path = || store.path.join(&temporary);
        let list: String = layers.iter().map(|layer| format!("{}\n", layer.diff_id)).collect();
        store.write(&directory, &temporary, LAYERS, list.as_bytes())?;
        rustix::fs::mkdirat(&directory, DIFF, Mode::RWXU).at("make", path)?;
        let root = rustix::fs::openat(&directory, DIFF, DIRECTORY | OFlags::RDONLY, Mode::empty()).at("open", path)?;
        for (path_below, attributes) in directories {
            attributes::make(root.as_fd(), path_below, attributes).at("make a directory in", path)?;
        }
        // The deepest first: to make something in a directory changes its time.
        for (path_below, attributes) in directories.iter().rev() {
            attributes::set_times(root.as_fd(), path_below, attributes).at("set the times in", path)?;
        }
        rustix::fs::syncfs(&directory).at("sync", path)?;
        rustix::fs::renameat(&store.layers, &temporary, &store.layers, name).at("name", path)?;
        rustix::fs::fsync(&store.layers).at("sync", || store.path.clone())
    })();
    if made.is_err() {
        // Why it failed matters more than what could not be removed: that is done at the next start.
        let _: std::io::Result<()> = layer::remove_tree(&store.layers, &*temporary);
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_above_all_but_itself() {
        let all = |path: &'static [u8]| ancestors(path).collect::<Vec<_>>();
        assert_eq!(all(b""), [b""; 0]);
        assert_eq!(all(b"a"), [&b""[..]]);
        assert_eq!(all(b"a/b/c"), [&b""[..], b"a", b"a/b"]);
    }
}
