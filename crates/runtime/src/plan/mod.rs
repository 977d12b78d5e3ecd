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
mod hooks;
mod mounts;
mod namespaces;
mod operation;
mod outside;
mod process;
mod refused;
mod scheduling;
mod seccomp;
mod sysctl;
pub(crate) mod view;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use oci::runtime_spec::{Linux, LinuxNamespaceType, Mount, Process, Spec};
use sys::mount::Propagation;
use sys::process::CloneFlags;

use namespaces::{Entry, Namespaces};

pub(crate) use capabilities::{NAMES as CAPABILITY_NAMES, SYS_ADMIN, name as capability_name};
pub use error::PlanError;
pub use hooks::{Hook, HookKind, hooks};
pub(crate) use mounts::is_descriptor;
pub use operation::{
    Attributes, CapabilitySets, CgroupHierarchy, Device, DeviceKind, LabelKind, MountIdSource, MountIds,
    MountOperation, MountSource, NamespaceSource, Operation, RootSource, TimeOffset, mount_option_names,
};
pub use outside::{IdMapping, IdMaps, MapMethod, Outside};
pub use scheduling::NumberSet;
pub(crate) use scheduling::memory_policy_names;
pub(crate) use seccomp::check_apart;
pub use sysctl::namespace_of as sysctl_namespace;
pub(crate) use sysctl::path as sysctl_path;

/// Who launches the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Caller {
    /// The host's root.
    #[default]
    Root,
    /// Root of a user namespace.
    NamespaceRoot,
    /// A user without rights but its own.
    Unprivileged {
        /// The user's id.
        uid: u32,
        /// Its group.
        gid: u32,
    },
}

/// What the plan depends on besides the spec.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// The bundle's directory (absolute): relative paths of the spec are relative to it.
    pub bundle: PathBuf,
    /// The root file system is given as a descriptor; `root.path` is not used.
    pub rootfs: bool,
    /// A network namespace is given as a descriptor.
    pub netns: bool,
    /// A profile for a system call filter is given apart from the spec.
    pub filter: bool,
    /// The process gets a terminal.
    pub terminal: bool,
    /// The container waits for `start` before it executes its command.
    pub waits_for_start: bool,
    /// Its first process is an init, and the command a child of that.
    pub init: bool,
    /// The container dies with the process that launched it.
    pub dies_with_parent: bool,
    /// Keep the old root under the new one (`--no-pivot`, for a host that runs from an initramfs).
    pub no_pivot: bool,
    /// How many descriptors from 3 on the process inherits.
    pub preserve_fds: u32,
    /// Keep the launcher's session keyring (`--no-new-keyring`).
    pub no_new_keyring: bool,
    /// The kernel has AppArmor, and it is enabled.
    pub apparmor: bool,
    /// The kernel has SELinux, and it is enabled.
    pub selinux: bool,
    /// Who launches it.
    pub caller: Caller,
    /// The cgroup v1 hierarchies of the host; empty on a host with cgroup v2 only.
    pub hierarchies: Vec<CgroupHierarchy>,
}

/// The operations that make a container, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What an intermediate process does, which then makes the container's; empty when there is none.
    pub stage: Vec<Operation>,
    /// Namespaces made with the process itself.
    pub create: CloneFlags,
    /// What the process does then.
    pub operations: Vec<Operation>,
    /// What the spec says that means nothing, for the user to read.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Whether the process asks its launcher for anything while it applies the plan.
    pub fn asks(&self) -> bool {
        self.staged() || self.operations.iter().any(Operation::asks)
    }

    /// Whether an intermediate process makes the container's.
    pub fn staged(&self) -> bool {
        !self.stage.is_empty()
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.staged() {
            writeln!(f, "clone an intermediate process, which does this:")?;
            self.stage.iter().try_for_each(|operation| writeln!(f, "    {operation}"))?;
        }
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

    let Entry { stage, create, mut operations } = namespaces.enter(process.user(), process.oom_score_adj())?;
    operations.reserve(64);
    let mut warnings = Vec::new();
    if namespaces.joins(LinuxNamespaceType::Mount) && spec.mounts().iter().flatten().next().is_none() {
        // One that is complete.
        refused::paths_of_joined_namespace(linux)?;
        creation_hooks(spec, &mut operations)?;
        names_and_sysctls(spec, linux, &namespaces, &mut operations)?;
    } else {
        warnings = file_system(spec, linux, inputs, &namespaces, &mut operations)?;
    }
    let before_command = hooks(spec, HookKind::StartContainer)?;
    process::operations(process, linux, inputs, before_command, &mut operations)?;
    leave_to_launcher(&namespaces, &mut operations);
    Ok(Plan { stage, create, operations, warnings })
}

