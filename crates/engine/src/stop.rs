// SPDX-License-Identifier: Apache-2.0
//! `stop`, `kill` and `wait`: asking a container to end, making it end, and learning that it has.

use std::sync::Arc;
use std::time::Duration;

use metadata::Durability;

use crate::Engine;
use crate::container::{Container, Phase, Running, State};
use crate::error::EngineError;
use crate::request::RestartPolicy;
use crate::{exec, signal};

/// Seconds between the stop signal and SIGKILL when nobody chose another time.
pub(crate) const DEFAULT_STOP_TIMEOUT: i64 = 10;
/// How long the kernel may take to end a process after SIGKILL. Uninterruptible I/O can hold it.
const KILL_GRACE: Duration = Duration::from_secs(30);
/// How long a forced removal waits for its turn before it ends what may be in its way.
const TURN_PATIENCE: Duration = Duration::from_secs(10);

/// The answer to `stop`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopOutcome {
    /// It has ended.
    Stopped,
    /// It did not run.
    NotRunning,
}

/// What `wait` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// That it does not run, which may be true already.
    NotRunning,
    /// The next exit, even if it does not run now.
    NextExit,
    /// Its removal.
    Removed,
}

impl Engine {
    /// Sends the stop signal, waits `timeout` seconds (the container's own, then 10, when absent; a negative number
    /// waits for ever), then sends SIGKILL.
    ///
    /// # Errors
    /// No such container; a signal that is none; a process that does not end even so.
    pub async fn stop(
        self: &Arc<Self>,
        name: &str,
        timeout: Option<i64>,
        signal: Option<&str>,
    ) -> Result<StopOutcome, EngineError> {
        let container = self.container(name)?;
        let stop_signal = container.with_record(|record| record.process.stop_signal);
        let number = signal.map_or(Ok(stop_signal), signal::parse)?;
        let engine = Arc::clone(self);
        self.to_its_end("stop", async move { engine.stop_container(container, timeout, number).await }).await
    }

    async fn stop_container(
        self: &Arc<Self>,
        container: Arc<Container>,
        timeout: Option<i64>,
        number: i32,
    ) -> Result<StopOutcome, EngineError> {
        let own_timeout = container.with_record(|record| record.spec.stop_timeout);
        if container.with_record(|record| matches!(record.state, State::Restarting(_))) {
            // A start that has begun is waited for, and stopped.
            let _turn = container.lifecycle.lock().await;
            if self.call_off_restart(&container) {
                let (engine, target) = (Arc::clone(self), Arc::clone(&container));
                self.blocking("write a record", move || Ok(engine.write_record(&target, Durability::Synced)?)).await?;
                container.tell("stop", []);
                return Ok(StopOutcome::Stopped);
            }
        }
        let Some(running) = self.wish_to_end(&container).await? else { return Ok(StopOutcome::NotRunning) };
        container.stops(true);
        let seconds = timeout.or(own_timeout.map(i64::from)).unwrap_or(DEFAULT_STOP_TIMEOUT);
        let mut phase = container.watch();
        let mut ended = std::pin::pin!(phase.wait_for(|phase| *phase != Phase::Running));
        if signal::send(&container, &running, number)? {
            self.unpause_to_end(&container)?;
            match u64::try_from(seconds) {
                Err(_) => {
                    ended.await.ok();
                    return Ok(stopped(&container));
                }
                Ok(seconds) => {
                    if tokio::time::timeout(Duration::from_secs(seconds), &mut ended).await.is_ok() {
                        return Ok(stopped(&container));
                    }
                }
            }
        }
        signal::send(&container, &running, rustix::process::Signal::KILL.as_raw())?;
        // It may have been paused meanwhile.
        self.unpause_to_end(&container)?;
        match tokio::time::timeout(KILL_GRACE, ended).await {
            Ok(_) => Ok(stopped(&container)),
            Err(_) => Err(does_not_end(&container)),
        }
    }

    /// Sends a signal, SIGKILL when none is named. SIGKILL returns when the container has ended.
    ///
    /// # Errors
    /// No such container, or it does not run; a signal that is none.
    pub async fn kill(self: &Arc<Self>, name: &str, signal: Option<&str>) -> Result<(), EngineError> {
        let container = self.container(name)?;
        let kill = rustix::process::Signal::KILL.as_raw();
        let number = signal.filter(|name| !name.is_empty()).map_or(Ok(kill), signal::parse)?;
        let running = exec::running(&container).map_err(|error| with_verb(error, "kill"))?;
        let ends = number == kill || number == container.with_record(|record| record.process.stop_signal);
        if ends {
            self.wish_to_end(&container).await?;
        }
        if !signal::send(&container, &running, number)? {
            return Ok(());
        }
        if ends {
            self.unpause_to_end(&container)?;
        }
        if number != kill {
            return Ok(());
        }
        self.await_end(&container).await
    }

    /// Notes that a user wants a container to end, which outlives this daemon where a policy asks for it; how it runs, if
    /// it does.
    async fn wish_to_end(self: &Arc<Self>, container: &Arc<Container>) -> Result<Option<Running>, EngineError> {
        let (running, asks) = container.update(|record| {
            record.stopped = true;
            (record.state.running().cloned(), record.spec.restart != RestartPolicy::No)
        });
        if running.is_some() && asks {
            let (engine, target) = (Arc::clone(self), Arc::clone(container));
            self.blocking("note a wish", move || engine.rewrite_shim_record(&target)).await?;
        }
        Ok(running)
    }

