// SPDX-License-Identifier: Apache-2.0
//! One directory in all layers that overlayfs merges it from.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::Lower;
use super::attributes::Attributes;
use crate::SnapshotError;
use crate::error::At as _;
use crate::store::DIRECTORY;

/// overlayfs's mark on a directory that hides the layers below.
const OPAQUE: &str = "trusted.overlay.opaque";

/// The stacked layers.
pub(super) struct Merged<'m> {
    /// Where layers are, for the errors' texts.
    pub(super) path: &'m Path,
    /// Top first.
    pub(super) layers: &'m [Lower],
    /// Which directories of each are implied.
    pub(super) implied: &'m [BTreeSet<Vec<u8>>],
}

/// A directory as the layers have it, top first.
pub(super) struct Found {
    layers: Vec<(OwnedFd, IsImplied)>,
    /// Of how many of them the content is merged: of those down to one that is opaque.
    merged: usize,
}

type IsImplied = bool;

impl Merged<'_> {
    /// The directory `path`, which is relative to the root; found nowhere, if something else has that path.
    pub(super) fn find(&self, path: &[u8]) -> Result<Found, SnapshotError> {
        let components: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect();
        let mut current = Vec::new();
        for (layer, lower) in self.layers.iter().enumerate() {
            current.push((layer, self.open(lower.root.as_fd(), b".")?.ok_or_else(|| self.vanished(lower))?));
        }
        // No layer's root is opaque: one that is ends the stack.
        let mut merged = current.len();
        for component in components {
            current.truncate(merged);
            let mut next = Vec::new();
            merged = usize::MAX;
            for (layer, directory) in current {
                match self.open(directory.as_fd(), component) {
                    Ok(Some(found)) => {
                        if merged == usize::MAX
                            && is_opaque(&found).at("read the attributes in", || self.path.to_owned())?
                        {
                            merged = next.len() + 1;
                        }
                        next.push((layer, found));
                    }
                    Ok(None) => {}
                    // A whiteout, a file or a link: it hides what is below.
                    Err(SnapshotError::System { source, .. })
                        if matches!(Errno::from_io_error(&source), Some(Errno::NOTDIR | Errno::LOOP)) =>
                    {
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
            merged = merged.min(next.len());
            current = next;
        }
        let implied = |layer: usize| self.implied.get(layer).is_some_and(|paths| paths.contains(path));
        let layers = current.into_iter().map(|(layer, directory)| (directory, implied(layer))).collect();
        Ok(Found { layers, merged })
    }

    fn open(&self, directory: BorrowedFd<'_>, name: &[u8]) -> Result<Option<OwnedFd>, SnapshotError> {
        match rustix::fs::openat(directory, name, DIRECTORY | OFlags::RDONLY, Mode::empty()) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error).at("open a directory in", || self.path.to_owned()),
        }
    }

    fn vanished(&self, lower: &Lower) -> SnapshotError {
        SnapshotError::NoLayer { diff_id: lower.diff_id }
    }
}

impl Found {
    /// Whether no more than one layer has it, so that nothing below it can be inherited either.
    pub(super) fn is_alone(&self) -> bool {
        self.merged <= 1
    }

    /// What it inherits, if the layer that shows does not describe it, and one below does.
    pub(super) fn inherited(&self) -> Result<Option<Attributes>, SnapshotError> {
        let source = self.layers.iter().position(|(_, is_implied)| !is_implied);
        match source {
            None | Some(0) => Ok(None),
            Some(at) => {
                let (shown, wanted) = (self.read(0)?, self.read(at)?);
                Ok((shown != wanted).then_some(wanted))
            }
        }
    }

    /// What it is in the end.
    pub(super) fn attributes(&self) -> Result<Attributes, SnapshotError> {
        let source = self.layers.iter().position(|(_, is_implied)| !is_implied);
        self.read(source.unwrap_or(0))
    }

    fn read(&self, at: usize) -> Result<Attributes, SnapshotError> {
        let path = || "a layer".into();
        let (directory, _) = self.layers.get(at).ok_or(Errno::NOENT).at("find a directory in", path)?;
        Attributes::of(directory.as_fd()).at("read the attributes of a directory in", path)
    }
}

fn is_opaque(directory: &OwnedFd) -> Result<bool, Errno> {
    let mut value = [0; 2];
    match rustix::fs::fgetxattr(directory, OPAQUE, &mut value) {
        Ok(length) => Ok(value[..length] == *b"y"),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(false),
        Err(error) => Err(error),
    }
}
