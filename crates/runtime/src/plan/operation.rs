// SPDX-License-Identifier: Apache-2.0
//! One step in making a container, as data. `Display` prints it on one line.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use sys::mount::{ATTR_ATIME, Propagation};
use sys::process::CloneFlags;

use super::hooks::Hook;
use super::mounts::ATTRIBUTE_NAMES;
pub use super::mounts::mount_option_names;
use super::outside::{IdMaps, Outside};
use super::scheduling::NumberSet;
use super::view;

/// One step. As JSON: its name in `operation`, what it needs in `arguments`; the names of variants and fields are what
/// programs read, so they stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "operation", content = "arguments", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Operation {
    /// Enter the container's cgroup: on v1 by writing to its `tasks` files; on v2 the process was born in it.
    JoinCgroup,
    /// Enter a namespace.
    JoinNamespace {
        /// Its kind.
        #[serde(serialize_with = "view::text")]
        kind: CloneFlags,
        /// Where it is.
        source: NamespaceSource,
    },
    /// Enter all namespaces of a running container at once.
    JoinContainer,
    /// A new user namespace.
    UnshareUser,
    /// Let nobody who is not root over the host look into the process.
    Hide,
    /// Become this user and group of the user namespace, and keep all rights in it.
    TakeIds {
        /// The user id.
        uid: u32,
        /// The group id.
        gid: u32,
    },
    /// Open what operations of this list want opened before, with the rights that the process has now.
    OpenTrees,
    /// A new time namespace for whoever is made next, with its clocks set off.
    TimeOffsets(Vec<TimeOffset>),
    /// A cgroup namespace whose root is the container's cgroup.
    UnshareCgroup,
    /// Have the launcher do something from outside, and wait for it.
    Outside(Outside),
    /// A session of its own, without a terminal.
    NewSession,
    /// How likely the kernel is to kill the process when memory is short, -1000 to 1000.
    OomScoreAdj(i32),
    /// Nothing mounted in the container reaches the host.
    DetachPropagation,
    /// How mounts spread between the new namespace and the host, where the spec says so.
    HostPropagation {
        /// The propagation.
        #[serde(serialize_with = "view::propagation")]
        propagation: Propagation,
        /// For all mounts below as well.
        recursive: bool,
    },
    /// Put the container's root file system on top of the host's.
    AttachRoot(RootSource),
    /// Bind the container's root file system over itself: where mounts spread to the host, nothing may lie on its root.
    AttachRootInPlace(PathBuf),
    /// Attach the root that is given where the bundle has it: hooks look for it there.
    AttachGivenRootAt(PathBuf),
    /// Take a copy of the container's root file system that is attached nowhere: there is no mount namespace but the host's,
    /// which shall not show it.
    CloneRoot(RootSource),
    /// Mount something.
    Mount(MountOperation),
    /// Make a device file.
    Device(Device),
    /// Make a symbolic link unless something is there.
    Symlink {
        /// What it says.
        target: String,
        /// Where it is.
        path: PathBuf,
    },
    /// Open a terminal in the container's devpts, hand its other side to the launcher, make it the controlling one.
    Terminal {
        /// Also bind it to `/dev/console`.
        console: bool,
        /// Who owns it.
        uid: u32,
    },
    /// The host name.
    HostName(String),
    /// The NIS domain name.
    DomainName(String),
    /// A kernel parameter of the container's namespaces.
    Sysctl {
        /// Its name, with dots.
        key: String,
        /// Its value.
        value: String,
    },
    /// Hide a path, if it exists.
    Mask(PathBuf),
    /// Make a path read-only, if it exists.
    MakeReadOnly(PathBuf),
    /// Run these hooks, in the container's namespaces.
    Hooks(Vec<Hook>),
    /// Make the root mount read-only.
    ReadOnlyRoot,
    /// Make the container's root the root, and let go of the host's.
    PivotRoot,
    /// As [`Operation::PivotRoot`], where the host would follow when its mounts are let go of.
    PivotRootFromPeers,
    /// Make the host's procfs and sysfs unreachable: while a mount namespace has a whole one, the kernel lets any user
    /// namespace in it mount another, without the container's masks.
    HideInterfaces,
    /// Make the container's root the root, leaving the host's below it.
    ChangeRoot,
    /// How mounts spread to and from the container's root.
    RootPropagation {
        /// The propagation.
        #[serde(serialize_with = "view::propagation")]
        propagation: Propagation,
        /// For all mounts below as well.
        recursive: bool,
    },
    /// A resource limit; `None` is unlimited.
    Rlimit {
        /// `RLIMIT_…` as the spec writes it.
        name: &'static str,
        /// The resource.
        #[serde(skip)]
        resource: rustix::process::Resource,
        /// The limit that applies.
        soft: Option<u64>,
        /// How far the process may raise it.
        hard: Option<u64>,
    },
    /// A session keyring of its own.
    SessionKeyring,
    /// The execution domain.
    Personality(u32),
    /// The CPUs that the process may run on.
    CpuAffinity(NumberSet),
    /// Any CPU, as far as the cgroup allows: the launcher's own affinity does not stick to the container.
    AnyCpu,
    /// The scheduling policy.
    Scheduler {
        /// `SCHED_…` as the spec writes it.
        name: &'static str,
        /// The kernel's number of it.
        policy: u32,
        /// `SCHED_FLAG_…`.
        flags: u64,
        /// The nice value.
        nice: i32,
        /// The static priority of the real-time policies.
        priority: u32,
        /// Nanoseconds of each period, within which they are to be had, and of the period: the deadline policy's.
        deadline: [u64; 3],
    },
    /// The I/O priority of the process's group.
    IoPriority {
        /// `IOPRIO_CLASS_…` as the spec writes it.
        name: &'static str,
        /// The kernel's number of it.
        class: u32,
        /// 0 (first) to 7 (last) within the class.
        level: u32,
    },
    /// Where the process's memory comes from.
    MemoryPolicy {
        /// `MPOL_…` as the spec writes it.
        name: &'static str,
        /// The mode with its flags.
        mode: u32,
        /// The nodes.
        nodes: NumberSet,
    },
    /// What a security module knows the process by once it executes its command.
    Label {
        /// The module, and what of it.
        kind: LabelKind,
        /// The profile's name, or the context.
        label: String,
    },
    /// Make the working directory, with what is missing above it.
    MakeWorkingDirectory(PathBuf),
    /// Make a mount read-only that had to be written to until now.
    ReadOnlyMount(PathBuf),
    /// Close every descriptor but the standard three, this many after them, and the status pipe.
    CloseDescriptors {
        /// How many.
        preserve: u32,
    },
    /// Set `HOME` from the container's `/etc/passwd` where the environment does not.
    Home,
    /// The working directory.
    WorkingDirectory(PathBuf),
    /// Give up gaining privileges by execve.
    NoNewPrivileges,
    /// Drop all capabilities but these from the bounding set.
    BoundingSet(#[serde(serialize_with = "view::capabilities")] u64),
    /// Become a user, keeping permitted capabilities for the moment.
    User {
        /// The user id.
        uid: u32,
        /// The group id.
        gid: u32,
        /// Supplementary groups.
        groups: Vec<u32>,
    },
    /// Set the capability sets. `CAP_SYS_ADMIN` is kept for a moment where installing the filter needs it.
    Capabilities {
        /// The sets.
        sets: CapabilitySets,
        /// Keep `CAP_SYS_ADMIN` until the filter is installed.
        for_filter: bool,
    },
    /// Find the command in the container's file system.
    FindCommand,
    /// Tell the launcher that all is set up, and wait for `start`.
    WaitForStart,
    /// Install the system call filter.
    Seccomp,
    /// Install the system call filter, and have its listener handed over.
    SeccompListener,
    /// Fill the ambient set.
    Ambient(#[serde(serialize_with = "view::capabilities")] u64),
    /// Die with the process that launched the container.
    DieWithParent,
    /// The file mode creation mask.
    Umask(u32),
    /// Become an init; a child, which has done all so far, goes on.
    Init,
    /// Replace the program.
    Execute(Vec<String>),
}

/// A security module's label of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum LabelKind {
    /// The AppArmor profile that the command is executed under.
    AppArmor,
    /// The SELinux context that the command is executed in.
    Selinux,
    /// The SELinux context of keyrings that the process makes.
    SelinuxKeys,
}

