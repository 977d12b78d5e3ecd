// SPDX-License-Identifier: Apache-2.0
//! Plans of realistic specs, as files: `golden/<name>.json` is the spec, `golden/<name>.plan` its plan as printed.
//! `CORTEN_UPDATE_GOLDEN=1 cargo test -p runtime` writes the plans anew; read the difference before keeping it.

use super::*;
use errors::{Classify, Kind};
use serde_json::{Value, json};

fn golden(name: &str, inputs: &Inputs) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plan/golden");
    let spec: Spec = serde_json::from_slice(&std::fs::read(dir.join(format!("{name}.json"))).unwrap()).unwrap();
    let printed = plan(&spec, inputs).unwrap().to_string();
    let file = dir.join(format!("{name}.plan"));
    if std::env::var_os("CORTEN_UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &printed).unwrap();
    }
    assert_eq!(printed, std::fs::read_to_string(&file).unwrap(), "{name}");
}

fn hybrid() -> Vec<CgroupHierarchy> {
    let of = |names: &[&str]| CgroupHierarchy { controllers: names.iter().map(|n| (*n).into()).collect(), name: None };
    let systemd = CgroupHierarchy { controllers: vec![], name: Some("systemd".into()) };
    vec![of(&["cpu", "cpuacct"]), of(&["memory"]), of(&["pids"]), systemd, of(&[])]
}

#[test]
fn dockers_default_on_cgroup_v1() {
    let inputs = Inputs { bundle: "/bundle".into(), hierarchies: hybrid(), ..Inputs::default() };
    golden("docker", &inputs);
}

#[test]
fn hardened_with_a_terminal_a_prepared_root_and_network_on_cgroup_v2() {
    let inputs = Inputs {
        bundle: "/bundle".into(),
        rootfs: true,
        netns: true,
        terminal: true,
        dies_with_parent: true,
        ..Inputs::default()
    };
    golden("hardened-terminal", &inputs);
}

#[test]
fn an_init_is_all_that_its_command_is() {
    let inputs = Inputs { bundle: "/bundle".into(), init: true, ..Inputs::default() };
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plan/golden");
    let spec: Spec = serde_json::from_slice(&std::fs::read(dir.join("docker.json")).unwrap()).unwrap();
    let operations = plan(&spec, &inputs).unwrap().operations;
    let without = plan(&spec, &Inputs { init: false, ..inputs }).unwrap().operations;
    let (last, before) = operations.split_last().unwrap();
    assert_eq!(before.last(), Some(&Operation::Init));
    assert_eq!([&before[..before.len() - 1], std::slice::from_ref(last)].concat(), without);
}

#[test]
fn privileged_in_a_joined_network_waiting_for_start() {
    let inputs = Inputs { bundle: "/bundle".into(), waits_for_start: true, preserve_fds: 2, ..Inputs::default() };
    golden("privileged-joined-network", &inputs);
}

/// Where a container comes from, as far as the plan depends on it: engines use `create`, a v1 host has its hierarchies.
fn engine() -> Inputs {
    Inputs { bundle: "/bundle".into(), hierarchies: hybrid(), waits_for_start: true, ..Inputs::default() }
}

/// Configurations as engines wrote them on a cgroup v1 host; only ids and paths were shortened.
const ENGINES: &[&str] = &[
    "buildah",
    "cri-container",
    "cri-pause",
    "ctr-default",
    "ctr-net-host",
    "ctr-privileged",
    "ctr-read-only",
    "docker-binds",
    "docker-caps",
    "docker-cgroupns-host",
    "docker-default",
    "docker-device",
    "docker-host-namespaces",
    "docker-init",
    "docker-limits",
    "docker-names",
    "docker-network-none",
    "docker-no-new-privileges",
    "docker-privileged",
    "docker-read-only",
    "docker-seccomp-unconfined",
    "docker-shm-size",
    "docker-sysctl",
    "docker-terminal",
    "docker-user",
    "nginx",
    "podman-default",
    "podman-hardened",
    "podman-privileged",
    "podman-terminal",
    "postgres",
    "runc-spec",
    "runc-spec-rootless",
];

#[test]
fn containers_of_engines() {
    for name in ENGINES {
        let terminal = name.ends_with("terminal");
        golden(name, &Inputs { terminal, ..engine() });
    }
}

