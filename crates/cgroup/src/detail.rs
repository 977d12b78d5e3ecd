// SPDX-License-Identifier: Apache-2.0
//! Counters beyond [`crate::Stats`]: per processor, per kind of memory, per device and operation, and pressure. Read only
//! for those who ask (`oci events`): together they are some forty files.

use std::collections::BTreeMap;

use crate::group::Member;
use crate::mounts::Version;
use crate::{Cgroup, CgroupError, Controller, control};

/// What `max` stands for.
const UNLIMITED: u64 = u64::MAX;

/// What the kernel counted in detail. What the host does not count is zero, empty or `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Detail {
    /// Nanoseconds used on each processor (v1).
    pub per_cpu: Vec<u64>,
    /// Of these, in the kernel (v1).
    pub per_cpu_kernel: Vec<u64>,
    /// Of these, in user mode (v1).
    pub per_cpu_user: Vec<u64>,
    /// Numbers and flags of v1's cpuset by file name (`cpuset.cpu_exclusive` …), the two lists aside.
    pub cpuset: BTreeMap<String, i64>,
    /// Processors that may be used (v1).
    pub cpus: Vec<u16>,
    /// Memory nodes that may be used (v1).
    pub mems: Vec<u16>,
    /// Memory.
    pub memory: MemoryUse,
    /// Memory and swap together.
    pub memory_and_swap: MemoryUse,
    /// The kernel's memory (v1).
    pub kernel: MemoryUse,
    /// The kernel's buffers of TCP (v1).
    pub kernel_tcp: MemoryUse,
    /// Tables of block I/O under the names of v1 without prefix (`io_service_bytes`, `io_serviced` …).
    pub io: BTreeMap<&'static str, Vec<DeviceCount>>,
    /// By page size (`2MB`).
    pub huge_pages: BTreeMap<String, HugePages>,
    /// Waiting for a processor (v2).
    pub cpu_pressure: Option<Pressure>,
    /// Waiting for memory (v2).
    pub memory_pressure: Option<Pressure>,
    /// Waiting for block devices (v2).
    pub io_pressure: Option<Pressure>,
}

/// One kind of memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// The limit; the kernel's largest number when there is none.
    pub limit: u64,
    /// In use.
    pub usage: u64,
    /// The most that was in use.
    pub max: u64,
    /// How often the limit was hit (v1).
    pub failures: u64,
}

/// One line of a table of block I/O.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceCount {
    /// Device number.
    pub major: u64,
    /// Device number.
    pub minor: u64,
    /// `Read`, `Write` …; empty where the table has no operations.
    pub operation: String,
    /// The count.
    pub value: u64,
}

/// Huge pages of one size, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HugePages {
    /// In use, or reserved where the kernel counts that.
    pub usage: u64,
    /// The most that was (v1).
    pub max: u64,
    /// How often the limit was hit.
    pub failures: u64,
}

/// How long tasks waited for a resource (the kernel's Documentation/accounting/psi.rst).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// Some tasks waited.
    pub some: PressureLine,
    /// All tasks waited.
    pub full: PressureLine,
}

/// Shares of time in percent, and the total in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PressureLine {
    /// Over the last 10 seconds.
    pub avg10: f64,
    /// Over the last 60 seconds.
    pub avg60: f64,
    /// Over the last 300 seconds.
    pub avg300: f64,
    /// Since the cgroup was made.
    pub total: u64,
}

impl Cgroup {
    /// Reads all of it.
    ///
    /// # Errors
    /// When a file that exists cannot be read or understood.
    pub fn detail(&self) -> Result<Detail, CgroupError> {
        let mut detail = Detail::default();
        self.cpu_detail(&mut detail)?;
        if let Some(cpuset) = self.member(Controller::Cpuset).filter(|m| m.hierarchy.mount.version == Version::V1) {
            self.cpuset_detail(cpuset, &mut detail)?;
        }
        if let Some(memory) = self.member(Controller::Memory) {
            self.memory_detail(memory, &mut detail)?;
        }
        if let Some(io) = self.member(Controller::Io) {
            self.io_detail(io, &mut detail)?;
        }
        if let Some(hugetlb) = self.member(Controller::Hugetlb) {
            self.huge_page_detail(hugetlb, &mut detail)?;
        }
        if let Some(unified) = self.v2() {
            detail.cpu_pressure = self.pressure(unified, "cpu.pressure")?;
            detail.memory_pressure = self.pressure(unified, "memory.pressure")?;
            detail.io_pressure = self.pressure(unified, "io.pressure")?;
        }
        Ok(detail)
    }

    fn cpu_detail(&self, detail: &mut Detail) -> Result<(), CgroupError> {
        let Some(account) = self.member(Controller::Cpuacct) else { return Ok(()) };
        let text = self.text(account, "cpuacct.usage_percpu")?.unwrap_or_default();
        detail.per_cpu = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        // A heading, then a line for each processor: its number, user, kernel.
        let text = self.text(account, "cpuacct.usage_all")?.unwrap_or_default();
        for line in text.lines().skip(1) {
            let mut numbers = line.split(' ').skip(1).map(str::parse::<u64>);
            if let (Some(Ok(user)), Some(Ok(kernel))) = (numbers.next(), numbers.next()) {
                detail.per_cpu_user.push(user);
                detail.per_cpu_kernel.push(kernel);
            }
        }
        Ok(())
    }

