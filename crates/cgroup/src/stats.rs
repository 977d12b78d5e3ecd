// SPDX-License-Identifier: Apache-2.0
//! What the kernel counted.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use serde::{Deserialize, Serialize};

use crate::group::Member;
use crate::mounts::Version;
use crate::{Cgroup, CgroupError, Controller, control};

/// v1 writes this, the largest multiple of the page size in a signed long, where there is no limit.
const V1_UNLIMITED: u64 = 0x7fff_ffff_ffff_0000;

/// Counters of a cgroup and everything below it. What the host has no controller for is `None` or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// CPU time used, in nanoseconds.
    pub cpu_usage_ns: u64,
    /// Of that, in user mode.
    pub cpu_user_ns: u64,
    /// Of that, in the kernel.
    pub cpu_system_ns: u64,
    /// Quota periods that had something to run.
    pub periods: u64,
    /// Of these, periods in which the quota ran out.
    pub throttled_periods: u64,
    /// Time spent waiting for the next period, in nanoseconds, added over processors.
    pub throttled_ns: u64,
    /// Memory in use, page cache included, in bytes.
    pub memory_usage: Option<u64>,
    /// The most it has been, in bytes (v2: Linux 5.19).
    pub memory_peak: Option<u64>,
    /// The limit in bytes; `None` when there is none.
    pub memory_limit: Option<u64>,
    /// Swap in use, in bytes.
    pub swap_usage: Option<u64>,
    /// The kernel's own list, `memory.stat`, with its names.
    pub memory: BTreeMap<String, u64>,
    /// Tasks: processes and threads.
    pub pids_current: Option<u64>,
    /// The most there may be; `None` when there is no limit.
    pub pids_limit: Option<u64>,
    /// Processes that the kernel killed for want of memory.
    pub oom_kills: u64,
    /// Traffic per block device.
    pub io: Vec<BlockIo>,
}

/// One block device's traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockIo {
    /// Device number.
    pub major: u32,
    /// Device number.
    pub minor: u32,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Read requests.
    pub read_ops: u64,
    /// Write requests.
    pub write_ops: u64,
}

impl Cgroup {
    /// Reads all counters.
    ///
    /// # Errors
    /// When a file that exists cannot be read or understood.
    pub fn stats(&self) -> Result<Stats, CgroupError> {
        let mut stats = Stats { oom_kills: self.oom_kills()?, ..Stats::default() };
        self.cpu_stats(&mut stats)?;
        self.memory_stats(&mut stats)?;
        if let Some(pids) = self.member(Controller::Pids) {
            stats.pids_current = self.number(pids, "pids.current")?;
            stats.pids_limit = self.number(pids, "pids.max")?;
        }
        if let Some(io) = self.member(Controller::Io) {
            stats.io = self.io_stats(io)?;
        }
        Ok(stats)
    }

    /// How many processes of the cgroup, and of those below it, the kernel has killed for want of memory.
    ///
    /// # Errors
    /// When the counter cannot be read. A host without the memory controller counts none.
    pub fn oom_kills(&self) -> Result<u64, CgroupError> {
        let Some(memory) = self.member(Controller::Memory) else { return Ok(0) };
        let file = match memory.hierarchy.mount.version {
            // Already the sum with those below.
            Version::V2 => return Ok(self.table(memory, "memory.events")?.get("oom_kill").copied().unwrap_or(0)),
            Version::V1 => "memory.oom_control",
        };
        let mut total = 0;
        let result = control::walk(memory.dir.as_fd(), &mut |dir| {
            total += table(&control::read(dir, file)?).get("oom_kill").copied().unwrap_or(0);
            Ok(())
        });
        result.map(|()| total).map_err(|e| self.read_error(file, e))
    }

    fn cpu_stats(&self, stats: &mut Stats) -> Result<(), CgroupError> {
        let v1_accounting = self.member(Controller::Cpuacct);
        if let Some(account) = v1_accounting {
            stats.cpu_usage_ns = self.number(account, "cpuacct.usage")?.unwrap_or(0);
            stats.cpu_user_ns = self.number(account, "cpuacct.usage_user")?.unwrap_or(0);
            stats.cpu_system_ns = self.number(account, "cpuacct.usage_sys")?.unwrap_or(0);
        }
        // v2 has cpu.stat in every cgroup, with the throttling part where the controller is on.
        let Some(cpu) = self.member(Controller::Cpu).or(self.v2()) else { return Ok(()) };
        let table = self.table(cpu, "cpu.stat")?;
        let get = |key: &str| table.get(key).copied().unwrap_or(0);
        if cpu.hierarchy.mount.version == Version::V2 && v1_accounting.is_none() {
            stats.cpu_usage_ns = get("usage_usec").saturating_mul(1000);
            stats.cpu_user_ns = get("user_usec").saturating_mul(1000);
            stats.cpu_system_ns = get("system_usec").saturating_mul(1000);
        }
        stats.periods = get("nr_periods");
        stats.throttled_periods = get("nr_throttled");
        stats.throttled_ns = get("throttled_time") + get("throttled_usec").saturating_mul(1000);
        Ok(())
    }

