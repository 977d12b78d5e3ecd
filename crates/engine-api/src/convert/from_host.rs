// SPDX-License-Identifier: Apache-2.0
//! What of a container concerns the host, as `inspect` shows it: what was asked for, and Docker's defaults where nothing
//! was.

use api_types::docker::{
    DeviceMapping as DockerDevice, DeviceRequest as DockerRequest, HostConfig, HostConfigCgroupnsModeEnum,
    HostConfigIsolationEnum, ResourcesBlkioWeightDevice, ResourcesUlimits, ThrottleDevice,
};
use engine::{
    CgroupNamespace, ContainerSpec, DeviceLimit, DeviceMapping, DeviceRequest, IpcMode, PidMode, SHM_SIZE, Ulimit,
    UserNamespaceMode,
};

/// Completes `host` by all of it.
pub(super) fn fill(spec: &ContainerSpec, host: HostConfig) -> HostConfig {
    security(spec, isolation(spec, devices(spec, limits(spec, host))))
}

fn some<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

fn limits(spec: &ContainerSpec, host: HostConfig) -> HostConfig {
    let limits = &spec.resources;
    let rates = |list: &[DeviceLimit]| {
        let rate = |limit: &DeviceLimit| ThrottleDevice {
            path: Some(limit.path.clone()),
            rate: i64::try_from(limit.value).ok(),
        };
        Some(list.iter().map(rate).collect::<Vec<_>>())
    };
    let weight = |limit: &DeviceLimit| ResourcesBlkioWeightDevice {
        path: Some(limit.path.clone()),
        weight: usize::try_from(limit.value).ok(),
    };
    // A memory limit alone allows as much swap again.
    let swap = limits.memory_swap.or(limits.memory.map(|memory| memory.saturating_mul(2)));
    HostConfig {
        memory: Some(limits.memory.unwrap_or(0)),
        memory_swap: Some(swap.unwrap_or(0)),
        memory_reservation: Some(limits.memory_reservation.unwrap_or(0)),
        memory_swappiness: limits.memory_swappiness,
        oom_kill_disable: Some(limits.oom_kill_disable.unwrap_or(false)),
        nano_cpus: Some(limits.nano_cpus.unwrap_or(0)),
        cpu_quota: Some(limits.cpu_quota.unwrap_or(0)),
        cpu_period: Some(limits.cpu_period.unwrap_or(0)),
        cpu_realtime_runtime: Some(limits.cpu_realtime_runtime.unwrap_or(0)),
        cpu_realtime_period: Some(limits.cpu_realtime_period.unwrap_or(0)),
        cpu_shares: Some(limits.cpu_shares.and_then(|shares| i64::try_from(shares).ok()).unwrap_or(0)),
        cpuset_cpus: Some(limits.cpuset_cpus.clone().unwrap_or_default()),
        cpuset_mems: Some(limits.cpuset_mems.clone().unwrap_or_default()),
        pids_limit: limits.pids_limit,
        blkio_weight: Some(limits.blkio_weight.unwrap_or(0)),
        blkio_weight_device: Some(limits.blkio_weight_device.iter().map(weight).collect()),
        blkio_device_read_bps: rates(&limits.blkio_read_bps),
        blkio_device_write_bps: rates(&limits.blkio_write_bps),
        blkio_device_read_iops: rates(&limits.blkio_read_iops),
        blkio_device_write_iops: rates(&limits.blkio_write_iops),
        // These are Windows' alone.
        cpu_count: Some(0),
        cpu_percent: Some(0),
        io_maximum_iops: Some(0),
        io_maximum_bandwidth: Some(0),
        ..host
    }
}

fn devices(spec: &ContainerSpec, host: HostConfig) -> HostConfig {
    let devices = &spec.devices;
    let mapping = |mapping: &DeviceMapping| DockerDevice {
        path_on_host: Some(mapping.host.clone()),
        path_in_container: Some(mapping.container.clone()),
        cgroup_permissions: Some(mapping.access.clone()),
    };
    let request = |request: &DeviceRequest| DockerRequest {
        driver: Some(request.driver.clone()),
        count: Some(request.count),
        device_ids: some(&request.ids),
        capabilities: some(&request.capabilities),
        options: Some(request.options.clone().into_iter().collect()),
    };
    let requests: Vec<_> = devices.requests.iter().map(request).collect();
    HostConfig {
        devices: Some(devices.mappings.iter().map(mapping).collect()),
        device_cgroup_rules: some(&devices.rules),
        device_requests: some(&requests),
        ..host
    }
}

fn isolation(spec: &ContainerSpec, host: HostConfig) -> HostConfig {
    let isolation = &spec.isolation;
    let sysctls = isolation.sysctls.clone().into_iter().collect();
    let ulimit = |limit: &Ulimit| ResourcesUlimits {
        name: Some(limit.name.clone()),
        soft: Some(limit.soft),
        hard: Some(limit.hard),
    };
    HostConfig {
        ipc_mode: Some(match &isolation.ipc {
            IpcMode::Private => "private".to_owned(),
            IpcMode::Shareable => "shareable".to_owned(),
            IpcMode::None => "none".to_owned(),
            IpcMode::Host => "host".to_owned(),
            IpcMode::Container(other) => format!("container:{other}"),
        }),
        pid_mode: Some(match &isolation.pid {
            PidMode::Private => String::new(),
            PidMode::Host => "host".to_owned(),
            PidMode::Container(other) => format!("container:{other}"),
        }),
        uts_mode: Some(if isolation.host_uts { "host".to_owned() } else { String::new() }),
        userns_mode: Some(
            match isolation.user_namespace {
                UserNamespaceMode::Default => "",
                UserNamespaceMode::Host => "host",
                UserNamespaceMode::Remap => "remap",
                UserNamespaceMode::Auto => "auto",
            }
            .to_owned(),
        ),
        cgroupns_mode: Some(match isolation.cgroup_namespace {
            CgroupNamespace::Private => HostConfigCgroupnsModeEnum::PRIVATE,
            CgroupNamespace::Host => HostConfigCgroupnsModeEnum::HOST,
        }),
        cgroup_parent: Some(isolation.cgroup_parent.clone().unwrap_or_default()),
        cgroup: Some(String::new()),
        sysctls: (!isolation.sysctls.is_empty()).then_some(sysctls),
        group_add: some(&isolation.groups),
        shm_size: Some(isolation.shm_size.unwrap_or(SHM_SIZE)),
        ulimits: some(&isolation.ulimits.iter().map(ulimit).collect::<Vec<_>>()),
        oom_score_adj: Some(isolation.oom_score_adj),
        runtime: Some(isolation.runtime.clone().unwrap_or_else(|| "corten".to_owned())),
        isolation: Some(HostConfigIsolationEnum::EMPTY),
        ..host
    }
}

fn security(spec: &ContainerSpec, host: HostConfig) -> HostConfig {
    let security = &spec.security;
    // A privileged container has nothing masked.
    let paths = |own: &Option<Vec<String>>, usual: &[&str]| match own {
        Some(own) => Some(own.clone()),
        None => (!security.privileged).then(|| usual.iter().map(|&path| path.to_owned()).collect()),
    };
    HostConfig {
        privileged: Some(security.privileged),
        readonly_rootfs: Some(spec.read_only),
        cap_add: some(&spec.cap_add),
        cap_drop: some(&spec.cap_drop),
        security_opt: some(&security.given),
        masked_paths: paths(&security.masked_paths, engine::MASKED_PATHS),
        readonly_paths: paths(&security.readonly_paths, engine::READONLY_PATHS),
        ..host
    }
}
