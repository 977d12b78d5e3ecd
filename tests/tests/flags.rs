// SPDX-License-Identifier: Apache-2.0
//! The flags of `run` and `create` that say how far a container is set apart from its host, and what it may use.

use end_to_end::limits::disk;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use testkit::{Daemon, cgroup};

/// What a command in a container of busybox with these flags prints.
#[track_caller]
fn run(daemon: &Daemon, flags: &[&str], script: &str) -> String {
    daemon.ok(&[&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat())
}

/// The inode of a namespace of a process of the host's.
fn namespace(pid: &str, kind: &str) -> String {
    std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("it lives").display().to_string()
}

fn number<'a>(status: &'a str, field: &str) -> &'a str {
    status.lines().find_map(|line| line.strip_prefix(field)).map(str::trim).unwrap_or_default()
}

#[test]
fn a_privileged_container_has_what_its_daemon_has() {
    let daemon = Daemon::with_busybox();
    let script = "cat /proc/self/status; ls /dev; d=/sys/fs/cgroup; [ -d $d/memory ] && d=$d/memory; mkdir $d/mine && echo writable; \
                  dd if=/dev/loop0 of=/dev/null count=0 2>/dev/null && echo opened";
    let seen = run(&daemon, &["--privileged"], script);
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    assert_eq!(number(&seen, "CapEff:"), number(&own, "CapEff:"), "{seen}");
    assert_eq!(number(&seen, "Seccomp:"), "0");
    for word in ["loop0", "writable", "opened"] {
        assert!(seen.lines().any(|line| line == word), "{word}: {seen}");
    }
    let usual = run(&daemon, &[], "ls /dev; dd if=/dev/loop0 of=/dev/null count=0 2>&1 || true");
    assert!(!usual.contains("loop0\n"), "{usual}");
    // A filter that is named holds all the same.
    let filtered = run(&daemon, &["--privileged", "--security-opt", "seccomp=builtin"], "cat /proc/self/status");
    assert_eq!(number(&filtered, "Seccomp:"), "2");
    let id = daemon.ok(&["run", "-d", "busybox", "sleep", "60"]);
    let exec = daemon.ok(&["exec", "--privileged", &id, "cat", "/proc/self/status"]);
    assert_eq!(number(&exec, "CapBnd:"), number(&own, "CapBnd:"));
}

#[test]
fn a_device_is_there_and_allowed_as_far_as_was_asked() {
    let daemon = Daemon::with_busybox();
    let reads = "head -c 0 /dev/mine && echo reads; (: > /dev/mine) 2>/dev/null && echo writes; ls -l /dev/mine";
    let seen = run(&daemon, &["--device", "/dev/loop0:/dev/mine:r"], reads);
    assert!(seen.contains("reads") && !seen.contains("writes") && seen.contains("7,   0"), "{seen}");
    let link = daemon.path().join("link");
    std::os::unix::fs::symlink("/dev/loop1", &link).unwrap();
    let seen = run(&daemon, &["--device", &format!("{}:/dev/mine", link.display())], "ls -l /dev/mine");
    assert!(seen.contains("7,   1"), "a link is what it leads to: {seen}");
    // Of a directory, all that is in it.
    let directory = daemon.path().join("devices");
    std::fs::create_dir(&directory).unwrap();
    for (name, minor) in [("one", 3), ("other", 5)] {
        let (kind, mode) = (FileType::CharacterDevice, Mode::from_raw_mode(0o666));
        mknodat(CWD, directory.join(name), kind, mode, makedev(1, minor)).unwrap();
    }
    let seen = run(&daemon, &["--device", &format!("{}:/dev/mine", directory.display())], "ls -l /dev/mine");
    assert!(seen.contains("1,   3") && seen.contains("1,   5"), "{seen}");
    let rule = "mknod /dev/made b 7 0 && head -c 0 /dev/made && echo opened";
    assert_eq!(run(&daemon, &["--device-cgroup-rule", "b 7:* rwm"], rule), "opened");
    daemon.fails(&["run", "--rm", "--device", "/dev/no-such", "busybox", "true"], 125).saying("/dev/no-such");
    daemon.fails(&["run", "--rm", "--device", "/etc/passwd", "busybox", "true"], 125).saying("no device file");
    daemon.fails(&["run", "--rm", "--device-cgroup-rule", "c 1:3", "busybox", "true"], 125).saying("c 42:* rmw");
}

