// SPDX-License-Identifier: Apache-2.0
//! `update`: other limits, another restart policy and other mounts for a container, while it runs or not.

mod mounts;

use std::sync::Arc;

use metadata::Durability;

use crate::container::{Container, State};
use crate::error::EngineError;
use crate::request::{ContainerSpec, Resources, RestartPolicy};
use crate::{Engine, health, spec};

pub use mounts::MountChanges;

/// What of a container shall be otherwise. What is absent stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// Its limits.
    pub resources: Resources,
    /// When it is started again.
    pub restart: Option<RestartPolicy>,
    /// What is mounted into it.
    pub mounts: MountChanges,
}

impl Changes {
    fn apply(&self, spec: &mut ContainerSpec) {
        fn set<T: Clone>(old: &mut Option<T>, new: &Option<T>) {
            if new.is_some() {
                old.clone_from(new);
            }
        }
        let (old, new) = (&mut spec.resources, &self.resources);
        set(&mut old.memory, &new.memory);
        set(&mut old.memory_swap, &new.memory_swap);
        set(&mut old.memory_reservation, &new.memory_reservation);
        set(&mut old.memory_swappiness, &new.memory_swappiness);
        set(&mut old.oom_kill_disable, &new.oom_kill_disable);
        set(&mut old.nano_cpus, &new.nano_cpus);
        set(&mut old.cpu_quota, &new.cpu_quota);
        set(&mut old.cpu_period, &new.cpu_period);
        set(&mut old.cpu_realtime_runtime, &new.cpu_realtime_runtime);
        set(&mut old.cpu_realtime_period, &new.cpu_realtime_period);
        set(&mut old.cpu_shares, &new.cpu_shares);
        set(&mut old.cpuset_cpus, &new.cpuset_cpus);
        set(&mut old.cpuset_mems, &new.cpuset_mems);
        set(&mut old.pids_limit, &new.pids_limit);
        set(&mut old.blkio_weight, &new.blkio_weight);
        spec.restart = self.restart.unwrap_or(spec.restart);
    }
}

impl Engine {
    /// Changes a container. All of it or nothing; a running one has its new limits when this returns. What the user should
    /// know is the answer.
    ///
    /// # Errors
    /// No such container; what cannot be, together with what stays; a limit that the kernel refuses.
    pub async fn update(self: &Arc<Self>, name: &str, changes: Changes) -> Result<Vec<String>, EngineError> {
        let container = self.container(name)?;
        let turn = Arc::clone(&container.lifecycle).lock_owned().await;
        // A removal may have come first.
        self.container(container.id.as_str())?;
        let engine = Arc::clone(self);
        self.blocking("update", move || {
            let _turn = turn;
            engine.update_blocking(&container, &changes)
        })
        .await
    }

    fn update_blocking(&self, container: &Arc<Container>, changes: &Changes) -> Result<Vec<String>, EngineError> {
        let before = container.record();
        let (mut wish, mut changes) = (before.spec.clone(), changes.clone());
        let warnings = self.fit_resources(&mut changes.resources);
        changes.apply(&mut wish);
        let mut exchange = self.plan_exchange(&before, &mut wish, &changes.mounts)?;
        health::is_possible(&wish, before.process.health.as_ref())?;
        let limits = spec::changed_limits(&changes.resources, &wish.resources)?;
        let done = self.ready_exchange(container, &before, &mut exchange).and_then(|()| {
            self.record_exchange(container, wish, &exchange);
            self.keep(container)?;
            self.carry_out_exchange(&mut exchange)?;
            let runs = container.with_record(|record| matches!(record.state, State::Running(_)));
            if runs && changes.resources != Resources::default() {
                self.cgroups.open(&self.cgroup_of(container))?.update(&limits)?;
            }
            Ok(())
        });
        if let Err(error) = done {
            self.undo_exchange(container, &before, exchange);
            return Err(error);
        }
        self.end_exchange(container, exchange);
        container.tell("update", []);
        Ok(warnings)
    }

    /// Makes the record durable, where the container has one that is, and tells it to who comes after this daemon.
    pub(crate) fn keep(&self, container: &Container) -> Result<(), EngineError> {
        // One that is removed at its end has no record but its shim's.
        if !container.with_record(|record| record.spec.auto_remove) {
            self.write_record(container, Durability::Synced)?;
        }
        self.rewrite_shim_record(container)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_stays() {
        let resources = Resources { memory: Some(1 << 30), pids_limit: Some(9), ..Resources::default() };
        let mut spec = ContainerSpec { resources, restart: RestartPolicy::Always, ..ContainerSpec::default() };
        let before = spec.clone();
        Changes::default().apply(&mut spec);
        assert_eq!(spec, before);
        let resources = Resources { memory: Some(1 << 20), nano_cpus: Some(5), ..Resources::default() };
        Changes { resources, restart: Some(RestartPolicy::No), ..Changes::default() }.apply(&mut spec);
        let found = &spec.resources;
        assert_eq!((found.memory, found.nano_cpus, found.pids_limit), (Some(1 << 20), Some(5), Some(9)));
        assert_eq!(spec.restart, RestartPolicy::No);
    }
}
