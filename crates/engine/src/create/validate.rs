// SPDX-License-Identifier: Apache-2.0
//! What can be said about limits, devices and isolation without looking anything up. Nothing that comes from outside
//! becomes a rule, a path or a parameter of the kernel's before it has passed here.

use oci::runtime_spec::LinuxNamespaceType as Kind;

use super::absolute;
use crate::error::EngineError;
use crate::request::{
    CgroupNamespace, ContainerSpec, DeviceLimit, Devices, IpcMode, Isolation, NetworkMode, PidMode, Resources,
    Security, Ulimit,
};
use crate::signal;
use crate::spec::devices::{is_access, parse_rule};
use crate::spec::isolation::{rlimit_type, unknown_limit};

/// Less than this and not even a shell starts; Docker's figure.
const MIN_MEMORY: i64 = 6 << 20;
/// More processes and threads than this there cannot be on any host (PID_MAX_LIMIT).
const MAX_PIDS: i64 = 4 << 20;

/// Limits and the signal that stops.
pub(super) fn limits(spec: &ContainerSpec) -> Result<(), EngineError> {
    let resources = &spec.resources;
    memory(resources)?;
    processor(resources)?;
    block_io(resources)?;
    if resources.pids_limit.is_some_and(|limit| limit > MAX_PIDS) {
        return Err(EngineError::invalid("--pids-limit", format!("must be at most {MAX_PIDS}; -1 is no limit")));
    }
    if let Some(name) = &spec.stop_signal {
        signal::parse(name)?;
    }
    Ok(())
}

fn memory(resources: &Resources) -> Result<(), EngineError> {
    if let Some(memory) = resources.memory {
        if memory < MIN_MEMORY {
            return Err(EngineError::invalid("--memory", "the smallest memory limit is 6 MiB"));
        }
        if resources.memory_swap.is_some_and(|swap| swap != -1 && swap < memory) {
            return Err(EngineError::invalid("--memory-swap", "memory and swap together cannot be less than --memory"));
        }
        if resources.memory_reservation.is_some_and(|reservation| reservation > memory) {
            return Err(EngineError::invalid("--memory-reservation", "cannot be more than --memory"));
        }
    } else if resources.memory_swap.is_some_and(|swap| swap > 0) {
        return Err(EngineError::invalid("--memory-swap", "needs --memory beside it"));
    }
    if resources.memory_swap.is_some_and(|swap| swap < -1) {
        return Err(EngineError::invalid("--memory-swap", "is a size, or -1 for unlimited swap"));
    }
    if resources.memory_reservation.is_some_and(|reservation| reservation < MIN_MEMORY) {
        return Err(EngineError::invalid("--memory-reservation", "the smallest reservation is 6 MiB"));
    }
    if resources.memory_swappiness.is_some_and(|value| !(0..=100).contains(&value)) {
        return Err(EngineError::invalid("--memory-swappiness", "must be from 0 to 100"));
    }
    Ok(())
}

fn processor(resources: &Resources) -> Result<(), EngineError> {
    if let Some(nano) = resources.nano_cpus {
        let available = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        // A quota below 1 ms in a period of 100 ms is refused by the kernel.
        if nano < 10_000_000 || nano > available as i64 * 1_000_000_000 {
            return Err(EngineError::invalid(
                "--cpus",
                format!("must be from 0.01 to {available}, which this host has"),
            ));
        }
        if resources.cpu_quota.is_some() || resources.cpu_period.is_some() {
            return Err(EngineError::invalid("--cpus", "cannot be set together with --cpu-quota or --cpu-period"));
        }
    }
    if resources.cpu_period.is_some_and(|period| !(1000..=1_000_000).contains(&period)) {
        return Err(EngineError::invalid("--cpu-period", "must be from 1000 to 1000000 (1 ms to 1 s)"));
    }
    if resources.cpu_quota.is_some_and(|quota| quota != -1 && quota < 1000) {
        return Err(EngineError::invalid("--cpu-quota", "must be 1000 (1 ms) or more, or -1 for none"));
    }
    for (flag, value) in
        [("--cpu-rt-period", resources.cpu_realtime_period), ("--cpu-rt-runtime", resources.cpu_realtime_runtime)]
    {
        if value.is_some_and(|value| value < 0) {
            return Err(EngineError::invalid(flag, "must be a number of microseconds, 0 or more"));
        }
    }
    for (flag, list) in [("--cpuset-cpus", &resources.cpuset_cpus), ("--cpuset-mems", &resources.cpuset_mems)] {
        if list.as_ref().is_some_and(|list| !is_number_list(list)) {
            return Err(EngineError::invalid(flag, "must be numbers and ranges, as in 0-2,5"));
        }
    }
    Ok(())
}