#[test]
fn no_golden_file_is_forgotten() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plan/golden");
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let specs = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    // The three above have tests of their own.
    assert_eq!(specs.count(), ENGINES.len() + 3);
}

/// The sample configuration with `change` at `pointer`.
fn changed(pointer: &str, change: Value) -> Result<Plan, PlanError> {
    let mut config = crate::oci_cli::sample();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match config.pointer_mut(parent).unwrap() {
        Value::Array(list) => list.push(change),
        other => other[key] = change,
    }
    plan(&serde_json::from_value(config).unwrap(), &Inputs { bundle: "/b".into(), ..Inputs::default() })
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    for (pointer, change, field) in [
        ("/linux/intelRdt", json!({}), "linux.intelRdt"),
        ("/linux/netDevices", json!({ "eth0": {} }), "linux.netDevices"),
        ("/linux/personality", json!({ "domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"] }), "linux.personality.flags"),
    ] {
        let error = changed(pointer, change).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported, "{error}");
        assert!(error.to_string().contains(field), "{error}");
    }
}

#[test]
fn a_filter_given_apart_is_planned_and_is_the_only_one() {
    let mut config = crate::oci_cli::sample();
    config["linux"]["seccomp"] = json!(null);
    let planned = |config: &Value, filter| {
        let inputs = Inputs { bundle: "/b".into(), filter, ..Inputs::default() };
        plan(&serde_json::from_value(config.clone()).unwrap(), &inputs)
    };
    let has = |filter| planned(&config, filter).unwrap().operations.contains(&Operation::Seccomp);
    assert_eq!((has(false), has(true)), (false, true));
    config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW" });
    let error = planned(&config, true).unwrap_err();
    assert!(error.to_string().contains("linux.seccomp"), "{error}");
}

fn notifying(names: &[&str], listener: Option<&str>) -> Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": listener,
        "syscalls": [{ "names": names, "action": "SCMP_ACT_NOTIFY" }] })
}

