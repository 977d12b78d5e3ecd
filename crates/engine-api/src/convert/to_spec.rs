// SPDX-License-Identifier: Apache-2.0
//! Docker's wish for a container, or for a process in one, in the engine's words.

mod mounts;

use api_types::docker::{
    ContainerConfig, ContainerCreateBody, ContainerUpdateBody, ExecConfig, HealthConfig, HostConfig,
    HostConfigLogConfig, PortBinding, PortMap, RestartPolicy as DockerRestart, RestartPolicyNameEnum,
};
use api_types::{CheckRequest, MountChangeRequest, Wish};
use engine::{Changes, Checks, ContainerSpec, ExecSpec, HealthCheck, LogChoice, NetworkMode, RestartPolicy};
use image::Overrides;
use network::{PortMapping, Protocol};

pub(crate) use mounts::{IDMAP, check_driver};

use super::{endpoints, naming, refuse, to_host};
use crate::error::ApiError;

/// The container that `body` asks for.
pub(crate) fn container(wish: Wish<ContainerCreateBody>, name: Option<String>) -> Result<ContainerSpec, ApiError> {
    let Wish { docker: body, restart_unhealthy, publish_when_ready, checks: wanted, mount_changes, .. } = wish;
    if mount_changes != MountChangeRequest::default() {
        return Err(ApiError::invalid(
            "CortenMounts",
            "is for a container that there is: POST /containers/{id}/update",
        ));
    }
    refuse::unsupported(&body)?;
    let host = body.host_config.unwrap_or_default();
    let text = |field: Option<String>| field.filter(|text| !text.is_empty());
    let stop_timeout = body.stop_timeout.map(|seconds| {
        u32::try_from(seconds).map_err(|_| ApiError::invalid("StopTimeout", "must be a number of seconds, 0 or more"))
    });
    let network = NetworkMode::from_docker(host.network_mode.as_deref().unwrap_or_default());
    let mut endpoints = endpoints::wishes(body.networking_config.as_ref())?;
    endpoints::link(host.links.as_deref().unwrap_or_default(), &network, &mut endpoints)?;
    Ok(ContainerSpec {
        image: text(body.image).ok_or_else(|| ApiError::invalid("Image", "no image was named"))?,
        name,
        command: body.cmd.filter(|command| !command.is_empty()),
        entrypoint: body.entrypoint.map(without_empty),
        env: body.env.unwrap_or_default(),
        working_dir: text(body.working_dir),
        user: text(body.user),
        hostname: text(body.hostname),
        labels: body.labels.unwrap_or_default().into_iter().collect(),
        annotations: host.annotations.clone().unwrap_or_default().into_iter().collect(),
        tty: body.tty.unwrap_or(false),
        open_stdin: body.open_stdin.unwrap_or(false),
        stdin_once: body.stdin_once.unwrap_or(false),
        console_size: console_size(host.console_size.as_deref()),
        stop_signal: text(body.stop_signal),
        stop_timeout: stop_timeout.transpose()?,
        mounts: mounts::mounts(&host, body.volumes.as_deref())?,
        volumes_from: mounts::volumes_from(&host)?,
        network,
        endpoints,
        ports: ports(host.port_bindings.as_ref())?,
        publish_all: host.publish_all_ports.unwrap_or(false),
        exposed: body.exposed_ports.unwrap_or_default(),
        naming: naming::naming(&host)?,
        resources: to_host::resources(&host)?,
        read_only: host.readonly_rootfs.unwrap_or(false),
        security: to_host::security(&host)?,
        isolation: to_host::isolation(&host, body.domainname)?,
        devices: to_host::devices(&host),
        cap_add: host.cap_add.unwrap_or_default(),
        cap_drop: host.cap_drop.unwrap_or_default(),
        init: host.init,
        auto_remove: host.auto_remove.unwrap_or(false),
        log: host.log_config.map(log_choice).unwrap_or_default(),
        restart: restart_policy(host.restart_policy.as_ref(), restart_unhealthy)?,
        health: body.healthcheck.map(health_check).transpose()?,
        checks: checks(wanted)?,
        publish_when_ready,
        client_start_ns: None,
    })
}

