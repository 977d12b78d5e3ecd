// SPDX-License-Identifier: Apache-2.0
//! The `mounts` of a spec: types, options (mount(8) and the runtime specification's table), destinations.

use std::path::{Component, Path, PathBuf};

use oci::runtime_spec::{Linux, LinuxNamespaceType, Mount, Spec};
use sys::mount as attr;
use sys::mount::Propagation;

use super::namespaces::{Namespaces, mappings};
use super::operation::{Attributes, MountIdSource, MountIds, MountOperation, MountSource, Operation};
use super::outside::IdMaps;
use super::{EmptyLinux as _, Inputs, PlanError};

/// Attributes as they are printed.
pub(super) const ATTRIBUTE_NAMES: [(&str, u64); 8] = [
    ("ro", attr::ATTR_RDONLY),
    ("nosuid", attr::ATTR_NOSUID),
    ("nodev", attr::ATTR_NODEV),
    ("noexec", attr::ATTR_NOEXEC),
    ("noatime", attr::ATTR_NOATIME),
    ("strictatime", attr::ATTR_STRICTATIME),
    ("nodiratime", attr::ATTR_NODIRATIME),
    ("nosymfollow", attr::ATTR_NOSYMFOLLOW),
];

/// Options that set or clear attributes: name, flags set, flags cleared. With an `r` before the name they hold for
/// all mounts below as well. `norelatime` and `nostrictatime` leave what the kernel does by itself.
const ATTRIBUTE_OPTIONS: [(&str, u64, u64); 18] = [
    ("ro", attr::ATTR_RDONLY, 0),
    ("rw", 0, attr::ATTR_RDONLY),
    ("nosuid", attr::ATTR_NOSUID, 0),
    ("suid", 0, attr::ATTR_NOSUID),
    ("nodev", attr::ATTR_NODEV, 0),
    ("dev", 0, attr::ATTR_NODEV),
    ("noexec", attr::ATTR_NOEXEC, 0),
    ("exec", 0, attr::ATTR_NOEXEC),
    ("noatime", attr::ATTR_NOATIME, attr::ATTR_ATIME),
    ("atime", 0, attr::ATTR_ATIME),
    ("strictatime", attr::ATTR_STRICTATIME, attr::ATTR_ATIME),
    ("nostrictatime", 0, 0),
    ("relatime", 0, attr::ATTR_ATIME),
    ("norelatime", 0, 0),
    ("nodiratime", attr::ATTR_NODIRATIME, 0),
    ("diratime", 0, attr::ATTR_NODIRATIME),
    ("nosymfollow", attr::ATTR_NOSYMFOLLOW, 0),
    ("symfollow", 0, attr::ATTR_NOSYMFOLLOW),
];

/// What a bind mount has none of when its options say anything about it, as with mount(8)'s `bind,remount`. How access
/// times are kept stays, unless that is what they say.
const EXACT: u64 =
    attr::ATTR_RDONLY | attr::ATTR_NOSUID | attr::ATTR_NODEV | attr::ATTR_NOEXEC | attr::ATTR_NOSYMFOLLOW;

/// Options of the file system itself that every file system takes, for a new one. A bind mount shares its file system
/// with its source, so they mean nothing for it.
const FILE_SYSTEM_OPTIONS: [&str; 8] =
    ["sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand", "defaults"];

/// What only mount(2) can say, and no file system needs said: whether the kernel logs, and a counter of changes that
/// those which have one keep anyway.
const WITHOUT_EFFECT: [&str; 4] = ["silent", "loud", "iversion", "noiversion"];

const PROPAGATION_OPTIONS: [(&str, Propagation); 4] = [
    ("shared", Propagation::Shared),
    ("slave", Propagation::Slave),
    ("private", Propagation::Private),
    ("unbindable", Propagation::Unbindable),
];

/// Where a host with cgroup v2 only has its hierarchy.
const CGROUP2: &str = "/sys/fs/cgroup";

