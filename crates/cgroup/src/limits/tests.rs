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
        r#"{"memory": {"swappiness": 10}}"#,
        r#"{"memory": {"disableOOMKiller": true}}"#,
        r#"{"cpu": {"realtimeRuntime": 1000}}"#,
        r#"{"blockIO": {"leafWeight": 10}}"#,
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
