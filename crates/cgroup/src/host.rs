// SPDX-License-Identifier: Apache-2.0
//! What the host offers, looked at once.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{self, Mode as FileMode, OFlags};
use serde::Serialize;

use crate::mounts::{self, Mount, Version};
use crate::{Cgroup, CgroupError, CgroupPath, Controller, control};

/// `statfs` magic numbers of the two file systems (linux/magic.h).
const CGROUP_MAGIC: i64 = 0x0027_e0eb;
const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// What a hierarchy with these v1 controllers is called here.
pub(crate) fn label(controllers: &[impl AsRef<str>]) -> String {
    if controllers.is_empty() {
        return "unified".to_owned();
    }
    let mut names: Vec<&str> = controllers.iter().map(AsRef::as_ref).collect();
    names.sort_unstable();
    names.join(",")
}

/// How the host's control groups are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Only v1 hierarchies.
    V1,
    /// v1 hierarchies and the unified one beside them.
    Hybrid,
    /// The unified hierarchy alone.
    V2,
}

/// One hierarchy: a tree of cgroups.
#[derive(Debug)]
pub(crate) struct Hierarchy {
    pub(crate) mount: Mount,
    pub(crate) root: OwnedFd,
}

/// The host's hierarchies, found once; cheap to clone. Cgroups made or opened through it keep what they need.
#[derive(Debug, Clone)]
pub struct Host {
    pub(crate) hierarchies: Vec<Arc<Hierarchy>>,
}

/// What a user wants to know about the host's control groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Description {
    /// The layout.
    pub mode: Mode,
    /// The controllers that limits can use, in the kernel's words.
    pub controllers: Vec<String>,
    /// Controllers that this kernel has and that are switched off or mounted nowhere.
    pub unavailable: Vec<String>,
    /// Where the hierarchies are mounted.
    pub mount_points: Vec<String>,
    /// Whether swap is accounted, so that it can be limited.
    pub swap_limit: bool,
}

impl Host {
    /// Looks at the mounts this process sees.
    ///
    /// # Errors
    /// When `/proc` cannot be read, no hierarchy is mounted, or one cannot be opened.
    pub fn probe() -> Result<Host, CgroupError> {
        let mounts = visible_mounts()?;
        if mounts.is_empty() {
            return Err(CgroupError::NotMounted);
        }
        let hierarchies = mounts.into_iter().map(|mount| Ok(Arc::new(open_hierarchy(mount)?)));
        Ok(Host { hierarchies: hierarchies.collect::<Result<_, CgroupError>>()? })
    }

    /// Of the mounts this process sees, the one whose cgroups can be frozen, if there is one.
    fn probe_freezer() -> Result<Option<Host>, CgroupError> {
        let mounts = visible_mounts()?;
        let freezer = mounts.iter().position(|mount| mount.controllers.contains(&Controller::Freezer));
        let unified = || mounts.iter().position(|mount| mount.version == Version::V2);
        let Some(index) = freezer.or_else(unified) else { return Ok(None) };
        let mount = mounts.into_iter().nth(index);
        let hierarchies = mount.into_iter().map(|mount| Ok(Arc::new(open_hierarchy(mount)?)));
        Ok(Some(Host { hierarchies: hierarchies.collect::<Result<_, CgroupError>>()? }))
    }

    /// The layout.
    pub fn mode(&self) -> Mode {
        let has = |version| self.hierarchies.iter().any(|h| h.mount.version == version);
        match (has(Version::V1), has(Version::V2)) {
            (true, true) => Mode::Hybrid,
            (true, false) => Mode::V1,
            (false, _) => Mode::V2,
        }
    }

