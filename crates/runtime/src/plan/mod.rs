// SPDX-License-Identifier: Apache-2.0
//! From an OCI runtime spec to the list of operations that make the container.
//!
//! Pure: no I/O, so the whole decision can be tested and printed. What is left to the moment of application is only
//! what the file system must be asked for: whether a masked path exists and is a directory, where a command lies.
//!
//! The order of the list is the order of application, and it is part of the design:
//! 1. namespaces and cgroup, while nothing else has happened;
//! 2. the root file system, put on top of the host's root so that every target is resolved inside it by descriptor
//!    while the host's files can still be bound;
//! 3. masks and read-only paths, last among the mounts, so that nothing is mounted over them;
//! 4. the host's root leaves (`pivot_root`), then what belongs to the process, privileges last.

mod capabilities;
mod devices;
mod error;
mod mounts;
mod operation;
mod process;
mod refused;
mod sysctl;
pub(crate) mod view;

use std::path::{Path, PathBuf};

use oci::runtime_spec::{Linux, LinuxNamespaceType, Process, Spec};
use sys::process::CloneFlags;

pub(crate) use capabilities::{NAMES as CAPABILITY_NAMES, SYS_ADMIN, name as capability_name};
pub use error::PlanError;
pub use operation::{
    Attributes, CapabilitySets, CgroupHierarchy, Device, DeviceKind, MountOperation, MountSource, NamespaceSource,
    Operation, RootSource, mount_option_names,
};
pub(crate) use sysctl::path as sysctl_path;

/// What the plan depends on besides the spec.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// The bundle's directory (absolute): relative paths of the spec are relative to it.
    pub bundle: PathBuf,
    /// The root file system is given as a descriptor; `root.path` is not used.
    pub rootfs: bool,
    /// A network namespace is given as a descriptor.
    pub netns: bool,
    /// The process gets a terminal.
    pub terminal: bool,
    /// The container waits for `start` before it executes its command.
    pub waits_for_start: bool,
    /// The container dies with the process that launched it.
    pub dies_with_parent: bool,
    /// Keep the old root under the new one (`--no-pivot`, for a host that runs from an initramfs).
    pub no_pivot: bool,
    /// How many descriptors from 3 on the process inherits.
    pub preserve_fds: u32,
    /// The cgroup v1 hierarchies of the host; empty on a host with cgroup v2 only.
    pub hierarchies: Vec<CgroupHierarchy>,
}

/// The operations that make a container, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Namespaces made with the process itself.
    pub create: CloneFlags,
    /// What the process does then.
    pub operations: Vec<Operation>,
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "clone {}", self.create)?;
        self.operations.iter().try_for_each(|operation| writeln!(f, "{operation}"))
    }
}

/// Plans the container that `spec` describes.
///
/// # Errors
/// [`PlanError`] names the field of the spec that is missing, invalid or not supported.
pub fn plan(spec: &Spec, inputs: &Inputs) -> Result<Plan, PlanError> {
    refused::spec(spec)?;
    let process = spec.process().as_ref().ok_or(PlanError::Missing { field: "process" })?;
    let empty = Linux::default_empty();
    let linux = spec.linux().as_ref().unwrap_or(&empty);
    let namespaces = Namespaces::of(linux, inputs)?;

    let mut operations = Vec::with_capacity(64);
    namespaces.join(&mut operations);
    operations.push(Operation::NewSession);
    if let Some(score) = process.oom_score_adj() {
        operations.push(Operation::OomScoreAdj(score));
    }
    if namespaces.joins(LinuxNamespaceType::Mount) {
        refused::file_system_in_joined_namespace(spec)?;
        names_and_sysctls(spec, linux, &namespaces, &mut operations)?;
    } else if namespaces.has(LinuxNamespaceType::Mount) {
        file_system(spec, linux, inputs, &namespaces, &mut operations)?;
    } else {
        return Err(PlanError::Missing { field: "linux.namespaces[type=mount]" });
    }
    process::operations(process, linux, inputs, &mut operations)?;
    Ok(Plan { create: namespaces.create, operations })
}

