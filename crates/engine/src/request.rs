// SPDX-License-Identifier: Apache-2.0
//! What a user asks for: the engine's own words, free of HTTP and of the OCI runtime specification. The faces translate
//! Docker's JSON into these; [`crate::spec`] translates these into a runtime spec.

mod devices;
mod isolation;
mod naming;

use std::collections::BTreeMap;

use logging::LogChoice;
use network::PortMapping;
use serde::{Deserialize, Serialize};

use crate::health::{Checks, HealthCheck};
use crate::mount::{Mount, VolumesFrom};
use crate::networks::{self, EndpointWish};

pub use devices::{DeviceLimit, DeviceMapping, DeviceRequest, Devices};
pub use isolation::{CgroupNamespace, IpcMode, Isolation, PidMode, Ulimit, UserNamespaceMode};
pub use naming::{ExtraHost, HostAddress, Naming};

/// The wish for a container. Empty or absent fields take the image's value, then Docker's default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    /// The image's name, digest or id, as the user wrote it.
    pub image: String,
    /// The container's name; a pair of words is made up when absent.
    pub name: Option<String>,
    /// Replaces the image's `Cmd`.
    pub command: Option<Vec<String>>,
    /// Replaces the image's `Entrypoint`, and discards its `Cmd`. An empty list means no entrypoint.
    pub entrypoint: Option<Vec<String>>,
    /// `NAME=value`, added to the image's; a bare `NAME` removes that variable.
    pub env: Vec<String>,
    /// Where the command starts. Made in the container when it does not exist, as Docker does.
    pub working_dir: Option<String>,
    /// `user[:group]`, names or numbers.
    pub user: Option<String>,
    /// The host name inside; the id's first 12 characters when absent.
    pub hostname: Option<String>,
    /// Labels beside the image's.
    pub labels: BTreeMap<String, String>,
    /// What the runtime and its hooks are told beside all that.
    pub annotations: BTreeMap<String, String>,
    /// A pseudo-terminal for the command.
    pub tty: bool,
    /// Standard input stays open even when nobody is attached.
    pub open_stdin: bool,
    /// Standard input closes when the first attached client leaves.
    pub stdin_once: bool,
    /// The terminal's first size, rows and columns.
    pub console_size: Option<(u16, u16)>,
    /// The signal that asks the command to end: a name (`SIGTERM`, `TERM`) or a number.
    pub stop_signal: Option<String>,
    /// Seconds between that signal and SIGKILL; 10 when absent.
    pub stop_timeout: Option<u32>,
    /// What is mounted over the image.
    pub mounts: Vec<Mount>,
    /// Containers whose mounts are taken over.
    pub volumes_from: Vec<VolumesFrom>,
    /// How it reaches others.
    pub network: NetworkMode,
    /// What it wishes in each network, by the network's name or id. Networks beside that of `network` may be named; where
    /// `network` is [`NetworkMode::Bridge`] and others are named here, it is in those alone.
    pub endpoints: BTreeMap<String, EndpointWish>,
    /// Ports published on the host. Only in networks of its own.
    pub ports: Vec<PortMapping>,
    /// Every exposed port is published, on a port that is free.
    pub publish_all: bool,
    /// Ports it says it listens on, beside the image's: `80/tcp`.
    pub exposed: Vec<String>,
    /// What it is told of names.
    pub naming: Naming,
    /// What it may use.
    pub resources: Resources,
    /// The root filesystem is read-only.
    pub read_only: bool,
    /// Capabilities beyond Docker's default set (`NET_ADMIN`, `CAP_NET_ADMIN`, `ALL`).
    pub cap_add: Vec<String>,
    /// Capabilities taken from it.
    pub cap_drop: Vec<String>,
    /// The system-call filter and its companions.
    pub security: Security,
    /// An init of ours is its first process, which reaps and passes signals on; the command is a child of that. As the daemon
    /// has it when absent.
    pub init: Option<bool>,
    /// Namespaces, groups, limits of the process, kernel parameters.
    pub isolation: Isolation,
    /// Devices of the host.
    pub devices: Devices,
    /// Removed when it exits.
    pub auto_remove: bool,
    /// Where its output goes.
    pub log: LogChoice,
    /// Whether it is started again when it has ended.
    pub restart: RestartPolicy,
    /// How it is found out whether it is well.
    pub health: Option<HealthCheck>,
    /// Whether it has started, is alive, is ready: checks for each of these questions.
    pub checks: Checks,
    /// Its published ports lead to it only while the last probe of its health check was a success.
    pub publish_when_ready: bool,
    /// The monotonic clock (nanoseconds) when the client's process began; images that carry the label
    /// `corten.client-start` get it as `CORTEN_CLIENT_START_NS`.
    pub client_start_ns: Option<u64>,
}

/// Whether a container is started again that has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// It stays ended.
    #[default]
    No,
    /// When its exit code is not 0.
    OnFailure {
        /// So often; without end when absent.
        most: Option<u32>,
    },
    /// When its exit code is not 0; and when its health check says that it is unhealthy, which ends it first.
    Unhealthy {
        /// So often; without end when absent.
        most: Option<u32>,
    },
    /// However it ended, unless a user stopped it; then with the next start of the daemon.
    Always,
    /// However it ended, unless a user stopped it.
    UnlessStopped,
}

