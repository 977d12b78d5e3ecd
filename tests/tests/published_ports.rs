// SPDX-License-Identifier: Apache-2.0
//! Published ports of containers that exist already: `corten update --publish` and `--unpublish`.

use std::net::Ipv4Addr;

use end_to_end::network::serve;
use testkit::Daemon;
use testkit::internet::{get, get_soon};

/// Whether a port of the host leads to the container that says these words.
fn leads(daemon: &Daemon, port: u16, words: &str) -> bool {
    get_soon(daemon.sandbox(), (Ipv4Addr::LOCALHOST, port), "/").body.trim_end() == words
}

fn is_closed(daemon: &Daemon, port: u16) -> bool {
    get(daemon.sandbox(), (Ipv4Addr::LOCALHOST, port), "/").is_none()
}

#[test]
fn ports_are_published_and_ended_while_the_container_runs() {
    let daemon = Daemon::with_busybox();
    serve(&daemon, "web", &["-p", "8080:80"], "web");
    serve(&daemon, "other", &["-p", "9000:80"], "other");
    assert!(leads(&daemon, 8080, "web"));
    daemon.ok(&["update", "--publish", "8081:80", "web"]);
    assert!(leads(&daemon, 8081, "web") && leads(&daemon, 8080, "web"));
    // All of it or nothing.
    let refused = ["update", "--publish", "8082:80", "--publish", "9000:80", "--unpublish", "8080:80", "web"];
    daemon.fails(&refused, 1).saying("port 9000/tcp is already in use");
    daemon.fails(&["update", "--unpublish", "7000:80", "web"], 1).saying("7000:80/tcp is not published");
    assert!(leads(&daemon, 8080, "web") && is_closed(&daemon, 8082));
    daemon.ok(&["update", "--unpublish", "8080:80", "--publish", "8082:80", "web"]);
    assert!(leads(&daemon, 8082, "web") && is_closed(&daemon, 8080));
    daemon.ok(&["update", "--publish", "8080:80", "other"]);
    assert!(leads(&daemon, 8080, "other"), "it is free for others");
    let shown = daemon.inspect("web");
    let listed = |ports: &serde_json::Value| {
        let list = ports["80/tcp"].as_array().cloned().unwrap_or_default();
        list.iter().filter_map(|one| one["HostPort"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(listed(&shown["NetworkSettings"]["Ports"]), ["8081", "8082"]);
    assert_eq!(listed(&shown["HostConfig"]["PortBindings"]), ["8081", "8082"]);

    // What was changed outlives the daemon, and the container's own end.
    daemon.kill();
    daemon.start();
    assert!(leads(&daemon, 8082, "web") && leads(&daemon, 8081, "web"));
    daemon.ok(&["update", "--unpublish", "80", "web"]);
    assert!(is_closed(&daemon, 8081) && is_closed(&daemon, 8082));
    daemon.ok(&["stop", "-t", "0", "web"]);
    daemon.ok(&["update", "--publish", "8090:80", "web"]);
    daemon.ok(&["start", "web"]);
    let seen = daemon.inspect("web")["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"].clone();
    assert_eq!(seen, "8090");
    daemon.fails(&["update", "--publish", "0", "web"], 1).saying("no port");
    daemon.ok(&["run", "-d", "--name", "alone", "--network", "none", "busybox", "sleep", "600"]);
    daemon.fails(&["update", "--publish", "8091:80", "alone"], 1).saying("nothing to publish ports of");
}