/// Plans another process in a running container made from `spec`: only what belongs to the process.
///
/// # Errors
/// As [`plan`].
pub fn plan_exec(spec: &Spec, process: &Process, inputs: &Inputs) -> Result<Plan, PlanError> {
    refused::process(process)?;
    let empty = Linux::default_empty();
    let linux = spec.linux().as_ref().unwrap_or(&empty);
    let mut operations = vec![Operation::JoinCgroup, Operation::NewSession];
    if let Some(score) = process.oom_score_adj() {
        operations.push(Operation::OomScoreAdj(score));
    }
    operations.push(Operation::JoinContainer);
    if inputs.terminal {
        operations.push(Operation::Terminal { console: false, uid: process.user().uid() });
    }
    process::operations(process, linux, inputs, &mut operations)?;
    Ok(Plan { create: CloneFlags::empty(), operations })
}

fn file_system(
    spec: &Spec,
    linux: &Linux,
    inputs: &Inputs,
    namespaces: &Namespaces,
    operations: &mut Vec<Operation>,
) -> Result<(), PlanError> {
    let propagation = linux.rootfs_propagation().as_deref().map(mounts::propagation).transpose()?.flatten();
    operations.push(Operation::DetachPropagation);
    operations.push(Operation::AttachRoot(root_source(spec, inputs)?));
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    for (index, mount) in mounts.iter().enumerate() {
        let cgroup_namespace = namespaces.has(LinuxNamespaceType::Cgroup);
        operations.push(Operation::Mount(mounts::plan(mount, index, inputs, cgroup_namespace)?));
    }
    devices::operations(mounts, linux, operations)?;
    if inputs.terminal {
        let uid = spec.process().as_ref().map_or(0, |process| process.user().uid());
        operations.push(Operation::Terminal { console: true, uid });
    }
    names_and_sysctls(spec, linux, namespaces, operations)?;
    for path in linux.masked_paths().iter().flatten() {
        operations.push(Operation::Mask(absolute("linux.maskedPaths", path)?));
    }
    for path in linux.readonly_paths().iter().flatten() {
        operations.push(Operation::MakeReadOnly(absolute("linux.readonlyPaths", path)?));
    }
    if spec.root().as_ref().and_then(oci::runtime_spec::Root::readonly).unwrap_or(false) {
        operations.push(Operation::ReadOnlyRoot);
    }
    operations.push(if inputs.no_pivot { Operation::ChangeRoot } else { Operation::PivotRoot });
    if let Some((propagation, recursive)) = propagation {
        operations.push(Operation::RootPropagation { propagation, recursive });
    }
    Ok(())
}

fn names_and_sysctls(
    spec: &Spec,
    linux: &Linux,
    namespaces: &Namespaces,
    operations: &mut Vec<Operation>,
) -> Result<(), PlanError> {
    for (field, name, operation) in [
        ("hostname", spec.hostname(), Operation::HostName as fn(String) -> Operation),
        ("domainname", spec.domainname(), Operation::DomainName),
    ] {
        if let Some(name) = name.as_ref().filter(|name| !name.is_empty()) {
            if !namespaces.has(LinuxNamespaceType::Uts) {
                return Err(PlanError::NeedsNamespace { field: field.into(), namespace: "uts" });
            }
            if name.len() > 64 {
                return Err(PlanError::Invalid {
                    field: field.into(),
                    value: name.clone(),
                    expected: "at most 64 bytes",
                });
            }
            operations.push(operation(name.clone()));
        }
    }
    sysctl::operations(linux, namespaces, operations)
}

fn root_source(spec: &Spec, inputs: &Inputs) -> Result<RootSource, PlanError> {
    if inputs.rootfs {
        return Ok(RootSource::Given);
    }
    let root = spec.root().as_ref().ok_or(PlanError::Missing { field: "root" })?;
    Ok(RootSource::Path(inputs.bundle.join(root.path())))
}

fn absolute(field: &str, path: &str) -> Result<PathBuf, PlanError> {
    if Path::new(path).is_absolute() && !path.contains('\0') {
        Ok(PathBuf::from(path))
    } else {
        Err(PlanError::Invalid { field: field.into(), value: path.into(), expected: "an absolute path" })
    }
}

