// SPDX-License-Identifier: Apache-2.0
//! What a set of limits comes to, on both versions.

use errors::{Classify, Kind};
use oci::runtime_spec::LinuxResources;

use super::convert::{io_weight, shares_to_weight};
use super::plan::{Current, Plan, plan};
use crate::mounts::Version;
use crate::{CgroupError, Controller};

fn resources(json: &str) -> LinuxResources {
    serde_json::from_str(json).unwrap()
}

fn plan_on(version: Version, json: &str, current: &Current) -> Result<Plan, CgroupError> {
    let offers = |controller: Controller| match version {
        Version::V1 => (controller != Controller::Rdma).then_some(version),
        Version::V2 => controller.v2_name().map(|_| version),
    };
    plan(&resources(json), &offers, version == Version::V2, current)
}

/// The writes, one per line; alternatives are joined by `|`.
fn writes(version: Version, json: &str) -> String {
    writes_from(version, json, &Current::default())
}

fn writes_from(version: Version, json: &str, current: &Current) -> String {
    let plan = plan_on(version, json, current).unwrap();
    let line = |s: &super::plan::Setting| {
        s.choices.iter().map(|(file, value)| format!("{file}={value}")).collect::<Vec<_>>().join(" | ")
    };
    plan.settings.iter().map(line).collect::<Vec<_>>().join("\n")
}

const USUAL: &str = r#"{"memory": {"limit": 1000, "reservation": 500}, "pids": {"limit": 9},
    "cpu": {"shares": 2048, "quota": 50000, "period": 20000, "cpus": "0-1", "mems": "0"},
    "blockIO": {"weight": 500, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 77}]}}"#;

#[test]
fn the_usual_limits_on_v1() {
    assert_eq!(
        writes(Version::V1, USUAL),
        "memory.limit_in_bytes=1000\nmemory.memsw.limit_in_bytes=2000\nmemory.soft_limit_in_bytes=500\n\
         cpu.shares=2048\ncpu.cfs_period_us=20000\ncpu.cfs_quota_us=50000\ncpuset.cpus=0-1\ncpuset.mems=0\npids.max=9\n\
         blkio.weight=500 | blkio.bfq.weight=500\nblkio.throttle.read_bps_device=8:0 77"
    );
}

#[test]
fn the_usual_limits_on_v2() {
    assert_eq!(
        writes(Version::V2, USUAL),
        "memory.max=1000\nmemory.swap.max=1000\nmemory.low=500\ncpu.weight=174\ncpu.max=50000 20000\n\
         cpuset.cpus=0-1\ncpuset.mems=0\npids.max=9\nio.bfq.weight=500 | io.weight=4950\nio.max=8:0 rbps=77"
    );
}

#[test]
fn unlimited_is_written_in_each_versions_way() {
    let json = r#"{"memory": {"limit": -1}, "pids": {"limit": -1}, "cpu": {"quota": -1}}"#;
    assert_eq!(
        writes(Version::V1, json),
        "memory.limit_in_bytes=-1\nmemory.memsw.limit_in_bytes=-1\ncpu.cfs_quota_us=-1\npids.max=max"
    );
    assert_eq!(writes(Version::V2, json), "memory.max=max\nmemory.swap.max=max\ncpu.max=max 100000\npids.max=max");
    let nothing = r#"{"memory": {"limit": 0, "swap": 0}, "pids": {"limit": 0}, "cpu": {"quota": 0, "shares": 0}}"#;
    assert_eq!(writes(Version::V1, nothing), "");
    assert_eq!(writes(Version::V2, nothing), "");
}

