// SPDX-License-Identifier: Apache-2.0
//! Namespaces, kernel parameters, limits of the process, and what of `/proc` and `/sys` is kept from a container.

use std::collections::HashMap;
use std::path::Path;

use oci::OciSpecError;
use oci::runtime_spec as rt;

use super::{defaults, mount};
use crate::error::EngineError;
use crate::request::{CgroupNamespace, ContainerSpec, IpcMode, NetworkMode, PidMode, Security, Ulimit};
use crate::surroundings::Surroundings;
use crate::userns::{IdRange, UserNamespace};

/// The namespaces that are made for the container, and those that it joins.
pub(super) fn namespaces(wish: &ContainerSpec, around: &Surroundings) -> Result<Vec<rt::LinuxNamespace>, EngineError> {
    use rt::LinuxNamespaceType as Kind;
    let isolation = &wish.isolation;
    let all = [
        (Kind::Pid, isolation.pid != PidMode::Host),
        (Kind::Mount, true),
        (Kind::Uts, !isolation.host_uts),
        (Kind::Ipc, isolation.ipc != IpcMode::Host),
        (Kind::Cgroup, isolation.cgroup_namespace == CgroupNamespace::Private),
        (Kind::Network, wish.network != NetworkMode::Host),
        (Kind::User, around.user_namespace.is_some()),
    ];
    let mut namespaces = Vec::with_capacity(all.len());
    for (kind, _) in all.into_iter().filter(|(_, wanted)| *wanted) {
        let mut namespace = rt::LinuxNamespaceBuilder::default().typ(kind).build().map_err(EngineError::Spec)?;
        let joined = around.joined.iter().find(|joined| joined.kind == kind).map(|joined| joined.path.clone());
        let own = around.user_namespace.as_ref().filter(|_| kind == Kind::User).map(UserNamespace::path);
        namespace.set_path(joined.or(own));
        namespaces.push(namespace);
    }
    Ok(namespaces)
}

/// Which ids of the host the container's are, for users and for groups.
pub(super) fn mappings(ids: IdRange) -> Result<(rt::LinuxIdMapping, rt::LinuxIdMapping), OciSpecError> {
    let mapping =
        |outside| rt::LinuxIdMappingBuilder::default().container_id(0_u32).host_id(outside).size(ids.count).build();
    Ok((mapping(ids.uid)?, mapping(ids.gid)?))
}

/// Kernel parameters: the user's. Those that every container has in a network namespace of its own, as in Docker since
/// 20.10 (low ports and ping need no privilege there), the namespace was given when it was made.
pub(super) fn sysctls(wish: &ContainerSpec) -> Option<HashMap<String, String>> {
    let all: HashMap<String, String> = wish.isolation.sysctls.clone().into_iter().collect();
    (!all.is_empty()).then_some(all)
}

/// What of `/proc` and `/sys` is hidden, and what is read-only.
pub(super) fn protected_paths(security: &Security) -> (Vec<String>, Vec<String>) {
    let choose = |own: &Option<Vec<String>>, usual: &[&str]| match own {
        Some(own) => own.clone(),
        None if security.privileged => Vec::new(),
        None => usual.iter().map(|&path| path.to_owned()).collect(),
    };
    (choose(&security.masked_paths, defaults::MASKED_PATHS), choose(&security.readonly_paths, defaults::READONLY_PATHS))
}

/// The options of one of the mounts that every container has, for this one; `None` when it has none there.
pub(super) fn default_mount(
    wish: &ContainerSpec,
    around: &Surroundings,
    (destination, kind, source, options): (&str, &str, &str, &[&str]),
) -> Result<Option<rt::Mount>, EngineError> {
    let mut options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
    let security = &wish.security;
    match destination {
        "/sys" if security.privileged => writable(&mut options),
        "/sys/fs/cgroup" if security.privileged || security.writable_cgroups => writable(&mut options),
        "/dev/shm" => return shared_memory(wish, around, options),
        // In a user namespace the host's is bound, where it has one.
        "/dev/mqueue" if around.no_queues => return Ok(None),
        "/proc" => {
            if let Some(path) = around.user_namespace.as_ref().and_then(UserNamespace::procfs) {
                options.push("bind".to_owned());
                return mount(destination, "bind", &path, options).map(Some);
            }
        }
        "/sys" => {
            if let Some(path) = around.user_namespace.as_ref().and_then(UserNamespace::sysfs) {
                options.push("bind".to_owned());
                return mount(destination, "bind", &path, options).map(Some);
            }
        }
        _ => {}
    }
    mount(destination, kind, Path::new(source), options).map(Some)
}

fn writable(options: &mut Vec<String>) {
    options.retain(|option| option != "ro");
    options.push("rw".to_owned());
}

fn shared_memory(
    wish: &ContainerSpec,
    around: &Surroundings,
    mut options: Vec<String>,
) -> Result<Option<rt::Mount>, EngineError> {
    if wish.isolation.ipc == IpcMode::None {
        return Ok(None);
    }
    if let Some(source) = &around.shared_memory {
        return mount("/dev/shm", "bind", source, vec!["rbind".to_owned(), "rprivate".to_owned()]).map(Some);
    }
    options.retain(|option| !option.starts_with("size="));
    options.push(format!("size={}", wish.isolation.shm_size.unwrap_or(defaults::SHM_SIZE)));
    mount("/dev/shm", "tmpfs", Path::new("shm"), options).map(Some)
}

/// The limits of a process, in the specification's words.
pub(super) fn rlimits(ulimits: &[Ulimit]) -> Result<Option<Vec<rt::PosixRlimit>>, EngineError> {
    let number = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    let one = |limit: &Ulimit| {
        let kind = rlimit_type(&limit.name).ok_or_else(|| unknown_limit(&limit.name))?;
        let built = rt::PosixRlimitBuilder::default().typ(kind).soft(number(limit.soft)).hard(number(limit.hard));
        built.build().map_err(EngineError::Spec)
    };
    let all = ulimits.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    Ok((!all.is_empty()).then_some(all))
}

/// The answer to a limit that does not exist.
pub(crate) fn unknown_limit(name: &str) -> EngineError {
    EngineError::invalid("--ulimit", format!("{name:?} is no limit: getrlimit(2) lists them, as in nofile"))
}

/// The limit of this name.
pub(crate) fn rlimit_type(name: &str) -> Option<rt::PosixRlimitType> {
    use rt::PosixRlimitType as Kind;
    Some(match name {
        "as" => Kind::RlimitAs,
        "core" => Kind::RlimitCore,
        "cpu" => Kind::RlimitCpu,
        "data" => Kind::RlimitData,
        "fsize" => Kind::RlimitFsize,
        "locks" => Kind::RlimitLocks,
        "memlock" => Kind::RlimitMemlock,
        "msgqueue" => Kind::RlimitMsgqueue,
        "nice" => Kind::RlimitNice,
        "nofile" => Kind::RlimitNofile,
        "nproc" => Kind::RlimitNproc,
        "rss" => Kind::RlimitRss,
        "rtprio" => Kind::RlimitRtprio,
        "rttime" => Kind::RlimitRttime,
        "sigpending" => Kind::RlimitSigpending,
        "stack" => Kind::RlimitStack,
        _ => return None,
    })
}
