// SPDX-License-Identifier: Apache-2.0
//! What a container uses as Docker's clients read it. Docker's JSON has lists that are null and objects that are empty,
//! which its published model cannot say: so it is put together here.

use api_types::{ContainerUsage, Usage};
use engine::{CgroupStats, Counters, Sample, Traffic};
use serde_json::{Map, Value, json};

use super::from_record::NEVER;

/// The names of a device's counters: cgroup v1's in the words of its kernel files, v2's as Docker has them.
const V1_OPERATIONS: (&str, &str) = ("Read", "Write");
const V2_OPERATIONS: (&str, &str) = ("read", "write");

/// A sample, and the processor time of the one before it. What does not run has no counters.
pub(crate) fn stats(sample: &Sample, previous: Option<&Sample>) -> Value {
    let counters = sample.counters.as_ref();
    let earlier = previous.filter(|previous| previous.counters.is_some());
    let read = if counters.is_some() { sample.at.to_string() } else { NEVER.to_owned() };
    let mut stats = json!({
        "read": read,
        "preread": earlier.map_or_else(|| NEVER.to_owned(), |earlier| earlier.at.to_string()),
        "pids_stats": counters.map_or_else(|| json!({}), pids),
        "blkio_stats": block_io(counters),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": cpu(counters),
        "precpu_stats": cpu(earlier.and_then(|earlier| earlier.counters.as_ref())),
        "memory_stats": counters.map_or_else(|| json!({}), memory),
        "name": format!("/{}", sample.name),
        "id": sample.id.to_string(),
        "os_type": "linux",
    });
    if let (Some(counters), Some(stats)) = (counters, stats.as_object_mut())
        && !counters.networks.is_empty()
    {
        let networks: Map<String, Value> =
            counters.networks.iter().map(|(name, traffic)| (name.clone(), network(traffic))).collect();
        stats.insert("networks".to_owned(), networks.into());
    }
    stats
}

/// The few numbers that a table shows.
pub(crate) fn usage(asked: String, sample: &Sample) -> ContainerUsage {
    let used = sample.counters.as_ref().map(|counters| {
        let (group, networks) = (&counters.cgroup, counters.networks.values());
        let (received, sent) = networks
            .fold((0, 0), |(received, sent), traffic| (received + traffic.received.bytes, sent + traffic.sent.bytes));
        let blocks = group.io.iter();
        let (read, written) =
            blocks.fold((0, 0), |(read, written), device| (read + device.read_bytes, written + device.write_bytes));
        Usage {
            processor_ns: group.cpu_usage_ns,
            machine_ns: counters.system_cpu_ns,
            processors: counters.online_cpus,
            memory: memory_used(group),
            memory_limit: counters.memory_limit,
            received,
            sent,
            read,
            written,
            tasks: group.pids_current.unwrap_or(0),
        }
    });
    ContainerUsage { asked, id: sample.id.to_string(), name: sample.name.clone(), used }
}

/// Memory in use as Docker's clients show it: without files nobody has read lately.
fn memory_used(group: &CgroupStats) -> u64 {
    let usage = group.memory_usage.unwrap_or(0);
    // v1's own `inactive_file` is that of the group without those below it.
    let cache = ["total_inactive_file", "inactive_file"].iter().find_map(|name| group.memory.get(*name));
    cache.filter(|cache| **cache < usage).map_or(usage, |cache| usage - cache)
}

fn cpu(counters: Option<&Counters>) -> Value {
    let group = counters.map(|counters| counters.cgroup.clone()).unwrap_or_default();
    let mut cpu = json!({
        "cpu_usage": {
            "total_usage": group.cpu_usage_ns,
            "usage_in_kernelmode": group.cpu_system_ns,
            "usage_in_usermode": group.cpu_user_ns,
        },
        "throttling_data": {
            "periods": group.periods,
            "throttled_periods": group.throttled_periods,
            "throttled_time": group.throttled_ns,
        },
    });
    if let (Some(counters), Some(cpu)) = (counters, cpu.as_object_mut()) {
        cpu.insert("system_cpu_usage".to_owned(), counters.system_cpu_ns.into());
        cpu.insert("online_cpus".to_owned(), counters.online_cpus.into());
    }
    cpu
}