#[test]
fn a_filter_that_notifies_is_there_before_anybody_waits() {
    let mut config = crate::oci_cli::sample();
    config["linux"]["seccomp"] = notifying(&["mkdir"], Some("/a"));
    config["process"]["noNewPrivileges"] = json!(false);
    config["hooks"] = json!({ "startContainer": [{ "path": "/h" }] });
    let inputs = Inputs { bundle: "/b".into(), waits_for_start: true, ..Inputs::default() };
    let printed = plan(&serde_json::from_value(config.clone()).unwrap(), &inputs).unwrap();
    assert!(printed.asks());
    let after = |printed: &Plan| {
        let lines: Vec<String> = printed.to_string().lines().map(String::from).collect();
        let at = lines.iter().position(|line| line == "find the command").unwrap();
        lines[at + 1..].iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(after(&printed), "seccomp capabilities wait run umask execute");
    config["linux"]["seccomp"]["syscalls"][0]["action"] = json!("SCMP_ACT_LOG");
    let decides = plan(&serde_json::from_value(config).unwrap(), &inputs).unwrap();
    assert_eq!((after(&decides).as_str(), decides.asks()), ("wait run seccomp capabilities umask execute", false));
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let mount = |destination: &str, kind: &str| json!({ "destination": destination, "type": kind, "source": "/x" });
    for (pointer, change, text) in [
        ("/mounts/-", mount("/proc/self/attr", "tmpfs"), "not inside /proc"),
        ("/mounts/-", mount("/a/../../b", "tmpfs"), "without .."),
        ("/mounts/-", mount("/", "tmpfs"), "below the root"),
        ("/mounts/-", mount("/proc", "tmpfs"), "procfs"),
        ("/mounts/-", json!({ "destination": "/x" }), "mounts[7].type"),
        ("/process/args", json!([]), "process.args"),
        ("/process/args", json!(["a\0b"]), "NUL"),
        ("/process/cwd", json!("relative"), "process.cwd"),
        ("/linux/maskedPaths", json!(["relative"]), "linux.maskedPaths"),
        ("/linux/sysctl", json!({ "kernel.panic": "1" }), "kernel.panic"),
        ("/linux/sysctl", json!({ "net..x": "1" }), "net..x"),
        ("/linux/sysctl", json!({ "net/../kernel/panic": "1" }), "net/../kernel/panic"),
        ("/linux/sysctl", json!({ "kernel.hostname": "x" }), "the field hostname"),
        ("/hooks", json!({ "prestart": [{ "path": "true" }] }), "hooks.prestart[0].path"),
        (
            "/hooks",
            json!({ "poststop": [{ "path": "/a" }, { "path": "/a", "timeout": 0 }] }),
            "hooks.poststop[1].timeout",
        ),
        ("/hooks", json!({ "startContainer": [{ "path": "/a", "args": ["a\0"] }] }), "hooks.startContainer[0].args"),
        (
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/a" }),
            "linux.seccomp.defaultAction",
        ),
        ("/linux/seccomp", notifying(&["mkdir", "write"], Some("/a")), "linux.seccomp.syscalls[0].names"),
        ("/linux/seccomp", notifying(&["mkdir"], None), "linux.seccomp.listenerPath"),
        (
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1 }),
            "linux.seccomp.defaultErrnoRet",
        ),
        (
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{ "names": ["a"], "action": "SCMP_ACT_TRAP", "errnoRet": 1 }] }),
            "linux.seccomp.syscalls[0].errnoRet",
        ),
        (
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "m" }),
            "linux.seccomp.listenerMetadata",
        ),
        (
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": [], "action": "SCMP_ACT_LOG" }] }),
            "linux.seccomp.syscalls[0].names",
        ),
        ("/ociVersion", json!("2.0.0"), "ociVersion"),
        ("/ociVersion", json!("0.9.0"), "ociVersion"),
        ("/ociVersion", json!("1"), "ociVersion"),
        ("/process/rlimits/-", json!({ "type": "RLIMIT_NOFILE", "soft": 1, "hard": 1 }), "process.rlimits[1].type"),
        ("/process/scheduler", json!({ "policy": "SCHED_OTHER", "nice": 20 }), "process.scheduler.nice"),
        ("/process/scheduler", json!({ "policy": "SCHED_OTHER", "priority": 1 }), "process.scheduler.priority"),
        ("/process/scheduler", json!({ "policy": "SCHED_FIFO", "priority": -1 }), "process.scheduler.priority"),
        ("/process/scheduler", json!({ "policy": "SCHED_RR", "period": 1 }), "process.scheduler.period"),
        ("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_BE", "priority": 8 }), "process.ioPriority.priority"),
        ("/linux/memoryPolicy", json!({ "mode": "MPOL_BIND" }), "linux.memoryPolicy.nodes"),
        ("/linux/memoryPolicy", json!({ "mode": "MPOL_LOCAL", "nodes": "0" }), "linux.memoryPolicy.nodes"),
        ("/linux/memoryPolicy", json!({ "mode": "MPOL_BIND", "nodes": "x" }), "linux.memoryPolicy.nodes"),
        ("/linux/rootfsPropagation", json!("sideways"), "rootfsPropagation"),
        ("/linux/namespaces/-", json!({ "type": "pid" }), "at most once"),
        ("/hostname", json!("x".repeat(65)), "64 bytes"),
    ] {
        let error = changed(pointer, change).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
}

fn mapped(config: &mut Value) {
    let mapping = |outside: u32| json!([{ "containerID": 0, "hostID": outside, "size": 65536 }]);
    config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
    config["linux"]["uidMappings"] = mapping(100_000);
    config["linux"]["gidMappings"] = mapping(200_000);
}

fn planned(change: impl FnOnce(&mut Value), caller: Caller) -> Result<Plan, PlanError> {
    let mut config = crate::oci_cli::sample();
    change(&mut config);
    let inputs = Inputs { bundle: "/b".into(), caller, ..Inputs::default() };
    plan(&serde_json::from_value(config).unwrap(), &inputs)
}

#[test]
fn in_a_new_user_namespace_the_launcher_opens_maps_and_limits() {
    let plan = planned(mapped, Caller::Root).unwrap();
    assert!(plan.create.contains(CloneFlags::NEWUSER) && !plan.staged() && plan.asks());
    let printed = plan.to_string();
    for line in [
        "map users 0:100000+65536 groups 0:200000+65536\nbecome 0:0 of the user namespace\n",
        "attach root /b/rootfs (opened before)\n",
        "bind device /dev/null c 1:3",
        "limit RLIMIT_NOFILE 1024:1024 (from outside)\nlimit RLIMIT_NOFILE 1024:1024\n",
    ] {
        assert!(printed.contains(line), "{line:?} is not in:\n{printed}");
    }
    assert!(!planned(|_| {}, Caller::Root).unwrap().asks(), "a plan that asks for nothing pays for nothing");
}

