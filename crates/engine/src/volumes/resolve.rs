// SPDX-License-Identifier: Apache-2.0
//! What is mounted into a container in the end, by Docker's rules: of several things for one place, an explicit mount goes
//! before another container's, and that before a volume that only the image or `-v /PATH` declares.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

use oci::Digest;
use snapshot::MountOptions;

use super::{Held, VolumeSpec, fill};
use crate::Engine;
use crate::answer;
use crate::error::EngineError;
use crate::mount::{self, Given, ImageMount, Mount, VolumeMount, VolumesFrom, clean};
use crate::request::ContainerSpec;

impl Engine {
    /// The mounts of a container in the making, those above before those below, and with the names that its volumes have. The
    /// volumes are held, and new ones made.
    pub(crate) fn resolve_mounts(
        &self,
        spec: &ContainerSpec,
        image_volumes: &[String],
        held: &mut Held,
    ) -> Result<Vec<Mount>, EngineError> {
        let mut mounts: Vec<Mount> = Vec::new();
        for from in &spec.volumes_from {
            for mount in self.mounts_of(from)? {
                put(&mut mounts, mount);
            }
        }
        let is_declared = |mount: &&Mount| mount.given() == Given::Declared;
        for mount in spec.mounts.iter().filter(|mount| !is_declared(mount)) {
            put(&mut mounts, mount.clone());
        }
        let declared = image_volumes.iter().map(|target| declared(target));
        for mount in spec.mounts.iter().filter(is_declared).cloned().chain(declared) {
            if !mounts.iter().any(|other| clean(other.target()) == clean(mount.target())) {
                mounts.push(mount);
            }
        }
        mounts.iter_mut().try_for_each(|mount| self.settle_mount(mount, held))?;
        mount::order(&mut mounts);
        Ok(mounts)
    }

    /// Gives a wish for a mount what it lacks: a volume its name, which is held; of a bind, that there is its source.
    pub(crate) fn settle_mount(&self, mount: &mut Mount, held: &mut Held) -> Result<(), EngineError> {
        match mount {
            Mount::Volume(volume) => self.settle_volume(volume, held),
            Mount::Bind { source, create_source: false, .. } => must_exist(source),
            Mount::Image(image) => self.settle_image(image, held),
            Mount::Bind { .. } | Mount::Tmpfs { .. } => Ok(()),
        }
    }

    /// Finds out which image is meant, and whether it may be trusted: from now on it is that one, whatever gets its name.
    fn settle_image(&self, mount: &mut ImageMount, held: &mut Held) -> Result<(), EngineError> {
        let name = mount.id.map_or_else(|| mount.image.clone(), |id| id.to_string());
        let (image, hold) = self.images.hold(&name)?;
        self.images.admit(&mount.image, &image)?;
        (mount.id, mount.layers) = (Some(image.id), image.layers);
        held.images.push(hold);
        Ok(())
    }

    fn settle_volume(&self, volume: &mut VolumeMount, held: &mut Held) -> Result<(), EngineError> {
        if volume.given == Given::From {
            return self.volumes.hold(&volume.name, held);
        }
        volume.anonymous = volume.name.is_empty();
        let name = (!volume.anonymous).then(|| volume.name.clone());
        let wish = VolumeSpec { name, labels: volume.labels.clone(), options: volume.options.clone() };
        volume.name = self.volumes.claim(wish, held)?;
        volume.source = self.volumes.place(&volume.name);
        if volume.mode.is_empty() && volume.given != Given::Declared {
            // As Docker shows it, whether or not the host labels files.
            "z".clone_into(&mut volume.mode);
        }
        Ok(())
    }

    /// The mounts of another container, as they are here.
    fn mounts_of(&self, from: &VolumesFrom) -> Result<Vec<Mount>, EngineError> {
        // No such container here is no missing image to who asked for this one.
        let other = self
            .container(&from.container)
            .map_err(|error| EngineError::invalid("--volumes-from", errors::chain(&error)))?;
        let mut mounts = other.with_record(|record| record.mounts().to_vec());
        mounts.retain(|mount| !matches!(mount, Mount::Tmpfs { given: Given::Short, .. }));
        for mount in &mut mounts {
            match mount {
                Mount::Bind { read_only, options, .. } => {
                    *read_only |= from.read_only;
                    options.given = Given::From;
                    options.mode.clear();
                }
                Mount::Volume(volume) => {
                    volume.read_only |= from.read_only;
                    (volume.given, volume.no_copy) = (Given::From, true);
                    volume.mode.clear();
                }
                Mount::Tmpfs { given, .. } => *given = Given::From,
                Mount::Image(image) => image.given = Given::From,
            }
        }
        Ok(mounts)
    }

    /// Fills those volumes of a container in the making that are empty with what the image has in their places. `user` is a
    /// path of the container's that is nobody else's key for mounts.
    pub(crate) fn fill_volumes(&self, mounts: &[Mount], layers: &[Digest], user: &Path) -> Result<(), EngineError> {
        let filled: Vec<&VolumeMount> = mounts
            .iter()
            .filter_map(Mount::volume)
            .filter(|volume| !volume.no_copy && volume.subpath.is_none())
            .collect();
        if filled.is_empty() {
            return Ok(());
        }
        let options = MountOptions { read_only: true, ..MountOptions::default() };
        let root = self.layers.mount(user, layers, options)?;
        // The mount holds what it lies on.
        self.layers.unmounted(user);
        for volume in filled {
            if let Some(from) = fill::image_directory(root.as_fd(), &volume.target)? {
                self.volumes.fill(&volume.name, from.as_fd())?;
            }
        }
        Ok(())
    }
}

/// Replaces what is mounted in the same place.
fn put(mounts: &mut Vec<Mount>, mount: Mount) {
    mounts.retain(|other| clean(other.target()) != clean(mount.target()));
    mounts.push(mount);
}

fn declared(target: &str) -> Mount {
    Mount::Volume(VolumeMount { target: clean(target), given: Given::Declared, ..VolumeMount::default() })
}

/// What `--mount` binds must be there when the container is created.
fn must_exist(source: &Path) -> Result<(), EngineError> {
    let path = source.to_owned();
    match answer::in_time(&format!("the bind mount's source {}", source.display()), move || fs::metadata(path))? {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(EngineError::invalid("--mount", format!("bind source path does not exist: {}", source.display())))
        }
        Err(error) => Err(EngineError::io("look at the bind mount's source", source)(error)),
    }
}
