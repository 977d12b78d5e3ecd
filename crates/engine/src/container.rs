// SPDX-License-Identifier: Apache-2.0
//! A container and the states it can be in.
//!
//! ```text
//!   create            start                exit
//! ─────────▶ Created ───────▶ Running ─────────────▶ Exited ──▶ (removed)
//!               │               │ ▲ ▲                  │ ▲
//!               └── (removed)   │ │ └──────start───────┘ │
//!                          exit ▼ │ after a wait         │ stop
//!                            Restarting ─────────────────┘
//! ```
//!
//! A running one may stand still ([`Running::paused`]); which of the two ways an exit goes is the restart policy's matter
//! ([`crate::restart`]).
//!
//! The record is what the daemon remembers; whether a container runs is the kernel's word (its shim and its first
//! process, both by pidfd), never the record's alone.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use network::{Endpoint, NetworkId, PublishedPort};
use oci::{ContainerId, Digest};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Deserializer, Serialize};
use shim::WaitingShim;
use tokio::sync::watch;

use crate::error::EngineError;
use crate::events::Bus;
use crate::health::{CheckStates, Health, HealthCheck, Revived};
use crate::mount::{Mount, VolumeMount};
use crate::networks::Attachment;
use crate::request::ContainerSpec;
use crate::userns::IdRange;

/// Everything the daemon remembers of a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Its id.
    pub id: ContainerId,
    /// Its name, unique among containers.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
    /// The image it was made from.
    pub image_id: Digest,
    /// The image's layers, bottom first.
    pub layers: Vec<Digest>,
    /// What the user asked for.
    pub spec: ContainerSpec,
    /// What the wish and the image's configuration make together.
    pub process: Process,
    /// What is mounted into it in the end; the wish, where that has not been said yet.
    #[serde(default)]
    pub mounts: Option<Vec<Mount>>,
    /// Where it stands.
    pub state: State,
    /// How often the restart policy has started it again since a user did last.
    #[serde(default)]
    pub restarts: u32,
    /// Whether a user ended it, and did not start it again.
    #[serde(default)]
    pub stopped: bool,
    /// How well it is, or was at the end of its last run; `None` where nothing is checked, or it was never started.
    /// Shared, so that a copy of the record costs nothing.
    #[serde(default)]
    pub health: Option<Arc<Health>>,
    /// What has become of the checks that answer one question each, as of the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<Arc<CheckStates>>,
    /// Why what a check has found had it started again, if it has since a user started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revived: Option<Revived>,
    /// The networks it shall be in, its mode's own first; `None` for what its mode says, without wishes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachments: Option<Vec<Attachment>>,
    /// Its ids on the host; `None` for one in the host's user namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<IdRange>,
}

impl Record {
    /// What is mounted into it.
    pub fn mounts(&self) -> &[Mount] {
        self.mounts.as_deref().unwrap_or(&self.spec.mounts)
    }

    /// The volumes that it has.
    pub fn volumes(&self) -> impl Iterator<Item = &VolumeMount> {
        self.mounts().iter().filter_map(Mount::volume)
    }
}

/// The command a container runs: the user's wish merged with the image's configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Entrypoint and command together; never empty.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// An absolute path.
    pub cwd: String,
    /// `user[:group]`, empty for root.
    pub user: String,
    /// The signal that asks it to end, a number.
    pub stop_signal: i32,
    /// The image's labels and the user's.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Ports the image or the user names, `80/tcp`; published or not.
    pub exposed: Vec<String>,
    /// How it is found out whether it is well.
    #[serde(default)]
    pub health: Option<HealthCheck>,
    /// What executes a line of that check; empty for `/bin/sh -c`.
    #[serde(default)]
    pub shell: Vec<String>,
    /// Where the image wants volumes.
    #[serde(default)]
    pub volumes: Vec<String>,
}

/// Where a container stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum State {
    /// Never started.
    Created,
    /// Its command has been executed and has not ended.
    Running(Running),
    /// It has ended, and is about to be started again.
    Restarting(Exited),
    /// It has ended, or could not be started.
    Exited(Exited),
}

/// What is known of a running container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Running {
    /// The first process, as the host numbers it.
    pub pid: i32,
    /// When that process began (clock ticks since boot, proc(5) stat field 22): with it a reused pid is told apart.
    pub start_time: u64,
    /// When its command was executed.
    pub started: Timestamp,
    /// Its places in networks.
    #[serde(default, alias = "endpoint", deserialize_with = "one_or_many")]
    pub endpoints: Vec<Endpoint>,
    /// Whether its processes stand still.
    #[serde(default)]
    pub paused: bool,
    /// What was mounted into it since it was started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub live: Vec<LiveMount>,
    /// A change of its mounts that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changing: Option<Box<ChangingMounts>>,
}

