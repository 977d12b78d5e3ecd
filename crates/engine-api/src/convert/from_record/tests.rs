// SPDX-License-Identifier: Apache-2.0
//! The engine's records in, Docker's JSON out.

use engine::{BindOptions, ContainerSpec, Exited, Mount, NetworkMode, Process};
use network::{Endpoint, Ipv6Endpoint, NetworkId, PublishedPort};

use super::*;
use crate::convert::by_version;
use crate::version::Version;

fn record(state: State) -> Record {
    Record {
        id: oci::ContainerId::from_random([0xab; 32]),
        name: "web".into(),
        created: Timestamp::from_second(1_000).unwrap(),
        image_id: oci::Digest::of("image"),
        layers: vec![],
        spec: ContainerSpec {
            image: "debian".into(),
            network: NetworkMode::Bridge,
            mounts: vec![Mount::Bind {
                source: "/a".into(),
                target: "/b".into(),
                read_only: true,
                create_source: true,
                propagation: None,
                options: BindOptions { mode: "ro".into(), ..BindOptions::default() },
            }],
            ..ContainerSpec::default()
        },
        process: Process {
            args: vec!["sh".into(), "-c".into(), "true".into()],
            env: vec!["A=1".into()],
            cwd: "/".into(),
            user: String::new(),
            stop_signal: 15,
            labels: Default::default(),
            exposed: vec!["80/tcp".into(), "90/udp".into()],
            health: None,
            shell: vec![],
            volumes: vec!["/data".into()],
        },
        mounts: None,
        state,
        restarts: 0,
        stopped: false,
        health: None,
        checks: None,
        revived: None,
        attachments: None,
        ids: None,
    }
}

fn running() -> State {
    State::Running(Running {
        pid: 7,
        start_time: 1,
        started: Timestamp::from_second(1_100).unwrap(),
        endpoints: vec![Endpoint {
            network: NetworkId::bridge(),
            interface: "eth0".into(),
            address: [10, 0, 0, 2].into(),
            prefix: 16,
            gateway: Some([10, 0, 0, 1].into()),
            ipv6: Some(Ipv6Endpoint {
                address: "fd00:1::2".parse().unwrap(),
                prefix: 64,
                gateway: "fd00:1::1".parse().ok(),
            }),
            mac: [2, 0, 0, 0, 0, 0x1f],
            host_interface: "veth".into(),
            ports: vec![PublishedPort {
                host_ip: None,
                ipv6: true,
                host_port: 8080,
                container_port: 80,
                protocol: Protocol::Tcp,
            }],
        }],
        paused: false,
        live: Vec::new(),
        changing: None,
    })
}

fn exited(oom_killed: bool) -> State {
    State::Exited(Exited {
        code: 137,
        oom_killed,
        started: Some(Timestamp::from_second(1_100).unwrap()),
        finished: Timestamp::from_second(1_200).unwrap(),
        error: None,
    })
}

#[test]
fn a_running_container_has_its_address_where_clients_look() {
    let mut json = serde_json::to_value(inspect(&record(running()), "/log".into(), vec!["e1".into()])).unwrap();
    assert!(json["NetworkSettings"].get("IPAddress").is_none(), "the newest clients look at the networks alone");
    by_version::container(Version::UNNAMED, &mut json, None);
    assert_eq!(json["State"]["Status"], "running");
    assert_eq!(json["State"]["Pid"], 7);
    assert_eq!(json["Name"], "/web");
    assert_eq!((&json["Path"], &json["Args"][0]), (&"sh".into(), &"-c".into()));
    assert_eq!(json["NetworkSettings"]["IPAddress"], "10.0.0.2");
    assert_eq!(json["NetworkSettings"]["Networks"]["bridge"]["IPAddress"], "10.0.0.2");
    assert_eq!(json["NetworkSettings"]["Networks"]["bridge"]["MacAddress"], "02:00:00:00:00:1f");
    assert_eq!(json["NetworkSettings"]["GlobalIPv6Address"], "fd00:1::2");
    let bridge = &json["NetworkSettings"]["Networks"]["bridge"];
    assert_eq!((&bridge["IPv6Gateway"], &bridge["GlobalIPv6PrefixLen"]), (&"fd00:1::1".into(), &64.into()));
    let bindings = serde_json::json!([{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}]);
    assert_eq!(json["NetworkSettings"]["Ports"]["80/tcp"], bindings);
    assert_eq!(json["HostConfig"]["Binds"][0], "/a:/b:ro");
    assert_eq!(json["Mounts"][0]["RW"], false);
    assert_eq!(json["Config"]["Hostname"], "abababababab");
}

#[test]
fn an_oom_kill_is_told() {
    let mut json = serde_json::to_value(inspect(&record(exited(true)), String::new(), Vec::new())).unwrap();
    by_version::container(Version::of(51), &mut json, None);
    assert_eq!(json["State"]["OOMKilled"], true);
    assert_eq!(json["State"]["ExitCode"], 137);
    assert_eq!(json["State"]["StartedAt"], "1970-01-01T00:18:20Z");
    assert_eq!(json["NetworkSettings"]["IPAddress"], "");
}

#[test]
fn a_summary_has_dockers_status_and_every_port_once_for_each_address() {
    let now = Timestamp::from_second(1_400).unwrap();
    let up = summary(&record(running()), now);
    assert_eq!(up.status.as_deref(), Some("Up 5 minutes"));
    let ports = up.ports.unwrap();
    let ports: Vec<_> = ports.iter().map(|port| (port.ip.as_deref(), port.private_port, port.public_port)).collect();
    assert_eq!(ports, [(Some("0.0.0.0"), 80, Some(8080)), (Some("::"), 80, Some(8080)), (None, 90, None)]);
    let down = summary(&record(exited(false)), now);
    assert_eq!(down.status.as_deref(), Some("Exited (137) 3 minutes ago"));
    assert_eq!(summary(&record(State::Created), now).status.as_deref(), Some("Created"));
    let State::Running(running) = running() else { panic!() };
    let paused = summary(&record(State::Running(Running { paused: true, ..running })), now);
    assert!(paused.status.is_some_and(|status| status.starts_with("Up ") && status.ends_with(" (Paused)")));
    let State::Exited(exited) = exited(false) else { panic!() };
    let restarting = summary(&record(State::Restarting(exited)), now);
    assert!(restarting.status.is_some_and(|status| status.starts_with("Restarting (137) ")));
}