/// What runc lets be mounted below `/proc`: files that tools such as lxcfs replace. Anything else there could turn
/// the kernel's interface into something of the image's making.
const BELOW_PROC: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// The mount options that mean something here, for `features`.
pub fn mount_option_names() -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (name, ..) in ATTRIBUTE_OPTIONS {
        names.push(name.into());
        names.push(format!("r{name}"));
    }
    for (name, _) in PROPAGATION_OPTIONS {
        names.push(name.into());
        names.push(format!("r{name}"));
    }
    names.extend(FILE_SYSTEM_OPTIONS.map(String::from));
    names.extend(WITHOUT_EFFECT.map(String::from));
    names.extend(["bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap"].map(String::from));
    names.sort();
    names
}

/// Reads a propagation as options and `rootfsPropagation` write it; `None` for the empty string.
pub(super) fn propagation(name: &str) -> Result<Option<(Propagation, bool)>, PlanError> {
    if name.is_empty() {
        return Ok(None);
    }
    find_propagation(name).map(Some).ok_or_else(|| PlanError::Invalid {
        field: "linux.rootfsPropagation".into(),
        value: name.into(),
        expected: "shared, slave, private or unbindable, with an r before it for all mounts below",
    })
}

fn find_propagation(name: &str) -> Option<(Propagation, bool)> {
    let find = |name: &str| PROPAGATION_OPTIONS.iter().find(|(option, _)| *option == name).map(|found| found.1);
    find(name)
        .map(|propagation| (propagation, false))
        .or_else(|| find(name.strip_prefix('r')?).map(|propagation| (propagation, true)))
}

fn apply_attribute(attributes: &mut Attributes, (_, set, clear): &(&str, u64, u64)) {
    attributes.set = (attributes.set & !clear) | set;
    attributes.clear = (attributes.clear & !set) | clear;
}

#[derive(Default)]
struct Options {
    attributes: Attributes,
    recursive: Attributes,
    /// Whether anything is said about the mount's own attributes, if only that they are not set.
    says: bool,
    propagation: Vec<(Propagation, bool)>,
    bind: Option<bool>,
    remount: bool,
    copy_up: bool,
    /// Whether the mount is id-mapped, and whether that holds for all below it.
    idmap: Option<bool>,
    parameters: Vec<(String, Option<String>)>,
}

impl Options {
    fn read(options: &[String], field: &str) -> Result<Options, PlanError> {
        let mut read = Options::default();
        for option in options.iter().map(String::as_str).filter(|option| !option.is_empty()) {
            let known = |name: &str| ATTRIBUTE_OPTIONS.iter().find(|(option, ..)| *option == name);
            if option == "atime" {
                // How access times are kept stays as it is with the source: mount(2) changes that only for one of the
                // ways by name.
                read.says = true;
            } else if let Some(found) = known(option) {
                read.says = true;
                apply_attribute(&mut read.attributes, found);
            } else if let Some(found) = option.strip_prefix('r').and_then(known) {
                apply_attribute(&mut read.recursive, found);
            } else if let Some(found) = find_propagation(option) {
                read.propagation.push(found);
            } else if !read.read_other(option) {
                if option.starts_with("idmap=") || option.starts_with("ridmap=") {
                    return Err(PlanError::Unsupported { field: format!("{field}.options[{option}]") });
                }
                if option.contains('\0') {
                    return Err(invalid(format!("{field}.options"), option, "text without NUL bytes"));
                }
                let (key, value) = match option.split_once('=') {
                    Some((key, value)) => (key, Some(value.to_owned())),
                    None => (option, None),
                };
                read.parameters.push((key.to_owned(), value));
            }
        }
        Ok(read)
    }

    /// The options that are neither attributes nor the file system's own.
    fn read_other(&mut self, option: &str) -> bool {
        match option {
            "bind" | "rbind" => self.bind = Some(option == "rbind"),
            "remount" => self.remount = true,
            "tmpcopyup" => self.copy_up = true,
            "idmap" | "ridmap" => self.idmap = Some(option == "ridmap"),
            "defaults" => {}
            option => return WITHOUT_EFFECT.contains(&option),
        }
        true
    }

