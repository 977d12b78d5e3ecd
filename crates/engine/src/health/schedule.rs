// SPDX-License-Identifier: Apache-2.0
//! When which container is probed next, and how many are at once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use oci::ContainerId;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::CheckKind;

/// So many probes are made at once. Each is a process more; a thousand containers that were started together do not
/// start a thousand of them together.
const AT_ONCE: usize = 32;
/// No probe waits longer; what says so is looked at again then.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 24 * 3600);

/// A probe that is due: of which container, of which series of its probes, and what it is to find out.
pub(super) type Due = (ContainerId, u64, CheckKind);

/// The probes to come.
pub(crate) struct Schedule {
    /// Those of series that no longer count stay until they are due.
    probes: Mutex<BinaryHeap<Reverse<(Instant, Due)>>>,
    /// A probe came that may be the next one.
    sooner: Notify,
    slots: Arc<Semaphore>,
}

impl Default for Schedule {
    fn default() -> Schedule {
        Schedule { probes: Mutex::default(), sooner: Notify::new(), slots: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Schedule {
    /// A container shall be probed after `wait`, if its series still counts then.
    pub(super) fn add(&self, due: Due, wait: Duration) {
        let at = Instant::now() + wait.min(LONGEST_WAIT);
        let mut probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        let is_next = probes.peek().is_none_or(|Reverse((next, ..))| at < *next);
        probes.push(Reverse((at, due)));
        drop(probes);
        if is_next {
            self.sooner.notify_one();
        }
    }

    /// Waits until probes are due, and takes them.
    pub(super) async fn due(&self) -> Vec<Due> {
        loop {
            let next = {
                let mut probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
                let now = Instant::now();
                let mut due = Vec::new();
                while let Some(Reverse((at, ..))) = probes.peek()
                    && *at <= now
                {
                    due.extend(probes.pop().map(|Reverse((_, probe))| probe));
                }
                if !due.is_empty() {
                    return due;
                }
                probes.peek().map(|Reverse((at, ..))| *at)
            };
            match next {
                None => self.sooner.notified().await,
                // Woken for nothing it only looks again.
                Some(at) => drop(tokio::time::timeout_at(at, self.sooner.notified()).await),
            }
        }
    }

    /// The right to make a probe, to be spent on [`Slot::hold`].
    pub(super) async fn slot(&self) -> Slot {
        // It is never closed.
        Slot { _permit: Arc::clone(&self.slots).acquire_owned().await.ok() }
    }
}

/// The right to make a probe.
pub(super) struct Slot {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Slot {
    /// Makes it. What takes longer than `patience` goes on beside those that are counted: it waits for something that does
    /// not answer, and others must not wait for that.
    pub(super) async fn hold<T>(self, patience: Duration, probe: impl Future<Output = T>) -> T {
        let mut probe = std::pin::pin!(probe);
        match tokio::time::timeout(patience, probe.as_mut()).await {
            Ok(found) => found,
            Err(_) => {
                drop(self);
                probe.await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A probe is due within `wait` by the clock, and never sooner.
    async fn due_after(schedule: &Schedule, began: Instant, wait: Duration) -> Vec<Due> {
        let mut due = schedule.due().await;
        assert!(began.elapsed() >= wait, "{:?} is sooner than {wait:?}", began.elapsed());
        due.sort();
        due
    }

    #[tokio::test]
    async fn those_that_wait_for_an_answer_keep_nobody_from_being_probed() {
        let schedule = Arc::new(Schedule::default());
        for _ in 0..AT_ONCE {
            let slot = schedule.slot().await;
            tokio::spawn(slot.hold(Duration::from_millis(5), std::future::pending::<()>()));
        }
        let next = async { schedule.slot().await.hold(Duration::from_secs(3600), async { 7 }).await };
        assert_eq!(tokio::time::timeout(Duration::from_secs(20), next).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn probes_come_in_the_order_in_which_they_are_due() {
        let schedule = Arc::new(Schedule::default());
        let due = |byte, series| (ContainerId::from_random([byte; 32]), series, CheckKind::Health);
        let [soon, later, never] = [Duration::from_millis(30), Duration::from_millis(60), Duration::from_secs(3600)];
        let began = Instant::now();
        schedule.add(due(1, 1), never);
        schedule.add(due(5, 1), later);
        schedule.add(due(2, 1), Duration::ZERO);
        schedule.add(due(3, 7), Duration::ZERO);
        assert_eq!(due_after(&schedule, began, Duration::ZERO).await, [due(2, 1), due(3, 7)]);
        assert_eq!(due_after(&schedule, began, later).await, [due(5, 1)]);
        let other = Arc::clone(&schedule);
        let began = Instant::now();
        let waiting = tokio::spawn(async move { due_after(&other, began, soon).await });
        tokio::task::yield_now().await;
        // One that is due sooner than what is waited for.
        schedule.add(due(4, 1), soon);
        assert_eq!(waiting.await.unwrap(), [due(4, 1)]);
    }
}
