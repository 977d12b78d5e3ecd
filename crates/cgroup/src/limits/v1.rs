// SPDX-License-Identifier: Apache-2.0
//! Limits in the files of v1 (the kernel's Documentation/admin-guide/cgroup-v1).

use oci::runtime_spec::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxNetwork, LinuxThrottleDevice};

use super::plan::{Absent, Current, Planner};
use crate::mounts::Version;
use crate::{CgroupError, Controller};

const MEMORY: Controller = Controller::Memory;
const SWAP: &str = "memory.swap";

/// Is there anything to set? An empty section asks for no controller.
pub(super) fn wants_memory(memory: &LinuxMemory, version: Option<Version>) -> bool {
    let set = |v: Option<i64>| v.is_some_and(|v| v != 0);
    let only_v1 = memory.swappiness().is_some() || memory.disable_oom_killer() == Some(true);
    set(memory.limit()) || set(memory.reservation()) || set(memory.swap()) || (only_v1 && version != Some(Version::V2))
}

pub(super) fn memory(planner: &mut Planner<'_>, memory: &LinuxMemory, current: &Current) -> Result<(), CgroupError> {
    let limit = bytes("memory.limit", memory.limit())?;
    let swap = bytes(SWAP, memory.swap())?;
    check_swap(limit, swap)?;
    limit_and_swap(planner, limit, swap, current);
    if let Some(reservation) = bytes("memory.reservation", memory.reservation())? {
        planner.set(MEMORY, "memory.reservation", "memory.soft_limit_in_bytes", reservation);
    }
    if let Some(swappiness) = memory.swappiness() {
        if swappiness > 100 {
            let (limit, value) = ("memory.swappiness", swappiness.to_string());
            return Err(CgroupError::InvalidLimit { limit, value, why: "more than 100" });
        }
        planner.set(MEMORY, "memory.swappiness", "memory.swappiness", swappiness);
    }
    if memory.disable_oom_killer() == Some(true) {
        planner.set(MEMORY, "memory.disableOOMKiller", "memory.oom_control", 1);
    }
    Ok(())
}

/// A size in bytes: nothing for 0, which the specification's users write for "not set"; -1 for unlimited.
pub(super) fn bytes(limit: &'static str, value: Option<i64>) -> Result<Option<i64>, CgroupError> {
    match value {
        None | Some(0) => Ok(None),
        Some(value) if value < -1 => {
            Err(CgroupError::InvalidLimit { limit, value: value.to_string(), why: "negative; -1 means unlimited" })
        }
        some => Ok(some),
    }
}

/// `swap` counts memory too, so it cannot be less.
pub(crate) fn check_swap(limit: Option<i64>, swap: Option<i64>) -> Result<(), CgroupError> {
    match (limit, swap) {
        (Some(limit), Some(swap)) if swap != -1 && (limit == -1 || swap < limit) => Err(CgroupError::InvalidLimit {
            limit: SWAP,
            value: swap.to_string(),
            why: "it is the sum of memory and swap, and memory.limit alone is more",
        }),
        _ => Ok(()),
    }
}

/// Docker's meaning: a memory limit alone allows as much swap again. The kernel insists at every moment that the sum's
/// limit is not below memory's, which decides the order.
fn limit_and_swap(planner: &mut Planner<'_>, limit: Option<i64>, swap: Option<i64>, current: &Current) {
    let both = match (limit, swap) {
        (_, Some(-1)) => Some((-1, Absent::Skip)),
        (_, Some(swap)) => Some((swap, Absent::Fail)),
        (Some(-1), None) => Some((-1, Absent::Skip)),
        (Some(limit), None) => Some((limit.saturating_mul(2), Absent::Skip)),
        (None, None) => None,
    };
    let amount = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    let sum_first = limit.is_some_and(|limit| current.memory_and_swap.is_some_and(|sum| amount(limit) > sum));
    let set_sum = |planner: &mut Planner<'_>| {
        if let Some((sum, absent)) = both {
            let choice = ("memory.memsw.limit_in_bytes".to_owned(), sum.to_string());
            planner.push(MEMORY, SWAP, vec![choice], absent);
        }
    };
    if sum_first {
        set_sum(planner);
    }
    if let Some(limit) = limit {
        planner.set(MEMORY, "memory.limit", "memory.limit_in_bytes", limit);
    }
    if !sum_first {
        set_sum(planner);
    }
}

pub(super) fn wants_cpu(cpu: &LinuxCpu) -> bool {
    cpu.shares().is_some_and(|v| v != 0)
        || cpu.quota().is_some_and(|v| v != 0)
        || cpu.period().is_some_and(|v| v != 0)
        || cpu.burst().is_some()
        || cpu.idle().is_some()
        || cpu.realtime_runtime().is_some_and(|v| v != 0)
        || cpu.realtime_period().is_some_and(|v| v != 0)
}