#[test]
fn shared_memory_is_private_shared_or_the_hosts() {
    let daemon = Daemon::with_busybox();
    let size = "df -m /dev/shm | tail -1 | awk '{print $2}'";
    assert_eq!(run(&daemon, &[], size), "64");
    assert_eq!(run(&daemon, &["--shm-size", "2m"], size), "2");
    assert_eq!(run(&daemon, &["--ipc", "none"], "ls -d /dev/shm 2>/dev/null || echo none"), "none");
    let host = run(&daemon, &["--ipc", "host"], "readlink /proc/self/ns/ipc");
    assert_eq!(host, namespace("self", "ipc"));
    let keeper = ["run", "-d", "--name", "keeper", "--ipc", "shareable", "--shm-size", "3m", "busybox", "sleep", "60"];
    daemon.ok(&keeper);
    daemon.ok(&["exec", "keeper", "sh", "-c", "echo left > /dev/shm/note"]);
    let theirs = daemon.ok(&["exec", "keeper", "readlink", "/proc/self/ns/ipc"]);
    let script = "cat /dev/shm/note; readlink /proc/self/ns/ipc; df -m /dev/shm | tail -1 | awk '{print $2}'";
    let joined = run(&daemon, &["--ipc", "container:keeper"], script);
    assert_eq!(joined, format!("left\n{theirs}\n3"));
    // A new start has new memory, and what is on the host is not seen by others.
    daemon.ok(&["restart", "-t", "0", "keeper"]);
    assert_eq!(daemon.ok(&["exec", "keeper", "sh", "-c", "ls /dev/shm | wc -l"]), "0");
    // Its memory goes with it, also when another daemon has to see to that.
    daemon.kill();
    daemon.start();
    daemon.ok(&["rm", "-f", "keeper"]);
    daemon.assert_no_container_left();
    daemon.ok(&["run", "-d", "--name", "closed", "busybox", "sleep", "60"]);
    daemon.fails(&["run", "--rm", "--ipc", "container:closed", "busybox", "true"], 125).saying("shareable");
}

#[test]
fn processes_and_names_are_its_own_anothers_or_the_hosts() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "first", "busybox", "sleep", "61"]);
    let seen = run(&daemon, &["--pid", "container:first"], "ps -o args");
    assert!(seen.lines().any(|line| line == "sleep 61"), "{seen}");
    assert_eq!(run(&daemon, &["--pid", "host"], "readlink /proc/self/ns/pid"), namespace("self", "pid"));
    assert_eq!(run(&daemon, &["--uts", "host"], "readlink /proc/self/ns/uts"), namespace("self", "uts"));
    let hosts_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    assert_eq!(run(&daemon, &["--uts", "host"], "hostname"), hosts_name);
    let refused = ["run", "--rm", "--uts", "host", "--hostname", "other", "busybox", "true"];
    daemon.fails(&refused, 125).saying("--uts host");
    let named = ["--hostname", "box", "--domainname", "example.org"];
    let seen = run(&daemon, &named, "cat /proc/sys/kernel/domainname; cat /etc/hosts");
    assert!(seen.starts_with("example.org\n") && seen.contains("\tbox.example.org box"), "{seen}");
    // The namespace is known by the other container's id, whatever that is called later.
    let id = daemon.ok(&["create", "--pid", "container:first", "busybox", "true"]);
    let first = daemon.inspect("first")["Id"].clone();
    let mode = daemon.inspect(&id)["HostConfig"]["PidMode"].clone();
    assert_eq!(mode.as_str().map(str::to_owned), first.as_str().map(|id| format!("container:{id}")));
    daemon.ok(&["rm", "-f", "first"]);
    daemon.fails(&["start", &id], 1).saying("--pid: no such container");
    daemon.fails(&["run", "--rm", "--pid", "container:nobody", "busybox", "true"], 125).saying("nobody");
}

#[test]
fn the_process_has_the_limits_groups_and_parameters_that_were_asked_for() {
    let daemon = Daemon::with_busybox();
    let limits =
        run(&daemon, &["--ulimit", "nofile=100:200", "--ulimit", "core=0"], "ulimit -Sn; ulimit -Hn; ulimit -c");
    assert_eq!(limits, "100\n200\n0");
    let groups = run(&daemon, &["--group-add", "audience", "--group-add", "777"], "id -G");
    assert_eq!(groups.split(' ').collect::<Vec<_>>(), ["0", "777", "1002"], "{groups}");
    let user = run(&daemon, &["--user", "worker", "--group-add", "777"], "id -u; id -G");
    assert_eq!(user, "1000\n1001 777 1002");
    daemon.fails(&["run", "--rm", "--group-add", "nobodies", "busybox", "true"], 125).saying("nobodies");
    let set = ["--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.msgmax=4096"];
    let read = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax";
    assert_eq!(run(&daemon, &set, read), "1\n4096");
    let usual = "cd /proc/sys/net/ipv4; cat ip_unprivileged_port_start ping_group_range";
    for network in ["none", "bridge"] {
        assert_eq!(run(&daemon, &["--network", network], usual), "0\n0\t2147483647", "{network}");
    }
    let refused = ["run", "--rm", "--network", "host", "--sysctl", "net.ipv4.ip_forward=1", "busybox", "true"];
    daemon.fails(&refused, 125).saying("network namespace");
    daemon.fails(&["run", "--rm", "--sysctl", "vm.swappiness=1", "busybox", "true"], 125).saying("vm.swappiness");
    assert_eq!(run(&daemon, &["--oom-score-adj", "500"], "cat /proc/self/oom_score_adj"), "500");
    let id = daemon.ok(&["run", "-d", "--ulimit", "nofile=50", "busybox", "sleep", "60"]);
    assert_eq!(daemon.ok(&["exec", &id, "sh", "-c", "ulimit -n"]), "50");
}

