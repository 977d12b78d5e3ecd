// SPDX-License-Identifier: Apache-2.0
//! The engine and its host, as Docker's clients read it; of limits that the host lacks a warning for each.

use std::collections::HashMap;

use api_types::docker::{
    Commit, DeviceInfo, FirewallInfo, IndexInfo, LocalNodeState, PluginsInfo, RegistryServiceConfig, Runtime,
    SwarmInfo, SystemInfo, SystemInfoCgroupDriverEnum, SystemInfoCgroupVersionEnum, SystemInfoDefaultAddressPools,
    SystemInfoIsolationEnum,
};
use engine::{HostLimits, Info, Registries};
use jiff::Timestamp;
use serde_json::Value;

use super::from_store;

/// Docker's registry, by the address that its clients keep logins under.
const INDEX_SERVER: &str = "https://index.docker.io/v1/";
/// The same by its name.
const HUB: &str = "docker.io";
/// Addresses of this machine: registries there may be spoken to without TLS.
const LOOPBACK: [&str; 2] = ["::1/128", "127.0.0.0/8"];
/// This version of this program, which is its own runtime and init.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The answer of `GET /info`.
pub(crate) fn info(info: Info) -> SystemInfo {
    let count = |number: usize| i64::try_from(number).ok();
    // The hybrid layout has its controllers in v1.
    let unified = info.cgroups["mode"].as_str().is_some_and(|mode| mode.eq_ignore_ascii_case("v2"));
    let answer = SystemInfo {
        id: Some(info.id.clone()),
        containers: count(info.containers),
        containers_running: count(info.running),
        containers_paused: count(info.paused),
        containers_stopped: count(info.stopped),
        images: count(info.images),
        driver: Some(text(&info.snapshotter["driver"])),
        driver_status: Some(status(&info)),
        docker_root_dir: Some(info.data_root.clone()),
        logging_driver: Some(info.log_driver.clone()),
        n_events_listener: count(info.listeners),
        nfd: count(info.descriptors),
        n_goroutines: count(info.tasks),
        system_time: Some(Timestamp::now().to_string()),
        plugins: Some(PluginsInfo {
            volume: Some(vec!["local".to_owned()]),
            network: Some(["bridge", "host", "null"].map(str::to_owned).to_vec()),
            log: Some(info.log_drivers.iter().map(|name| (*name).to_owned()).collect()),
            authorization: None,
        }),
        cgroup_driver: Some(SystemInfoCgroupDriverEnum::CGROUPFS),
        cgroup_version: Some(if unified { SystemInfoCgroupVersionEnum::_2 } else { SystemInfoCgroupVersionEnum::_1 }),
        ipv4_forwarding: Some(info.forwards),
        kernel_version: Some(info.kernel.clone()),
        operating_system: Some(info.system.name.clone()),
        os_version: Some(info.system.version.clone()),
        architecture: Some(info.architecture.clone()),
        ncpu: count(info.cpus),
        mem_total: i64::try_from(info.memory).ok(),
        name: Some(info.hostname.clone()),
        http_proxy: Some(info.proxies.http.clone()),
        https_proxy: Some(info.proxies.https.clone()),
        no_proxy: Some(info.proxies.none.clone()),
        registry_config: Some(registries(&info.registries)),
        default_address_pools: pools(&info),
        ..always()
    };
    limits(&info, answer)
}

