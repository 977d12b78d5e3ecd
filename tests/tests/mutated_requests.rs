// SPDX-License-Identifier: Apache-2.0
//! Requests of real clients with some of their values exchanged for others, sent to a daemon: it answers each with what was
//! asked for or an error that is the client's, as JSON, and goes on.
//!
//! `CORTEN_FUZZ_SECONDS` is for how long, 2 without it; a failure names its `CORTEN_SEED`.

use std::time::{Duration, Instant};

use end_to_end::chance::{Chance, number};
use serde_json::{Value, json};
use testkit::Daemon;
use testkit::http::ask;
use testkit::mutated::{TEXTS, places};

/// Routes whose bodies are changed: method, address, body.
fn requests() -> Vec<(&'static str, &'static str, Value)> {
    let host = json!({
        "Binds": ["/tmp:/b:ro", "name:/c"], "NetworkMode": "mine", "Memory": 67_108_864, "CpuShares": 2, "PidsLimit": 100,
        "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8000-8010"}]}, "Dns": ["10.0.0.1"],
        "ExtraHosts": ["db:10.0.0.2"], "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "CapAdd": ["NET_ADMIN"],
        "Mounts": [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 4096, "Mode": 511}},
            {"Type": "volume", "Source": "v", "Target": "/v", "VolumeOptions": {"Subpath": "a"}}],
        "SecurityOpt": ["no-new-privileges"], "Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}], "IpcMode": "private",
        "Sysctls": {"net.ipv4.ip_forward": "1"}, "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
        "Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/n", "CgroupPermissions": "rwm"}], "ShmSize": 4096,
        "GroupAdd": ["1"], "OomScoreAdj": 5, "Tmpfs": {"/x": "size=1m"}
    });
    let container = json!({
        "Image": "busybox", "Cmd": ["true"], "Env": ["A=b"], "User": "0:0", "Labels": {"a": "b"}, "WorkingDir": "/",
        "StopSignal": "TERM", "StopTimeout": 3, "Hostname": "h", "Volumes": {"/data": {}}, "ExposedPorts": {"80/tcp": {}},
        "MacAddress": "02:42:00:00:00:01", "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1_000_000_000},
        "HostConfig": host, "NetworkingConfig": {"EndpointsConfig": {"mine": {"Aliases": ["a"],
            "IPAMConfig": {"IPv4Address": "10.77.0.9"}}}}
    });
    let network = json!({"Name": "new", "Driver": "bridge", "Internal": false, "EnableIPv6": true, "Labels": {"a": "b"},
        "Options": {"com.docker.network.driver.mtu": "1400"}, "IPAM": {"Config": [{"Subnet": "10.78.0.0/24",
        "IPRange": "10.78.0.0/25", "Gateway": "10.78.0.1", "AuxiliaryAddresses": {"a": "10.78.0.2"}},
        {"Subnet": "fd00:78::/64", "Gateway": "fd00:78::1"}]}});
    vec![
        ("POST", "/v1.43/containers/create", container.clone()),
        ("POST", "/containers/create?name=again", container),
        (
            "POST",
            "/containers/box/update",
            json!({"Memory": 67_108_864, "CpuShares": 2, "PidsLimit": 100, "NanoCpus": 1,
            "RestartPolicy": {"Name": "no"}, "CpusetCpus": "0", "BlkioDeviceReadBps": []}),
        ),
        (
            "POST",
            "/containers/box/exec",
            json!({"Cmd": ["true"], "AttachStdout": true, "Env": ["A=b"], "User": "0",
            "WorkingDir": "/", "DetachKeys": "ctrl-p,q", "ConsoleSize": [24, 80], "Tty": true}),
        ),
        ("POST", "/networks/create", network),
        (
            "POST",
            "/networks/mine/connect",
            json!({"Container": "box", "EndpointConfig": {"Aliases": ["b"],
            "MacAddress": "02:42:00:00:00:02", "IPAMConfig": {"IPv4Address": "10.77.0.7"}}}),
        ),
        ("POST", "/networks/mine/disconnect", json!({"Container": "box", "Force": true})),
        (
            "POST",
            "/volumes/create",
            json!({"Name": "v", "Driver": "local", "DriverOpts": {"type": "tmpfs", "device": "tmpfs"},
            "Labels": {"a": "b"}}),
        ),
        (
            "POST",
            "/corten/v1/containers/box/ports",
            json!({"Publish": {"80/tcp": [{"HostPort": "9000"}]}, "Withdraw": {}}),
        ),
        ("POST", "/corten/v1/leases", json!({"ID": "ci", "Seconds": 60, "Labels": {"a": "b"}})),
    ]
}

