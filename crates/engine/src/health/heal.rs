// SPDX-License-Identifier: Apache-2.0
//! Starting again what is unhealthy, where the restart policy says so: the container is asked to end as by a stop, and its
//! end is followed by a start, with the waits that all restarts have.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use super::HealthCheck;
use crate::Engine;
use crate::container::{Container, Phase, Running};
use crate::error::EngineError;
use crate::request::{ContainerSpec, RestartPolicy};
use crate::signal;
use crate::stop::DEFAULT_STOP_TIMEOUT;

/// Refuses what waits for what nobody finds out.
pub(crate) fn is_possible(spec: &ContainerSpec, check: Option<&HealthCheck>) -> Result<(), EngineError> {
    let needs = |what| format!("{what} needs a health check, and neither the image nor a --health flag says of one");
    match (check.and_then(HealthCheck::probe), spec.restart) {
        (Some(_), _) => Ok(()),
        (None, RestartPolicy::Unhealthy { .. }) => Err(EngineError::invalid("--restart", needs("unhealthy"))),
        (None, _) if spec.publish_when_ready => Err(EngineError::invalid("--publish-when", needs("ready"))),
        (None, _) => Ok(()),
    }
}

impl Engine {
    /// Sees to it that a container that has become unhealthy is started again, if its policy wants that.
    pub(super) fn heal(self: &Arc<Self>, container: &Arc<Container>) {
        let running = container.with_record(|record| {
            let heals = record.spec.restart.heals(record.restarts, record.stopped);
            record.state.running().filter(|_| heals).cloned()
        });
        let Some(running) = running else { return };
        container.heals(true);
        let container = Arc::clone(container);
        self.handle.spawn(async move {
            if let Err(error) = end(&container, &running).await {
                tracing::error!(container = %container.id, error = errors::chain(&error), "cannot end what is unhealthy");
            }
        });
    }
}

/// Asks a run to end, and ends it when it does not in time.
async fn end(container: &Container, running: &Running) -> Result<(), EngineError> {
    let (number, grace) = container.with_record(|record| (record.process.stop_signal, record.spec.stop_timeout));
    let grace = grace.map_or(DEFAULT_STOP_TIMEOUT, i64::from);
    let mut phase = container.watch();
    if !signal::send(container, running, number)? {
        return Ok(());
    }
    let ended = phase.wait_for(|phase| *phase != Phase::Running);
    if tokio::time::timeout(Duration::from_secs(grace.unsigned_abs()), ended).await.is_err() {
        // Of this run: another one that has begun meanwhile has another process.
        signal::send(container, running, Signal::KILL.as_raw())?;
    }
    Ok(())
}