/// Where a namespace to join is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum NamespaceSource {
    /// A file.
    Path(PathBuf),
    /// A descriptor that the launcher was given.
    Given,
}

/// Where the root file system is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RootSource {
    /// A directory.
    Path(PathBuf),
    /// A directory that was opened before: by the launcher, or by [`Operation::OpenTrees`].
    Opened(PathBuf),
    /// A detached mount that the launcher was given.
    Given,
}

/// Attributes of a mount: `MOUNT_ATTR_…` flags to set and to clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Attributes {
    /// Flags to set.
    #[serde(serialize_with = "view::attributes")]
    pub set: u64,
    /// Flags to clear.
    #[serde(serialize_with = "view::attributes")]
    pub clear: u64,
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MountOperation {
    /// Its place in the spec's `mounts`.
    pub index: usize,
    /// Where, inside the container.
    pub destination: PathBuf,
    /// What.
    pub source: MountSource,
    /// Attributes of the mount itself.
    pub attributes: Attributes,
    /// Attributes that are cleared only because others were named: they stay where the kernel has locked them.
    #[serde(serialize_with = "view::attributes")]
    pub implied: u64,
    /// Attributes of the mount and all below it.
    pub recursive: Attributes,
    /// How mounts spread to and from it, and whether that holds for all below it; one after the other.
    #[serde(serialize_with = "view::propagations")]
    pub propagation: Vec<(Propagation, bool)>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum MountSource {
    /// A new instance of a file system.
    FileSystem {
        /// Its type.
        kind: String,
        /// Its source, where that means something.
        source: Option<String>,
        /// Its parameters.
        parameters: Vec<(String, Option<String>)>,
        /// A tmpfs that begins with a copy of what it covers.
        copy_up: bool,
        /// What of the host's is bound instead, with all below it, where the kernel does not let the container's user
        /// namespace have an instance of its own.
        otherwise: Option<PathBuf>,
    },
    /// What is mounted there already, changed.
    Existing {
        /// Parameters of its file system.
        parameters: Vec<(String, Option<String>)>,
    },
    /// A file or directory of the host.
    Bind {
        /// Its absolute path.
        source: PathBuf,
        /// With what is mounted below it.
        recursive: bool,
        /// Whether it was opened before: by the launcher, or by [`Operation::OpenTrees`].
        opened: bool,
        /// Whose ids its files show instead of their owners'.
        ids: Option<MountIds>,
    },
    /// A file or directory that an earlier mount has put into the container's root.
    Inside {
        /// Its path there.
        source: PathBuf,
        /// With what is mounted below it.
        recursive: bool,
        /// Whose ids its files show instead of their owners'.
        ids: Option<MountIds>,
    },
    /// The cgroup v1 hierarchies, each in its directory of one small tmpfs.
    Cgroup1 {
        /// The hierarchies.
        hierarchies: Vec<CgroupHierarchy>,
        /// Whether the container has its own cgroup namespace; otherwise only its own cgroup is bound.
        namespace: bool,
    },
}

/// The ids of an id-mapped mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MountIds {
    /// Which.
    pub source: MountIdSource,
    /// For all mounts below as well.
    pub recursive: bool,
}