/// Plans another process in a running container made from `spec`: only what belongs to the process.
///
/// # Errors
/// As [`plan`].
pub fn plan_exec(spec: &Spec, process: &Process, inputs: &Inputs) -> Result<Plan, PlanError> {
    let empty = Linux::default_empty();
    let linux = spec.linux().as_ref().unwrap_or(&empty);
    let namespaces = Namespaces::of(linux, inputs)?;
    if !namespaces.has(LinuxNamespaceType::Mount) {
        // It would find itself in the host's root.
        return Err(PlanError::NeedsNamespace { field: "process (of exec)".into(), namespace: "mount" });
    }
    let mut affinity = (Vec::new(), Vec::new());
    scheduling::initial_affinity(process, &mut affinity.0)?;
    scheduling::final_affinity(process, &mut affinity.1)?;
    let Entry { stage, create, mut operations } =
        namespaces.enter_running(process.user(), process.oom_score_adj(), affinity)?;
    if inputs.terminal {
        operations.push(Operation::Terminal { console: false, uid: process.user().uid() });
    }
    process::operations(process, linux, inputs, Vec::new(), &mut operations)?;
    leave_to_launcher(&namespaces, &mut operations);
    Ok(Plan { stage, create, operations, warnings: Vec::new() })
}

/// Plans one mount more for a container that runs.
///
/// # Errors
/// As [`plan`].
pub fn mount(mount: &Mount) -> Result<MountOperation, PlanError> {
    mounts::one_more(mount, &Inputs::default())
}

/// What only rights over the host allow, the launcher does for a process in a user namespace: before the process sets its
/// limits, the launcher raises them as far as it may.
fn leave_to_launcher(namespaces: &Namespaces, operations: &mut Vec<Operation>) {
    if !namespaces.outside_helps() {
        return;
    }
    let mut all = Vec::with_capacity(operations.len());
    for operation in operations.drain(..) {
        if let Operation::Rlimit { name, resource, soft, hard } = operation {
            all.push(Operation::Outside(Outside::Rlimit { name, resource, soft, hard }));
        }
        all.push(operation);
    }
    *operations = all;
}

/// Returns what there is to warn of.
fn file_system(
    spec: &Spec,
    linux: &Linux,
    inputs: &Inputs,
    namespaces: &Namespaces,
    operations: &mut Vec<Operation>,
) -> Result<Vec<String>, PlanError> {
    let propagation = linux.rootfs_propagation().as_deref().map(mounts::propagation).transpose()?.flatten();
    attach_root(spec, propagation, inputs, namespaces, operations)?;
    let (mut read_only, warnings) = mounts::operations(spec, linux, inputs, namespaces, operations)?;
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    devices::operations(mounts, linux, namespaces.confined(), operations)?;
    creation_hooks(spec, operations)?;
    if inputs.terminal {
        let uid = spec.process().as_ref().map_or(0, |process| process.user().uid());
        operations.push(Operation::Terminal { console: true, uid });
    }
    names_and_sysctls(spec, linux, namespaces, operations)?;
    let mut masked = HashSet::new();
    for path in linux.masked_paths().iter().flatten().filter(|path| masked.insert(*path)) {
        operations.push(Operation::Mask(absolute("linux.maskedPaths", path)?));
    }
    for path in linux.readonly_paths().iter().flatten() {
        operations.push(Operation::MakeReadOnly(absolute("linux.readonlyPaths", path)?));
    }
    let cwd = spec.process().as_ref().map(|process| process.cwd().clone()).filter(|cwd| cwd.is_absolute());
    if let Some(cwd) = cwd.filter(|cwd| cwd != Path::new("/")) {
        operations.push(Operation::MakeWorkingDirectory(cwd));
    }
    operations.append(&mut read_only);
    if spec.root().as_ref().and_then(oci::runtime_spec::Root::readonly).unwrap_or(false) {
        operations.push(Operation::ReadOnlyRoot);
    }
    if inputs.no_pivot && namespaces.has(LinuxNamespaceType::Mount) && !namespaces.joins(LinuxNamespaceType::Mount) {
        operations.push(Operation::HideInterfaces);
    }
    operations.push(match propagation {
        _ if inputs.no_pivot || !namespaces.has(LinuxNamespaceType::Mount) => Operation::ChangeRoot,
        None | Some((Propagation::Slave, true)) => Operation::PivotRoot,
        Some(_) => Operation::PivotRootFromPeers,
    });
    // What a slave receives it receives through the mount that was attached.
    if let Some((propagation, recursive)) = propagation.filter(|(propagation, _)| *propagation != Propagation::Slave) {
        operations.push(Operation::RootPropagation { propagation: Propagation::Private, recursive: false });
        if propagation != Propagation::Private {
            operations.push(Operation::RootPropagation { propagation, recursive });
        }
    }
    Ok(warnings)
}

