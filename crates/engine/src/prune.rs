// SPDX-License-Identifier: Apache-2.0
//! `container prune`: removing the containers that do not run.

use std::sync::Arc;

use jiff::Timestamp;
use oci::ContainerId;

use crate::container::Record;
use crate::error::EngineError;
use crate::select::has_label;
use crate::{Engine, EventKind};

/// Which of the containers that do not run are meant. The default: all of them.
#[derive(Debug, Clone, Default)]
pub struct PruneFilters {
    /// Labels it must have: `KEY` or `KEY=VALUE`.
    pub labels: Vec<String>,
    /// Labels it must not have.
    pub without_labels: Vec<String>,
    /// Made before that moment.
    pub until: Option<Timestamp>,
}

impl PruneFilters {
    fn let_through(&self, record: &Record) -> bool {
        self.labels.iter().all(|label| has_label(record, label))
            && !self.without_labels.iter().any(|label| has_label(record, label))
            && self.until.is_none_or(|until| record.created < until)
    }
}

/// What a pruning has removed.
#[derive(Debug, Clone, Default)]
pub struct PrunedContainers {
    /// The containers.
    pub ids: Vec<ContainerId>,
    /// Bytes that the disk has back.
    pub reclaimed: u64,
}

impl Engine {
    /// Removes the containers that do not run and `filters` let through, but none of their volumes.
    ///
    /// # Errors
    /// A worker that ended without an answer. What cannot be removed is passed over.
    pub async fn prune_containers(self: &Arc<Self>, filters: PruneFilters) -> Result<PrunedContainers, EngineError> {
        let mut pruned = PrunedContainers::default();
        let is_meant = |record: &Record| !record.state.is_active() && filters.let_through(record);
        for record in self.list(true).into_iter().filter(is_meant) {
            let (engine, id) = (Arc::clone(self), record.id.clone());
            let bytes = self.blocking("measure a container", move || engine.bytes_of_container(&id)).await;
            match self.remove(record.id.as_str(), false, false).await {
                Ok(()) => {
                    match bytes {
                        Ok(bytes) => pruned.reclaimed += bytes.unwrap_or(0),
                        Err(error) => tracing::warn!(
                            container = %record.id, error = errors::chain(&error), "what it took on disk is not counted"
                        ),
                    }
                    pruned.ids.push(record.id);
                }
                // Somebody was faster: it is gone, or was started.
                Err(EngineError::NoSuchContainer(_) | EngineError::WrongState { .. }) => {}
                Err(error) => {
                    tracing::error!(container = %record.id, error = errors::chain(&error), "a container is not pruned");
                }
            }
        }
        let attributes = [("reclaimed".to_owned(), pruned.reclaimed.to_string())].into();
        self.events.tell(EventKind::Container, "prune", String::new(), attributes);
        Ok(pruned)
    }
}
