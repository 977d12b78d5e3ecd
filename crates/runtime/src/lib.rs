// SPDX-License-Identifier: Apache-2.0
//! The OCI runtime: a spec becomes a plan of typed operations, the plan is applied.
//!
//! - [`plan`]: pure. An OCI runtime spec in, a printable list of [`plan::Operation`]s out; everything that can be
//!   refused without asking the kernel is refused here.
//! - `apply`: what the child does with the plan, between clone3 and execve.
//! - [`launch()`] and [`exec()`]: what the parent does: clone, collect the child's messages, return a process.
//! - [`live`]: mounts that come into a running container, and go.
//! - `criu`: checkpoint and restore, by CRIU.
//! - [`preview`]: what a launch would do, printed; nothing is done.
//! - [`processes`]: the processes of a control group, as ps(1) lists them.
//! - [`protect`]: why a container cannot reach the program that started it.
//! - [`user_namespace`]: a user namespace made ahead, for whoever mounts with its ids before there is a container.
//! - [`oci_cli`]: runc's command line over these.
//!
//! **Architecture Invariant:** no async runtime, no threads; `launch` and `exec` refuse a caller that has threads.

mod adopt;
mod apply;
mod copy;
mod criu;
mod error;
mod exec;
mod executable;
mod filters;
mod hooks;
mod id_helpers;
mod id_map;
pub mod init;
mod launch;
mod listener;
pub mod live;
mod message;
mod namespaces;
pub mod oci_cli;
mod outside;
pub mod plan;
mod prepare;
pub mod preview;
pub mod processes;
pub mod protect;
mod resolve;
mod rootless;
mod scope;
mod security_modules;
pub mod user_namespace;

pub use copy::{CopyError, copy_directory};
pub use error::LaunchError;
pub use exec::{ContainerProcess, ExecRequest, Executed, exec};
pub use hooks::HookError;
pub use launch::{LaunchRequest, Launched, Start, Stdio, launch};
pub use message::Step;

/// Looks at the host's cgroup hierarchies and at this program's file before a launch wants them, and keeps what it saw for this
/// process. What cannot be looked at is so again by the launch, which says why not.
pub fn look_at_host() {
    let _ = prepare::cgroup_host();
    let _ = prepare::mounted_hierarchies();
    let _ = filters::build();
}

/// Makes a container's cgroup, where the engine's configuration puts it, before its launch wants it
/// ([`LaunchRequest::cgroup`]). Who does not launch it undoes it ([`cgroup::Cgroup::undo`]).
///
/// # Errors
/// It cannot be made. Nothing is left then.
pub fn make_cgroup_ahead(path: &cgroup::CgroupPath) -> Result<cgroup::Cgroup, LaunchError> {
    let host = prepare::cgroup_host()?;
    let shown = if host.mode() == cgroup::Mode::V2 { &[] } else { prepare::mounted_hierarchies()? };
    let mut cgroup = host.create_ahead(path)?;
    if !shown.is_empty() {
        // Where the kernel cannot do so yet the container makes its mounts itself.
        cgroup.set_shown(apply::shown_ahead(&cgroup, shown).ok());
    }
    Ok(cgroup)
}

/// Nanoseconds on `CLOCK_MONOTONIC`, the clock of every [`Step`].
pub fn now_ns() -> u64 {
    sys::clock::now_ns()
}
