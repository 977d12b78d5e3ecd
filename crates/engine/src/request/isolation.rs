// SPDX-License-Identifier: Apache-2.0
//! How far a container is set apart from the host and from other containers, beyond mounts and network.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Namespaces, groups, limits of the process, kernel parameters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Isolation {
    /// Whose semaphores, queues and shared memory it sees.
    pub ipc: IpcMode,
    /// Whose processes it sees.
    pub pid: PidMode,
    /// It has the host's names, rather than its own.
    pub host_uts: bool,
    /// Which part of the tree of control groups it sees.
    pub cgroup_namespace: CgroupNamespace,
    /// The control group above the container's, below the root of every hierarchy; the daemon's own when absent.
    pub cgroup_parent: Option<String>,
    /// The NIS domain name inside, which also completes the host name in `/etc/hosts`.
    pub domainname: Option<String>,
    /// Kernel parameters of the container's own namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Groups of the process beside its user's: names of the image's, or numbers.
    pub groups: Vec<String>,
    /// Bytes of `/dev/shm`; 64 MiB when absent.
    pub shm_size: Option<i64>,
    /// Limits of the process.
    pub ulimits: Vec<Ulimit>,
    /// How soon the kernel ends it when memory is short: -1000 (never) to 1000.
    pub oom_score_adj: i64,
    /// The runtime that was named; there is one, which has several names.
    pub runtime: Option<String>,
    /// Whose ids it has.
    pub user_namespace: UserNamespaceMode,
}

/// Whose ids a container has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserNamespaceMode {
    /// What the daemon says.
    #[default]
    Default,
    /// The host's.
    Host,
    /// Those that all containers in user namespaces have unless they say otherwise.
    Remap,
    /// Some that no other container has.
    Auto,
}

/// Whose semaphores, queues and shared memory a container sees.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpcMode {
    /// Its own, which nobody else can join.
    #[default]
    Private,
    /// Its own, which other containers may join.
    Shareable,
    /// Its own, without `/dev/shm`.
    None,
    /// The host's.
    Host,
    /// That of another, shareable container; its id once created.
    Container(String),
}

/// Whose processes a container sees.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PidMode {
    /// Its own.
    #[default]
    Private,
    /// The host's.
    Host,
    /// Those of another container; its id once created.
    Container(String),
}

/// Which part of the tree of control groups a container sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupNamespace {
    /// What is below its own group.
    #[default]
    Private,
    /// All of it.
    Host,
}

/// A limit of a process (getrlimit(2)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Its name in lower case, without `RLIMIT_`.
    pub name: String,
    /// What holds; -1 is no limit.
    pub soft: i64,
    /// How far the process may raise that; -1 is no limit.
    pub hard: i64,
}
