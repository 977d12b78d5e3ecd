// SPDX-License-Identifier: Apache-2.0
//! One step in making a container, as data. `Display` prints it on one line.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use sys::mount::{ATTR_ATIME, Propagation};
use sys::process::CloneFlags;

use super::mounts::ATTRIBUTE_NAMES;
pub use super::mounts::mount_option_names;
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
    /// A cgroup namespace whose root is the container's cgroup.
    UnshareCgroup,
    /// A session of its own, without a terminal.
    NewSession,
    /// How likely the kernel is to kill the process when memory is short, -1000 to 1000.
    OomScoreAdj(i32),
    /// Nothing mounted in the container reaches the host.
    DetachPropagation,
    /// Put the container's root file system on top of the host's.
    AttachRoot(RootSource),
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
    /// Make the root mount read-only.
    ReadOnlyRoot,
    /// Make the container's root the root, and let go of the host's.
    PivotRoot,
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
    /// Fill the ambient set.
    Ambient(#[serde(serialize_with = "view::capabilities")] u64),
    /// Die with the process that launched the container.
    DieWithParent,
    /// The file mode creation mask.
    Umask(u32),
    /// Replace the program.
    Execute(Vec<String>),
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
    /// Where, inside the container.
    pub destination: PathBuf,
    /// What.
    pub source: MountSource,
    /// Attributes of the mount itself.
    pub attributes: Attributes,
    /// Attributes of the mount and all below it.
    pub recursive: Attributes,
    /// How mounts spread to and from it, and whether that holds for all below it.
    #[serde(serialize_with = "view::optional_propagation")]
    pub propagation: Option<(Propagation, bool)>,
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
    },
    /// A file or directory of the host.
    Bind {
        /// Its absolute path.
        source: PathBuf,
        /// With what is mounted below it.
        recursive: bool,
    },
    /// The cgroup v1 hierarchies, each in its directory of one small tmpfs.
    Cgroup1 {
        /// The hierarchies.
        hierarchies: Vec<CgroupHierarchy>,
        /// Whether the container has its own cgroup namespace; otherwise only its own cgroup is bound.
        namespace: bool,
    },
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

fn limit(limit: Option<u64>) -> String {
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

impl fmt::Display for MountOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            MountSource::FileSystem { kind, parameters, .. } => {
                write!(f, "mount {kind} on {}", self.destination.display())?;
                for (key, value) in parameters {
                    match value {
                        Some(value) => write!(f, " {key}={value}")?,
                        None => write!(f, " {key}")?,
                    }
                }
            }
            MountSource::Bind { source, recursive } => {
                let verb = if *recursive { "rbind" } else { "bind" };
                write!(f, "{verb} {} on {}", source.display(), self.destination.display())?;
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
        attributes(f, &self.attributes, "")?;
        attributes(f, &self.recursive, "r")?;
        if let Some((propagation, recursive)) = self.propagation {
            write!(f, " {}", propagation_name(propagation, recursive))?;
        }
        Ok(())
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
            Operation::UnshareCgroup => f.write_str("unshare CLONE_NEWCGROUP"),
            Operation::NewSession => f.write_str("new session"),
            Operation::OomScoreAdj(score) => write!(f, "oom score {score}"),
            Operation::DetachPropagation => f.write_str("propagation of / rslave"),
            Operation::AttachRoot(RootSource::Path(path)) => write!(f, "attach root {}", path.display()),
            Operation::AttachRoot(RootSource::Given) => f.write_str("attach root (prepared)"),
            Operation::Mount(mount) => write!(f, "{mount}"),
            Operation::Device(device) => {
                let kind = match device.kind {
                    DeviceKind::Character => 'c',
                    DeviceKind::Block => 'b',
                    DeviceKind::Fifo => 'p',
                };
                write!(
                    f,
                    "device {} {kind} {}:{} {:04o} {}:{}",
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
            Operation::ReadOnlyRoot => f.write_str("read-only /"),
            Operation::PivotRoot => f.write_str("pivot root"),
            Operation::ChangeRoot => f.write_str("change root"),
            Operation::RootPropagation { propagation, recursive } => {
                write!(f, "propagation of the root {}", propagation_name(*propagation, *recursive))
            }
            other => other.fmt_process(f),
        }
    }
}

impl Operation {
    fn fmt_process(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::Rlimit { name, soft, hard, .. } => {
                write!(f, "limit {name} {}:{}", limit(*soft), limit(*hard))
            }
            Operation::SessionKeyring => f.write_str("session keyring"),
            Operation::Personality(domain) => write!(f, "personality {domain:#x}"),
            Operation::CloseDescriptors { preserve } => write!(f, "close descriptors from {} on", 3 + preserve),
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
            Operation::Ambient(set) => write!(f, "ambient set {set:#x}"),
            Operation::DieWithParent => f.write_str("die with the parent"),
            Operation::Umask(mask) => write!(f, "umask {mask:04o}"),
            Operation::Execute(arguments) => write!(f, "execute {arguments:?}"),
            // The others are printed by `Display`.
            _ => Ok(()),
        }
    }
}
