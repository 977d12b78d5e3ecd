// SPDX-License-Identifier: Apache-2.0
//! How large containers are.

use std::os::fd::AsFd as _;
use std::sync::Arc;

use errors::{Classify as _, Kind};

use crate::Engine;
use crate::container::Record;
use crate::error::EngineError;

/// How large a container is, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// The files that it has made or changed, as much as the disk gave for them.
    pub writable: u64,
    /// That and its image's files.
    pub root: u64,
}

impl Engine {
    /// The sizes of these containers, in their order. Each of their changed files is looked at.
    ///
    /// # Errors
    /// Something cannot be read.
    pub async fn sizes(self: &Arc<Self>, records: Vec<Record>) -> Result<Vec<Size>, EngineError> {
        let engine = Arc::clone(self);
        self.blocking("measure containers", move || records.iter().map(|record| engine.size(record)).collect()).await
    }

    fn size(&self, record: &Record) -> Result<Size, EngineError> {
        let dir = self.container_dir(&record.id);
        let writable = match self.layers.changes(&dir)? {
            Some(changes) => layer::file_usage(changes.as_fd()).map_err(EngineError::io("measure", dir))?,
            None => 0,
        };
        let image = match self.images.resolve(&record.image_id.to_string()) {
            Ok(image) => image.size,
            // It was removed by force: what is left of it is the container's alone, and nobody knows its size.
            Err(error) if error.kind() == Kind::NotFound => 0,
            Err(error) => return Err(error.into()),
        };
        Ok(Size { writable, root: writable + image })
    }
}
