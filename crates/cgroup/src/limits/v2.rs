// SPDX-License-Identifier: Apache-2.0
//! Limits in the files of v2 (the kernel's Documentation/admin-guide/cgroup-v2.rst).

use oci::runtime_spec::{LinuxBlockIo, LinuxCpu, LinuxMemory};

use super::convert::{DEFAULT_PERIOD, io_weight, shares_to_weight};
use super::plan::{Absent, Planner};
use super::v1::{bytes, check_swap};
use crate::{CgroupError, Controller};

pub(super) fn memory(planner: &mut Planner<'_>, memory: &LinuxMemory) -> Result<(), CgroupError> {
    const MEMORY: Controller = Controller::Memory;
    let limit = bytes("memory.limit", memory.limit())?;
    let swap = bytes("memory.swap", memory.swap())?;
    check_swap(limit, swap)?;
    // Here swap is limited by itself, and there the sum of both. A memory limit alone allows as much swap again.
    let swap = match (limit, swap) {
        (_, Some(-1)) => Some((max(-1), Absent::Skip)),
        (Some(limit), Some(swap)) => Some((max(swap - limit), Absent::Fail)),
        (None, Some(swap)) => {
            let (limit, value) = ("memory.swap", swap.to_string());
            return Err(CgroupError::InvalidLimit { limit, value, why: "it needs memory.limit beside it" });
        }
        (Some(limit), None) => Some((max(limit), Absent::Skip)),
        (None, None) => None,
    };
    if let Some(limit) = limit {
        planner.set(MEMORY, "memory.limit", "memory.max", max(limit));
    }
    if let Some((swap, absent)) = swap {
        planner.push(MEMORY, "memory.swap", vec![("memory.swap.max".to_owned(), swap)], absent);
    }
    if let Some(reservation) = bytes("memory.reservation", memory.reservation())? {
        planner.set(MEMORY, "memory.reservation", "memory.low", max(reservation));
    }
    refuse("memory.kernelTCP", memory.kernel_tcp().is_some_and(|v| v > 0))?;
    refuse("memory.swappiness", memory.swappiness().is_some())?;
    refuse("memory.disableOOMKiller", memory.disable_oom_killer() == Some(true))
}

pub(super) fn cpu(planner: &mut Planner<'_>, cpu: &LinuxCpu) -> Result<(), CgroupError> {
    const CPU: Controller = Controller::Cpu;
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
        // BFQ's file takes 1 to 1000 as v1 did, the other one 1 to 10000.
        let choices = [("io.bfq.weight", u64::from(weight)), ("io.weight", io_weight(weight))];
        let choices = choices.map(|(file, value)| (file.to_owned(), value.to_string()));
        planner.push(IO, "blockIO.weight", choices.to_vec(), Absent::Fail);
    }
    for device in io.weight_device().iter().flatten() {
        let Some(weight) = device.weight() else { continue };
        let (major, minor) = (device.major(), device.minor());
        let choices = [("io.bfq.weight", u64::from(weight)), ("io.weight", io_weight(weight))];
        let choices = choices.map(|(file, value)| (file.to_owned(), format!("{major}:{minor} {value}")));
        planner.push(IO, "blockIO.weightDevice", choices.to_vec(), Absent::Fail);
    }
    refuse("blockIO.leafWeight", io.leaf_weight().is_some_and(|w| w != 0))?;
    let throttles = [
        ("blockIO.throttleReadBpsDevice", "rbps", io.throttle_read_bps_device()),
        ("blockIO.throttleWriteBpsDevice", "wbps", io.throttle_write_bps_device()),
        ("blockIO.throttleReadIOPSDevice", "riops", io.throttle_read_iops_device()),
        ("blockIO.throttleWriteIOPSDevice", "wiops", io.throttle_write_iops_device()),
    ];
    for (limit, key, devices) in throttles {
        for device in devices.iter().flatten() {
            // v1 lifts a limit by writing 0, v2 by writing max.
            let rate = if device.rate() == 0 { "max".to_owned() } else { device.rate().to_string() };
            planner.set(IO, limit, "io.max", format!("{}:{} {key}={rate}", device.major(), device.minor()));
        }
    }
    Ok(())
}

fn max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

fn refuse(limit: &'static str, wanted: bool) -> Result<(), CgroupError> {
    if wanted { Err(CgroupError::Inexpressible { limit, version: "v2" }) } else { Ok(()) }
}
