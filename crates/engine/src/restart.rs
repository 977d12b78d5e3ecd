// SPDX-License-Identifier: Apache-2.0
//! Starting again: `restart`, and what the restart policy says of a container that has ended.
//!
//! One that is to be started again waits, the longer the more often it ended soon after its start, so that a command that
//! fails at once does not keep the host busy. Whoever stops, starts or removes it meanwhile comes first.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use network::Endpoint;

use crate::Engine;
use crate::container::{Container, Exited, Phase, State};
use crate::error::EngineError;
use crate::request::RestartPolicy;

/// The first wait.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// No wait is longer.
const LAST_DELAY: Duration = Duration::from_secs(60);
/// Who has run for so long has not failed at once: the next wait is the first again.
const STEADY: Duration = Duration::from_secs(10);

impl RestartPolicy {
    /// Whether a container is started again that has ended with `code`, after `restarts` times. `stopped`: the user ended
    /// it.
    pub(crate) fn restarts(self, code: i32, restarts: u32, stopped: bool) -> bool {
        match self {
            _ if stopped => false,
            RestartPolicy::No => false,
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            RestartPolicy::OnFailure { most } | RestartPolicy::Unhealthy { most } => {
                code != 0 && most.is_none_or(|most| restarts < most)
            }
        }
    }

    /// Whether a container that has become unhealthy is ended, to be started again.
    pub(crate) fn heals(self, restarts: u32, stopped: bool) -> bool {
        match self {
            RestartPolicy::Unhealthy { most } => !stopped && most.is_none_or(|most| restarts < most),
            _ => false,
        }
    }

    /// Whether a container is ended, to be started again, that is not alive or has not come up.
    pub(crate) fn revives(self, restarts: u32, stopped: bool) -> bool {
        match self {
            _ if stopped => false,
            RestartPolicy::No => false,
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            RestartPolicy::OnFailure { most } | RestartPolicy::Unhealthy { most } => {
                most.is_none_or(|most| restarts < most)
            }
        }
    }

    /// The same when a daemon begins and finds the container ended: `always` means even one that the user stopped.
    pub(crate) fn starts_with_daemon(self, code: i32, restarts: u32, stopped: bool) -> bool {
        self == RestartPolicy::Always || self.restarts(code, restarts, stopped)
    }
}

/// The wait after one of `last`, for a container that ran for `ran`.
fn next_delay(last: Option<Duration>, ran: Duration) -> Duration {
    match last {
        Some(last) if ran < STEADY => (last * 2).min(LAST_DELAY),
        _ => FIRST_DELAY,
    }
}

impl Engine {
    /// Stops a container as `stop` does, if it runs, and starts it. One that would be removed at its end stays.
    ///
    /// # Errors
    /// Those of `stop` and `start`.
    pub async fn restart(
        self: &Arc<Self>,
        name: &str,
        timeout: Option<i64>,
        signal: Option<&str>,
    ) -> Result<(), EngineError> {
        let (engine, container, signal) = (Arc::clone(self), self.container(name)?, signal.map(str::to_owned));
        self.to_its_end("restart", async move {
            let _stays = container.stay();
            engine.stop(container.id.as_str(), timeout, signal.as_deref()).await?;
            engine.start(container.id.as_str()).await?;
            container.tell("restart", []);
            Ok(())
        })
        .await
    }

    /// What becomes of a run that has ended: the container waits for its next start, or stays ended. Says whether it waits,
    /// and gives back the places in networks that it had: from now on nobody else adds to them.
    pub(crate) fn end_run(&self, container: &Container, exited: Exited) -> (bool, Vec<Endpoint>) {
        let closing = self.closing.load(Ordering::Acquire);
        container.update(|record| {
            let policy = record.spec.restart;
            // Asked to end because it was unhealthy, it may have done so with any code.
            let healed = container.is_healed() && policy.revives(record.restarts, record.stopped);
            let again = !closing && (healed || policy.restarts(exited.code, record.restarts, record.stopped));
            let mut state = std::mem::replace(&mut record.state, State::Created);
            let endpoints = state.take_endpoints();
            let mut exited = state.end(exited);
            if container.is_healed() && exited.error.is_none() {
                exited.error = record.revived.as_ref().map(|revived| revived.reason.clone());
            }
            record.state = if again { State::Restarting(exited) } else { State::Exited(exited) };
            (again, endpoints)
        })
    }

    /// Starts a container that waits for it, after its delay, unless somebody else decides first.
    pub(crate) fn restart_later(self: &Arc<Self>, container: &Arc<Container>) {
        let ran = container.with_record(|record| {
            // Whoever was unhealthy from the beginning has failed at once, however long that was looked at.
            (record.was_well() || !container.is_healed()).then_some(())?;
            let exited = record.state.exited()?;
            let ran = exited.finished.as_millisecond().checked_sub(exited.started?.as_millisecond())?;
            u64::try_from(ran).ok().map(Duration::from_millis)
        });
        let (turn, delay) = container.waits(|last| next_delay(last, ran.unwrap_or_default()));
        self.restart_in(container, turn, delay, true);
    }

    fn restart_in(self: &Arc<Self>, container: &Arc<Container>, turn: u64, delay: Duration, counts: bool) {
        let (engine, container) = (Arc::downgrade(self), Arc::clone(container));
        self.handle.spawn(async move {
            tokio::time::sleep(delay).await;
            let Some(engine) = engine.upgrade() else { return };
            if !engine.closing.load(Ordering::Acquire) && container.is_waiting(turn) {
                engine.start_again(&container, turn, counts).await;
            }
        });
    }

