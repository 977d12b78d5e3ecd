// SPDX-License-Identifier: Apache-2.0
//! The runtime specification of typical containers, as a reader of `docker inspect` and `config.json` knows it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci::{ContainerId, Digest};
use serde_json::{Value, json};

use super::*;
use crate::container::{Process, State};
use crate::mount::{BindOptions, Given};
use crate::request::{NetworkMode, Resources, SeccompChoice, Security};

fn record(change: impl FnOnce(&mut ContainerSpec)) -> Record {
    let mut spec = ContainerSpec { image: "debian".into(), ..ContainerSpec::default() };
    change(&mut spec);
    Record {
        id: ContainerId::from_random([0xab; 32]),
        name: "test".into(),
        created: jiff::Timestamp::UNIX_EPOCH,
        image_id: Digest::of(b"config"),
        layers: vec![Digest::of(b"layer")],
        spec,
        process: Process {
            args: vec!["/bin/true".into()],
            env: vec!["A=1".into()],
            cwd: "/".into(),
            user: String::new(),
            stop_signal: 15,
            labels: BTreeMap::new(),
            exposed: vec![],
            health: None,
            shell: vec![],
            volumes: vec![],
        },
        mounts: None,
        state: State::Created,
        restarts: 0,
        stopped: false,
        health: None,
        checks: None,
        revived: None,
        attachments: None,
        ids: None,
    }
}

fn made(record: &Record, uid: u32) -> Value {
    let identity = Identity { uid, gid: uid, groups: vec![], home: "/root".into() };
    made_in(record, &identity, &Surroundings::default())
}

fn made_in(record: &Record, identity: &Identity, around: &Surroundings) -> Value {
    let inputs = Inputs {
        record,
        identity,
        dir: Path::new("/c"),
        hostname: "abababababab",
        cgroup: "/corten/x",
        kernel: (6, 18),
        around,
    };
    serde_json::to_value(runtime_spec(&inputs).unwrap()).unwrap()
}

fn default_spec(change: impl FnOnce(&mut ContainerSpec)) -> Value {
    made(&record(change), 0)
}

