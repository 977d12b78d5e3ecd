// SPDX-License-Identifier: Apache-2.0
//! Docker's JSON in, the engine's words out.

use errors::{Classify, Kind};

use super::*;

fn config(json: &str) -> HostConfig {
    serde_json::from_str(json).unwrap()
}

#[test]
fn zeros_are_no_wishes_and_a_swappiness_of_zero_is_one() {
    let zeros = r#"{"Memory":0,"CpuQuota":0,"BlkioWeight":0,"CpusetMems":"","MemorySwappiness":-1,"PidsLimit":0}"#;
    assert_eq!(resources(&config(zeros)).unwrap(), Resources::default());
    let found = resources(&config(r#"{"MemorySwappiness":0,"CpuQuota":50000,"CpuPeriod":25000}"#)).unwrap();
    assert_eq!((found.memory_swappiness, found.cpu_quota, found.cpu_period), (Some(0), Some(50_000), Some(25_000)));
    let json = r#"{"BlkioDeviceReadBps":[{"Path":"/dev/vda","Rate":1048576}],"BlkioWeightDevice":[{"Path":"/dev/vda","Weight":7}]}"#;
    let found = resources(&config(json)).unwrap();
    assert_eq!(found.blkio_read_bps, [DeviceLimit { path: "/dev/vda".into(), value: 1 << 20 }]);
    assert_eq!(found.blkio_weight_device, [DeviceLimit { path: "/dev/vda".into(), value: 7 }]);
    assert!(resources(&config(r#"{"BlkioDeviceReadBps":[{"Path":"/dev/vda","Rate":-1}]}"#)).is_err());
    assert!(resources(&config(r#"{"CpuShares":-5}"#)).is_err());
}

#[test]
fn modes_are_known_or_refused() {
    let of = |json: &str| isolation(&config(json), None);
    assert_eq!(of("{}").unwrap(), Isolation::default());
    let found = of(r#"{"IpcMode":"container:x","PidMode":"host","UTSMode":"host","CgroupnsMode":"host"}"#).unwrap();
    assert_eq!((found.ipc, found.pid), (IpcMode::Container("x".into()), PidMode::Host));
    assert!(found.host_uts && found.cgroup_namespace == CgroupNamespace::Host);
    for bad in [
        r#"{"IpcMode":"mine"}"#,
        r#"{"IpcMode":"container:"}"#,
        r#"{"PidMode":"private"}"#,
        r#"{"PidMode":"container:"}"#,
        r#"{"UTSMode":"container:x"}"#,
    ] {
        assert_eq!(of(bad).unwrap_err().kind(), Kind::InvalidArgument, "{bad}");
    }
    assert_eq!(of(r#"{"UsernsMode":"private"}"#).unwrap_err().kind(), Kind::InvalidArgument);
}

#[test]
fn a_device_without_a_path_inside_is_where_it_is_outside() {
    let json = r#"{"Devices":[{"PathOnHost":"/dev/fuse"},{"PathOnHost":"/dev/a","PathInContainer":"/dev/b","CgroupPermissions":"r"}]}"#;
    let found = devices(&config(json)).mappings;
    assert_eq!((found[0].container.as_str(), found[0].access.as_str()), ("/dev/fuse", "rwm"));
    assert_eq!((found[1].container.as_str(), found[1].access.as_str()), ("/dev/b", "r"));
}

#[test]
fn security_options_are_known_or_refused() {
    let of = |options: &str| security(&config(&format!(r#"{{"SecurityOpt":{options}}}"#)));
    let found = of(r#"["no-new-privileges","seccomp=unconfined","label=disable","apparmor=unconfined"]"#).unwrap();
    assert!(found.no_new_privileges && found.apparmor.is_none());
    assert_eq!(found.seccomp, SeccompChoice::Unconfined);
    assert_eq!(found.given.len(), 4);
    assert!(!of(r#"["no-new-privileges:false"]"#).unwrap().no_new_privileges);
    assert!(of(r#"["writable-cgroups=true"]"#).unwrap().writable_cgroups);
    assert_eq!(of(r#"["systempaths=unconfined"]"#).unwrap().masked_paths, Some(vec![]));
    assert_eq!(of(r#"["apparmor=mine"]"#).unwrap().apparmor.as_deref(), Some("mine"));
    let profile = of(r#"["seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}"]"#).unwrap();
    assert!(matches!(profile.seccomp, SeccompChoice::Profile(text) if text.starts_with("{\"defaultAction\"")));
    for option in ["seccomp=/etc/profile.json", "label=type:svirt_t", "proc-opts=hidepid=2", "apparmor=", ""] {
        let error = of(&format!(r#"["{option}"]"#)).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported, "{option}");
    }
    assert_eq!(of(r#"["no-new-privileges=maybe"]"#).unwrap_err().kind(), Kind::InvalidArgument);
}
