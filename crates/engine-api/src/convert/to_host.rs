// SPDX-License-Identifier: Apache-2.0
//! What of a wish concerns the host: limits, namespaces, devices, security; in the engine's words.

use api_types::docker::{
    DeviceMapping as DockerDevice, DeviceRequest as DockerRequest, HostConfig, HostConfigCgroupnsModeEnum,
    ResourcesBlkioWeightDevice, ResourcesUlimits, ThrottleDevice,
};
use engine::{
    CgroupNamespace, DeviceLimit, DeviceMapping, DeviceRequest, Devices, IpcMode, Isolation, PidMode, Resources,
    SeccompChoice, Security, Ulimit, UserNamespaceMode,
};

use crate::error::ApiError;

/// What the container may use. Docker's clients send zeros for what they do not ask for.
pub(super) fn resources(host: &HostConfig) -> Result<Resources, ApiError> {
    let number = |field: Option<i64>| field.filter(|value| *value != 0);
    let text = |field: &Option<String>| field.clone().filter(|list| !list.is_empty());
    let shares = number(host.cpu_shares).map(|shares| u64::try_from(shares).map_err(|_| out_of_range("CpuShares")));
    Ok(Resources {
        memory: number(host.memory),
        memory_swap: number(host.memory_swap),
        memory_reservation: number(host.memory_reservation),
        // -1 is how Docker's clients say nothing; 0 is a value.
        memory_swappiness: host.memory_swappiness.filter(|value| *value != -1),
        oom_kill_disable: host.oom_kill_disable,
        nano_cpus: number(host.nano_cpus),
        cpu_quota: number(host.cpu_quota),
        cpu_period: number(host.cpu_period),
        cpu_realtime_runtime: number(host.cpu_realtime_runtime),
        cpu_realtime_period: number(host.cpu_realtime_period),
        cpu_shares: shares.transpose()?,
        cpuset_cpus: text(&host.cpuset_cpus),
        cpuset_mems: text(&host.cpuset_mems),
        pids_limit: number(host.pids_limit),
        blkio_weight: host.blkio_weight.filter(|weight| *weight != 0),
        blkio_weight_device: weights(host.blkio_weight_device.as_deref())?,
        blkio_read_bps: rates("BlkioDeviceReadBps", host.blkio_device_read_bps.as_deref())?,
        blkio_write_bps: rates("BlkioDeviceWriteBps", host.blkio_device_write_bps.as_deref())?,
        blkio_read_iops: rates("BlkioDeviceReadIOps", host.blkio_device_read_iops.as_deref())?,
        blkio_write_iops: rates("BlkioDeviceWriteIOps", host.blkio_device_write_iops.as_deref())?,
    })
}

fn out_of_range(field: &'static str) -> ApiError {
    ApiError::invalid(field, "is out of range")
}

fn weights(list: Option<&[ResourcesBlkioWeightDevice]>) -> Result<Vec<DeviceLimit>, ApiError> {
    let one = |device: &ResourcesBlkioWeightDevice| {
        let value = u64::try_from(device.weight.unwrap_or(0)).map_err(|_| out_of_range("BlkioWeightDevice"))?;
        Ok(DeviceLimit { path: device.path.clone().unwrap_or_default(), value })
    };
    list.unwrap_or_default().iter().map(one).collect()
}

fn rates(field: &'static str, list: Option<&[ThrottleDevice]>) -> Result<Vec<DeviceLimit>, ApiError> {
    let one = |device: &ThrottleDevice| {
        let value = u64::try_from(device.rate.unwrap_or(0)).map_err(|_| out_of_range(field))?;
        Ok(DeviceLimit { path: device.path.clone().unwrap_or_default(), value })
    };
    list.unwrap_or_default().iter().map(one).collect()
}

/// How far the container is set apart; `domainname` stands beside the rest in Docker's model.
pub(super) fn isolation(host: &HostConfig, domainname: Option<String>) -> Result<Isolation, ApiError> {
    let text = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
    let host_uts = match host.uts_mode.as_deref().unwrap_or("") {
        "" => false,
        "host" => true,
        other => return Err(ApiError::invalid("UTSMode", format!("there is no \"{other}\": it is empty or host"))),
    };
    let user_namespace = match host.userns_mode.as_deref().unwrap_or("") {
        "" => UserNamespaceMode::Default,
        "host" => UserNamespaceMode::Host,
        "remap" => UserNamespaceMode::Remap,
        "auto" => UserNamespaceMode::Auto,
        other => return Err(unknown_mode("UsernsMode", other, "empty, host, remap or auto")),
    };
    Ok(Isolation {
        ipc: ipc_mode(host.ipc_mode.as_deref().unwrap_or(""))?,
        pid: pid_mode(host.pid_mode.as_deref().unwrap_or(""))?,
        host_uts,
        cgroup_namespace: match host.cgroupns_mode {
            Some(HostConfigCgroupnsModeEnum::HOST) => CgroupNamespace::Host,
            _ => CgroupNamespace::Private,
        },
        cgroup_parent: text(&host.cgroup_parent),
        domainname: domainname.filter(|name| !name.is_empty()),
        sysctls: host.sysctls.clone().unwrap_or_default().into_iter().collect(),
        groups: host.group_add.clone().unwrap_or_default(),
        shm_size: host.shm_size.filter(|size| *size != 0),
        ulimits: host.ulimits.iter().flatten().map(ulimit).collect(),
        oom_score_adj: host.oom_score_adj.unwrap_or(0),
        runtime: text(&host.runtime),
        user_namespace,
    })
}