fn options(spec: &Value, destination: &str) -> Vec<String> {
    let mounts = spec["mounts"].as_array().unwrap();
    let mount = mounts.iter().find(|mount| mount["destination"] == destination);
    let mount = mount.unwrap_or_else(|| panic!("nothing is mounted at {destination}"));
    mount["options"].as_array().unwrap().iter().map(|option| option.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_container_that_asked_for_nothing_is_isolated() {
    let spec = default_spec(|_| ());
    let kinds: Vec<&str> =
        spec["linux"]["namespaces"].as_array().unwrap().iter().map(|one| one["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["pid", "mount", "uts", "ipc", "cgroup", "network"]);
    assert_eq!(spec["linux"]["maskedPaths"].as_array().unwrap().len(), 12);
    assert_eq!(spec["linux"]["readonlyPaths"].as_array().unwrap().len(), 5);
    assert_eq!(spec["linux"]["cgroupsPath"], "/corten/x");
    assert_eq!(spec["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
    assert_eq!(spec["process"]["capabilities"]["bounding"].as_array().unwrap().len(), 14);
    assert_eq!(spec["process"]["capabilities"]["ambient"], json!([]));
    assert_eq!(spec["linux"]["resources"]["devices"][0], json!({"allow": false, "type": "a", "access": "rwm"}));
    assert!(spec["process"]["rlimits"].is_null());
    assert_eq!(spec["root"]["readonly"], false);
    assert_eq!(spec["hostname"], "abababababab");
    assert!(options(&spec, "/sys").contains(&"ro".to_owned()));
    assert!(options(&spec, "/sys/fs/cgroup").contains(&"ro".to_owned()));
    assert!(options(&spec, "/etc/resolv.conf").contains(&"bind".to_owned()));
}

#[test]
fn the_environment_gets_what_is_missing_and_keeps_what_is_there() {
    let env = &default_spec(|spec| spec.tty = true)["process"]["env"];
    let expected = json!([
        "A=1",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOSTNAME=abababababab",
        "TERM=xterm",
        "HOME=/root"
    ]);
    assert_eq!(env, &expected);
    let mut own = record(|_| ());
    own.process.env = vec!["PATH=/x".into(), "HOME=/h".into()];
    let env = &made(&own, 0)["process"]["env"];
    assert_eq!(env, &json!(["PATH=/x", "HOME=/h", "HOSTNAME=abababababab"]));
}

#[test]
fn the_client_start_is_told_only_to_images_that_ask() {
    let mut asked = record(|spec| spec.client_start_ns = Some(42));
    assert!(!made(&asked, 0)["process"]["env"].to_string().contains("CORTEN_CLIENT_START_NS"));
    asked.process.labels.insert("corten.client-start".into(), "1".into());
    assert!(made(&asked, 0)["process"]["env"].to_string().contains("CORTEN_CLIENT_START_NS=42"));
}

#[test]
fn limits_become_the_kernels_units() {
    let spec = default_spec(|spec| {
        spec.resources = Resources {
            memory: Some(64 << 20),
            nano_cpus: Some(500_000_000),
            pids_limit: Some(7),
            cpuset_cpus: Some("0".into()),
            ..Resources::default()
        };
    });
    let resources = &spec["linux"]["resources"];
    assert_eq!(resources["memory"]["limit"], 64 << 20);
    assert_eq!((&resources["cpu"]["quota"], &resources["cpu"]["period"]), (&json!(50_000), &json!(100_000)));
    assert_eq!(resources["cpu"]["cpus"], "0");
    assert_eq!(resources["pids"]["limit"], 7);
    assert!(default_spec(|spec| spec.resources.pids_limit = Some(-1))["linux"]["resources"]["pids"].is_null());
}

#[test]
fn what_was_asked_for_is_there() {
    let spec = default_spec(|spec| {
        spec.network = NetworkMode::Host;
        spec.read_only = true;
        spec.cap_drop = vec!["ALL".into()];
        spec.security = Security { seccomp: SeccompChoice::Unconfined, no_new_privileges: true, ..Security::default() };
        spec.mounts = vec![
            Mount::Bind {
                source: PathBuf::from("/host"),
                target: "/in".into(),
                read_only: true,
                create_source: false,
                propagation: None,
                options: BindOptions::default(),
            },
            Mount::Tmpfs {
                target: "/dev/shm".into(),
                options: vec!["size=1m".into(), "exec".into()],
                given: Given::Short,
            },
        ];
    });
    assert!(!spec["linux"]["namespaces"].to_string().contains("network"));
    assert!(spec["linux"]["sysctl"].is_null());
    assert!(spec["linux"]["seccomp"].is_null());
    assert_eq!(spec["process"]["noNewPrivileges"], true);
    assert_eq!(spec["process"]["capabilities"]["bounding"], json!([]));
    assert_eq!(spec["root"]["readonly"], true);
    assert_eq!(options(&spec, "/in"), ["rbind", "rro", "rprivate"]);
    assert_eq!(options(&spec, "/dev/shm"), ["nosuid", "nodev", "size=1m"]);
    let shm = spec["mounts"].as_array().unwrap().iter().filter(|mount| mount["destination"] == "/dev/shm").count();
    assert_eq!(shm, 1, "the user's mount replaces the default one");
}

#[test]
fn another_user_has_nothing_effective() {
    let spec = made(&record(|_| ()), 1000);
    assert_eq!(spec["process"]["capabilities"]["effective"], json!([]));
    assert_eq!(spec["process"]["capabilities"]["bounding"].as_array().unwrap().len(), 14);
    assert_eq!(spec["process"]["user"]["uid"], 1000);
}

#[test]
fn a_profile_that_is_no_profile_is_refused() {
    let bad = record(|spec| spec.security.seccomp = SeccompChoice::Profile("{".into()));
    let identity = Identity { uid: 0, gid: 0, groups: vec![], home: "/".into() };
    let inputs = Inputs {
        record: &bad,
        identity: &identity,
        dir: Path::new("/c"),
        hostname: "abababababab",
        cgroup: "/corten/x",
        kernel: (6, 18),
        around: &Surroundings::default(),
    };
    assert!(matches!(runtime_spec(&inputs), Err(EngineError::Seccomp(_))));
}
