// SPDX-License-Identifier: Apache-2.0
//! What of files a start needs before anything else: the root file system, and what is bound.

use std::fs;
use std::os::fd::OwnedFd;

use snapshot::MountOptions;

use crate::Engine;
use crate::answer;
use crate::container::{Container, Record};
use crate::error::EngineError;
use crate::mount::Mount;
use crate::userns::UserNamespace;

impl Engine {
    pub(super) fn mount_root(
        &self,
        container: &Container,
        record: &Record,
        user_namespace: Option<&UserNamespace>,
    ) -> Result<OwnedFd, EngineError> {
        let options = MountOptions { read_only: false, volatile: record.spec.auto_remove, mount_points: true };
        Ok(match user_namespace {
            None => {
                let root = self.layers.mount(&container.dir, &record.layers, options)?;
                self.note_root(&record.layers, options);
                root
            }
            Some(namespace) => {
                self.layers.mount_mapped(&container.dir, &record.layers, options, namespace.for_mounts())?
            }
        })
    }
}

/// `-v` makes a missing source as a directory, as Docker does; `--mount` refuses it.
pub(super) fn make_bind_sources(record: &Record) -> Result<(), EngineError> {
    record.mounts().iter().try_for_each(make_bind_source)
}

/// The same of one mount.
///
/// # Errors
/// It is missing, or cannot be made; the file system that it is on does not answer.
pub(crate) fn make_bind_source(mount: &Mount) -> Result<(), EngineError> {
    let Mount::Bind { source, create_source, .. } = mount else { return Ok(()) };
    let (path, create) = (source.clone(), *create_source);
    answer::in_time(&format!("the bind mount's source {}", source.display()), move || {
        match fs::symlink_metadata(&path) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && create => {
                fs::create_dir_all(&path).map_err(EngineError::io("create the bind mount's source", &path))
            }
            Err(error) => Err(EngineError::io("find the bind mount's source", &path)(error)),
        }
    })?
}
