// SPDX-License-Identifier: Apache-2.0
//! The fields of answers, name by name, as Debian's Docker daemon and Corten give them to a client of the same version: each
//! that Docker has is there and none beside them, but for those that are listed here with their reasons.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use testkit::process::command;
use testkit::{Daemon, docker::Docker};

/// The version that Debian's Docker speaks.
const VERSION: &str = "/v1.41";

/// What is asked for.
const ROUTES: [&str; 12] = [
    "/info",
    "/version",
    "/containers/json?all=1&size=1",
    "/containers/box/json?size=1",
    "/images/json",
    "/images/busybox/json",
    "/images/busybox/history",
    "/networks",
    "/networks/mine",
    "/volumes",
    "/system/df",
    "/events?since=1&until=NOW",
];

/// Objects whose names are nobody's fields: ports, networks, labels and the like.
const MAPS: [&str; 16] = [
    "Networks",
    "Ports",
    "PortBindings",
    "Runtimes",
    "IndexConfigs",
    "Containers",
    "Labels",
    "Options",
    "Attributes",
    "ExposedPorts",
    "Volumes",
    "Annotations",
    "DriverOpts",
    "Details",
    "Data",
    "Sysctls",
];

/// What Docker has and Corten does not, and why.
const MISSING: &[(&str, &str)] = &[
    ("/version BuildTime", "the newest Docker leaves out what it does not know, too"),
    ("/version GitCommit", "likewise"),
    ("/version GoVersion", "Corten is not made by Go"),
];

/// What Corten has and Docker does not, and why.
const MORE: &[(&str, &str)] = &[
    ("/containers/json [].SizeRw", "Docker leaves out a size of 0"),
    ("/system/df Containers[].SizeRw", "likewise"),
    ("/system/df Store", "what only Corten tells"),
];

/// The answer of the daemon on this socket.
fn get(socket: &Path, path: &str) -> Value {
    let mut stream = UnixStream::connect(socket).expect("a daemon");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time").as_secs();
    // Docker leaves out what came in the second that it is asked for as the last.
    let path = path.replace("NOW", &(now + 1).to_string());
    stream.write_all(format!("GET {VERSION}{path} HTTP/1.0\r\nHost: x\r\n\r\n").as_bytes()).expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains(" 200 "), "{path}: {answer}");
    let value = |text: &str| serde_json::from_str(text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"));
    // A stream of events has a line for each.
    if path.starts_with("/events") { body.lines().map(value).collect() } else { value(body) }
}

/// The names in a value: `State.Running`, `Mounts[].Type`, `Networks.*.Gateway`.
fn names(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            let last = at.rsplit('.').next().unwrap_or_default();
            let is_map = MAPS.contains(&last);
            for (name, field) in fields {
                let place = match (is_map, at) {
                    (true, _) => format!("{at}.*"),
                    (false, "") => name.clone(),
                    (false, _) => format!("{at}.{name}"),
                };
                if !is_map {
                    found.insert(place.clone());
                }
                names(field, &place, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| names(item, &format!("{at}[]"), found)),
        _ => {}
    }
}

fn fields(socket: &Path) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for route in ROUTES {
        let mut found = BTreeSet::new();
        names(&get(socket, route), "", &mut found);
        let route = route.split('?').next().unwrap_or(route);
        all.extend(found.into_iter().map(|name| format!("{route} {name}")));
    }
    all
}

#[test]
fn answers_have_the_fields_that_dockers_have() {
    let daemon = Daemon::with_busybox();
    let theirs = Docker::start().expect("a Docker daemon");
    let tar = daemon.path().join("busybox.tar");
    theirs.run(&["import", &tar.to_string_lossy(), "busybox"]).expect("an image");
    let ours = |arguments: &[&str]| {
        let mut docker = command("docker");
        docker.args(arguments).env("DOCKER_HOST", daemon.host()).env("DOCKER_CONFIG", daemon.path());
        let output = daemon.sandbox().run(move || docker.output()).expect("docker is installed");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let both = |arguments: &[&str]| {
        ours(arguments);
        theirs.run(arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
    };
    both(&["network", "create", "--label", "a=b", "mine"]);
    both(&["volume", "create", "--label", "a=b", "kept"]);
    both(&[
        "run",
        "-d",
        "--name",
        "box",
        "--network",
        "mine",
        "-p",
        "80",
        "-v",
        "kept:/kept",
        "-l",
        "a=b",
        "busybox",
        "sleep",
        "600",
    ]);
    let (ours, theirs) = (fields(&daemon.socket()), fields(&theirs.path().join("s.sock")));
    let below =
        |known: &str, name: &str| name.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let listed = |list: &[(&str, &str)], name: &String| list.iter().any(|(known, _)| below(known, name));
    let missing: Vec<&String> = theirs.difference(&ours).filter(|name| !listed(MISSING, name)).collect();
    let more: Vec<&String> = ours.difference(&theirs).filter(|name| !listed(MORE, name)).collect();
    assert!(missing.is_empty() && more.is_empty(), "missing: {missing:#?}\nmore: {more:#?}");
    for (name, _) in MISSING {
        assert!(!ours.contains(*name), "{name} is there: it need not be listed any more");
    }
}
