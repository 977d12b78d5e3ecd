// SPDX-License-Identifier: Apache-2.0
//! The list of writes that a set of limits comes to. Pure.

use std::collections::BTreeMap;

use oci::runtime_spec::LinuxResources;
use sys::bpf::Instruction;

use super::{devices, v1, v2};
use crate::mounts::Version;
use crate::{CgroupError, Controller};

/// One value to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) target: Target,
    /// File and value; kernels differ in a few names, and the first that exists is taken.
    pub(crate) choices: Vec<(String, String)>,
    /// The limit in the specification's words, for messages.
    pub(super) limit: &'static str,
    pub(super) absent: Absent,
}

/// In which of the cgroup's directories the file lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Controller(Controller),
    Unified,
}

/// What to do when the kernel has no such file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absent {
    /// The user asked for this limit.
    Fail,
    /// It only accompanies another limit, or says "unlimited", which is what its absence means.
    Skip,
}

/// What the cgroup says now, where the order of writes depends on it.
#[derive(Debug, Default)]
pub(crate) struct Current {
    /// v1: the limit of memory and swap together.
    pub(crate) memory_and_swap: Option<u64>,
    /// Memory in use, when the new limit must not be below it.
    pub(crate) usage: Option<u64>,
}

/// Where a controller can be used, if anywhere.
pub(crate) type Offers<'a> = &'a dyn Fn(Controller) -> Option<Version>;

/// Collects settings.
pub(super) struct Planner<'a> {
    pub(super) offers: Offers<'a>,
    pub(super) has_unified: bool,
    pub(super) settings: Vec<Setting>,
    pub(super) device_program: Option<Vec<Instruction>>,
}

/// Everything to do for a set of limits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The program that decides about devices, where there is no controller for that.
    pub(crate) device_program: Option<Vec<Instruction>>,
    /// What to write, in order.
    pub(crate) settings: Vec<Setting>,
}

impl Planner<'_> {
    /// The version under which `limit` is set.
    pub(super) fn version(&self, controller: Controller, limit: &'static str) -> Result<Version, CgroupError> {
        (self.offers)(controller).ok_or(CgroupError::MissingController { controller, limit })
    }

    pub(super) fn set(&mut self, controller: Controller, limit: &'static str, file: &str, value: impl ToString) {
        self.push(controller, limit, vec![(file.to_owned(), value.to_string())], Absent::Fail);
    }

    pub(super) fn set_if_there(
        &mut self,
        controller: Controller,
        limit: &'static str,
        file: &str,
        value: impl ToString,
    ) {
        self.push(controller, limit, vec![(file.to_owned(), value.to_string())], Absent::Skip);
    }

    pub(super) fn push(
        &mut self,
        controller: Controller,
        limit: &'static str,
        choices: Vec<(String, String)>,
        absent: Absent,
    ) {
        self.settings.push(Setting { target: Target::Controller(controller), choices, limit, absent });
    }
}

/// The limits that `version` has no notion of and that are ignored, as runc does: limits of the kernel's own memory were
/// taken out of Linux, and v2 has neither swappiness nor a switch for the OOM killer.
pub(crate) fn without_meaning(resources: &LinuxResources, version: Option<Version>) -> Vec<&'static str> {
    let Some(memory) = resources.memory() else { return Vec::new() };
    #[allow(deprecated, reason = "old configurations have it")]
    let kernel = memory.kernel().is_some_and(|v| v != 0);
    let v2 = version == Some(Version::V2);
    let ignored = [
        ("memory.kernel", kernel),
        ("memory.kernelTCP", memory.kernel_tcp().is_some_and(|v| v != 0)),
        ("memory.swappiness", v2 && memory.swappiness().is_some()),
        ("memory.disableOOMKiller", v2 && memory.disable_oom_killer() == Some(true)),
    ];
    ignored.into_iter().filter_map(|(limit, given)| given.then_some(limit)).collect()
}

/// What to do for `resources`.
pub(crate) fn plan(
    resources: &LinuxResources,
    offers: Offers<'_>,
    has_unified: bool,
    current: &Current,
) -> Result<Plan, CgroupError> {
    let mut planner = Planner { offers, has_unified, settings: Vec::new(), device_program: None };
    if let Some(rules) = resources.devices() {
        devices::plan(&mut planner, rules)?;
    }
    if let Some(memory) = resources.memory() {
        check_usage(memory.limit(), current)?;
        let version = (planner.offers)(Controller::Memory);
        match planner.version_if(Controller::Memory, "memory", v1::wants_memory(memory, version))? {
            Some(Version::V1) => v1::memory(&mut planner, memory, current)?,
            Some(Version::V2) => v2::memory(&mut planner, memory)?,
            None => {}
        }
    }
    if let Some(cpu) = resources.cpu() {
        match planner.version_if(Controller::Cpu, "cpu", v1::wants_cpu(cpu))? {
            Some(Version::V1) => v1::cpu(&mut planner, cpu)?,
            Some(Version::V2) => v2::cpu(&mut planner, cpu)?,
            None => {}
        }
        cpuset(&mut planner, "cpu.cpus", "cpuset.cpus", cpu.cpus().as_deref())?;
        cpuset(&mut planner, "cpu.mems", "cpuset.mems", cpu.mems().as_deref())?;
    }
    if let Some(pids) = resources.pids() {
        pids_limit(&mut planner, pids.limit())?;
    }
    if let Some(io) = resources.block_io() {
        match planner.version_if(Controller::Io, "blockIO", v1::wants_io(io))? {
            Some(Version::V1) => v1::io(&mut planner, io)?,
            Some(Version::V2) => v2::io(&mut planner, io)?,
            None => {}
        }
    }
    for page in resources.hugepage_limits().iter().flatten() {
        hugepages(&mut planner, page.page_size(), page.limit())?;
    }
    if let Some(network) = resources.network() {
        v1::network(&mut planner, network)?;
    }
    for (device, limit) in resources.rdma().iter().flatten().collect::<BTreeMap<_, _>>() {
        rdma(&mut planner, device, limit)?;
    }
    unified(&mut planner, resources)?;
    Ok(Plan { device_program: planner.device_program, settings: planner.settings })
}

