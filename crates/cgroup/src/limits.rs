// SPDX-License-Identifier: Apache-2.0
//! Limits: from the OCI runtime specification's words (config-linux.md, "Control groups") to the kernel's files.
//!
//! First the whole list of writes is planned (pure), so that a limit that cannot be had is refused before anything is
//! changed; then it is carried out.

mod convert;
mod device_program;
mod devices;
mod plan;
#[cfg(test)]
mod tests;
mod v1;
mod v2;

use std::os::fd::AsFd;

use oci::runtime_spec::LinuxResources;
use rustix::io::Errno;
use sys::bpf::{self, Instruction};

use crate::group::Member;
use crate::mounts::Version;
use crate::{Cgroup, CgroupError, Controller, control};
use plan::{Absent, Setting};
pub(crate) use plan::{Current, Target, plan};

/// Plans and carries out.
pub(crate) fn apply(cgroup: &Cgroup, resources: &LinuxResources) -> Result<(), CgroupError> {
    let offers = |controller| cgroup.member(controller).map(|m| m.hierarchy.mount.version);
    let plan = plan(resources, &offers, cgroup.v2().is_some(), &current(cgroup, resources)?)?;
    if let Some(program) = &plan.device_program {
        let failed = |source| CgroupError::DeviceProgram { path: cgroup.path().to_string(), source };
        replace_device_program(cgroup, program).map_err(failed)?;
    }
    plan.settings.iter().try_for_each(|setting| write(cgroup, setting))
}

/// Attaches the program, then detaches the ones it replaces: attached programs must all agree, so at no moment is anything
/// allowed that neither the old rules nor the new ones allow.
fn replace_device_program(cgroup: &Cgroup, program: &[Instruction]) -> sys::Result<()> {
    // A plan has a program only where there is a unified hierarchy.
    let Some(unified) = cgroup.v2() else { return Ok(()) };
    let cgroup = unified.dir.as_fd();
    let old = bpf::device_programs(cgroup)?;
    let program = bpf::load_device_program(program)?;
    bpf::attach_device_program(cgroup, program.as_fd())?;
    old.iter().try_for_each(|old| bpf::detach_device_program(cgroup, old.as_fd()))
}

/// What the order of writes depends on.
fn current(cgroup: &Cgroup, resources: &LinuxResources) -> Result<Current, CgroupError> {
    let mut current = Current::default();
    let (Some(memory), Some(member)) = (resources.memory(), cgroup.member(Controller::Memory)) else {
        return Ok(current);
    };
    let v1 = member.hierarchy.mount.version == Version::V1;
    if v1 {
        current.memory_and_swap = number(cgroup, member, "memory.memsw.limit_in_bytes")?;
    }
    if memory.check_before_update() == Some(true) {
        current.usage = number(cgroup, member, if v1 { "memory.usage_in_bytes" } else { "memory.current" })?;
    }
    Ok(current)
}

/// A number from a file; nothing when the kernel has no such file.
fn number(cgroup: &Cgroup, member: &Member, file: &str) -> Result<Option<u64>, CgroupError> {
    match control::read(&member.dir, file) {
        Ok(text) => {
            let content =
                |_| CgroupError::Content { path: cgroup.path().to_string(), file: file.to_owned(), text: text.clone() };
            text.parse().map(Some).map_err(content)
        }
        Err(error) if control::is_gone(&error) => Ok(None),
        Err(error) => Err(cgroup.read_error(file, error)),
    }
}

/// Writes one setting to the first of its files that the kernel has.
fn write(cgroup: &Cgroup, setting: &Setting) -> Result<(), CgroupError> {
    let member = match setting.target {
        Target::Controller(controller) => cgroup.member(controller),
        Target::Unified => cgroup.v2(),
    };
    for (file, value) in &setting.choices {
        // A plan names only what the group has, so a member is always found.
        let Some(member) = member else { break };
        match control::write(&member.dir, file, value) {
            Err(error) if control::is(&error, Errno::NOENT) => {}
            result => return result.map_err(|e| cgroup.write_error(file, value, e)),
        }
    }
    match setting.absent {
        Absent::Skip => Ok(()),
        Absent::Fail => {
            let file = setting.choices.first().map(|(file, _)| file.clone()).unwrap_or_default();
            Err(CgroupError::MissingFile { file, limit: setting.limit })
        }
    }
}
