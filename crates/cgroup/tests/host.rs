// SPDX-License-Identifier: Apache-2.0
//! Real cgroups on this host, whichever version it has. Needs root; every test makes its own group and removes it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails, in its helpers too")]

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use cgroup::{Below, Cgroup, CgroupError, CgroupPath, Host, Mode};
use errors::{Classify, Kind};
use oci::runtime_spec::LinuxResources;

/// A group of the test's own; emptied and removed when the test ends, however it ends.
struct Group {
    host: Host,
    path: CgroupPath,
    cgroup: Cgroup,
}

impl Group {
    fn new(name: &str, resources: &str) -> Group {
        let host = Host::probe().expect("these tests need root and control groups");
        let path = test_path(name);
        let resources: LinuxResources = serde_json::from_str(resources).unwrap();
        let cgroup = host.create(&path, Some(&resources)).unwrap();
        Group { host, path, cgroup }
    }

    /// Runs a script as a member: the shell itself writes `0`, as a container's first process does.
    fn run(&self, script: &str) -> Child {
        let files: Vec<OwnedFd> = self.cgroup.join_files().unwrap();
        let own = std::process::id();
        let mut join = String::new();
        if let Some(dir) = self.cgroup.clone_into() {
            join += &format!("echo 0 > /proc/{own}/fd/{}/cgroup.procs || exit 99\n", dir.as_raw_fd());
        }
        for file in &files {
            join += &format!("echo 0 > /proc/{own}/fd/{} || exit 99\n", file.as_raw_fd());
        }
        // The descriptors must stay open until the shell has used them.
        let ready = format!("{join}echo joined\n{script}");
        #[allow(clippy::disallowed_methods, reason = "a test needs a process to limit")]
        let mut child =
            Command::new("sh").args(["-c", &ready]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = [0; 7];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        assert_eq!(&line, b"joined\n");
        child
    }

    fn places(&self) -> Vec<PathBuf> {
        places(&self.host, &self.path)
    }

    /// The content of a control file, wherever it is.
    fn file(&self, name: &str) -> String {
        let found = self.places().into_iter().find_map(|dir| std::fs::read_to_string(dir.join(name)).ok());
        found.unwrap_or_else(|| panic!("no {name}")).trim_end().to_owned()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let killed = self.cgroup.kill();
        let removed = self.cgroup.remove();
        if !std::thread::panicking() {
            killed.unwrap();
            removed.unwrap();
            let left: Vec<PathBuf> = self.places().into_iter().filter(|p| p.exists()).collect();
            assert!(left.is_empty(), "left over: {left:?}");
        }
    }
}

fn test_path(name: &str) -> CgroupPath {
    format!("/corten-test-{}-{name}", std::process::id()).parse().unwrap()
}

fn places(host: &Host, path: &CgroupPath) -> Vec<PathBuf> {
    host.describe().mount_points.iter().map(|point| PathBuf::from(format!("{point}{path}"))).collect()
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited too long: {what}");
        sleep(Duration::from_millis(2));
    }
}

#[test]
fn limits_are_read_back_from_the_kernel() {
    let group = Group::new(
        "limits",
        r#"{"memory": {"limit": 67108864, "reservation": 33554432},
            "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0"},
            "pids": {"limit": 42}}"#,
    );
    let stats = group.cgroup.stats().unwrap();
    assert_eq!(stats.memory_limit, Some(67_108_864));
    assert_eq!(stats.pids_limit, Some(42));
    assert_eq!(group.file("cpuset.cpus"), "0");
    if group.host.mode() == Mode::V2 {
        assert_eq!(group.file("cpu.max"), "50000 100000");
        assert_eq!(group.file("cpu.weight"), "59");
        assert_eq!(group.file("memory.low"), "33554432");
    } else {
        assert_eq!(group.file("cpu.cfs_quota_us"), "50000");
        assert_eq!(group.file("cpu.shares"), "512");
        assert_eq!(group.file("memory.soft_limit_in_bytes"), "33554432");
        if group.host.swap_limit() == Some(true) {
            assert_eq!(group.file("memory.memsw.limit_in_bytes"), "134217728", "as much swap again");
        }
    }
}

