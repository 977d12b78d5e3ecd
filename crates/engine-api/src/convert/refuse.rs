// SPDX-License-Identifier: Apache-2.0
//! Fields of Docker's that Corten does not serve (yet). A wish that cannot be granted is refused by name, never
//! dropped; values that mean "nothing special" pass, because Docker's clients send them all.

use std::collections::HashMap;

use api_types::docker::{ContainerCreateBody, HostConfig};

use crate::error::ApiError;

/// Refuse what of `body` cannot be served.
pub(crate) fn unsupported(body: &ContainerCreateBody) -> Result<(), ApiError> {
    let mut fields = Vec::new();
    let mut refuse = |is_set: bool, field: &'static str| {
        if is_set {
            fields.push(field);
        }
    };
    refuse(body.network_disabled == Some(true), "NetworkDisabled");
    refuse(some_list(&body.on_build), "OnBuild");
    refuse(some_list(&body.shell), "Shell");
    if let Some(host) = &body.host_config {
        host_limits(host, &mut refuse);
        host_rest(host, &mut refuse);
    }
    match fields.first() {
        None => Ok(()),
        Some(_) => Err(ApiError::Unsupported(fields.join(", "))),
    }
}

/// Refuse other limits of single devices for a container that is there: they are settled at its start. Docker changes them
/// since version 1.55 of its API, and ignores them before.
pub(crate) fn limits_of_devices(host: &HostConfig) -> Result<(), ApiError> {
    let fields = [
        (some_list(&host.blkio_weight_device), "BlkioWeightDevice"),
        (some_list(&host.blkio_device_read_bps), "BlkioDeviceReadBps"),
        (some_list(&host.blkio_device_write_bps), "BlkioDeviceWriteBps"),
        (some_list(&host.blkio_device_read_iops), "BlkioDeviceReadIOps"),
        (some_list(&host.blkio_device_write_iops), "BlkioDeviceWriteIOps"),
    ];
    match fields.iter().find(|(is_set, _)| *is_set) {
        None => Ok(()),
        Some((_, field)) => {
            let reason = "limits of single devices are settled at the start of a container, and changing them";
            Err(ApiError::Unsupported(format!("{field}: {reason}")))
        }
    }
}

fn some_text(field: &Option<String>) -> bool {
    field.as_ref().is_some_and(|text| !text.is_empty())
}

fn some_list<T>(field: &Option<Vec<T>>) -> bool {
    field.as_ref().is_some_and(|list| !list.is_empty())
}

fn some_map<T>(field: &Option<HashMap<String, T>>) -> bool {
    field.as_ref().is_some_and(|map| !map.is_empty())
}

fn some_number(field: Option<i64>) -> bool {
    field.is_some_and(|number| number != 0)
}

fn host_limits(host: &HostConfig, refuse: &mut impl FnMut(bool, &'static str)) {
    refuse(some_number(host.cpu_count), "HostConfig.CpuCount (Windows alone has it)");
    refuse(some_number(host.cpu_percent), "HostConfig.CpuPercent (Windows alone has it)");
    refuse(some_number(host.io_maximum_iops), "HostConfig.IOMaximumIOps (Windows alone has it)");
    refuse(some_number(host.io_maximum_bandwidth), "HostConfig.IOMaximumBandwidth (Windows alone has it)");
    refuse(some_text(&host.cgroup), "HostConfig.Cgroup (CgroupParent and CgroupnsMode are there)");
}

fn host_rest(host: &HostConfig, refuse: &mut impl FnMut(bool, &'static str)) {
    refuse(some_map(&host.storage_opt), "HostConfig.StorageOpt (writable layers have no quotas of their own)");
    let isolation = host.isolation.map(|isolation| isolation.to_string());
    refuse(
        isolation.is_some_and(|word| !matches!(word.as_str(), "" | "default")),
        "HostConfig.Isolation (Windows alone has it)",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str) -> Option<String> {
        let body: ContainerCreateBody = serde_json::from_str(json).unwrap();
        unsupported(&body).err().map(|error| error.to_string())
    }

    #[test]
    fn what_every_docker_client_sends_passes() {
        let sent = r#"{"Hostname":"","Domainname":"","User":"","AttachStdin":false,"Tty":false,"Env":null,"Cmd":["true"],
            "Image":"x","Volumes":{},"WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":{},"HostConfig":{
            "Binds":null,"ContainerIDFile":"","LogConfig":{"Type":"","Config":{}},"NetworkMode":"default",
            "PortBindings":{},"RestartPolicy":{"Name":"no","MaximumRetryCount":0},"AutoRemove":true,"VolumeDriver":"",
            "VolumesFrom":null,"CapAdd":null,"CapDrop":null,"CgroupnsMode":"","Dns":[],"DnsOptions":[],"DnsSearch":[],
            "ExtraHosts":null,"GroupAdd":null,"IpcMode":"","Cgroup":"","Links":null,"OomScoreAdj":0,"PidMode":"",
            "Privileged":false,"PublishAllPorts":false,"ReadonlyRootfs":false,"SecurityOpt":null,"UTSMode":"",
            "UsernsMode":"","ShmSize":0,"ConsoleSize":[0,0],"Isolation":"","CpuShares":0,"Memory":0,"NanoCpus":0,
            "CgroupParent":"","BlkioWeight":0,"BlkioWeightDevice":[],"BlkioDeviceReadBps":null,"CpuPeriod":0,
            "CpuQuota":0,"CpuRealtimePeriod":0,"CpuRealtimeRuntime":0,"CpusetCpus":"","CpusetMems":"","Devices":[],
            "DeviceCgroupRules":null,"DeviceRequests":null,"KernelMemory":0,"MemoryReservation":0,"MemorySwap":0,
            "MemorySwappiness":-1,"OomKillDisable":false,"PidsLimit":0,"Ulimits":null,"CpuCount":0,"CpuPercent":0,
            "IOMaximumIOps":0,"IOMaximumBandwidth":0,"MaskedPaths":null,"ReadonlyPaths":null},
            "NetworkingConfig":{"EndpointsConfig":{}}}"#;
        assert_eq!(refused(sent), None);
    }

    #[test]
    fn limits_of_devices_are_not_changed_in_silence() {
        let host = |json: &str| serde_json::from_str::<HostConfig>(json).unwrap();
        assert!(limits_of_devices(&host(r#"{"BlkioWeightDevice":[],"BlkioDeviceReadBps":null}"#)).is_ok());
        let error = limits_of_devices(&host(r#"{"BlkioDeviceReadBps":[{"Path":"/dev/sda","Rate":1}]}"#)).unwrap_err();
        assert!(error.to_string().starts_with("BlkioDeviceReadBps: "), "{error}");
    }

    #[test]
    fn wishes_that_cannot_be_granted_are_named() {
        assert_eq!(
            refused(r#"{"HostConfig":{"CpuCount":2}}"#).unwrap(),
            "HostConfig.CpuCount (Windows alone has it) is not supported"
        );
        for (json, field) in
            [(r#"{"HostConfig":{"CpuCount":2}}"#, "CpuCount"), (r#"{"HostConfig":{"CpuPercent":2}}"#, "CpuPercent")]
        {
            assert!(refused(json).unwrap().contains(field), "{json}");
        }
    }
}