    /// A bind mount has exactly the attributes that its options say, once they say any. In a user namespace, only
    /// besides those of its source: the kernel would not let the container's maker take them away from inside, and
    /// that the source was opened outside must not change what it gets.
    fn exactly(&mut self, around: &Surroundings<'_>) -> u64 {
        if !self.says || around.namespaces.opens_before() {
            return 0;
        }
        let said = self.attributes.set | self.attributes.clear;
        let mut implied = EXACT & !said;
        let times = [attr::ATTR_ATIME, attr::ATTR_NODIRATIME];
        if times.iter().any(|field| said & field != 0) {
            implied |= times.iter().filter(|field| said & *field == 0).fold(0, |fields, field| fields | field);
        }
        implied
    }
}

/// One entry of `mounts`, and whether it becomes read-only only when everything in it is in its place.
struct Planned {
    mount: MountOperation,
    read_only_later: bool,
    /// What is said of it that means nothing.
    warnings: Vec<String>,
}

impl Planned {
    /// Whether the mount is changed when it has its place. The kernel allows that in a mount namespace only.
    fn is_changed_in_place(&self) -> bool {
        let changed = match &self.mount.source {
            MountSource::Existing { .. } => true,
            MountSource::Cgroup1 { .. } => self.mount.attributes.set & attr::ATTR_RDONLY != 0,
            _ => false,
        };
        changed || self.read_only_later || !self.mount.propagation.is_empty()
    }
}

/// What planning a mount depends on besides the mount.
struct Surroundings<'a> {
    inputs: &'a Inputs,
    namespaces: &'a Namespaces,
    /// `linux.mountLabel`.
    label: Option<&'a str>,
    /// Where the host has the container's root, if it has.
    root: Option<&'a Path>,
    /// The destinations of the mounts before.
    before: &'a [PathBuf],
}

impl Surroundings<'_> {
    /// The path in the container of what the host would not show at `source`, because a mount before put it there: this
    /// root is nowhere in the host's tree.
    fn inside(&self, source: &Path) -> Option<PathBuf> {
        let below = source.strip_prefix(self.root?).ok()?;
        let path = Path::new("/").join(below);
        let plain = below.components().all(|part| matches!(part, Component::Normal(_)));
        (plain && self.before.iter().any(|destination| path.starts_with(destination))).then_some(path)
    }
}

/// Plans the `mounts` of a spec; what is to become read-only once all is in its place, and what there is to warn of.
pub(super) fn operations(
    spec: &Spec,
    linux: &Linux,
    inputs: &Inputs,
    namespaces: &Namespaces,
    operations: &mut Vec<Operation>,
) -> Result<(Vec<Operation>, Vec<String>), PlanError> {
    let label = linux.mount_label().as_deref().filter(|label| !label.is_empty());
    if label.is_some() && !inputs.selinux {
        return Err(PlanError::NotOnThisHost { field: "linux.mountLabel".into(), needs: "SELinux" });
    }
    let root = spec.root().as_ref().filter(|_| !inputs.rootfs).map(|root| inputs.bundle.join(root.path()));
    let (mut read_only, mut warnings, mut before) = (Vec::new(), Vec::new(), Vec::new());
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        let around = Surroundings { inputs, namespaces, label, root: root.as_deref(), before: &before };
        let planned = plan(mount, index, &around)?;
        if !namespaces.has(LinuxNamespaceType::Mount) && planned.is_changed_in_place() {
            return Err(PlanError::NeedsNamespace { field: format!("mounts[{index}]"), namespace: "mount" });
        }
        before.push(planned.mount.destination.clone());
        if planned.read_only_later {
            read_only.push(Operation::ReadOnlyMount(planned.mount.destination.clone()));
        }
        warnings.extend(planned.warnings);
        operations.push(Operation::Mount(planned.mount));
    }
    Ok((read_only, warnings))
}