#[test]
fn what_cannot_be_entered_later_is_entered_by_a_stage_and_the_user_namespace_last() {
    let join = |config: &mut Value| {
        mapped(config);
        config["linux"]["namespaces"][1] = json!({ "type": "network", "path": "/n" });
        config["linux"]["namespaces"][0] = json!({ "type": "pid", "path": "/p" });
    };
    let plan = planned(join, Caller::Root).unwrap();
    let stage: Vec<String> = plan.stage.iter().map(ToString::to_string).collect();
    let maps = "map users 0:100000+65536 groups 0:200000+65536";
    let expected = ["join CLONE_NEWPID /p", "join CLONE_NEWNET /n", "unshare CLONE_NEWUSER", maps];
    assert_eq!(stage[..4], expected);
    assert!(!plan.create.contains(CloneFlags::NEWUSER));
    let own = Caller::Unprivileged { uid: 1000, gid: 1000 };
    let stage: Vec<String> = planned(join, own).unwrap().stage.iter().map(ToString::to_string).collect();
    assert_eq!(stage[0], "unshare CLONE_NEWUSER");
    assert_eq!(stage[1], format!("{maps} (through newuidmap and newgidmap)"));
    assert_eq!(stage[2], "hide from other users");
    assert_eq!(stage[4..], ["join CLONE_NEWPID /p", "join CLONE_NEWNET /n"]);
}

#[test]
fn offsets_of_clocks_are_set_by_a_stage() {
    let timed = |offsets: Value| {
        let change = move |config: &mut Value| {
            config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "time" }));
            config["linux"]["timeOffsets"] = offsets;
        };
        planned(change, Caller::Root)
    };
    let plan = timed(json!({})).unwrap();
    assert!(plan.create.contains(CloneFlags::NEWTIME) && !plan.staged());
    let plan = timed(json!({ "monotonic": { "secs": -5, "nanosecs": 7 }, "boottime": { "secs": 3 } })).unwrap();
    assert!(!plan.create.contains(CloneFlags::NEWTIME));
    let printed = "unshare CLONE_NEWTIME with boottime+3.000000000 monotonic-5.000000007";
    assert_eq!(plan.stage.iter().map(ToString::to_string).collect::<Vec<_>>(), [printed]);
    assert!(timed(json!({ "realtime": { "secs": 1 } })).unwrap_err().to_string().contains("timeOffsets[realtime]"));
    let error = timed(json!({ "boottime": { "nanosecs": 1_000_000_000 } })).unwrap_err();
    assert!(error.to_string().contains("nanosecs"), "{error}");
}

#[test]
fn ids_that_are_not_mapped_are_refused_by_name() {
    let with = |pointer: &'static str, value: Value| {
        move |config: &mut Value| {
            mapped(config);
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            match config.pointer_mut(parent).unwrap() {
                Value::Array(list) => list.push(value),
                other => other[key] = value,
            }
        }
    };
    let tmpfs = json!({ "destination": "/x", "type": "tmpfs", "options": ["uid=70000"] });
    let idmap = |kind: &str| json!({ "destination": "/x", "type": kind, "source": "/", "options": ["idmap"] });
    for (pointer, value, text) in [
        ("/process/user/uid", json!(65536), "process.user.uid"),
        ("/process/user/gid", json!(65536), "process.user.gid"),
        ("/process/user/additionalGids", json!([5, 65536]), "process.user.additionalGids"),
        ("/linux/uidMappings", json!([]), "linux.uidMappings"),
        ("/linux/gidMappings", json!([{ "containerID": 0, "hostID": 1, "size": 0 }]), "linux.gidMappings"),
        ("/mounts/-", tmpfs, "mounts[7].options[uid]"),
        ("/mounts/-", idmap("tmpfs"), "mounts[7].type"),
    ] {
        let error = planned(with(pointer, value), Caller::Root).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
    let without = planned(|config| config["mounts"].as_array_mut().unwrap().push(idmap("bind")), Caller::Root);
    assert!(without.unwrap_err().to_string().contains("mounts[7].options"));
}