/// How a container reaches others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// An address on the default bridge, masqueraded towards the outside.
    #[default]
    Bridge,
    /// The host's own network namespace.
    Host,
    /// A loopback interface and nothing else.
    None,
    /// The network namespace of another container, by name or id; once the container is created, by id.
    Container(String),
    /// An address in a user-defined network, by its name or id.
    User(String),
}

impl NetworkMode {
    /// Docker's word for it.
    pub fn docker(&self) -> String {
        match self {
            NetworkMode::Bridge => networks::BRIDGE.to_owned(),
            NetworkMode::Host => networks::HOST.to_owned(),
            NetworkMode::None => networks::NONE.to_owned(),
            NetworkMode::Container(id) => format!("container:{id}"),
            NetworkMode::User(name) => name.clone(),
        }
    }

    /// From Docker's word.
    pub fn from_docker(mode: &str) -> NetworkMode {
        match (networks::predefined_mode(mode), mode.strip_prefix("container:")) {
            (Some(mode), _) => mode,
            (None, Some(other)) => NetworkMode::Container(other.to_owned()),
            (None, None) => NetworkMode::User(mode.to_owned()),
        }
    }
}

/// What a container may use. Absent means unlimited.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Bytes of memory.
    pub memory: Option<i64>,
    /// Bytes of memory and swap together; -1 is unlimited swap; twice the memory when absent, as Docker does.
    pub memory_swap: Option<i64>,
    /// Bytes the kernel tries to leave it when memory is short.
    pub memory_reservation: Option<i64>,
    /// Billionths of a processor: 500_000_000 is half of one.
    pub nano_cpus: Option<i64>,
    /// Relative weight, 1024 being the usual one.
    pub cpu_shares: Option<u64>,
    /// Processors it may run on, for example `0-1`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes it may use, for example `0`.
    pub cpuset_mems: Option<String>,
    /// Processes and threads together; -1 or 0 is unlimited.
    pub pids_limit: Option<i64>,
    /// Microseconds of processor time in a period. Not beside `nano_cpus`, nor is the period.
    pub cpu_quota: Option<i64>,
    /// Microseconds of that period; 100 ms when absent.
    pub cpu_period: Option<i64>,
    /// Microseconds of processor time for real-time tasks in a period.
    pub cpu_realtime_runtime: Option<i64>,
    /// Microseconds of that period.
    pub cpu_realtime_period: Option<i64>,
    /// How readily its memory is swapped out: 0 to 100 (cgroup v1).
    pub memory_swappiness: Option<i64>,
    /// Out of memory, its processes wait instead of being killed (cgroup v1).
    pub oom_kill_disable: Option<bool>,
    /// Its weight at block devices: 10 to 1000.
    pub blkio_weight: Option<u16>,
    /// The same at single devices.
    pub blkio_weight_device: Vec<DeviceLimit>,
    /// Bytes read per second from single devices.
    pub blkio_read_bps: Vec<DeviceLimit>,
    /// Bytes written per second to single devices.
    pub blkio_write_bps: Vec<DeviceLimit>,
    /// Reads per second from single devices.
    pub blkio_read_iops: Vec<DeviceLimit>,
    /// Writes per second to single devices.
    pub blkio_write_iops: Vec<DeviceLimit>,
}

/// The system-call filter and its companions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Security {
    /// The filter.
    pub seccomp: SeccompChoice,
    /// Set-uid programs gain nothing.
    pub no_new_privileges: bool,
    /// All capabilities and devices, nothing masked, no filter unless one is named.
    pub privileged: bool,
    /// What of `/proc` and `/sys` cannot be seen; Docker's list when absent.
    pub masked_paths: Option<Vec<String>>,
    /// What of `/proc` cannot be changed; Docker's list when absent.
    pub readonly_paths: Option<Vec<String>>,
    /// The profile of AppArmor; none when absent.
    pub apparmor: Option<String>,
    /// The container may make control groups below its own.
    pub writable_cgroups: bool,
    /// The options as the user wrote them, for those who inspect the container.
    pub given: Vec<String>,
}

/// Which system-call filter a container gets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeccompChoice {
    /// Docker's default profile; none for a privileged container.
    #[default]
    Default,
    /// Docker's default profile, for a privileged container as well.
    Builtin,
    /// None at all.
    Unconfined,
    /// A profile in Docker's JSON form.
    Profile(String),
}

/// The wish for one more process in a running container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecSpec {
    /// The command and its arguments.
    pub command: Vec<String>,
    /// `NAME=value`, added to the container's.
    pub env: Vec<String>,
    /// Where it starts; the container's working directory when absent.
    pub working_dir: Option<String>,
    /// `user[:group]`; the container's when absent.
    pub user: Option<String>,
    /// A pseudo-terminal.
    pub tty: bool,
    /// Standard input is connected.
    pub stdin: bool,
    /// Nobody is attached.
    pub detach: bool,
    /// With all capabilities.
    pub privileged: bool,
    /// The terminal's first size, rows and columns.
    pub console_size: Option<(u16, u16)>,
    /// The keys that leave its terminal, as they were written; the usual ones when absent.
    pub detach_keys: Option<String>,
}