/// Plans a mount that comes into a container when everything else is in its place: read-only at once, if it is to be.
pub(super) fn one_more(mount: &Mount, inputs: &Inputs) -> Result<MountOperation, PlanError> {
    let namespaces = Namespaces::of(&Linux::default_empty(), inputs)?;
    let around = Surroundings { inputs, namespaces: &namespaces, label: None, root: None, before: &[] };
    let mut planned = plan(mount, 0, &around)?;
    if planned.read_only_later {
        planned.mount.attributes.set |= attr::ATTR_RDONLY;
    }
    Ok(planned.mount)
}

/// Plans one entry of `mounts`.
fn plan(mount: &Mount, index: usize, around: &Surroundings<'_>) -> Result<Planned, PlanError> {
    let field = format!("mounts[{index}]");
    let destination = destination(mount, around.root, &field)?;
    let mut options = Options::read(mount.options().as_deref().unwrap_or_default(), &field)?;
    let kind = mount.typ().clone().unwrap_or_default();
    let bind = options.bind.or((kind == "bind").then_some(false));
    check_options(mount, &options, &kind, bind.is_some(), &field)?;
    let warnings = if bind.is_some() { ignored(&options, &field) } else { Vec::new() };
    let mut implied = 0;
    let source = if options.remount {
        implied = options.exactly(around);
        let parameters = if bind.is_some() { Vec::new() } else { std::mem::take(&mut options.parameters) };
        MountSource::Existing { parameters }
    } else {
        match (bind, kind.as_str()) {
            (Some(recursive), _) => {
                implied = options.exactly(around);
                let source = mount.source().as_ref();
                let source = source.ok_or_else(|| invalid(format!("{field}.source"), "", "a path of the host"))?;
                let ids = ids(mount, &options, around.namespaces, &field)?;
                let source = around.inputs.bundle.join(source);
                let opened = around.namespaces.opens_before() || ids.is_some() || is_descriptor(&source);
                // Ids can be changed only by whoever has rights over the file system: not from a user namespace.
                let inside = around.inside(&source).filter(|_| ids.is_none() || !around.namespaces.confined());
                match inside {
                    Some(source) => MountSource::Inside { source, recursive, ids },
                    None => MountSource::Bind { source, recursive, opened, ids },
                }
            }
            (None, "") => return Err(invalid(format!("{field}.type"), "", "a file system type, or the option bind")),
            (None, kind) => {
                let source = new_mount(mount, kind, &mut options, around, &field)?;
                if matches!(source, MountSource::Bind { .. }) {
                    implied = options.exactly(around);
                }
                source
            }
        }
    };
    let new = matches!(source, MountSource::FileSystem { .. } | MountSource::Cgroup1 { .. });
    if new {
        // A new mount has nothing to clear but what was set before; all below it is itself.
        options.attributes =
            Attributes { set: (options.attributes.set & !options.recursive.clear) | options.recursive.set, clear: 0 };
        options.recursive = Attributes::default();
    }
    let filled = new && (kind == "tmpfs" || destination == Path::new("/dev"));
    let read_only_later = filled && options.attributes.set & attr::ATTR_RDONLY != 0;
    if read_only_later {
        options.attributes.set &= !attr::ATTR_RDONLY;
    }
    let mount = MountOperation {
        index,
        destination,
        source,
        attributes: options.attributes,
        implied,
        recursive: options.recursive,
        propagation: options.propagation,
    };
    Ok(Planned { mount, read_only_later, warnings })
}

/// Whether this is a descriptor of a process by its name in `/proc`: what it is open on belongs to the mount namespace that
/// it was opened in, and can only be cloned before the container has one of its own.
pub(crate) fn is_descriptor(source: &Path) -> bool {
    let parts: Vec<_> = source.iter().filter_map(|part| part.to_str()).collect();
    matches!(parts[..], ["/", "proc", process, "fd", number]
        if process.parse::<u32>().is_ok() && number.parse::<u32>().is_ok())
}

