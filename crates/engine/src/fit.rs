// SPDX-License-Identifier: Apache-2.0
//! A wish is fitted to the host before anything is made: names of other containers become ids, and limits that this kernel
//! does not have are left out, which the user is told. As Docker does it: what a container has and what `inspect` shows of
//! it are then the same.

use cgroup::{Controller, Host, Mode};
use oci::runtime_spec::PosixRlimitType;
use rustix::process::{Resource, getrlimit};

use crate::Engine;
use crate::error::EngineError;
use crate::request::{ContainerSpec, IpcMode, NetworkMode, PidMode, Resources, Ulimit};
use crate::spec::isolation::rlimit_type;

/// `CAP_SYS_RESOURCE`.
const SYS_RESOURCE: u64 = 1 << 24;

/// Limits that this host's kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostLimits {
    /// Memory.
    pub memory: bool,
    /// Memory and swap; not known where no cgroup tells.
    pub swap: Option<bool>,
    /// How readily memory is swapped out.
    pub swappiness: bool,
    /// Whether processes wait when memory is short.
    pub oom_kill_disable: bool,
    /// Quota and period of processor time.
    pub cpu_quota: bool,
    /// Weight of processor time.
    pub cpu_shares: bool,
    /// Real-time processor time.
    pub cpu_realtime: bool,
    /// Processors and memory nodes.
    pub cpuset: bool,
    /// The number of processes.
    pub pids: bool,
    /// Weights at block devices.
    pub io_weight: bool,
    /// Rates at block devices.
    pub io_throttle: bool,
}

impl HostLimits {
    /// Looks at the host's control groups.
    pub(crate) fn of(host: &Host) -> HostLimits {
        let controllers = host.controllers();
        let has = |controller| controllers.contains(&controller);
        let v1 = host.mode() != Mode::V2;
        let file = |controller, name| host.has_file(controller, name);
        HostLimits {
            memory: has(Controller::Memory),
            swap: host.swap_limit(),
            swappiness: v1 && file(Controller::Memory, "memory.swappiness"),
            oom_kill_disable: v1 && file(Controller::Memory, "memory.oom_control"),
            // v2 has these files in every cgroup but the root.
            cpu_quota: has(Controller::Cpu) && (!v1 || file(Controller::Cpu, "cpu.cfs_quota_us")),
            cpu_shares: has(Controller::Cpu),
            cpu_realtime: v1 && file(Controller::Cpu, "cpu.rt_runtime_us"),
            cpuset: has(Controller::Cpuset),
            pids: has(Controller::Pids),
            // The weights themselves are not in the root either; what comes with them is.
            io_weight: ["blkio.weight", "blkio.bfq.weight", "blkio.bfq.io_serviced", "io.cost.qos", "io.bfq.weight"]
                .iter()
                .any(|name| file(Controller::Io, name)),
            io_throttle: has(Controller::Io) && (!v1 || file(Controller::Io, "blkio.throttle.read_bps_device")),
        }
    }
}

impl Engine {
    /// Fits a wish to this host. What the user should know.
    ///
    /// # Errors
    /// Another container that is named is not there, or does not let others join it.
    pub(crate) fn fit(&self, spec: &mut ContainerSpec) -> Result<Vec<String>, EngineError> {
        self.config.defaults.apply(spec);
        self.name_others_by_id(spec)?;
        self.check_requests(&spec.devices.requests)?;
        if spec.hostname.is_none() && (spec.isolation.host_uts || spec.network == NetworkMode::Host) {
            spec.hostname = Some(rustix::system::uname().nodename().to_string_lossy().into_owned());
        }
        let mut warnings = self.fit_resources(&mut spec.resources);
        warnings.extend(self.process_warnings(spec));
        if self.publishes_nothing(spec) {
            warnings.push("no port is published: the container is in internal networks alone".to_owned());
        }
        Ok(warnings)
    }

    fn name_others_by_id(&self, spec: &mut ContainerSpec) -> Result<(), EngineError> {
        if let IpcMode::Container(other) = &mut spec.isolation.ipc {
            let container = self.container(other)?;
            if container.with_record(|record| record.spec.isolation.ipc != IpcMode::Shareable) {
                return Err(crate::surroundings::not_shareable(other));
            }
            *other = container.id.to_string();
        }
        if let PidMode::Container(other) = &mut spec.isolation.pid {
            *other = self.container(other)?.id.to_string();
        }
        Ok(())
    }

