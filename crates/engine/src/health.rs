// SPDX-License-Identifier: Apache-2.0
//! Health checks: probes of running containers, and what they say.
//!
//! One task wakes when the next probe is due and has it made; only so many begin at once, the others wait for their
//! turn. Between its probes a container costs an entry in a heap and nothing else. Each start, pause, unpause and end of a
//! container begins a new *series* ([`Container::begin_probing`]): what belongs to an earlier one, due or under way, no
//! longer counts.
//!
//! A container may have several checks, each with probes of its own (`kinds.rs`): until one of its startup succeeds the others
//! wait.
//!
//! How well a container is stands in its record. Each change of the status is written beside its shim, so that a new
//! daemon goes on with it; of what happened between two changes a killed daemon forgets the number of failures and the
//! last probes.

mod check;
mod heal;
mod kinds;
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
pub(crate) use kinds::is_possible;
pub use kinds::{CheckKind, CheckStates, Checks, Revived};
pub(crate) use schedule::Schedule;
pub use state::{Health, HealthStatus, Probe};

use crate::Engine;
use crate::container::{Container, Record, Running};
use crate::error::EngineError;
use crate::request::ContainerSpec;

/// Milliseconds per tick of the times in `/proc/<pid>/stat` (`USER_HZ` is 100 on every architecture we run on).
const MILLIS_PER_TICK: u64 = 10;

/// So long a probe counts among those that are made at once.
const SLOT_TIME: Duration = Duration::from_secs(1);

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
                for due in schedule.due().await {
                    let Some(engine) = engine.upgrade() else { return };
                    tokio::spawn(async move { engine.probe(due).await });
                }
            }
        });
    }

    /// Begins to probe a container, or ceases to, as its state now is.
    pub(crate) fn watch_health(&self, container: &Container) {
        self.begin_series(container, |wait| wait);
    }

    /// The same for a container that a daemon takes over which begins: all of them at once, and their probes shall not come
    /// at once for ever.
    pub(crate) fn resume_health(&self, container: &Container) {
        self.begin_series(container, |wait| wait.mul_f64(share_of(&container.id)));
    }

    fn begin_series(&self, container: &Container, spread: impl Fn(Duration) -> Duration) {
        let (series, first) = container.update(|record| (container.begin_probing(), first_probes(record)));
        for (kind, wait) in first {
            self.health.add((container.id.clone(), series, kind), spread(wait));
        }
    }

    /// Makes one probe, takes its result into account, and sees to the next one.
    async fn probe(self: &Arc<Self>, (id, series, kind): schedule::Due) {
        let slot = self.health.slot().await;
        let Ok(container) = self.container(id.as_str()) else { return };
        let Some((trial, limit, ran)) = container.with_record(|record| {
            let (running, check) = probed(record, kind).filter(|_| container.is_probing(series))?;
            Some((probe::Trial::of(record, running, check.probe()?), check.timeout(), running.ran_for()))
        }) else {
            return;
        };
        let start = Timestamp::now();
        let (exit_code, output) = slot.hold(SLOT_TIME, self.try_out(&container, trial, limit)).await;
        let probe = Probe { start, end: Timestamp::now(), exit_code, output };
        let noted = container.update(|record| {
            // It was paused, or has ended: the result may come of that.
            container.is_probing(series).then_some(())?;
            note(record, kind, probe, ran)
        });
        let Some(noted) = noted else { return };
        self.tell_of_checks(&container, kind, &noted).await;
        for (kind, wait) in noted.next {
            self.health.add((id.clone(), series, kind), wait);
        }
    }

    /// Lets everything follow from what a probe has changed.
    async fn tell_of_checks(self: &Arc<Self>, container: &Arc<Container>, kind: CheckKind, noted: &Noted) {
        if noted.turned {
            self.publish_if_ready(container).await;
        }
        if let Some(status) = noted.check.filter(|_| kind != CheckKind::Health) {
            let about = [("check", kind.as_str().to_owned())];
            container.tell(format!("check_status: {}", status.as_str()), about);
        }
        if let Some(status) = noted.whole.filter(|status| *status != HealthStatus::Starting) {
            container.tell(format!("health_status: {}", status.as_str()), []);
        }
        // Also one that was so when this daemon began, or when it got another policy.
        if noted.fails && !container.is_healed() {
            self.heal(container, kind);
        }
        if noted.turned || noted.check.is_some() {
            self.remember_health(container);
        }
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

/// A number between 0 and 1 that is another for each container: ids are random.
fn share_of(id: &ContainerId) -> f64 {
    let digits = id.as_str().get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    digits.map_or(1.0, |digits| f64::from(digits) / f64::from(u32::MAX))
}

/// What a probe has changed.
struct Noted {
    /// What its check says now, if it said something else before.
    check: Option<HealthStatus>,
    /// How well the container is, if that is another than before.
    whole: Option<HealthStatus>,
    /// Whether it became ready, or is no longer.
    turned: bool,
    /// Whether it failed, and too often by now.
    fails: bool,
    /// What is probed next, and when.
    next: Vec<(CheckKind, Duration)>,
}

/// Takes a probe into account that began when the container had run for `ran`.
fn note(record: &mut Record, kind: CheckKind, probe: Probe, ran: Duration) -> Option<Noted> {
    let (running, check) = probed(record, kind)?;
    let ran_now = running.ran_for();
    let (whole, held_back) = (record.health_status(), record.holds_ports_back());
    let health = record.health_of_mut(kind)?;
    let failed = probe.exit_code != 0;
    let changed = health.note(probe, &check, ran).then_some(health.status);
    let fails = failed && health.status == HealthStatus::Unhealthy;
    let next = match kind == CheckKind::Startup && health.was_healthy {
        true => first_probes(record),
        false => vec![(kind, check.wait(health.status == HealthStatus::Starting, ran_now))],
    };
    Some(Noted {
        check: changed,
        whole: record.health_status().filter(|status| Some(*status) != whole),
        turned: record.holds_ports_back() != held_back,
        fails,
        next,
    })
}

/// What is probed of a container from now on, and when first.
fn first_probes(record: &Record) -> Vec<(CheckKind, Duration)> {
    let first = |kind: CheckKind| {
        let (running, check) = probed(record, kind)?;
        let starting = record.health_of(kind)?.status == HealthStatus::Starting;
        Some((kind, check.first_wait(kind, starting, running.ran_for())))
    };
    CheckKind::ALL.into_iter().filter_map(first).collect()
}

/// What is tried of a container that is probed: one that runs, does not stand still, and has a check whose turn it is.
fn probed(record: &Record, kind: CheckKind) -> Option<(&Running, HealthCheck)> {
    let running = record.state.running().filter(|running| !running.paused && record.is_asked(kind))?;
    let check = record.check(kind)?;
    check.probe()?;
    Some((running, check))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_that_are_taken_over_together_are_not_probed_together() {
        let share = |byte| share_of(&ContainerId::from_random([byte; 32]));
        assert!((0.0..0.01).contains(&share(0)) && (0.99..=1.0).contains(&share(0xff)));
        assert!((0.4..0.6).contains(&share(0x80)));
    }
}