fn is_number_list(text: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.split(',').all(|part| part.split_once('-').map_or(number(part), |(first, last)| number(first) && number(last)))
}

fn block_io(resources: &Resources) -> Result<(), EngineError> {
    if resources.blkio_weight.is_some_and(|weight| !(10..=1000).contains(&weight)) {
        return Err(EngineError::invalid("--blkio-weight", "must be from 10 to 1000"));
    }
    let paths = |flag, list: &[DeviceLimit]| list.iter().try_for_each(|limit| device_path(flag, &limit.path));
    paths("--blkio-weight-device", &resources.blkio_weight_device)?;
    if resources.blkio_weight_device.iter().any(|limit| !(10..=1000).contains(&limit.value)) {
        return Err(EngineError::invalid("--blkio-weight-device", "weights must be from 10 to 1000"));
    }
    paths("--device-read-bps", &resources.blkio_read_bps)?;
    paths("--device-write-bps", &resources.blkio_write_bps)?;
    paths("--device-read-iops", &resources.blkio_read_iops)?;
    paths("--device-write-iops", &resources.blkio_write_iops)
}

/// Devices of the host.
pub(super) fn devices(devices: &Devices) -> Result<(), EngineError> {
    for mapping in &devices.mappings {
        device_path("--device", &mapping.host)?;
        device_path("--device", &mapping.container)?;
        if mapping.container.split('/').any(|part| part == "..") {
            return Err(EngineError::invalid("--device", format!("{:?} leads upwards", mapping.container)));
        }
        if !is_access(&mapping.access) {
            let reason = format!("{:?} is no access: write some of r, w and m, as in rw", mapping.access);
            return Err(EngineError::invalid("--device", reason));
        }
    }
    devices.rules.iter().try_for_each(|rule| parse_rule(rule).map(drop))
}

fn device_path(flag: &'static str, path: &str) -> Result<(), EngineError> {
    absolute(flag, path)
}

/// Namespaces, groups, limits of the process, kernel parameters.
pub(super) fn isolation(spec: &ContainerSpec) -> Result<(), EngineError> {
    let isolation = &spec.isolation;
    if isolation.host_uts && spec.hostname.as_ref().is_some_and(|_| !is_hosts_name(spec)) {
        return Err(EngineError::invalid("--hostname", "a container with --uts host has the host's name"));
    }
    if isolation.host_uts && isolation.domainname.is_some() {
        return Err(EngineError::invalid("--domainname", "a container with --uts host has the host's domain name"));
    }
    if let Some(domain) = &isolation.domainname {
        let letter = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        if domain.len() > 64 || !domain.bytes().all(letter) {
            return Err(EngineError::invalid("--domainname", format!("{domain:?} is not a domain name")));
        }
    }
    if isolation.shm_size.is_some_and(|size| size <= 0) {
        return Err(EngineError::invalid("--shm-size", "must be more than 0"));
    }
    if !(-1000..=1000).contains(&isolation.oom_score_adj) {
        return Err(EngineError::invalid("--oom-score-adj", "must be from -1000 to 1000"));
    }
    if isolation.groups.iter().any(String::is_empty) {
        return Err(EngineError::invalid("--group-add", "an empty text names no group"));
    }
    if let Some(parent) = &isolation.cgroup_parent {
        cgroup_parent(parent)?;
    }
    if let Some(runtime) = &isolation.runtime {
        // Names under which Docker's users know runc: what they ask for is what they get.
        if !["corten", "runc", "io.containerd.runc.v2"].contains(&runtime.as_str()) {
            let reason = format!("there is no runtime {runtime:?}: Corten is its own, and also answers to runc");
            return Err(EngineError::invalid("--runtime", reason));
        }
    }
    ulimits(&isolation.ulimits)?;
    sysctls(spec, isolation)?;
    security(&spec.security, isolation)
}