    fn memory_stats(&self, stats: &mut Stats) -> Result<(), CgroupError> {
        let Some(memory) = self.member(Controller::Memory) else { return Ok(()) };
        stats.memory = self.table(memory, "memory.stat")?;
        match memory.hierarchy.mount.version {
            Version::V1 => {
                stats.memory_usage = self.number(memory, "memory.usage_in_bytes")?;
                stats.memory_peak = self.number(memory, "memory.max_usage_in_bytes")?;
                let limit = self.number(memory, "memory.limit_in_bytes")?;
                stats.memory_limit = limit.filter(|limit| *limit < V1_UNLIMITED);
                stats.swap_usage = stats.memory.get("total_swap").copied();
            }
            Version::V2 => {
                stats.memory_usage = self.number(memory, "memory.current")?;
                stats.memory_peak = self.number(memory, "memory.peak")?;
                stats.memory_limit = self.number(memory, "memory.max")?;
                stats.swap_usage = self.number(memory, "memory.swap.current")?;
            }
        }
        Ok(())
    }

    fn io_stats(&self, io: &Member) -> Result<Vec<BlockIo>, CgroupError> {
        let read = |file: &str| match control::read(&io.dir, file) {
            Err(error) if control::is_gone(&error) => Ok(String::new()),
            result => result.map_err(|e| self.read_error(file, e)),
        };
        let mut devices = BTreeMap::new();
        match io.hierarchy.mount.version {
            Version::V1 => {
                add_v1_io(&mut devices, &read("blkio.throttle.io_service_bytes_recursive")?, true);
                add_v1_io(&mut devices, &read("blkio.throttle.io_serviced_recursive")?, false);
            }
            Version::V2 => add_v2_io(&mut devices, &read("io.stat")?),
        }
        Ok(devices.into_values().collect())
    }

    /// A number; nothing for `max` and for a file that this kernel does not have.
    fn number(&self, member: &Member, file: &str) -> Result<Option<u64>, CgroupError> {
        let text = match control::read(&member.dir, file) {
            Err(error) if control::is_gone(&error) => return Ok(None),
            result => result.map_err(|e| self.read_error(file, e))?,
        };
        if text == "max" {
            return Ok(None);
        }
        let (path, file) = (self.path().to_string(), file.to_owned());
        text.parse().map(Some).map_err(|_| CgroupError::Content { path, file, text })
    }

    fn table(&self, member: &Member, file: &str) -> Result<BTreeMap<String, u64>, CgroupError> {
        match control::read(&member.dir, file) {
            Err(error) if control::is_gone(&error) => Ok(BTreeMap::new()),
            result => Ok(table(&result.map_err(|e| self.read_error(file, e))?)),
        }
    }
}

/// Lines of a name and a number.
fn table(text: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

type Devices = BTreeMap<(u32, u32), BlockIo>;

fn device<'a>(devices: &'a mut Devices, number: &str) -> Option<&'a mut BlockIo> {
    let (major, minor) = number.split_once(':')?;
    let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
    Some(devices.entry((major, minor)).or_insert(BlockIo { major, minor, ..BlockIo::default() }))
}

/// `8:0 Read 4096`, one line per device and direction, and a `Total`.
fn add_v1_io(devices: &mut Devices, text: &str, bytes: bool) {
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(number), Some(direction), Some(amount)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let (Some(entry), Ok(amount)) = (device(devices, number), amount.parse::<u64>()) else { continue };
        match (direction, bytes) {
            ("Read", true) => entry.read_bytes += amount,
            ("Write", true) => entry.write_bytes += amount,
            ("Read", false) => entry.read_ops += amount,
            ("Write", false) => entry.write_ops += amount,
            _ => {}
        }
    }
}

/// `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`
fn add_v2_io(devices: &mut Devices, text: &str) {
    for line in text.lines() {
        let mut words = line.split(' ');
        let Some(entry) = words.next().and_then(|number| device(devices, number)) else { continue };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let Ok(value) = value.parse::<u64>() else { continue };
            match key {
                "rbytes" => entry.read_bytes += value,
                "wbytes" => entry.write_bytes += value,
                "rios" => entry.read_ops += value,
                "wios" => entry.write_ops += value,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_count_a_device_alike() {
        let mut v1 = Devices::new();
        add_v1_io(&mut v1, "8:0 Read 4096\n8:0 Write 10\n8:0 Total 4106\nTotal 4106", true);
        add_v1_io(&mut v1, "8:0 Read 1\n8:0 Write 2", false);
        let mut v2 = Devices::new();
        add_v2_io(&mut v2, "8:0 rbytes=4096 wbytes=10 rios=1 wios=2 dbytes=0 dios=0");
        assert_eq!(v1, v2);
        assert_eq!(v1[&(8, 0)].write_ops, 2);
    }
}
