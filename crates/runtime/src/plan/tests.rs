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
fn privileged_in_a_joined_network_waiting_for_start() {
    let inputs = Inputs { bundle: "/bundle".into(), waits_for_start: true, preserve_fds: 2, ..Inputs::default() };
    golden("privileged-joined-network", &inputs);
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
    let hook = json!([{ "path": "/bin/true" }]);
    for (pointer, change, field) in [
        ("/hooks", json!({ "prestart": hook }), "hooks.prestart"),
        ("/hooks", json!({ "createRuntime": hook }), "hooks.createRuntime"),
        ("/hooks", json!({ "poststop": hook }), "hooks.poststop"),
        ("/linux/intelRdt", json!({}), "linux.intelRdt"),
        ("/process/apparmorProfile", json!("docker-default"), "process.apparmorProfile"),
        ("/process/selinuxLabel", json!("x"), "process.selinuxLabel"),
        ("/mounts/-", json!({ "destination": "/x", "type": "tmpfs", "options": ["tmpcopyup"] }), "mounts[7].options"),
    ] {
        let error = changed(pointer, change).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported, "{error}");
        assert!(error.to_string().contains(field), "{error}");
    }
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
        ("/linux/rootfsPropagation", json!("sideways"), "rootfsPropagation"),
        ("/linux/namespaces", json!([{ "type": "pid" }]), "type=mount"),
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
    let bind = json!({ "destination": "y", "source": "rel", "options": ["rbind", "rw", "rro", "rshared"] });
    let plan = changed("/mounts/-", bind).unwrap();
    assert!(plan.to_string().contains("rbind /b/rel on /y rro rshared\n"), "{plan}");
}
