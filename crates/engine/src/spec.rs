// SPDX-License-Identifier: Apache-2.0
//! From what the user asked for to an OCI runtime specification. Pure: everything read from the host or the image comes
//! in through [`Inputs`].

mod capabilities;
mod defaults;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use oci::OciSpecError;
use oci::runtime_spec as rt;

use crate::container::Record;
use crate::error::EngineError;
use crate::request::{ContainerSpec, Mount, NetworkMode, Resources, SeccompChoice};
use crate::user::Identity;

/// What the specification depends on beside the record.
pub(crate) struct Inputs<'a> {
    /// The container.
    pub(crate) record: &'a Record,
    /// Its user, looked up in the image.
    pub(crate) identity: &'a Identity,
    /// The directory that holds the generated `hosts`, `hostname` and `resolv.conf`.
    pub(crate) dir: &'a Path,
    /// Its host name.
    pub(crate) hostname: &'a str,
    /// Its control group.
    pub(crate) cgroup: &'a str,
    /// The kernel's major and minor version, which some seccomp rules depend on.
    pub(crate) kernel: (u32, u32),
}

/// The runtime specification of a container.
///
/// # Errors
/// A capability, mount option or seccomp profile that cannot be.
pub(crate) fn runtime_spec(inputs: &Inputs<'_>) -> Result<rt::Spec, EngineError> {
    let record = inputs.record;
    let wish = &record.spec;
    let capabilities = granted_capabilities(wish)?;
    let seccomp = seccomp_profile(&wish.security.seccomp, &capabilities, inputs.kernel)?;
    let process = process(inputs, &capabilities)?;
    let linux = linux(inputs, seccomp)?;
    let root = rt::RootBuilder::default().path("rootfs").readonly(wish.read_only).build().map_err(EngineError::Spec)?;
    rt::SpecBuilder::default()
        .version("1.2.0")
        .process(process)
        .root(root)
        .hostname(inputs.hostname)
        .mounts(mounts(inputs)?)
        .linux(linux)
        .build()
        .map_err(EngineError::Spec)
}

/// The capabilities that a container's root has.
pub(crate) fn granted_capabilities(wish: &ContainerSpec) -> Result<rt::Capabilities, EngineError> {
    capabilities::granted(&wish.cap_add, &wish.cap_drop)
}

/// The name the container calls itself.
pub(crate) fn hostname(record: &Record) -> String {
    record.spec.hostname.clone().unwrap_or_else(|| record.id.short().to_owned())
}

/// A process of the container: its first one, or an exec's.
pub(crate) fn process_of(
    args: &[String],
    env: Vec<String>,
    cwd: &str,
    identity: &Identity,
    tty: Option<Option<(u16, u16)>>,
    capabilities: &rt::Capabilities,
    no_new_privileges: bool,
) -> Result<rt::Process, EngineError> {
    let user = rt::UserBuilder::default()
        .uid(identity.uid)
        .gid(identity.gid)
        .additional_gids(identity.groups.clone())
        .build()
        .map_err(EngineError::Spec)?;
    let mut process = rt::ProcessBuilder::default()
        .terminal(tty.is_some())
        .user(user)
        .args(args.to_vec())
        .env(env)
        .cwd(cwd)
        .capabilities(capabilities::effective(capabilities, identity.uid).map_err(EngineError::Spec)?)
        .no_new_privileges(no_new_privileges)
        .build()
        .map_err(EngineError::Spec)?;
    process.set_rlimits(None);
    if let Some(Some((rows, columns))) = tty {
        let size = rt::BoxBuilder::default().height(u64::from(rows)).width(u64::from(columns)).build();
        process.set_console_size(Some(size.map_err(EngineError::Spec)?));
    }
    Ok(process)
}

fn process(inputs: &Inputs<'_>, capabilities: &rt::Capabilities) -> Result<rt::Process, EngineError> {
    let record = inputs.record;
    let mut env = record.process.env.clone();
    complete_env(&mut env, inputs.hostname, inputs.identity, record.spec.tty);
    if let (Some(start), true) =
        (record.spec.client_start_ns, record.process.labels.contains_key("corten.client-start"))
    {
        env.push(format!("CORTEN_CLIENT_START_NS={start}"));
    }
    process_of(
        &record.process.args,
        env,
        &record.process.cwd,
        inputs.identity,
        record.spec.tty.then_some(record.spec.console_size),
        capabilities,
        record.spec.security.no_new_privileges,
    )
}