fn ipc_mode(mode: &str) -> Result<IpcMode, ApiError> {
    match mode {
        "" | "private" => Ok(IpcMode::Private),
        "shareable" => Ok(IpcMode::Shareable),
        "none" => Ok(IpcMode::None),
        "host" => Ok(IpcMode::Host),
        other => {
            let kinds = "none, private, shareable, host, or container:NAME";
            other_container(other).map(IpcMode::Container).ok_or_else(|| unknown_mode("IpcMode", other, kinds))
        }
    }
}

fn pid_mode(mode: &str) -> Result<PidMode, ApiError> {
    match mode {
        "" => Ok(PidMode::Private),
        "host" => Ok(PidMode::Host),
        other => {
            let kinds = "empty, host, or container:NAME";
            other_container(other).map(PidMode::Container).ok_or_else(|| unknown_mode("PidMode", other, kinds))
        }
    }
}

fn other_container(mode: &str) -> Option<String> {
    mode.strip_prefix("container:").filter(|name| !name.is_empty()).map(str::to_owned)
}

fn unknown_mode(field: &'static str, mode: &str, kinds: &str) -> ApiError {
    ApiError::invalid(field, format!("there is no \"{mode}\": it is {kinds}"))
}

fn ulimit(limit: &ResourcesUlimits) -> Ulimit {
    Ulimit {
        name: limit.name.clone().unwrap_or_default(),
        soft: limit.soft.unwrap_or(0),
        hard: limit.hard.unwrap_or(0),
    }
}

/// The host's devices.
pub(super) fn devices(host: &HostConfig) -> Devices {
    let mapping = |device: &DockerDevice| {
        let text = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
        let path = device.path_on_host.clone().unwrap_or_default();
        DeviceMapping {
            container: text(&device.path_in_container).unwrap_or_else(|| path.clone()),
            host: path,
            access: text(&device.cgroup_permissions).unwrap_or_else(|| "rwm".to_owned()),
        }
    };
    let request = |request: &DockerRequest| DeviceRequest {
        driver: request.driver.clone().unwrap_or_default(),
        count: request.count.unwrap_or(0),
        ids: request.device_ids.clone().unwrap_or_default(),
        capabilities: request.capabilities.clone().unwrap_or_default(),
        options: request.options.clone().unwrap_or_default().into_iter().collect(),
    };
    Devices {
        mappings: host.devices.iter().flatten().map(mapping).collect(),
        rules: host.device_cgroup_rules.clone().unwrap_or_default(),
        requests: host.device_requests.iter().flatten().map(request).collect(),
    }
}

/// What protects the host from the container. An option that is not known is refused: it is there to protect.
pub(super) fn security(host: &HostConfig) -> Result<Security, ApiError> {
    let given = host.security_opt.clone().unwrap_or_default();
    let mut security = Security {
        privileged: host.privileged.unwrap_or(false),
        masked_paths: host.masked_paths.clone(),
        readonly_paths: host.readonly_paths.clone(),
        ..Security::default()
    };
    for option in &given {
        security_option(option, &mut security)?;
    }
    security.given = given;
    Ok(security)
}

fn security_option(option: &str, security: &mut Security) -> Result<(), ApiError> {
    let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
    let truth = |value: &str| match value {
        "" | "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
        _ => Err(ApiError::invalid("SecurityOpt", format!("\"{option}\" is neither true nor false"))),
    };
    match (key, value) {
        ("no-new-privileges", value) => security.no_new_privileges = truth(value)?,
        ("writable-cgroups", value) => security.writable_cgroups = truth(value)?,
        ("seccomp", "unconfined") => security.seccomp = SeccompChoice::Unconfined,
        ("seccomp", "builtin") => security.seccomp = SeccompChoice::Builtin,
        ("seccomp", profile) if profile.starts_with('{') => {
            security.seccomp = SeccompChoice::Profile(profile.to_owned());
        }
        ("systempaths", "unconfined") => {
            security.masked_paths = Some(Vec::new());
            security.readonly_paths = Some(Vec::new());
        }
        ("apparmor", "unconfined") => security.apparmor = None,
        ("apparmor", profile) if !profile.is_empty() => security.apparmor = Some(profile.to_owned()),
        // Containers have no labels, which is what is asked for.
        ("label", "disable") => {}
        ("label", _) => {
            let reason = "SELinux labels are not set for containers (label=disable is what they have), so";
            return Err(ApiError::Unsupported(format!("{reason} the security option \"{option}\"")));
        }
        _ => return Err(ApiError::Unsupported(format!("the security option \"{option}\""))),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
