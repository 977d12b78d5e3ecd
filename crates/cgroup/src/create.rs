// SPDX-License-Identifier: Apache-2.0
//! Making a cgroup in every hierarchy, and undoing it all when one step fails.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use oci::runtime_spec::LinuxResources;
use rustix::io::Errno;

use crate::group::{Member, process_list};
use crate::host::{Hierarchy, v2_controllers};
use crate::mounts::Version;
use crate::remove::remove_unused;
use crate::{Cgroup, CgroupError, CgroupPath, Controller, Host, control, limits};

/// The list of the processes in a cgroup; every one has it.
const PROCESSES: &str = "cgroup.procs";

/// How often a parent may vanish between finding and using it (another process pruning it) before that is an error.
const RACES: usize = 8;

impl Host {
    /// Makes the cgroup in every hierarchy and applies the limits. Parents are made as needed and stay.
    ///
    /// An empty cgroup of that name is used as it is: an administrator may have prepared it, with limits of their own
    /// and a share of realtime that making it anew would give away for a while. As runc does it.
    ///
    /// # Errors
    /// [`CgroupError::Exists`] when it is in use; [`CgroupError::MissingController`] and its like when a limit cannot
    /// be had on this host. Whatever had been made is removed again.
    pub fn create(&self, path: &CgroupPath, resources: Option<&LinuxResources>) -> Result<Cgroup, CgroupError> {
        let mut made = Made(Vec::new());
        let result = self.create_members(path, &mut made).and_then(|cgroup| {
            if let Some(resources) = resources {
                limits::apply(&cgroup, resources)?;
            }
            Ok(cgroup)
        });
        match result {
            Ok(cgroup) => Ok(keeping(cgroup, made)),
            Err(error) => Err(made.after(error)),
        }
    }

    /// Makes the cgroup before it is wanted, for [`Host::complete`]: without limits, and not in v1's cpuset, where it would
    /// keep its parent from being narrowed and have the processors that the parent had then.
    ///
    /// # Errors
    /// As for [`Host::create`]. What was made is removed again.
    pub fn create_ahead(&self, path: &CgroupPath) -> Result<Cgroup, CgroupError> {
        let mut made = Made(Vec::new());
        let mut members = Vec::with_capacity(self.hierarchies.len());
        match self.add_members(path, |hierarchy| !is_cpuset_of_v1(hierarchy), &mut members, &mut made) {
            Ok(()) => Ok(keeping(Cgroup::new(path.clone(), members), made)),
            Err(error) => Err(made.after(error)),
        }
    }

    /// Makes of a cgroup that was made ahead what [`Host::create`] would have made.
    ///
    /// # Errors
    /// As for [`Host::create`]. Nothing is left then, of what was made ahead neither; unless somebody had removed a part of
    /// that: the rest stays, for [`Host::create`] to use.
    pub fn complete(&self, mut ahead: Cgroup, resources: Option<&LinuxResources>) -> Result<Cgroup, CgroupError> {
        let shown = ahead.take_shown();
        let (path, mut members, mut made) = ahead.into_parts();
        for member in &members {
            // Somebody may have removed it; then its descriptor leads to nothing.
            control::open_read(&member.dir, PROCESSES).map_err(|source| CgroupError::Open {
                path: path.to_string(),
                hierarchy: member.hierarchy.mount.label.clone(),
                source,
            })?;
            made.0.push((Arc::clone(&member.hierarchy), path.to_string()[1..].to_owned()));
        }
        let there: Vec<Arc<Hierarchy>> = members.iter().map(|member| Arc::clone(&member.hierarchy)).collect();
        let missing = |hierarchy: &Hierarchy| there.iter().all(|known| !std::ptr::eq(&raw const **known, hierarchy));
        let added = self.add_members(&path, missing, &mut members, &mut made);
        let mut cgroup = Cgroup::new(path, members);
        cgroup.set_shown(shown);
        let limited = added.and_then(|()| resources.map_or(Ok(()), |resources| limits::apply(&cgroup, resources)));
        match limited {
            Ok(()) => Ok(keeping(cgroup, made)),
            Err(error) => Err(made.after(error)),
        }
    }

