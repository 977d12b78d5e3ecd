// SPDX-License-Identifier: Apache-2.0
//! `export`: a container's root file system as an archive, without what is mounted in it.
//!
//! A container that does not run has its root mounted for the occasion, and is not started meanwhile. From one that runs
//! its own root mount is cloned, alone: the thread that does it visits the container's mount namespace and ends there.

use std::io::{BufWriter, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use layer::{Form, Writer};
use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};
use snapshot::MountOptions;

use crate::Engine;
use crate::container::{Container, Running};
use crate::create::Turn;
use crate::error::EngineError;
use crate::userns::IdRange;
use crate::visit;

const BUFFER: usize = 256 << 10;

/// A container's root file system, about to be written.
#[must_use = "nothing is written before `write`"]
pub struct Export {
    root: OwnedFd,
    /// The ids with which it is mounted.
    ids: Option<IdRange>,
    /// Keeps a container that does not run from being started: two mounts of one writable directory are undefined.
    _turn: Option<Turn>,
}

impl Engine {
    /// Opens a container's root file system, as it is now, to be written by [`Export::write`].
    ///
    /// # Errors
    /// No such container; its root cannot be mounted.
    pub async fn export(self: &Arc<Self>, name: &str) -> Result<Export, EngineError> {
        let container = self.container(name)?;
        let turn = Arc::clone(&container.lifecycle).lock_owned().await;
        let engine = Arc::clone(self);
        self.blocking("export", move || {
            let export = engine.open_root(&container, turn)?;
            container.tell("export", []);
            Ok(export)
        })
        .await
    }

    fn open_root(&self, container: &Container, turn: Turn) -> Result<Export, EngineError> {
        let record = container.record();
        if let Some(running) = record.state.running()
            && let Some(root) = cloned_root(running)?
        {
            // It may be stopped while it is read.
            return Ok(Export { root, ids: record.ids, _turn: None });
        }
        let options = MountOptions { mount_points: true, ..MountOptions::default() };
        let root = self.layers.mount(&container.dir, &record.layers, options)?;
        // The overlay holds what it lies on.
        self.layers.unmounted(&container.dir);
        Ok(Export { root, ids: None, _turn: Some(turn) })
    }
}

impl Export {
    /// Writes the archive. Blocks until all of it is written.
    ///
    /// # Errors
    /// A file cannot be read, or `out` cannot be written to. The archive is cut off then.
    pub fn write(self, out: impl Write) -> Result<(), EngineError> {
        let out = BufWriter::with_capacity(BUFFER, out);
        let mut archive = Writer::new(out).of_ids(self.ids.map(IdRange::of_tree));
        layer::pack(self.root.as_fd(), Form::Whole, &mut archive)?;
        let written = archive.finish().and_then(|mut out| out.flush());
        written.map_err(|source| EngineError::Pack(layer::PackError::Output(source)))
    }
}

/// A clone of the root mount of a running container, without the mounts on it; `None` when it has just ended.
pub(crate) fn cloned_root(running: &Running) -> Result<Option<OwnedFd>, EngineError> {
    visit::mounts(running, || {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        open_tree(CWD, "/", flags).map_err(|errno| EngineError::io("clone the root mount", "/")(errno.into()))
    })
}
