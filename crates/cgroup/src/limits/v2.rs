// SPDX-License-Identifier: Apache-2.0
//! Limits in the files of v2 (the kernel's Documentation/admin-guide/cgroup-v2.rst).

use std::collections::BTreeMap;

use oci::runtime_spec::{LinuxBlockIo, LinuxCpu, LinuxMemory};

use super::convert::{DEFAULT_PERIOD, io_weight, shares_to_weight};
use super::plan::{Absent, Planner};
use super::v1::{bytes, check_burst, check_swap};
use crate::{CgroupError, Controller};

pub(super) fn memory(planner: &mut Planner<'_>, memory: &LinuxMemory) -> Result<(), CgroupError> {
    const MEMORY: Controller = Controller::Memory;
    let limit = bytes("memory.limit", memory.limit())?;
    let swap = bytes("memory.swap", memory.swap())?;
    check_swap(limit, swap)?;
    if let (None, Some(swap)) = (limit, swap.filter(|swap| *swap != -1)) {
        let (limit, value) = ("memory.swap", swap.to_string());
        return Err(CgroupError::InvalidLimit { limit, value, why: "it needs memory.limit beside it" });
    }
    // Without swap accounting, what asks for no swap limit has it.
    let absent = if matches!(swap, None | Some(-1)) { Absent::Skip } else { Absent::Fail };
    if let Some(limit) = limit {
        planner.set(MEMORY, "memory.limit", "memory.max", max(limit));
    }
    if let Some(swap) = swap_alone(limit, swap) {
        planner.push(MEMORY, "memory.swap", vec![("memory.swap.max".to_owned(), max(swap))], absent);
    }
    if let Some(reservation) = bytes("memory.reservation", memory.reservation())? {
        planner.set(MEMORY, "memory.reservation", "memory.low", max(reservation));
    }
    Ok(())
}

/// v2 limits swap by itself, where the specification's `swap` is the sum with memory. A memory limit alone allows as much
/// swap again. Below 0 is unlimited.
pub(crate) fn swap_alone(limit: Option<i64>, swap: Option<i64>) -> Option<i64> {
    match (limit, swap) {
        (_, Some(-1)) => Some(-1),
        (Some(limit), Some(swap)) => Some(swap.saturating_sub(limit)),
        (Some(limit), None) => Some(limit),
        (None, _) => None,
    }
}

pub(super) fn cpu(planner: &mut Planner<'_>, cpu: &LinuxCpu) -> Result<(), CgroupError> {
    const CPU: Controller = Controller::Cpu;
    check_burst(cpu)?;
    if let Some(idle) = cpu.idle() {
        planner.set(CPU, "cpu.idle", "cpu.idle", idle);
    }
    if let Some(shares) = cpu.shares().filter(|v| *v != 0) {
        planner.set(CPU, "cpu.shares", "cpu.weight", shares_to_weight(shares));
    }
    let (quota, period) = (cpu.quota().unwrap_or(0), cpu.period().unwrap_or(0));
    if quota != 0 || period != 0 {
        let period = if period == 0 { DEFAULT_PERIOD } else { period };
        let quota = if quota > 0 { quota.to_string() } else { "max".to_owned() };
        planner.set(CPU, "cpu.quota", "cpu.max", format!("{quota} {period}"));
    }
    if let Some(burst) = cpu.burst() {
        planner.set(CPU, "cpu.burst", "cpu.max.burst", burst);
    }
    refuse("cpu.realtimeRuntime", cpu.realtime_runtime().is_some_and(|v| v != 0))?;
    refuse("cpu.realtimePeriod", cpu.realtime_period().is_some_and(|v| v != 0))
}

pub(super) fn io(planner: &mut Planner<'_>, io: &LinuxBlockIo) -> Result<(), CgroupError> {
    const IO: Controller = Controller::Io;
    if let Some(weight) = io.weight().filter(|w| *w != 0) {
        planner.push(IO, "blockIO.weight", weight_choices("blockIO.weight", "", weight)?, Absent::Fail);
    }
    for device in io.weight_device().iter().flatten() {
        refuse("blockIO.weightDevice.leafWeight", device.leaf_weight().is_some_and(|w| w != 0))?;
        if let Some(weight) = device.weight().filter(|w| *w != 0) {
            let prefix = format!("{}:{} ", device.major(), device.minor());
            let choices = weight_choices("blockIO.weightDevice", &prefix, weight)?;
            planner.push(IO, "blockIO.weightDevice", choices, Absent::Fail);
        }
    }
    refuse("blockIO.leafWeight", io.leaf_weight().is_some_and(|w| w != 0))?;
    // One line for each device, so that it is set whole.
    let mut devices: BTreeMap<(i64, i64), Vec<(&'static str, String)>> = BTreeMap::new();
    let throttles = [
        ("blockIO.throttleReadBpsDevice", "rbps", io.throttle_read_bps_device()),
        ("blockIO.throttleWriteBpsDevice", "wbps", io.throttle_write_bps_device()),
        ("blockIO.throttleReadIOPSDevice", "riops", io.throttle_read_iops_device()),
        ("blockIO.throttleWriteIOPSDevice", "wiops", io.throttle_write_iops_device()),
    ];
    for (limit, key, list) in throttles {
        for device in list.iter().flatten() {
            // v1 lifts a limit by writing 0, v2 by writing max.
            let rate = if device.rate() == 0 { "max".to_owned() } else { device.rate().to_string() };
            devices.entry((device.major(), device.minor())).or_default().push((limit, format!("{key}={rate}")));
        }
    }
    for ((major, minor), settings) in devices {
        let limit = settings.first().map_or("blockIO", |(limit, _)| *limit);
        let values: Vec<&str> = settings.iter().map(|(_, value)| value.as_str()).collect();
        planner.set(IO, limit, "io.max", format!("{major}:{minor} {}", values.join(" ")));
    }
    Ok(())
}

/// BFQ's file takes 1 to 1000 as v1 did, the other one 1 to 10000.
fn weight_choices(limit: &'static str, prefix: &str, weight: u16) -> Result<Vec<(String, String)>, CgroupError> {
    if !(10..=1000).contains(&weight) {
        return Err(CgroupError::InvalidLimit { limit, value: weight.to_string(), why: "it is not from 10 to 1000" });
    }
    let choices = [("io.bfq.weight", u64::from(weight)), ("io.weight", io_weight(weight))];
    Ok(choices.map(|(file, value)| (file.to_owned(), format!("{prefix}{value}"))).to_vec())
}

fn max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

fn refuse(limit: &'static str, wanted: bool) -> Result<(), CgroupError> {
    if wanted { Err(CgroupError::Inexpressible { limit, version: "v2" }) } else { Ok(()) }
}
