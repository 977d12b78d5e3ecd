// SPDX-License-Identifier: Apache-2.0
//! `pause` and `unpause`: a container's processes stand still, by the freezer of its control group.

use std::sync::Arc;

use crate::Engine;
use crate::container::{Container, State};
use crate::error::EngineError;
use crate::signal;

impl Engine {
    /// Has all processes of a running container stand still. Returns when they do.
    ///
    /// # Errors
    /// No such container; it does not run, or stands still already; processes that do not stop.
    pub async fn pause(self: &Arc<Self>, name: &str) -> Result<(), EngineError> {
        self.set_paused(name, true).await
    }

    /// Lets a paused container's processes go on.
    ///
    /// # Errors
    /// No such container; it is not paused.
    pub async fn unpause(self: &Arc<Self>, name: &str) -> Result<(), EngineError> {
        self.set_paused(name, false).await
    }

    async fn set_paused(self: &Arc<Self>, name: &str, pause: bool) -> Result<(), EngineError> {
        let verb = if pause { "pause" } else { "unpause" };
        let container = self.container(name)?;
        let turn = Arc::clone(&container.lifecycle).lock_owned().await;
        container.with_record(|record| match record.state.running() {
            Some(running) if running.paused != pause => Ok(()),
            _ => {
                let (name, status) = (record.name.clone(), record.state.status());
                Err(EngineError::WrongState { name, status, verb })
            }
        })?;
        let (engine, target) = (Arc::clone(self), Arc::clone(&container));
        self.blocking(verb, move || {
            let _turn = turn;
            let cgroup = engine.cgroups.open(&engine.cgroup_of(&target))?;
            if pause {
                cgroup.freeze()?
            } else {
                cgroup.thaw()?
            }
            engine.note_pause(&target, pause);
            Ok(())
        })
        .await?;
        self.remember_later(&container);
        Ok(())
    }

    /// Lets a container's processes go on that were sent a signal to end by: standing still they would never see it.
    pub(crate) fn unpause_to_end(&self, container: &Container) -> Result<(), EngineError> {
        let is_paused = container.with_record(|record| record.state.running().is_some_and(|running| running.paused));
        if is_paused {
            let thawed = self.cgroups.open(&self.cgroup_of(container)).and_then(|cgroup| cgroup.thaw());
            // A kernel that lets SIGKILL through to what stands still may have ended it, and its group with it.
            let process = container.with_record(|record| record.state.running().map(signal::pidfd));
            if thawed.is_err() && matches!(process, None | Some(Ok(None))) {
                return Ok(());
            }
            thawed?;
            // It may live on.
            self.note_pause(container, false);
        }
        Ok(())
    }

    /// A container's processes stand still, or go on. It may have ended meanwhile.
    pub(crate) fn note_pause(&self, container: &Container, paused: bool) {
        container.update(|record| {
            if let State::Running(running) = &mut record.state {
                running.paused = paused;
            }
        });
        container.tell(if paused { "pause" } else { "unpause" }, []);
        self.watch_health(container);
    }
}
