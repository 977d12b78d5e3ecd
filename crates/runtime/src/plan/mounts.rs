// SPDX-License-Identifier: Apache-2.0
//! The `mounts` of a spec: types, options (mount(8) and the runtime specification's table), destinations.

use std::path::{Component, Path, PathBuf};

use oci::runtime_spec::{LinuxNamespaceType, Mount};
use sys::mount as attr;
use sys::mount::Propagation;

use super::namespaces::{Namespaces, mappings};
use super::operation::{Attributes, MountIdSource, MountIds, MountOperation, MountSource};
use super::outside::IdMaps;
use super::{Inputs, PlanError};

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
/// all mounts below as well.
const ATTRIBUTE_OPTIONS: [(&str, u64, u64); 16] = [
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
    ("relatime", 0, attr::ATTR_ATIME),
    ("nodiratime", attr::ATTR_NODIRATIME, 0),
    ("diratime", 0, attr::ATTR_NODIRATIME),
    ("nosymfollow", attr::ATTR_NOSYMFOLLOW, 0),
    ("symfollow", 0, attr::ATTR_NOSYMFOLLOW),
];

const PROPAGATION_OPTIONS: [(&str, Propagation); 4] = [
    ("shared", Propagation::Shared),
    ("slave", Propagation::Slave),
    ("private", Propagation::Private),
    ("unbindable", Propagation::Unbindable),
];

/// Options without meaning for a mount that is made once.
const IGNORED: [&str; 8] =
    ["defaults", "remount", "norelatime", "nostrictatime", "async", "loud", "nolazytime", "noiversion"];

/// Options that mean something this version does not do.
const REFUSED: [&str; 2] = ["tmpcopyup", "mand"];

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
    names.extend(IGNORED.map(String::from));
    names.extend(
        ["bind", "rbind", "idmap", "ridmap", "sync", "dirsync", "lazytime", "iversion", "silent"].map(String::from),
    );
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
    propagation: Option<(Propagation, bool)>,
    bind: Option<bool>,
    /// Whether the mount is id-mapped, and whether that holds for all below it.
    idmap: Option<bool>,
    parameters: Vec<(String, Option<String>)>,
}

impl Options {
    fn read(options: &[String], field: &str) -> Result<Options, PlanError> {
        let mut read = Options::default();
        for option in options.iter().map(String::as_str).filter(|option| !option.is_empty()) {
            let known = |name: &str| ATTRIBUTE_OPTIONS.iter().find(|(option, ..)| *option == name);
            if let Some(found) = known(option) {
                apply_attribute(&mut read.attributes, found);
            } else if let Some(found) = option.strip_prefix('r').and_then(known) {
                apply_attribute(&mut read.recursive, found);
            } else if let Some(found) = find_propagation(option) {
                read.propagation = Some(found);
            } else if option == "bind" || option == "rbind" {
                read.bind = Some(option == "rbind");
            } else if option == "idmap" || option == "ridmap" {
                read.idmap = Some(option == "ridmap");
            } else if REFUSED.contains(&option) || option.starts_with("idmap=") || option.starts_with("ridmap=") {
                return Err(PlanError::Unsupported { field: format!("{field}.options[{option}]") });
            } else if !IGNORED.contains(&option) {
                let (key, value) = match option.split_once('=') {
                    Some((key, value)) => (key, Some(value.to_owned())),
                    None => (option, None),
                };
                read.parameters.push((key.to_owned(), value));
            }
        }
        Ok(read)
    }
}

/// Plans one entry of `mounts`.
pub(super) fn plan(
    mount: &Mount,
    index: usize,
    inputs: &Inputs,
    namespaces: &Namespaces,
) -> Result<MountOperation, PlanError> {
    let field = format!("mounts[{index}]");
    let destination = destination(mount, &field)?;
    let mut options = Options::read(mount.options().as_deref().unwrap_or_default(), &field)?;
    let kind = mount.typ().clone().unwrap_or_default();
    let bind = options.bind.or((kind == "bind").then_some(false));
    let source = match (bind, kind.as_str()) {
        (Some(recursive), _) => {
            // What a bind mount has of the host's flags it keeps; `rw` does not open what the host made read-only.
            options.attributes.clear &= attr::ATTR_ATIME;
            let source =
                mount.source().as_ref().ok_or_else(|| invalid(format!("{field}.source"), "", "a path of the host"))?;
            let ids = ids(mount, &options, namespaces, &field)?;
            let opened = namespaces.opens_before() || ids.is_some();
            MountSource::Bind { source: inputs.bundle.join(source), recursive, opened, ids }
        }
        (None, _) if options.idmap.is_some() || mount.uid_mappings().is_some() || mount.gid_mappings().is_some() => {
            return Err(invalid(format!("{field}.type"), &kind, "a bind mount, because only these are id-mapped"));
        }
        (None, "") => return Err(invalid(format!("{field}.type"), "", "a file system type, or the option bind")),
        (None, "cgroup") if !inputs.hierarchies.is_empty() => MountSource::Cgroup1 {
            hierarchies: inputs.hierarchies.clone(),
            namespace: namespaces.has(LinuxNamespaceType::Cgroup),
        },
        (None, kind) => MountSource::FileSystem {
            kind: if kind == "cgroup" { "cgroup2" } else { kind }.to_owned(),
            source: mount.source().as_ref().map(|source| source.to_string_lossy().into_owned()),
            parameters: mapped_parameters(std::mem::take(&mut options.parameters), namespaces, &field)?,
            otherwise: otherwise(kind, namespaces),
        },
    };
    if bind.is_none() {
        // A new mount has nothing to clear but what was set before; all below it is itself.
        options.attributes =
            Attributes { set: (options.attributes.set & !options.recursive.clear) | options.recursive.set, clear: 0 };
        options.recursive = Attributes::default();
    }
    Ok(MountOperation {
        destination,
        source,
        attributes: options.attributes,
        recursive: options.recursive,
        propagation: options.propagation,
    })
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

fn destination(mount: &Mount, field: &str) -> Result<PathBuf, PlanError> {
    let given = mount.destination();
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
