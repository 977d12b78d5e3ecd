// SPDX-License-Identifier: Apache-2.0
//! Cgroups that a container made below its own, for processes that are to start there (`exec --cgroup`).

use std::sync::Arc;

use crate::group::Member;
use crate::host::v2_controllers;
use crate::mounts::Version;
use crate::{Cgroup, CgroupError, Controller, control};

/// Where below a cgroup: the same path in every hierarchy, or its own in some of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Below {
    /// One path for all hierarchies.
    Everywhere(String),
    /// For a v1 controller (or `name=…`), a path; the hierarchies not named keep the cgroup itself.
    PerController(Vec<(String, String)>),
}

impl Cgroup {
    /// The cgroup below this one that `below` names; it must exist. The path is resolved below this cgroup's directory and
    /// cannot leave it.
    ///
    /// # Errors
    /// [`CgroupError::NotFound`] when it does not exist; [`CgroupError::UnknownHierarchy`] when a controller is named
    /// whose hierarchy the host does not have.
    pub fn below(&self, below: &Below) -> Result<Cgroup, CgroupError> {
        let mut paths = vec![""; self.members.len()];
        match below {
            Below::Everywhere(path) => paths.fill(path),
            Below::PerController(named) => {
                for (name, path) in named {
                    let unknown = || CgroupError::UnknownHierarchy { name: name.clone() };
                    let index = self.members.iter().position(|member| is_named(member, name)).ok_or_else(unknown)?;
                    paths[index] = path;
                }
            }
        }
        let opened = self.members.iter().zip(&paths).map(|(member, path)| self.member_below(member, path));
        let members = opened.collect::<Result<Vec<_>, _>>()?;
        // For messages; with different paths there is no one name for it.
        let named = match below {
            Below::Everywhere(path) => format!("{}/{path}", self.path()).parse(),
            Below::PerController(_) => Ok(self.path().clone()),
        };
        let path = named.map_err(|_| CgroupError::NotFound { path: paths.join(", ") })?;
        Ok(Cgroup::new(path, members))
    }

    fn member_below(&self, member: &Member, path: &str) -> Result<Member, CgroupError> {
        let relative = match path.trim_matches('/') {
            "" => ".",
            relative => relative,
        };
        let full = || format!("{}/{relative}", self.path());
        let dir = control::open_dir(&member.dir, relative).map_err(|source| {
            if control::is_gone(&source) {
                CgroupError::NotFound { path: full() }
            } else {
                CgroupError::Open { path: full(), hierarchy: member.hierarchy.mount.label.clone(), source }
            }
        })?;
        let controllers: Vec<Controller> = match member.hierarchy.mount.version {
            Version::V1 => member.controllers.clone(),
            Version::V2 => v2_controllers(&dir).map_err(|e| self.read_error("cgroup.controllers", e))?,
        };
        Ok(Member { hierarchy: Arc::clone(&member.hierarchy), dir, controllers })
    }
}

fn is_named(member: &Member, name: &str) -> bool {
    member.hierarchy.mount.version == Version::V1 && member.hierarchy.mount.label.split(',').any(|label| label == name)
}
