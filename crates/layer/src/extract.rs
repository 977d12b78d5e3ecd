// SPDX-License-Identifier: Apache-2.0
//! An archive extracted into directories that have files already, as `tar -x` does: no layer is made, and no name means
//! anything but itself.

use std::io::Read;
use std::os::fd::BorrowedFd;

use crate::ids::Ids;
use crate::reader::{Archive, Entry, Kind};
use crate::tree::{Manner, Tree};
use crate::{Limits, Refusal, UnpackError};

/// Whose the extracted files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// As the archive says.
    Archived,
    /// These ids'.
    These {
        /// The user's.
        uid: u32,
        /// The group's.
        gid: u32,
    },
    /// This process's. What gives rights or needs some is left out: set-id bits, extended attributes but the users' own;
    /// devices are refused.
    Ours,
}

/// Where an archive goes, and how.
#[derive(Debug, Clone, Copy)]
pub struct Extraction<'e> {
    /// The directory below the root that the archive's names are below; relative, normalised, and there. Empty for the root.
    pub at: &'e [u8],
    /// Whose the files are.
    pub owners: Owners,
    /// No directory is replaced by something else, nor something else by a directory.
    pub keep_kinds: bool,
    /// The first part of names that is another in the tree, and what it is; `.` for none of them. What does not begin so stays.
    pub rename: Option<(&'e [u8], &'e [u8])>,
    /// The ids of a user namespace with which the tree is mounted. The calling thread must make files as its root.
    pub ids: Option<Ids>,
}

/// Extracts the uncompressed archive `tar`, reading it to its end, below `root`: that is what symbolic links on the way see
/// as `/`, and nothing is reached outside. What is there is replaced; existing directories get the owners, modes and
/// times that the archive says. Mounts below the root are crossed. On an error a part of it is there.
///
/// # Errors
/// [`UnpackError`].
pub fn extract(
    tar: impl Read,
    root: BorrowedFd<'_>,
    extraction: &Extraction<'_>,
    limits: &Limits,
) -> Result<(), UnpackError> {
    let mut archive = Archive::new(tar, limits);
    let manner =
        Manner { at: extraction.at, layer: false, keep_kinds: extraction.keep_kinds, rename: extraction.rename };
    let mut tree = Tree::new(root, limits, manner);
    let mut entry = Entry::default();
    while archive.next(&mut entry)? {
        own(&mut entry, extraction.owners)?;
        if let Some(ids) = extraction.ids {
            let foreign = UnpackError::refused(&entry.name, Refusal::ForeignOwner);
            entry = ids.placed(entry).ok_or(foreign)?;
        }
        tree.add(&entry, &mut archive)?;
    }
    tree.finish()?;
    archive.finish()?;
    Ok(())
}

fn own(entry: &mut Entry, owners: Owners) -> Result<(), UnpackError> {
    match owners {
        Owners::Archived => {}
        Owners::These { uid, gid } => (entry.uid, entry.gid) = (uid.into(), gid.into()),
        Owners::Ours => {
            if matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice) {
                return Err(UnpackError::refused(&entry.name, Refusal::ForeignDevice));
            }
            let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
            (entry.uid, entry.gid) = (uid.as_raw().into(), gid.as_raw().into());
            entry.mode &= 0o1777;
            entry.xattrs.retain(|(name, _)| name.starts_with(b"user."));
        }
    }
    Ok(())
}