/// What `body` wants changed. Docker's clients send zeros for what stays.
pub(crate) fn changes(wish: Wish<ContainerUpdateBody>) -> Result<Changes, ApiError> {
    let Wish { docker: body, restart_unhealthy, mount_changes, .. } = wish;
    // The fields of both are the same, by name and by meaning.
    let text = serde_json::to_value(&body).map_err(|_| ApiError::invalid("body", "cannot be read"))?;
    let host: HostConfig = serde_json::from_value(text).map_err(ApiError::Body)?;
    refuse::unsupported(&ContainerCreateBody { host_config: Some(host.clone()), ..ContainerCreateBody::default() })?;
    refuse::limits_of_devices(&host)?;
    let restart = host.restart_policy.as_ref().filter(|policy| {
        policy.name.is_some_and(|name| name != RestartPolicyNameEnum::EMPTY)
            || policy.maximum_retry_count.unwrap_or(0) != 0
    });
    Ok(Changes {
        resources: to_host::resources(&host)?,
        restart: restart.map(|policy| restart_policy(Some(policy), restart_unhealthy)).transpose()?,
        mounts: mounts::changes(&mount_changes)?,
    })
}

/// `unhealthy`: what the body has as `on-failure` was called so.
fn restart_policy(policy: Option<&DockerRestart>, unhealthy: bool) -> Result<RestartPolicy, ApiError> {
    use RestartPolicyNameEnum as Name;
    let Some(DockerRestart { name, maximum_retry_count }) = policy else { return Ok(RestartPolicy::No) };
    let most = maximum_retry_count.filter(|count| *count != 0);
    let most = most.map(|count| u32::try_from(count).map_err(|_| too_large("RestartPolicy.MaximumRetryCount")));
    let most = most.transpose()?;
    match (name.unwrap_or(Name::EMPTY), most) {
        (Name::ON_FAILURE, most) if unhealthy => Ok(RestartPolicy::Unhealthy { most }),
        (Name::ON_FAILURE, most) => Ok(RestartPolicy::OnFailure { most }),
        (_, Some(_)) => {
            Err(ApiError::invalid("RestartPolicy.MaximumRetryCount", "needs the policy on-failure or unhealthy"))
        }
        (Name::EMPTY | Name::NO, None) => Ok(RestartPolicy::No),
        (Name::ALWAYS, None) => Ok(RestartPolicy::Always),
        (Name::UNLESS_STOPPED, None) => Ok(RestartPolicy::UnlessStopped),
    }
}

pub(super) fn health_check(check: HealthConfig) -> Result<HealthCheck, ApiError> {
    let times =
        [check.interval, check.timeout, check.start_period, check.start_interval].map(Option::unwrap_or_default);
    Ok(HealthCheck::from_docker(&check.test.unwrap_or_default(), times, check.retries.unwrap_or_default())?)
}

fn checks(wanted: CheckRequest) -> Result<Checks, ApiError> {
    let read = |check: Option<HealthConfig>| check.map(health_check).transpose();
    Ok(Checks { startup: read(wanted.startup)?, liveness: read(wanted.liveness)?, readiness: read(wanted.readiness)? })
}

/// What is left open is the daemon's default.
fn log_choice(config: HostConfigLogConfig) -> LogChoice {
    let options = config.config.unwrap_or_default().into_iter().collect();
    LogChoice { driver: config.typ.unwrap_or_default(), options }
}

/// The process that `config` asks for.
pub(crate) fn exec(config: ExecConfig) -> Result<ExecSpec, ApiError> {
    let text = |field: Option<String>| field.filter(|text| !text.is_empty());
    let is_set = |field: Option<bool>| field.unwrap_or(false);
    let (stdin, stdout, stderr) = (config.attach_stdin, config.attach_stdout, config.attach_stderr);
    Ok(ExecSpec {
        command: config.cmd.unwrap_or_default(),
        env: config.env.unwrap_or_default(),
        working_dir: text(config.working_dir),
        user: text(config.user),
        tty: is_set(config.tty),
        stdin: is_set(stdin),
        detach: !is_set(stdin) && !is_set(stdout) && !is_set(stderr),
        console_size: console_size(config.console_size.as_deref()),
        privileged: is_set(config.privileged),
        detach_keys: text(config.detach_keys),
    })
}