    async fn start_again(self: &Arc<Self>, container: &Arc<Container>, waiting: u64, counts: bool) {
        let _turn = container.lifecycle.lock().await;
        // A stop, a start, a removal or a later end came first.
        let is_waiting = container.with_record(|record| matches!(record.state, State::Restarting(_)));
        if !is_waiting || !container.is_waiting(waiting) || self.container(container.id.as_str()).is_err() {
            return;
        }
        if counts {
            container.update(|record| record.restarts = record.restarts.saturating_add(1));
        }
        match self.start_with_turn(container).await {
            Ok(()) => self.remember_later(container),
            Err(error) => {
                tracing::warn!(container = %container.id, error = errors::chain(&error), "cannot start it again");
                let (again, _) = self.end_run(container, crate::start::failed_start(&error));
                self.layers.unmounted(&container.dir);
                self.announce_end(container, again);
                self.remember_later(container);
            }
        }
    }

    /// Tells how a run has ended, and sees to the next one.
    pub(crate) fn announce_end(self: &Arc<Self>, container: &Arc<Container>, again: bool) {
        let code = container.with_record(|record| record.state.exited().map_or(0, |exited| exited.code));
        if again {
            container.announce(Phase::Restarting(code));
            self.restart_later(container);
        } else {
            container.announce(Phase::Exited(code));
        }
    }

    /// Ends the wait of a container for its next start: it has ended. Says whether it waited. The caller has the turn.
    pub(crate) fn call_off_restart(self: &Arc<Self>, container: &Arc<Container>) -> bool {
        let ended = container.update(|record| {
            let State::Restarting(exited) = &record.state else { return None };
            let exited = exited.clone();
            let code = exited.code;
            record.state = State::Exited(exited);
            record.stopped = true;
            Some(code)
        });
        let Some(code) = ended else { return false };
        container.announce(Phase::Exited(code));
        self.remember_later(container);
        true
    }

    /// Starts, in a daemon that begins, what its policy says: after a reboot, or where a restart was interrupted.
    pub(crate) fn start_by_policy(self: &Arc<Self>) {
        let containers: Vec<Arc<Container>> = self.registry().by_id.values().map(Arc::clone).collect();
        for container in containers {
            let starts = container.update(|record| {
                let exited = match &record.state {
                    // Whoever was to be started again still is.
                    State::Restarting(exited) => exited.clone(),
                    State::Exited(exited)
                        if record.spec.restart.starts_with_daemon(exited.code, record.restarts, record.stopped) =>
                    {
                        exited.clone()
                    }
                    _ => return false,
                };
                record.state = State::Restarting(exited);
                record.stopped = false;
                true
            });
            if starts {
                let (turn, _) = container.waits(|_| FIRST_DELAY);
                self.restart_in(&container, turn, Duration::ZERO, false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_decides_by_the_exit_and_by_who_ended_it() {
        use RestartPolicy::{Always, No, OnFailure, Unhealthy, UnlessStopped};
        let thrice = OnFailure { most: Some(3) };
        for (policy, code, restarts, stopped, again, with_daemon) in [
            (No, 1, 0, false, false, false),
            (Always, 0, 99, false, true, true),
            (Always, 137, 0, true, false, true),
            (UnlessStopped, 0, 0, false, true, true),
            (UnlessStopped, 0, 0, true, false, false),
            (OnFailure { most: None }, 1, 99, false, true, true),
            (OnFailure { most: None }, 0, 0, false, false, false),
            (OnFailure { most: None }, 1, 0, true, false, false),
            (thrice, 1, 2, false, true, true),
            (thrice, 1, 3, false, false, false),
            (Unhealthy { most: Some(1) }, 1, 0, false, true, true),
            (Unhealthy { most: Some(1) }, 1, 1, false, false, false),
            (Unhealthy { most: None }, 0, 0, false, false, false),
        ] {
            assert_eq!(policy.restarts(code, restarts, stopped), again, "{policy:?} {code} {restarts} {stopped}");
            let found = policy.starts_with_daemon(code, restarts, stopped);
            assert_eq!(found, with_daemon, "{policy:?} {code} {restarts} {stopped}");
        }
    }

    #[test]
    fn only_one_policy_heals_and_so_often_as_it_says() {
        let twice = RestartPolicy::Unhealthy { most: Some(2) };
        for (policy, restarts, stopped, heals) in [
            (twice, 1, false, true),
            (twice, 2, false, false),
            (twice, 0, true, false),
            (RestartPolicy::Unhealthy { most: None }, 99, false, true),
            (RestartPolicy::Always, 0, false, false),
        ] {
            assert_eq!(policy.heals(restarts, stopped), heals, "{policy:?} {restarts} {stopped}");
            let alive_again = policy.revives(restarts, stopped);
            assert_eq!(alive_again, heals || policy == RestartPolicy::Always, "{policy:?} {restarts} {stopped}");
        }
    }

    #[test]
    fn waits_double_up_to_a_minute_and_begin_anew_after_a_steady_run() {
        let mut delay = None;
        let mut waits = Vec::new();
        for _ in 0..12 {
            let next = next_delay(delay, Duration::from_secs(1));
            waits.push(next.as_millis());
            delay = Some(next);
        }
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000]);
        assert_eq!(next_delay(delay, STEADY), FIRST_DELAY);
    }
}
