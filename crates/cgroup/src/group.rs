// SPDX-License-Identifier: Apache-2.0
//! A cgroup: one directory in each hierarchy, held open.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci::runtime_spec::LinuxResources;
use rustix::io::Errno;

use crate::create::Made;
use crate::host::{Hierarchy, label, v2_controllers};
use crate::mounts::Version;
use crate::{CgroupError, CgroupPath, Controller, Host, control, limits};

/// The cgroup's directory in one hierarchy.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) hierarchy: Arc<Hierarchy>,
    pub(crate) dir: OwnedFd,
    /// The controllers that can be used here.
    pub(crate) controllers: Vec<Controller>,
}

/// A control group, in every hierarchy of the host that has it. Dropping it only closes descriptors.
#[derive(Debug)]
pub struct Cgroup {
    path: CgroupPath,
    pub(crate) members: Vec<Member>,
    /// The cgroups above it that were made for it; none when it was there before.
    pub(crate) parents: Made,
    shown: Option<Shown>,
}

/// What shows a cgroup to the processes in it, made before they are: a tree of mounts that is attached nowhere yet.
#[derive(Debug)]
pub struct Shown {
    /// Its top.
    pub tree: OwnedFd,
    /// The attributes of its mounts (`MOUNT_ATTR_…`, mount_setattr(2)).
    pub attributes: u64,
    labels: BTreeSet<String>,
}

impl Shown {
    /// An empty one.
    pub fn new(tree: OwnedFd, attributes: u64) -> Shown {
        Shown { tree, attributes, labels: BTreeSet::new() }
    }

    /// Notes that the hierarchy, named as [`Host::place`] wants it, is among the mounts.
    pub fn add(&mut self, controllers: &[impl AsRef<str>]) {
        self.labels.insert(label(controllers));
    }

    /// Whether it is.
    pub fn has(&self, controllers: &[impl AsRef<str>]) -> bool {
        self.labels.contains(&label(controllers))
    }
}

impl Cgroup {
    /// Memory stands first, so that what a joining process allocates next is charged; the freezer last, so that joining a
    /// frozen group does not stop the process half-way.
    pub(crate) fn new(path: CgroupPath, mut members: Vec<Member>) -> Cgroup {
        members.sort_by_key(|m| {
            let has = |controller| m.controllers.contains(&controller);
            if has(Controller::Freezer) { 2 } else { i32::from(!has(Controller::Memory)) }
        });
        Cgroup { path, members, parents: Made::default(), shown: None }
    }

    /// What shows it, if that was made ahead.
    pub fn shown(&self) -> Option<&Shown> {
        self.shown.as_ref()
    }

    /// Keeps what shows it.
    pub fn set_shown(&mut self, shown: Option<Shown>) {
        self.shown = shown;
    }

    /// Lets go of what shows it.
    pub fn take_shown(&mut self) -> Option<Shown> {
        self.shown.take()
    }

    pub(crate) fn into_parts(self) -> (CgroupPath, Vec<Member>, Made) {
        (self.path, self.members, self.parents)
    }

    pub(crate) fn open(host: &Host, path: &CgroupPath) -> Result<Cgroup, CgroupError> {
        let relative = path.to_string()[1..].to_owned();
        let mut members = Vec::with_capacity(host.hierarchies.len());
        for hierarchy in &host.hierarchies {
            let opened = control::open_dir(&hierarchy.root, &relative).and_then(|dir| {
                let controllers = match hierarchy.mount.version {
                    Version::V1 => hierarchy.mount.controllers.clone(),
                    Version::V2 => v2_controllers(&dir)?,
                };
                Ok(Member { hierarchy: Arc::clone(hierarchy), dir, controllers })
            });
            match opened {
                Ok(member) => members.push(member),
                Err(error) if control::is_gone(&error) => {}
                Err(source) => {
                    let hierarchy = hierarchy.mount.label.clone();
                    return Err(CgroupError::Open { path: path.to_string(), hierarchy, source });
                }
            }
        }
        if members.is_empty() {
            return Err(CgroupError::NotFound { path: path.to_string() });
        }
        Ok(Cgroup::new(path.clone(), members))
    }

    /// A cgroup that is in no hierarchy, in the place of one that could not be made: what is done with it concerns no
    /// process.
    pub fn absent(path: CgroupPath) -> Cgroup {
        Cgroup { path, members: Vec::new(), parents: Made::default(), shown: None }
    }

    /// Whether it is in no hierarchy.
    pub fn is_absent(&self) -> bool {
        self.members.is_empty()
    }

    /// Its path below the hierarchies' roots.
    pub fn path(&self) -> &CgroupPath {
        &self.path
    }

