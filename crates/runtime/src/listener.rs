// SPDX-License-Identifier: Apache-2.0
//! Handing over the listener of a filter that notifies (config-linux.md, "The Container Process State").
//!
//! The descriptor is fetched from the child by its pidfd: sending it could be a call that its filter already holds up.

use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use oci::runtime_spec::{ContainerState, LinuxSeccomp};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};
use serde::Serialize;
use sys::process::Child;

use crate::error::LaunchError;
use crate::hooks::{Context, State};

/// Who listens, and what is said of the container.
#[derive(Debug, Clone)]
pub(crate) struct Listener {
    path: PathBuf,
    metadata: Option<String>,
    context: Context,
    /// The container that the filtered process is executed in, when it is not its first.
    running: Option<i32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessState<'a> {
    oci_version: &'a str,
    fds: [&'static str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a str>,
    state: State<'a>,
}

impl Listener {
    /// Who listens to `profile`; relative to the bundle, as the specification's other paths are.
    pub(crate) fn new(profile: &LinuxSeccomp, context: Context, bundle: &Path, running: Option<i32>) -> Listener {
        Listener {
            path: bundle.join(profile.listener_path().clone().unwrap_or_default()),
            metadata: profile.listener_metadata().clone().filter(|text| !text.is_empty()),
            context,
            running,
        }
    }

    /// Fetches the child's descriptor and sends it, with one message on a connection of its own.
    pub(crate) fn hand_over(&self, child: &Child, descriptor: i32) -> Result<(), LaunchError> {
        let (status, pid) = match self.running {
            Some(pid) => (ContainerState::Running, pid),
            None => (ContainerState::Creating, child.pid),
        };
        let state = self.context.state(status, Some(pid));
        let message = ProcessState {
            oci_version: self.context.version(),
            fds: ["seccompFd"],
            pid: child.pid,
            metadata: self.metadata.as_deref(),
            state,
        };
        let failed = |source| LaunchError::Listener { path: self.path.clone(), source };
        self.send(child, descriptor, &message).map_err(failed)
    }

    fn send(&self, child: &Child, descriptor: i32, message: &ProcessState<'_>) -> sys::Result<()> {
        let listener = match pidfd_getfd(&child.pidfd, descriptor, PidfdGetfdFlags::empty()) {
            Ok(listener) => listener,
            // A child that died meanwhile has nothing to hand over: the status pipe ends, and that tells why.
            Err(Errno::SRCH) => return Ok(()),
            Err(errno) => {
                let call = format!("pidfd_getfd({}, {descriptor}, 0)", child.pidfd.as_raw_fd());
                return Err(sys::Error::new(call, errno));
            }
        };
        let call = |call: &str| format!("{call}({:?})", self.path);
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|errno| sys::Error::new("socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC)", errno))?;
        let address = SocketAddrUnix::new(&self.path).map_err(|errno| sys::Error::new(call("sockaddr_un"), errno))?;
        connect(&socket, &address).map_err(|errno| sys::Error::new(call("connect"), errno))?;
        let text = serde_json::to_vec(message).map_err(|_| sys::Error::new("encode the state", Errno::INVAL))?;
        let mut sent = sys::fds::send_with(&socket, &text, &[listener.as_fd()])?;
        while sent < text.len() {
            sent += sys::fds::send_with(&socket, &text[sent..], &[])?;
        }
        Ok(())
    }
}
