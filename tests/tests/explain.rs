// SPDX-License-Identifier: Apache-2.0
//! `corten explain`: the kernel objects behind a container, and what could still reach the host.

use serde_json::Value;
use testkit::Daemon;

#[track_caller]
fn explained(daemon: &Daemon, name: &str) -> Value {
    let text = daemon.ok(&["explain", "--format", "json", name]);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What could reach the host, with its severity.
fn reach(told: &Value) -> Vec<String> {
    let list = told["Reach"].as_array().expect("a list");
    let text = |found: &Value, field: &str| found[field].as_str().expect("a text").to_owned();
    list.iter().map(|found| format!("{}: {}", text(found, "Severity"), text(found, "What"))).collect()
}

#[test]
fn a_container_is_what_the_kernel_says_of_it() {
    let daemon = Daemon::with_busybox();
    let limits = ["--memory", "64m", "--pids-limit", "50", "--cpus", "0.5"];
    let rest = ["-p", "127.0.0.1:18077:80", "--tmpfs", "/scratch", "--cap-drop", "NET_RAW", "busybox", "sleep", "60"];
    daemon.ok(&[&["run", "-d", "--name", "kept"][..], &limits, &rest].concat());
    let inspected = daemon.inspect("kept");
    let pid = inspected["State"]["Pid"].to_string();
    let told = explained(&daemon, "kept");
    assert_eq!(
        (&told["Name"], &told["Status"], told["Pid"].to_string()),
        (&"kept".into(), &"running".into(), pid.clone())
    );

    for namespace in told["Namespaces"].as_array().expect("a list") {
        let kind = namespace["Kind"].as_str().expect("a kind");
        let link = std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("it runs");
        assert_eq!(link.to_string_lossy(), format!("{kind}:[{}]", namespace["Inode"]));
        assert_eq!(namespace["Own"], !["user", "time"].contains(&kind), "{kind}");
    }
    let limit = |name: &str| {
        let list = told["Limits"].as_array().expect("a list");
        list.iter().find(|limit| limit["Name"] == name).unwrap_or_else(|| panic!("{name}")).clone()
    };
    assert_eq!((&limit("memory")["Limit"], &limit("pids")["Limit"]), (&(64 << 20).into(), &50.into()));
    assert_eq!((&limit("pids")["Used"], &limit("cpu")["Limit"]), (&1.into(), &500_000_000.into()));
    assert!(limit("memory")["Used"].as_u64() > Some(0));

    let names = |list: &Value| -> Vec<String> {
        let list = list.as_array().expect("a list");
        list.iter().map(|one| one["Name"].as_str().expect("a name").to_owned()).collect()
    };
    let (kept, dropped) = (names(&told["Capabilities"]["Kept"]), names(&told["Capabilities"]["Dropped"]));
    assert!(kept.contains(&"CAP_CHOWN".into()) && dropped.contains(&"CAP_NET_RAW".into()), "{kept:?}");
    let filter = &told["Filter"];
    assert_eq!((&filter["Active"], &filter["Profile"]), (&true.into(), &"default".into()));
    assert!(filter["Allowed"].as_u64() > Some(250) && filter["Refused"].as_u64() > Some(30), "{filter}");

    let mounts = told["Mounts"].as_array().expect("a list");
    let from = |target: &str| {
        let found = mounts.iter().find(|mount| mount["Target"] == target);
        found.unwrap_or_else(|| panic!("{target}"))["From"].as_str().expect("a text").to_owned()
    };
    assert!(from("/").starts_with("1 layer of the image"), "{}", from("/"));
    assert!(from("/scratch").starts_with("memory") && from("/etc/hosts").contains("Corten writes"));
    let port = &told["Ports"][0];
    let address = inspected["NetworkSettings"]["IPAddress"].as_str().expect("an address");
    assert_eq!((&port["Host"], &port["Container"]), (&"127.0.0.1:18077/tcp".into(), &format!("{address}:80").into()));
    assert!(port["Way"].to_string().contains("map published-on-address"), "{port}");
    assert!(told["Devices"].as_array().is_some_and(|list| list.iter().all(|device| device["Usual"] == true)));

    let expected = ["medium: its root is the host's root", "low: set-uid programs"];
    let found = reach(&told);
    assert_eq!(found[..2], expected, "{found:?}");
    assert!(found.len() == 3 && found[2].starts_with("low: the host's kernel, by "), "{found:?}");
}

#[test]
fn what_opens_the_host_is_named() {
    let daemon = Daemon::with_busybox();
    let socket = format!("{}:/run/docker.sock", daemon.socket().display());
    let mounts = ["-v", "/etc:/host:ro", "-v", "/:/all", "-v", &socket];
    let rights = ["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined", "--network", "host"];
    daemon.ok(&[&["run", "-d", "--name", "open"][..], &mounts, &rights, &["busybox", "sleep", "60"]].concat());
    let found = reach(&explained(&daemon, "open"));
    for expected in [
        "high: the capability CAP_SYS_ADMIN",
        "high: all of the host's files, at /all",
        &format!("high: the socket {}", daemon.socket().display()),
        "medium: the host's net namespace",
        "medium: no system call filter",
        "low: /etc of the host, to read",
        "low: no limit of memory",
        "low: the host's kernel, by every system call",
    ] {
        assert!(found.iter().any(|one| one == expected), "{expected:?} is not in {found:#?}");
    }
    let severities: Vec<&str> = found.iter().filter_map(|one| one.split(':').next()).collect();
    let rank = |severity: &&str| ["high", "medium", "low"].iter().position(|one| one == severity);
    assert!(severities.iter().map(rank).is_sorted(), "{severities:?}");
}

#[test]
fn a_page_fits_the_terminal_and_nothing_is_told_of_what_does_not_run() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "shown", "busybox", "sleep", "60"]);
    let page = daemon.ok(&["explain", "shown"]);
    for heading in ["What could reach the host", "Namespaces", "Capabilities: 14 kept", "System calls", "Mounts"] {
        assert!(page.lines().any(|line| line.starts_with(heading)), "{heading}: {page}");
    }
    assert!(page.lines().all(|line| line.chars().count() <= 100), "{page}");
    assert!(!page.contains('\u{1b}'), "no colours where nobody sees them: {page}");
    let terminal = daemon.terminal(&["explain", "shown"], 24, 50);
    terminal.expect("\u{1b}[1mNamespaces\u{1b}[0m");
    let line = daemon.ok(&["explain", "--format", "{{.Name}} {{.Filter.Profile}}", "shown"]);
    assert_eq!(line, "shown default");
    daemon.fails(&["explain", "nobody"], 1).saying("no such container");
    daemon.ok(&["kill", "shown"]);
    daemon.ok(&["wait", "shown"]);
    daemon.fails(&["explain", "shown"], 1).saying("exited").saying("corten start shown");
}