/// What cannot be asked of such a mount.
fn check_options(mount: &Mount, options: &Options, kind: &str, bind: bool, field: &str) -> Result<(), PlanError> {
    if options.copy_up && (bind || kind != "tmpfs") {
        return Err(invalid(format!("{field}.options"), "tmpcopyup", "that option on a tmpfs only"));
    }
    let mapped = options.idmap.is_some() || mount.uid_mappings().is_some() || mount.gid_mappings().is_some();
    if mapped && (!bind || options.remount) {
        return Err(invalid(format!("{field}.type"), kind, "a bind mount, because only these are id-mapped"));
    }
    Ok(())
}

/// What a bind mount shares with its source cannot be set for it alone. mount(2) ignores it, and so does runc; whoever
/// wrote it is told.
fn ignored(options: &Options, field: &str) -> Vec<String> {
    let strange = options.parameters.iter().filter(|(key, _)| !FILE_SYSTEM_OPTIONS.contains(&key.as_str()));
    strange.map(|(option, _)| format!("{field}.options: {option:?} means nothing on a bind mount")).collect()
}

/// A new instance of a file system, or what stands for one.
fn new_mount(
    mount: &Mount,
    kind: &str,
    options: &mut Options,
    around: &Surroundings<'_>,
    field: &str,
) -> Result<MountSource, PlanError> {
    let cgroup_namespace = around.namespaces.has(LinuxNamespaceType::Cgroup);
    if kind == "cgroup" && !around.inputs.hierarchies.is_empty() {
        let hierarchies = around.inputs.hierarchies.clone();
        return Ok(MountSource::Cgroup1 { hierarchies, namespace: cgroup_namespace });
    }
    if kind == "cgroup" && !cgroup_namespace {
        // Mounted anew from the host's cgroup namespace, its options would be those of the whole machine's hierarchy.
        let opened = around.namespaces.opens_before();
        return Ok(MountSource::Bind { source: CGROUP2.into(), recursive: false, opened, ids: None });
    }
    let source = mount.source().as_ref().map(|source| source.to_string_lossy().into_owned());
    let mut parameters = mapped_parameters(std::mem::take(&mut options.parameters), around.namespaces, field)?;
    let on_device = source.as_ref().is_some_and(|source| source.starts_with('/'));
    if on_device && options.attributes.set & attr::ATTR_RDONLY != 0 {
        // Not only the mount: a device may be one that cannot be written to.
        parameters.push(("ro".into(), None));
    }
    // The kernel's own interfaces label themselves.
    if let Some(label) = around.label.filter(|_| !matches!(kind, "proc" | "sysfs" | "mqueue" | "cgroup" | "cgroup2")) {
        parameters.push(("context".into(), Some(label.into())));
    }
    let otherwise = otherwise(kind, around.namespaces);
    let kind = if kind == "cgroup" { "cgroup2" } else { kind }.to_owned();
    Ok(MountSource::FileSystem { kind, source, parameters, copy_up: options.copy_up, otherwise })
}

/// The ids of an id-mapped mount: its own, or those of the container's user namespace.
fn ids(mount: &Mount, options: &Options, namespaces: &Namespaces, field: &str) -> Result<Option<MountIds>, PlanError> {
    let own = match (mount.uid_mappings(), mount.gid_mappings()) {
        (None, None) if options.idmap.is_none() => return Ok(None),
        (None, None) => None,
        (uids, gids) => Some(IdMaps {
            uids: mappings(&format!("{field}.uidMappings"), uids)?,
            gids: mappings(&format!("{field}.gidMappings"), gids)?,
        }),
    };
    if !namespaces.may_map_mounts() {
        return Err(PlanError::NeedsRoot { field: format!("{field}.options[idmap]") });
    }
    let source = match (own, namespaces.maps(), namespaces.user_path()) {
        (Some(maps), ..) => MountIdSource::Maps(maps),
        (None, Some(maps), _) => MountIdSource::Maps(maps.clone()),
        (None, None, Some(path)) => MountIdSource::Namespace(path.to_owned()),
        (None, None, None) => {
            let expected = "uidMappings and gidMappings of the mount, or a user namespace whose mappings it gets";
            return Err(invalid(format!("{field}.options"), "idmap", expected));
        }
    };
    Ok(Some(MountIds { source, recursive: options.idmap == Some(true) }))
}

