// SPDX-License-Identifier: Apache-2.0
//! Every event that Docker tells of containers, images, networks and volumes, with its attributes; and what each filter
//! lets through.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use end_to_end::own_registry::OwnRegistry;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use testkit::Daemon;
use testkit::http::ask;

/// What all events of the container have beside their own attributes.
const COMMON: [&str; 3] = ["image", "name", "tier"];

/// The events so far that these filters let through.
fn told(daemon: &Daemon, filters: &Value) -> Vec<Value> {
    bounded(daemon, filters, "since=1&until=0s")
}

fn bounded(daemon: &Daemon, filters: &Value, bounds: &str) -> Vec<Value> {
    let filters: String = filters.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
    let answer = ask(daemon, "GET", &format!("/v1.55/events?{bounds}&filters={filters}"), &[], b"");
    assert_eq!(answer.status, 200, "{answer}");
    String::from_utf8(answer.body)
        .expect("text")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// An event in a line: its kind, action and actor, and its attributes but for those that all of its kind have. Ids, spans
/// and sizes differ each time.
fn line(event: &Value) -> String {
    let text = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        let bare = text.strip_prefix("sha256:").unwrap_or(text);
        let is_id = bare.len() == 64 && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_id { if bare.len() == text.len() { "ID" } else { "DIGEST" }.to_owned() } else { text.to_owned() }
    };
    let mut line = format!("{} {} {}", text(&event["Type"]), text(&event["Action"]), text(&event["Actor"]["ID"]));
    let is_container = event["Type"] == "container";
    for (name, value) in event["Actor"]["Attributes"].as_object().expect("attributes") {
        let value = match name.as_str() {
            name if is_container && COMMON.contains(&name) => continue,
            "execDuration" | "reclaimed" if text(value).bytes().all(|byte| byte.is_ascii_digit()) => "N".to_owned(),
            _ => text(value),
        };
        line.push_str(&format!(" {name}={value}"));
    }
    line
}

