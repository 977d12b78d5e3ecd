// SPDX-License-Identifier: Apache-2.0
//! A container's record as Docker's clients read it.

mod mounts;

use std::collections::HashMap;
use std::fmt::Display;
use std::net::IpAddr;

use api_types::docker::{
    ContainerConfig, ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, ContainerSummary,
    ContainerSummaryHostConfig, ContainerSummaryNetworkSettings, ContainerSummaryStateEnum, EndpointIpamConfig,
    EndpointSettings, HostConfig, HostConfigLogConfig, NetworkSettings, PortBinding, PortMap, PortSummary,
    PortSummaryTypeEnum, RestartPolicy as DockerRestart, RestartPolicyNameEnum, RootFsStorage, RootFsStorageSnapshot,
    Storage,
};
use api_types::human_duration;
use engine::{LogChoice, Place, Record, RestartPolicy, Running, Size, State};
use jiff::Timestamp;
use network::{MacAddress, Protocol};

use super::from_image::bytes;
use super::{from_host, naming};

mod health;

pub(crate) use health::{findings, wishes as check_wishes};

/// What a container's files are put together by, in the words of Docker's.
const DRIVER: &str = "overlay";
/// Docker's word for a time that has not come.
pub(super) const NEVER: &str = "0001-01-01T00:00:00Z";

/// Adds to a container how large it is.
pub(crate) fn add_size_to_one(container: &mut ContainerInspectResponse, size: Size) {
    container.size_rw = Some(bytes(size.writable));
    container.size_root_fs = Some(bytes(size.root));
}

/// Adds to a container of a list how large it is.
pub(crate) fn add_size(summary: &mut ContainerSummary, size: Size) {
    summary.size_rw = Some(bytes(size.writable));
    summary.size_root_fs = Some(bytes(size.root));
}

/// All about a container, whose log is at `log_path`, and in which `execs` have not ended.
pub(crate) fn inspect(record: &Record, log_path: String, execs: Vec<String>) -> ContainerInspectResponse {
    let (path, args) = record.process.args.split_first().map_or(("", &[][..]), |(path, args)| (path.as_str(), args));
    let snapshot = RootFsStorageSnapshot { name: Some(DRIVER.into()) };
    ContainerInspectResponse {
        id: Some(record.id.to_string()),
        created: Some(record.created.to_string()),
        path: Some(path.to_owned()),
        args: Some(args.to_vec()),
        state: Some(ContainerState { health: health::state(record), ..state(&record.state) }),
        image: Some(record.image_id.to_string()),
        log_path: Some(log_path),
        name: Some(format!("/{}", record.name)),
        exec_ids: Some(execs).filter(|execs| !execs.is_empty()),
        restart_count: Some(record.restarts.into()),
        driver: Some(DRIVER.into()),
        app_armor_profile: record.spec.security.apparmor.clone(),
        storage: Some(Storage { root_fs: Some(RootFsStorage { snapshot: Some(snapshot) }) }),
        platform: Some("linux".into()),
        host_config: Some(host_config(record)),
        mounts: Some(mounts::points(record)),
        config: Some(config(record)),
        network_settings: Some(NetworkSettings {
            ports: Some(record.state.running().map(published).unwrap_or_default()),
            networks: Some(networks(record)),
            ..NetworkSettings::default()
        }),
        ..ContainerInspectResponse::default()
    }
}

/// The hardware address that was wished for the network that a container was created in.
pub(crate) fn wished_mac(record: &Record) -> Option<String> {
    let wish = record.spec.endpoints.get(&record.spec.network.docker())?;
    Some(wish.mac?.to_string())
}