/// What an image that is made of a container shall have instead of the container's configuration.
pub(crate) fn new_image(config: ContainerConfig) -> Result<Overrides, ApiError> {
    if config.on_build.is_some_and(|list| !list.is_empty()) {
        return Err(ApiError::Unsupported("OnBuild: nothing here builds images that would run it, so this".to_owned()));
    }
    if config.shell.is_some_and(|list| !list.is_empty()) {
        return Err(ApiError::Unsupported("Shell in an image made of a container".to_owned()));
    }
    let text = |field: Option<String>| field.filter(|text| !text.is_empty());
    let list = |field: Option<Vec<String>>| field.filter(|list| !list.is_empty());
    let check = config.healthcheck.map(health_check).transpose()?;
    Ok(Overrides {
        user: text(config.user),
        env: list(config.env),
        entrypoint: list(config.entrypoint),
        cmd: list(config.cmd),
        working_dir: text(config.working_dir),
        stop_signal: text(config.stop_signal),
        labels: config.labels.unwrap_or_default().into_iter().collect(),
        exposed_ports: config.exposed_ports.unwrap_or_default(),
        volumes: config.volumes.unwrap_or_default(),
        healthcheck: check.map(|check| check.of_new_image()),
    })
}

/// `[""]` is how Docker's clients ask for no entrypoint.
fn without_empty(entrypoint: Vec<String>) -> Vec<String> {
    if entrypoint == [""] { Vec::new() } else { entrypoint }
}

/// Rows and columns; zeros are no size.
pub(crate) fn console_size(size: Option<&[usize]>) -> Option<(u16, u16)> {
    match *size? {
        [rows, cols] if rows > 0 && cols > 0 => Some((u16::try_from(rows).ok()?, u16::try_from(cols).ok()?)),
        _ => None,
    }
}

fn too_large(field: &'static str) -> ApiError {
    ApiError::invalid(field, "is out of range")
}

pub(crate) fn ports(bindings: Option<&PortMap>) -> Result<Vec<PortMapping>, ApiError> {
    // Docker's clients mean any port of the host by a list that has none.
    let any = [PortBinding::default()];
    let mut ports = Vec::new();
    for (container, hosts) in bindings.into_iter().flatten() {
        let invalid = || ApiError::invalid("PortBindings", format!("\"{container}\" is no port"));
        let (port, protocol) = container.split_once('/').unwrap_or((container, "tcp"));
        let container_port = port.parse().ok().filter(|port| *port != 0).ok_or_else(invalid)?;
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            other => return Err(ApiError::Unsupported(format!("publishing {other}"))),
        };
        for binding in hosts.as_deref().filter(|hosts| !hosts.is_empty()).unwrap_or(&any) {
            let host_ip = match binding.host_ip.as_deref().filter(|ip| !ip.is_empty()) {
                None => None,
                Some(ip) => {
                    Some(ip.parse().map_err(|_| ApiError::invalid("HostIp", format!("\"{ip}\" is no address")))?)
                }
            };
            let host =
                binding.host_port.as_deref().filter(|port| !matches!(*port, "" | "0")).map(host_port).transpose()?;
            let (host_port, host_port_last) = host.map_or((None, None), |(first, last)| (Some(first), last));
            ports.push(PortMapping { host_ip, host_port, host_port_last, container_port, protocol });
        }
    }
    // Docker's map has no order; errors and listings should.
    ports.sort_by_key(|port| (port.container_port, port.host_port));
    Ok(ports)
}

/// One port of the host's, or `FIRST-LAST`, of which a free one is meant.
fn host_port(text: &str) -> Result<(u16, Option<u16>), ApiError> {
    let problem = || ApiError::invalid("HostPort", format!("\"{text}\" is no port, and no range as in 8000-8010"));
    let Some((first, last)) = text.split_once('-') else {
        return Ok((text.parse().map_err(|_| problem())?, None));
    };
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) if 0 < first && first <= last => Ok((first, Some(last).filter(|last| *last != first))),
        _ => Err(problem()),
    }
}

#[cfg(test)]
mod tests;