/// What is so on every host.
fn always() -> SystemInfo {
    let commit = |id: &str| Some(Commit { id: Some(id.to_owned()) });
    SystemInfo {
        debug: Some(false),
        experimental_build: Some(false),
        isolation: Some(SystemInfoIsolationEnum::EMPTY),
        init_binary: Some("docker-init".into()),
        index_server_address: Some(INDEX_SERVER.into()),
        os_type: Some("linux".into()),
        server_version: Some(VERSION.into()),
        default_runtime: Some("corten".into()),
        live_restore_enabled: Some(true),
        // There is no containerd.
        containerd_commit: commit(""),
        runc_commit: commit(VERSION),
        init_commit: commit(VERSION),
        firewall_backend: Some(FirewallInfo { driver: Some("nftables".into()), info: None }),
        swarm: Some(SwarmInfo {
            node_id: Some(String::new()),
            node_addr: Some(String::new()),
            local_node_state: Some(LocalNodeState::INACTIVE),
            control_available: Some(false),
            error: Some(String::new()),
            ..SwarmInfo::default()
        }),
        ..SystemInfo::default()
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Names and values about the store, the control groups and the network.
fn status(info: &Info) -> Vec<Vec<String>> {
    let mut status = Vec::new();
    for pair in info.snapshotter["status"].as_array().into_iter().flatten() {
        status.push(vec![text(&pair[0]), text(&pair[1])]);
    }
    for (area, facts) in [("Cgroup", &info.cgroups), ("Network", &info.network)] {
        for (name, value) in facts.as_object().into_iter().flatten() {
            let list = value.as_array().map(|list| list.iter().map(text).collect::<Vec<_>>().join(" "));
            status.push(vec![format!("{area} {}", name.replace('_', " ")), list.unwrap_or_else(|| text(value))]);
        }
    }
    status.extend(info.room.iter().flat_map(from_store::room));
    status.extend(info.remapped_to.iter().map(|ids| vec!["User namespace ids".to_owned(), ids.clone()]));
    status
}

/// Which registries are reached how: Docker's own with its mirrors, and those that may be spoken to without TLS.
fn registries(registries: &Registries) -> RegistryServiceConfig {
    let mirror = |place: &String| {
        let host = place.split('/').next().unwrap_or(place);
        let scheme = if registries.insecure.iter().any(|insecure| insecure == host) { "http" } else { "https" };
        format!("{scheme}://{place}/")
    };
    let mirrors: Vec<String> = registries.mirrors.iter().map(mirror).collect();
    let index = |name: &str, mirrors: &[String], secure: bool| {
        let index = IndexInfo {
            name: Some(name.to_owned()),
            mirrors: Some(mirrors.to_vec()),
            secure: Some(secure),
            official: Some(name == HUB),
        };
        (name.to_owned(), index)
    };
    let insecure = registries.insecure.iter().map(|name| index(name, &[], false));
    RegistryServiceConfig {
        insecure_registry_cidrs: Some(LOOPBACK.map(str::to_owned).to_vec()),
        index_configs: Some(insecure.chain([index(HUB, &mirrors, true)]).collect()),
        mirrors: Some(mirrors),
    }
}

/// Where subnets come from, where that was chosen.
fn pools(info: &Info) -> Option<Vec<SystemInfoDefaultAddressPools>> {
    let pools = info
        .address_pools
        .iter()
        .map(|pool| SystemInfoDefaultAddressPools { base: Some(pool.base.to_string()), size: Some(pool.size.into()) });
    Some(pools.collect::<Vec<_>>()).filter(|pools| !pools.is_empty())
}

/// The names that the one runtime answers to.
const RUNTIMES: [&str; 3] = ["corten", "runc", "io.containerd.runc.v2"];

/// Completes `answer` by which limits the host has.
fn limits(info: &Info, answer: SystemInfo) -> SystemInfo {
    let limits = info.limits;
    // The hybrid layout has its controllers in v1.
    let v1 = !info.cgroups["mode"].as_str().is_some_and(|mode| mode.eq_ignore_ascii_case("v2"));
    let mut warnings: Vec<String> =
        missing(limits, v1).into_iter().map(|what| format!("WARNING: No {what} support")).collect();
    warnings.extend(info.warnings.iter().cloned());
    let device = |id: &String| DeviceInfo { source: Some("cdi".to_owned()), id: Some(id.clone()) };
    SystemInfo {
        memory_limit: Some(limits.memory),
        swap_limit: Some(limits.swap != Some(false)),
        oom_kill_disable: Some(limits.oom_kill_disable),
        cpu_cfs_period: Some(limits.cpu_quota),
        cpu_cfs_quota: Some(limits.cpu_quota),
        cpu_shares: Some(limits.cpu_shares),
        cpu_set: Some(limits.cpuset),
        pids_limit: Some(limits.pids),
        security_options: Some(security(info.remaps)),
        runtimes: Some(
            RUNTIMES
                .map(|name| (name.to_owned(), Runtime { path: Some("corten".to_owned()), ..Runtime::default() }))
                .into_iter()
                .collect::<HashMap<_, _>>(),
        ),
        labels: Some(info.labels.clone()),
        cdi_spec_dirs: Some(info.device_dirs.clone()),
        discovered_devices: Some(info.devices.iter().map(device).collect()),
        warnings: (!warnings.is_empty()).then_some(warnings),
        ..answer
    }
}

fn security(remaps: bool) -> Vec<String> {
    let mut options = vec!["name=seccomp,profile=builtin", "name=cgroupns"];
    options.extend(remaps.then_some("name=userns"));
    options.into_iter().map(str::to_owned).collect()
}

/// What the host lacks, in the words that Docker's users know from its warnings.
fn missing(limits: HostLimits, v1: bool) -> Vec<&'static str> {
    let all = [
        (limits.memory, "memory limit"),
        (!limits.memory || limits.swap != Some(false), "swap limit"),
        // v2 has no such thing, which is nothing to be warned of.
        (!v1 || limits.oom_kill_disable, "oom kill disable"),
        (limits.cpu_quota, "cpu cfs quota"),
        (limits.cpu_quota, "cpu cfs period"),
        (limits.cpu_shares, "cpu shares"),
        (limits.cpuset, "cpuset"),
        (limits.pids, "pids limit"),
        (limits.io_weight, if v1 { "blkio weight" } else { "io.weight" }),
        (limits.io_throttle, if v1 { "blkio throttle" } else { "io.max" }),
    ];
    all.into_iter().filter(|(has, _)| !has).map(|(_, what)| what).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_told_with_their_mirrors_and_without_tls() {
        let known = Registries {
            insecure: vec!["registry.example:5000".into()],
            mirrors: vec!["mirror.example".into()],
            ..Registries::default()
        };
        let told = registries(&known);
        assert_eq!(told.mirrors.unwrap(), ["https://mirror.example/"]);
        let indexes = told.index_configs.unwrap();
        let (hub, other) = (&indexes["docker.io"], &indexes["registry.example:5000"]);
        assert_eq!((hub.secure, hub.official, hub.mirrors.as_deref().unwrap().len()), (Some(true), Some(true), 1));
        assert_eq!((other.secure, other.official, other.mirrors.as_deref()), (Some(false), Some(false), Some(&[][..])));
    }

    #[test]
    fn what_is_missing_is_told_in_dockers_words() {
        let all = HostLimits {
            memory: true,
            swap: Some(true),
            swappiness: true,
            oom_kill_disable: true,
            cpu_quota: true,
            cpu_shares: true,
            cpu_realtime: true,
            cpuset: true,
            pids: true,
            io_weight: true,
            io_throttle: true,
        };
        assert!(missing(all, true).is_empty());
        let less = HostLimits { swap: Some(false), oom_kill_disable: false, io_weight: false, ..all };
        assert_eq!(missing(less, true), ["swap limit", "oom kill disable", "blkio weight"]);
        assert_eq!(missing(less, false), ["swap limit", "io.weight"]);
        assert!(missing(HostLimits { swap: None, ..all }, false).is_empty(), "nothing tells whether it is there");
    }
}