#[test]
fn without_rights_a_user_namespace_is_needed_and_groups_may_be_out_of_reach() {
    let caller = Caller::Unprivileged { uid: 1000, gid: 1000 };
    assert_eq!(planned(|_| {}, caller).unwrap_err(), PlanError::NotRoot);
    let own = |groups: Value| {
        let change = move |config: &mut Value| {
            mapped(config);
            config["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": 1000, "size": 1 }]);
            config["linux"]["gidMappings"] = config["linux"]["uidMappings"].clone();
            config["process"]["user"]["additionalGids"] = groups;
            // Group 5 is nobody here.
            config["mounts"].as_array_mut().unwrap().remove(2);
        };
        planned(change, caller)
    };
    let plan = own(json!([])).unwrap().to_string();
    assert!(plan.contains("map users 0:1000+1 groups 0:1000+1\nhide from other users\n"), "{plan}");
    assert!(plan.contains("attach root /b/rootfs\n"), "{plan}");
    assert!(own(json!([0])).unwrap_err().to_string().contains("process.user.additionalGids"));
}

#[test]
fn interfaces_of_namespaces_that_others_own_have_a_bind_to_fall_back_on() {
    let change = |config: &mut Value| {
        mapped(config);
        config["linux"]["namespaces"][1] = json!({ "type": "network", "path": "/n" });
        config["linux"]["namespaces"].as_array_mut().unwrap().remove(2);
    };
    let printed = planned(change, Caller::Root).unwrap().to_string();
    assert!(printed.contains("mount sysfs on /sys (or rbind /sys)"), "{printed}");
    assert!(printed.contains("mount mqueue on /dev/mqueue (or rbind /dev/mqueue)"), "{printed}");
    assert!(!printed.contains("(or rbind /sys/fs/cgroup)"), "{printed}");
    assert!(!planned(|_| {}, Caller::Root).unwrap().to_string().contains("(or rbind"));
}

#[test]
fn settings_of_a_shared_namespace_are_refused() {
    let mount_only = |pointer: &str, change: Value| {
        let mut config = crate::oci_cli::sample();
        config["linux"]["namespaces"] = json!([{ "type": "mount" }]);
        config["hostname"] = json!("");
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        config.pointer_mut(parent).unwrap()[key] = change;
        plan(&serde_json::from_value(config).unwrap(), &Inputs { bundle: "/b".into(), ..Inputs::default() })
    };
    for (pointer, change) in [
        ("/hostname", json!("other")),
        ("/domainname", json!("other")),
        ("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" })),
        ("/linux/sysctl", json!({ "kernel.shmmax": "1" })),
    ] {
        assert!(matches!(mount_only(pointer, change), Err(PlanError::NeedsNamespace { .. })), "{pointer}");
    }
}

#[test]
fn options_become_attributes_in_order() {
    let options = ["ro", "rw", "nosuid", "noatime", "strictatime"];
    let plan = changed("/mounts/-", json!({ "destination": "/x", "type": "tmpfs", "options": options })).unwrap();
    assert!(plan.to_string().contains("mount tmpfs on /x nosuid strictatime\n"), "{plan}");
    let bind = json!({ "destination": "y", "source": "rel", "options": ["rbind", "rro", "rslave", "shared"] });
    let plan = changed("/mounts/-", bind).unwrap();
    assert!(plan.to_string().contains("rbind /b/rel on /y rro rslave shared\n"), "{plan}");
}

/// The options of config.md's table ("Linux mount options"), none of which may reach a file system as its own.
const TABLE: &str = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev \
    nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev \
    rdiratime relatime remount rexec rnoatime rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro \
    rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime \
    suid symfollow sync tmpcopyup unbindable";

#[test]
fn every_option_of_the_specification_is_known() {
    const OF_EVERY_FILE_SYSTEM: [&str; 7] = ["sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand"];
    let names = mount_option_names();
    for option in TABLE.split_whitespace() {
        assert!(names.iter().any(|name| name == option), "{option}");
        let mount = json!({ "destination": "/x", "type": "tmpfs", "source": "/s", "options": [option] });
        let plan = changed("/mounts/-", mount).unwrap();
        let parameters = plan.operations.iter().find_map(|operation| match operation {
            Operation::Mount(MountOperation {
                source: MountSource::FileSystem { parameters, .. }, index: 7, ..
            }) => Some(parameters.clone()),
            _ => None,
        });
        let mut parameters = parameters.into_iter().flatten();
        let expected = |key: &str| OF_EVERY_FILE_SYSTEM.contains(&key) || (option == "ro" && key == "ro");
        let unknown = parameters.find(|(key, _)| !expected(key));
        assert_eq!(unknown, None, "{option}");
    }
    let both = json!({ "destination": "/x", "type": "tmpfs", "options": ["size=1m", "huge", "nosuid"] });
    let plan = changed("/mounts/-", both).unwrap();
    assert!(plan.to_string().contains("mount tmpfs on /x size=1m huge nosuid\n"), "{plan}");
}

