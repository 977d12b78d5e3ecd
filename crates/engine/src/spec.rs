// SPDX-License-Identifier: Apache-2.0
//! From what the user asked for to an OCI runtime specification. Pure: everything read from the host or the image comes
//! in through [`Inputs`].

mod additions;
mod capabilities;
pub(crate) mod defaults;
pub(crate) mod devices;
mod filter;
pub(crate) mod isolation;
mod resources;

use std::path::{Path, PathBuf};

use oci::runtime_spec as rt;

use crate::container::Record;
use crate::error::EngineError;
use crate::mount::Mount;
use crate::request::ContainerSpec;
use crate::rootfs::NETWORK_FILES;
use crate::surroundings::{Surroundings, images};
use crate::user::Identity;

pub(crate) use filter::{UsualFilter, for_shim, profile_of};
pub(crate) use resources::changed_limits;

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
    /// What of the host it is given.
    pub(crate) around: &'a Surroundings,
}

/// The runtime specification of a container, whole.
///
/// # Errors
/// A capability, mount option or seccomp profile that cannot be.
#[cfg(test)]
fn runtime_spec(inputs: &Inputs<'_>) -> Result<rt::Spec, EngineError> {
    let wish = &inputs.record.spec;
    let capabilities = granted_capabilities(wish)?;
    filter::with_filter(without_filter(inputs, &capabilities)?, &wish.security, &capabilities, inputs.kernel)
}

/// The runtime specification of a container with these capabilities, but for its system call filter.
fn without_filter(inputs: &Inputs<'_>, capabilities: &rt::Capabilities) -> Result<rt::Spec, EngineError> {
    let record = inputs.record;
    let wish = &record.spec;
    let process = process(inputs, capabilities)?;
    let linux = linux(inputs)?;
    let root = rt::RootBuilder::default().path("rootfs").readonly(wish.read_only).build().map_err(EngineError::Spec)?;
    let mut spec = rt::SpecBuilder::default()
        .version("1.2.0")
        .process(process)
        .root(root)
        .mounts(mounts(inputs)?)
        .linux(linux)
        .build()
        .map_err(EngineError::Spec)?;
    let own_names = !wish.isolation.host_uts;
    spec.set_hostname(own_names.then(|| inputs.hostname.to_owned()));
    spec.set_domainname(wish.isolation.domainname.clone().filter(|_| own_names));
    if !wish.annotations.is_empty() {
        spec.set_annotations(Some(wish.annotations.clone().into_iter().collect()));
    }
    additions::apply(&inputs.around.additions, &mut spec);
    Ok(spec)
}

/// The capabilities that a container's root has.
pub(crate) fn granted_capabilities(wish: &ContainerSpec) -> Result<rt::Capabilities, EngineError> {
    if wish.security.privileged {
        return Ok(all_capabilities());
    }
    capabilities::granted(&wish.cap_add, &wish.cap_drop)
}

/// Those of a privileged process.
pub(crate) fn all_capabilities() -> rt::Capabilities {
    capabilities::all()
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
    wish: &ContainerSpec,
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
        .no_new_privileges(wish.security.no_new_privileges)
        .build()
        .map_err(EngineError::Spec)?;
    process.set_rlimits(isolation::rlimits(&wish.isolation.ulimits)?);
    let score = i32::try_from(wish.isolation.oom_score_adj).ok();
    process.set_oom_score_adj(score.filter(|score| *score != 0));
    process.set_apparmor_profile(wish.security.apparmor.clone());
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
        &record.spec,
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

fn linux(inputs: &Inputs<'_>) -> Result<rt::Linux, EngineError> {
    let (wish, around) = (&inputs.record.spec, inputs.around);
    let mut resources = resources::resources(&wish.resources, &around.block).map_err(EngineError::Spec)?;
    resources.set_devices(Some(devices::rules(wish, around)?));
    let (masked, read_only) = isolation::protected_paths(&wish.security);
    let mut linux = rt::LinuxBuilder::default()
        .namespaces(isolation::namespaces(wish, around)?)
        .cgroups_path(PathBuf::from(inputs.cgroup))
        .resources(resources)
        .masked_paths(masked)
        .readonly_paths(read_only)
        .build()
        .map_err(EngineError::Spec)?;
    if let Some(namespace) = &around.user_namespace {
        let (users, groups) = isolation::mappings(namespace.ids).map_err(EngineError::Spec)?;
        linux.set_uid_mappings(Some(vec![users])).set_gid_mappings(Some(vec![groups]));
    }
    linux.set_devices(devices::files(around).map_err(EngineError::Spec)?);
    linux.set_sysctl(isolation::sysctls(wish));
    Ok(linux)
}

fn mounts(inputs: &Inputs<'_>) -> Result<Vec<rt::Mount>, EngineError> {
    let own = inputs.record.mounts();
    let mut mounts = Vec::with_capacity(16);
    for usual in defaults::MOUNTS {
        if !own.iter().any(|own| own.target().trim_end_matches('/') == usual.0) {
            mounts.extend(isolation::default_mount(&inputs.record.spec, inputs.around, usual)?);
        }
    }
    for name in NETWORK_FILES {
        let destination = format!("/etc/{name}");
        if !own.iter().any(|own| own.target() == destination) {
            let mut options = vec!["bind".to_owned(), "rprivate".to_owned()];
            options.extend(with_own_ids(inputs.around));
            mounts.push(mount(&destination, "bind", &inputs.dir.join(name), options)?);
        }
    }
    for device in &inputs.around.devices {
        if let Some(source) = devices::bound(inputs.around, device) {
            let options = vec!["bind".to_owned(), "nosuid".to_owned(), "noexec".to_owned()];
            mounts.push(mount(&device.path.to_string_lossy(), "bind", source, options)?);
        }
    }
    for own in own {
        mounts.push(user_mount(own, inputs.around)?);
    }
    Ok(mounts)
}

/// The option of a mount whose files are to be the container's: what is root's on the disk is its root's.
fn with_own_ids(around: &Surroundings) -> Option<String> {
    around.user_namespace.as_ref().map(|_| "idmap".to_owned())
}

/// A mount of the user's, as the runtime makes it.
pub(crate) fn user_mount(own: &Mount, around: &Surroundings) -> Result<rt::Mount, EngineError> {
    match own {
        Mount::Bind { source, target, read_only, propagation, options: own, .. } => {
            let mut options = vec![if own.non_recursive { "bind" } else { "rbind" }.to_owned()];
            if *read_only {
                options.push(if own.read_only_non_recursive { "ro" } else { "rro" }.to_owned());
            }
            options.push(propagation.clone().unwrap_or_else(|| "rprivate".to_owned()));
            options.extend(with_own_ids(around).filter(|_| own.idmap));
            mount(target, "bind", source, options)
        }
        Mount::Volume(volume) => {
            let mut options = vec!["rbind".to_owned()];
            if volume.read_only {
                options.push("rro".to_owned());
            }
            options.push(volume.propagation.clone().unwrap_or_else(|| "rprivate".to_owned()));
            options.extend(with_own_ids(around));
            let part = around.subpaths.iter().find(|part| part.target == volume.target);
            mount(&volume.target, "bind", part.map_or(&volume.source, |part| &part.path), options)
        }
        Mount::Image(image) => {
            let options = ["rbind", "rro", "rprivate"].map(str::to_owned).to_vec();
            mount(&image.target, "bind", &images::place(&around.images, image), options)
        }
        Mount::Tmpfs { target, options, .. } => {
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
