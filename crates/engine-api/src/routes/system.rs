// SPDX-License-Identifier: Apache-2.0
//! The daemon and its host.

use std::sync::Arc;

use api_types::docker::{
    LocalNodeState, PluginsInfo, SwarmInfo, SystemInfo, SystemInfoCgroupDriverEnum, SystemInfoCgroupVersionEnum,
    SystemInfoIsolationEnum, SystemVersion, SystemVersionComponents, SystemVersionPlatform,
};
use api_types::{API_VERSION, MIN_API_VERSION};
use axum::Json;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, HeaderName, PRAGMA};
use axum::response::{IntoResponse, Response};
use engine::Engine;
use jiff::Timestamp;

use crate::convert::{by_version, from_info, from_store};
use crate::error::ApiError;
use crate::version::Version;

/// Docker's registry, by the address that its clients keep logins under.
const INDEX_SERVER: &str = "https://index.docker.io/v1/";

/// What this node is to a swarm, by Docker's word.
const SWARM: HeaderName = HeaderName::from_static("swarm");

/// What Go calls this machine.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

pub(crate) async fn ping() -> impl IntoResponse {
    let headers = [(SWARM, "inactive"), (CACHE_CONTROL, "no-cache, no-store, must-revalidate"), (PRAGMA, "no-cache")];
    (headers, "OK")
}

pub(crate) async fn version(State(engine): State<Arc<Engine>>) -> Json<SystemVersion> {
    let version = env!("CARGO_PKG_VERSION");
    let kernel = engine.info().kernel;
    // Newer clients look only here.
    let details = [
        ("ApiVersion", API_VERSION),
        ("MinAPIVersion", MIN_API_VERSION),
        ("Os", "linux"),
        ("Arch", architecture()),
        ("KernelVersion", &kernel),
    ];
    Json(SystemVersion {
        platform: Some(SystemVersionPlatform { name: "Corten".into() }),
        components: Some(vec![SystemVersionComponents {
            name: "Engine".into(),
            version: version.into(),
            details: Some(details.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
        }]),
        version: Some(version.into()),
        api_version: Some(API_VERSION.into()),
        min_api_version: Some(MIN_API_VERSION.into()),
        os: Some("linux".into()),
        arch: Some(architecture().into()),
        kernel_version: Some(kernel.clone()),
        ..SystemVersion::default()
    })
}

pub(crate) async fn info(State(engine): State<Arc<Engine>>, version: Version) -> Result<Response, ApiError> {
    let info = engine.info();
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
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
    let limits = from_info::limits(&info, SystemInfo::default());
    // The hybrid layout has its controllers in v1.
    let unified = info.cgroups["mode"].as_str().is_some_and(|mode| mode.eq_ignore_ascii_case("v2"));
    let info = SystemInfo {
        containers: count(info.containers),
        containers_running: count(info.running),
        containers_paused: count(info.paused),
        containers_stopped: count(info.stopped),
        images: count(info.images),
        driver: Some(text(&info.snapshotter["driver"])),
        driver_status: Some(status),
        docker_root_dir: Some(info.data_root),
        logging_driver: Some(info.log_driver),
        // Nothing else is told of these, and clients expect them to be there.
        debug: Some(false),
        experimental_build: Some(false),
        ipv4_forwarding: Some(true),
        isolation: Some(SystemInfoIsolationEnum::EMPTY),
        init_binary: Some("docker-init".into()),
        index_server_address: Some(INDEX_SERVER.into()),
        n_events_listener: count(info.listeners),
        system_time: Some(Timestamp::now().to_string()),
        plugins: Some(PluginsInfo {
            volume: Some(vec!["local".to_owned()]),
            network: Some(["bridge", "host", "null"].map(str::to_owned).to_vec()),
            log: Some(info.log_drivers.into_iter().map(str::to_owned).collect()),
            authorization: None,
        }),
        cgroup_driver: Some(SystemInfoCgroupDriverEnum::CGROUPFS),
        cgroup_version: Some(if unified { SystemInfoCgroupVersionEnum::_2 } else { SystemInfoCgroupVersionEnum::_1 }),
        kernel_version: Some(info.kernel),
        operating_system: Some("Linux".into()),
        os_type: Some("linux".into()),
        architecture: Some(info.architecture),
        ncpu: count(info.cpus),
        mem_total: i64::try_from(info.memory).ok(),
        name: Some(info.hostname),
        server_version: Some(env!("CARGO_PKG_VERSION").into()),
        default_runtime: Some("corten".into()),
        live_restore_enabled: Some(true),
        swarm: Some(SwarmInfo {
            node_id: Some(String::new()),
            node_addr: Some(String::new()),
            local_node_state: Some(LocalNodeState::INACTIVE),
            control_available: Some(false),
            error: Some(String::new()),
            ..SwarmInfo::default()
        }),
        ..limits
    };
    by_version::answer(version, info, by_version::info)
}

fn count(number: usize) -> Option<i64> {
    i64::try_from(number).ok()
}
