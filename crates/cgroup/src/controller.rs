// SPDX-License-Identifier: Apache-2.0
//! The kernel's cgroup controllers and their names in both versions.

use std::fmt;

/// A controller. What v1 calls `blkio` and v2 `io` is one: [`Controller::Io`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Controller {
    /// CPU time: shares, quotas.
    Cpu,
    /// CPU time accounting (v1 only; part of the core in v2).
    Cpuacct,
    /// Which processors and memory nodes may be used.
    Cpuset,
    /// Memory and swap.
    Memory,
    /// Access to device nodes (v1 only; a BPF program in v2).
    Devices,
    /// Stopping all processes (v1 only; part of the core in v2).
    Freezer,
    /// Block device bandwidth: `blkio` in v1, `io` in v2.
    Io,
    /// The number of tasks.
    Pids,
    /// Huge pages.
    Hugetlb,
    /// Network packet class (v1 only).
    NetCls,
    /// Network priority (v1 only).
    NetPrio,
    /// RDMA handles and objects.
    Rdma,
}

impl Controller {
    const ALL: [Controller; 12] = [
        Controller::Cpu,
        Controller::Cpuacct,
        Controller::Cpuset,
        Controller::Memory,
        Controller::Devices,
        Controller::Freezer,
        Controller::Io,
        Controller::Pids,
        Controller::Hugetlb,
        Controller::NetCls,
        Controller::NetPrio,
        Controller::Rdma,
    ];

    /// The name among a v1 mount's options.
    pub fn v1_name(self) -> &'static str {
        match self {
            Controller::Io => "blkio",
            Controller::Cpu => "cpu",
            Controller::Cpuacct => "cpuacct",
            Controller::Cpuset => "cpuset",
            Controller::Memory => "memory",
            Controller::Devices => "devices",
            Controller::Freezer => "freezer",
            Controller::Pids => "pids",
            Controller::Hugetlb => "hugetlb",
            Controller::NetCls => "net_cls",
            Controller::NetPrio => "net_prio",
            Controller::Rdma => "rdma",
        }
    }

    /// The name in v2's `cgroup.controllers`, where it exists there.
    pub fn v2_name(self) -> Option<&'static str> {
        match self {
            Controller::Io => Some("io"),
            Controller::Cpuacct
            | Controller::Devices
            | Controller::Freezer
            | Controller::NetCls
            | Controller::NetPrio => None,
            other => Some(other.v1_name()),
        }
    }

    pub(crate) fn from_v1_name(name: &str) -> Option<Controller> {
        Controller::ALL.into_iter().find(|c| c.v1_name() == name)
    }

    pub(crate) fn from_v2_name(name: &str) -> Option<Controller> {
        Controller::ALL.into_iter().find(|c| c.v2_name() == Some(name))
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.v2_name().unwrap_or(self.v1_name()))
    }
}