/// The name that a container with the host's names was given at its creation.
fn is_hosts_name(spec: &ContainerSpec) -> bool {
    spec.hostname.as_deref() == rustix::system::uname().nodename().to_str().ok()
}

fn cgroup_parent(parent: &str) -> Result<(), EngineError> {
    let path = parent.parse::<cgroup::CgroupPath>();
    path.map(drop).map_err(|error| EngineError::invalid("--cgroup-parent", error.to_string()))
}

fn ulimits(limits: &[Ulimit]) -> Result<(), EngineError> {
    for (index, limit) in limits.iter().enumerate() {
        if rlimit_type(&limit.name).is_none() {
            return Err(unknown_limit(&limit.name));
        }
        if limits[..index].iter().any(|before| before.name == limit.name) {
            return Err(EngineError::invalid("--ulimit", format!("{} is given twice", limit.name)));
        }
        let is_limit = limit.soft >= -1 && limit.hard >= -1;
        let fits = limit.hard == -1 || (limit.soft != -1 && limit.soft <= limit.hard);
        if !is_limit || !fits {
            let reason = format!("{}: the soft limit cannot be above the hard one; -1 is none", limit.name);
            return Err(EngineError::invalid("--ulimit", reason));
        }
    }
    Ok(())
}

fn sysctls(spec: &ContainerSpec, isolation: &Isolation) -> Result<(), EngineError> {
    for (name, value) in &isolation.sysctls {
        let (kind, namespace) = runtime::plan::sysctl_namespace(name)
            .map_err(|expected| EngineError::invalid("--sysctl", format!("{name:?}: expected {expected}")))?;
        let own = match kind {
            Kind::Ipc => isolation.ipc != IpcMode::Host,
            Kind::Network => !matches!(spec.network, NetworkMode::Host | NetworkMode::Container(_)),
            Kind::Uts => !isolation.host_uts,
            _ => false,
        };
        if !own {
            let reason = format!("{name} would change others: the container shares its {namespace} namespace");
            return Err(EngineError::invalid("--sysctl", reason));
        }
        if value.contains(['\n', '\0']) {
            return Err(EngineError::invalid("--sysctl", format!("the value of {name} is not one line")));
        }
    }
    Ok(())
}