#[test]
fn a_cpuset_is_passed_on_to_every_container_below_a_parent() {
    // The parent is made for the first, and has no cpuset of its own until that has one.
    let first = Group::new("cpusets/first", "{}");
    let second = Group::new("cpusets/second", r#"{"cpu": {"cpus": "0"}}"#);
    let third = Group::new("cpusets/third", "{}");
    if first.host.mode() == Mode::V2 {
        return;
    }
    let cpuset = |file: String| std::fs::read_to_string(format!("/sys/fs/cgroup/cpuset/{file}")).unwrap();
    let above = |name: &str| cpuset(name.to_owned()).trim().to_owned();
    for name in ["cpuset.cpus", "cpuset.mems"] {
        assert_eq!((first.file(name), third.file(name)), (above(name), above(name)), "{name}");
    }
    assert_eq!(second.file("cpuset.cpus"), "0");
    assert_eq!(cpuset(format!("{}/cgroup.clone_children", third.path)), "1\n", "by the kernel");
    let mut member = third.run("sleep 100");
    member.kill().unwrap();
    member.wait().unwrap();
    let host = first.host.clone();
    drop((first, second, third));
    host.prune(&test_path("cpusets")).unwrap();
}

/// Each limit that has a file of its own: set where this kernel has the file, and where it has not, refused by name.
#[test]
fn every_limit_is_set_or_refused_by_its_name() {
    let group = Group::new("every", r#"{"cpu": {"quota": 50000, "period": 100000}}"#);
    let disk = a_block_device();
    if disk.is_none() {
        eprintln!("NOT TESTED: limits of block devices, for there is none");
    }
    let device = disk.clone().unwrap_or_default();
    let has = |file: &str| group.places().iter().any(|dir| dir.join(file).exists());
    let weight_file = if has("io.bfq.weight") { "io.bfq.weight" } else { "io.weight" };
    // The limit, its name in messages, its file on v1 and v2, and what that holds then.
    let cases = [
        (r#"{"cpu": {"burst": 20000}}"#.to_owned(), "cpu.burst", ["cpu.cfs_burst_us", "cpu.max.burst"], "20000"),
        (r#"{"cpu": {"idle": 1}}"#.to_owned(), "cpu.idle", ["cpu.idle", "cpu.idle"], "1"),
        (r#"{"memory": {"swappiness": 7}}"#.to_owned(), "memory.swappiness", ["memory.swappiness", ""], "7"),
        (
            r#"{"memory": {"disableOOMKiller": true}}"#.to_owned(),
            "memory.disable",
            ["memory.oom_control", ""],
            "oom_kill_disable 1",
        ),
        // io.weight counts to ten times as much.
        (r#"{"blockIO": {"weight": 1000}}"#.to_owned(), "blockIO.weight", ["blkio.bfq.weight", weight_file], "1000"),
        (r#"{"blockIO": {"leafWeight": 500}}"#.to_owned(), "blockIO.leafWeight", ["blkio.leaf_weight", ""], "500"),
        (
            format!(r#"{{"blockIO": {{"throttleReadBpsDevice": [{device}, "rate": 1048576}}]}}}}"#),
            "blockIO.throttleReadBpsDevice",
            ["blkio.throttle.read_bps_device", "io.max"],
            "1048576",
        ),
        (
            format!(r#"{{"blockIO": {{"throttleWriteIOPSDevice": [{device}, "rate": 77}}]}}}}"#),
            "blockIO.throttleWriteIOPSDevice",
            ["blkio.throttle.write_iops_device", "io.max"],
            "77",
        ),
        (
            r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}"#.to_owned(),
            "huge",
            ["hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"],
            "4194304",
        ),
        (r#"{"network": {"classID": 1048577}}"#.to_owned(), "network.classID", ["net_cls.classid", ""], "1048577"),
        (r#"{"rdma": {"mlx": {"hcaHandles": 3}}}"#.to_owned(), "rdma", ["rdma.max", "rdma.max"], "mlx hca_handle=3"),
        (
            r#"{"unified": {"cgroup.max.depth": "5"}}"#.to_owned(),
            "unified",
            ["cgroup.max.depth", "cgroup.max.depth"],
            "5",
        ),
        (r#"{"unified": {"no.such.file": "5"}}"#.to_owned(), "no.such.file", ["", ""], ""),
    ];
    let mut set = Vec::new();
    for (json, limit, files, expected) in &cases {
        if disk.is_none() && json.contains("throttle") {
            continue;
        }
        let resources: LinuxResources = serde_json::from_str(json).unwrap();
        let held = |file: &&&str| !file.is_empty() && has(file);
        let ignored = group.cgroup.limits_without_meaning(&resources);
        match (group.cgroup.update(&resources), files.iter().find(held)) {
            (Ok(()), Some(file)) => {
                assert!(group.file(file).contains(expected), "{json}: {file} holds {:?}", group.file(file));
                set.push(*limit);
            }
            (Ok(()), None) => assert!(!ignored.is_empty(), "{json} was accepted, and this kernel has no file for it"),
            (Err(error), _) => {
                assert_eq!(error.kind(), Kind::Unsupported, "{json}: {error}");
                assert!(error.to_string().contains(limit), "{error}");
            }
        }
    }
    assert!(set.contains(&"cpu.burst") && set.contains(&"cpu.idle"), "only {set:?} could be set");
}

/// `{"major": …, "minor": …` of some block device that is there.
fn a_block_device() -> Option<String> {
    let mut devices = std::fs::read_dir("/sys/block").unwrap().map(|entry| entry.unwrap().path().join("dev"));
    let number = devices.find_map(|file| std::fs::read_to_string(file).ok())?;
    let (major, minor) = number.trim().split_once(':')?;
    Some(format!(r#"{{"major": {major}, "minor": {minor}"#))
}

#[test]
fn a_refused_update_puts_back_what_it_wrote() {
    let group =
        Group::new("undo", r#"{"memory": {"limit": 67108864}, "pids": {"limit": 20}, "cpu": {"quota": 50000}}"#);
    let refused = [
        r#"{"memory": {"limit": 33554432}, "pids": {"limit": 5}, "cpu": {"cpus": "4095"}}"#,
        r#"{"memory": {"limit": 33554432}, "pids": {"limit": 5}, "cpu": {"quota": 20000, "period": 1}}"#,
    ];
    for json in refused {
        let error = group.cgroup.update(&serde_json::from_str(json).unwrap()).unwrap_err();
        assert!(matches!(error, CgroupError::Write { .. }), "{error}");
        let stats = group.cgroup.stats().unwrap();
        assert_eq!((stats.memory_limit, stats.pids_limit), (Some(67_108_864), Some(20)), "{json}");
    }
    // Which order is right depends on the old values: both ways must do.
    for (quota, burst) in [(90_000, 80_000), (10_000, 5_000), (60_000, 60_000)] {
        let json = format!(r#"{{"cpu": {{"quota": {quota}, "period": 100000, "burst": {burst}}}}}"#);
        group.cgroup.update(&serde_json::from_str(&json).unwrap()).unwrap();
    }
}

#[test]
fn want_of_memory_is_told_and_the_end_of_the_group_is_not() {
    let group = Group::new("watch", r#"{"memory": {"limit": 33554432, "swap": 33554432}}"#);
    let mut watch = group.cgroup.watch_oom().unwrap().unwrap();
    let mut child = group.run("true");
    child.wait().unwrap();
    assert!(!watch.news().unwrap(), "nothing has happened yet");
    let mut child = group.run("exec tail /dev/zero");
    child.wait().unwrap();
    wait_until("the kernel tells", || watch.news().unwrap());
    group.cgroup.remove().unwrap();
    assert!(!watch.news().unwrap_or(false), "a removed group wants no memory");
}

#[test]
fn a_group_below_is_opened_and_never_one_beside() {
    let group = Group::new("below", "{}");
    for place in group.places() {
        std::fs::create_dir(place.join("inner")).unwrap();
        std::os::unix::fs::symlink("/", place.join("link")).unwrap_err();
    }
    let everywhere = |path: &str| group.cgroup.below(&Below::Everywhere(path.to_owned()));
    assert_eq!(everywhere("/inner/").unwrap().path().components().last(), Some("inner"));
    for bad in ["..", "inner/../..", "/no/such", "inner/../../other"] {
        assert!(everywhere(bad).is_err(), "{bad}");
    }
    let named = |name: &str| group.cgroup.below(&Below::PerController(vec![(name.to_owned(), "inner".to_owned())]));
    assert_eq!(named("nonsense").unwrap_err().kind(), Kind::InvalidArgument);
    match group.host.mode() {
        Mode::V2 => assert!(named("pids").is_err(), "v2 has one hierarchy, and no names in it"),
        _ => drop(named("pids").unwrap()),
    }
}

#[test]
fn details_are_counted() {
    let group = Group::new("detail", r#"{"memory": {"limit": 67108864}}"#);
    let mut child = group.run("x=$(head -c 4000000 /dev/zero | tr '\\0' x); sleep 60");
    wait_until("memory in use", || group.cgroup.stats().unwrap().memory_usage > Some(1_000_000));
    let detail = group.cgroup.detail().unwrap();
    assert_eq!(detail.memory.limit, 67_108_864);
    assert!(detail.memory.usage > 100_000 && detail.memory_and_swap.usage >= detail.memory.usage / 2, "{detail:?}");
    if group.host.mode() == Mode::V2 {
        assert!(detail.per_cpu.is_empty());
    } else {
        assert!(detail.per_cpu.iter().sum::<u64>() > 0 && !detail.cpus.is_empty(), "{detail:?}");
    }
    assert!(!group.cgroup.is_frozen().unwrap() && !cgroup::is_frozen(&group.path).unwrap());
    group.cgroup.freeze().unwrap();
    assert!(group.cgroup.is_frozen().unwrap() && cgroup::is_frozen(&group.path).unwrap());
    group.cgroup.signal(9).unwrap();
    group.cgroup.thaw().unwrap();
    child.wait().unwrap();
}

#[test]
fn memory_limits_go_up_and_down_again() {
    let group = Group::new("update", r#"{"memory": {"limit": 33554432}}"#);
    for limit in [268_435_456_i64, 16_777_216, 33_554_432, -1, 16_777_216] {
        let resources = format!(r#"{{"memory": {{"limit": {limit}}}}}"#);
        group.cgroup.update(&serde_json::from_str(&resources).unwrap()).unwrap();
        assert_eq!(group.cgroup.stats().unwrap().memory_limit, u64::try_from(limit).ok());
    }
    let mut child = group.run("sleep 60");
    let tiny = serde_json::from_str(r#"{"memory": {"limit": 4096, "checkBeforeUpdate": true}}"#).unwrap();
    wait_until("memory in use", || group.cgroup.stats().unwrap().memory_usage > Some(4096));
    assert!(matches!(group.cgroup.update(&tiny), Err(CgroupError::BelowUsage { .. })));
    group.cgroup.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_child_joins_every_hierarchy() {
    let group = Group::new("join", "{}");
    let mut child = group.run("sleep 60");
    let pid = i32::try_from(child.id()).unwrap();
    wait_until("the child is listed", || group.cgroup.processes().unwrap().contains(&pid));
    let memberships = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = group.path.to_string();
    for line in memberships.lines() {
        assert!(line.ends_with(&path), "{line} is not {path}");
    }
    group.cgroup.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn an_oom_kill_is_counted() {
    let group = Group::new("oom", r#"{"memory": {"limit": 33554432}}"#);
    assert_eq!(group.cgroup.oom_kills().unwrap(), 0);
    let mut child = group.run("exec tail /dev/zero");
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    assert_eq!(group.cgroup.oom_kills().unwrap(), 1);
    // v2 shows the peak from Linux 5.19 on.
    assert!(group.cgroup.stats().unwrap().memory_peak.is_none_or(|peak| peak > 30 << 20));
}

#[test]
fn a_fork_bomb_stays_in_its_limit_and_is_killed() {
    let group = Group::new("bomb", r#"{"pids": {"limit": 30}}"#);
    let mut child = group.run("bomb() { bomb | bomb & }; while :; do bomb; sleep 0.01; done");
    wait_until("the limit is reached", || group.cgroup.stats().unwrap().pids_current >= Some(20));
    assert!(group.cgroup.stats().unwrap().pids_current <= Some(30));
    group.cgroup.kill().unwrap();
    assert!(group.cgroup.processes().unwrap().is_empty());
    child.wait().unwrap();
}

#[test]
fn cpu_time_is_throttled_and_counted() {
    let group = Group::new("cpu", r#"{"cpu": {"quota": 20000, "period": 100000}}"#);
    let mut child = group.run("while :; do :; done");
    let begin = (Instant::now(), group.cgroup.stats().unwrap().cpu_usage_ns);
    sleep(Duration::from_millis(1000));
    let stats = group.cgroup.stats().unwrap();
    let share = (stats.cpu_usage_ns - begin.1) as f64 / begin.0.elapsed().as_nanos() as f64;
    group.cgroup.kill().unwrap();
    child.wait().unwrap();
    assert!(share < 0.35, "used {share} of a processor instead of 0.2");
    assert!(stats.throttled_periods >= 3 && stats.throttled_ns > 0, "{stats:?}");
    assert!(stats.periods >= stats.throttled_periods);
}

#[test]
fn frozen_processes_stand_still_and_can_be_killed() {
    let group = Group::new("freeze", "{}");
    let mut child = group.run("while :; do :; done");
    let usage = || group.cgroup.stats().unwrap().cpu_usage_ns;
    wait_until("it runs", || usage() > 1_000_000);
    group.cgroup.freeze().unwrap();
    let before = usage();
    sleep(Duration::from_millis(100));
    assert!(usage() - before < 2_000_000, "it runs while frozen");
    group.cgroup.thaw().unwrap();
    let before = usage();
    wait_until("it runs again", || usage() > before + 5_000_000);
    group.cgroup.freeze().unwrap();
    group.cgroup.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn children_of_the_group_are_killed_and_removed_with_it() {
    let group = Group::new("nested", "{}");
    for place in group.places() {
        std::fs::create_dir_all(place.join("a/b")).unwrap();
        std::fs::create_dir(place.join("c")).unwrap();
    }
    // The deepest freezer (v1) or unified group gets a process of its own.
    let deep = group.places().into_iter().map(|p| p.join("a/b"));
    let deep = deep.filter(|p| p.join("freezer.state").exists() || p.join("cgroup.freeze").exists());
    let join: String = deep.map(|p| format!("echo 0 > {}/cgroup.procs\n", p.display())).collect();
    let mut child = group.run(&format!("({join} sleep 60) & sleep 60"));
    wait_until("three processes", || group.cgroup.processes().unwrap().len() >= 3);
    assert!(matches!(group.host.create(&group.path, None), Err(CgroupError::Exists { .. })));
    group.cgroup.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn an_empty_cgroup_is_used_as_it_was_prepared() {
    let group = Group::new("prepared", r#"{"pids": {"limit": 7}}"#);
    let inodes = || group.places().iter().map(|place| std::fs::metadata(place).unwrap().ino()).collect::<Vec<_>>();
    let before = inodes();
    let more = serde_json::from_str(r#"{"memory": {"limit": 33554432}}"#).unwrap();
    let again = group.host.create(&group.path, Some(&more)).unwrap();
    let stats = again.stats().unwrap();
    assert_eq!((stats.pids_limit, stats.memory_limit), (Some(7), Some(33_554_432)));
    assert_eq!(inodes(), before);
}

#[test]
fn a_limit_that_cannot_be_had_is_named_and_leaves_nothing() {
    let host = Host::probe().unwrap();
    let path: CgroupPath = format!("{}/below", test_path("missing")).parse().unwrap();
    // No processor has pages of this size; here the whole controller is missing too.
    let json = r#"{"pids": {"limit": 5}, "hugepageLimits": [{"pageSize": "3MB", "limit": 3145728}]}"#;
    let resources = serde_json::from_str(json).unwrap();
    let error = host.create(&path, Some(&resources)).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.to_string().contains("huge"), "{error}");
    for place in places(&host, &path.parent().unwrap()) {
        assert!(!place.exists(), "{place:?}");
    }
}

#[test]
fn parents_are_made_and_pruned() {
    let host = Host::probe().unwrap();
    let parent = test_path("parent");
    let path: CgroupPath = format!("{parent}/child").parse().unwrap();
    let cgroup = host.create(&path, None).unwrap();
    host.prune(&parent).unwrap();
    assert!(host.open(&parent).is_ok(), "a parent in use stays");
    cgroup.remove().unwrap();
    cgroup.remove().unwrap();
    host.prune(&parent).unwrap();
    assert_eq!(host.open(&parent).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn a_busy_group_is_not_removed() {
    let group = Group::new("busy", "{}");
    let mut child = group.run("sleep 60");
    let error = group.cgroup.remove().unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    assert_eq!(group.cgroup.processes().unwrap().len(), 2, "nothing was killed");
    group.cgroup.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn device_rules_reach_the_kernel() {
    let group = Group::new(
        "devices",
        r#"{"devices": [{"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"},
            {"allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm"}]}"#,
    );
    let mut child = group.run("echo x > /dev/null && ! head -c 1 /dev/urandom && head -c 1 /dev/zero");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Runs the test where only the unified hierarchy is in sight: a mount namespace of its own, the kernel's cgroup2 tree mounted
/// there as on a host with nothing else. On a hybrid host it has few controllers, but everything of v2's core.
fn with_v2_alone(test: impl FnOnce() + Send + 'static) {
    use rustix::mount::{MountFlags, UnmountFlags};
    let place = "/sys/fs/cgroup";
    with_own_mounts(move || {
        rustix::mount::unmount(place, UnmountFlags::DETACH).unwrap();
        rustix::mount::mount("none", place, "cgroup2", MountFlags::empty(), None).unwrap();
        assert_eq!(Host::probe().unwrap().mode(), Mode::V2);
        test();
    });
}

fn with_own_mounts(test: impl FnOnce() + Send + 'static) {
    use rustix::mount::MountPropagationFlags;
    let run = move || {
        sys::namespace::unshare(sys::process::CloneFlags::NEWNS).unwrap();
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).unwrap();
        test();
    };
    std::thread::spawn(run).join().unwrap();
}

/// Without the unified hierarchy there is no `cgroup.kill`: the group is frozen, signalled and thawed.
#[test]
fn v1_alone_kills_by_signals() {
    with_own_mounts(|| {
        match Host::probe().unwrap().mode() {
            Mode::V2 => return eprintln!("NOT TESTED: this host has no v1 hierarchies"),
            Mode::V1 => {}
            Mode::Hybrid => {
                let table = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
                let unified = table.lines().filter(|line| line.contains(" - cgroup2 "));
                for place in unified.filter_map(|line| line.split(' ').nth(4)) {
                    rustix::mount::unmount(place, rustix::mount::UnmountFlags::DETACH).unwrap();
                }
            }
        }
        let group = Group::new("v1-kill", r#"{"pids": {"limit": 40}}"#);
        assert_eq!(group.host.mode(), Mode::V1);
        assert!(group.cgroup.clone_into().is_none());
        let unified = serde_json::from_str(r#"{"unified": {"pids.max": "5"}}"#).unwrap();
        assert_eq!(group.cgroup.update(&unified).unwrap_err().kind(), Kind::Unsupported);
        let mut child = group.run("bomb() { bomb | bomb & }; while :; do bomb; sleep 0.01; done");
        wait_until("many run", || group.cgroup.stats().unwrap().pids_current >= Some(20));
        group.cgroup.kill().unwrap();
        child.wait().unwrap();
        let mut child = group.run("while :; do :; done");
        group.cgroup.freeze().unwrap();
        group.cgroup.kill().unwrap();
        child.wait().unwrap();
    });
}

#[test]
fn v2_freezes_and_kills_by_its_own_files() {
    with_v2_alone(|| {
        let group = Group::new("v2-kill", "{}");
        assert!(group.cgroup.join_files().unwrap().is_empty());
        for place in group.places() {
            std::fs::create_dir_all(place.join("a/b")).unwrap();
        }
        let mut child = group.run("sleep 60 & while :; do :; done");
        wait_until("both run", || group.cgroup.processes().unwrap().len() == 2);
        group.cgroup.freeze().unwrap();
        assert_eq!(group.file("cgroup.freeze"), "1");
        let before = group.cgroup.stats().unwrap().cpu_usage_ns;
        sleep(Duration::from_millis(50));
        let used = group.cgroup.stats().unwrap().cpu_usage_ns - before;
        assert!(used < 2_000_000, "{used} ns used while frozen");
        group.cgroup.thaw().unwrap();
        group.cgroup.freeze().unwrap();
        group.cgroup.kill().unwrap();
        child.wait().unwrap();
    });
}

#[test]
fn v2_controllers_are_enabled_down_the_path() {
    with_v2_alone(|| {
        let host = Host::probe().unwrap();
        let parent = test_path("v2-path");
        let path: CgroupPath = format!("{parent}/a/b").parse().unwrap();
        let cgroup = host.create(&path, None).unwrap();
        let available = host.controllers();
        assert_eq!(host.open(&path).unwrap().path(), &path);
        let own = std::fs::read_to_string(format!("/sys/fs/cgroup{path}/cgroup.controllers")).unwrap();
        assert!(!available.is_empty(), "this kernel left the unified hierarchy no controller to test with");
        for controller in available {
            assert!(own.split_whitespace().any(|name| name == controller.to_string()), "{controller} in {own:?}");
        }
        let limit = serde_json::from_str(r#"{"network": {"classID": 1048577}}"#).unwrap();
        assert_eq!(cgroup.update(&limit).unwrap_err().kind(), Kind::Unsupported);
        host.open(&parent).unwrap().remove().unwrap();
        assert_eq!(host.open(&path).unwrap_err().kind(), Kind::NotFound);
    });
}

#[test]
fn v2_device_rules_reach_the_kernel_and_can_be_changed() {
    with_v2_alone(|| {
        let group = Group::new(
            "v2-devices",
            r#"{"devices": [{"allow": false, "access": "rwm"},
                {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"},
                {"allow": true, "type": "c", "major": 1, "minor": 5, "access": "r"}]}"#,
        );
        let code = |script: &str| group.run(script).wait().unwrap().code();
        assert_eq!(code("echo x > /dev/null && ! head -c 1 /dev/urandom && head -c 1 /dev/zero"), Some(0));
        assert_eq!(code("! echo x > /dev/zero"), Some(0), "only reading is allowed");
        let other = r#"{"devices": [{"allow": false}, {"allow": true, "type": "c", "major": 1, "minor": 9, "access": "rw"},
            {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"}]}"#;
        group.cgroup.update(&serde_json::from_str(other).unwrap()).unwrap();
        assert_eq!(code("head -c 1 /dev/urandom > /dev/null && ! head -c 1 /dev/zero"), Some(0));
        let all = r#"{"devices": [{"allow": true}]}"#;
        group.cgroup.update(&serde_json::from_str(all).unwrap()).unwrap();
        assert_eq!(code("head -c 1 /dev/zero > /dev/null"), Some(0), "the old programs are gone");
    });
}
