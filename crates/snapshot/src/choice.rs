// SPDX-License-Identifier: Apache-2.0
//! Which snapshotter there is: chosen by hand, or by what the kernel can.

use std::path::Path;
use std::sync::Arc;

use layer::Limits;

use crate::store::Store;
use crate::{Directories, SnapshotError, Snapshotter, TarIndex, index};

/// A snapshotter by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// [`Directories`].
    Directories,
    /// [`TarIndex`].
    TarIndex,
}

/// Opens the layers under `root/layers`. Without a choice: as archives where the kernel can mount them, otherwise as
/// directories, and [`Snapshotter::describe`] says why.
///
/// # Errors
/// As [`Directories::open`]; and the kernel's refusal when archives were chosen.
pub fn open(root: &Path, choice: Option<Choice>) -> Result<Arc<dyn Snapshotter>, SnapshotError> {
    match choice {
        Some(Choice::Directories) => Ok(Arc::new(Directories::open(root)?)),
        Some(Choice::TarIndex) => Ok(Arc::new(TarIndex::open(root)?)),
        None => {
            let store = Store::open(root)?;
            match index::probe(&store) {
                Ok(()) => Ok(Arc::new(TarIndex::over(store, Limits::default()))),
                Err(refusal) => Ok(Arc::new(Directories::without_archives(store, Limits::default(), &refusal))),
            }
        }
    }
}