fn state(state: &State) -> ContainerState {
    let running = state.running();
    let exited = state.exited();
    let started = running.map(|running| running.started).or_else(|| exited.and_then(|exited| exited.started));
    let time = |time: Option<Timestamp>| time.map_or_else(|| NEVER.to_owned(), |time| time.to_string());
    ContainerState {
        status: Some(match state {
            State::Created => ContainerStateStatusEnum::CREATED,
            State::Running(running) if running.paused => ContainerStateStatusEnum::PAUSED,
            State::Running(_) => ContainerStateStatusEnum::RUNNING,
            State::Restarting(_) => ContainerStateStatusEnum::RESTARTING,
            State::Exited(_) => ContainerStateStatusEnum::EXITED,
        }),
        // One that is about to be started again runs, as Docker counts.
        running: Some(state.is_active()),
        paused: Some(running.is_some_and(|running| running.paused)),
        restarting: Some(matches!(state, State::Restarting(_))),
        oom_killed: Some(exited.is_some_and(|exited| exited.oom_killed)),
        dead: Some(false),
        pid: Some(running.map_or(0, |running| running.pid.into())),
        exit_code: Some(exited.map_or(0, |exited| exited.code.into())),
        error: Some(exited.and_then(|exited| exited.error.clone()).unwrap_or_default()),
        started_at: Some(time(started)),
        finished_at: Some(time(exited.map(|exited| exited.finished))),
        health: None,
    }
}

fn config(record: &Record) -> ContainerConfig {
    let (spec, process) = (&record.spec, &record.process);
    ContainerConfig {
        domainname: Some(spec.isolation.domainname.clone().unwrap_or_default()),
        hostname: Some(spec.hostname.clone().unwrap_or_else(|| record.id.short().to_owned())),
        user: Some(process.user.clone()),
        attach_stdin: Some(spec.stdin_once),
        exposed_ports: Some(process.exposed.clone()).filter(|ports| !ports.is_empty()),
        tty: Some(spec.tty),
        open_stdin: Some(spec.open_stdin),
        stdin_once: Some(spec.stdin_once),
        env: Some(process.env.clone()),
        cmd: spec.command.clone(),
        entrypoint: spec.entrypoint.clone(),
        image: Some(spec.image.clone()),
        volumes: mounts::declared(record),
        working_dir: Some(process.cwd.clone()),
        labels: Some(process.labels.clone().into_iter().collect()),
        stop_signal: spec.stop_signal.clone(),
        stop_timeout: spec.stop_timeout.map(i64::from),
        healthcheck: process.health.as_ref().map(health::check),
        shell: Some(process.shell.clone()).filter(|shell| !shell.is_empty()),
        ..ContainerConfig::default()
    }
}

fn host_config(record: &Record) -> HostConfig {
    let spec = &record.spec;
    let mut ports = PortMap::new();
    for port in &spec.ports {
        let binding = PortBinding {
            host_ip: Some(port.host_ip.map(|ip| ip.to_string()).unwrap_or_default()),
            host_port: Some(port.host_ports().unwrap_or_default()),
        };
        let key = format!("{}/{}", port.container_port, port.protocol);
        ports.entry(key).or_default().get_or_insert_default().push(binding);
    }
    let mut host = HostConfig {
        port_bindings: Some(ports),
        network_mode: Some(spec.network.docker()),
        auto_remove: Some(spec.auto_remove),
        log_config: Some(log_config(&spec.log)),
        restart_policy: Some(restart_policy(spec.restart)),
        init: spec.init,
        annotations: annotations(record),
        publish_all_ports: Some(spec.publish_all),
        console_size: spec.console_size.map(|(rows, columns)| vec![rows.into(), columns.into()]),
        ..HostConfig::default()
    };
    mounts::wishes(record, &mut host);
    naming::show(&spec.naming, &mut host);
    from_host::fill(spec, host)
}

fn annotations(record: &Record) -> Option<HashMap<String, String>> {
    let annotations = &record.spec.annotations;
    (!annotations.is_empty()).then(|| annotations.clone().into_iter().collect())
}

fn log_config(log: &LogChoice) -> HostConfigLogConfig {
    // Containers of older versions do not say it.
    let driver = if log.driver.is_empty() { "json-file" } else { &log.driver };
    HostConfigLogConfig { typ: Some(driver.to_owned()), config: Some(log.options.clone().into_iter().collect()) }
}

