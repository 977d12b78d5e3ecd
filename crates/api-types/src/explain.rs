// SPDX-License-Identifier: Apache-2.0
//! What `corten explain` tells: the kernel objects behind a running container, and what could still reach the host.

use serde::{Deserialize, Serialize};

/// The answer of `GET /corten/v1/containers/{id}/explain`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Explanation {
    /// The container's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The image it was made from, as the user named it.
    pub image: String,
    /// `running` or `paused`.
    pub status: String,
    /// Its first process, as the host numbers it.
    pub pid: i32,
    /// Its namespaces beside the daemon's.
    pub namespaces: Vec<Namespace>,
    /// Who its first process is.
    pub identity: Identity,
    /// Its control groups.
    pub cgroups: Vec<CgroupPlace>,
    /// What it may use, and does.
    pub limits: Vec<Limit>,
    /// What its root may do.
    pub capabilities: Capabilities,
    /// Which system calls it may make.
    pub filter: Filter,
    /// What is mounted in it.
    pub mounts: Vec<MountPoint>,
    /// Devices that its `/dev` has.
    pub devices: Vec<Device>,
    /// The way of a packet to each published port.
    pub ports: Vec<PortPath>,
    /// What could still reach the host, the worst first.
    pub reach: Vec<Reach>,
}

/// One namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Namespace {
    /// Its kind, as the kernel calls it: `mnt`, `net`, ….
    pub kind: String,
    /// The number of the container's.
    pub inode: u64,
    /// The number of the daemon's.
    pub host_inode: u64,
    /// Whether the two are not the same.
    pub own: bool,
}

/// Who a process is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Identity {
    /// Its user id, as the host numbers it.
    pub uid: u32,
    /// Its group id, likewise.
    pub gid: u32,
    /// Its other groups.
    pub groups: Vec<u32>,
    /// The user ids of its user namespace: `INSIDE OUTSIDE COUNT` a line.
    pub uid_map: Vec<String>,
    /// Whether programs can gain it no privileges (set-uid and the like).
    pub no_new_privileges: bool,
}

/// Where a container is in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CgroupPlace {
    /// The controllers of the hierarchy; empty for v2's.
    pub controllers: String,
    /// The path below its root.
    pub path: String,
}

/// Something that is limited, or could be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Limit {
    /// `memory`, `pids`, ….
    pub name: String,
    /// How much there may be; `None` where there is no limit.
    pub limit: Option<u64>,
    /// How much there is.
    pub used: Option<u64>,
    /// `bytes`, `tasks`, `nanoseconds`, `periods`.
    pub unit: String,
    /// What else is to be known, as how often it was hit.
    pub note: String,
}

/// What the container's root may do of what the host's may.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Capabilities {
    /// What processes of it can have (the bounding set).
    pub kept: Vec<Capability>,
    /// What none of them can.
    pub dropped: Vec<Capability>,
    /// How many of the kept ones the first process has in effect.
    pub in_effect: usize,
}

/// One capability.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Capability {
    /// `CAP_NET_ADMIN`.
    pub name: String,
    /// What it allows.
    pub allows: String,
    /// Whether containers do not have it unless somebody asks for it.
    pub unusual: bool,
}

/// The system call filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Filter {
    /// Whether the kernel says that there is one.
    pub active: bool,
    /// `default`, `own`, or `none` where no filter is active.
    pub profile: String,
    /// How many instructions it has.
    pub instructions: usize,
    /// The most instructions that a call's verdict takes.
    pub longest: usize,
    /// Calls of this architecture.
    pub calls: usize,
    /// Calls that are allowed, whatever their arguments.
    pub allowed: usize,
    /// Calls whose verdict depends on their arguments.
    pub depends: Vec<String>,
    /// Calls that fail with an error.
    pub refused: usize,
    /// Calls that end the process.
    pub killed: usize,
    /// Calls with any other verdict (a notice to somebody, a trap, a line in the log).
    pub others: usize,
    /// Refused ones of which it is good to know.
    pub notable: Vec<Refusal>,
}

/// A call that is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Refusal {
    /// Its name.
    pub call: String,
    /// What comes of it: `EPERM`, `ENOSYS`, `killed`.
    pub answer: String,
    /// What it would allow.
    pub would: String,
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MountPoint {
    /// Where it is in the container.
    pub target: String,
    /// The file system's type.
    pub kind: String,
    /// Where it comes from, for people.
    pub from: String,
    /// The directory or file of the host that it shows, where it shows one.
    pub source: Option<String>,
    /// Whether that is a socket, on which somebody of the host listens.
    pub is_socket: bool,
    /// Whether nothing can be written there.
    pub read_only: bool,
    /// Its options.
    pub options: String,
}

/// A device file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Device {
    /// Its path in the container.
    pub path: String,
    /// `c 1:3`.
    pub number: String,
    /// Whether every container has it.
    pub usual: bool,
}

/// The way to a published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PortPath {
    /// `0.0.0.0:8080/tcp`.
    pub host: String,
    /// `172.17.0.2:80`.
    pub container: String,
    /// The stations in between, in order.
    pub way: Vec<String>,
}

/// How much of the host something opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Whoever is root in the container has the host, or can easily take it.
    High,
    /// A barrier is missing that others have.
    Medium,
    /// Something to know.
    Low,
}

/// Something by which the container could reach the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Reach {
    /// How much it opens.
    pub severity: Severity,
    /// What it is.
    pub what: String,
    /// What it allows.
    pub why: String,
}
