// SPDX-License-Identifier: Apache-2.0
//! Removing cgroups.

use std::io;
use std::os::fd::AsFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::host::Hierarchy;
use crate::{Cgroup, CgroupError, CgroupPath, control};

/// How long a cgroup may stay busy after its last process was seen to end: the kernel takes it out of the group a
/// moment later.
const PATIENCE: Duration = Duration::from_secs(5);

impl Cgroup {
    /// Removes the cgroup from every hierarchy, with the cgroups that were made below it. Kills nothing: it fails when
    /// a process is still inside after a few seconds. What is gone already is no error.
    ///
    /// # Errors
    /// The first failure; the other hierarchies are tried all the same.
    pub fn remove(&self) -> Result<(), CgroupError> {
        let relative = &self.path().to_string()[1..];
        let deadline = Instant::now() + PATIENCE;
        let mut first = None;
        for member in &self.members {
            let hierarchy = &member.hierarchy;
            if let Err(source) = remove_patiently(hierarchy, relative, deadline) {
                let (path, hierarchy) = (self.path().to_string(), hierarchy.mount.label.clone());
                first.get_or_insert(CgroupError::Remove { path, hierarchy, source });
            }
        }
        first.map_or(Ok(()), Err)
    }
}

impl Cgroup {
    /// Takes back what [`crate::Host::create`] made: the cgroup, patiently, and the parents that were made for it, unless
    /// somebody else uses them by now.
    ///
    /// # Errors
    /// The first failure; the rest is tried all the same.
    pub fn undo(&self) -> Result<(), CgroupError> {
        let removed = self.remove();
        let parents = self.parents.undo();
        removed.and(parents)
    }
}

fn remove_patiently(hierarchy: &Hierarchy, relative: &str, deadline: Instant) -> io::Result<()> {
    let mut pause = Duration::from_micros(200);
    loop {
        match remove_tree(hierarchy.root.as_fd(), relative) {
            Err(error) if is_busy(&error) && Instant::now() < deadline => {}
            result => return result,
        }
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Removes the cgroup; its children first, when it has any. Almost always it has none, so that is tried first.
fn remove_tree(at: impl AsFd, name: &str) -> io::Result<()> {
    match control::remove_dir(&at, name) {
        Err(error) if is_busy(&error) => {}
        Err(error) if control::is_gone(&error) => return Ok(()),
        result => return result,
    }
    let dir = match control::open_dir(&at, name) {
        Err(error) if control::is_gone(&error) => return Ok(()),
        result => result?,
    };
    let mut busy = None;
    for child in control::children(&dir)? {
        match remove_tree(&dir, &child) {
            Err(error) if is_busy(&error) => busy = Some(error),
            result => result?,
        }
    }
    if let Some(error) = busy {
        return Err(error);
    }
    control::remove_dir(&at, name)
}

/// Removes one cgroup of one hierarchy if nothing is in it.
pub(crate) fn prune(hierarchy: &Hierarchy, path: &CgroupPath) -> Result<(), CgroupError> {
    remove_unused(hierarchy, &path.to_string()[1..]).map_err(|source| {
        let hierarchy = hierarchy.mount.label.clone();
        CgroupError::Remove { path: path.to_string(), hierarchy, source }
    })
}

/// Removes a cgroup that is there and that nobody uses.
pub(crate) fn remove_unused(hierarchy: &Hierarchy, relative: &str) -> io::Result<()> {
    match control::remove_dir(&hierarchy.root, relative) {
        Err(error) if is_busy(&error) || control::is_gone(&error) => Ok(()),
        // Somebody else's, in which we may do nothing.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        result => result,
    }
}

fn is_busy(error: &io::Error) -> bool {
    control::is(error, Errno::BUSY) || control::is(error, Errno::NOTEMPTY)
}
