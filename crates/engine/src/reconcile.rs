// SPDX-License-Identifier: Apache-2.0
//! What a starting daemon finds: containers that went on without one, exits that nobody saw, and things half made.
//!
//! Two witnesses are heard. The metadata store knows every durable container. A shim's directory knows every container
//! that was started since the machine's last boot, durable or not, and is newer than the store: a `run --rm` container
//! is found only there. Whether it still runs is asked of the kernel, through the shim's and the process's start times.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cgroup::{CgroupError, CgroupPath};
use jiff::Timestamp;
use network::Endpoint;
use oci::ContainerId;
use serde::{Deserialize, Serialize};
use shim::{ProcessRef, Request, ShimError, Started};

use crate::container::{Container, Exited, Record, Running, State, one_or_many};
use crate::error::EngineError;
use crate::supervise::{exited_from, lost_exit};
use crate::{CONTAINERS, Engine, frames};

/// The engine's own file in a shim's directory.
pub(crate) const SHIM_RECORD: &str = "container.json";

/// How long a cloned shim may take to write its state.
const CLONE_GRACE: Duration = Duration::from_millis(300);
/// How long a shim may take to start its container.
const LAUNCH_GRACE: Duration = Duration::from_secs(5);

/// What a new daemon must know of a container that was started.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ShimRecord {
    pub(crate) record: Record,
    #[serde(default, alias = "endpoint", deserialize_with = "one_or_many")]
    pub(crate) endpoints: Vec<Endpoint>,
}

/// How a container that was started is found.
enum Found {
    /// Its shim lives: the connection to it, its descriptor, and the running state.
    Alive(UnixStream, OwnedFd, Running),
    /// It has ended, by its shim's account or because the shim is gone.
    Ended(Exited),
}

impl Engine {
    /// Takes over what an earlier daemon left, and removes what belongs to no container. Within a tokio runtime.
    pub(crate) fn reconcile(self: &Arc<Self>) -> Result<(), EngineError> {
        let stored: Vec<(String, Record)> =
            self.store.read(|tx| tx.list(CONTAINERS)).map_err(|error: metadata::MetadataError| error)?;
        let mut records: BTreeMap<ContainerId, Record> =
            stored.into_iter().map(|(_, record)| (record.id.clone(), record)).collect();
        let durable: HashSet<ContainerId> = records.keys().cloned().collect();
        let mut found = Vec::new();
        for mut shim in self.shim_records()? {
            let id = shim.record.id.clone();
            let mut state = self.examine(&id, &self.cgroup_path(&id, &shim.record.spec), shim.endpoints)?;
            if let Found::Alive(_, _, running) = &mut state {
                self.settle_changed_mounts(&mut shim.record, running);
            }
            found.push((id.clone(), state));
            // The store's record is older than or as old as the shim's, except for its state, which the kernel knows.
            records.insert(id, shim.record);
        }
        let mut live = Vec::new();
        for (id, found) in &found {
            if let Found::Alive(_, _, Running { endpoints, .. }) = found {
                live.push((id.clone(), endpoints.clone()));
            }
        }
        self.network.adopt(self.networks.bridges(), &live)?;
        let started: HashSet<&ContainerId> = found.iter().map(|(id, _)| id).collect();
        for (_, mut record) in records {
            if let Some(exited) = self.unwitnessed(&record, started.contains(&record.id)) {
                record.state = State::Exited(record.state.end(exited));
            }
            let dir = self.container_dir(&record.id);
            let container = Arc::new(Container::new(record, dir, Arc::clone(&self.events)));
            let name = container.with_record(|record| record.name.clone());
            let mut registry = self.registry();
            registry.names.insert(name, container.id.clone());
            registry.by_id.insert(container.id.clone(), container);
        }
        // Before the exits are settled, which removes directories of its own.
        self.remove_strays()?;
        self.adopt_volumes(found.iter().map(|(id, _)| id))?;
        for (id, found) in found {
            self.resume(&self.container(id.as_str())?, found, durable.contains(&id))?;
        }
        // What the earlier daemon had not sent of their logs.
        let all: Vec<Arc<Container>> = self.registry().by_id.values().map(Arc::clone).collect();
        all.iter().for_each(|container| self.forward_log(container));
        Ok(())
    }

