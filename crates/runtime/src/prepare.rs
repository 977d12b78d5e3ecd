// SPDX-License-Identifier: Apache-2.0
//! What the launcher does before there is a child: everything that can be looked up, opened or computed.

use std::collections::HashSet;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cgroup::{Cgroup, CgroupPath, Host, Mode};
use oci::ContainerId;
use oci::runtime_spec::{LinuxDeviceCgroup, LinuxDeviceType, LinuxResources, LinuxSeccomp, Process, Spec};
use rustix::fs::OFlags;
use rustix::io::Errno;
use serde_json::value::RawValue;
use sys::exec::StringList;
use sys::process::CloneFlags;

use crate::apply::mounts::host_tree;
use crate::apply::{Filter, Program};
use crate::error::LaunchError;
use crate::filters::{Filters, Key};
use crate::id_map;
use crate::launch::Stdio;
use crate::plan::{
    Caller, CgroupHierarchy, MountOperation, MountSource, NamespaceSource, Operation, Plan, PlanError, RootSource,
    SYS_ADMIN, check_apart, sysctl_path,
};

/// The host's cgroup hierarchies, found once per process.
pub(crate) fn cgroup_host() -> Result<&'static Host, LaunchError> {
    static HOST: OnceLock<Host> = OnceLock::new();
    if let Some(host) = HOST.get() {
        return Ok(host);
    }
    let host = Host::probe()?;
    Ok(HOST.get_or_init(|| host))
}

/// The name of the cgroup above those of containers whose configuration does not say where theirs is.
pub(crate) const CGROUP_PARENT: &str = "corten";

/// Where the container's cgroup is: `linux.cgroupsPath`, or `/corten/<id>`.
pub(crate) fn cgroup_path(spec: &Spec, id: &ContainerId) -> Result<CgroupPath, LaunchError> {
    let given = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
    let text = match given.map(|path| path.to_string_lossy()).filter(|path| !path.is_empty()) {
        Some(path) if path.starts_with('/') => path.into_owned(),
        Some(path) => format!("/{path}"),
        None => format!("/{CGROUP_PARENT}/{id}"),
    };
    text.parse().map_err(LaunchError::CgroupPath)
}

/// Makes the container's cgroup with its limits, of the one that was made `ahead` if that is where it is to be.
pub(crate) fn make_cgroup(spec: &Spec, id: &ContainerId, ahead: &mut Option<Cgroup>) -> Result<Cgroup, LaunchError> {
    let (host, path, resources) = (cgroup_host()?, cgroup_path(spec, id)?, resources(spec));
    if let Some(ahead) = ahead.take_if(|ahead| *ahead.path() == path) {
        // Somebody may have removed it in the meantime. It is made anew then, and that says what cannot be.
        if let Ok(cgroup) = host.complete(ahead, resources.as_ref()) {
            return Ok(cgroup);
        }
    }
    Ok(host.create(&path, resources.as_ref())?)
}

/// What [`make_cgroup`] would do.
pub(crate) fn preview_cgroup(spec: &Spec, id: &ContainerId) -> Result<cgroup::Preview, LaunchError> {
    Ok(cgroup_host()?.preview(&cgroup_path(spec, id)?, resources(spec).as_ref())?)
}

/// The container's limits.
pub(crate) fn resources(spec: &Spec) -> Option<LinuxResources> {
    spec.linux().as_ref().and_then(|linux| linux.resources().clone()).map(with_default_devices)
}

/// Every container may use the devices it is given by default, whatever the rules before say (runtime specification,
/// "Default Devices"): making any device file, the six devices themselves, and terminals.
fn with_default_devices(mut resources: LinuxResources) -> LinuxResources {
    const CHARACTER: [(Option<i64>, Option<i64>, &str); 9] = [
        (None, None, "m"),
        (Some(1), Some(3), "rwm"),
        (Some(1), Some(5), "rwm"),
        (Some(1), Some(7), "rwm"),
        (Some(1), Some(8), "rwm"),
        (Some(1), Some(9), "rwm"),
        (Some(5), Some(0), "rwm"),
        (Some(5), Some(2), "rwm"),
        (Some(136), None, "rwm"),
    ];
    let rule = |kind, major: Option<i64>, minor: Option<i64>, access: &str| {
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(true).set_typ(Some(kind)).set_major(major).set_minor(minor).set_access(Some(access.into()));
        rule
    };
    if let Some(devices) = resources.devices().clone().filter(|devices| !devices.is_empty()) {
        let character = CHARACTER.map(|(major, minor, access)| rule(LinuxDeviceType::C, major, minor, access));
        let block = rule(LinuxDeviceType::B, None, None, "m");
        resources.set_devices(Some(devices.into_iter().chain(character).chain([block]).collect()));
    }
    resources
}