/// Adds what Docker adds when nobody set it: `PATH`, `HOSTNAME`, `TERM` for a terminal, `HOME`.
pub(crate) fn complete_env(env: &mut Vec<String>, hostname: &str, identity: &Identity, tty: bool) {
    let mut add = |name: &str, value: &str| {
        if !env.iter().any(|entry| entry.split('=').next() == Some(name)) {
            env.push(format!("{name}={value}"));
        }
    };
    add("PATH", defaults::PATH);
    add("HOSTNAME", hostname);
    if tty {
        add("TERM", "xterm");
    }
    add("HOME", &identity.home);
}

fn linux(inputs: &Inputs<'_>, seccomp: Option<rt::LinuxSeccomp>) -> Result<rt::Linux, EngineError> {
    let wish = &inputs.record.spec;
    let mut linux = rt::LinuxBuilder::default()
        .namespaces(namespaces(&wish.network)?)
        .cgroups_path(PathBuf::from(inputs.cgroup))
        .resources(resources(&wish.resources).map_err(EngineError::Spec)?)
        .masked_paths(defaults::MASKED_PATHS.map(str::to_owned))
        .readonly_paths(defaults::READONLY_PATHS.map(str::to_owned))
        .build()
        .map_err(EngineError::Spec)?;
    linux.set_seccomp(seccomp);
    linux.set_devices(None);
    linux.set_sysctl(match wish.network {
        NetworkMode::Host | NetworkMode::Container(_) => None,
        // The namespace is the container's own: low ports and ping need no privilege in it, as in Docker since 20.10.
        NetworkMode::Bridge | NetworkMode::None | NetworkMode::User(_) => {
            Some(HashMap::from(defaults::NETWORK_SYSCTLS.map(|(name, value)| (name.to_owned(), value.to_owned()))))
        }
    });
    Ok(linux)
}

fn namespaces(network: &NetworkMode) -> Result<Vec<rt::LinuxNamespace>, EngineError> {
    use rt::LinuxNamespaceType as Kind;
    let mut kinds = vec![Kind::Pid, Kind::Mount, Kind::Uts, Kind::Ipc, Kind::Cgroup];
    if *network != NetworkMode::Host {
        kinds.push(Kind::Network);
    }
    kinds
        .into_iter()
        .map(|kind| rt::LinuxNamespaceBuilder::default().typ(kind).build().map_err(EngineError::Spec))
        .collect()
}

fn resources(wish: &Resources) -> Result<rt::LinuxResources, OciSpecError> {
    let mut resources = rt::LinuxResources::default();
    resources.set_devices(Some(defaults::device_rules()?));
    if wish.memory.is_some() || wish.memory_swap.is_some() || wish.memory_reservation.is_some() {
        let mut memory = rt::LinuxMemory::default();
        memory.set_limit(wish.memory);
        memory.set_swap(wish.memory_swap);
        memory.set_reservation(wish.memory_reservation);
        resources.set_memory(Some(memory));
    }
    if wish.nano_cpus.is_some() || wish.cpu_shares.is_some() || wish.cpuset_cpus.is_some() {
        let mut cpu = rt::LinuxCpu::default();
        if let Some(nano) = wish.nano_cpus {
            cpu.set_period(Some(defaults::CPU_PERIOD_US));
            cpu.set_quota(Some(nano.saturating_mul(defaults::CPU_PERIOD_US as i64) / 1_000_000_000));
        }
        cpu.set_shares(wish.cpu_shares);
        cpu.set_cpus(wish.cpuset_cpus.clone());
        resources.set_cpu(Some(cpu));
    }
    if let Some(limit) = wish.pids_limit.filter(|&limit| limit > 0) {
        resources.set_pids(Some(rt::LinuxPidsBuilder::default().limit(limit).build()?));
    }
    Ok(resources)
}

