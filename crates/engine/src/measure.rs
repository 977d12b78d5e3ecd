// SPDX-License-Identifier: Apache-2.0
//! What there is to measure of all containers at once, for metrics: each figure costs a read of its file in the control
//! group, and what a container does not run costs nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use oci::ContainerId;

use crate::Engine;
use crate::container::{Container, Running};
use crate::error::EngineError;
use crate::health::HealthStatus;
use crate::stats::{Traffic, has_ended, side_by_side, traffic_in};

/// One container, measured.
#[derive(Debug, Clone)]
pub struct Measure {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// The image it was made from, as the user named it.
    pub image: String,
    /// Docker's word for its state.
    pub status: &'static str,
    /// How well it is, if that is looked after.
    pub health: Option<HealthStatus>,
    /// How often the restart policy has started it again.
    pub restarts: u32,
    /// When it was started, while it runs.
    pub started: Option<Timestamp>,
    /// What the kernel counts of it, while it runs.
    pub counted: Option<Counted>,
    /// Whether it runs and nothing could be counted.
    pub failed: bool,
}

/// What the kernel counts of a running container.
#[derive(Debug, Clone)]
pub struct Counted {
    /// Of its control group.
    pub cgroup: cgroup::Stats,
    /// By interface; none for one that has no network of its own.
    pub networks: BTreeMap<String, Traffic>,
}

impl Engine {
    /// All containers, measured; in the order of their ids.
    ///
    /// # Errors
    /// The worker that reads is lost.
    pub async fn measure(self: &Arc<Self>) -> Result<Vec<Measure>, EngineError> {
        let engine = Arc::clone(self);
        self.blocking("measure", move || {
            let mut containers: Vec<Arc<Container>> = engine.registry().by_id.values().cloned().collect();
            containers.sort_by(|a, b| a.id.cmp(&b.id));
            side_by_side(&containers, |part| part.iter().map(|container| engine.measured(container)).collect())
        })
        .await
    }

    fn measured(&self, container: &Container) -> Measure {
        let (mut measure, running) = container.with_record(|record| {
            let running = record.state.running().cloned();
            let measure = Measure {
                id: record.id.clone(),
                name: record.name.clone(),
                image: record.spec.image.clone(),
                status: record.state.status(),
                health: record.health_status(),
                restarts: record.restarts,
                started: running.as_ref().map(|running| running.started),
                counted: None,
                failed: false,
            };
            (measure, running)
        });
        if let Some(running) = running {
            match self.counted(container, &running) {
                Ok(counted) => measure.counted = Some(counted),
                Err(_) if has_ended(&running) => {}
                Err(error) => {
                    tracing::warn!(container = %container.id, error = errors::chain(&error), "counters cannot be read");
                    measure.failed = true;
                }
            }
        }
        measure
    }

    fn counted(&self, container: &Container, running: &Running) -> Result<Counted, EngineError> {
        let (path, network) =
            container.with_record(|record| (self.cgroup_path(&record.id, &record.spec), record.spec.network.clone()));
        Ok(Counted { cgroup: self.cgroups.open(&path)?.stats()?, networks: traffic_in(&network, running)? })
    }
}