/// A mount that came into a run after its start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveMount {
    /// Where in the container it was put; without dots and doubled slashes.
    pub target: String,
    /// The number by which the kernel knows it.
    pub number: u64,
}

/// What a change of a running container's mounts began with, for who comes after a daemon that was killed in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChangingMounts {
    /// The wishes before.
    pub wishes: Vec<Mount>,
    /// What was mounted before.
    pub mounts: Vec<Mount>,
    /// What comes, already made.
    pub added: Vec<LiveMount>,
}

/// What is known of a container that has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exited {
    /// The command's exit code; 128 + n when signal n ended it; 125 to 127 when it could not be started.
    pub code: i32,
    /// The kernel killed a process of it because its memory limit was reached.
    pub oom_killed: bool,
    /// When it was started, if it was.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Timestamp,
    /// Why it could not be started, or how it was lost.
    pub error: Option<String>,
}

/// Earlier versions knew one place at most.
pub(crate) fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Endpoint>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Endpoints {
        Many(Vec<Endpoint>),
        One(Option<Box<Endpoint>>),
    }
    Ok(match Endpoints::deserialize(deserializer)? {
        Endpoints::Many(endpoints) => endpoints,
        Endpoints::One(endpoint) => endpoint.map(|endpoint| *endpoint).into_iter().collect(),
    })
}

impl Running {
    /// Its place in one network.
    pub fn in_network(&self, network: &NetworkId) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.network == *network)
    }

    /// Its published ports.
    pub fn ports(&self) -> impl Iterator<Item = &PublishedPort> {
        self.endpoints.iter().flat_map(|endpoint| &endpoint.ports)
    }
}

impl State {
    /// The word Docker uses.
    pub fn status(&self) -> &'static str {
        match self {
            State::Created => "created",
            State::Running(running) if running.paused => "paused",
            State::Running(_) => "running",
            State::Restarting(_) => "restarting",
            State::Exited(_) => "exited",
        }
    }

    /// The running state's data.
    pub fn running(&self) -> Option<&Running> {
        match self {
            State::Running(running) => Some(running),
            _ => None,
        }
    }

    /// How it has ended, if it does not run.
    pub fn exited(&self) -> Option<&Exited> {
        match self {
            State::Exited(exited) | State::Restarting(exited) => Some(exited),
            _ => None,
        }
    }

    /// Whether it runs, or will without anybody's doing.
    pub fn is_active(&self) -> bool {
        matches!(self, State::Running(_) | State::Restarting(_))
    }

    /// The places in networks of a run that is about to end.
    pub(crate) fn take_endpoints(&mut self) -> Vec<Endpoint> {
        match self {
            State::Running(running) => std::mem::take(&mut running.endpoints),
            _ => Vec::new(),
        }
    }

    /// The command was executed.
    pub(crate) fn into_running(self, running: Running) -> Result<State, EngineError> {
        match self {
            State::Created | State::Restarting(_) | State::Exited(_) => Ok(State::Running(running)),
            State::Running(_) => Err(EngineError::Transition { from: "running", to: "running" }),
        }
    }

    /// The command ended, or could not be started. When it began is taken from the state that ends here.
    pub(crate) fn end(self, mut exited: Exited) -> Exited {
        if let State::Running(running) = self {
            exited.started = Some(running.started);
        }
        exited
    }
}

/// A container as the engine holds it: its record, and what changes are announced on.
pub struct Container {
    /// Its id; never changes.
    pub id: ContainerId,
    record: Mutex<Record>,
    changed: watch::Sender<Phase>,
    /// Held while a start, stop or removal is under way, so that two of them never interleave.
    pub(crate) lifecycle: Arc<tokio::sync::Mutex<()>>,
    /// The shim's end of the session of a client that attached before the start.
    pending: Mutex<Option<UnixStream>>,
    /// The shim of the last run, while it still takes down what the next one would use.
    leaving: Mutex<Option<Arc<OwnedFd>>>,
    /// Its waits for being started again.
    waiting: Mutex<Waiting>,
    /// How many restarts are under way, of a container that would be removed at its end.
    staying: AtomicUsize,
    /// Somebody has asked it to stop, and its end is the answer.
    stopping: AtomicBool,
    /// Its run is being ended because it was unhealthy.
    healed: AtomicBool,
    /// Which series of probes counts; the results of others do not.
    probing: AtomicU64,
    /// Whether its log is being sent elsewhere.
    pub(crate) forwarding: logging::Forwarding,
    /// Where what happens to it is told.
    pub(crate) events: Arc<Bus>,
    /// Its directory under the data root: writable layer, log, generated files.
    pub dir: PathBuf,
    /// Its shim, where that was cloned before it was started (`ahead.rs`).
    waiting_shim: Mutex<Option<WaitingShim>>,
    /// Held while the record is put beside the shim: who comes later has what the earlier wrote.
    pub(crate) telling: Mutex<()>,
}