#[track_caller]
fn wait_for(daemon: &Daemon, action: &str, count: usize) {
    let begun = Instant::now();
    while told(daemon, &json!({"event": [action]})).len() < count {
        assert!(begun.elapsed() < Duration::from_secs(20), "{action} was not told");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Takes a connection over as Docker's clients do, types the keys that leave, and reads to the end.
fn leave(daemon: &Daemon, path: &str, body: &str) {
    let mut stream = UnixStream::connect(daemon.socket()).expect("the daemon listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let head = "Host: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json";
    write!(stream, "POST {path} HTTP/1.1\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .expect("it is sent");
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a head");
        answer.push(byte[0]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    stream.write_all(b"\x10\x11").expect("it takes keys");
    let mut rest = Vec::new();
    // The daemon closes it, whatever was shown before.
    stream.read_to_end(&mut rest).expect("an end");
}

#[test]
fn everything_that_happens_to_a_container_is_told_as_docker_tells_it() {
    let daemon = Daemon::with_busybox();
    let post = |path: &str, body: &Value| ask(&daemon, "POST", path, &[], body.to_string().as_bytes());
    daemon.ok(&["run", "-dit", "--name", "box", "--label", "tier=x", "busybox", "sh"]);
    post("/containers/box/resize?h=30&w=100", &json!(null)).expect(200);
    ask(&daemon, "HEAD", "/containers/box/archive?path=/etc/passwd", &[], b"");
    daemon.ok(&["cp", "box:/etc/passwd", &daemon.path().join("passwd").display().to_string()]);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut tar::Header::new_gnu(), "empty", &b""[..]).expect("an archive");
    let archive = archive.into_inner().expect("an archive");
    assert_eq!(ask(&daemon, "PUT", "/containers/box/archive?path=/", &[], &archive).status, 200);
    assert_eq!(ask(&daemon, "GET", "/containers/box/top", &[], b"").status, 200);
    leave(&daemon, "/containers/box/attach?stream=1&stdin=1&stdout=1", "");
    let exec = json!({"AttachStdin": true, "AttachStdout": true, "Tty": true, "Cmd": ["sleep", "1000"]});
    let id = post("/containers/box/exec", &exec).expect(201)["Id"].as_str().expect("an id").to_owned();
    leave(&daemon, &format!("/exec/{id}/start"), r#"{"Tty":true}"#);
    let pid = ask(&daemon, "GET", &format!("/exec/{id}/json"), &[], b"").expect(200)["Pid"].as_i64();
    let pid = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).expect("it runs");
    kill_process(pid, Signal::KILL).expect("it runs");
    wait_for(&daemon, "exec_die", 1);
    daemon.ok(&["pause", "box"]);
    daemon.ok(&["unpause", "box"]);
    daemon.ok(&["update", "--pids-limit", "50", "box"]);
    daemon.ok(&["rename", "box", "crate"]);
    daemon.ok(&["commit", "-m", "words", "crate", "made:1"]);
    daemon.ok(&["export", "-o", "/dev/null", "crate"]);
    daemon.ok(&["stop", "-t", "0", "crate"]);
    daemon.ok(&["start", "crate"]);
    daemon.ok(&["restart", "-t", "0", "crate"]);
    daemon.ok(&["kill", "crate"]);
    daemon.ok(&["rm", "crate"]);
    daemon.ok(&["container", "prune", "-f"]);
    let lines: Vec<String> = told(&daemon, &json!({"type": ["container"]})).iter().map(line).collect();
    let expected = [
        "container create ID",
        "container start ID",
        "container resize ID height=30 width=100",
        "container archive-path ID",
        "container extract-to-dir ID",
        "container top ID",
        "container attach ID",
        "container detach ID",
        "container exec_create: sleep 1000 ID execID=ID",
        "container exec_start: sleep 1000 ID execID=ID",
        "container exec_detach ID execID=ID",
        "container exec_die ID execID=ID exitCode=137",
        "container pause ID",
        "container unpause ID",
        "container update ID",
        "container rename ID oldName=/box",
        "container pause ID",
        "container commit ID comment=words imageID=DIGEST imageRef=made:1",
        "container unpause ID",
        "container export ID",
        // An interactive shell does not hear the stop signal.
        "container kill ID signal=15",
        "container kill ID signal=9",
        "container die ID execDuration=N exitCode=137",
        "container stop ID",
        "container start ID",
        "container kill ID signal=15",
        "container kill ID signal=9",
        "container die ID execDuration=N exitCode=137",
        "container stop ID",
        "container start ID",
        "container restart ID",
        "container kill ID signal=9",
        "container die ID execDuration=N exitCode=137",
        "container destroy ID",
        "container prune  reclaimed=N",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn what_happens_to_images_networks_and_volumes_is_told_as_docker_tells_it() {
    let daemon = Daemon::with_busybox();
    let registry = OwnRegistry::start(&daemon);
    let name = registry.name("team/app:1");
    daemon.ok(&["tag", "busybox", &name]);
    daemon.ok(&["push", &name]);
    daemon.ok(&["rmi", &name]);
    daemon.ok(&["pull", &name]);
    let archive = daemon.path().join("saved.tar").display().to_string();
    daemon.ok(&["save", "-o", &archive, &name]);
    daemon.ok(&["load", "-i", &archive]);
    daemon.ok(&["network", "create", "--label", "a=b", "mine"]);
    daemon.ok(&["run", "-d", "--name", "box", "-v", "data:/data:ro", "busybox", "sleep", "600"]);
    daemon.ok(&["network", "connect", "mine", "box"]);
    daemon.ok(&["network", "disconnect", "mine", "box"]);
    daemon.ok(&["rm", "-f", "box"]);
    daemon.ok(&["network", "rm", "mine"]);
    daemon.ok(&["network", "prune", "-f"]);
    wait_for(&daemon, "unmount", 1);
    daemon.ok(&["volume", "rm", "data"]);
    daemon.ok(&["volume", "prune", "-f"]);
    daemon.ok(&["image", "prune", "-f"]);
    let lines = |filters: Value| told(&daemon, &filters).iter().map(line).collect::<Vec<_>>();
    let images = [
        "image import DIGEST name=DIGEST",
        "image tag DIGEST name=busybox:latest",
        "image tag DIGEST name=127.0.0.1:5000/team/app:1",
        "image push 127.0.0.1:5000/team/app:1 name=127.0.0.1:5000/team/app",
        "image untag DIGEST name=DIGEST",
        "image pull 127.0.0.1:5000/team/app:1 name=127.0.0.1:5000/team/app",
        "image save DIGEST name=DIGEST",
        "image load DIGEST name=DIGEST",
        "image prune  reclaimed=N",
    ];
    assert_eq!(lines(json!({"type": ["image"]})), images);
    let networks = [
        "network create ID name=mine type=bridge",
        "network connect ID container=ID name=mine type=bridge",
        "network disconnect ID container=ID name=mine type=bridge",
        "network destroy ID name=mine type=bridge",
    ];
    assert_eq!(lines(json!({"network": ["mine"]})), networks);
    let volumes = [
        "volume create data driver=local",
        "volume mount data container=ID destination=/data driver=local propagation= read/write=false",
        "volume unmount data container=ID driver=local",
        "volume destroy data driver=local",
        "volume prune  reclaimed=N",
    ];
    assert_eq!(lines(json!({"type": ["volume"]})), volumes);
    assert_eq!(lines(json!({"type": ["network"], "event": ["prune"]})), ["network prune  reclaimed=N"]);
}

#[test]
fn each_filter_lets_through_what_docker_lets_through() {
    let daemon = Daemon::with_busybox();
    let id = daemon.ok(&["create", "--name", "web", "--label", "tier=front", "busybox:latest", "true"]);
    daemon.ok(&["create", "--name", "db", "--label", "tier=back", "busybox", "true"]);
    daemon.ok(&["volume", "create", "data"]);
    daemon.ok(&["network", "create", "mine"]);
    daemon.ok(&["rm", "web"]);
    let count = |filters: &Value| told(&daemon, filters).len();
    let all = count(&json!({}));
    for (filters, expected) in [
        (json!({"type": ["container"]}), 3),
        (json!({"type": ["container", "volume"]}), 4),
        (json!({"type": {"container": true, "volume": false}}), 3),
        (json!({"type": ["daemon"]}), 0),
        (json!({"event": ["create"]}), 4),
        (json!({"event": ["create"], "type": ["container"]}), 2),
        (json!({"event": ["creat"]}), 0),
        (json!({"container": ["web"]}), 2),
        (json!({"container": [id]}), 2),
        (json!({"container": [&id[..12]]}), 2),
        (json!({"container": ["web", "db"]}), 3),
        (json!({"container": ["other"]}), 0),
        (json!({"image": ["busybox"], "type": ["container"]}), 3),
        (json!({"image": ["busybox:latest"], "type": ["container"]}), 2),
        (json!({"image": ["alpine"]}), 0),
        (json!({"label": ["tier"]}), 3),
        (json!({"label": ["tier=front"]}), 2),
        (json!({"label": ["tier=front", "tier=back"]}), 0),
        (json!({"network": ["mine"]}), 1),
        (json!({"volume": ["data"]}), 1),
        (json!({"volume": ["other"]}), 0),
        (json!({"daemon": ["anyone"]}), 0),
        (json!({"plugin": ["any"]}), 0),
        (json!({"scope": ["local"]}), all),
        (json!({"scope": ["swarm"]}), 0),
    ] {
        assert_eq!(count(&filters), expected, "{filters}: {:#?}", told(&daemon, &filters));
    }
    for filters in ["{\"colour\":[\"red\"]}", "[]", "{", "{\"type\":7}", "{\"type\":[7]}"] {
        let filters: String = filters.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let refused = ask(&daemon, "GET", &format!("/events?until=0s&filters={filters}"), &[], b"").expect(400);
        assert!(refused["message"].is_string(), "{refused}");
    }
    let events = told(&daemon, &json!({}));
    let time = |event: &Value| {
        let nanos = event["timeNano"].as_i64().expect("a time");
        format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
    };
    let bounds = format!("since={}&until={}", time(&events[2]), time(&events[4]));
    assert_eq!(bounded(&daemon, &json!({}), &bounds), events[2..=4], "both bounds are among them");
}