/// The hierarchies that a `cgroup` mount of this spec would show; not looked at when there is no such mount.
pub(crate) fn hierarchies(spec: &Spec) -> Result<Vec<CgroupHierarchy>, LaunchError> {
    let wanted = spec.mounts().iter().flatten().any(|mount| mount.typ().as_deref() == Some("cgroup"));
    if !wanted || cgroup_host()?.mode() == Mode::V2 {
        return Ok(Vec::new());
    }
    mounted_hierarchies().map(<[CgroupHierarchy]>::to_vec)
}

/// All hierarchies of the host, found once per process.
pub(crate) fn mounted_hierarchies() -> Result<&'static [CgroupHierarchy], LaunchError> {
    static FOUND: OnceLock<Vec<CgroupHierarchy>> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return Ok(found);
    }
    let found = own_cgroups()?.into_iter().map(|(hierarchy, _)| hierarchy).collect();
    Ok(FOUND.get_or_init(|| found))
}

/// Each hierarchy, and the path of this process's cgroup in it.
pub(crate) fn own_cgroups() -> Result<Vec<(CgroupHierarchy, String)>, LaunchError> {
    const PATH: &str = "/proc/self/cgroup";
    let text = std::fs::read_to_string(PATH).map_err(|error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        sys::Error::new(format!("read({PATH:?})"), errno)
    })?;
    Ok(parse_hierarchies(&text))
}

/// The host's directory for the cgroup `path` of a hierarchy. In the child this uses what the launcher found.
pub(crate) fn host_cgroup(hierarchy: &CgroupHierarchy, path: &str) -> Option<PathBuf> {
    cgroup_host().ok()?.place(&hierarchy.names(), path)
}

/// Reads `/proc/self/cgroup` (cgroups(7)): each hierarchy, and the process's path in it.
pub(crate) fn parse_hierarchies(text: &str) -> Vec<(CgroupHierarchy, String)> {
    let mut found: Vec<_> = text
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let hierarchy = match controllers.strip_prefix("name=") {
                Some(name) => CgroupHierarchy { controllers: Vec::new(), name: Some(name.into()) },
                None => CgroupHierarchy {
                    controllers: controllers.split(',').filter(|name| !name.is_empty()).map(String::from).collect(),
                    name: None,
                },
            };
            Some((hierarchy, path.to_owned()))
        })
        .collect();
    found.sort_by_key(|(hierarchy, _)| hierarchy.directory());
    found
}

/// The filter of `linux.seccomp`, or of the profile that is given `apart`: from the directory where compiled ones are kept, if
/// there is one, or compiled.
pub(crate) fn filter(
    spec: &Spec,
    apart: Option<&RawValue>,
    kept: Option<&Path>,
) -> Result<Option<Filter>, LaunchError> {
    let within = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let key = || match (apart, within) {
        (Some(text), _) => Key::of_text(text.get()),
        (None, profile) => Key::of(profile?),
    };
    let place = kept.and_then(Filters::open).zip(kept.and_then(|_| key()));
    if let Some(found) = place.as_ref().and_then(|(filters, key)| filters.get(key)) {
        return Ok(Some(found));
    }
    let compiled = match (apart, within) {
        (Some(text), _) => {
            let profile = serde_json::from_str(text.get()).map_err(LaunchError::FilterText)?;
            check_apart(&profile)?;
            compile(&profile)?
        }
        (None, Some(profile)) => compile(profile)?,
        (None, None) => return Ok(None),
    };
    if let Some((filters, key)) = &place {
        filters.put(key, &compiled);
    }
    Ok(Some(compiled))
}

/// The profile of a plan whose filter notifies.
pub(crate) fn notifying<'a>(spec: &'a Spec, plan: &Plan) -> Option<&'a LinuxSeccomp> {
    let notifies = plan.operations.contains(&Operation::SeccompListener);
    spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()).filter(|_| notifies)
}