/// A file system's `uid=` and `gid=` mean ids of the container's user namespace, and must be some.
fn mapped_parameters(
    parameters: Vec<(String, Option<String>)>,
    namespaces: &Namespaces,
    field: &str,
) -> Result<Vec<(String, Option<String>)>, PlanError> {
    let Some(maps) = namespaces.maps() else { return Ok(parameters) };
    for (key, value) in &parameters {
        let Some(id) = value.as_deref().and_then(|value| value.parse().ok()) else { continue };
        let mapped = match key.as_str() {
            "uid" => maps.has_uid(id),
            "gid" => maps.has_gid(id),
            _ => true,
        };
        if !mapped {
            let expected = "an id that linux.uidMappings or linux.gidMappings maps";
            return Err(invalid(format!("{field}.options[{key}]"), &id.to_string(), expected));
        }
    }
    Ok(parameters)
}

/// What of the host's takes the place of a kernel interface of which a user namespace may have no instance of its own,
/// because the namespace that it shows belongs to others.
fn otherwise(kind: &str, namespaces: &Namespaces) -> Option<PathBuf> {
    let (namespace, path) = match kind {
        "proc" if !namespaces.joins(LinuxNamespaceType::Pid) => (LinuxNamespaceType::Pid, "/proc"),
        "sysfs" => (LinuxNamespaceType::Network, "/sys"),
        "mqueue" => (LinuxNamespaceType::Ipc, "/dev/mqueue"),
        "cgroup" | "cgroup2" => (LinuxNamespaceType::Cgroup, "/sys/fs/cgroup"),
        _ => return None,
    };
    (namespaces.confined() && !namespaces.belongs(namespace)).then(|| path.into())
}

fn invalid(field: String, value: &str, expected: &'static str) -> PlanError {
    PlanError::Invalid { field, value: value.into(), expected }
}

fn destination(mount: &Mount, root: Option<&Path>, field: &str) -> Result<PathBuf, PlanError> {
    let given = mount.destination();
    // Some write the path that the host sees; runc takes it as what they mean.
    let below = root.filter(|root| root.is_absolute() && *root != Path::new("/"));
    let given = below.and_then(|root| given.strip_prefix(root).ok()).unwrap_or(given);
    let text = given.to_string_lossy();
    let field = format!("{field}.destination");
    if text.is_empty() || text.contains('\0') || given.components().any(|part| part == Component::ParentDir) {
        return Err(invalid(field, &text, "a path inside the container, without .."));
    }
    // The specification says absolute; runc takes a relative one as relative to the root, and specs rely on it.
    let path: PathBuf = Path::new("/")
        .components()
        .chain(given.components().filter(|part| matches!(part, Component::Normal(_))))
        .collect();
    if path == Path::new("/") {
        return Err(invalid(field, &text, "something below the root"));
    }
    let kind = mount.typ().as_deref();
    let below_proc = path.starts_with("/proc") && path != Path::new("/proc");
    if below_proc && kind != Some("proc") && !BELOW_PROC.iter().any(|allowed| path == Path::new(allowed)) {
        return Err(invalid(field, &text, "a path that is not inside /proc"));
    }
    if path == Path::new("/proc") && !matches!(kind, Some("proc" | "bind" | "none") | None) {
        return Err(invalid(field, &text, "procfs, or a bind of one, at /proc"));
    }
    Ok(path)
}