/// Where the ids of an id-mapped mount come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum MountIdSource {
    /// These.
    Maps(IdMaps),
    /// Those of the user namespace that this file is.
    Namespace(PathBuf),
}

/// How far a clock of a time namespace is off (time_namespaces(7)).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct TimeOffset {
    /// `monotonic` or `boottime`.
    pub clock: &'static str,
    /// Seconds.
    pub seconds: i64,
    /// Nanoseconds, less than a second of them.
    pub nanoseconds: u32,
}

/// A cgroup v1 hierarchy (or, with no controllers and no name, the v2 hierarchy of a hybrid host).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct CgroupHierarchy {
    /// Its controllers, in the kernel's order.
    pub controllers: Vec<String>,
    /// Its name, when it is a named one.
    pub name: Option<String>,
}

impl CgroupHierarchy {
    /// The directory under `/sys/fs/cgroup` that is customary for it.
    pub fn directory(&self) -> String {
        match (&self.name, self.controllers.is_empty()) {
            (Some(name), _) => name.clone(),
            (None, true) => "unified".into(),
            (None, false) => self.controllers.join(","),
        }
    }

    /// What names it in `/proc/self/cgroup`: its controllers, or `name=NAME`; nothing for the v2 hierarchy.
    pub(crate) fn names(&self) -> Vec<String> {
        let name = self.name.as_ref().map(|name| format!("name={name}"));
        self.controllers.iter().cloned().chain(name).collect()
    }
}

