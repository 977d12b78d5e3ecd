// SPDX-License-Identifier: Apache-2.0
//! Starting again what is unhealthy or not alive, where the restart policy says so: the container is asked to end as by a stop, and its
//! end is followed by a start, with the waits that all restarts have.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustix::process::Signal;

use super::{CheckKind, Health, Revived};
use crate::Engine;
use crate::container::{Container, Phase, Running};
use crate::error::EngineError;
use crate::signal;
use crate::stop::DEFAULT_STOP_TIMEOUT;

impl Engine {
    /// Sees to it that a container is started again of which a check has failed too often, if its policy wants that: any but
    /// `no` where it is not alive or has not come up, `unhealthy` where it is not well.
    pub(super) fn heal(self: &Arc<Self>, container: &Arc<Container>, kind: CheckKind) {
        let running = container.update(|record| {
            let policy = record.spec.restart;
            let ends = match kind {
                CheckKind::Health => policy.heals(record.restarts, record.stopped),
                CheckKind::Startup | CheckKind::Liveness => policy.revives(record.restarts, record.stopped),
                CheckKind::Readiness => false,
            };
            let running = record.state.running().filter(|_| ends).cloned()?;
            let reason = record.health_of(kind).map(|health| reason(kind, health)).unwrap_or_default();
            record.revived = Some(Revived { at: Timestamp::now(), reason });
            Some(running)
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

/// Which check failed how often, and what its last probe said, in a line.
fn reason(kind: CheckKind, health: &Health) -> String {
    let said = health.log.back().map(|probe| probe.output.lines().next().unwrap_or_default().trim().to_owned());
    let said = said.filter(|said| !said.is_empty()).map(|said| format!(": {said}")).unwrap_or_default();
    format!("the {} check failed {} times in a row{said}", kind.as_str(), health.failing_streak)
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