fn pids(counters: &Counters) -> Value {
    let numbers = [("current", counters.cgroup.pids_current), ("limit", counters.cgroup.pids_limit)];
    present(numbers).into()
}

fn memory(counters: &Counters) -> Value {
    let group = &counters.cgroup;
    // Docker tells of the peak where it is v1's.
    let peak = group.memory_peak.filter(|_| !counters.unified);
    let limit = Some(counters.memory_limit);
    let mut memory = present([("usage", group.memory_usage), ("max_usage", peak), ("limit", limit)]);
    memory.insert("stats".to_owned(), json!(group.memory));
    memory.into()
}

/// Those numbers that there are.
fn present<const N: usize>(numbers: [(&str, Option<u64>); N]) -> Map<String, Value> {
    numbers.into_iter().filter_map(|(name, number)| Some((name.to_owned(), number?.into()))).collect()
}

fn block_io(counters: Option<&Counters>) -> Value {
    let unified = counters.is_none_or(|counters| counters.unified);
    // v2 counts nothing but bytes and requests, and Docker tells the bytes alone.
    let none = if unified { Value::Null } else { json!([]) };
    let (mut bytes, mut requests) = (none.clone(), none.clone());
    if let Some(counters) = counters {
        let (read, write) = if unified { V2_OPERATIONS } else { V1_OPERATIONS };
        let mut told = (Vec::new(), Vec::new());
        for device in &counters.cgroup.io {
            let entry =
                |op: &str, value: u64| json!({"major": device.major, "minor": device.minor, "op": op, "value": value});
            told.0.extend([entry(read, device.read_bytes), entry(write, device.write_bytes)]);
            told.1.extend([entry(read, device.read_ops), entry(write, device.write_ops)]);
        }
        if !told.0.is_empty() {
            bytes = told.0.into();
            requests = if unified { Value::Null } else { told.1.into() };
        }
    }
    json!({
        "io_service_bytes_recursive": bytes,
        "io_serviced_recursive": requests,
        "io_queue_recursive": none,
        "io_service_time_recursive": none,
        "io_wait_time_recursive": none,
        "io_merged_recursive": none,
        "io_time_recursive": none,
        "sectors_recursive": none,
    })
}

