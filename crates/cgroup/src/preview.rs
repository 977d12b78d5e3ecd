// SPDX-License-Identifier: Apache-2.0
//! What making a cgroup would do, without doing it.

use std::path::{Path, PathBuf};

use oci::runtime_spec::LinuxResources;
use serde::Serialize;

use crate::host::Hierarchy;
use crate::limits::{self, Target};
use crate::mounts::Version;
use crate::{CgroupError, CgroupPath, Controller, Host, control};

/// The directories that [`Host::create`] would make, and what it would write into them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// One directory in each hierarchy; missing parents are made too.
    pub directories: Vec<PathBuf>,
    /// How many instructions the program has that decides about devices, where there is no controller for that.
    pub device_program: Option<usize>,
    /// What is written, in order.
    pub writes: Vec<LimitWrite>,
}

/// One value of a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LimitWrite {
    /// The control file. Where kernels differ in its name, the first that is tried.
    pub file: PathBuf,
    /// What is written to it.
    pub value: String,
}

impl Host {
    /// What [`Host::create`] would do. Needs no privileges, and changes nothing.
    ///
    /// # Errors
    /// As [`Host::create`], for limits that cannot be had on this host.
    pub fn preview(&self, path: &CgroupPath, resources: Option<&LinuxResources>) -> Result<Preview, CgroupError> {
        let relative = path.to_string()[1..].to_owned();
        let directory = |hierarchy: &Hierarchy| Path::new(&hierarchy.mount.mount_point).join(&relative);
        let hierarchies = || self.hierarchies.iter().map(|hierarchy| &**hierarchy);
        let of = |controller: Controller| hierarchies().find(|h| h.controllers().contains(&controller));
        let unified = || hierarchies().find(|h| h.mount.version == Version::V2);
        let mut preview =
            Preview { directories: hierarchies().map(directory).collect(), device_program: None, writes: Vec::new() };
        let Some(resources) = resources else { return Ok(preview) };
        let offers = |controller| of(controller).map(|hierarchy| hierarchy.mount.version);
        let plan = limits::plan(resources, &offers, unified().is_some(), &self.fresh())?;
        preview.device_program = plan.device_program.map(|program| program.len());
        for setting in plan.settings {
            let hierarchy = match setting.target {
                Target::Controller(controller) => of(controller),
                Target::Unified => unified(),
            };
            // A plan names only what the host has, and at least one file.
            if let (Some(hierarchy), Some((file, value))) = (hierarchy, setting.choices.into_iter().next()) {
                preview.writes.push(LimitWrite { file: directory(hierarchy).join(file), value });
            }
        }
        Ok(preview)
    }

    /// What a cgroup says that nothing was written to: what the root says.
    fn fresh(&self) -> limits::Current {
        const FILE: &str = "memory.memsw.limit_in_bytes";
        let memory = self.hierarchies.iter().find(|h| h.controllers().contains(&Controller::Memory));
        // A kernel that does not account swap, and v2, have no such file.
        let both = memory.and_then(|hierarchy| control::read(&hierarchy.root, FILE).ok()?.parse().ok());
        limits::Current { memory_and_swap: both, usage: None }
    }
}