/// A device file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Where.
    pub path: PathBuf,
    /// Of what type.
    pub kind: DeviceKind,
    /// The driver.
    pub major: u32,
    /// The device.
    pub minor: u32,
    /// Whether the host's own is bound, as it is, because device files cannot be made.
    pub bind: bool,
    /// Permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// The type of a device file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum DeviceKind {
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
}

/// The five capability sets (capabilities(7)), bit n for capability number n.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct CapabilitySets {
    /// What may ever be gained.
    #[serde(serialize_with = "view::capabilities")]
    pub bounding: u64,
    /// What the kernel checks.
    #[serde(serialize_with = "view::capabilities")]
    pub effective: u64,
    /// What may be made effective.
    #[serde(serialize_with = "view::capabilities")]
    pub permitted: u64,
    /// What files may pass on.
    #[serde(serialize_with = "view::capabilities")]
    pub inheritable: u64,
    /// What programs without file capabilities keep.
    #[serde(serialize_with = "view::capabilities")]
    pub ambient: u64,
}

pub(super) fn limit(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".into(), |limit| limit.to_string())
}

fn attributes(f: &mut fmt::Formatter<'_>, attributes: &Attributes, prefix: &str) -> fmt::Result {
    for (name, bit) in ATTRIBUTE_NAMES {
        if attributes.set & bit != 0 {
            write!(f, " {prefix}{name}")?;
        } else if attributes.clear & bit != 0 && (bit & ATTR_ATIME == 0 || attributes.set & ATTR_ATIME == 0) {
            write!(f, " -{prefix}{name}")?;
        }
    }
    Ok(())
}

fn parameters(f: &mut fmt::Formatter<'_>, parameters: &[(String, Option<String>)]) -> fmt::Result {
    parameters.iter().try_for_each(|(key, value)| match value {
        Some(value) => write!(f, " {key}={value}"),
        None => write!(f, " {key}"),
    })
}

pub(super) fn list(f: &mut fmt::Formatter<'_>, verb: &str, hooks: &[Hook]) -> fmt::Result {
    f.write_str(verb)?;
    hooks.iter().try_for_each(|hook| write!(f, " {hook}"))
}

fn mount_ids(f: &mut fmt::Formatter<'_>, ids: Option<&MountIds>) -> fmt::Result {
    let Some(MountIds { source, recursive }) = ids else { return Ok(()) };
    f.write_str(if *recursive { " ridmap" } else { " idmap" })?;
    match source {
        MountIdSource::Maps(maps) => write!(f, " {maps}"),
        MountIdSource::Namespace(path) => write!(f, " of {}", path.display()),
    }
}

impl fmt::Display for MountOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            MountSource::FileSystem { kind, parameters: given, copy_up, otherwise, .. } => {
                write!(f, "mount {kind} on {}", self.destination.display())?;
                parameters(f, given)?;
                f.write_str(if *copy_up { " tmpcopyup" } else { "" })?;
                if let Some(otherwise) = otherwise {
                    write!(f, " (or rbind {})", otherwise.display())?;
                }
            }
            MountSource::Existing { parameters: given } => {
                write!(f, "remount {}", self.destination.display())?;
                parameters(f, given)?;
            }
            MountSource::Bind { source, recursive, opened, ids } => {
                let verb = if *recursive { "rbind" } else { "bind" };
                let opened = if *opened { " (opened before)" } else { "" };
                write!(f, "{verb} {}{opened} on {}", source.display(), self.destination.display())?;
                mount_ids(f, ids.as_ref())?;
            }
            MountSource::Inside { source, recursive, ids } => {
                let verb = if *recursive { "rbind" } else { "bind" };
                write!(f, "{verb} {} of the container on {}", source.display(), self.destination.display())?;
                mount_ids(f, ids.as_ref())?;
            }
            MountSource::Cgroup1 { hierarchies, namespace } => {
                write!(f, "mount cgroup on {}", self.destination.display())?;
                for hierarchy in hierarchies {
                    write!(f, " {}", hierarchy.directory())?;
                }
                if !namespace {
                    f.write_str(" (own cgroup only)")?;
                }
            }
        }
        f.write_str(if self.implied == 0 { "" } else { " exactly" })?;
        attributes(f, &self.attributes, "")?;
        attributes(f, &self.recursive, "r")?;
        self.propagation
            .iter()
            .try_for_each(|(propagation, recursive)| write!(f, " {}", propagation_name(*propagation, *recursive)))
    }
}

