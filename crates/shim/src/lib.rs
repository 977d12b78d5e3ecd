// SPDX-License-Identifier: Apache-2.0
//! One small process per container: its parent, its log writer, its recorder.
//!
//! The daemon keeps one [`Zygote`]: the same binary, freshly started, with nothing in its memory. For each container
//! the zygote clones itself into a *shim*, which launches the container through [`runtime::launch`], keeps its stdio
//! flowing, writes its log, reaps it and records its exit. A shim needs nobody: the daemon and the zygote may die and
//! the container runs and logs on. What a shim has to say it says in its own directory, by atomic rename
//! ([`read_state`], [`read_exit`]), and to whoever [`connect`]s to its socket, in the frames of [`frame`]. The directory names
//! the shim itself before there is a container; which process the container's is, it names once that has run for a moment.
//!
//! If the shim itself is killed, the kernel kills the container with it (`PR_SET_PDEATHSIG`).

mod clock;
mod connect;
mod error;
pub mod frame;
mod log;
mod namespaces;
mod process;
mod protocol;
mod server;
mod spawn;
mod state;
mod zygote;

pub use connect::{await_start, connect};
pub use error::ShimError;
pub use log::{LogStream, LogWriter};
pub use namespaces::{Namespaces, NamespacesRequest};
pub use process::ProcessRef;
pub use protocol::{Ahead, Exit, LogConfig, Request, Resize, ShimRequest, Started};
pub use spawn::{ShimFds, ShimHandle, WaitingShim, Zygote};
pub use state::{State, StateError, forget_exec_exit, read_exec_exit, read_exit, read_state};
pub use zygote::zygote_main;
