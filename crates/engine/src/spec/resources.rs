// SPDX-License-Identifier: Apache-2.0
//! What a container may use, in the runtime specification's words.

use oci::OciSpecError;
use oci::runtime_spec as rt;

use super::defaults;
use crate::error::EngineError;
use crate::request::Resources;
use crate::surroundings::BlockDevices;

/// All limits that `wish` names, the rules about devices aside.
pub(super) fn resources(wish: &Resources, block: &BlockDevices) -> Result<rt::LinuxResources, OciSpecError> {
    let mut resources = rt::LinuxResources::default();
    resources.set_devices(None);
    resources.set_memory(memory(wish));
    resources.set_cpu(cpu(wish));
    if let Some(limit) = wish.pids_limit.filter(|&limit| limit > 0) {
        resources.set_pids(Some(rt::LinuxPidsBuilder::default().limit(limit).build()?));
    }
    resources.set_block_io(block_io(wish, block)?);
    Ok(resources)
}

fn memory(wish: &Resources) -> Option<rt::LinuxMemory> {
    let swappiness = wish.memory_swappiness.and_then(|value| u64::try_from(value).ok());
    let disable_killer = wish.oom_kill_disable.filter(|&disable| disable);
    let amounts = [wish.memory, wish.memory_swap, wish.memory_reservation];
    if amounts.iter().all(Option::is_none) && swappiness.is_none() && disable_killer.is_none() {
        return None;
    }
    let mut memory = rt::LinuxMemory::default();
    memory.set_limit(wish.memory);
    memory.set_swap(wish.memory_swap);
    memory.set_reservation(wish.memory_reservation);
    memory.set_swappiness(swappiness);
    memory.set_disable_oom_killer(disable_killer);
    Some(memory)
}

fn cpu(wish: &Resources) -> Option<rt::LinuxCpu> {
    let mut cpu = rt::LinuxCpu::default();
    cpu.set_quota(wish.cpu_quota);
    cpu.set_period(wish.cpu_period.and_then(|period| u64::try_from(period).ok()));
    if let Some(nano) = wish.nano_cpus {
        cpu.set_period(Some(defaults::CPU_PERIOD_US));
        cpu.set_quota(Some(nano.saturating_mul(defaults::CPU_PERIOD_US as i64) / 1_000_000_000));
    }
    cpu.set_shares(wish.cpu_shares);
    cpu.set_cpus(wish.cpuset_cpus.clone());
    cpu.set_mems(wish.cpuset_mems.clone());
    cpu.set_realtime_runtime(wish.cpu_realtime_runtime);
    cpu.set_realtime_period(wish.cpu_realtime_period.and_then(|period| u64::try_from(period).ok()));
    (cpu != rt::LinuxCpu::default()).then_some(cpu)
}

fn block_io(wish: &Resources, block: &BlockDevices) -> Result<Option<rt::LinuxBlockIo>, OciSpecError> {
    let throttles = |list: &[((i64, i64), u64)]| {
        let one = |&((major, minor), rate): &((i64, i64), u64)| {
            rt::LinuxThrottleDeviceBuilder::default().major(major).minor(minor).rate(rate).build()
        };
        let all = list.iter().map(one).collect::<Result<Vec<_>, _>>()?;
        Ok::<_, OciSpecError>((!all.is_empty()).then_some(all))
    };
    let mut weights = Vec::new();
    for &((major, minor), weight) in &block.weights {
        let weight = u16::try_from(weight).unwrap_or(u16::MAX);
        weights.push(rt::LinuxWeightDeviceBuilder::default().major(major).minor(minor).weight(weight).build()?);
    }
    let mut io = rt::LinuxBlockIo::default();
    io.set_weight(wish.blkio_weight);
    io.set_weight_device((!weights.is_empty()).then_some(weights));
    io.set_throttle_read_bps_device(throttles(&block.read_bps)?);
    io.set_throttle_write_bps_device(throttles(&block.write_bps)?);
    io.set_throttle_read_iops_device(throttles(&block.read_iops)?);
    io.set_throttle_write_iops_device(throttles(&block.write_iops)?);
    Ok((io != rt::LinuxBlockIo::default()).then_some(io))
}

/// The limits of a running container that `changed` names, in the company that they have in `all`: memory and swap, quota
/// and period go together.
pub(crate) fn changed_limits(changed: &Resources, all: &Resources) -> Result<rt::LinuxResources, EngineError> {
    let pick = |is_changed: bool| if is_changed { all.clone() } else { Resources::default() };
    let has_memory = changed.memory.is_some() || changed.memory_swap.is_some() || changed.memory_reservation.is_some();
    let memory = pick(has_memory);
    let cpu = pick(changed.nano_cpus.is_some() || changed.cpu_quota.is_some() || changed.cpu_period.is_some());
    let realtime = pick(changed.cpu_realtime_runtime.is_some() || changed.cpu_realtime_period.is_some());
    let wish = Resources {
        memory: memory.memory,
        memory_swap: memory.memory_swap,
        memory_reservation: memory.memory_reservation,
        nano_cpus: cpu.nano_cpus,
        cpu_quota: cpu.cpu_quota,
        cpu_period: cpu.cpu_period,
        cpu_realtime_runtime: realtime.cpu_realtime_runtime,
        cpu_realtime_period: realtime.cpu_realtime_period,
        // What belongs to single devices, and how readily memory is swapped, is settled at the start.
        ..changed.clone()
    };
    let mut limits = resources(&wish, &BlockDevices::default()).map_err(EngineError::Spec)?;
    if changed.pids_limit.is_some_and(|limit| limit <= 0) {
        limits.set_pids(Some(rt::LinuxPidsBuilder::default().limit(-1).build().map_err(EngineError::Spec)?));
    }
    Ok(limits)
}
