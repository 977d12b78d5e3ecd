// SPDX-License-Identifier: Apache-2.0
//! A cgroup's counters in the shape of runc's `events` (its types/events.go): names, order of nesting, and which
//! fields are left out when they are zero.

use cgroup::{Cgroup, DeviceCount, HugePages, MemoryUse, Pressure, PressureLine, Stats};
use serde_json::{Map, Value, json};

use super::error::CliError;

/// Everything that is counted.
pub(super) fn statistics(cgroup: &Cgroup) -> Result<Value, CliError> {
    let (stats, detail) = (cgroup.stats()?, cgroup.detail()?);
    let mut usage = Map::new();
    put(&mut usage, "total", stats.cpu_usage_ns);
    for (name, list) in
        [("percpu", &detail.per_cpu), ("percpu_kernel", &detail.per_cpu_kernel), ("percpu_user", &detail.per_cpu_user)]
    {
        put_list(&mut usage, name, list);
    }
    usage.insert("kernel".into(), stats.cpu_system_ns.into());
    usage.insert("user".into(), stats.cpu_user_ns.into());
    let mut cpu = Map::new();
    cpu.insert("usage".into(), usage.into());
    cpu.insert("throttling".into(), throttling(&stats).into());
    put_pressure(&mut cpu, detail.cpu_pressure);
    let mut pids = Map::new();
    put(&mut pids, "current", stats.pids_current.unwrap_or(0));
    put(&mut pids, "limit", stats.pids_limit.unwrap_or(0));
    let huge_pages: Map<String, Value> =
        detail.huge_pages.iter().map(|(size, pages)| (size.clone(), huge(pages))).collect();
    Ok(json!({
        "cpu": cpu,
        "cpuset": cpuset(&detail),
        "memory": memory(&stats, &detail),
        "pids": pids,
        "blkio": block_io(&detail),
        "hugetlb": huge_pages,
        "intel_rdt": {},
        "network_interfaces": [],
    }))
}

fn put(map: &mut Map<String, Value>, name: &str, value: u64) {
    if value != 0 {
        map.insert(name.into(), value.into());
    }
}

fn put_list<T: Copy + Into<Value>>(map: &mut Map<String, Value>, name: &str, list: &[T]) {
    if !list.is_empty() {
        map.insert(name.into(), list.to_vec().into());
    }
}

fn throttling(stats: &Stats) -> Map<String, Value> {
    let mut throttling = Map::new();
    put(&mut throttling, "periods", stats.periods);
    put(&mut throttling, "throttledPeriods", stats.throttled_periods);
    put(&mut throttling, "throttledTime", stats.throttled_ns);
    throttling
}

fn cpuset(detail: &cgroup::Detail) -> Map<String, Value> {
    const NAMES: [&str; 9] = [
        "cpu_exclusive",
        "mem_hardwall",
        "mem_exclusive",
        "memory_migrate",
        "memory_spread_page",
        "memory_spread_slab",
        "memory_pressure",
        "sched_load_balance",
        "sched_relax_domain_level",
    ];
    let mut cpuset = Map::new();
    put_list(&mut cpuset, "cpus", &detail.cpus);
    put_list(&mut cpuset, "mems", &detail.mems);
    for name in NAMES {
        let value = detail.cpuset.get(&format!("cpuset.{name}")).copied().unwrap_or(0);
        cpuset.insert(name.into(), value.into());
    }
    cpuset
}

fn memory(stats: &Stats, detail: &cgroup::Detail) -> Map<String, Value> {
    let mut memory = Map::new();
    // What v1 calls cache, v2 calls file.
    let cache = stats.memory.get("cache").or(stats.memory.get("file"));
    put(&mut memory, "cache", cache.copied().unwrap_or(0));
    for (name, part) in [
        ("usage", detail.memory),
        ("swap", detail.memory_and_swap),
        ("kernel", detail.kernel),
        ("kernelTCP", detail.kernel_tcp),
    ] {
        memory.insert(name.into(), memory_use(part).into());
    }
    if !stats.memory.is_empty() {
        memory.insert("raw".into(), json!(stats.memory));
    }
    put_pressure(&mut memory, detail.memory_pressure);
    memory
}

fn memory_use(part: MemoryUse) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("limit".into(), part.limit.into());
    put(&mut map, "usage", part.usage);
    put(&mut map, "max", part.max);
    map.insert("failcnt".into(), part.failures.into());
    map
}

fn block_io(detail: &cgroup::Detail) -> Map<String, Value> {
    const NAMES: [(&str, &str); 8] = [
        ("ioServiceBytesRecursive", "io_service_bytes"),
        ("ioServicedRecursive", "io_serviced"),
        ("ioQueueRecursive", "io_queued"),
        ("ioServiceTimeRecursive", "io_service_time"),
        ("ioWaitTimeRecursive", "io_wait_time"),
        ("ioMergedRecursive", "io_merged"),
        ("ioTimeRecursive", "time"),
        ("sectorsRecursive", "sectors"),
    ];
    let mut block_io = Map::new();
    for (name, table) in NAMES {
        let rows: Vec<Value> = detail.io.get(table).into_iter().flatten().map(row).collect();
        if !rows.is_empty() {
            block_io.insert(name.into(), rows.into());
        }
    }
    put_pressure(&mut block_io, detail.io_pressure);
    block_io
}

fn row(count: &DeviceCount) -> Value {
    let mut map = Map::new();
    put(&mut map, "major", count.major);
    put(&mut map, "minor", count.minor);
    if !count.operation.is_empty() {
        map.insert("op".into(), count.operation.clone().into());
    }
    put(&mut map, "value", count.value);
    map.into()
}

fn huge(pages: &HugePages) -> Value {
    let mut map = Map::new();
    put(&mut map, "usage", pages.usage);
    put(&mut map, "max", pages.max);
    map.insert("failcnt".into(), pages.failures.into());
    map.into()
}

fn put_pressure(map: &mut Map<String, Value>, pressure: Option<Pressure>) {
    let line = |line: PressureLine| json!({ "avg10": line.avg10, "avg60": line.avg60, "avg300": line.avg300, "total": line.total });
    if let Some(pressure) = pressure {
        map.insert("psi".into(), json!({ "some": line(pressure.some), "full": line(pressure.full) }));
    }
}
