// SPDX-License-Identifier: Apache-2.0
//! Namespaces of other containers: they are opened while it is sure whose they are, and kept open until the new container
//! is in them.

use std::os::fd::AsRawFd;
use std::path::PathBuf;

use oci::runtime_spec::LinuxNamespaceType;
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::{Joined, shared_memory};
use crate::Engine;
use crate::error::EngineError;
use crate::request::{IpcMode, Isolation, PidMode};

impl Engine {
    /// The namespaces that this container is going to join.
    pub(super) fn namespaces_of_others(&self, isolation: &Isolation) -> Result<Vec<Joined>, EngineError> {
        let mut joined = Vec::new();
        if let IpcMode::Container(other) = &isolation.ipc {
            joined.push(self.open_namespace("--ipc", other, LinuxNamespaceType::Ipc, "ipc")?);
        }
        if let PidMode::Container(other) = &isolation.pid {
            joined.push(self.open_namespace("--pid", other, LinuxNamespaceType::Pid, "pid")?);
        }
        Ok(joined)
    }

    /// Opens a namespace of a running container.
    pub(crate) fn open_namespace(
        &self,
        flag: &'static str,
        name: &str,
        kind: LinuxNamespaceType,
        file: &str,
    ) -> Result<Joined, EngineError> {
        let gone = |_| EngineError::invalid(flag, format!("no such container: {name}"));
        let other = self.container(name).map_err(gone)?;
        let stopped = || {
            let name = other.with_record(|record| record.name.clone());
            EngineError::invalid(flag, format!("container {name} does not run: start it first"))
        };
        let running = other.with_record(|record| record.state.running().cloned()).ok_or_else(stopped)?;
        let path = format!("/proc/{}/ns/{file}", running.pid);
        let held = openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|_| stopped())?;
        // The number may have been given to another process before it was opened.
        if crate::signal::pidfd(&running)?.is_none() {
            return Err(stopped());
        }
        let me = rustix::process::getpid().as_raw_nonzero();
        Ok(Joined { kind, path: PathBuf::from(format!("/proc/{me}/fd/{}", held.as_raw_fd())), file: held })
    }

    /// Where the shared memory of a container is that lets others join it.
    pub(super) fn shared_memory_of(&self, name: &str) -> Result<PathBuf, EngineError> {
        let other = self.container(name)?;
        match other.with_record(|record| record.spec.isolation.ipc.clone()) {
            IpcMode::Shareable => Ok(shared_memory::path(&self.shim_dir(&other.id))),
            _ => Err(not_shareable(name)),
        }
    }
}

/// The answer to a wish for the memory of a container that keeps it to itself.
pub(crate) fn not_shareable(name: &str) -> EngineError {
    let reason = format!("container {name} keeps its IPC namespace to itself: create it with --ipc shareable");
    EngineError::invalid("--ipc", reason)
}