fn network(traffic: &Traffic) -> Value {
    let (received, sent) = (traffic.received, traffic.sent);
    json!({
        "rx_bytes": received.bytes,
        "rx_packets": received.packets,
        "rx_errors": received.errors,
        "rx_dropped": received.dropped,
        "tx_bytes": sent.bytes,
        "tx_packets": sent.packets,
        "tx_errors": sent.errors,
        "tx_dropped": sent.dropped,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use engine::Flow;

    use super::*;

    fn sample(unified: bool) -> Sample {
        let mut counters = Counters {
            cgroup: Default::default(),
            unified,
            memory_limit: 1000,
            system_cpu_ns: 50,
            online_cpus: 2,
            networks: BTreeMap::from([("eth0".to_owned(), Traffic::default())]),
        };
        counters.cgroup.cpu_usage_ns = 7;
        counters.cgroup.memory_usage = Some(10);
        counters.cgroup.memory_peak = Some(20);
        counters.cgroup.memory = BTreeMap::from([("inactive_file".to_owned(), 3)]);
        counters.cgroup.pids_current = Some(4);
        counters.cgroup.io = vec![Default::default()];
        let id = "0".repeat(64).parse().unwrap();
        Sample { id, name: "web".into(), at: "2026-01-01T00:00:00Z".parse().unwrap(), counters: Some(counters) }
    }

    #[test]
    fn a_table_shows_memory_without_files_that_nobody_reads_and_sums_of_all_devices() {
        let mut sample = sample(true);
        let counters = sample.counters.as_mut().unwrap();
        counters.cgroup.memory = BTreeMap::from([("inactive_file".to_owned(), 4)]);
        let disk =
            |minor| engine::BlockIo { major: 8, minor, read_bytes: 5, write_bytes: 1, read_ops: 1, write_ops: 1 };
        counters.cgroup.io = vec![disk(0), disk(1)];
        let traffic = |bytes| Flow { bytes, ..Flow::default() };
        let interface = Traffic { received: traffic(3), sent: traffic(2) };
        counters.networks = BTreeMap::from([("eth0".to_owned(), interface), ("eth1".to_owned(), interface)]);
        let used = usage("web".to_owned(), &sample).used.unwrap();
        let expected = Usage {
            processor_ns: 7,
            machine_ns: 50,
            processors: 2,
            memory: 6,
            memory_limit: 1000,
            received: 6,
            sent: 4,
            read: 10,
            written: 2,
            tasks: 4,
        };
        assert_eq!(used, expected);
        // v1's own number is that of the group alone; nothing is taken from what is less.
        let counters = sample.counters.as_mut().unwrap();
        counters.cgroup.memory.insert("total_inactive_file".to_owned(), 11);
        assert_eq!(usage("web".to_owned(), &sample).used.map(|used| used.memory), Some(10));
        sample.counters = None;
        assert_eq!(usage("web".to_owned(), &sample).used, None);
    }

    #[test]
    fn counters_have_dockers_names() {
        let stats = stats(&sample(true), None);
        assert_eq!(stats["memory_stats"], json!({"usage": 10, "limit": 1000, "stats": {"inactive_file": 3}}));
        assert_eq!(stats["pids_stats"], json!({"current": 4}));
        assert_eq!(stats["cpu_stats"]["cpu_usage"]["total_usage"], 7);
        assert_eq!(
            (&stats["cpu_stats"]["system_cpu_usage"], &stats["cpu_stats"]["online_cpus"]),
            (&json!(50), &json!(2))
        );
        assert_eq!(stats["networks"]["eth0"]["tx_dropped"], 0);
        assert_eq!((&stats["name"], &stats["preread"]), (&json!("/web"), &json!(NEVER)));
        assert_eq!(stats["precpu_stats"].get("system_cpu_usage"), None);
    }

    #[test]
    fn each_version_of_cgroups_has_its_own_words() {
        let (one, two) = (stats(&sample(false), None), stats(&sample(true), None));
        assert_eq!(one["memory_stats"]["max_usage"], 20);
        assert_eq!(two["memory_stats"].get("max_usage"), None);
        let (one, two) = (&one["blkio_stats"], &two["blkio_stats"]);
        assert_eq!(
            (&one["io_service_bytes_recursive"][0]["op"], &two["io_service_bytes_recursive"][0]["op"]),
            (&json!("Read"), &json!("read"))
        );
        assert_eq!(one["io_serviced_recursive"][1]["op"], "Write");
        assert_eq!((&one["sectors_recursive"], &two["io_serviced_recursive"]), (&json!([]), &Value::Null));
    }

    #[test]
    fn the_one_before_is_told_when_there_is_one() {
        let stats = stats(&sample(true), Some(&sample(true)));
        assert_eq!(stats["precpu_stats"], stats["cpu_stats"]);
        assert_eq!(stats["preread"], "2026-01-01T00:00:00Z");
    }

    #[test]
    fn what_does_not_run_has_zeros() {
        let stats = stats(&Sample { counters: None, ..sample(true) }, None);
        assert_eq!(
            (&stats["read"], &stats["memory_stats"], &stats["pids_stats"]),
            (&json!(NEVER), &json!({}), &json!({}))
        );
        assert_eq!(stats["cpu_stats"]["cpu_usage"]["total_usage"], 0);
        assert_eq!((stats.get("networks"), stats["cpu_stats"].get("online_cpus")), (None, None));
    }
}