    fn cpuset_detail(&self, cpuset: &Member, detail: &mut Detail) -> Result<(), CgroupError> {
        const FLAGS: [&str; 9] = [
            "cpuset.cpu_exclusive",
            "cpuset.mem_hardwall",
            "cpuset.mem_exclusive",
            "cpuset.memory_migrate",
            "cpuset.memory_spread_page",
            "cpuset.memory_spread_slab",
            "cpuset.memory_pressure",
            "cpuset.sched_load_balance",
            "cpuset.sched_relax_domain_level",
        ];
        for file in FLAGS {
            let value = self.text(cpuset, file)?.and_then(|text| text.parse().ok());
            detail.cpuset.insert(file.to_owned(), value.unwrap_or(0));
        }
        detail.cpus = list(&self.text(cpuset, "cpuset.cpus")?.unwrap_or_default());
        detail.mems = list(&self.text(cpuset, "cpuset.mems")?.unwrap_or_default());
        Ok(())
    }

    fn memory_detail(&self, memory: &Member, detail: &mut Detail) -> Result<(), CgroupError> {
        let read = |file: &str| self.amount(memory, file);
        if memory.hierarchy.mount.version == Version::V1 {
            let of = |name: &str| {
                Ok::<_, CgroupError>(MemoryUse {
                    limit: read(&format!("{name}.limit_in_bytes"))?,
                    usage: read(&format!("{name}.usage_in_bytes"))?,
                    max: read(&format!("{name}.max_usage_in_bytes"))?,
                    failures: read(&format!("{name}.failcnt"))?,
                })
            };
            detail.memory = of("memory")?;
            detail.memory_and_swap = of("memory.memsw")?;
            detail.kernel = of("memory.kmem")?;
            detail.kernel_tcp = of("memory.kmem.tcp")?;
            return Ok(());
        }
        let memory = MemoryUse {
            limit: read("memory.max")?,
            usage: read("memory.current")?,
            max: read("memory.peak")?,
            failures: 0,
        };
        let swap_limit = read("memory.swap.max")?;
        detail.memory = memory;
        // v2 counts swap alone; readers of these numbers expect the sum. The peaks may have been at different times.
        detail.memory_and_swap = MemoryUse {
            limit: if swap_limit == UNLIMITED { UNLIMITED } else { memory.limit.saturating_add(swap_limit) },
            usage: memory.usage.saturating_add(read("memory.swap.current")?),
            ..MemoryUse::default()
        };
        Ok(())
    }

    fn io_detail(&self, io: &Member, detail: &mut Detail) -> Result<(), CgroupError> {
        if io.hierarchy.mount.version == Version::V2 {
            let text = self.text(io, "io.stat")?.unwrap_or_default();
            let (bytes, operations) = v2_tables(&text);
            detail.io.insert("io_service_bytes", bytes);
            detail.io.insert("io_serviced", operations);
            return Ok(());
        }
        const TABLES: [&str; 8] = [
            "io_service_bytes",
            "io_serviced",
            "io_queued",
            "io_service_time",
            "io_wait_time",
            "io_merged",
            "time",
            "sectors",
        ];
        // BFQ counts what goes through it, the old CFQ did, and the throttling layer counts everything.
        let whole = |table: &str| {
            [format!("blkio.bfq.{table}_recursive"), format!("blkio.{table}_recursive")]
                .into_iter()
                .chain([format!("blkio.throttle.{table}_recursive"), format!("blkio.throttle.{table}")])
        };
        for table in TABLES {
            for file in whole(table) {
                let Some(text) = self.text(io, &file)? else { continue };
                let rows = v1_table(&text);
                // An empty one belongs to a scheduler that no disk uses.
                if !rows.is_empty() {
                    detail.io.insert(table, rows);
                    break;
                }
            }
        }
        Ok(())
    }

    fn huge_page_detail(&self, hugetlb: &Member, detail: &mut Detail) -> Result<(), CgroupError> {
        let v1 = hugetlb.hierarchy.mount.version == Version::V1;
        let usage_file = if v1 { "usage_in_bytes" } else { "current" };
        for size in self.page_sizes(hugetlb, usage_file)? {
            // Linux 5.7 counts reservations, which are what limits are for.
            let reserved = format!("hugetlb.{size}.rsvd");
            let has_reserved = self.text(hugetlb, &format!("{reserved}.{usage_file}"))?.is_some();
            let name = if has_reserved { reserved } else { format!("hugetlb.{size}") };
            let mut pages =
                HugePages { usage: self.amount(hugetlb, &format!("{name}.{usage_file}"))?, ..HugePages::default() };
            if v1 {
                pages.max = self.amount(hugetlb, &format!("{name}.max_usage_in_bytes"))?;
                pages.failures = self.amount(hugetlb, &format!("{name}.failcnt"))?;
            } else {
                let events = self.text(hugetlb, &format!("hugetlb.{size}.events"))?.unwrap_or_default();
                let max = events.lines().find_map(|line| line.strip_prefix("max ")?.parse().ok());
                pages.failures = max.unwrap_or(0);
            }
            detail.huge_pages.insert(size, pages);
        }
        Ok(())
    }