fn compile(profile: &LinuxSeccomp) -> Result<Filter, LaunchError> {
    let native = seccomp::native_arch().ok_or(LaunchError::Architecture)?;
    let program = seccomp::compile(profile, native).map_err(LaunchError::Filter)?;
    let instructions = program.instructions.iter();
    Ok(Filter {
        instructions: instructions
            .map(|i| sys::seccomp::SockFilter { code: i.code, jt: i.jt, jf: i.jf, k: i.k })
            .collect(),
        flags: program.flags,
    })
}

/// A descriptor of the running program, by which it can be executed once more wherever it is then.
pub(crate) fn own_program() -> Result<OwnedFd, LaunchError> {
    const PATH: &str = "/proc/self/exe";
    rustix::fs::open(PATH, OFlags::PATH | OFlags::CLOEXEC, rustix::fs::Mode::empty())
        .map_err(|errno| sys::Error::new(format!("open({PATH:?}, O_PATH|O_CLOEXEC)"), errno).into())
}

/// The command and its environment. The plan made sure that no text has a NUL byte.
pub(crate) fn program(process: &Process) -> Program {
    let list = |texts: &Option<Vec<String>>| -> Vec<CString> {
        texts.iter().flatten().filter_map(|text| CString::new(text.as_str()).ok()).collect()
    };
    let variables = environment(process.env().as_deref().unwrap_or_default());
    Program {
        command: process.args().iter().flatten().next().cloned().unwrap_or_default(),
        arguments: StringList::new(list(process.args())),
        path: variables.iter().find_map(|variable| variable.strip_prefix("PATH=")).map(String::from),
        environment: variables.into_iter().filter_map(|text| CString::new(text).ok()).collect(),
    }
}

/// The variables with each name once: the last that is given, as runc has it. A home that is empty is none.
fn environment(given: &[String]) -> Vec<&str> {
    let name = |variable: &str| variable.split_once('=').map_or(variable.len(), |(name, _)| name.len());
    let mut names = HashSet::with_capacity(given.len());
    let mut kept: Vec<&str> =
        given.iter().rev().map(String::as_str).filter(|variable| names.insert(&variable[..name(variable)])).collect();
    kept.retain(|variable| *variable != "HOME=");
    kept.reverse();
    kept
}

/// Who this process is, as far as launching containers goes.
pub(crate) fn caller() -> Result<Caller, LaunchError> {
    if sys::capability::get()?.effective & SYS_ADMIN == 0 {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        return Ok(Caller::Unprivileged { uid: uid.as_raw(), gid: gid.as_raw() });
    }
    Ok(if in_initial_user_namespace()? { Caller::Root } else { Caller::NamespaceRoot })
}

/// Whether this process is in the user namespace that the machine started with. Without procfs it is taken to be.
pub(crate) fn in_initial_user_namespace() -> sys::Result<bool> {
    /// Its number (`PROC_USER_INIT_INO`, linux/proc_ns.h).
    const INITIAL: u64 = 0xEFFF_FFFD;
    const OWN: &str = "/proc/self/ns/user";
    match rustix::fs::stat(OWN) {
        Ok(found) => Ok(found.st_ino == INITIAL),
        Err(Errno::NOENT) => Ok(true),
        Err(errno) => Err(sys::Error::new(format!("stat({OWN:?})"), errno)),
    }
}

/// The files by which the process joins its cgroup: those of v1; and where it is made by another process, which may
/// not be able to make it in the cgroup, also the one of v2.
pub(crate) fn cgroup_files(cgroup: &Cgroup, plan: &Plan) -> Result<Vec<OwnedFd>, LaunchError> {
    let mut files = cgroup.join_files()?;
    if let Some(unified) = cgroup.clone_into().filter(|_| plan.staged()) {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(unified, "cgroup.procs", flags, rustix::fs::Mode::empty())
            .map_err(|errno| sys::Error::new("openat(cgroup, \"cgroup.procs\", O_WRONLY)", errno))?;
        files.push(file);
    }
    Ok(files)
}