    /// The directory to give to `clone3` with `CLONE_INTO_CGROUP`, where the host has the unified hierarchy (v2 and
    /// hybrid). The child still writes to [`Cgroup::join_files`], which are none on a pure v2 host.
    pub fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        self.v2().map(|member| member.dir.as_fd())
    }

    /// Its directory in the hierarchy that is named as [`Host::place`] wants it, open, and where it is among the mounts of
    /// the process that found the host; `None` when it is not in that hierarchy.
    pub fn directory(&self, controllers: &[impl AsRef<str>]) -> Option<(BorrowedFd<'_>, PathBuf)> {
        let label = label(controllers);
        let member = self.members.iter().find(|member| member.hierarchy.mount.label == label)?;
        let place = Path::new(&member.hierarchy.mount.mount_point).join(&self.path.to_string()[1..]);
        Some((member.dir.as_fd(), place))
    }

    /// The v1 `tasks` files, open for writing, in the order in which the process that joins writes `0` to each.
    ///
    /// It does so itself and while it has one thread: a process moved from outside, or as a whole through
    /// `cgroup.procs`, waits for an RCU grace period of many milliseconds. The unified hierarchy is not among them:
    /// that is what [`Cgroup::clone_into`] is for, or [`Cgroup::join_current`].
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn join_files(&self) -> Result<Vec<OwnedFd>, CgroupError> {
        let v1 = self.members.iter().filter(|m| m.hierarchy.mount.version == Version::V1);
        let open = |m: &Member| control::open_write(&m.dir, "tasks").map_err(|e| self.write_error("tasks", "0", e));
        v1.map(open).collect()
    }

    /// Moves the calling thread, which must be its process's only one, into the cgroup: all hierarchies, the unified one
    /// too if it is not there already.
    ///
    /// # Errors
    /// When the kernel refuses; the process may then be in some of the hierarchies.
    pub fn join_current(&self) -> Result<(), CgroupError> {
        for file in self.join_files()? {
            control::write_all(&File::from(file), "0").map_err(|e| self.write_error("tasks", "0", e))?;
        }
        let Some(unified) = self.v2() else { return Ok(()) };
        let own = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
        let inside = process_list(unified.dir.as_fd()).is_ok_and(|pids| pids.contains(&own));
        if inside {
            return Ok(());
        }
        control::write(&unified.dir, "cgroup.procs", "0").map_err(|e| self.write_error("cgroup.procs", "0", e))
    }

    /// Applies limits: those given, leaving the others as they are. When the kernel refuses one, the values written
    /// before it are put back (device rules excepted).
    ///
    /// # Errors
    /// [`CgroupError::MissingController`], [`CgroupError::MissingFile`] or [`CgroupError::Inexpressible`] when a limit
    /// cannot be had here; [`CgroupError::InvalidLimit`] when it means nothing; [`CgroupError::Write`] when the kernel refuses.
    pub fn update(&self, resources: &LinuxResources) -> Result<(), CgroupError> {
        limits::update(self, resources)
    }

    /// The limits among these that have no meaning under the host's version, in the specification's words. They are
    /// ignored, as runc does; a caller may want to say so.
    pub fn limits_without_meaning(&self, resources: &LinuxResources) -> Vec<&'static str> {
        limits::without_meaning(resources, self.member(Controller::Memory).map(|m| m.hierarchy.mount.version))
    }

    /// The ids of all processes in the cgroup and below it, ascending, as this process's pid namespace numbers them.
    /// Processes that are in none of its ids are left out.
    ///
    /// # Errors
    /// When the kernel's lists cannot be read.
    pub fn processes(&self) -> Result<Vec<i32>, CgroupError> {
        let mut all = BTreeSet::new();
        for member in &self.members {
            let result = control::walk(member.dir.as_fd(), &mut |dir| {
                all.extend(process_list(dir)?);
                Ok(())
            });
            match result {
                Err(error) if !control::is_gone(&error) => return Err(self.read_error("cgroup.procs", error)),
                _ => {}
            }
        }
        all.remove(&0);
        Ok(all.into_iter().collect())
    }

    /// The member of the unified hierarchy.
    pub(crate) fn v2(&self) -> Option<&Member> {
        self.members.iter().find(|m| m.hierarchy.mount.version == Version::V2)
    }

    /// The member where this controller can be used.
    pub(crate) fn member(&self, controller: Controller) -> Option<&Member> {
        self.members.iter().find(|m| m.controllers.contains(&controller))
    }

    pub(crate) fn read_error(&self, file: &str, source: io::Error) -> CgroupError {
        CgroupError::Read { path: self.path.to_string(), file: file.to_owned(), source }
    }

    pub(crate) fn write_error(&self, file: &str, value: &str, source: io::Error) -> CgroupError {
        let (file, value) = (file.to_owned(), value.to_owned());
        CgroupError::Write { path: self.path.to_string(), file, value, source }
    }
}

/// The processes directly in the cgroup; 0 stands for one outside the reader's pid namespace.
pub(crate) fn process_list(dir: BorrowedFd<'_>) -> io::Result<Vec<i32>> {
    match control::read(dir, "cgroup.procs") {
        Ok(text) => text.lines().map(|line| line.parse().map_err(io::Error::other)).collect(),
        // A threaded cgroup of v2: its processes are listed where the threads' domain begins, further up.
        Err(error) if control::is(&error, Errno::OPNOTSUPP) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