impl Planner<'_> {
    /// The version, when there is something to set; missing is an error only then.
    fn version_if(
        &self,
        controller: Controller,
        limit: &'static str,
        wanted: bool,
    ) -> Result<Option<Version>, CgroupError> {
        if wanted { self.version(controller, limit).map(Some) } else { Ok(None) }
    }
}

fn check_usage(limit: Option<i64>, current: &Current) -> Result<(), CgroupError> {
    match (limit.map(u64::try_from), current.usage) {
        (Some(Ok(limit)), Some(usage)) if limit > 0 && limit < usage => Err(CgroupError::BelowUsage { limit, usage }),
        _ => Ok(()),
    }
}

fn cpuset(planner: &mut Planner<'_>, limit: &'static str, file: &str, list: Option<&str>) -> Result<(), CgroupError> {
    if let Some(list) = list.filter(|list| !list.is_empty()) {
        planner.version(Controller::Cpuset, limit)?;
        planner.set(Controller::Cpuset, limit, file, list);
    }
    Ok(())
}

/// 0 means "not set", below that "unlimited", as for runc and Docker.
fn pids_limit(planner: &mut Planner<'_>, limit: i64) -> Result<(), CgroupError> {
    const LIMIT: &str = "pids.limit";
    if limit != 0 {
        planner.version(Controller::Pids, LIMIT)?;
        let value = if limit < 0 { "max".to_owned() } else { limit.to_string() };
        planner.set(Controller::Pids, LIMIT, "pids.max", value);
    }
    Ok(())
}

fn hugepages(planner: &mut Planner<'_>, size: &str, limit: i64) -> Result<(), CgroupError> {
    const LIMIT: &str = "hugepageLimits";
    let digits = size.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    if digits.is_empty() || !matches!(&size[digits.len()..], "KB" | "MB" | "GB") || digits.parse::<u64>().is_err() {
        return Err(CgroupError::InvalidLimit { limit: LIMIT, value: size.to_owned(), why: "not a size such as 2MB" });
    }
    let (suffix, value) = match planner.version(Controller::Hugetlb, LIMIT)? {
        Version::V1 => ("limit_in_bytes", limit.to_string()),
        Version::V2 => ("max", if limit < 0 { "max".to_owned() } else { limit.to_string() }),
    };
    planner.set(Controller::Hugetlb, LIMIT, &format!("hugetlb.{size}.{suffix}"), &value);
    // Linux 5.7 can count reservations too; without it a container reserves what it may not fault in.
    planner.set_if_there(Controller::Hugetlb, LIMIT, &format!("hugetlb.{size}.rsvd.{suffix}"), value);
    Ok(())
}

fn rdma(planner: &mut Planner<'_>, device: &str, limit: &oci::runtime_spec::LinuxRdma) -> Result<(), CgroupError> {
    planner.version(Controller::Rdma, "rdma")?;
    if limit.hca_handles().is_none() && limit.hca_objects().is_none() {
        let why = "it needs hcaHandles or hcaObjects";
        return Err(CgroupError::InvalidLimit { limit: "rdma", value: device.to_owned(), why });
    }
    let part = |name: &str, value: Option<u32>| value.map(|v| format!(" {name}={v}")).unwrap_or_default();
    let value =
        format!("{device}{}{}", part("hca_handle", limit.hca_handles()), part("hca_object", limit.hca_objects()));
    planner.set(Controller::Rdma, "rdma", "rdma.max", value);
    Ok(())
}

/// Files of the unified hierarchy, named by the user. Last, so that they win.
fn unified(planner: &mut Planner<'_>, resources: &LinuxResources) -> Result<(), CgroupError> {
    const LIMIT: &str = "unified";
    for (file, value) in resources.unified().iter().flatten().collect::<BTreeMap<_, _>>() {
        if !planner.has_unified {
            return Err(CgroupError::Inexpressible { limit: LIMIT, version: "v1" });
        }
        if file.contains('/') || !file.contains('.') {
            let why = "not the name of a control file";
            return Err(CgroupError::InvalidLimit { limit: LIMIT, value: file.clone(), why });
        }
        planner.settings.push(Setting {
            target: Target::Unified,
            choices: vec![(file.clone(), value.clone())],
            limit: LIMIT,
            absent: Absent::Fail,
        });
    }
    Ok(())
}