/// Routes whose parameters are changed, each `{}` of them.
const ADDRESSES: [(&str, &str); 27] = [
    ("GET", "/containers/json?all={}&limit={}&filters={}"),
    ("GET", "/containers/json?all=1&filters=%7B%22status%22:{}%7D"),
    ("GET", "/images/json?filters={}"),
    ("GET", "/volumes?filters={}"),
    ("GET", "/networks?filters={}"),
    ("GET", "/events?until=0s&since={}&filters={}"),
    ("GET", "/events?since={}&until=0s"),
    ("GET", "/containers/box/logs?stdout=1&tail={}&since={}&until={}"),
    ("GET", "/containers/box/top?ps_args={}"),
    ("GET", "/containers/box/archive?path={}"),
    ("HEAD", "/containers/box/archive?path={}"),
    ("GET", "/containers/{}/json"),
    ("GET", "/images/{}/json"),
    ("GET", "/networks/{}"),
    ("GET", "/volumes/{}"),
    ("GET", "/exec/{}/json"),
    ("GET", "/system/df?type={}&verbose={}"),
    ("GET", "/images/busybox/json?platform={}"),
    ("POST", "/containers/box/resize?h={}&w={}"),
    ("POST", "/containers/other/rename?name={}"),
    ("POST", "/images/busybox/tag?repo={}&tag={}"),
    ("POST", "/containers/prune?filters={}"),
    ("GET", "/images/get?names=busybox&platform={}&platform={}"),
    ("GET", "/images/busybox/json?manifests={}&platform={}"),
    ("GET", "/images/json?manifests={}&shared-size={}"),
    ("DELETE", "/images/busybox?platforms={}"),
    ("GET", "/plugins?filters={}"),
];

fn replacement(chance: &mut Chance, depth: usize) -> Value {
    match chance.below(if depth == 0 { 6 } else { 9 }) {
        0 => Value::Null,
        1 => json!(chance.below(2) == 0),
        2 => json!(*chance.pick(&[i64::MIN, -1, 0, 1, 65_536, i64::MAX])),
        3 => json!(*chance.pick(&[0.5, -1e300, 1e19])),
        4 | 5 => json!(*chance.pick(&TEXTS)),
        6 | 7 => (0..chance.below(3)).map(|_| replacement(chance, depth - 1)).collect(),
        _ => Value::Object(
            (0..chance.below(3)).map(|_| ((*chance.pick(&TEXTS)).to_owned(), replacement(chance, depth - 1))).collect(),
        ),
    }
}

fn changed(chance: &mut Chance, mut body: Value) -> Vec<u8> {
    for _ in 0..=chance.below(3) {
        let found = places(&body);
        let new = replacement(chance, 3);
        // The place is one of the value's own.
        let place: &String = chance.pick(&found);
        *body.pointer_mut(place).expect("a place") = new;
    }
    let mut text = body.to_string().into_bytes();
    match chance.below(12) {
        0 => text.truncate(chance.below(text.len() + 1)),
        1 => text = [b"{\"Cmd\":".repeat(10_000), text].concat(),
        2 => text = String::from_utf8_lossy(&text).replacen('{', "{\"Image\":7,\"Name\":[],", 1).into_bytes(),
        _ => {}
    }
    text
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn whatever_is_asked_the_daemon_answers_and_goes_on() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["network", "create", "--subnet", "10.77.0.0/24", "mine"]);
    daemon.ok(&["run", "-dit", "--name", "box", "busybox", "sh"]);
    daemon.ok(&["create", "--name", "other", "busybox", "true"]);
    let seconds = number("CORTEN_FUZZ_SECONDS").unwrap_or(2);
    let seed = number("CORTEN_SEED").unwrap_or_else(|| std::process::id() as usize);
    let (mut chance, requests) = (Chance::new(seed), requests());
    let end = Instant::now() + Duration::from_secs(seconds as u64);
    let latest = end + Duration::from_secs(60);
    let (mut granted, mut refused) = (0, 0);
    // On a busy machine a few answers more may take longer than that.
    while Instant::now() < end || ((granted <= 5 || refused <= 20) && Instant::now() < latest) {
        let (method, path, body) = match chance.below(2) {
            0 => {
                let (method, path, body) = chance.pick(&requests).clone();
                (method, path.to_owned(), changed(&mut chance, body))
            }
            _ => {
                let (method, path) = *chance.pick(&ADDRESSES);
                let mut address = String::new();
                for (number, part) in path.split("{}").enumerate() {
                    if number > 0 {
                        let text: &&str = chance.pick(&TEXTS);
                        address.push_str(&encoded(text));
                    }
                    address.push_str(part);
                }
                (method, address, Vec::new())
            }
        };
        let answer = ask(&daemon, method, &path, &[], &body);
        let shown = || format!("CORTEN_SEED={seed}: {method} {path}\n{}\n{answer}", String::from_utf8_lossy(&body));
        assert!(answer.status < 500 || answer.status == 501, "{}\n{}", shown(), daemon.log());
        if answer.status >= 400 && method != "HEAD" {
            let told: Value =
                serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", shown()));
            assert!(told["message"].as_str().is_some_and(|text| !text.is_empty()), "{}", shown());
        }
        *(if answer.status < 400 { &mut granted } else { &mut refused }) += 1;
    }
    assert!(granted > 5 && refused > 20, "granted: {granted}, refused: {refused}");
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    daemon.ok(&["version"]);
}