fn security(security: &Security, isolation: &Isolation) -> Result<(), EngineError> {
    for path in [&security.masked_paths, &security.readonly_paths].into_iter().flatten().flatten() {
        absolute("MaskedPaths and ReadonlyPaths", path)?;
    }
    if security.writable_cgroups && isolation.cgroup_namespace == CgroupNamespace::Host {
        let reason = "writable-cgroups needs a cgroup namespace of the container's own: --cgroupns private";
        return Err(EngineError::invalid("--security-opt", reason));
    }
    if isolation.pid == PidMode::Container(String::new()) || isolation.ipc == IpcMode::Container(String::new()) {
        return Err(EngineError::invalid("--pid and --ipc", "container: needs a name or an id behind it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut ContainerSpec)) -> bool {
        let mut spec = ContainerSpec { image: "x".into(), ..ContainerSpec::default() };
        change(&mut spec);
        super::super::validate(&spec).is_err()
    }

    fn ulimit(name: &str, soft: i64, hard: i64) -> Ulimit {
        Ulimit { name: name.into(), soft, hard }
    }

    #[test]
    fn kernel_parameters_of_the_host_are_refused() {
        let with = |name: &str, value: &str| {
            let (name, value) = (name.to_owned(), value.to_owned());
            refused(move |spec| drop(spec.isolation.sysctls.insert(name, value)))
        };
        assert!(!with("net.ipv4.ip_forward", "1"));
        assert!(!with("kernel.shmmax", "1"));
        for bad in
            ["kernel.panic", "vm.swappiness", "kernel.hostname", "", "net..x", "../net.x", "user.max_user_namespaces"]
        {
            assert!(with(bad, "1"), "{bad}");
        }
        assert!(with("net.ipv4.ip_forward", "1\n2"));
        assert!(refused(|spec| {
            spec.network = NetworkMode::Host;
            spec.isolation.sysctls.insert("net.ipv4.ip_forward".into(), "1".into());
        }));
        assert!(refused(|spec| {
            spec.isolation.ipc = IpcMode::Host;
            spec.isolation.sysctls.insert("kernel.shmmax".into(), "1".into());
        }));
    }

    #[test]
    fn limits_of_the_process_are_checked() {
        assert!(!refused(|spec| spec.isolation.ulimits = vec![ulimit("nofile", 10, 20), ulimit("core", -1, -1)]));
        for bad in [ulimit("nofiles", 1, 1), ulimit("nofile", 3, 2), ulimit("nofile", -1, 2), ulimit("core", -2, -1)] {
            assert!(refused(|spec| spec.isolation.ulimits = vec![bad]));
        }
        assert!(refused(|spec| spec.isolation.ulimits = vec![ulimit("core", 0, 0), ulimit("core", 0, 0)]));
    }

    #[test]
    fn limits_that_cannot_be_are_refused() {
        assert!(!refused(|spec| spec.resources.cpu_quota = Some(-1)));
        assert!(refused(|spec| spec.resources.cpu_quota = Some(999)));
        assert!(refused(|spec| spec.resources.cpu_period = Some(2_000_000)));
        assert!(refused(
            |spec| (spec.resources.cpu_quota, spec.resources.nano_cpus) = (Some(50_000), Some(500_000_000))
        ));
        assert!(refused(|spec| spec.resources.blkio_weight = Some(9)));
        assert!(refused(|spec| spec.resources.memory_swappiness = Some(101)));
        assert!(!refused(|spec| spec.resources.pids_limit = Some(4 << 20)));
        assert!(refused(|spec| spec.resources.pids_limit = Some((4 << 20) + 1)));
        assert!(refused(|spec| spec.resources.memory_reservation = Some(1)));
        assert!(!refused(|spec| spec.resources.cpuset_cpus = Some("0-1,3".into())));
        for bad in ["", "0-", "a", "0\n1", "0,,1", "-1", "0-1-2"] {
            assert!(refused(|spec| spec.resources.cpuset_cpus = Some(bad.into())), "{bad:?}");
        }
    }

    #[test]
    fn what_names_devices_and_groups_cannot_lead_elsewhere() {
        let device = |host: &str, container: &str, access: &str| {
            let mapping =
                crate::request::DeviceMapping { host: host.into(), container: container.into(), access: access.into() };
            refused(|spec| spec.devices.mappings = vec![mapping])
        };
        assert!(!device("/dev/fuse", "/dev/fuse", "rwm"));
        assert!(device("dev/fuse", "/dev/fuse", "rwm"));
        assert!(device("/dev/fuse", "/dev/../etc/passwd", "rwm"));
        assert!(device("/dev/fuse", "fuse", "rwm"));
        assert!(device("/dev/fuse", "/dev/fuse", "rwx"));
        assert!(device("/dev/fuse", "/dev/fuse", ""));
        assert!(refused(|spec| spec.devices.rules = vec!["a *:* rwm\nc 1:1 r".into()]));
        assert!(refused(|spec| spec.isolation.cgroup_parent = Some("/../escape".into())));
        assert!(refused(|spec| spec.isolation.runtime = Some("kata".into())));
        assert!(refused(|spec| spec.isolation.domainname = Some("a\nb".into())));
        assert!(refused(|spec| spec.isolation.shm_size = Some(-1)));
        assert!(refused(|spec| spec.isolation.groups = vec![String::new()]));
    }
}