/// The limits of a running container that `changed` names, in the company that they have in `all`: memory and swap, quota
/// and period go together.
pub(crate) fn changed_limits(changed: &Resources, all: &Resources) -> Result<rt::LinuxResources, EngineError> {
    let pick = |is_changed: bool| if is_changed { all.clone() } else { Resources::default() };
    let has_memory = changed.memory.is_some() || changed.memory_swap.is_some() || changed.memory_reservation.is_some();
    let (memory, cpu) = (pick(has_memory), pick(changed.nano_cpus.is_some()));
    let wish = Resources {
        memory: memory.memory,
        memory_swap: memory.memory_swap,
        memory_reservation: memory.memory_reservation,
        nano_cpus: cpu.nano_cpus,
        cpu_shares: changed.cpu_shares,
        cpuset_cpus: changed.cpuset_cpus.clone(),
        pids_limit: changed.pids_limit,
    };
    let mut limits = resources(&wish).map_err(EngineError::Spec)?;
    limits.set_devices(None);
    if changed.pids_limit.is_some_and(|limit| limit <= 0) {
        limits.set_pids(Some(rt::LinuxPidsBuilder::default().limit(-1).build().map_err(EngineError::Spec)?));
    }
    Ok(limits)
}

fn seccomp_profile(
    choice: &SeccompChoice,
    capabilities: &rt::Capabilities,
    kernel: (u32, u32),
) -> Result<Option<rt::LinuxSeccomp>, EngineError> {
    let names = capabilities.iter().map(|capability| format!("CAP_{capability}")).collect();
    match choice {
        SeccompChoice::Unconfined => Ok(None),
        SeccompChoice::Default => Ok(Some(seccomp::default_profile(&names, kernel))),
        SeccompChoice::Profile(json) => seccomp::parse_docker_profile(json, &names, kernel)
            .map(Some)
            .map_err(|error| EngineError::Seccomp(errors::chain(&error))),
    }
}

fn mounts(inputs: &Inputs<'_>) -> Result<Vec<rt::Mount>, EngineError> {
    let wish = &inputs.record.spec;
    let mut mounts = Vec::with_capacity(16);
    for (destination, kind, source, options) in defaults::MOUNTS {
        if !wish.mounts.iter().any(|own| own.target().trim_end_matches('/') == destination) {
            mounts.push(mount(destination, kind, Path::new(source), options.iter().map(|&o| o.to_owned()).collect())?);
        }
    }
    for name in ["resolv.conf", "hostname", "hosts"] {
        let destination = format!("/etc/{name}");
        if !wish.mounts.iter().any(|own| own.target() == destination) {
            let options = vec!["bind".to_owned(), "rprivate".to_owned()];
            mounts.push(mount(&destination, "bind", &inputs.dir.join(name), options)?);
        }
    }
    for own in &wish.mounts {
        mounts.push(user_mount(own)?);
    }
    Ok(mounts)
}

fn user_mount(own: &Mount) -> Result<rt::Mount, EngineError> {
    match own {
        Mount::Bind { source, target, read_only, propagation, .. } => {
            let mut options = vec!["rbind".to_owned()];
            if *read_only {
                options.push("rro".to_owned());
            }
            options.push(propagation.clone().unwrap_or_else(|| "rprivate".to_owned()));
            mount(target, "bind", source, options)
        }
        Mount::Tmpfs { target, options } => {
            let mut all: Vec<String> = ["noexec", "nosuid", "nodev"].map(str::to_owned).to_vec();
            for option in options {
                match option.as_str() {
                    "exec" | "suid" | "dev" => all.retain(|kept| *kept != format!("no{option}")),
                    _ => all.push(option.clone()),
                }
            }
            mount(target, "tmpfs", Path::new("tmpfs"), all)
        }
    }
}

fn mount(destination: &str, kind: &str, source: &Path, options: Vec<String>) -> Result<rt::Mount, EngineError> {
    rt::MountBuilder::default()
        .destination(destination)
        .typ(kind)
        .source(source)
        .options(options)
        .build()
        .map_err(EngineError::Spec)
}

#[cfg(test)]
mod tests;
