// SPDX-License-Identifier: Apache-2.0
//! What can be asked of volumes and done to them from outside: list, inspect, create, remove, prune.

use std::sync::Arc;

use super::{ANONYMOUS_LABEL, DRIVER, Volume, VolumeSpec, bytes_of};
use crate::error::EngineError;
use crate::{Engine, EventKind};

/// What a volume must be. The default: nothing in particular. Of several values of a filter one must fit; of labels all.
#[derive(Debug, Clone, Default)]
pub struct VolumeFilters {
    /// Whether a container has it.
    pub dangling: Option<bool>,
    /// Its driver.
    pub drivers: Vec<String>,
    /// Labels it must have: `KEY` or `KEY=VALUE`.
    pub labels: Vec<String>,
    /// Labels it must not have.
    pub without_labels: Vec<String>,
    /// Parts of names.
    pub names: Vec<String>,
}

impl VolumeFilters {
    fn let_through(&self, volume: &Volume, is_used: &dyn Fn() -> bool) -> bool {
        let has = |wanted: &String| {
            let (key, value) =
                wanted.split_once('=').map_or((wanted.as_str(), None), |(key, value)| (key, Some(value)));
            volume.labels.get(key).is_some_and(|found| value.is_none_or(|value| found == value))
        };
        (self.names.is_empty() || self.names.iter().any(|part| volume.name.contains(part)))
            && (self.drivers.is_empty() || self.drivers.iter().any(|driver| driver == DRIVER))
            && self.labels.iter().all(has)
            && !self.without_labels.iter().any(has)
            && self.dangling.is_none_or(|dangling| dangling != is_used())
    }
}

/// What a pruning has removed.
#[derive(Debug, Clone, Default)]
pub struct PrunedVolumes {
    /// The names.
    pub names: Vec<String>,
    /// Bytes that the disk has back.
    pub reclaimed: u64,
}

impl Engine {
    /// The volumes that `filters` let through, by name.
    ///
    /// # Errors
    /// A worker that ended without an answer.
    pub async fn volumes(self: &Arc<Self>, filters: VolumeFilters) -> Result<Vec<Volume>, EngineError> {
        let engine = Arc::clone(self);
        self.blocking("list volumes", move || Ok(engine.select_volumes(&filters))).await
    }

    fn select_volumes(&self, filters: &VolumeFilters) -> Vec<Volume> {
        let mut volumes = self.volumes.list();
        volumes.retain(|volume| filters.let_through(volume, &|| !self.volume_users(&volume.name).is_empty()));
        volumes
    }

    /// A volume.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn volume(&self, name: &str) -> Result<Volume, EngineError> {
        self.volumes.get(name)
    }

    /// Where the host has a volume's files.
    pub fn volume_place(&self, volume: &Volume) -> String {
        self.volumes.place(&volume.name).display().to_string()
    }

    /// Makes a volume. It is durable when this returns. One of the same name is taken as it is.
    ///
    /// # Errors
    /// A name or an option that cannot be; a full disk. Nothing is left behind then.
    pub async fn create_volume(self: &Arc<Self>, spec: VolumeSpec) -> Result<Volume, EngineError> {
        let engine = Arc::clone(self);
        self.blocking("create a volume", move || engine.volumes.create(spec)).await
    }

    /// Removes a volume with all that is in it.
    ///
    /// # Errors
    /// There is none of this name, which is no error with `force`; a container has it, running or not.
    pub async fn remove_volume(self: &Arc<Self>, name: &str, force: bool) -> Result<(), EngineError> {
        let (engine, name) = (Arc::clone(self), name.to_owned());
        self.blocking("remove a volume", move || {
            match engine.volumes.remove(&name, &|name| engine.volume_users(name)) {
                Err(EngineError::NoSuchVolume(_)) if force => Ok(()),
                other => other,
            }
        })
        .await
    }

    /// Removes the volumes that no container has and `filters` let through: those that nobody has named, or with `all`
    /// any. As with Docker, what options mount stays: it takes no room here.
    ///
    /// # Errors
    /// A worker that ended without an answer. What cannot be removed is passed over.
    pub async fn prune_volumes(
        self: &Arc<Self>,
        all: bool,
        mut filters: VolumeFilters,
    ) -> Result<PrunedVolumes, EngineError> {
        filters.dangling = Some(true);
        if !all {
            filters.labels.push(ANONYMOUS_LABEL.to_owned());
        }
        let engine = Arc::clone(self);
        self.blocking("prune volumes", move || {
            let mut pruned = PrunedVolumes::default();
            for volume in engine.select_volumes(&filters).into_iter().filter(|volume| volume.options.is_empty()) {
                let bytes = bytes_of(&engine.volumes.place(&volume.name)).unwrap_or(0);
                match engine.volumes.remove(&volume.name, &|name| engine.volume_users(name)) {
                    Ok(()) => {
                        pruned.reclaimed += bytes;
                        pruned.names.push(volume.name);
                    }
                    // Somebody was faster, one way or the other.
                    Err(EngineError::NoSuchVolume(_) | EngineError::VolumeInUse { .. }) => {}
                    Err(error) => {
                        tracing::error!(volume = volume.name, error = errors::chain(&error), "a volume is not pruned");
                    }
                }
            }
            let attributes = [("reclaimed".to_owned(), pruned.reclaimed.to_string())].into();
            engine.events.tell(EventKind::Volume, "prune", String::new(), attributes);
            Ok(pruned)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_dockers() {
        let labels = [("tier".to_owned(), "db".to_owned())].into();
        let created = jiff::Timestamp::UNIX_EPOCH;
        let volume = Volume { name: "web-data".into(), created, labels, options: [].into(), goes_with: None };
        let list = |values: &[&str]| values.iter().map(|&value| value.to_owned()).collect::<Vec<_>>();
        let fits = |filters: VolumeFilters| filters.let_through(&volume, &|| true);
        assert!(fits(VolumeFilters::default()));
        assert!(fits(VolumeFilters { names: list(&["x", "data"]), ..Default::default() }));
        assert!(!fits(VolumeFilters { names: list(&["x"]), ..Default::default() }));
        assert!(fits(VolumeFilters { labels: list(&["tier", "tier=db"]), ..Default::default() }));
        assert!(!fits(VolumeFilters { labels: list(&["tier=web"]), ..Default::default() }));
        assert!(!fits(VolumeFilters { without_labels: list(&["tier"]), ..Default::default() }));
        assert!(fits(VolumeFilters { drivers: list(&["local"]), dangling: Some(false), ..Default::default() }));
        assert!(!fits(VolumeFilters { dangling: Some(true), ..Default::default() }));
        assert!(!fits(VolumeFilters { drivers: list(&["nfs"]), ..Default::default() }));
    }
}