#[test]
fn a_bind_mount_has_exactly_what_its_options_say_once_they_say_anything() {
    let printed = |options: &[&str]| {
        let bind = json!({ "destination": "/y", "source": "/s", "options": options });
        let plan = changed("/mounts/-", bind).unwrap().to_string();
        plan.lines().find_map(|line| line.strip_prefix("bind /s on /y")).unwrap().to_owned()
    };
    assert_eq!(printed(&["bind"]), "");
    assert_eq!(printed(&["bind", "rprivate", "sync", "silent", "rnosuid"]), " rnosuid rprivate");
    assert_eq!(printed(&["bind", "rw"]), " exactly -ro");
    assert_eq!(printed(&["bind", "ro", "nodev"]), " exactly ro nodev");
    assert_eq!(printed(&["bind", "noatime"]), " exactly noatime");
    let implied = |options: &[&str]| {
        let bind = json!({ "destination": "/y", "source": "/s", "options": options });
        let found = changed("/mounts/-", bind).unwrap().operations.into_iter().find_map(|operation| match operation {
            Operation::Mount(mount) if mount.index == 7 => Some(mount.implied),
            _ => None,
        });
        found.unwrap()
    };
    use sys::mount::{
        ATTR_ATIME, ATTR_NODEV, ATTR_NODIRATIME, ATTR_NOEXEC, ATTR_NOSUID, ATTR_NOSYMFOLLOW, ATTR_RDONLY,
    };
    let others = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC | ATTR_NOSYMFOLLOW;
    assert_eq!(implied(&["bind"]), 0);
    assert_eq!(implied(&["bind", "rw"]), others);
    assert_eq!(implied(&["bind", "ro", "nodev"]), others & !ATTR_NODEV);
    assert_eq!(implied(&["bind", "noatime"]), others | ATTR_RDONLY | ATTR_NODIRATIME);
    assert_eq!(implied(&["bind", "nodiratime"]), others | ATTR_RDONLY | ATTR_ATIME);
    assert_eq!(implied(&["bind", "atime"]), others | ATTR_RDONLY, "how access times are kept stays");
    let in_user_namespace = planned(
        |config| {
            mapped(config);
            let bind = json!({ "destination": "/y", "source": "/s", "options": ["bind", "nodev"] });
            config["mounts"].as_array_mut().unwrap().push(bind);
        },
        Caller::Root,
    );
    let printed = in_user_namespace.unwrap().to_string();
    assert!(printed.contains("bind /s (opened before) on /y nodev\n"), "what its source has, it has: {printed}");
}

#[test]
fn a_destination_may_be_written_as_the_host_sees_it() {
    let bind = json!({ "destination": "/b/rootfs/data", "source": "/s", "options": ["bind"] });
    assert!(changed("/mounts/-", bind).unwrap().to_string().contains("bind /s on /data\n"));
    let similar = json!({ "destination": "/b/rootfsx", "source": "/s", "options": ["bind"] });
    assert!(changed("/mounts/-", similar).unwrap().to_string().contains("bind /s on /b/rootfsx\n"));
    let root = json!({ "destination": "/b/rootfs", "source": "/s", "options": ["bind"] });
    assert!(changed("/mounts/-", root).unwrap_err().to_string().contains("mounts[7].destination"));
}

#[test]
fn an_option_that_cannot_be_meant_is_refused_by_name() {
    for (mount, option) in [
        (json!({ "destination": "/x", "source": "/s", "options": ["bind", "tmpcopyup"] }), "tmpcopyup"),
        (json!({ "destination": "/x", "type": "mqueue", "options": ["tmpcopyup"] }), "tmpcopyup"),
    ] {
        let error = changed("/mounts/-", mount).unwrap_err().to_string();
        assert!(error.contains("mounts[7].options") && error.contains(option), "{error}");
    }
    // mount(2) ignores it, and so does runc.
    let without_effect = json!({ "destination": "/x", "source": "/s", "options": ["bind", "size=1m"] });
    let warnings = changed("/mounts/-", without_effect).unwrap().warnings;
    assert_eq!(warnings, ["mounts[7].options: \"size\" means nothing on a bind mount"]);
}

