// SPDX-License-Identifier: Apache-2.0
//! How far a container is set apart from its host: namespaces, devices, security; and the limits that stay as they are for
//! its life.

use std::collections::HashMap;

use api_types::docker::{
    DeviceMapping, DeviceRequest, HostConfig, HostConfigCgroupnsModeEnum, ResourcesBlkioWeightDevice, ResourcesUlimits,
    ThrottleDevice,
};
use clap::{Args, ValueEnum};

use super::devices::{self, Device};
use super::{FlagError, security, size, ulimit};

/// The control groups that a container sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CgroupNamespace {
    /// The host's.
    Host,
    /// Its own and what is below.
    Private,
}

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Isolation and devices")]
pub(crate) struct IsolationFlags {
    /// Weight at one block device: /dev/DEVICE:WEIGHT
    #[arg(long, value_name = "DEVICE", value_parser = devices::weight)]
    blkio_weight_device: Vec<ResourcesBlkioWeightDevice>,
    /// Add a Linux capability
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',')]
    cap_add: Vec<String>,
    /// Drop a Linux capability
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',')]
    cap_drop: Vec<String>,
    /// The control group above the container's
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<String>,
    /// The control groups it sees: private (its own) or host
    #[arg(long, value_name = "MODE")]
    cgroupns: Option<CgroupNamespace>,
    /// Give it a device: /dev/HOST[:/dev/CONTAINER][:rwm], or a vendor's: VENDOR/CLASS=NAME
    #[arg(long, value_name = "DEVICE", value_parser = devices::device)]
    device: Vec<Device>,
    /// Allow further devices, as in "c 42:* rmw"
    #[arg(long, value_name = "RULE")]
    device_cgroup_rule: Vec<String>,
    /// Bytes read per second from a block device: /dev/DEVICE:SIZE
    #[arg(long, value_name = "DEVICE", value_parser = devices::bytes_per_second)]
    device_read_bps: Vec<ThrottleDevice>,
    /// Reads per second from a block device: /dev/DEVICE:NUMBER
    #[arg(long, value_name = "DEVICE", value_parser = devices::operations_per_second)]
    device_read_iops: Vec<ThrottleDevice>,
    /// Bytes written per second to a block device: /dev/DEVICE:SIZE
    #[arg(long, value_name = "DEVICE", value_parser = devices::bytes_per_second)]
    device_write_bps: Vec<ThrottleDevice>,
    /// Writes per second to a block device: /dev/DEVICE:NUMBER
    #[arg(long, value_name = "DEVICE", value_parser = devices::operations_per_second)]
    device_write_iops: Vec<ThrottleDevice>,
    /// The container's NIS domain name
    #[arg(long, value_name = "NAME")]
    domainname: Option<String>,
    /// Give it graphics processors: all, a number, or device=NAME[,NAME]
    #[arg(long, value_name = "GPUS", value_parser = devices::gpus)]
    gpus: Option<DeviceRequest>,
    /// A further group of the command's process: a name or a number
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// Shared memory and queues: private, shareable, none, host or container:NAME
    #[arg(long, value_name = "MODE")]
    ipc: Option<String>,
    /// How readily its memory is swapped out, from 0 to 100
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    memory_swappiness: Option<i64>,
    /// Let processes wait for memory instead of killing them
    #[arg(long)]
    oom_kill_disable: bool,
    /// How soon it is ended when memory is short: -1000 (never) to 1000
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    oom_score_adj: Option<i64>,
    /// Processes it sees: its own, host, or container:NAME
    #[arg(long, value_name = "MODE")]
    pid: Option<String>,
    /// All capabilities and devices, and nothing of the kernel's interfaces hidden
    #[arg(long)]
    privileged: bool,
    /// Mount the root file system read-only
    #[arg(long)]
    read_only: bool,
    /// The runtime: corten, which also answers to runc
    #[arg(long, value_name = "NAME")]
    runtime: Option<String>,
    /// seccomp=unconfined, seccomp=FILE, no-new-privileges, systempaths=unconfined, apparmor=PROFILE
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// Size of /dev/shm, as in 64m
    #[arg(long, value_name = "SIZE", value_parser = size::bytes)]
    shm_size: Option<i64>,
    /// A kernel parameter of the container's own namespaces: NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE", value_parser = devices::pair)]
    sysctl: Vec<(String, String)>,
    /// A limit of its processes: NAME=SOFT[:HARD], as in nofile=1024:2048
    #[arg(long, value_name = "LIMIT", value_parser = ulimit::parse)]
    ulimit: Vec<ResourcesUlimits>,
    /// User namespace: host, remap for the ids of all containers that say so, auto for ids of its own [default: what
    /// the daemon says]
    #[arg(long, value_name = "MODE")]
    userns: Option<String>,
    /// Host name: its own, or host for the host's
    #[arg(long, value_name = "MODE")]
    uts: Option<String>,
    #[command(flatten)]
    refused: Refused,
}