    /// Takes a cgroup that systemd made, and makes it in the hierarchies that systemd has left out; applies the limits.
    ///
    /// # Errors
    /// As for [`Host::create`]. What was made here is removed again; what systemd made stays.
    pub(crate) fn adopt(&self, path: &CgroupPath, resources: Option<&LinuxResources>) -> Result<Cgroup, CgroupError> {
        let mut made = Made(Vec::new());
        let result = self.adopt_members(path, &mut made).and_then(|cgroup| {
            if let Some(resources) = resources {
                limits::apply(&cgroup, resources)?;
            }
            Ok(cgroup)
        });
        result.map_err(|error| made.after(error))
    }

    fn adopt_members(&self, path: &CgroupPath, made: &mut Made) -> Result<Cgroup, CgroupError> {
        let relative = path.to_string()[1..].to_owned();
        let mut members = Vec::with_capacity(self.hierarchies.len());
        for hierarchy in &self.hierarchies {
            let dir = match control::open_dir(&hierarchy.root, &relative) {
                Ok(dir) => dir,
                Err(error) if control::is_gone(&error) => make(hierarchy, path, made)?,
                Err(source) => {
                    let hierarchy = hierarchy.mount.label.clone();
                    return Err(CgroupError::Open { path: path.to_string(), hierarchy, source });
                }
            };
            let controllers = prepare(hierarchy, path, &dir)?;
            members.push(Member { hierarchy: Arc::clone(hierarchy), dir, controllers });
        }
        Ok(Cgroup::new(path.clone(), members))
    }

    fn create_members(&self, path: &CgroupPath, made: &mut Made) -> Result<Cgroup, CgroupError> {
        let mut members = Vec::with_capacity(self.hierarchies.len());
        self.add_members(path, |_| true, &mut members, made)?;
        Ok(Cgroup::new(path.clone(), members))
    }

    /// Makes it in those hierarchies that are wanted.
    fn add_members(
        &self,
        path: &CgroupPath,
        wanted: impl Fn(&Hierarchy) -> bool,
        members: &mut Vec<Member>,
        made: &mut Made,
    ) -> Result<(), CgroupError> {
        for hierarchy in &self.hierarchies {
            if wanted(hierarchy) {
                let dir = make(hierarchy, path, made)?;
                let controllers = prepare(hierarchy, path, &dir)?;
                members.push(Member { hierarchy: Arc::clone(hierarchy), dir, controllers });
            }
        }
        Ok(())
    }
}

/// The cgroup, with those of what was made for it that lie above it.
fn keeping(mut cgroup: Cgroup, mut made: Made) -> Cgroup {
    made.0.retain(|(_, made)| *made != cgroup.path().to_string()[1..]);
    cgroup.parents = made;
    cgroup
}

fn is_cpuset_of_v1(hierarchy: &Hierarchy) -> bool {
    hierarchy.mount.version == Version::V1 && hierarchy.mount.controllers.contains(&Controller::Cpuset)
}

/// The directories made so far, in order.
#[derive(Debug, Default)]
pub(crate) struct Made(Vec<(Arc<Hierarchy>, String)>);

impl Made {
    /// `error`, after all that was made was removed again; with what could not be.
    fn after(&self, error: CgroupError) -> CgroupError {
        match self.undo() {
            Ok(()) => error,
            Err(undo) => CgroupError::LeftBehind { error: Box::new(error), undo: Box::new(undo) },
        }
    }