    /// Leaves out of `wish` what this kernel cannot limit. What the user should know.
    pub(crate) fn fit_resources(&self, wish: &mut Resources) -> Vec<String> {
        // Most containers have none of these, and a start is too short to look for their files.
        let rare = wish.memory_swappiness.is_some()
            || wish.oom_kill_disable == Some(true)
            || wish.blkio_weight.is_some()
            || !wish.blkio_weight_device.is_empty();
        let mut warnings = self.swap_warnings(wish);
        if !rare {
            return warnings;
        }
        let host = HostLimits::of(&self.cgroups);
        let mut without = |flag: &str| warnings.push(format!("this kernel does not have {flag}: it is not set"));
        if !host.swappiness && wish.memory_swappiness.take().is_some() {
            without("--memory-swappiness");
        }
        if !host.oom_kill_disable && wish.oom_kill_disable.take() == Some(true) {
            without("--oom-kill-disable");
        }
        if !host.io_weight && wish.blkio_weight.take().is_some() {
            without("--blkio-weight");
        }
        if !host.io_weight && !std::mem::take(&mut wish.blkio_weight_device).is_empty() {
            without("--blkio-weight-device");
        }
        if wish.oom_kill_disable == Some(true) && wish.memory.is_none() {
            let text = "--oom-kill-disable without --memory: the container can use up the host's memory";
            warnings.push(text.to_owned());
        }
        warnings
    }

    /// What of the process's limits this daemon may not give: to raise them takes a right that a daemon in a container of
    /// its own lacks.
    fn process_warnings(&self, spec: &ContainerSpec) -> Vec<String> {
        let isolation = &spec.isolation;
        let may = || sys::capability::get().is_ok_and(|sets| sets.effective & SYS_RESOURCE != 0);
        if (isolation.ulimits.is_empty() && isolation.oom_score_adj >= 0) || may() {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        for limit in &isolation.ulimits {
            if let Some(most) = most_allowed(limit) {
                let name = &limit.name;
                let text =
                    format!("--ulimit {name}: this daemon lacks CAP_SYS_RESOURCE, so {most} is the most there is");
                warnings.push(text);
            }
        }
        if isolation.oom_score_adj < 0 {
            let text = "--oom-score-adj: this daemon lacks CAP_SYS_RESOURCE, so the score is not lowered";
            warnings.push(text.to_owned());
        }
        warnings
    }
}

/// The daemon's own hard limit, if `limit` is above it.
fn most_allowed(limit: &Ulimit) -> Option<u64> {
    let most = getrlimit(resource(rlimit_type(&limit.name)?)?).maximum?;
    let wanted = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    (wanted(limit.soft).max(wanted(limit.hard)) > most).then_some(most)
}

fn resource(kind: PosixRlimitType) -> Option<Resource> {
    Some(match kind {
        PosixRlimitType::RlimitAs => Resource::As,
        PosixRlimitType::RlimitCore => Resource::Core,
        PosixRlimitType::RlimitCpu => Resource::Cpu,
        PosixRlimitType::RlimitData => Resource::Data,
        PosixRlimitType::RlimitFsize => Resource::Fsize,
        PosixRlimitType::RlimitLocks => Resource::Locks,
        PosixRlimitType::RlimitMemlock => Resource::Memlock,
        PosixRlimitType::RlimitMsgqueue => Resource::Msgqueue,
        PosixRlimitType::RlimitNice => Resource::Nice,
        PosixRlimitType::RlimitNofile => Resource::Nofile,
        PosixRlimitType::RlimitNproc => Resource::Nproc,
        PosixRlimitType::RlimitRss => Resource::Rss,
        PosixRlimitType::RlimitRtprio => Resource::Rtprio,
        PosixRlimitType::RlimitRttime => Resource::Rttime,
        PosixRlimitType::RlimitSigpending => Resource::Sigpending,
        PosixRlimitType::RlimitStack => Resource::Stack,
    })
}