pub(super) fn cpu(planner: &mut Planner<'_>, cpu: &LinuxCpu) -> Result<(), CgroupError> {
    const CPU: Controller = Controller::Cpu;
    check_burst(cpu)?;
    if let Some(idle) = cpu.idle() {
        planner.set(CPU, "cpu.idle", "cpu.idle", idle);
    }
    if let Some(shares) = cpu.shares().filter(|v| *v != 0) {
        planner.set(CPU, "cpu.shares", "cpu.shares", shares);
    }
    // The period before the quota: the other way round a short quota may be refused under the long default period.
    if let Some(period) = cpu.period().filter(|v| *v != 0) {
        planner.set(CPU, "cpu.period", "cpu.cfs_period_us", period);
    }
    if let Some(quota) = cpu.quota().filter(|v| *v != 0) {
        planner.set(CPU, "cpu.quota", "cpu.cfs_quota_us", quota);
    }
    if let Some(burst) = cpu.burst() {
        planner.set(CPU, "cpu.burst", "cpu.cfs_burst_us", burst);
    }
    if let Some(period) = cpu.realtime_period().filter(|v| *v != 0) {
        planner.set(CPU, "cpu.realtimePeriod", "cpu.rt_period_us", period);
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|v| *v != 0) {
        planner.set(CPU, "cpu.realtimeRuntime", "cpu.rt_runtime_us", runtime);
    }
    Ok(())
}

/// "If specified, this value MUST be no larger than any positive `quota`."
pub(super) fn check_burst(cpu: &LinuxCpu) -> Result<(), CgroupError> {
    let quota = cpu.quota().and_then(|quota| u64::try_from(quota).ok()).filter(|quota| *quota > 0);
    match (cpu.burst(), quota) {
        (Some(burst), Some(quota)) if burst > quota => Err(CgroupError::InvalidLimit {
            limit: "cpu.burst",
            value: burst.to_string(),
            why: "it is larger than cpu.quota",
        }),
        _ => Ok(()),
    }
}

pub(super) fn wants_io(io: &LinuxBlockIo) -> bool {
    let throttles = |list: &Option<Vec<LinuxThrottleDevice>>| list.as_ref().is_some_and(|l| !l.is_empty());
    io.weight().is_some_and(|w| w != 0)
        || io.leaf_weight().is_some_and(|w| w != 0)
        || io.weight_device().as_ref().is_some_and(|l| !l.is_empty())
        || throttles(io.throttle_read_bps_device())
        || throttles(io.throttle_write_bps_device())
        || throttles(io.throttle_read_iops_device())
        || throttles(io.throttle_write_iops_device())
}

pub(super) fn io(planner: &mut Planner<'_>, io: &LinuxBlockIo) -> Result<(), CgroupError> {
    const IO: Controller = Controller::Io;
    // With the CFQ scheduler gone (Linux 5.0), BFQ's file is the one that has a meaning.
    let weight_files =
        |value: &str| ["blkio.weight", "blkio.bfq.weight"].map(|file| (file.to_owned(), value.to_owned())).to_vec();
    if let Some(weight) = io.weight().filter(|w| *w != 0) {
        planner.push(IO, "blockIO.weight", weight_files(&weight.to_string()), Absent::Fail);
    }
    if let Some(weight) = io.leaf_weight().filter(|w| *w != 0) {
        planner.set(IO, "blockIO.leafWeight", "blkio.leaf_weight", weight);
    }
    for device in io.weight_device().iter().flatten() {
        let number = format!("{}:{}", device.major(), device.minor());
        if let Some(weight) = device.weight().filter(|w| *w != 0) {
            let value = format!("{number} {weight}");
            let files = ["blkio.weight_device", "blkio.bfq.weight_device"].map(|f| (f.to_owned(), value.clone()));
            planner.push(IO, "blockIO.weightDevice", files.to_vec(), Absent::Fail);
        }
        if let Some(weight) = device.leaf_weight().filter(|w| *w != 0) {
            let value = format!("{number} {weight}");
            planner.set(IO, "blockIO.weightDevice.leafWeight", "blkio.leaf_weight_device", value);
        }
    }
    let throttles = [
        ("blockIO.throttleReadBpsDevice", "read_bps", io.throttle_read_bps_device()),
        ("blockIO.throttleWriteBpsDevice", "write_bps", io.throttle_write_bps_device()),
        ("blockIO.throttleReadIOPSDevice", "read_iops", io.throttle_read_iops_device()),
        ("blockIO.throttleWriteIOPSDevice", "write_iops", io.throttle_write_iops_device()),
    ];
    for (limit, name, devices) in throttles {
        for device in devices.iter().flatten() {
            let value = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            planner.set(IO, limit, &format!("blkio.throttle.{name}_device"), value);
        }
    }
    Ok(())
}

/// Packet classes and priorities exist in v1 alone; under v2 this is packet filters' work.
pub(super) fn network(planner: &mut Planner<'_>, network: &LinuxNetwork) -> Result<(), CgroupError> {
    if let Some(class) = network.class_id().filter(|c| *c != 0) {
        v1_only(planner, Controller::NetCls, "network.classID")?;
        planner.set(Controller::NetCls, "network.classID", "net_cls.classid", class);
    }
    for priority in network.priorities().iter().flatten() {
        v1_only(planner, Controller::NetPrio, "network.priorities")?;
        let value = format!("{} {}", priority.name(), priority.priority());
        planner.set(Controller::NetPrio, "network.priorities", "net_prio.ifpriomap", value);
    }
    Ok(())
}

fn v1_only(planner: &Planner<'_>, controller: Controller, limit: &'static str) -> Result<(), CgroupError> {
    match planner.version(controller, limit)? {
        Version::V1 => Ok(()),
        Version::V2 => Err(CgroupError::Inexpressible { limit, version: "v2" }),
    }
}