#[test]
fn what_is_filled_becomes_read_only_last() {
    let mount = json!({ "destination": "/x", "type": "tmpfs", "options": ["ro", "nosuid"] });
    let printed = changed("/mounts/-", mount).unwrap().to_string();
    let at = |text: &str| printed.find(text).unwrap_or_else(|| panic!("no {text:?} in:\n{printed}"));
    assert!(at("mount tmpfs on /x nosuid\n") < at("device /dev/null"));
    assert!(at("device /dev/null") < at("read-only mount /x\n"));
    assert!(at("read-only mount /x\n") < at("pivot root"));
}

/// Mounted anew from the host's cgroup namespace, the options would be those of the whole machine's hierarchy.
#[test]
fn without_a_cgroup_namespace_the_hosts_hierarchy_is_bound() {
    let mut config = crate::oci_cli::sample();
    let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "cgroup");
    let inputs = Inputs { bundle: "/b".into(), ..Inputs::default() };
    let printed = plan(&serde_json::from_value(config).unwrap(), &inputs).unwrap().to_string();
    assert!(
        printed.contains("bind /sys/fs/cgroup on /sys/fs/cgroup exactly ro nosuid nodev noexec -noatime"),
        "{printed}"
    );
}

#[test]
fn the_roots_propagation_is_the_hosts_first() {
    let order = |propagation: &str, inputs: Inputs| {
        let mut config = crate::oci_cli::sample();
        config["linux"]["rootfsPropagation"] = json!(propagation);
        let plan = plan(&serde_json::from_value(config).unwrap(), &Inputs { bundle: "/b".into(), ..inputs })?;
        let printed = plan.to_string();
        let wanted = |line: &&str| ["propagation", "attach root", "pivot"].iter().any(|word| line.starts_with(word));
        Ok::<_, PlanError>(printed.lines().filter(wanted).map(String::from).collect::<Vec<_>>())
    };
    let plain = || Inputs::default();
    let slave = ["propagation of / rslave", "attach root /b/rootfs", "pivot root"];
    assert_eq!(order("", plain()).unwrap(), slave);
    assert_eq!(order("rslave", plain()).unwrap(), slave);
    let private = [
        "propagation of / private",
        "attach root /b/rootfs",
        "pivot root (the host's as rslave)",
        "propagation of the root private",
    ];
    assert_eq!(order("private", plain()).unwrap(), private);
    let shared = [
        "propagation of / shared",
        "attach root /b/rootfs in its own place",
        "pivot root (the host's as rslave)",
        "propagation of the root private",
        "propagation of the root shared",
    ];
    assert_eq!(order("shared", plain()).unwrap(), shared);
    let given = order("rshared", Inputs { rootfs: true, ..plain() }).unwrap();
    assert_eq!(given[..3], ["propagation of / rshared", "propagation of / slave", "attach root (prepared)"]);
    let error = order("private", Inputs { no_pivot: true, ..plain() }).unwrap_err();
    assert!(error.to_string().contains("rootfsPropagation"), "{error}");
}