fn restart_policy(policy: RestartPolicy) -> DockerRestart {
    let (name, most) = match policy {
        RestartPolicy::No => (RestartPolicyNameEnum::NO, None),
        // Docker's model has no other word; see `Wish`.
        RestartPolicy::OnFailure { most } | RestartPolicy::Unhealthy { most } => {
            (RestartPolicyNameEnum::ON_FAILURE, most)
        }
        RestartPolicy::Always => (RestartPolicyNameEnum::ALWAYS, None),
        RestartPolicy::UnlessStopped => (RestartPolicyNameEnum::UNLESS_STOPPED, None),
    };
    DockerRestart { name: Some(name), maximum_retry_count: Some(most.unwrap_or(0).into()) }
}

fn networks(record: &Record) -> HashMap<String, EndpointSettings> {
    record.places().into_iter().map(|place| (place.name.to_owned(), place_settings(place))).collect()
}

/// The same with every field in it: readers of lists take them to be there.
fn listed_networks(record: &Record) -> HashMap<String, EndpointSettings> {
    let whole = |place: EndpointSettings| EndpointSettings {
        ipam_config: Some(place.ipam_config.unwrap_or_default()),
        driver_opts: Some(place.driver_opts.unwrap_or_default()),
        links: Some(place.links.unwrap_or_default()),
        aliases: Some(place.aliases.unwrap_or_default()),
        dns_names: Some(place.dns_names.unwrap_or_default()),
        ..place
    };
    networks(record).into_iter().map(|(name, place)| (name, whole(place))).collect()
}

fn place_settings(place: Place<'_>) -> EndpointSettings {
    fn text(address: Option<impl Display>) -> String {
        address.map(|address| address.to_string()).unwrap_or_default()
    }
    let (wish, endpoint) = (place.wish, place.endpoint);
    let ipv6 = endpoint.and_then(|endpoint| endpoint.ipv6);
    let some = |list: &Vec<String>| Some(list.clone()).filter(|list| !list.is_empty());
    EndpointSettings {
        ipam_config: wish.filter(|wish| wish.address.is_some() || wish.ipv6.is_some()).map(|wish| EndpointIpamConfig {
            ipv4_address: wish.address.map(|address| address.to_string()),
            ipv6_address: wish.ipv6.map(|address| address.to_string()),
            ..EndpointIpamConfig::default()
        }),
        driver_opts: wish
            .map(|wish| wish.driver_opts.clone().into_iter().collect::<HashMap<_, _>>())
            .filter(|options| !options.is_empty()),
        ipv6_gateway: Some(text(ipv6.and_then(|ipv6| ipv6.gateway))),
        global_ipv6_address: Some(text(ipv6.map(|ipv6| ipv6.address))),
        global_ipv6_prefix_len: Some(ipv6.map_or(0, |ipv6| ipv6.prefix.into())),
        links: wish.and_then(|wish| some(&wish.links)),
        aliases: wish.and_then(|wish| some(&wish.aliases)),
        gw_priority: Some(wish.map_or(0, |wish| wish.gw_priority)),
        mac_address: Some(match endpoint {
            Some(endpoint) => MacAddress(endpoint.mac).to_string(),
            None => wish.and_then(|wish| wish.mac).map(|mac| mac.to_string()).unwrap_or_default(),
        }),
        network_id: Some(place.network.to_string()),
        endpoint_id: Some(place.endpoint_id),
        gateway: Some(text(endpoint.and_then(|endpoint| endpoint.gateway))),
        ip_address: Some(text(endpoint.map(|endpoint| endpoint.address))),
        ip_prefix_len: Some(endpoint.map_or(0, |endpoint| endpoint.prefix.into())),
        dns_names: Some(place.dns_names).filter(|names| !names.is_empty()),
    }
}