#[test]
fn what_this_host_does_not_allow_is_told_and_the_container_runs() {
    let daemon = Daemon::with_busybox();
    let most: u64 = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let effective = u64::from_str_radix(number(&status, "CapEff:"), 16).unwrap();
    let may = effective & (1 << 24) != 0;
    let wish = format!("nofile={}", most + 1);
    let ran = daemon.corten(&["run", "--rm", "--ulimit", &wish, "busybox", "sh", "-c", "ulimit -n"]).ok();
    assert_eq!(ran.text(), if may { most + 1 } else { most }.to_string());
    assert_eq!(ran.stderr.contains("CAP_SYS_RESOURCE"), !may, "{ran}");
    let ran = daemon.corten(&["run", "--rm", "--oom-score-adj", "-500", "busybox", "true"]).ok();
    assert_eq!(ran.stderr.contains("--oom-score-adj"), !may, "{ran}");
}

#[test]
fn limits_reach_the_control_groups_and_update_changes_them() {
    let daemon = Daemon::with_busybox();
    let parent = format!("{}/other", daemon.cgroup());
    let flags = ["--cpu-period", "50000", "--cpu-quota", "25000", "--cpu-shares", "512", "--cpuset-cpus", "0"];
    let more = ["--memory", "64m", "--memory-reservation", "32m", "--pids-limit", "50", "--cpuset-mems", "0"];
    let disk = disk();
    let (reads, writes) = (format!("{disk}:1mb"), format!("{disk}:100"));
    let rates = ["--device-read-bps", &reads, "--device-write-iops", &writes, "--cgroup-parent", &parent];
    let start = ["run", "-d", "--name", "limited"];
    daemon.ok(&[&start[..], &flags, &more, &rates, &["busybox", "sleep", "60"]].concat());
    let pid = daemon.inspect("limited")["State"]["Pid"].as_i64().unwrap();
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(groups.lines().any(|line| line.contains(&format!("{parent}/"))), "{groups}");
    let read = |controller: &str, file: &str| {
        std::fs::read_to_string(cgroup::of(pid, controller).0.join(file)).unwrap().trim().to_owned()
    };
    let v1 = cgroup::of(pid, "cpu").1 == cgroup::Version::V1;
    if v1 {
        assert_eq!(read("cpu", "cpu.cfs_period_us"), "50000");
        assert_eq!(read("cpu", "cpu.cfs_quota_us"), "25000");
        assert_eq!(read("cpu", "cpu.shares"), "512");
        assert_eq!(read("cpuset", "cpuset.cpus"), "0");
        assert_eq!(read("memory", "memory.soft_limit_in_bytes"), (32 << 20).to_string());
        assert!(read("blkio", "blkio.throttle.read_bps_device").ends_with(" 1048576"));
        assert!(read("blkio", "blkio.throttle.write_iops_device").ends_with(" 100"));
    }
    let update = ["update", "--cpu-quota", "40000", "--memory", "96m", "--pids-limit", "60", "limited"];
    daemon.ok(&update);
    if v1 {
        assert_eq!(read("cpu", "cpu.cfs_period_us"), "50000");
        assert_eq!(read("cpu", "cpu.cfs_quota_us"), "40000");
        assert_eq!(read("memory", "memory.limit_in_bytes"), (96 << 20).to_string());
        assert_eq!(read("pids", "pids.max"), "60");
    }
    let host = daemon.inspect("limited")["HostConfig"].clone();
    assert_eq!((&host["CpuQuota"], &host["CpuPeriod"]), (&40_000.into(), &50_000.into()));
    assert_eq!(host["CgroupParent"], parent);
    assert_eq!(host["BlkioDeviceReadBps"], serde_json::json!([{"Path": disk, "Rate": 1 << 20}]));
    daemon.fails(&["update", "--cpus", "0.5", "limited"], 1).saying("--cpu-quota");
    daemon.ok(&["pause", "limited"]);
    daemon.ok(&["unpause", "limited"]);
    daemon.ok(&["rm", "-f", "limited"]);
    // A parent that somebody names is somebody's: it stays when the container goes.
    remove_empty(&parent);
}

