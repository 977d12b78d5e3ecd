// SPDX-License-Identifier: Apache-2.0
//! Health checks: probes of running containers, and what they say.
//!
//! One task wakes when the next probe is due and has it made; only so many are made at once, the others wait for their
//! turn. Between its probes a container costs an entry in a heap and nothing else. Each start, pause, unpause and end of a
//! container begins a new *series* ([`Container::begin_probing`]): what belongs to an earlier one, due or under way, no
//! longer counts.
//!
//! How well a container is stands in its record. Each change of the status is written beside its shim, so that a new
//! daemon goes on with it; of what happened between two changes a killed daemon forgets the number of failures and the
//! last probes.

mod check;
mod heal;
mod network;
mod probe;
mod ready;
mod schedule;
mod state;

use std::sync::Arc;
use std::time::Duration;

use image::Image;
use jiff::Timestamp;
use oci::ContainerId;
use rustix::time::{ClockId, clock_gettime};

pub use check::{HealthCheck, HealthTest};
pub(crate) use heal::is_possible;
pub(crate) use schedule::Schedule;
pub use state::{Health, HealthStatus, Probe};

use crate::Engine;
use crate::container::{Container, Record, Running};
use crate::error::EngineError;
use crate::request::ContainerSpec;

/// Milliseconds per tick of the times in `/proc/<pid>/stat` (`USER_HZ` is 100 on every architecture we run on).
const MILLIS_PER_TICK: u64 = 10;

/// How well a container is when it is started: `None` where nothing is checked.
pub(crate) fn at_start(record: &Record) -> Option<Arc<Health>> {
    record.process.health.as_ref()?.probe()?;
    Some(Arc::new(Health::at_start(record.health.as_deref())))
}

impl Running {
    /// How long it has run, by a clock that nobody sets.
    fn ran_for(&self) -> Duration {
        let now = clock_gettime(ClockId::Boottime);
        let now = Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0));
        now.saturating_sub(Duration::from_millis(self.start_time.saturating_mul(MILLIS_PER_TICK)))
    }
}

impl Engine {
    /// What a container is to be checked by: its own wish over its image's; and the image's shell.
    pub(crate) fn check_of(
        &self,
        spec: &ContainerSpec,
        image: &Image,
    ) -> Result<(Option<HealthCheck>, Vec<String>), EngineError> {
        let wish = spec.health.clone();
        if wish.as_ref().is_some_and(|wish| wish.test == Some(HealthTest::None)) {
            return Ok((wish, Vec::new()));
        }
        let (of_image, shell) = check::of_image(&self.images.run_configuration(image.id)?)?;
        let check = match (wish, of_image) {
            (Some(wish), of_image) => Some(wish.over(of_image)),
            (None, of_image) => of_image,
        };
        Ok((check, shell.unwrap_or_default()))
    }

    /// Makes probes when they are due, as long as there is this engine.
    pub(crate) fn make_probes(self: &Arc<Self>) {
        let (engine, schedule) = (Arc::downgrade(self), Arc::clone(&self.health));
        self.handle.spawn(async move {
            loop {
                for (container, series) in schedule.due().await {
                    let Some(engine) = engine.upgrade() else { return };
                    tokio::spawn(async move { engine.probe(&container, series).await });
                }
            }
        });
    }

    /// Begins to probe a container, or ceases to, as its state now is.
    pub(crate) fn watch_health(&self, container: &Container) {
        let next = container.update(|record| {
            let series = container.begin_probing();
            let (running, check, _) = probed(record)?;
            let starting = record.health_status() == Some(HealthStatus::Starting);
            Some((series, check.wait(starting, running.ran_for())))
        });
        if let Some((series, wait)) = next {
            self.health.add(container.id.clone(), series, wait);
        }
    }

    /// Makes one probe, takes its result into account, and sees to the next one.
    async fn probe(self: &Arc<Self>, id: &ContainerId, series: u64) {
        let _slot = self.health.slot().await;
        let Ok(container) = self.container(id.as_str()) else { return };
        let Some((check, test, ran)) = container.with_record(|record| {
            let (running, check, test) = probed(record).filter(|_| container.is_probing(series))?;
            Some((check.clone(), probe::Trial::of(record, running, test), running.ran_for()))
        }) else {
            return;
        };
        let start = Timestamp::now();
        let (exit_code, output) = self.try_out(&container, test, check.timeout()).await;
        let probe = Probe { start, end: Timestamp::now(), exit_code, output };
        let Some((changed, turned, wait)) = container.update(|record| {
            // It was paused, or has ended: the result may come of that.
            let running =
                probed(record).filter(|_| container.is_probing(series)).map(|(running, ..)| running.clone())?;
            let health = Arc::make_mut(record.health.as_mut()?);
            let was_ready = health.ready;
            let changed = health.note(probe, &check, ran).then_some(health.status);
            let turned = health.ready != was_ready;
            Some((changed, turned, check.wait(health.status == HealthStatus::Starting, running.ran_for())))
        }) else {
            return;
        };
        if turned {
            self.publish_if_ready(&container).await;
        }
        if let Some(status) = changed {
            container.tell(format!("health_status: {}", status.as_str()), []);
            if status == HealthStatus::Unhealthy {
                self.heal(&container);
            }
        }
        if turned || changed.is_some() {
            self.remember_health(&container);
        }
        self.health.add(id.clone(), series, wait);
    }

    /// Writes how well a container is where a new daemon finds it, off everybody's path.
    fn remember_health(self: &Arc<Self>, container: &Arc<Container>) {
        let (engine, container) = (Arc::clone(self), Arc::clone(container));
        self.in_background("remember a container's health", move || {
            let _turn = container.lifecycle.blocking_lock();
            if let Err(error) = engine.rewrite_shim_record(&container) {
                tracing::warn!(container = %container.id, error = errors::chain(&error), "a new daemon would not know how well it is");
            }
        });
    }
}

/// What is tried of a container that is probed: one that runs, does not stand still, and has a check.
fn probed(record: &Record) -> Option<(&Running, &HealthCheck, &HealthTest)> {
    let running = record.state.running().filter(|running| !running.paused)?;
    let check = record.process.health.as_ref()?;
    Some((running, check, check.probe()?))
}