pub(super) fn propagation_name(propagation: Propagation, recursive: bool) -> String {
    let name = match propagation {
        Propagation::Shared => "shared",
        Propagation::Slave => "slave",
        Propagation::Private => "private",
        Propagation::Unbindable => "unbindable",
    };
    format!("{}{name}", if recursive { "r" } else { "" })
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::JoinCgroup => f.write_str("join the cgroup"),
            Operation::JoinNamespace { kind, source: NamespaceSource::Path(path) } => {
                write!(f, "join {kind} {}", path.display())
            }
            Operation::JoinNamespace { kind, source: NamespaceSource::Given } => write!(f, "join {kind} (prepared)"),
            Operation::JoinContainer => f.write_str("join the container's namespaces"),
            Operation::UnshareUser => f.write_str("unshare CLONE_NEWUSER"),
            Operation::Hide => f.write_str("hide from other users"),
            Operation::TakeIds { uid, gid } => write!(f, "become {uid}:{gid} of the user namespace"),
            Operation::OpenTrees => f.write_str("open the root and what is bound"),
            Operation::TimeOffsets(offsets) => {
                f.write_str("unshare CLONE_NEWTIME with")?;
                let mut offsets = offsets.iter();
                offsets.try_for_each(|o| write!(f, " {}{:+}.{:09}", o.clock, o.seconds, o.nanoseconds))
            }
            Operation::UnshareCgroup => f.write_str("unshare CLONE_NEWCGROUP"),
            Operation::Outside(outside) => write!(f, "{outside}"),
            Operation::NewSession => f.write_str("new session"),
            Operation::OomScoreAdj(score) => write!(f, "oom score {score}"),
            Operation::DetachPropagation => f.write_str("propagation of / rslave"),
            Operation::HostPropagation { propagation, recursive } => {
                write!(f, "propagation of / {}", propagation_name(*propagation, *recursive))
            }
            Operation::CloneRoot(RootSource::Given) => f.write_str("take the root given, attached nowhere"),
            Operation::CloneRoot(RootSource::Path(path) | RootSource::Opened(path)) => {
                write!(f, "take root {}, attached nowhere", path.display())
            }
            Operation::AttachRootInPlace(path) => write!(f, "attach root {} in its own place", path.display()),
            Operation::AttachGivenRootAt(path) => write!(f, "attach root (prepared) at {}", path.display()),
            Operation::AttachRoot(RootSource::Path(path)) => write!(f, "attach root {}", path.display()),
            Operation::AttachRoot(RootSource::Opened(path)) => {
                write!(f, "attach root {} (opened before)", path.display())
            }
            Operation::AttachRoot(RootSource::Given) => f.write_str("attach root (prepared)"),
            Operation::Mount(mount) => write!(f, "{mount}"),
            Operation::Device(device) => {
                let kind = match device.kind {
                    DeviceKind::Character => 'c',
                    DeviceKind::Block => 'b',
                    DeviceKind::Fifo => 'p',
                };
                let verb = if device.bind { "bind device" } else { "device" };
                write!(
                    f,
                    "{verb} {} {kind} {}:{} {:04o} {}:{}",
                    device.path.display(),
                    device.major,
                    device.minor,
                    device.mode,
                    device.uid,
                    device.gid
                )
            }
            Operation::Symlink { target, path } => write!(f, "symlink {} -> {target}", path.display()),
            Operation::Terminal { console, uid } => {
                write!(f, "terminal of user {uid}{}", if *console { " and /dev/console" } else { "" })
            }
            Operation::HostName(name) => write!(f, "host name {name}"),
            Operation::DomainName(name) => write!(f, "domain name {name}"),
            Operation::Sysctl { key, value } => write!(f, "sysctl {key}={value}"),
            Operation::Mask(path) => write!(f, "mask {}", path.display()),
            Operation::MakeReadOnly(path) => write!(f, "read-only {}", path.display()),
            Operation::Hooks(hooks) => list(f, "run", hooks),
            Operation::ReadOnlyRoot => f.write_str("read-only /"),
            Operation::ReadOnlyMount(path) => write!(f, "read-only mount {}", path.display()),
            Operation::MakeWorkingDirectory(path) => write!(f, "make the working directory {}", path.display()),
            Operation::PivotRoot => f.write_str("pivot root"),
            Operation::PivotRootFromPeers => f.write_str("pivot root (the host's as rslave)"),
            Operation::HideInterfaces => f.write_str("hide the host's procfs and sysfs"),
            Operation::ChangeRoot => f.write_str("change root"),
            Operation::RootPropagation { propagation, recursive } => {
                write!(f, "propagation of the root {}", propagation_name(*propagation, *recursive))
            }
            other => other.fmt_process(f),
        }
    }
}