#[test]
fn scheduling_is_planned_while_root_and_before_the_descriptors_are_closed() {
    let mut config = crate::oci_cli::sample();
    config["process"]["scheduler"] = json!({ "policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3 });
    config["process"]["ioPriority"] = json!({ "class": "IOPRIO_CLASS_RT", "priority": 3 });
    config["linux"]["memoryPolicy"] =
        json!({ "mode": "MPOL_INTERLEAVE", "nodes": "0-1,3", "flags": ["MPOL_F_STATIC_NODES"] });
    let inputs = Inputs { bundle: "/b".into(), ..Inputs::default() };
    let printed = plan(&serde_json::from_value(config).unwrap(), &inputs).unwrap().to_string();
    let expected = "scheduler SCHED_DEADLINE flags 0x0 nice 0 priority 0 runtime 1 deadline 2 period 3\n\
        I/O priority IOPRIO_CLASS_RT 3\nmemory policy MPOL_INTERLEAVE 0x8003 nodes [0-1,3]\nclose descriptors";
    assert!(printed.contains(expected), "{printed}");
}

#[test]
fn cpu_affinity_is_for_exec_and_never_the_launchers() {
    let affinity = |value: Value| {
        let mut config = crate::oci_cli::sample();
        config["process"]["execCPUAffinity"] = value;
        let spec: Spec = serde_json::from_value(config).unwrap();
        let inputs = Inputs { bundle: "/b".into(), ..Inputs::default() };
        let first = plan(&spec, &inputs).unwrap().to_string();
        assert!(first.contains("run on any CPU\n") && !first.contains("run on CPUs"), "{first}");
        let exec = plan_exec(&spec, spec.process().as_ref().unwrap(), &inputs).unwrap().to_string();
        exec.lines().skip(1).take_while(|line| *line != "new session").map(String::from).collect::<Vec<_>>()
    };
    assert_eq!(affinity(json!({})), ["join the cgroup", "run on any CPU"]);
    assert_eq!(affinity(json!({ "initial": "1" })), ["run on CPUs 1", "join the cgroup"]);
    let both = affinity(json!({ "initial": "1", "final": "0-2,5" }));
    assert_eq!(both, ["run on CPUs 1", "join the cgroup", "run on CPUs 0-2,5"]);
}

#[test]
fn labels_need_their_security_module() {
    for (pointer, module) in [("/process/apparmorProfile", "AppArmor"), ("/process/selinuxLabel", "SELinux")] {
        let field = pointer[1..].replace('/', ".");
        let error = changed(pointer, json!("x_t")).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(error.to_string().contains(&field) && error.to_string().contains(module), "{error}");
        changed(pointer, json!("")).unwrap();
    }
    let mut config = crate::oci_cli::sample();
    config["process"]["apparmorProfile"] = json!("p");
    config["process"]["selinuxLabel"] = json!("a:b:c");
    let spec = serde_json::from_value(config).unwrap();
    let inputs = Inputs { bundle: "/b".into(), apparmor: true, selinux: true, ..Inputs::default() };
    let printed = plan(&spec, &inputs).unwrap().to_string();
    let expected = "SELinux context of keys a:b:c\nSELinux context a:b:c\nAppArmor profile p\nsession keyring\n";
    assert!(printed.contains(expected), "{printed}");
    let inputs = Inputs { no_new_keyring: true, ..inputs };
    assert!(!plan(&spec, &inputs).unwrap().to_string().contains("session keyring"));
}

#[test]
fn hooks_run_in_the_order_of_the_specification() {
    let mut config = crate::oci_cli::sample();
    for kind in HookKind::ALL {
        config["hooks"][kind.name()] = json!([{ "path": "/h", "args": ["h", "x"], "timeout": 3 }, { "path": "/i" }]);
    }
    let inputs = Inputs { bundle: "/b".into(), waits_for_start: true, ..Inputs::default() };
    let spec: Spec = serde_json::from_value(config).unwrap();
    let printed = plan(&spec, &inputs).unwrap().to_string();
    let wanted = |line: &&str| {
        ["run ", "attach", "device /dev/tty", "pivot", "wait", "execute"].iter().any(|word| line.starts_with(word))
    };
    let lines: Vec<&str> = printed.lines().filter(wanted).filter(|line| *line != "run on any CPU").collect();
    let expected = [
        "attach root /b/rootfs in its own place",
        "device /dev/tty c 5:0 0666 0:0",
        "run outside hooks.prestart[0] [\"h\", \"x\"] within 3 s hooks.prestart[1] [\"/i\"] \
            hooks.createRuntime[0] [\"h\", \"x\"] within 3 s hooks.createRuntime[1] [\"/i\"]",
        "run hooks.createContainer[0] [\"h\", \"x\"] within 3 s hooks.createContainer[1] [\"/i\"]",
        "pivot root",
        "wait for start",
        "run hooks.startContainer[0] [\"h\", \"x\"] within 3 s hooks.startContainer[1] [\"/i\"]",
        "execute [\"sh\"]",
    ];
    assert_eq!(lines, expected);
    let exec = plan_exec(&spec, spec.process().as_ref().unwrap(), &inputs).unwrap().to_string();
    assert!(!exec.contains("hooks."), "{exec}");
}
