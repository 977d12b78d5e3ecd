// SPDX-License-Identifier: Apache-2.0
//! What follows from checks: whom published traffic reaches, what is started again, what an image takes over.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use end_to_end::network::serve;
use serde_json::json;
use testkit::{Daemon, internet};

/// Whether the published port leads to somebody.
fn answers(daemon: &Daemon) -> bool {
    internet::get(daemon.sandbox(), (Ipv4Addr::LOCALHOST, 8080), "/").is_some()
}

#[track_caller]
fn wait_until(what: &str, reached: impl Fn() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn wait_for_server(daemon: &Daemon, name: &str) {
    daemon.ok(&["exec", name, "sh", "-c", "until wget -qO- http://127.0.0.1/; do usleep 10000; done"]);
}

#[test]
fn a_port_that_is_held_back_stays_so_where_the_gateway_moves() {
    let daemon = Daemon::with_busybox();
    for network in ["one", "two"] {
        daemon.ok(&["network", "create", network]);
    }
    let flags = ["--network", "one", "-p", "8080:80", "--publish-when", "ready", "--health-file", "/ready"];
    serve(&daemon, "web", &[&flags[..], &["--health-interval", "30ms"]].concat(), "web");
    wait_for_server(&daemon, "web");
    assert!(!answers(&daemon));
    daemon.ok(&["network", "connect", "--gw-priority", "9", "two", "web"]);
    assert!(!answers(&daemon), "it was published by a connection");
    daemon.ok(&["network", "disconnect", "two", "web"]);
    assert!(!answers(&daemon), "it was published by the end of one");
    daemon.ok(&["exec", "web", "touch", "/ready"]);
    wait_until("published", || answers(&daemon));
    daemon.ok(&["network", "connect", "--gw-priority", "9", "two", "web"]);
    wait_until("published through the other", || answers(&daemon));
    daemon.ok(&["exec", "web", "rm", "/ready"]);
    wait_until("held back again", || !answers(&daemon));
    daemon.ok(&["rm", "-f", "web"]);
    daemon.ok(&["network", "rm", "one", "two"]);
    daemon.assert_no_container_left();
}

#[test]
fn an_image_that_is_made_of_a_container_has_its_check() {
    let daemon = Daemon::with_busybox();
    let flags =
        ["--health-tcp", "80", "--health-interval", "7s", "--health-retries", "2", "--health-start-period", "1m"];
    daemon.ok(&[&["create", "--name", "web"], &flags[..], &["busybox", "true"]].concat());
    daemon.ok(&["commit", "web", "checked"]);
    let expected = json!({"Test": ["CORTEN-TCP", "80"], "Interval": 7_000_000_000_i64, "Retries": 2,
        "StartPeriod": 60_000_000_000_i64});
    assert_eq!(daemon.inspect("checked")["Config"]["Healthcheck"], expected);
    daemon.ok(&["create", "--name", "none", "--no-healthcheck", "checked", "true"]);
    daemon.ok(&["create", "--name", "less", "--health-retries", "9", "checked", "true"]);
    for (name, field, value) in [
        ("none", "Test", json!(["NONE"])),
        ("less", "Retries", json!(9)),
        ("less", "Test", json!(["CORTEN-TCP", "80"])),
    ] {
        daemon.ok(&["commit", name, "again"]);
        assert_eq!(daemon.inspect("again")["Config"]["Healthcheck"][field], value, "{name}");
    }
    // What is said at the commit counts more.
    daemon.ok(&["commit", "--change", "HEALTHCHECK CMD [\"/probe\"]", "web", "other"]);
    assert_eq!(daemon.inspect("other")["Config"]["Healthcheck"], json!({"Test": ["CMD", "/probe"]}));
}