/// Docker's flags that have no meaning here. They are known, so that the answer says why.
#[derive(Debug, Default, Args)]
struct Refused {
    #[arg(long, hide = true, value_name = "NUMBER")]
    cpu_count: Option<String>,
    #[arg(long, hide = true, value_name = "NUMBER")]
    cpu_percent: Option<String>,
    #[arg(long, hide = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disable_content_trust: Option<bool>,
    #[arg(long, hide = true, value_name = "SIZE")]
    io_maxbandwidth: Option<String>,
    #[arg(long, hide = true, value_name = "NUMBER")]
    io_maxiops: Option<String>,
    #[arg(long, hide = true, value_name = "KIND")]
    isolation: Option<String>,
    #[arg(long, hide = true, value_name = "SIZE")]
    kernel_memory: Option<String>,
    #[arg(long, hide = true, value_name = "NAME=VALUE")]
    storage_opt: Vec<String>,
    #[arg(long, hide = true)]
    use_api_socket: bool,
}

impl Refused {
    fn check(&self) -> Result<(), FlagError> {
        const WINDOWS: &str = "only Windows has it";
        let given = |flag: &Option<String>| flag.as_ref().is_some_and(|value| value != "0");
        let isolation = self.isolation.as_deref().is_some_and(|kind| !matches!(kind, "" | "default"));
        super::refuse(&[
            (given(&self.cpu_count), "--cpu-count", WINDOWS),
            (given(&self.cpu_percent), "--cpu-percent", WINDOWS),
            (self.disable_content_trust == Some(false), "--disable-content-trust=false", super::NO_NOTARY),
            (given(&self.io_maxbandwidth), "--io-maxbandwidth", WINDOWS),
            (given(&self.io_maxiops), "--io-maxiops", WINDOWS),
            (isolation, "--isolation", WINDOWS),
            (given(&self.kernel_memory), "--kernel-memory", "Linux has given this limit up; --memory counts it"),
            (!self.storage_opt.is_empty(), "--storage-opt", "writable layers have no quotas of their own"),
            (self.use_api_socket, "--use-api-socket", "it would give the container the host; mount the socket with -v"),
        ])
    }
}

impl IsolationFlags {
    /// The domain name, which Docker's model has beside the rest.
    pub(super) fn domainname(&self) -> Option<String> {
        self.domainname.clone()
    }

    /// Sets all of them in `host`.
    pub(super) fn apply(&self, host: HostConfig) -> Result<HostConfig, FlagError> {
        self.refused.check()?;
        Ok(self.apply_devices(self.apply_security(self.apply_namespaces(host))?))
    }

    fn apply_namespaces(&self, host: HostConfig) -> HostConfig {
        let sysctls: HashMap<String, String> = self.sysctl.iter().cloned().collect();
        HostConfig {
            cgroup_parent: self.cgroup_parent.clone(),
            cgroupns_mode: self.cgroupns.map(|mode| match mode {
                CgroupNamespace::Host => HostConfigCgroupnsModeEnum::HOST,
                CgroupNamespace::Private => HostConfigCgroupnsModeEnum::PRIVATE,
            }),
            group_add: some(&self.group_add),
            ipc_mode: self.ipc.clone(),
            memory_swappiness: self.memory_swappiness,
            oom_kill_disable: self.oom_kill_disable.then_some(true),
            oom_score_adj: self.oom_score_adj,
            pid_mode: self.pid.clone(),
            runtime: self.runtime.clone(),
            shm_size: self.shm_size,
            sysctls: (!sysctls.is_empty()).then_some(sysctls),
            ulimits: some(&ulimit::last_of_each(&self.ulimit)),
            userns_mode: self.userns.clone(),
            uts_mode: self.uts.clone(),
            ..host
        }
    }

    fn apply_security(&self, host: HostConfig) -> Result<HostConfig, FlagError> {
        let options = self.security_opt.iter().map(|text| security::option(text)).collect::<Result<Vec<_>, _>>()?;
        let unconfined = options.iter().any(|option| option == security::SYSTEM_PATHS);
        // Docker's clients write it in fields of their own.
        let options: Vec<String> = options.into_iter().filter(|option| option != security::SYSTEM_PATHS).collect();
        Ok(HostConfig {
            cap_add: some(&self.cap_add),
            cap_drop: some(&self.cap_drop),
            masked_paths: unconfined.then(Vec::new),
            readonly_paths: unconfined.then(Vec::new),
            privileged: Some(self.privileged),
            readonly_rootfs: Some(self.read_only),
            security_opt: some(&options),
            ..host
        })
    }

    fn apply_devices(&self, host: HostConfig) -> HostConfig {
        let mut mappings: Vec<DeviceMapping> = Vec::new();
        let mut vendors = Vec::new();
        for device in &self.device {
            match device {
                Device::File(mapping) => mappings.push(mapping.clone()),
                Device::Vendor(name) => vendors.push(name.clone()),
            }
        }
        let mut requests: Vec<DeviceRequest> = self.gpus.iter().cloned().collect();
        if !vendors.is_empty() {
            let (driver, device_ids) = (Some("cdi".to_owned()), Some(vendors));
            requests.push(DeviceRequest { driver, device_ids, ..DeviceRequest::default() });
        }
        HostConfig {
            blkio_weight_device: some(&self.blkio_weight_device),
            blkio_device_read_bps: some(&self.device_read_bps),
            blkio_device_read_iops: some(&self.device_read_iops),
            blkio_device_write_bps: some(&self.device_write_bps),
            blkio_device_write_iops: some(&self.device_write_iops),
            devices: some(&mappings),
            device_cgroup_rules: some(&self.device_cgroup_rule),
            device_requests: some(&requests),
            ..host
        }
    }
}

fn some<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}