/// Whether nobody is at the other end any more.
fn has_hung_up(stream: &UnixStream) -> bool {
    let mut polled = [PollFd::new(stream, PollFlags::empty())];
    // It is only looked, not waited; where the kernel cannot tell, somebody is there.
    poll(&mut polled, Some(&Timespec::default())).is_ok_and(|count| count > 0)
        && polled[0].revents().contains(PollFlags::HUP)
}

/// The waits of a container for being started again.
#[derive(Debug, Default)]
struct Waiting {
    /// Which wait this is.
    turn: u64,
    /// How long the last one was.
    delay: Option<Duration>,
}

/// While it lives, an end is not the container's last one.
pub(crate) struct Stay(Arc<Container>);

impl Drop for Stay {
    fn drop(&mut self) {
        self.0.staying.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What waiters wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Created, or being started again.
    Idle,
    /// Running.
    Running,
    /// Ended with this exit code, and to be started again.
    Restarting(i32),
    /// Ended with this exit code, and torn down as far as a caller can notice.
    Exited(i32),
    /// No longer exists; the exit code of its last run, if it ever ran.
    Removed(Option<i32>),
}

impl Container {
    pub(crate) fn new(record: Record, dir: PathBuf, events: Arc<Bus>) -> Container {
        let phase = phase_of(&record.state);
        Container {
            id: record.id.clone(),
            record: Mutex::new(record),
            changed: watch::Sender::new(phase),
            lifecycle: Arc::default(),
            pending: Mutex::default(),
            leaving: Mutex::default(),
            waiting: Mutex::default(),
            staying: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            healed: AtomicBool::new(false),
            forwarding: logging::Forwarding::default(),
            probing: AtomicU64::new(0),
            events,
            dir,
            telling: Mutex::default(),
            waiting_shim: Mutex::default(),
        }
    }

    /// It has a shim that waits for its start.
    pub(crate) fn give_shim(&self, shim: WaitingShim) {
        *self.waiting_shim.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(shim);
    }

    /// Whether a shim waits for its start.
    pub(crate) fn awaits_start(&self) -> bool {
        self.waiting_shim.lock().unwrap_or_else(std::sync::PoisonError::into_inner).is_some()
    }

    /// Takes the shim that waits for its start.
    pub(crate) fn take_shim(&self) -> Option<WaitingShim> {
        self.waiting_shim.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }

    /// Hands the shim that waits for its start, if one does, to `end`. A start waits for that: it makes the same directory and
    /// control group.
    pub(crate) fn end_waiting_shim(&self, end: impl FnOnce(WaitingShim)) {
        let mut waiting = self.waiting_shim.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(shim) = waiting.take() {
            end(shim);
        }
    }

    /// A copy of the record as it is now.
    pub fn record(&self) -> Record {
        self.locked().clone()
    }

    /// Reads the record without copying it.
    pub fn with_record<T>(&self, read: impl FnOnce(&Record) -> T) -> T {
        read(&self.locked())
    }

    /// Changes the record, without announcing it.
    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        change(&mut self.locked())
    }

    /// Leaves a stream for the next start. `false` when another client waits for it already, and has not hung up.
    pub(crate) fn offer(&self, stream: UnixStream) -> bool {
        let mut pending = self.pending.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let free = pending.as_ref().is_none_or(has_hung_up);
        if free {
            *pending = Some(stream);
        }
        free
    }

    /// Takes the stream of a client that attached before the start.
    pub(crate) fn take_offered(&self) -> Option<UnixStream> {
        self.pending.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }

    /// Begins another wait for being started again, as long as `delay` makes of the one before. Its number, and its length.
    pub(crate) fn waits(&self, delay: impl FnOnce(Option<Duration>) -> Duration) -> (u64, Duration) {
        let mut waiting = self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let delay = delay(waiting.delay);
        *waiting = Waiting { turn: waiting.turn + 1, delay: Some(delay) };
        (waiting.turn, delay)
    }

