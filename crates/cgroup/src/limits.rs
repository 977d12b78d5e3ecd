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
mod undo;
mod v1;
mod v2;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use oci::runtime_spec::LinuxResources;
use rustix::io::Errno;
use sys::bpf::{self, Instruction};

use crate::group::Member;
use crate::mounts::Version;
use crate::{Cgroup, CgroupError, Controller, control};
pub(crate) use convert::shares_to_weight;
use plan::{Absent, Plan, Setting};
pub(crate) use plan::{Current, Target, plan, without_meaning};
pub(crate) use v1::check_swap;
pub(crate) use v2::swap_alone;

/// Plans and carries out, in a cgroup that is thrown away when this fails.
pub(crate) fn apply(cgroup: &Cgroup, resources: &LinuxResources) -> Result<(), CgroupError> {
    carry_out(cgroup, &planned(cgroup, resources)?, None)
}

/// Plans and carries out; when the kernel refuses a value, the values before it are put back. Device rules are applied
/// before everything else and stay: no list of rules leads back from a list of rules.
pub(crate) fn update(cgroup: &Cgroup, resources: &LinuxResources) -> Result<(), CgroupError> {
    let plan = planned(cgroup, resources)?;
    let mut changed = Vec::new();
    let result = carry_out(cgroup, &plan, Some(&mut changed));
    if result.is_err() {
        for Restoring { dir, file, value } in changed.iter().rev() {
            // The first error is the one to tell.
            drop(control::write(dir, file, value));
        }
    }
    result
}

fn planned(cgroup: &Cgroup, resources: &LinuxResources) -> Result<Plan, CgroupError> {
    let offers = |controller| cgroup.member(controller).map(|m| m.hierarchy.mount.version);
    plan(resources, &offers, cgroup.v2().is_some(), &current(cgroup, resources)?)
}

/// Carries a plan out, and collects what would put the old values back if somebody wants that.
fn carry_out<'a>(
    cgroup: &'a Cgroup,
    plan: &Plan,
    mut changed: Option<&mut Vec<Restoring<'a>>>,
) -> Result<(), CgroupError> {
    if let Some(program) = &plan.device_program {
        let failed = |source| CgroupError::DeviceProgram { path: cgroup.path().to_string(), source };
        replace_device_program(cgroup, program).map_err(failed)?;
    }
    let (mut again, mut opened) = (Vec::new(), None);
    for setting in &plan.settings {
        match write(cgroup, setting, &mut opened, changed.as_deref_mut()) {
            // Quota, period and burst bound each other: which order is right depends on what there was before. One
            // that is refused for its neighbours' old values is written once more after the new ones.
            Err(error) if setting.target == Target::Controller(Controller::Cpu) && is_refused(&error) => {
                again.push(setting);
            }
            result => result?,
        }
    }
    again.into_iter().try_for_each(|setting| write(cgroup, setting, &mut opened, changed.as_deref_mut()))
}

fn is_refused(error: &CgroupError) -> bool {
    matches!(error, CgroupError::Write { source, .. } if control::is(source, Errno::INVAL))
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

/// The control file that was written to last: device rules all go to the same.
struct Opened<'a> {
    dir: &'a OwnedFd,
    name: String,
    file: File,
}

/// Writes a value to a control file, and leaves that open.
fn write_to<'a>(opened: &mut Option<Opened<'a>>, dir: &'a OwnedFd, name: &str, value: &str) -> io::Result<()> {
    if let Some(last) = opened.as_ref().filter(|last| std::ptr::eq(last.dir, dir) && last.name == name) {
        return control::write_all(&last.file, value);
    }
    let file = File::from(control::open_write(dir, name)?);
    let written = control::write_all(&file, value);
    *opened = Some(Opened { dir, name: name.to_owned(), file });
    written
}

/// Writes one setting to the first of its files that the kernel has.
fn write<'a>(
    cgroup: &'a Cgroup,
    setting: &Setting,
    opened: &mut Option<Opened<'a>>,
    changed: Option<&mut Vec<Restoring<'a>>>,
) -> Result<(), CgroupError> {
    let member = match setting.target {
        Target::Controller(controller) => cgroup.member(controller),
        Target::Unified => cgroup.v2(),
    };
    for (file, value) in &setting.choices {
        // A plan names only what the group has, so a member is always found.
        let Some(member) = member else { break };
        // Files that can only be written (v1's devices) have nothing to put back.
        let before = changed.as_ref().and_then(|_| control::read(&member.dir, file).ok());
        match write_to(opened, &member.dir, file, value) {
            Err(error) if control::is(&error, Errno::NOENT) => {}
            Err(error) => return Err(cgroup.write_error(file, value, error)),
            Ok(()) => {
                if let (Some(changed), Some(before)) = (changed, before) {
                    let values = undo::values(file, value, &before).into_iter();
                    changed.extend(values.map(|value| Restoring { dir: &member.dir, file: file.clone(), value }));
                }
                return Ok(());
            }
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

/// What puts back a value that was replaced.
struct Restoring<'a> {
    dir: &'a OwnedFd,
    file: String,
    value: String,
}