/// Opens what the plan wants opened before the process becomes another user, unless the process itself does that; with
/// the place of each operation in the plan.
pub(crate) fn trees(plan: &Plan) -> Result<Vec<(usize, OwnedFd)>, LaunchError> {
    if plan.operations.contains(&Operation::OpenTrees) {
        return Ok(Vec::new());
    }
    let mut trees = Vec::new();
    for (index, operation) in plan.operations.iter().enumerate() {
        if let Operation::Mount(MountOperation { source: MountSource::Inside { ids: Some(ids), .. }, .. }) = operation {
            trees.push((index, id_map::namespace_of(ids)?));
            continue;
        }
        let failed = |source| LaunchError::Outside { operation: operation.to_string(), source };
        let Some(tree) = tree(operation).map_err(failed)? else { continue };
        if let Operation::Mount(MountOperation { source: MountSource::Bind { ids: Some(ids), .. }, .. }) = operation {
            id_map::apply(&tree, ids, operation)?;
        }
        trees.push((index, tree));
    }
    Ok(trees)
}

/// What an operation wants opened before.
pub(crate) fn tree(operation: &Operation) -> sys::Result<Option<OwnedFd>> {
    match operation {
        Operation::AttachRoot(RootSource::Opened(path)) | Operation::CloneRoot(RootSource::Opened(path)) => {
            host_tree(path, true).map(Some)
        }
        Operation::Mount(MountOperation {
            source: MountSource::Bind { source, recursive, opened: true, .. }, ..
        }) => host_tree(source, *recursive).map(Some),
        _ => Ok(None),
    }
}

/// Opens the files of the namespaces to join.
pub(crate) fn namespaces(plan: &Plan) -> Result<Vec<(CloneFlags, OwnedFd)>, LaunchError> {
    let paths = plan.stage.iter().chain(&plan.operations).filter_map(|operation| match operation {
        Operation::JoinNamespace { kind, source: NamespaceSource::Path(path) } => Some((*kind, path)),
        _ => None,
    });
    let opened = paths.map(|(kind, path)| Ok((kind, open_namespace(path)?)));
    let opened = opened.collect::<Result<Vec<_>, LaunchError>>()?;
    for (kind, file) in &opened {
        match *kind {
            CloneFlags::NEWNET => not_ours(plan, file)?,
            CloneFlags::NEWNS => not_our_mounts(plan, file)?,
            _ => {}
        }
    }
    Ok(opened)
}

/// Nor may the mounts of this namespace be replaced by a container's.
fn not_our_mounts(plan: &Plan, joined: &OwnedFd) -> Result<(), LaunchError> {
    if plan.operations.iter().any(|operation| matches!(operation, Operation::Mount(_))) && is_own("mnt", joined)? {
        return Err(PlanError::NeedsNamespace { field: "mounts".into(), namespace: "mount" }.into());
    }
    Ok(())
}

/// Whether this is the launcher's own namespace of that kind, as `/proc/self/ns` calls it.
fn is_own(kind: &str, joined: &OwnedFd) -> Result<bool, LaunchError> {
    let path = format!("/proc/self/ns/{kind}");
    let own = rustix::fs::stat(&path).map_err(|errno| sys::Error::new(format!("stat({path:?})"), errno))?;
    let other =
        rustix::fs::fstat(joined).map_err(|errno| sys::Error::new(format!("fstat({kind} namespace)"), errno))?;
    Ok((own.st_dev, own.st_ino) == (other.st_dev, other.st_ino))
}

/// A network namespace that is joined by path may turn out to be the launcher's own, whose parameters are the host's.
fn not_ours(plan: &Plan, joined: &OwnedFd) -> Result<(), LaunchError> {
    let parameter = plan.operations.iter().find_map(|operation| match operation {
        Operation::Sysctl { key, .. } if sysctl_path(key).starts_with("net") => Some(key),
        _ => None,
    });
    let Some(key) = parameter else { return Ok(()) };
    if is_own("net", joined)? {
        let field = format!("linux.sysctl[{key}]");
        return Err(PlanError::NeedsNamespace { field, namespace: "network" }.into());
    }
    Ok(())
}

/// Opens a namespace's file.
pub(crate) fn open_namespace(path: &Path) -> Result<OwnedFd, LaunchError> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, rustix::fs::Mode::empty())
        .map_err(|errno| LaunchError::Namespace { path: path.to_owned(), source: errno.into() })
}

/// What becomes standard input, output and error, moved out of the way of those numbers; and the terminal's size.
pub(crate) struct Streams {
    pub(crate) stdio: Option<[OwnedFd; 3]>,
    pub(crate) terminal: bool,
    pub(crate) size: Option<(u16, u16)>,
}