fn published(running: &Running) -> PortMap {
    let mut ports = PortMap::new();
    for port in running.ports() {
        let binding =
            |ip: IpAddr| PortBinding { host_ip: Some(ip.to_string()), host_port: Some(port.host_port.to_string()) };
        let key = format!("{}/{}", port.container_port, port.protocol);
        let bindings = port.host_addresses().into_iter().map(binding);
        ports.entry(key).or_default().get_or_insert_default().extend(bindings);
    }
    ports
}

/// A container as `ps` lists it.
pub(crate) fn summary(record: &Record, now: Timestamp) -> ContainerSummary {
    let running = record.state.running();
    ContainerSummary {
        id: Some(record.id.to_string()),
        names: Some(vec![format!("/{}", record.name)]),
        image: Some(record.spec.image.clone()),
        image_id: Some(record.image_id.to_string()),
        command: Some(record.process.args.join(" ")),
        created: Some(record.created.as_second()),
        ports: Some(port_summaries(record, running)),
        labels: Some(record.process.labels.clone().into_iter().collect()),
        state: Some(match &record.state {
            State::Created => ContainerSummaryStateEnum::CREATED,
            State::Running(running) if running.paused => ContainerSummaryStateEnum::PAUSED,
            State::Running(_) => ContainerSummaryStateEnum::RUNNING,
            State::Restarting(_) => ContainerSummaryStateEnum::RESTARTING,
            State::Exited(_) => ContainerSummaryStateEnum::EXITED,
        }),
        status: Some(health::status(status(&record.state, now), record)),
        health: Some(health::summary(record)),
        host_config: Some(ContainerSummaryHostConfig {
            network_mode: Some(record.spec.network.docker()),
            annotations: annotations(record),
        }),
        network_settings: Some(ContainerSummaryNetworkSettings { networks: Some(listed_networks(record)) }),
        mounts: Some(mounts::points(record)),
        ..ContainerSummary::default()
    }
}

/// `Up 5 minutes`, `Up 5 minutes (Paused)`, `Restarting (1) 2 seconds ago`, `Exited (0) 2 hours ago`, `Created`.
fn status(state: &State, now: Timestamp) -> String {
    let since = |then: Timestamp| human_duration(u64::try_from(now.as_second() - then.as_second()).unwrap_or(0));
    match state {
        State::Created => "Created".to_owned(),
        State::Running(running) if running.paused => format!("Up {} (Paused)", since(running.started)),
        State::Running(running) => format!("Up {}", since(running.started)),
        State::Restarting(exited) => format!("Restarting ({}) {} ago", exited.code, since(exited.finished)),
        State::Exited(exited) => format!("Exited ({}) {} ago", exited.code, since(exited.finished)),
    }
}

fn port_summaries(record: &Record, running: Option<&Running>) -> Vec<PortSummary> {
    let kind = |protocol: Protocol| match protocol {
        Protocol::Tcp => PortSummaryTypeEnum::TCP,
        Protocol::Udp => PortSummaryTypeEnum::UDP,
    };
    let Some(running) = running else { return Vec::new() };
    let mut ports: Vec<PortSummary> = running
        .ports()
        .flat_map(|port| port.host_addresses().into_iter().map(move |ip| (port, ip)))
        .map(|(port, ip)| PortSummary {
            ip: Some(ip.to_string()),
            private_port: port.container_port,
            public_port: Some(port.host_port),
            typ: Some(kind(port.protocol)),
        })
        .collect();
    for exposed in &record.process.exposed {
        let (port, protocol) = exposed.split_once('/').unwrap_or((exposed, "tcp"));
        let typ = if protocol == "udp" { PortSummaryTypeEnum::UDP } else { PortSummaryTypeEnum::TCP };
        let Ok(private_port) = port.parse() else { continue };
        let is_published = ports.iter().any(|port| port.private_port == private_port && port.typ == Some(typ));
        if !is_published {
            ports.push(PortSummary { ip: None, private_port, public_port: None, typ: Some(typ) });
        }
    }
    ports
}

#[cfg(test)]
mod tests;