/// Removes a cgroup from every hierarchy as soon as it is empty there.
fn remove_empty(path: &str) {
    let hierarchies =
        std::fs::read_dir("/sys/fs/cgroup").expect("mounted").map(|entry| entry.expect("an entry").path());
    for dir in hierarchies.chain(["/sys/fs/cgroup".into()]).map(|root| root.join(path.trim_start_matches('/'))) {
        for _ in 0..1000 {
            if !dir.is_dir() || std::fs::remove_dir(&dir).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(!dir.is_dir(), "{} is in use", dir.display());
    }
}

#[test]
fn flags_without_a_meaning_are_refused_by_name() {
    let daemon = Daemon::with_busybox();
    for (flag, word) in [
        ("--kernel-memory=1m", "--kernel-memory"),
        ("--storage-opt=size=1g", "--storage-opt"),
        ("--isolation=hyperv", "--isolation"),
        ("--cpu-count=1", "--cpu-count"),
        ("--io-maxiops=1", "--io-maxiops"),
        ("--use-api-socket", "--use-api-socket"),
        ("--userns=private", "UsernsMode"),
        ("--runtime=kata", "kata"),
        ("--ipc=mine", "mine"),
        ("--pid=private", "private"),
        ("--uts=container:x", "container:x"),
        ("--security-opt=label=type:x", "label=type:x"),
        ("--security-opt=proc-opts=hidepid=2", "proc-opts"),
    ] {
        daemon.fails(&["run", "--rm", flag, "busybox", "true"], 125).saying(word);
    }
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
    // What says the same as nothing is no wish.
    run(&daemon, &["--isolation", "default", "--userns", "host", "--runtime", "runc"], "true");
}

#[test]
fn a_vendors_device_is_what_its_description_says() {
    let dir = tempfile::tempdir().unwrap();
    let (hooked, hook) = (dir.path().join("hooked"), dir.path().join("hook"));
    // As vendors' hooks do it: the bundle is told, its configuration names the root, and the root is there.
    let script = format!(
        "cat > {0}; b=$(sed 's/.*\"bundle\":\"\\([^\"]*\\)\".*/\\1/' {0}); grep -q '\"path\":\"rootfs\"' $b/config.json && touch $b/rootfs/by-the-hook",
        hooked.display()
    );
    std::fs::write(&hook, script).unwrap();
    let description = format!(
        r#"
cdiVersion: "0.7.0"
kind: vendor.com/gpu
devices:
  - name: first
    containerEdits:
      deviceNodes: [{{path: /dev/gpu, hostPath: /dev/loop2, permissions: r}}]
      env: [GPU=first]
      additionalGids: [4242]
containerEdits:
  mounts: [{{hostPath: {0}, containerPath: /vendor, options: [ro, bind]}}]
  hooks:
    - hookName: createContainer
      path: /bin/sh
      args: [sh, {1}]
"#,
        dir.path().display(),
        hook.display()
    );
    std::fs::write(dir.path().join("gpu.yaml"), description).unwrap();
    let daemon = Daemon::builder().argument("--cdi-spec-dir").argument(&dir.path().to_string_lossy()).start();
    daemon.import_busybox();
    let script = "ls -l /dev/gpu; echo $GPU; id -G; ls /vendor; ls /by-the-hook; (: > /dev/gpu) 2>/dev/null || echo no";
    let seen = run(&daemon, &["--device", "vendor.com/gpu=first"], script);
    for word in ["7,   2", "first", "4242", "gpu.yaml", "/by-the-hook", "no"] {
        assert!(seen.contains(word), "{word}: {seen}");
    }
    let state: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&hooked).unwrap()).unwrap();
    assert!(state["bundle"].as_str().is_some_and(|bundle| bundle.starts_with('/')), "{state}");
    let twice = r#"{"cdiVersion":"0.6.0","kind":"vendor.com/gpu","devices":[{"name":"first","containerEdits":{"env":["A=1"]}}]}"#;
    std::fs::write(dir.path().join("other.json"), twice).unwrap();
    std::fs::write(dir.path().join("broken.json"), "{").unwrap();
    let refused = daemon.fails(&["create", "--device", "vendor.com/gpu=first", "busybox"], 125);
    assert!(refused.stderr.contains("gpu.yaml") && refused.stderr.contains("other.json"), "{refused}");
    daemon.fails(&["create", "--device", "vendor.com/gpu=none", "busybox"], 125).saying("broken.json");
    daemon.fails(&["create", "--gpus", "all", "busybox"], 125).saying("nvidia.com/gpu");
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
    let gpus = r#"{"cdiVersion":"0.6.0","kind":"nvidia.com/gpu","devices":[{"name":"all","containerEdits":{"env":["GPUS=all"]}}]}"#;
    std::fs::write(dir.path().join("broken.json"), gpus).unwrap();
    assert_eq!(run(&daemon, &["--gpus", "all"], "echo $GPUS"), "all");
}
