// SPDX-License-Identifier: Apache-2.0
//! What is known of exec sessions.
//!
//! ```text
//!  Created ──▶ Starting ──▶ Runs ──▶ Ended
//!                  └────────────────▲
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oci::ContainerId;

use crate::error::EngineError;
use crate::request::ExecSpec;

/// So many exec sessions are remembered; the oldest that does not run is forgotten for a new one. There are no more that
/// run than processes.
const MAX_REMEMBERED: usize = 4096;

/// All exec sessions, by id, with the order in which they came.
#[derive(Default)]
pub(crate) struct Execs {
    by_id: HashMap<String, Arc<Mutex<ExecState>>>,
    order: VecDeque<String>,
}

impl Execs {
    pub(super) fn remember(&mut self, id: String, state: ExecState) {
        if self.order.len() >= MAX_REMEMBERED {
            let runs = |id: &String| self.by_id.get(id).is_some_and(|state| lock(state).is_running());
            let oldest = self.order.iter().position(|id| !runs(id));
            if let Some(oldest) = oldest.and_then(|at| self.order.remove(at)) {
                self.by_id.remove(&oldest);
            }
        }
        self.order.push_back(id.clone());
        self.by_id.insert(id, Arc::new(Mutex::new(state)));
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Mutex<ExecState>>> {
        self.by_id.get(id).map(Arc::clone)
    }

    pub(super) fn forget(&mut self, id: &str) {
        self.by_id.remove(id);
        self.order.retain(|known| known != id);
    }

    /// Those of a container that have not ended, in the order in which they came.
    pub(super) fn open_in(&self, container: &ContainerId) -> Vec<String> {
        let is_open = |id: &&String| {
            let state = self.by_id.get(*id).map(|state| lock(state));
            state.is_some_and(|state| state.container == *container && !state.has_ended())
        };
        self.order.iter().filter(is_open).cloned().collect()
    }
}

/// What is known of one exec session.
#[derive(Debug, Clone)]
pub(crate) struct ExecState {
    pub(super) container: ContainerId,
    pub(super) spec: ExecSpec,
    stage: Stage,
}

/// Where an exec session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nobody has started it.
    Created,
    /// Its process is on its way.
    Starting,
    /// Its process was started.
    Runs { pid: i32 },
    /// It has ended, or could not be started.
    Ended { pid: Option<i32>, code: i32 },
}

impl ExecState {
    pub(super) fn new(container: ContainerId, spec: ExecSpec) -> ExecState {
        ExecState { container, spec, stage: Stage::Created }
    }

    /// One that an earlier daemon has started.
    pub(super) fn running(container: ContainerId, spec: ExecSpec, pid: i32) -> ExecState {
        ExecState { container, spec, stage: Stage::Runs { pid } }
    }

    /// Somebody starts it, which is possible once.
    pub(super) fn begin(&mut self, id: &str) -> Result<(), EngineError> {
        if self.stage != Stage::Created {
            return Err(EngineError::WrongState { name: id.to_owned(), status: "started already", verb: "start" });
        }
        self.stage = Stage::Starting;
        Ok(())
    }

    /// Its process was started.
    pub(super) fn runs(&mut self, pid: i32) {
        if self.stage == Stage::Starting {
            self.stage = Stage::Runs { pid };
        }
    }

    /// It has ended, or could not be started. Whoever heard of it first is believed.
    pub(crate) fn end(&mut self, code: i32) {
        if !self.has_ended() {
            self.stage = Stage::Ended { pid: self.pid(), code };
        }
    }

    pub(super) fn pid(&self) -> Option<i32> {
        match self.stage {
            Stage::Runs { pid } => Some(pid),
            Stage::Ended { pid, .. } => pid,
            Stage::Created | Stage::Starting => None,
        }
    }

    pub(super) fn exit_code(&self) -> Option<i32> {
        match self.stage {
            Stage::Ended { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Whether its process was started, and nobody has heard of its end.
    pub(super) fn has_process(&self) -> bool {
        matches!(self.stage, Stage::Runs { .. })
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Starting | Stage::Runs { .. })
    }

    /// Whether it has ended, or could not be started.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended { .. })
    }
}

pub(super) fn lock(state: &Mutex<ExecState>) -> MutexGuard<'_, ExecState> {
    // Changed by single assignments.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> ContainerId {
        ContainerId::from_random([7; 32])
    }

    #[test]
    fn an_exec_is_started_once_even_if_it_could_not_be() {
        let mut state = ExecState::new(container(), ExecSpec::default());
        assert!(!state.is_running() && !state.has_ended());
        state.begin("x").unwrap();
        assert!(state.is_running() && state.begin("x").is_err());
        state.end(127);
        state.end(0);
        state.runs(9);
        assert_eq!((state.exit_code(), state.pid()), (Some(127), None));
        assert!(state.begin("x").is_err());
    }

    #[test]
    fn the_oldest_that_does_not_run_is_forgotten_for_a_new_one() {
        let mut execs = Execs::default();
        execs.remember("shell".to_owned(), ExecState::running(container(), ExecSpec::default(), 1));
        for number in 0..MAX_REMEMBERED {
            execs.remember(number.to_string(), ExecState::new(container(), ExecSpec::default()));
        }
        assert!(execs.get("shell").is_some() && execs.get("0").is_none() && execs.get("1").is_some());
        assert_eq!((execs.order.len(), execs.by_id.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
    }
}