    /// Takes over the volumes, with the uses of the containers that were started.
    fn adopt_volumes<'i>(&self, started: impl Iterator<Item = &'i ContainerId>) -> Result<(), EngineError> {
        let mut used = Vec::new();
        for id in started {
            let container = self.container(id.as_str())?;
            container.with_record(|record| used.extend(record.volumes().map(|volume| volume.name.clone())));
        }
        self.volumes.adopt(&used, &|id| self.registry().by_id.contains_key(id))
    }

    fn shim_records(&self) -> Result<Vec<ShimRecord>, EngineError> {
        let root = self.shims_dir();
        let mut records = Vec::new();
        for entry in fs::read_dir(&root).map_err(EngineError::io("read", &root))? {
            let dir = entry.map_err(EngineError::io("read", &root))?.path();
            match read_shim_record(&dir) {
                Some(record) => records.push(record),
                // A daemon died between making the directory and writing the record: no shim was spawned yet. Or
                // between removing the container and its directory: its cgroup may be left as well.
                None => {
                    if let Some(id) = container_of(&dir) {
                        self.end_orphan(&id, &self.cgroup_of_removed(&id, &dir));
                    }
                    crate::surroundings::unmount(&dir);
                    fs::remove_dir_all(&dir).map_err(EngineError::io("remove", &dir))?;
                }
            }
        }
        Ok(records)
    }

    /// Where the control group of a container is that was removed: its record is gone, and with it the parent it may
    /// have asked for, but its shim has said where it was put.
    fn cgroup_of_removed(&self, id: &ContainerId, dir: &Path) -> CgroupPath {
        let state = shim::read_state(dir).unwrap_or_else(|error| {
            tracing::warn!(container = %id, error = errors::chain(&error), "cannot tell where its cgroup was");
            None
        });
        let said = state.and_then(|state| state.cgroup?.to_str()?.parse::<CgroupPath>().ok());
        // No other group is removed than one that is called as the container is.
        let own = said.filter(|path| path.components().last() == Some(id.as_str()));
        own.unwrap_or_else(|| self.config.cgroup_parent.child(id))
    }

    /// Whether a container that was started still runs.
    fn examine(&self, id: &ContainerId, cgroup: &CgroupPath, endpoints: Vec<Endpoint>) -> Result<Found, EngineError> {
        let dir = self.shim_dir(id);
        if let Some(exit) = shim::read_exit(&dir)? {
            return Ok(Found::Ended(exited_from(&exit)));
        }
        if let Some((stream, shim, init, started)) = self.reach(id, &dir)? {
            let paused = self.stands_still(id, cgroup);
            let running = Running {
                pid: init.pid,
                start_time: init.start_time,
                started,
                endpoints,
                paused,
                live: Vec::new(),
                changing: None,
            };
            return Ok(Found::Alive(stream, shim, running));
        }
        // It ended between the two looks, or was killed and nobody has reaped it yet.
        if let Some(exit) = shim::read_exit(&dir)? {
            return Ok(Found::Ended(exited_from(&exit)));
        }
        self.end_orphan(id, cgroup);
        Ok(Found::Ended(lost_exit()))
    }

    /// The connection to a shim that lives, its descriptor, and its container's first process; `None` when it is gone. One that
    /// has not started its container yet is given time: its daemon died while it did.
    fn reach(
        &self,
        id: &ContainerId,
        dir: &Path,
    ) -> Result<Option<(UnixStream, OwnedFd, ProcessRef, Timestamp)>, EngineError> {
        let Some(state) = first_state(dir)? else { return Ok(None) };
        let Some(shim) = state.shim.open().map_err(EngineError::io("open the shim of", dir))? else { return Ok(None) };
        let stream = match shim::connect(dir, &Request::Watch) {
            Ok(stream) => stream,
            Err(ShimError::NotRunning { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let (init, at) = match state.init {
            Some(init) => (init, state.started),
            None => match shim::await_start(&stream, LAUNCH_GRACE) {
                Ok(Started { pid, start_time, at, .. }) => (ProcessRef { pid, start_time }, Some(at)),
                Err(error) => {
                    tracing::warn!(container = %id, error = errors::chain(&error), "its shim does not say that it runs");
                    return Ok(None);
                }
            },
        };
        // An older shim has not written it down: its state was written when the container was started, or changed since.
        let started = at.and_then(|at| at.parse().ok()).or_else(|| modified(&dir.join("state.json")));
        Ok(Some((stream, shim, init, started.unwrap_or_else(Timestamp::now))))
    }

    /// The end of a container that has run, until its shim is heard; `found`: it has a shim's directory.
    ///
    /// Without one the machine was rebooted, mostly. A container that runs all the same cannot be reached through its shim
    /// any more, and what it was given is nobody's: it is ended. (The store may not know that it was started: what a killed
    /// daemon wrote last is not in it.)
    fn unwitnessed(&self, record: &Record, found: bool) -> Option<Exited> {
        let path = self.cgroup_path(&record.id, &record.spec);
        let runs = !found
            && match self.cgroups.open(&path).and_then(|cgroup| cgroup.processes()) {
                Ok(processes) => !processes.is_empty(),
                Err(CgroupError::NotFound { .. }) => false,
                Err(error) => {
                    tracing::error!(container = %record.id, error = errors::chain(&error), "cannot tell whether it runs");
                    false
                }
            };
        let (code, why) = match (runs, record.state.running()) {
            (false, None) => return None,
            (false, Some(_)) => (255, "nobody saw its end: the machine went down, or its shim's directory was removed"),
            (true, _) => {
                tracing::error!(container = %record.id, "its shim's directory was removed while it ran: it is ended");
                self.end_orphan(&record.id, &path);
                (137, "its shim's directory was removed while it ran, and so it was ended")
            }
        };
        let error = Some(why.to_owned());
        Some(Exited { code, oom_killed: false, started: None, finished: Timestamp::now(), error })
    }

    /// Whether a container's processes stand still: only the kernel knows it of one that no record is written of.
    fn stands_still(&self, id: &ContainerId, cgroup: &CgroupPath) -> bool {
        let frozen = self.cgroups.open(cgroup).and_then(|cgroup| cgroup.is_frozen());
        frozen.unwrap_or_else(|error| {
            tracing::warn!(container = %id, error = errors::chain(&error), "cannot tell whether it is paused");
            false
        })
    }

    /// Makes the record say what was found, and goes on from there as if this daemon had started the container.
    fn resume(self: &Arc<Self>, container: &Arc<Container>, found: Found, durable: bool) -> Result<(), EngineError> {
        match found {
            Found::Alive(stream, pidfd, running) => {
                container.update(|record| {
                    record.state = State::Running(running);
                    // Started by a daemon that knew of no checks, or that died before it could say how well it is.
                    record.resume_checks();
                });
                let record = container.record();
                let endpoints = record.state.running().map_or(&[][..], |running| &running.endpoints);
                if let Err(error) = self.hold_ports_back(&record, endpoints) {
                    tracing::error!(container = %container.id, error = errors::chain(&error), "its ports lead to it, ready or not");
                }
                container.announce(crate::container::Phase::Running);
                self.resume_health(container);
                self.resume_names(container);
                self.adopt_execs(container);
                self.supervise(Arc::clone(container), frames::adopt(stream)?, pidfd);
                if durable {
                    self.remember_later(container);
                }
            }
            Found::Ended(exited) => self.settle(container, exited, None),
        }
        Ok(())
    }

    /// Removes directories and cgroups that belong to no container: a daemon died while making or removing them.
    fn remove_strays(&self) -> Result<(), EngineError> {
        let root = self.containers_dir();
        for entry in fs::read_dir(&root).map_err(EngineError::io("read", &root))? {
            let dir = entry.map_err(EngineError::io("read", &root))?.path();
            let known = container_of(&dir).is_some_and(|id| self.registry().by_id.contains_key(&id));
            if !known {
                self.remove_container_dir(&dir);
            }
        }
        Ok(())
    }
}

/// What a shim says of itself first. The engine's record is there; if no shim has spoken, one may just have been cloned.
fn first_state(dir: &Path) -> Result<Option<shim::State>, EngineError> {
    let began = Instant::now();
    loop {
        let state = shim::read_state(dir)?;
        if state.is_some() || began.elapsed() > CLONE_GRACE {
            return Ok(state);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn modified(file: &Path) -> Option<Timestamp> {
    Timestamp::try_from(fs::metadata(file).ok()?.modified().ok()?).ok()
}

/// The container that a directory is named after.
fn container_of(dir: &Path) -> Option<ContainerId> {
    dir.file_name()?.to_str()?.parse().ok()
}

fn read_shim_record(dir: &Path) -> Option<ShimRecord> {
    serde_json::from_slice(&fs::read(dir.join(SHIM_RECORD)).ok()?).ok()
}
