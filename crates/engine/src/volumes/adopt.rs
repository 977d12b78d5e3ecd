// SPDX-License-Identifier: Apache-2.0
//! What a starting daemon finds of volumes: those that were half made or half removed, mounts that nobody uses any more, and
//! directories that somebody has put there by hand, as one does from a backup.

use std::collections::HashSet;

use jiff::Timestamp;
use metadata::{Durability, MetadataError};
use oci::ContainerId;
use rustix::fs::{AtFlags, Dir, FileType, Mode, mkdirat, openat, renameat, statat};
use rustix::io::Errno;

use super::{DATA, DIRECTORY, Entry, GONE, NEW, VOLUMES, Volume, Volumes, name};
use crate::error::EngineError;

impl Volumes {
    /// Brings directories, records and mounts together. `used` are the volumes of containers that an earlier daemon has
    /// started, one name for each use; `is_known` says which containers there are.
    pub(crate) fn adopt(&self, used: &[String], is_known: &dyn Fn(&ContainerId) -> bool) -> Result<(), EngineError> {
        // One volume that something is wrong with must not keep all others, and their containers, from being served.
        let tell = |name: &str, result: Result<(), EngineError>| {
            if let Err(error) = result {
                tracing::error!(volume = name, error = errors::chain(&error), "a volume is not as it should be");
            }
        };
        for directory in self.directories()? {
            tell(&directory, self.adopt_directory(&directory));
        }
        for volume in self.list() {
            tell(&volume.name, self.complete(&volume));
            if volume.goes_with.as_ref().is_some_and(|container| !is_known(container)) {
                tell(&volume.name, self.remove(&volume.name, &|_| Vec::new()));
            }
        }
        used.iter().for_each(|name| self.adopt_use(name));
        let used: HashSet<&String> = used.iter().collect();
        for volume in self.list().into_iter().filter(|volume| !volume.options.is_empty()) {
            if !used.contains(&volume.name) {
                tell(&volume.name, self.unmount_if_mounted(&volume.name));
            }
        }
        Ok(())
    }

    fn directories(&self) -> Result<Vec<String>, EngineError> {
        let failed = |errno: Errno| EngineError::io("read", &self.root)(errno.into());
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // What is no text is not of our making.
            if let Ok(name) = entry.file_name().to_str()
                && !matches!(name, "." | "..")
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn adopt_directory(&self, directory: &str) -> Result<(), EngineError> {
        let failed = |action| move |errno: Errno| EngineError::io(action, self.root.join(directory))(errno.into());
        let gone = directory.strip_prefix(GONE).and_then(|rest| rest.split_once('-'));
        if let Some((_, name)) = gone
            && self.get(name).is_ok()
            && statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW).err() == Some(Errno::NOENT)
        {
            // Its removal was never acknowledged.
            return renameat(&self.dir, directory, &self.dir, name).map_err(failed("rename"));
        }
        if gone.is_some() || directory.starts_with(NEW) {
            // A daemon that was killed while it filled the volume has left what its options mount.
            self.unmount_place(&self.root.join(directory).join(DATA))?;
            return layer::remove_tree(&self.dir, directory)
                .map_err(EngineError::io("remove", self.root.join(directory)));
        }
        if self.get(directory).is_ok() || name::check(directory).is_err() {
            return Ok(());
        }
        let Ok(own) = openat(&self.dir, directory, DIRECTORY, Mode::empty()) else { return Ok(()) };
        let is_volume = statat(&own, DATA, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
        if !is_volume {
            return Ok(());
        }
        tracing::info!(volume = directory, "a directory without a record is taken for a volume");
        let volume = Volume {
            name: directory.to_owned(),
            created: Timestamp::now(),
            labels: Default::default(),
            options: Default::default(),
            goes_with: None,
        };
        let written: Result<(), MetadataError> =
            self.store.write(Durability::Synced, |tx| tx.put(VOLUMES, directory, &volume));
        written?;
        self.entries().insert(directory.to_owned(), Entry::new(volume, true));
        Ok(())
    }

    /// Makes the directory of a volume again that has a record: after a power cut it may not have come to the disk.
    fn complete(&self, volume: &Volume) -> Result<(), EngineError> {
        let failed = |errno: Errno| EngineError::io("make", self.place(&volume.name))(errno.into());
        match mkdirat(&self.dir, &volume.name, Mode::from_raw_mode(0o701)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let own = openat(&self.dir, &volume.name, DIRECTORY, Mode::empty()).map_err(failed)?;
        match self.make_data(&own) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(failed(errno)),
        }
    }
}