    /// The controllers that limits can use.
    pub fn controllers(&self) -> Vec<Controller> {
        let mut all: Vec<Controller> = self.hierarchies.iter().flat_map(|h| h.controllers()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Whether swap is accounted, so that it can be limited. `None` when nothing tells: v2 shows it only in a cgroup
    /// below the root that has the memory controller.
    pub fn swap_limit(&self) -> Option<bool> {
        let memory = self.hierarchies.iter().find(|h| h.controllers().contains(&Controller::Memory))?;
        match memory.mount.version {
            Version::V1 => Some(control::read(&memory.root, "memory.memsw.limit_in_bytes").is_ok()),
            Version::V2 => control::children(&memory.root).ok()?.into_iter().find_map(|child| {
                let dir = control::open_dir(&memory.root, &child).ok()?;
                control::read(&dir, "memory.max").ok()?;
                Some(control::read(&dir, "memory.swap.max").is_ok())
            }),
        }
    }

    /// Whether a controller's cgroups have this control file. Some files are not there in the root, so its children are
    /// looked at as well: `false` may also mean that there are none yet.
    pub fn has_file(&self, controller: Controller, file: &str) -> bool {
        let has = |dir: &OwnedFd| control::open_read(dir, file).is_ok();
        let Some(found) = self.hierarchies.iter().find(|h| h.controllers().contains(&controller)) else { return false };
        has(&found.root)
            || control::children(&found.root).is_ok_and(|children| {
                children.iter().any(|child| control::open_dir(&found.root, child).is_ok_and(|dir| has(&dir)))
            })
    }

    /// For people: `corten info`.
    pub fn describe(&self) -> Description {
        let controllers: Vec<String> = self.controllers().into_iter().map(|c| c.to_string()).collect();
        // Absent on kernels built without v1; then there is nothing to compare with.
        let known = std::fs::read_to_string("/proc/cgroups").unwrap_or_default();
        let unavailable = known.lines().filter(|line| !line.starts_with('#'));
        let unavailable = unavailable.filter_map(|line| line.split_whitespace().next());
        let unavailable = unavailable.map(|name| if name == "blkio" { "io" } else { name }).map(str::to_owned);
        Description {
            mode: self.mode(),
            unavailable: unavailable.filter(|name| !controllers.contains(name)).collect(),
            controllers,
            mount_points: self.hierarchies.iter().map(|h| h.mount.mount_point.clone()).collect(),
            swap_limit: self.swap_limit().unwrap_or(self.mode() == Mode::V2),
        }
    }

    /// Where the cgroup `path` of a hierarchy is among this process's mounts. The hierarchy is named by its v1
    /// controllers, by `name=NAME`, or by nothing for the unified one (as in `/proc/self/cgroup`, cgroups(7)).
    /// `None` when it is not mounted, or the mount does not show that cgroup.
    pub fn place(&self, controllers: &[impl AsRef<str>], path: &str) -> Option<PathBuf> {
        let label = label(controllers);
        let mount = &self.hierarchies.iter().find(|h| h.mount.label == label)?.mount;
        let below = match mount.root.as_str() {
            "/" => path,
            root => path.strip_prefix(root).filter(|rest| rest.is_empty() || rest.starts_with('/'))?,
        };
        Some(Path::new(&mount.mount_point).join(below.trim_start_matches('/')))
    }

    /// Opens a cgroup that exists in at least one hierarchy.
    ///
    /// # Errors
    /// [`CgroupError::NotFound`] when it is in none.
    pub fn open(&self, path: &CgroupPath) -> Result<Cgroup, CgroupError> {
        Cgroup::open(self, path)
    }

    /// Removes the cgroup from every hierarchy if it is empty there, without waiting: for parents such as `/corten`
    /// that nothing uses any more. One that is in use, not there, or somebody else's, is left as it is.
    ///
    /// # Errors
    /// When the kernel refuses for another reason than use: the first refusal; the other hierarchies are tried all the
    /// same.
    pub fn prune(&self, path: &CgroupPath) -> Result<(), CgroupError> {
        let pruned: Vec<_> = self.hierarchies.iter().map(|hierarchy| crate::remove::prune(hierarchy, path)).collect();
        pruned.into_iter().collect()
    }
}

impl Hierarchy {
    /// What can be used in this hierarchy: a v1 mount's controllers, or what the unified root has to give.
    pub(crate) fn controllers(&self) -> Vec<Controller> {
        match self.mount.version {
            Version::V1 => self.mount.controllers.clone(),
            Version::V2 => v2_controllers(&self.root).unwrap_or_default(),
        }
    }
}

/// The controllers available in a cgroup of the unified hierarchy.
pub(crate) fn v2_controllers(dir: &OwnedFd) -> io::Result<Vec<Controller>> {
    let names = control::read(dir, "cgroup.controllers")?;
    Ok(names.split_whitespace().filter_map(Controller::from_v2_name).collect())
}

fn visible_mounts() -> Result<Vec<Mount>, CgroupError> {
    const MOUNTINFO: &str = "/proc/thread-self/mountinfo";
    let text = std::fs::read(MOUNTINFO).map_err(|source| CgroupError::Probe { path: MOUNTINFO, source })?;
    Ok(mounts::parse(&String::from_utf8_lossy(&text)))
}

/// Whether the processes of a cgroup stand still, asked of the one hierarchy that knows: a fraction of the cost of
/// opening the cgroup in all of them.
///
/// # Errors
/// When that hierarchy cannot be opened or read.
pub fn is_frozen(path: &CgroupPath) -> Result<bool, CgroupError> {
    match Host::probe_freezer()?.map(|host| host.open(path)) {
        None | Some(Err(CgroupError::NotFound { .. })) => Ok(false),
        Some(cgroup) => cgroup?.is_frozen(),
    }
}

fn open_hierarchy(mount: Mount) -> Result<Hierarchy, CgroupError> {
    let open = || -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = fs::open(mount.mount_point.as_str(), flags, FileMode::empty())?;
        let expected = if mount.version == Version::V1 { CGROUP_MAGIC } else { CGROUP2_MAGIC };
        // Another file system mounted on top would be taken for a hierarchy otherwise.
        #[allow(clippy::useless_conversion, reason = "the field's type differs between architectures")]
        if i64::try_from(fs::fstatfs(&root)?.f_type) != Ok(expected) {
            return Err(io::Error::other("another file system is mounted on top of it"));
        }
        Ok(root)
    };
    match open() {
        Ok(root) => Ok(Hierarchy { mount, root }),
        Err(source) => Err(CgroupError::Hierarchy { mount_point: mount.mount_point, source }),
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::V1 => "v1",
            Mode::Hybrid => "hybrid",
            Mode::V2 => "v2",
        })
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let swap = if self.swap_limit { "" } else { ", swap is not accounted" };
        write!(f, "cgroup {} with {}{swap}", self.mode, self.controllers.join(", "))
    }
}