    /// Waits until a container that was sent SIGKILL has ended.
    pub(crate) async fn await_end(&self, container: &Container) -> Result<(), EngineError> {
        let mut phase = container.watch();
        match tokio::time::timeout(KILL_GRACE, phase.wait_for(|phase| *phase != Phase::Running)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(does_not_end(container)),
        }
    }

    /// Waits for a condition; the exit code.
    ///
    /// # Errors
    /// No such container.
    pub async fn wait(&self, name: &str, condition: Condition) -> Result<i32, EngineError> {
        let container = self.container(name)?;
        let mut phase = container.watch();
        if condition == Condition::NextExit {
            // Whatever holds now is the past.
            phase.wait_for(|phase| *phase == Phase::Running || matches!(phase, Phase::Removed(_))).await.ok();
        }
        let reached = |phase: &Phase| match condition {
            Condition::Removed => matches!(phase, Phase::Removed(_)),
            Condition::NotRunning => !matches!(phase, Phase::Running | Phase::Restarting(_)),
            Condition::NextExit => matches!(phase, Phase::Exited(_) | Phase::Restarting(_) | Phase::Removed(_)),
        };
        // The sender lives in the container, which this holds: it cannot be gone.
        let last = phase.wait_for(reached).await.map(|phase| *phase).unwrap_or(Phase::Removed(None));
        Ok(match last {
            Phase::Exited(code) | Phase::Restarting(code) | Phase::Removed(Some(code)) => code,
            Phase::Idle | Phase::Running | Phase::Removed(None) => 0,
        })
    }

    /// Removes a container: its name, record, writable layer and log; with `volumes` those volumes as well that nobody has
    /// named and no other container has. A running one only with `force`.
    ///
    /// # Errors
    /// No such container; it runs and `force` was not given.
    pub async fn remove(self: &Arc<Self>, name: &str, force: bool, volumes: bool) -> Result<(), EngineError> {
        let (engine, container) = (Arc::clone(self), self.container(name)?);
        self.to_its_end("remove", async move { engine.remove_container(container, force, volumes).await }).await
    }

    async fn remove_container(
        self: &Arc<Self>,
        container: Arc<Container>,
        force: bool,
        volumes: bool,
    ) -> Result<(), EngineError> {
        let _turn = match tokio::time::timeout(TURN_PATIENCE, container.lifecycle.lock()).await {
            Ok(turn) => turn,
            Err(_) => {
                // What is under way may wait for the container itself, as for a file system that it serves.
                if force {
                    self.end_at_once(&container)?;
                }
                container.lifecycle.lock().await
            }
        };
        // Another removal may have had the turn before.
        self.container(container.id.as_str())?;
        let active = container.with_record(|record| {
            record
                .state
                .is_active()
                .then(|| (record.name.clone(), record.state.status(), record.state.running().cloned()))
        });
        if let Some((name, status, running)) = active {
            if !force {
                return Err(EngineError::WrongState { name, status, verb: "remove" });
            }
            if running.is_some() {
                self.end_at_once(&container)?;
                self.await_end(&container).await?;
            } else {
                container.update(|record| record.stopped = true);
            }
        }
        let still_there = self.registry().by_id.contains_key(&container.id);
        if still_there {
            self.delete_record(&container).await?;
        }
        if volumes {
            // Who asks for it looks for it at once; nobody has them any more, and in Docker's order they go first.
            self.registry().by_id.remove(&container.id);
            let (engine, container) = (Arc::clone(self), Arc::clone(&container));
            self.blocking("remove a container's volumes", move || {
                engine.remove_anonymous_volumes(&container);
                Ok(())
            })
            .await?;
        }
        if still_there {
            self.forget(&container, None, false);
        }
        Ok(())
    }

    /// Sends SIGKILL to a container that is to be removed, if it runs.
    fn end_at_once(&self, container: &Container) -> Result<(), EngineError> {
        let running = container.update(|record| {
            record.stopped = true;
            record.state.running().cloned()
        });
        if let Some(running) = running {
            signal::send(container, &running, rustix::process::Signal::KILL.as_raw())?;
            self.unpause_to_end(container)?;
        }
        Ok(())
    }

    /// Deletes a durable record, synced, and what a shim's directory says: what was removed does not come back, neither
    /// after a power cut nor with the next daemon, should this one be killed before the directories are gone.
    async fn delete_record(self: &Arc<Self>, container: &Arc<Container>) -> Result<(), EngineError> {
        let (engine, id) = (Arc::clone(self), container.id.clone());
        self.blocking("delete a record", move || {
            let deleted: Result<(), metadata::MetadataError> =
                engine.store.write(Durability::Synced, |tx| tx.delete(crate::CONTAINERS, id.as_str()).map(|_| ()));
            deleted?;
            engine.forget_shim_record(&id)
        })
        .await
    }
}

/// The answer to `stop`. The end was told of as a stop, unless it had come just before the question.
fn stopped(container: &Container) -> StopOutcome {
    container.tell_stopped();
    StopOutcome::Stopped
}

fn with_verb(error: EngineError, verb: &'static str) -> EngineError {
    match error {
        EngineError::WrongState { name, status, .. } => EngineError::WrongState { name, status, verb },
        other => other,
    }
}

fn does_not_end(container: &Container) -> EngineError {
    EngineError::WrongState {
        name: container.with_record(|record| record.name.clone()),
        status: "still running 30 s after SIGKILL",
        verb: "end",
    }
}