#[test]
fn swap_is_the_sum_with_memory_and_v2_wants_it_alone() {
    let json = r#"{"memory": {"limit": 1000, "swap": 1500}}"#;
    assert_eq!(writes(Version::V1, json), "memory.limit_in_bytes=1000\nmemory.memsw.limit_in_bytes=1500");
    assert_eq!(writes(Version::V2, json), "memory.max=1000\nmemory.swap.max=500");
    let unlimited = r#"{"memory": {"limit": 1000, "swap": -1}}"#;
    assert_eq!(writes(Version::V2, unlimited), "memory.max=1000\nmemory.swap.max=max");
    for version in [Version::V1, Version::V2] {
        let error = plan_on(version, r#"{"memory": {"limit": 1000, "swap": 999}}"#, &Current::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument);
    }
    assert!(plan_on(Version::V2, r#"{"memory": {"swap": 999}}"#, &Current::default()).is_err());
}

/// The kernel refuses a memory limit above the sum's, and a sum below memory's: growing and shrinking differ in order.
#[test]
fn v1_writes_swap_first_when_memory_grows_past_it() {
    let json = r#"{"memory": {"limit": 1000}}"#;
    let current = Current { memory_and_swap: Some(999), usage: None };
    assert_eq!(
        writes_from(Version::V1, json, &current),
        "memory.memsw.limit_in_bytes=2000\nmemory.limit_in_bytes=1000"
    );
    let current = Current { memory_and_swap: Some(1000), usage: None };
    assert_eq!(
        writes_from(Version::V1, json, &current),
        "memory.limit_in_bytes=1000\nmemory.memsw.limit_in_bytes=2000"
    );
}

#[test]
fn what_v2_cannot_express_is_refused() {
    for json in [
        r#"{"cpu": {"realtimeRuntime": 1000}}"#,
        r#"{"cpu": {"realtimePeriod": 1000}}"#,
        r#"{"blockIO": {"leafWeight": 10}}"#,
        r#"{"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "leafWeight": 10}]}}"#,
    ] {
        let error = plan_on(Version::V2, json, &Current::default()).unwrap_err();
        assert!(matches!(error, CgroupError::Inexpressible { version: "v2", .. }), "{json}: {error}");
        assert_eq!(error.kind(), Kind::Unsupported);
        plan_on(Version::V1, json, &Current::default()).unwrap();
    }
    let unified = r#"{"unified": {"memory.high": "1000"}}"#;
    assert_eq!(writes(Version::V2, unified), "memory.high=1000");
    assert!(matches!(
        plan_on(Version::V1, unified, &Current::default()),
        Err(CgroupError::Inexpressible { version: "v1", .. })
    ));
    assert!(plan_on(Version::V2, r#"{"unified": {"../x.y": "1"}}"#, &Current::default()).is_err());
}

#[test]
fn a_missing_controller_is_named() {
    let json = r#"{"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}}}"#;
    assert_eq!(writes(Version::V2, json), "rdma.max=mlx5_1 hca_handle=3 hca_object=10000");
    let error = plan_on(Version::V1, json, &Current::default()).unwrap_err();
    assert!(matches!(error, CgroupError::MissingController { controller: Controller::Rdma, limit: "rdma" }));
}

#[test]
fn device_rules_are_lines_on_v1_and_a_program_on_v2() {
    let json = r#"{"devices": [{"allow": false}, {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "wr"},
        {"allow": true, "major": 5, "access": "m"}]}"#;
    assert_eq!(
        writes(Version::V1, json),
        "devices.deny=a\ndevices.allow=c 1:3 rw\ndevices.allow=b 5:* m\ndevices.allow=c 5:* m"
    );
    // Said again it is the same, unless something was denied meanwhile.
    let again = r#"{"devices": [{"allow": true, "type": "c", "major": 1, "minor": 3, "access": "r"},
        {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "r"}, {"allow": false, "type": "c", "major": 1},
        {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "r"}]}"#;
    assert_eq!(writes(Version::V1, again), "devices.allow=c 1:3 r\ndevices.deny=c 1:* rwm\ndevices.allow=c 1:3 r");
    let plan = plan_on(Version::V2, json, &Current::default()).unwrap();
    assert!(plan.settings.is_empty());
    assert!(plan.device_program.is_some_and(|program| program.len() > 10));
}

#[test]
fn a_limit_below_the_usage_is_refused_where_that_was_asked_for() {
    let current = Current { memory_and_swap: None, usage: Some(2000) };
    let error = plan_on(Version::V2, r#"{"memory": {"limit": 1999}}"#, &current).unwrap_err();
    assert!(matches!(error, CgroupError::BelowUsage { limit: 1999, usage: 2000 }));
}

#[test]
fn weights_meet_at_both_ends_and_at_the_default() {
    for (shares, weight) in [(0, 1), (2, 1), (1024, 100), (262_144, 10_000), (u64::MAX, 10_000)] {
        assert_eq!(shares_to_weight(shares), weight, "{shares}");
    }
    assert!((2..262_144).step_by(37).all(|s| shares_to_weight(s) <= shares_to_weight(s + 37)));
    assert_eq!((io_weight(10), io_weight(1000)), (1, 10_000));
}

/// Each field of config-linux.md, "Control groups", that the tests above do not have.
#[test]
fn every_other_limit_has_its_file_on_both_versions() {
    let cases = [
        (
            r#"{"cpu": {"idle": 1, "burst": 10000, "quota": 20000}}"#,
            "cpu.idle=1\ncpu.cfs_quota_us=20000\ncpu.cfs_burst_us=10000",
            "cpu.idle=1\ncpu.max=20000 100000\ncpu.max.burst=10000",
        ),
        (r#"{"cpu": {"period": 50000}}"#, "cpu.cfs_period_us=50000", "cpu.max=max 50000"),
        (
            r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}"#,
            "hugetlb.2MB.limit_in_bytes=4194304\nhugetlb.2MB.rsvd.limit_in_bytes=4194304",
            "hugetlb.2MB.max=4194304\nhugetlb.2MB.rsvd.max=4194304",
        ),
        (
            r#"{"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 500}]}}"#,
            "blkio.weight_device=8:0 500 | blkio.bfq.weight_device=8:0 500",
            "io.bfq.weight=8:0 500 | io.weight=8:0 4950",
        ),
        (
            r#"{"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}],
                "throttleWriteBpsDevice": [{"major": 8, "minor": 16, "rate": 2}, {"major": 8, "minor": 0, "rate": 3}],
                "throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 0}],
                "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 5}]}}"#,
            "blkio.throttle.read_bps_device=8:0 1\nblkio.throttle.write_bps_device=8:16 2\n\
             blkio.throttle.write_bps_device=8:0 3\nblkio.throttle.read_iops_device=8:0 0\n\
             blkio.throttle.write_iops_device=8:16 5",
            "io.max=8:0 rbps=1 wbps=3 riops=max\nio.max=8:16 wbps=2 wiops=5",
        ),
        (r#"{"memory": {"kernel": 5, "kernelTCP": 5, "useHierarchy": true}}"#, "", ""),
    ];
    for (json, v1, v2) in cases {
        assert_eq!(writes(Version::V1, json), v1, "{json}");
        assert_eq!(writes(Version::V2, json), v2, "{json}");
    }
}

#[test]
fn what_only_v1_knows_is_set_there_and_ignored_or_refused_on_v2() {
    let memory = r#"{"memory": {"swappiness": 10, "disableOOMKiller": true}}"#;
    assert_eq!(writes(Version::V1, memory), "memory.swappiness=10\nmemory.oom_control=1");
    assert_eq!(writes(Version::V2, memory), "");
    let ignored = |version, json| super::without_meaning(&resources(json), Some(version));
    assert_eq!(ignored(Version::V2, memory), ["memory.swappiness", "memory.disableOOMKiller"]);
    assert!(ignored(Version::V1, memory).is_empty());
    assert_eq!(ignored(Version::V1, r#"{"memory": {"kernel": -1}}"#), ["memory.kernel"]);
    let cases = [
        (r#"{"cpu": {"realtimePeriod": 9, "realtimeRuntime": 8}}"#, "cpu.rt_period_us=9\ncpu.rt_runtime_us=8"),
        (
            r#"{"blockIO": {"leafWeight": 20, "weightDevice": [{"major": 8, "minor": 0, "leafWeight": 30}]}}"#,
            "blkio.leaf_weight=20\nblkio.leaf_weight_device=8:0 30",
        ),
        (
            r#"{"network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 5}]}}"#,
            "net_cls.classid=1048577\nnet_prio.ifpriomap=eth0 5",
        ),
    ];
    for (json, v1) in cases {
        assert_eq!(writes(Version::V1, json), v1, "{json}");
        assert_eq!(plan_on(Version::V2, json, &Current::default()).unwrap_err().kind(), Kind::Unsupported, "{json}");
    }
}

#[test]
fn values_that_mean_nothing_are_refused_and_named() {
    let both = [
        (r#"{"memory": {"limit": -5}}"#, "memory.limit"),
        (r#"{"cpu": {"quota": 1000, "burst": 1001}}"#, "cpu.burst"),
        (r#"{"hugepageLimits": [{"pageSize": "2Mb", "limit": 1}]}"#, "hugepageLimits"),
        (r#"{"devices": [{"allow": true, "access": "x"}]}"#, "devices"),
    ];
    for (json, name) in both {
        for version in [Version::V1, Version::V2] {
            let error = plan_on(version, json, &Current::default()).unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidArgument, "{json}");
            assert!(error.to_string().contains(name), "{error}");
        }
    }
    let v2 = [
        (r#"{"blockIO": {"weight": 9}}"#, "blockIO.weight"),
        (r#"{"rdma": {"mlx": {}}}"#, "rdma"),
        (r#"{"unified": {"no-file-name": "1"}}"#, "unified"),
    ];
    for (json, name) in v2 {
        let error = plan_on(Version::V2, json, &Current::default()).unwrap_err();
        assert!(matches!(error, CgroupError::InvalidLimit { limit, .. } if limit == name), "{error}");
    }
}