    /// Removes them again, the last first. A parent that another container has moved into meanwhile stays, as it should.
    /// Every one is tried; the first failure is told.
    pub(crate) fn undo(&self) -> Result<(), CgroupError> {
        let mut first = None;
        for (hierarchy, path) in self.0.iter().rev() {
            if let Err(source) = remove_unused(hierarchy, path) {
                let (path, hierarchy) = (format!("/{path}"), hierarchy.mount.label.clone());
                first.get_or_insert(CgroupError::Remove { path, hierarchy, source });
            }
        }
        first.map_or(Ok(()), Err)
    }
}

/// Makes the cgroup in one hierarchy and opens it. Enables the controllers of v2 on the way, because a child's control
/// files exist only from then on.
fn make(hierarchy: &Arc<Hierarchy>, path: &CgroupPath, made: &mut Made) -> Result<OwnedFd, CgroupError> {
    let failed =
        |source| CgroupError::Make { path: path.to_string(), hierarchy: hierarchy.mount.label.clone(), source };
    let relative = path.to_string()[1..].to_owned();
    let mut result = make_leaf(hierarchy, &relative, made);
    for _ in 0..RACES {
        match &result {
            Err(error) if control::is_gone(error) => {
                make_parents(hierarchy, path, made).map_err(failed)?;
                result = make_leaf(hierarchy, &relative, made);
            }
            _ => break,
        }
    }
    match result {
        Ok(Some(dir)) => Ok(dir),
        Ok(None) => Err(CgroupError::Frozen { path: path.to_string() }),
        Err(error) if control::is(&error, Errno::BUSY) => Err(CgroupError::exists(path)),
        Err(error) => Err(failed(error)),
    }
}

/// `None` when it is there and frozen.
fn make_leaf(hierarchy: &Arc<Hierarchy>, relative: &str, made: &mut Made) -> io::Result<Option<OwnedFd>> {
    match control::make_dir(&hierarchy.root, relative) {
        Err(error) if control::is(&error, Errno::EXIST) => {
            if is_frozen(hierarchy, relative)? {
                return Ok(None);
            }
            let dir = control::open_dir(&hierarchy.root, relative)?;
            control::walk(dir.as_fd(), &mut |dir| match process_list(dir)?.is_empty() {
                true => Ok(()),
                false => Err(Errno::BUSY.into()),
            })?;
            // It was there before, and stays when this fails.
            return Ok(Some(dir));
        }
        result => result?,
    }
    made.0.push((Arc::clone(hierarchy), relative.to_owned()));
    control::open_dir(&hierarchy.root, relative).map(Some)
}

