// SPDX-License-Identifier: Apache-2.0
//! What is said to a shim and by it: the JSON in the frames and in the shim's directory.

use std::path::PathBuf;

use oci::ContainerId;
use oci::runtime_spec::{Process, Spec};
use runtime::Step;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The first frame of every connection to a shim's socket: what the connection is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Follow the container's stdio. Answered by `STARTED`, then output as it comes, and `EXITED` after all of it.
    Attach {
        /// Whether this client's `STDIN` frames go to the container (which must have been made with `open_stdin`).
        stdin: bool,
        /// Whether to send standard output (or the terminal's output).
        stdout: bool,
        /// Whether to send standard error.
        stderr: bool,
    },
    /// Run another process in the container. Answered by `STARTED`, then its output, and `EXITED` after all of it.
    Exec {
        /// A name for it, unique in the container and fit for a file name: its exit is recorded in `exec-<id>.json`.
        exec_id: String,
        /// What to run.
        process: Box<Process>,
        /// Whether this connection's `STDIN` frames go to it; otherwise it reads `/dev/null`.
        stdin: bool,
        /// Answer `STARTED` and close the connection; the process goes on and its output is dropped.
        detach: bool,
    },
    /// Wait: `STARTED`, then `EXITED` as soon as the exit is recorded. The stream ends when the control group is gone.
    /// A stream that ends without `EXITED` was too late (or its shim was killed): `exit.json` says.
    Watch,
    /// Change the size of the container's terminal, or of an exec's. Answered by `OK`.
    Resize {
        /// Whose terminal; the container's own without it.
        exec_id: Option<String>,
        /// Height in characters.
        rows: u16,
        /// Width in characters.
        cols: u16,
    },
    /// Freeze every process of the container. Answered by `OK` when all are frozen.
    Pause,
    /// Thaw them again. Answered by `OK`.
    Resume,
}

/// A new size for the session's own terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resize {
    /// Height in characters.
    pub rows: u16,
    /// Width in characters.
    pub cols: u16,
}

/// A process has been started: the container's first one, or an exec's.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Started {
    /// Its process id, as the host sees it.
    pub pid: i32,
    /// When it was started, in clock ticks since the boot: field 22 of `/proc/<pid>/stat` (proc_pid_stat(5)).
    pub start_time: u64,
    /// When it was started, RFC 3339.
    pub at: String,
    /// How long each step took; empty unless a trace was asked for.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// What the spec asked for and this host does not have, one sentence each.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A process has ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit code, or 128 plus the number of the signal that ended it.
    pub code: i32,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// Whether the kernel killed a process of the container for want of memory.
    pub oom_killed: bool,
    /// When it ended, RFC 3339.
    pub at: String,
    /// Its process id, as the host saw it.
    pub pid: i32,
    /// How long each step took; empty unless a trace was asked for.
    #[serde(default)]
    pub steps: Vec<Step>,
}

/// Where, what and how much a container may log: Docker's json-file format, rotated, bounded in all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// The newest file; older ones are `<path>.1`, `<path>.2`, …
    pub path: PathBuf,
    /// Where a file ends and the next begins, in bytes. 0: never.
    pub max_size: u64,
    /// How many files are kept, the newest included; 0 counts as 1.
    pub max_files: u32,
    /// Whether the older files are compressed: `<path>.1.gz` and so on.
    #[serde(default)]
    pub compress: bool,
    /// What each line says of the container: a JSON object as text, or nothing.
    #[serde(default)]
    pub attrs: String,
}

impl LogConfig {
    /// Logs to `path`, within the default bound of five files of 10 MiB.
    pub fn new(path: impl Into<PathBuf>) -> LogConfig {
        LogConfig { path: path.into(), max_size: 10 << 20, max_files: 5, compress: false, attrs: String::new() }
    }
}

/// What a shim is told that was asked for ahead.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Ahead {
    /// The control group to make: where its container's will be, unless that is to be somewhere else. Nobody else may use
    /// this path until the shim has ended.
    pub cgroup: Option<String>,
}

/// What a shim is told when it starts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShimRequest {
    /// The container.
    pub id: ContainerId,
    /// The shim's directory: exists, mode 0700, this container's alone.
    pub dir: PathBuf,
    /// What to run.
    pub spec: Spec,
    /// The profile of its system call filter, where the spec has none; see [`runtime::LaunchRequest`].
    #[serde(default)]
    pub filter: Option<Box<RawValue>>,
    /// What relative paths in the spec are relative to.
    pub bundle: PathBuf,
    /// Where to log; `None`: nowhere.
    pub log: Option<LogConfig>,
    /// Keep the container's standard input open for clients; otherwise it reads `/dev/null`.
    pub open_stdin: bool,
    /// Close standard input when the first client that had it ends its input or leaves.
    pub stdin_once: bool,
    /// Whether its first process is an init of ours, and the command a child of that.
    #[serde(default)]
    pub init: bool,
    /// Record when each step was done.
    pub trace: bool,
    /// The first size of the container's terminal, (rows, columns), where the spec wants one.
    pub terminal_size: Option<(u16, u16)>,
}