    /// The page sizes that this kernel limits, from the names of the control files.
    fn page_sizes(&self, hugetlb: &Member, usage_file: &str) -> Result<Vec<String>, CgroupError> {
        let names = control::files(&hugetlb.dir).map_err(|e| self.read_error("hugetlb.*", e))?;
        let size = |name: &String| {
            let size = name.strip_prefix("hugetlb.")?.strip_suffix(usage_file)?.strip_suffix('.')?;
            (!size.contains('.')).then(|| size.to_owned())
        };
        Ok(names.iter().filter_map(size).collect())
    }

    fn pressure(&self, unified: &Member, file: &str) -> Result<Option<Pressure>, CgroupError> {
        match control::read(&unified.dir, file) {
            Ok(text) => Ok(Some(pressure(&text))),
            // A kernel without it, or one where it is to be switched on at boot.
            Err(error) if control::is_gone(&error) || control::is(&error, rustix::io::Errno::OPNOTSUPP) => Ok(None),
            Err(error) => Err(self.read_error(file, error)),
        }
    }

    /// A file's content; nothing when this kernel does not have it.
    fn text(&self, member: &Member, file: &str) -> Result<Option<String>, CgroupError> {
        match control::read(&member.dir, file) {
            Err(error) if control::is_gone(&error) => Ok(None),
            result => result.map(Some).map_err(|e| self.read_error(file, e)),
        }
    }

    /// A number; 0 for a file that this kernel does not have.
    fn amount(&self, member: &Member, file: &str) -> Result<u64, CgroupError> {
        match self.text(member, file)? {
            None => Ok(0),
            Some(text) if text == "max" => Ok(UNLIMITED),
            Some(text) => {
                let (path, file) = (self.path().to_string(), file.to_owned());
                text.parse().map_err(|_| CgroupError::Content { path, file, text })
            }
        }
    }
}

/// `0-2,7`
fn list(text: &str) -> Vec<u16> {
    let mut all = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) {
            all.extend(first..=last);
        }
    }
    all
}

/// `8:0 Read 4096`, `8:0 7`; the line without a device is the sum.
fn v1_table(text: &str) -> Vec<DeviceCount> {
    let row = |line: &str| {
        let (device, rest) = line.split_once(' ')?;
        let (major, minor) = device.split_once(':')?;
        let (operation, value) = rest.split_once(' ').unwrap_or(("", rest));
        Some(DeviceCount {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            operation: operation.to_owned(),
            value: value.parse().ok()?,
        })
    };
    text.lines().filter_map(row).collect()
}

/// v2's one table as v1's two: bytes, and operations.
fn v2_tables(text: &str) -> (Vec<DeviceCount>, Vec<DeviceCount>) {
    let (mut bytes, mut operations) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split(' ');
        let Some((major, minor)) = words.next().and_then(|device| device.split_once(':')) else { continue };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { continue };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let Ok(value) = value.parse() else { continue };
            let (table, operation) = match key {
                "rbytes" => (&mut bytes, "Read"),
                "wbytes" => (&mut bytes, "Write"),
                "rios" => (&mut operations, "Read"),
                "wios" => (&mut operations, "Write"),
                _ => continue,
            };
            table.push(DeviceCount { major, minor, operation: operation.to_owned(), value });
        }
    }
    (bytes, operations)
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and `full`.
fn pressure(text: &str) -> Pressure {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let mut words = line.split(' ');
        let into = match words.next() {
            Some("some") => &mut pressure.some,
            Some("full") => &mut pressure.full,
            _ => continue,
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let share = value.parse().unwrap_or(0.0);
            match key {
                "avg10" => into.avg10 = share,
                "avg60" => into.avg60 = share,
                "avg300" => into.avg300 = share,
                "total" => into.total = value.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
    pressure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_both_versions_are_alike() {
        let v1 = v1_table("8:0 Read 4096\n8:0 Write 10\nTotal 4106\n8:16 7");
        let (v2, operations) = v2_tables("8:0 rbytes=4096 wbytes=10 rios=1 wios=2 dbytes=0\nnonsense");
        assert_eq!(v1[..2], v2[..]);
        assert_eq!((v1[2].operation.as_str(), v1[2].value), ("", 7));
        assert_eq!(operations.iter().map(|row| row.value).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn lists_and_pressure_are_read() {
        assert_eq!(list("0-2,7"), [0, 1, 2, 7]);
        assert!(list("").is_empty());
        let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=1234\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5";
        let read = pressure(text);
        assert_eq!((read.some.avg10, read.some.avg60, read.some.total, read.full.total), (1.5, 0.25, 1234, 5));
    }
}
