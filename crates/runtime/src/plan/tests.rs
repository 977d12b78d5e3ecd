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
    "podman-privileged",
    "podman-terminal",
    "postgres",
    "runc-spec",
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
    let hook = json!([{ "path": "/bin/true" }]);
    for (pointer, change, field) in [
        ("/hooks", json!({ "prestart": hook }), "hooks.prestart"),
        ("/hooks", json!({ "createRuntime": hook }), "hooks.createRuntime"),
        ("/hooks", json!({ "poststop": hook }), "hooks.poststop"),
        ("/linux/namespaces/-", json!({ "type": "user" }), "linux.namespaces[type=user]"),
        ("/linux/namespaces/-", json!({ "type": "time" }), "linux.namespaces[type=time]"),
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