/// The namespaces of a container: made anew, joined, or shared with the caller (absent).
pub(crate) struct Namespaces {
    create: CloneFlags,
    unshare_cgroup: bool,
    joined: Vec<(LinuxNamespaceType, NamespaceSource)>,
}

impl Namespaces {
    fn of(linux: &Linux, inputs: &Inputs) -> Result<Namespaces, PlanError> {
        let mut found = Namespaces { create: CloneFlags::empty(), unshare_cgroup: false, joined: Vec::new() };
        for namespace in linux.namespaces().iter().flatten() {
            let kind = namespace.typ();
            if found.has(kind) {
                return Err(PlanError::Invalid {
                    field: "linux.namespaces".into(),
                    value: kind.to_string(),
                    expected: "each type at most once",
                });
            }
            let path = namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty());
            match (kind, path) {
                (LinuxNamespaceType::User | LinuxNamespaceType::Time, _) => {
                    return Err(PlanError::Unsupported { field: format!("linux.namespaces[type={kind}]") });
                }
                (LinuxNamespaceType::Network, None) if inputs.netns => {
                    found.joined.push((kind, NamespaceSource::Given));
                }
                (_, Some(path)) => {
                    let path = absolute("linux.namespaces.path", &path.to_string_lossy())?;
                    found.joined.push((kind, NamespaceSource::Path(path)));
                }
                // A cgroup namespace made by clone would be rooted in the caller's cgroup, not in the container's.
                (LinuxNamespaceType::Cgroup, None) => found.unshare_cgroup = true,
                (_, None) => found.create |= flag(kind),
            }
        }
        Ok(found)
    }

    /// Whether the container does not share this namespace with the caller.
    pub(crate) fn has(&self, kind: LinuxNamespaceType) -> bool {
        (kind == LinuxNamespaceType::Cgroup && self.unshare_cgroup)
            || self.create.contains(flag(kind))
            || self.joins(kind)
    }

    fn joins(&self, kind: LinuxNamespaceType) -> bool {
        self.joined.iter().any(|(joined, _)| *joined == kind)
    }

    fn join(&self, operations: &mut Vec<Operation>) {
        operations.push(Operation::JoinCgroup);
        // The mount namespace last: the others' files were opened before, but a reader expects paths to mean the host.
        let (mounts, others): (Vec<_>, Vec<_>) =
            self.joined.iter().partition(|(kind, _)| *kind == LinuxNamespaceType::Mount);
        for (kind, source) in others.into_iter().chain(mounts) {
            operations.push(Operation::JoinNamespace { kind: flag(*kind), source: source.clone() });
        }
        if self.unshare_cgroup {
            operations.push(Operation::UnshareCgroup);
        }
    }
}

fn flag(kind: LinuxNamespaceType) -> CloneFlags {
    match kind {
        LinuxNamespaceType::Mount => CloneFlags::NEWNS,
        LinuxNamespaceType::Cgroup => CloneFlags::NEWCGROUP,
        LinuxNamespaceType::Uts => CloneFlags::NEWUTS,
        LinuxNamespaceType::Ipc => CloneFlags::NEWIPC,
        LinuxNamespaceType::User => CloneFlags::NEWUSER,
        LinuxNamespaceType::Pid => CloneFlags::NEWPID,
        LinuxNamespaceType::Network => CloneFlags::NEWNET,
        LinuxNamespaceType::Time => CloneFlags::NEWTIME,
    }
}

/// A `Linux` section with nothing in it; the specification crate's own default is a sample configuration.
trait EmptyLinux {
    fn default_empty() -> Self;
}

impl EmptyLinux for Linux {
    fn default_empty() -> Linux {
        let mut linux = Linux::default();
        linux.set_resources(None);
        linux.set_namespaces(None);
        linux.set_masked_paths(None);
        linux.set_readonly_paths(None);
        linux
    }
}

#[cfg(test)]
mod mutated;
#[cfg(test)]
mod tests;
