// SPDX-License-Identifier: Apache-2.0
//! Docker's JSON in, the engine's words out.

use engine::{BindOptions, Given, Mount};
use errors::{Classify, Kind};

use super::*;

fn spec(json: &str) -> Result<ContainerSpec, ApiError> {
    container(serde_json::from_str(json).unwrap(), None)
}

fn host(json: &str) -> Result<ContainerSpec, ApiError> {
    spec(&format!(r#"{{"Image":"x","HostConfig":{json}}}"#))
}

#[test]
fn empty_fields_are_no_wishes() {
    let spec = spec(r#"{"Image":"x","Cmd":[],"User":"","WorkingDir":"","Hostname":"","HostConfig":{"Memory":0,"ConsoleSize":[0,0]}}"#).unwrap();
    assert_eq!(spec, ContainerSpec { image: "x".into(), ..ContainerSpec::default() });
    assert!(matches!(self::spec("{}"), Err(ApiError::Invalid { field: "Image", .. })));
}

#[test]
fn an_empty_entrypoint_is_none_and_an_absent_one_is_the_images() {
    assert_eq!(spec(r#"{"Image":"x","Entrypoint":[""]}"#).unwrap().entrypoint, Some(vec![]));
    assert_eq!(spec(r#"{"Image":"x","Entrypoint":null}"#).unwrap().entrypoint, None);
    assert_eq!(spec(r#"{"Image":"x","Entrypoint":["/e"]}"#).unwrap().entrypoint, Some(vec!["/e".into()]));
}

#[test]
fn ports_are_sorted_and_checked() {
    let json = r#"{"PortBindings":{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8080"}],"53/udp":[{"HostPort":""}],"9/tcp":null,
        "90/tcp":[{"HostPort":"8000-8001"}],"91/tcp":[{"HostPort":"8000-8000"}]}}"#;
    let ports = host(json).unwrap().ports;
    assert_eq!(ports.len(), 5);
    // A list without ports means any of the host's.
    assert_eq!((ports[0].container_port, ports[0].protocol, ports[0].host_port), (9, Protocol::Tcp, None));
    assert_eq!((ports[1].container_port, ports[1].protocol, ports[1].host_port), (53, Protocol::Udp, None));
    assert_eq!((ports[2].host_port, ports[2].host_ip), (Some(8080), Some([127, 0, 0, 1].into())));
    assert_eq!((ports[3].host_port, ports[3].host_port_last), (Some(8000), Some(8001)));
    assert_eq!((ports[4].host_port, ports[4].host_port_last), (Some(8000), None));
    for json in [
        r#"{"PortBindings":{"x/tcp":[{}]}}"#,
        r#"{"PortBindings":{"0/tcp":[{}]}}"#,
        r#"{"PortBindings":{"80/tcp":[{"HostPort":"99999"}]}}"#,
        r#"{"PortBindings":{"80/tcp":[{"HostPort":"8001-8000"}]}}"#,
        r#"{"PortBindings":{"80/tcp":[{"HostPort":"0-5"}]}}"#,
        r#"{"PortBindings":{"80/tcp":[{"HostPort":"1-2-3"}]}}"#,
        r#"{"PortBindings":{"80/tcp":[{"HostIp":"localhost"}]}}"#,
        r#"{"PortBindings":{"80/sctp":[{}]}}"#,
    ] {
        assert!(host(json).is_err(), "{json}");
    }
}

#[test]
fn a_bind_makes_its_source_and_a_mount_does_not() {
    let mounts =
        host(r#"{"Binds":["/a:/b:ro,rslave"],"Mounts":[{"Type":"bind","Source":"/c","Target":"/d"}]}"#).unwrap().mounts;
    let bind = Mount::Bind {
        source: "/a".into(),
        target: "/b".into(),
        read_only: true,
        create_source: true,
        propagation: Some("rslave".into()),
        options: BindOptions { mode: "ro,rslave".into(), ..BindOptions::default() },
    };
    assert_eq!(mounts[0], bind);
    assert!(matches!(&mounts[1], Mount::Bind { create_source: false, read_only: false, .. }));
    for json in [r#"{"Binds":["/a:ro"]}"#, r#"{"Binds":["/a:b"]}"#, r#"{"Binds":["/a:/b:sideways"]}"#] {
        assert_eq!(host(json).unwrap_err().kind(), Kind::InvalidArgument, "{json}");
    }
}

#[test]
fn a_tmpfs_keeps_its_options() {
    let json = r#"{"Tmpfs":{"/t":"size=1m,exec"},"Mounts":[{"Type":"tmpfs","Target":"/u","TmpfsOptions":{"SizeBytes":64,"Mode":1023}}]}"#;
    let mounts = host(json).unwrap().mounts;
    assert!(mounts.contains(&Mount::Tmpfs {
        target: "/t".into(),
        options: vec!["size=1m".into(), "exec".into()],
        given: Given::Short
    }));
    assert!(mounts.contains(&Mount::Tmpfs {
        target: "/u".into(),
        options: vec!["size=64".into(), "mode=1777".into()],
        given: Given::Long
    }));
}

#[test]
fn volumes_have_a_name_or_none() {
    let mounts = host(
        r#"{"Binds":["data:/b:ro,nocopy","/c"],"Mounts":[{"Type":"volume","Target":"/d/","VolumeOptions":{"Subpath":""}}]}"#,
    );
    let mounts = mounts.unwrap().mounts;
    let named = mounts[0].volume().unwrap();
    assert_eq!((named.name.as_str(), named.read_only, named.no_copy), ("data", true, true));
    assert_eq!(mounts[1].volume().unwrap().name, "");
    assert_eq!((mounts[2].target(), mounts[2].given()), ("/d", Given::Long));
    let json = r#"{"VolumesFrom":["a","b:ro"],"VolumeDriver":"local"}"#;
    let from = host(json).unwrap().volumes_from;
    assert_eq!(from.iter().map(|from| from.read_only).collect::<Vec<_>>(), [false, true]);
    for json in [
        r#"{"Binds":["data:/b:ro,rw"]}"#,
        r#"{"Binds":[":/b"]}"#,
        r#"{"VolumesFrom":["a:nocopy"]}"#,
        r#"{"Mounts":[{"Type":"volume","Target":"/d","VolumeOptions":{"Subpath":"x"}}]}"#,
        r#"{"Mounts":[{"Type":"volume","Source":"a","Target":"/d","VolumeOptions":{"Subpath":"../x"}}]}"#,
        r#"{"Mounts":[{"Type":"bind","Source":"/a","Target":"/d","BindOptions":{"ReadOnlyNonRecursive":true}}]}"#,
        r#"{"Mounts":[{"Type":"tmpfs","Source":"/a","Target":"/d"}]}"#,
    ] {
        assert_eq!(host(json).unwrap_err().kind(), Kind::InvalidArgument, "{json}");
    }
    assert_eq!(host(r#"{"VolumeDriver":"nfs"}"#).unwrap_err().kind(), Kind::Unsupported);
}

#[test]
fn a_network_is_predefined_another_containers_or_a_users() {
    assert_eq!(host(r#"{"NetworkMode":"default"}"#).unwrap().network, NetworkMode::Bridge);
    assert_eq!(host(r#"{"NetworkMode":"none"}"#).unwrap().network, NetworkMode::None);
    assert_eq!(host(r#"{"NetworkMode":"container:x"}"#).unwrap().network, NetworkMode::Container("x".into()));
    assert_eq!(host(r#"{"NetworkMode":"mine"}"#).unwrap().network, NetworkMode::User("mine".into()));
}

#[test]
fn an_exec_without_streams_is_detached() {
    let spec = |json: &str| exec(serde_json::from_str(json).unwrap());
    assert!(spec(r#"{"Cmd":["true"]}"#).unwrap().detach);
    let attached = spec(r#"{"Cmd":["true"],"AttachStdout":true,"ConsoleSize":[24,80]}"#).unwrap();
    assert!(!attached.detach);
    assert_eq!(attached.console_size, Some((24, 80)));
    assert!(spec(r#"{"Cmd":["true"],"Privileged":true}"#).unwrap().privileged);
}