    /// Whether this wait is the last one that began.
    pub(crate) fn is_waiting(&self, turn: u64) -> bool {
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner).turn == turn
    }

    /// A user starts it: no wait counts any more.
    pub(crate) fn waits_no_more(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *waiting = Waiting { turn: waiting.turn + 1, delay: None };
    }

    /// It is not removed at its end as long as the answer lives.
    pub(crate) fn stay(self: &Arc<Self>) -> Stay {
        self.staying.fetch_add(1, Ordering::AcqRel);
        Stay(Arc::clone(self))
    }

    /// Whether it goes when it ends now.
    pub(crate) fn goes_at_its_end(&self) -> bool {
        self.staying.load(Ordering::Acquire) == 0 && self.with_record(|record| record.spec.auto_remove)
    }

    /// Whether the end of its run is to be told of as a stop.
    pub(crate) fn stops(&self, asked: bool) {
        self.stopping.store(asked, Ordering::Release);
    }

    /// Tells of the stop that somebody asked for, once.
    pub(crate) fn tell_stopped(&self) {
        if self.stopping.swap(false, Ordering::AcqRel) {
            self.tell("stop", []);
        }
    }

    /// Its run is ended because it was unhealthy, or a new one begins.
    pub(crate) fn heals(&self, ending: bool) {
        self.healed.store(ending, Ordering::Release);
    }

    /// Whether its run is, or was, ended because it was unhealthy.
    pub(crate) fn is_healed(&self) -> bool {
        self.healed.load(Ordering::Acquire)
    }

    /// Another series of probes begins, or none: no other counts any more. Under the record's lock.
    pub(crate) fn begin_probing(&self) -> u64 {
        self.probing.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Whether this series of probes counts.
    pub(crate) fn is_probing(&self, series: u64) -> bool {
        self.probing.load(Ordering::Acquire) == series
    }

    /// The run has ended, and its shim is about to.
    pub(crate) fn leaves(&self, shim: &Arc<OwnedFd>) {
        *self.leaving.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Arc::clone(shim));
    }

    /// The shim has ended.
    pub(crate) fn left(&self, shim: &Arc<OwnedFd>) {
        let mut leaving = self.leaving.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        leaving.take_if(|last| Arc::ptr_eq(last, shim));
    }

    /// The shim that a new run must wait for.
    pub(crate) fn leaving(&self) -> Option<Arc<OwnedFd>> {
        self.leaving.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Tells all waiters where the container stands.
    pub(crate) fn announce(&self, phase: Phase) {
        self.changed.send_replace(phase);
    }

    /// No start comes of the one that was asked for: who has attached for it is let go, and who waits is told again where
    /// the container stands.
    pub(crate) fn call_off_start(&self) {
        drop(self.take_offered());
        self.announce(self.with_record(|record| phase_of(&record.state)));
    }

    /// Where it stands, and changes to come.
    pub fn watch(&self) -> watch::Receiver<Phase> {
        self.changed.subscribe()
    }

    /// The newest file of its log; `None` if none is kept.
    pub(crate) fn log_path(&self) -> Option<PathBuf> {
        self.with_record(|record| record.spec.log.path(&self.dir, &self.id))
    }

    /// The newest file of its log, if that is where its output goes.
    pub fn shown_log_path(&self) -> Option<PathBuf> {
        self.log_path().filter(|_| !self.with_record(|record| record.spec.log.is_sent()))
    }

    /// The file of `/etc` that was generated for it, by its name there; `None` before its first start, and if there is none.
    pub fn generated(&self, name: &str) -> Option<PathBuf> {
        let was_started = self.with_record(|record| !matches!(record.state, State::Created));
        was_started.then(|| self.dir.join(name)).filter(|path| path.is_file())
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Record> {
        // A panic while the lock was held cannot leave a record half-changed: every change is one assignment.
        self.record.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn phase_of(state: &State) -> Phase {
    match state {
        State::Created => Phase::Idle,
        State::Running(_) => Phase::Running,
        State::Restarting(exited) => Phase::Restarting(exited.code),
        State::Exited(exited) => Phase::Exited(exited.code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_of_an_earlier_version_is_on_the_default_bridge() {
        let endpoint = r#"{"address":"172.17.0.2","prefix":16,"gateway":"172.17.0.1","mac":[2,66,172,17,0,2],
            "host_interface":"vethc1","ports":[]}"#;
        let running = |endpoint: &str| {
            let text = format!(r#"{{"pid":7,"start_time":1,"started":"2026-01-01T00:00:00Z","endpoint":{endpoint}}}"#);
            serde_json::from_str::<Running>(&text).unwrap()
        };
        let one = running(endpoint);
        assert_eq!(one.in_network(&NetworkId::bridge()).map(|end| end.interface.as_str()), Some("eth0"));
        assert!(running("null").endpoints.is_empty());
        let again: Running = serde_json::from_str(&serde_json::to_string(&one).unwrap()).unwrap();
        assert_eq!(again.endpoints, one.endpoints);
    }
}