/// When everything is mounted and the host's root is still there.
fn creation_hooks(spec: &Spec, operations: &mut Vec<Operation>) -> Result<(), PlanError> {
    let mut outside = hooks(spec, HookKind::Prestart)?;
    outside.extend(hooks(spec, HookKind::CreateRuntime)?);
    if !outside.is_empty() {
        operations.push(Operation::Outside(Outside::Hooks(outside)));
    }
    let inside = hooks(spec, HookKind::CreateContainer)?;
    if !inside.is_empty() {
        operations.push(Operation::Hooks(inside));
    }
    // Those for later must be such that they can be run.
    hooks(spec, HookKind::Poststart)?;
    hooks(spec, HookKind::Poststop)?;
    Ok(())
}

/// `rootfsPropagation` is, as in runc, first of all what becomes of the host's mounts in the new namespace: with
/// `shared`, what is mounted in a volume that is shared with the host reaches the host.
fn attach_root(
    spec: &Spec,
    propagation: Option<(Propagation, bool)>,
    inputs: &Inputs,
    namespaces: &Namespaces,
    operations: &mut Vec<Operation>,
) -> Result<(), PlanError> {
    if !namespaces.has(LinuxNamespaceType::Mount) {
        if propagation.is_some() {
            return Err(PlanError::NeedsNamespace { field: "linux.rootfsPropagation".into(), namespace: "mount" });
        }
        // Nothing may be mounted where the host would see it.
        operations.push(Operation::CloneRoot(root_source(spec, inputs, namespaces)?));
        return Ok(());
    }
    match propagation {
        None | Some((Propagation::Slave, true)) => operations.push(Operation::DetachPropagation),
        Some((Propagation::Private, _)) if inputs.no_pivot => {
            let expected = "anything but private with --no-pivot: it would leave the host's mounts shared";
            return Err(PlanError::Invalid {
                field: "linux.rootfsPropagation".into(),
                value: "private".into(),
                expected,
            });
        }
        Some((propagation, recursive)) => operations.push(Operation::HostPropagation { propagation, recursive }),
    }
    let source = root_source(spec, inputs, namespaces)?;
    let spreads = matches!(propagation, Some((Propagation::Shared | Propagation::Unbindable, _)));
    if spreads && source == RootSource::Given {
        // Or what is put on top of it would reach the host.
        operations.push(Operation::HostPropagation { propagation: Propagation::Slave, recursive: false });
    }
    // A hook that enters the mount namespace looks for the root where the bundle has it.
    let creation = [HookKind::Prestart, HookKind::CreateRuntime, HookKind::CreateContainer];
    let hooked = creation.into_iter().any(|kind| hooks(spec, kind).is_ok_and(|hooks| !hooks.is_empty()));
    operations.push(match source {
        RootSource::Path(path) if spreads || hooked => Operation::AttachRootInPlace(path),
        RootSource::Opened(path) if spreads => Operation::AttachRootInPlace(path),
        RootSource::Given if hooked => {
            let root = spec.root().as_ref().ok_or(PlanError::Missing { field: "root" })?;
            Operation::AttachGivenRootAt(inputs.bundle.join(root.path()))
        }
        source => Operation::AttachRoot(source),
    });
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

fn root_source(spec: &Spec, inputs: &Inputs, namespaces: &Namespaces) -> Result<RootSource, PlanError> {
    if inputs.rootfs {
        return Ok(RootSource::Given);
    }
    let root = spec.root().as_ref().ok_or(PlanError::Missing { field: "root" })?;
    let path = inputs.bundle.join(root.path());
    // The root of a user namespace may not be able to reach what the launcher can.
    Ok(if namespaces.opens_before() { RootSource::Opened(path) } else { RootSource::Path(path) })
}

fn absolute(field: &str, path: &str) -> Result<PathBuf, PlanError> {
    if Path::new(path).is_absolute() && !path.contains('\0') {
        Ok(PathBuf::from(path))
    } else {
        Err(PlanError::Invalid { field: field.into(), value: path.into(), expected: "an absolute path" })
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