/// Whether somebody froze this cgroup itself. The file is not there where this hierarchy freezes nothing.
fn is_frozen(hierarchy: &Hierarchy, relative: &str) -> io::Result<bool> {
    let (file, thawed) = match hierarchy.mount.version {
        Version::V1 => ("freezer.state", "THAWED"),
        Version::V2 => ("cgroup.freeze", "0"),
    };
    match control::open_dir(&hierarchy.root, relative).and_then(|dir| control::read(&dir, file)) {
        Ok(state) => Ok(state != thawed),
        Err(error) if control::is_gone(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn make_parents(hierarchy: &Arc<Hierarchy>, path: &CgroupPath, made: &mut Made) -> io::Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    let mut prefix = String::new();
    for component in parent.components() {
        if !prefix.is_empty() {
            prefix.push('/');
        }
        prefix.push_str(component);
        match control::make_dir(&hierarchy.root, &prefix) {
            Ok(()) => {
                made.0.push((Arc::clone(hierarchy), prefix.clone()));
                pass_on_cpuset(hierarchy, &prefix)?;
            }
            Err(error) if control::is(&error, Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Has the kernel itself give a new cgroup's children its cpuset (v1's `cgroup.clone_children`). Written by us, each would be
/// compared with all its siblings, twice. Below a parent that somebody else made, [`inherit_cpuset`] does it.
fn pass_on_cpuset(hierarchy: &Hierarchy, path: &str) -> io::Result<()> {
    if hierarchy.mount.version != Version::V1 || !hierarchy.mount.controllers.contains(&Controller::Cpuset) {
        return Ok(());
    }
    let opened = control::open_dir(&hierarchy.root, path);
    match opened.and_then(|dir| control::write(&dir, "cgroup.clone_children", "1")) {
        // Somebody has removed it again, as empty: it is made once more.
        Err(error) if control::is_gone(&error) => Ok(()),
        result => result,
    }
}

/// Readies a new cgroup for processes and limits; answers with the controllers that can be used in it.
fn prepare(hierarchy: &Hierarchy, path: &CgroupPath, dir: &OwnedFd) -> Result<Vec<Controller>, CgroupError> {
    let failed =
        |source| CgroupError::Make { path: path.to_string(), hierarchy: hierarchy.mount.label.clone(), source };
    match hierarchy.mount.version {
        Version::V1 => {
            if hierarchy.mount.controllers.contains(&Controller::Cpuset) {
                inherit_cpuset(hierarchy, path, dir).map_err(failed)?;
            }
            Ok(hierarchy.mount.controllers.clone())
        }
        Version::V2 => {
            // Mostly its siblings' making has switched everything on already.
            let (wanted, mut usable) =
                (v2_controllers(&hierarchy.root).map_err(failed)?, v2_controllers(dir).map_err(failed)?);
            if wanted.iter().any(|controller| !usable.contains(controller)) {
                enable_controllers(hierarchy, path).map_err(failed)?;
                usable = v2_controllers(dir).map_err(failed)?;
            }
            Ok(usable)
        }
    }
}

/// A new v1 cpuset is empty, and an empty one takes no process: it gets its parent's, and so does the parent if it has none.
fn inherit_cpuset(hierarchy: &Hierarchy, path: &CgroupPath, dir: &OwnedFd) -> io::Result<()> {
    let mut missing = Vec::new();
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if control::read(dir, file)?.is_empty() {
            missing.push(file);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let opened = match path.parent() {
        Some(parent) => Some((control::open_dir(&hierarchy.root, &parent.to_string()[1..])?, parent)),
        None => None,
    };
    let above = opened.as_ref().map_or(&hierarchy.root, |(dir, _)| dir);
    for file in missing {
        let mut inherited = control::read(above, file)?;
        if let (true, Some((dir, parent))) = (inherited.is_empty(), &opened) {
            inherit_cpuset(hierarchy, parent, dir)?;
            inherited = control::read(above, file)?;
        }
        control::write(dir, file, &inherited)?;
    }
    Ok(())
}

/// Switches on, in every cgroup above the new one, all the controllers that can be (cgroups(7), "cgroup.subtree_control").
///
/// A controller that will not be switched on is no error here: nobody may want it. A limit that needs it names it.
fn enable_controllers(hierarchy: &Hierarchy, path: &CgroupPath) -> io::Result<()> {
    let mut parent: Option<OwnedFd> = None;
    for component in path.components() {
        let above = parent.as_ref().unwrap_or(&hierarchy.root);
        enable_below(above)?;
        parent = Some(control::open_dir(above, component)?);
    }
    Ok(())
}

fn enable_below(dir: &OwnedFd) -> io::Result<()> {
    const FILE: &str = "cgroup.subtree_control";
    let available = v2_controllers(dir)?;
    if available.is_empty() {
        return Ok(());
    }
    let enabled = control::read(dir, FILE)?;
    let missing: Vec<String> = available
        .iter()
        .filter_map(|c| c.v2_name())
        .filter(|name| !enabled.split_whitespace().any(|e| e == *name))
        .map(|name| format!("+{name}"))
        .collect();
    if missing.is_empty() || control::write(dir, FILE, &missing.join(" ")).is_ok() {
        return Ok(());
    }
    // The kernel takes all or none: one that cannot be (cpu, while realtime processes run) must not keep back the rest.
    for one in &missing {
        drop(control::write(dir, FILE, one));
    }
    Ok(())
}
