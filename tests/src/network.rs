// SPDX-License-Identifier: Apache-2.0
//! The bridge network and published ports.

use std::net::Ipv4Addr;

use testkit::{Daemon, internet};

/// Serves its directory on port 80, in the background, under this name; `index.html` holds `words`. It listens when this
/// returns.
#[track_caller]
pub fn serve(daemon: &Daemon, name: &str, flags: &[&str], words: &str) {
    let script = format!("mkdir /www; echo {words} > /www/index.html; exec httpd -f -p 80 -h /www");
    let mut arguments = vec!["run", "-d", "--name", name];
    arguments.extend(flags);
    arguments.extend(["busybox", "sh", "-c", &script]);
    daemon.ok(&arguments);
    wait_for_server(daemon, name);
}

/// Waits until a container that serves has begun to, as it sees it itself.
#[track_caller]
pub fn wait_for_server(daemon: &Daemon, name: &str) {
    let ask = "until wget -qO /dev/null http://127.0.0.1/ 2> /dev/null; do usleep 10000; done";
    daemon.ok(&["exec", name, "sh", "-c", ask]);
}

/// The address `inspect` says a container has on the bridge network.
pub fn address(daemon: &Daemon, name: &str) -> Ipv4Addr {
    let network = &daemon.inspect(name)["NetworkSettings"];
    let text = network["Networks"]["bridge"]["IPAddress"].as_str().unwrap_or_default();
    text.parse().unwrap_or_else(|_| panic!("{name} has no address: {network}"))
}

/// `inspect`'s address is the one inside, in a subnet whose gateway is the default route and answers; two containers reach each other.
pub fn a_container_on_the_bridge_has_an_address_and_a_gateway() {
    let daemon = Daemon::with_busybox();
    serve(&daemon, "one", &[], "one");
    serve(&daemon, "two", &[], "two");
    let (one, two) = (address(&daemon, "one"), address(&daemon, "two"));
    assert_ne!(one, two);
    let inside = daemon.ok(&["exec", "one", "ip", "-4", "address", "show", "eth0"]);
    assert!(inside.contains(&format!("inet {one}/")), "{inside}");
    let route = daemon.ok(&["exec", "one", "ip", "route"]);
    let network = &daemon.inspect("one")["NetworkSettings"]["Networks"]["bridge"];
    let gateway = network["Gateway"].as_str().expect("a gateway");
    assert!(route.contains(&format!("default via {gateway} dev eth0")), "{route}");
    daemon.ok(&["exec", "one", "ping", "-c", "1", "-W", "5", gateway]);
    assert_eq!(daemon.ok(&["exec", "one", "wget", "-qO-", &format!("http://{two}/")]), "two");
    daemon.ok(&["rm", "-f", "one", "two"]);
    daemon.assert_no_container_left();
}

/// `-p 8080:80` answers on the host's loopback and the container's own address does too; after the container, nobody does.
pub fn a_published_port_is_reachable_from_the_host() {
    let daemon = Daemon::with_busybox();
    serve(&daemon, "web", &["-p", "8080:80"], "published");
    let loopback = (Ipv4Addr::LOCALHOST, 8080);
    let answer = internet::get_soon(daemon.sandbox(), loopback, "/");
    assert_eq!((answer.status, answer.body.as_str()), (200, "published\n"));
    let direct = internet::get_soon(daemon.sandbox(), (address(&daemon, "web"), 80), "/");
    assert_eq!(direct.body, "published\n");
    daemon.ok(&["rm", "-f", "web"]);
    assert_eq!(internet::get(daemon.sandbox(), loopback, "/"), None, "the port is still published");
    daemon.assert_no_container_left();
}
