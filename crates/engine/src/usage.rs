// SPDX-License-Identifier: Apache-2.0
//! What the engine holds on disk, and what of it can go.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use image::{Checked, Filters, Problem, Pruned, Usage};
use oci::ContainerId;

use crate::container::Record;
use crate::error::EngineError;
use crate::mount::Mount;
use crate::volumes::VolumeUsage;
use crate::{Engine, EventKind};

/// What is on disk, in bytes that the disk really gave.
#[derive(Debug, Clone)]
pub struct DiskUsage {
    /// Images, and the layers and blobs they share.
    pub images: Usage,
    /// Containers, each with its writable layer, log and generated files.
    pub containers: Vec<(Record, u64)>,
    /// Volumes.
    pub volumes: Vec<VolumeUsage>,
}

impl Engine {
    /// Measures what is on disk. May take a second.
    ///
    /// # Errors
    /// Something cannot be read.
    pub async fn disk_usage(self: &Arc<Self>) -> Result<DiskUsage, EngineError> {
        let engine = Arc::clone(self);
        self.blocking("measure the disk's usage", move || {
            let images = engine.images.usage(&|id| engine.image_user(id).is_some())?;
            let mut containers = Vec::new();
            for record in engine.list(true) {
                if let Some(bytes) = engine.bytes_of_container(&record.id)? {
                    containers.push((record, bytes));
                }
            }
            let volumes = engine.volumes.usage(&|name| engine.volume_users(name).len());
            Ok(DiskUsage { images, containers, volumes })
        })
        .await
    }

    /// What a container's writable layer, log and generated files take on disk; `None` when it was removed meanwhile.
    pub(crate) fn bytes_of_container(&self, id: &ContainerId) -> Result<Option<u64>, EngineError> {
        let dir = self.container_dir(id);
        match File::open(&dir).and_then(|open| layer::disk_usage(open.as_fd())) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(EngineError::io("measure", dir)(error)),
        }
    }

    /// Removes the images that `filters` let through and no container needs.
    ///
    /// # Errors
    /// The stores cannot be read or written.
    pub async fn prune_images(self: &Arc<Self>, filters: Filters) -> Result<Pruned, EngineError> {
        let engine = Arc::clone(self);
        let prune = move || {
            let pruned = engine.images.prune(&filters, &|id| engine.image_user(id))?;
            let attributes = [("reclaimed".to_owned(), pruned.reclaimed.to_string())].into();
            engine.events.tell(EventKind::Image, "prune", String::new(), attributes);
            Ok(pruned)
        };
        self.blocking("prune images", prune).await
    }

    /// Verifies every blob, record and name of the store, and that containers have their images' layers.
    ///
    /// # Errors
    /// The stores cannot be read. What is broken is no error.
    pub async fn check(self: &Arc<Self>) -> Result<Checked, EngineError> {
        let engine = Arc::clone(self);
        self.blocking("check the store", move || {
            let mut checked = engine.images.check()?;
            for record in engine.list(true) {
                let mounted = record.mounts().iter().filter_map(Mount::image).flat_map(|mount| &mount.layers);
                let missing = record.layers.iter().chain(mounted).filter(|diff_id| !engine.layers.contains(diff_id));
                checked.problems.extend(missing.map(|diff_id| Problem {
                    subject: format!("container {}", record.name),
                    problem: format!("its layer {diff_id} is missing: it cannot be started"),
                    remedy: format!("pull or load its image {} again, or corten rm {}", record.spec.image, record.name),
                }));
            }
            checked.problems.extend(engine.volume_problems());
            Ok(checked)
        })
        .await
    }
}
