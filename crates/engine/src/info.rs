// SPDX-License-Identifier: Apache-2.0
//! What this engine and its host are, for `info`; and what a host cannot give a container, for warnings.

mod host;

use logging::{Driver, LogChoice};
use serde::Serialize;

pub use self::host::{ProxyNames, System};
use crate::container::State;
use crate::fit::HostLimits;
use crate::request::Resources;
use crate::{AddressPool, Engine, Registries, Room};

/// The engine and its host.
#[derive(Debug, Clone, Serialize)]
pub struct Info {
    /// What this engine was called when its data root was made.
    pub id: String,
    /// Containers that exist.
    pub containers: usize,
    /// Containers that run.
    pub running: usize,
    /// How many of them stand still.
    pub paused: usize,
    /// Containers that have ended.
    pub stopped: usize,
    /// Images.
    pub images: usize,
    /// The kernel's release.
    pub kernel: String,
    /// The machine's architecture, as the kernel calls it.
    pub architecture: String,
    /// The host's name.
    pub hostname: String,
    /// The host's system.
    #[serde(skip)]
    pub system: System,
    /// Whether the host hands on packets of IPv4.
    pub forwards: bool,
    /// Descriptors that this process has open.
    pub descriptors: usize,
    /// What goes on in this process at once.
    pub tasks: usize,
    /// By which proxies registries are reached.
    #[serde(skip)]
    pub proxies: ProxyNames,
    /// How registries are reached.
    #[serde(skip)]
    pub registries: Registries,
    /// Where networks' subnets come from, where that was chosen.
    #[serde(skip)]
    pub address_pools: Vec<AddressPool>,
    /// Processors.
    pub cpus: usize,
    /// Bytes of memory.
    pub memory: u64,
    /// How control groups are mounted, and which controllers there are.
    pub cgroups: serde_json::Value,
    /// How layers are kept and mounted.
    pub snapshotter: serde_json::Value,
    /// Which limits the kernel has.
    #[serde(skip)]
    pub limits: HostLimits,
    /// Devices that can be asked for by their vendors' names.
    pub devices: Vec<String>,
    /// Where these are described.
    pub device_dirs: Vec<String>,
    /// The bridge network.
    pub network: serde_json::Value,
    /// How the disk's room is looked after; `None` if that cannot be found out, of which a warning tells.
    #[serde(skip)]
    pub room: Option<Room>,
    /// Where output of containers goes that do not say it.
    pub log_driver: String,
    /// The log drivers there are.
    pub log_drivers: Vec<&'static str>,
    /// Whether containers are in user namespaces unless they say otherwise.
    pub remaps: bool,
    /// Which ids of the host these have.
    pub remapped_to: Option<String>,
    /// Where the state is.
    pub data_root: String,
    /// Where shims are.
    pub exec_root: String,
    /// How many hear its events.
    pub listeners: usize,
    /// Labels of this engine.
    pub labels: Vec<String>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

impl Engine {
    /// The engine and its host, as they are now.
    pub fn info(&self) -> Info {
        let name = rustix::system::uname();
        let records = self.list(true);
        let count = |wanted: fn(&State) -> bool| records.iter().filter(|record| wanted(&record.state)).count();
        let memory = rustix::system::sysinfo();
        let (devices, mut warnings) = self.described_devices();
        let room = self.room().map_err(|error| warnings.push(errors::chain(&error))).ok();
        let describe = |value: Result<serde_json::Value, serde_json::Error>| value.unwrap_or_default();
        Info {
            id: self.id.clone(),
            containers: records.len(),
            running: count(|state| state.running().is_some_and(|running| !running.paused)),
            paused: count(|state| state.running().is_some_and(|running| running.paused)),
            stopped: count(|state| state.running().is_none()),
            images: self.images().list().map_or(0, |images| images.len()),
            kernel: name.release().to_string_lossy().into_owned(),
            architecture: name.machine().to_string_lossy().into_owned(),
            hostname: name.nodename().to_string_lossy().into_owned(),
            system: System::of_host(),
            forwards: host::forwards(),
            descriptors: host::open_descriptors(),
            tasks: self.handle.metrics().num_alive_tasks(),
            proxies: ProxyNames::of_environment(),
            registries: self.config.registries.clone(),
            address_pools: self.config.bridge_layout.address_pools.clone(),
            cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory: memory.totalram.saturating_mul(u64::from(memory.mem_unit)),
            cgroups: describe(serde_json::to_value(self.cgroups.describe())),
            snapshotter: describe(serde_json::to_value(self.layers.describe())),
            limits: HostLimits::of(&self.cgroups),
            devices,
            device_dirs: self.config.cdi_dirs.iter().map(|dir| dir.display().to_string()).collect(),
            network: describe(serde_json::to_value(self.network.describe())),
            room,
            log_driver: LogChoice::default().or(&self.config.log).driver,
            log_drivers: Driver::names().collect(),
            remaps: self.remaps(),
            remapped_to: self.remapped_to(),
            data_root: self.config.data_root.display().to_string(),
            exec_root: self.config.exec_root.display().to_string(),
            listeners: self.events.listeners(),
            labels: self.config.labels.clone(),
            warnings,
        }
    }

    /// What of a wish for swap this host cannot give.
    pub(crate) fn swap_warnings(&self, wish: &Resources) -> Vec<String> {
        if wish.memory_swap.is_none() || self.cgroups.swap_limit() != Some(false) {
            return Vec::new();
        }
        vec!["this kernel has no swap accounting: --memory-swap is not enforced".to_owned()]
    }
}
