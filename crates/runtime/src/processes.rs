// SPDX-License-Identifier: Apache-2.0
//! The processes of a control group as ps(1) lists them, read from the host's `/proc`: no program is run.

mod columns;
mod options;
mod process;
mod users;

use std::time::{SystemTime, UNIX_EPOCH};

use cgroup::{Cgroup, CgroupError};

pub use columns::Columns;
pub use options::OptionError;
use process::Process;
pub(crate) use users::Users;

/// Processes as rows of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// What the columns are called.
    pub titles: Vec<&'static str>,
    /// A process each, in the order of their ids; as many cells as there are titles.
    pub rows: Vec<Vec<String>>,
}

/// Lists the processes of `cgroup` and of those below it. One that ends meanwhile is left out.
///
/// # Errors
/// The control group cannot be read.
pub fn list(cgroup: &Cgroup, columns: &Columns) -> Result<Listing, CgroupError> {
    let host = Host::look();
    // Each process is held by its pidfd while its entry in /proc is read: the entry is then this process's or gone.
    let held = cgroup.open_processes()?;
    let mut processes: Vec<Process> = held.iter().filter_map(|(pid, _held)| Process::read(*pid)).collect();
    processes.sort_by_key(|process| process.pid);
    let rows = processes.iter().map(|process| columns.cells(process, &host)).collect();
    Ok(Listing { titles: columns.titles(), rows })
}

/// What the cells depend on besides the process.
struct Host {
    users: Users,
    /// Seconds since 1970 at which the machine started.
    boot: u64,
    now: u64,
    /// The machine's memory, in KiB; at least one.
    memory: u64,
}

impl Host {
    fn look() -> Host {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let boot = read("/proc/stat").lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
        let memory = read("/proc/meminfo")
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        Host {
            users: Users::of_host(),
            boot: boot.unwrap_or(0),
            now: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            memory: memory.unwrap_or(1).max(1),
        }
    }
}