impl Operation {
    /// Whether the process that carries it out asks its launcher for something, and waits for the answer.
    pub fn asks(&self) -> bool {
        matches!(self, Operation::Outside(_) | Operation::SeccompListener)
    }

    fn fmt_process(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::Rlimit { name, soft, hard, .. } => {
                write!(f, "limit {name} {}:{}", limit(*soft), limit(*hard))
            }
            Operation::SessionKeyring => f.write_str("session keyring"),
            Operation::Personality(domain) => write!(f, "personality {domain:#x}"),
            Operation::CloseDescriptors { preserve } => write!(f, "close descriptors from {} on", 3 + preserve),
            Operation::Label { kind, label } => {
                let kind = match kind {
                    LabelKind::AppArmor => "AppArmor profile",
                    LabelKind::Selinux => "SELinux context",
                    LabelKind::SelinuxKeys => "SELinux context of keys",
                };
                write!(f, "{kind} {label}")
            }
            Operation::Home => f.write_str("HOME from /etc/passwd"),
            Operation::WorkingDirectory(path) => write!(f, "working directory {}", path.display()),
            Operation::NoNewPrivileges => f.write_str("no new privileges"),
            Operation::BoundingSet(set) => write!(f, "bounding set {set:#x}"),
            Operation::User { uid, gid, groups } => write!(f, "user {uid}:{gid} groups {groups:?}"),
            Operation::Capabilities { sets, for_filter } => write!(
                f,
                "capabilities effective {:#x} permitted {:#x} inheritable {:#x}{}",
                sets.effective,
                sets.permitted,
                sets.inheritable,
                if *for_filter { " (and CAP_SYS_ADMIN until the filter is installed)" } else { "" }
            ),
            Operation::FindCommand => f.write_str("find the command"),
            Operation::WaitForStart => f.write_str("wait for start"),
            Operation::Seccomp => f.write_str("seccomp filter"),
            Operation::SeccompListener => f.write_str("seccomp filter with a listener"),
            Operation::Ambient(set) => write!(f, "ambient set {set:#x}"),
            Operation::DieWithParent => f.write_str("die with the parent"),
            Operation::Umask(mask) => write!(f, "umask {mask:04o}"),
            Operation::Init => f.write_str("become an init, and in a child"),
            Operation::Execute(arguments) => write!(f, "execute {arguments:?}"),
            other => other.fmt_scheduling(f),
        }
    }

    fn fmt_scheduling(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::CpuAffinity(cpus) => write!(f, "run on CPUs {cpus}"),
            Operation::AnyCpu => f.write_str("run on any CPU"),
            Operation::Scheduler { name, flags, nice, priority, deadline: [runtime, deadline, period], .. } => {
                write!(f, "scheduler {name} flags {flags:#x} nice {nice} priority {priority}")?;
                write!(f, " runtime {runtime} deadline {deadline} period {period}")
            }
            Operation::IoPriority { name, level, .. } => write!(f, "I/O priority {name} {level}"),
            Operation::MemoryPolicy { name, mode, nodes } => {
                write!(f, "memory policy {name} {mode:#x} nodes [{nodes}]")
            }
            // The others are printed by `Display`.
            _ => Ok(()),
        }
    }
}