pub(crate) fn streams(stdio: Stdio) -> Result<Streams, LaunchError> {
    let mut streams = Streams { stdio: None, terminal: false, size: None };
    match stdio {
        Stdio::Inherit => {}
        Stdio::Terminal { size } => {
            streams.terminal = true;
            streams.size = size;
        }
        Stdio::Fds { stdin, stdout, stderr } => {
            let [stdin, stdout, stderr] = [stdin, stdout, stderr].map(out_of_the_way);
            streams.stdio = Some([stdin?, stdout?, stderr?]);
        }
    }
    Ok(streams)
}

fn out_of_the_way(fd: OwnedFd) -> Result<OwnedFd, LaunchError> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    rustix::io::fcntl_dupfd_cloexec(fd.as_fd(), 3)
        .map_err(|errno| sys::Error::new(format!("fcntl({}, F_DUPFD_CLOEXEC, 3)", fd.as_raw_fd()), errno).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_given_twice_was_passed_twice_and_an_empty_home_was_kept() {
        let of = |list: &[&str]| {
            let list: Vec<String> = list.iter().map(|text| (*text).into()).collect();
            environment(&list).join(" ")
        };
        assert_eq!(of(&["ONE=two", "A=b=c", "ONE=three", "ONEMORE=", "B"]), "A=b=c ONE=three ONEMORE= B");
        assert_eq!(of(&["HOME=/x", "A=b", "HOME="]), "A=b");
        assert_eq!(of(&["HOME=", "HOME=/x"]), "HOME=/x");
    }

    #[test]
    fn a_profile_given_apart_is_the_filter_that_it_is_within_a_spec() {
        let made = |apart: Option<&str>, within: Option<&str>| {
            let linux = within.map(|text| format!(r#","linux":{{"seccomp":{text}}}"#)).unwrap_or_default();
            let spec = serde_json::from_str(&format!(r#"{{"ociVersion":"1.2.0"{linux}}}"#)).unwrap();
            let apart = apart.map(|text| serde_json::from_str::<Box<RawValue>>(text).unwrap());
            filter(&spec, apart.as_deref(), None).map(|filter| filter.map(|f| (f.instructions, f.flags)))
        };
        let rule = |action: &str| {
            let rule = format!(r#"{{"names":["mkdir"],"action":"{action}"}}"#);
            format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/l","syscalls":[{rule}]}}"#)
        };
        assert_eq!(made(None, None).unwrap(), None);
        let found = made(Some(&rule("SCMP_ACT_ERRNO")), None).unwrap();
        assert!(found.is_some());
        assert_eq!(found, made(None, Some(&rule("SCMP_ACT_ERRNO"))).unwrap());
        let error = made(Some(&rule("SCMP_ACT_NOTIFY")), None).unwrap_err();
        assert!(errors::chain(&error).contains("SCMP_ACT_NOTIFY"), "{error}");
        assert!(matches!(made(Some("[]"), None), Err(LaunchError::FilterText(_))));
    }

    #[test]
    fn hierarchies_are_read_from_proc() {
        let found = parse_hierarchies("5:memory:/a\n4:cpu,cpuacct:/\n1:name=systemd:/x:y\n0::/u\n");
        let directories: Vec<String> = found.iter().map(|(hierarchy, _)| hierarchy.directory()).collect();
        assert_eq!(directories, ["cpu,cpuacct", "memory", "systemd", "unified"]);
        assert_eq!(found[2].1, "/x:y");
    }

    #[test]
    fn default_devices_follow_the_rules_given_and_never_stand_alone() {
        let none = with_default_devices(LinuxResources::default());
        assert!(none.devices().as_ref().is_none_or(Vec::is_empty));
        let mut deny = LinuxDeviceCgroup::default();
        deny.set_allow(false).set_access(Some("rwm".into()));
        let mut resources = LinuxResources::default();
        resources.set_devices(Some(vec![deny]));
        let devices = with_default_devices(resources).devices().clone().unwrap();
        assert!(!devices[0].allow());
        assert!(devices[1..].iter().all(LinuxDeviceCgroup::allow));
        assert!(devices.iter().any(|rule| (rule.major(), rule.minor()) == (Some(1), Some(3))));
    }
}
