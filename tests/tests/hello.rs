// SPDX-License-Identifier: Apache-2.0
//! The embedded image: the binary itself, inside.

use std::net::Ipv4Addr;

use serde_json::Value;
use testkit::Daemon;
use testkit::internet::get_soon;

#[test]
fn it_says_who_it_is_inside() {
    let daemon = Daemon::builder().start();
    let flags = [
        "run",
        "--rm",
        "--hostname",
        "greeter",
        "--memory",
        "64m",
        "--cpus",
        "0.5",
        "--pids-limit",
        "50",
        "corten/hello",
    ];
    let said = daemon.corten(&flags).ok();
    let text = said.stdout.to_lowercase();
    for words in [
        "pid",
        "greeter",
        "user",
        "namespace",
        "cgroup",
        "memory",
        "capabilities",
        "seccomp",
        "mounts",
        "overlay",
        "eth0",
        "ms",
    ] {
        assert!(text.contains(words), "{words:?} is not in\n{said}");
    }
    assert!(said.took.as_secs() < 20, "{said}");
    assert_eq!(daemon.ok(&["images", "-q"]).lines().count(), 1, "it was made on first use");
}

#[test]
fn it_needs_no_network() {
    let daemon = Daemon::builder().start();
    assert_eq!(daemon.sandbox().interfaces(), ["lo"]);
    daemon.corten(&["run", "--rm", "--network", "none", "corten/hello"]).ok();
    daemon.corten(&["run", "--rm", "corten/hello"]).ok();
}

#[test]
fn it_serves_the_same_as_json_with_its_health() {
    let daemon = Daemon::builder().start();
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "hello",
        "--hostname",
        "greeter",
        "-p",
        "8080:8080",
        "corten/hello",
        "serve",
        "--port",
        "8080",
    ]);
    let address = (Ipv4Addr::LOCALHOST, 8080);
    let answer = get_soon(daemon.sandbox(), address, "/");
    let said: Value = serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    assert_eq!(said["pid"], 1, "{said}");
    assert!(said.to_string().contains("greeter"), "{said}");
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(get_soon(daemon.sandbox(), address, path).status, 200, "{path}");
    }
    assert_eq!(get_soon(daemon.sandbox(), address, "/no/such/path").status, 404);
    daemon.ok(&["stop", "hello"]);
    assert_eq!(daemon.inspect("hello")["State"]["ExitCode"], 0, "it ends when asked");
}

#[test]
fn its_counter_is_kept_in_data() {
    let daemon = Daemon::builder().start();
    let data = daemon.path().join("counter");
    std::fs::create_dir(&data).unwrap();
    let bind = format!("{}:/data", data.display());
    let address = (Ipv4Addr::LOCALHOST, 8080);
    let count = |daemon: &Daemon| {
        let answer = get_soon(daemon.sandbox(), address, "/");
        let said: Value = serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
        said["counter"].as_u64().unwrap_or_else(|| panic!("no counter in {said}"))
    };
    let run =
        ["run", "-d", "--rm", "--name", "hello", "-p", "8080:80", "-v", &bind, "corten/hello", "serve", "--port", "80"];
    daemon.ok(&run);
    let first = count(&daemon);
    assert_eq!(count(&daemon), first + 1);
    daemon.ok(&["stop", "hello"]);
    for _ in 0..100 {
        if daemon.ok(&["ps", "-aq"]).is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    daemon.ok(&run);
    assert_eq!(count(&daemon), first + 2, "a new container goes on counting");
}
