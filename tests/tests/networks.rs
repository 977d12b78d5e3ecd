// SPDX-License-Identifier: Apache-2.0
//! User-defined networks: who reaches whom, containers that enter and leave them, and what a killed daemon leaves.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use end_to_end::chance::{self, Chance};
use end_to_end::network::serve;
use testkit::Daemon;
use testkit::internet::{HOST, ROUTER, get, get_soon};

/// A container's address in a network; none if it has none there.
fn address(daemon: &Daemon, container: &str, network: &str) -> Option<Ipv4Addr> {
    daemon.inspect(container)["NetworkSettings"]["Networks"][network]["IPAddress"].as_str()?.parse().ok()
}

/// Whether a container gets a page of another one's within a second.
fn reaches(daemon: &Daemon, from: &str, to: Ipv4Addr) -> bool {
    let url = format!("http://{to}/");
    daemon.corten(&["exec", from, "timeout", "1", "wget", "-qO-", &url]).code == 0
}

/// The same on a machine that may be busy.
fn reaches_soon(daemon: &Daemon, from: &str, to: Ipv4Addr) -> bool {
    (0..10).any(|_| reaches(daemon, from, to))
}

/// The bridges of networks that users made.
fn bridges(daemon: &Daemon) -> Vec<String> {
    daemon.sandbox().interfaces().into_iter().filter(|name| name.starts_with("br-")).collect()
}

fn names(daemon: &Daemon) -> Vec<String> {
    daemon.ok(&["network", "ls", "--format", "{{.Name}}"]).lines().map(str::to_owned).collect()
}

#[test]
fn networks_keep_their_containers_apart_and_published_ports_join_them() {
    let daemon = Daemon::builder().internet().start();
    daemon.import_busybox();
    daemon.ok(&["network", "create", "red"]);
    daemon.ok(&["network", "create", "--internal", "inside"]);
    assert_eq!(bridges(&daemon).len(), 2, "made at once");
    serve(&daemon, "one", &["--network", "red"], "one");
    serve(&daemon, "two", &["--network", "red", "-p", "8080:80"], "two");
    serve(&daemon, "default", &[], "default");
    serve(&daemon, "secret", &["--network", "inside"], "secret");
    serve(&daemon, "witness", &["--network", "inside"], "witness");
    let at = |name: &str, network: &str| address(&daemon, name, network).unwrap();
    let (two, default, secret) = (at("two", "red"), at("default", "bridge"), at("secret", "inside"));
    assert_eq!(get_soon(daemon.sandbox(), (Ipv4Addr::LOCALHOST, 8080), "/").body, "two\n");
    assert!(reaches_soon(&daemon, "one", two) && reaches_soon(&daemon, "witness", secret));
    for (from, to) in [("default", two), ("one", default), ("one", secret), ("secret", two), ("default", secret)] {
        assert!(!reaches(&daemon, from, to), "{from} reaches {to}");
    }
    let through_host = ["exec", "default", "wget", "-qO-", &format!("http://{HOST}:8080/")];
    assert_eq!(daemon.ok(&through_host), "two", "what is published is for everybody");
    assert_eq!(daemon.ok(&["exec", "one", "wget", "-qO-", &format!("http://{ROUTER}/whoami")]), HOST.to_string());
    let route = daemon.ok(&["exec", "secret", "ip", "route"]);
    assert!(!route.contains("default"), "{route}");
    assert_eq!(get(daemon.internet().sandbox(), (secret, 80), "/"), None);
    daemon.ok(&["rm", "-f", "one", "two", "default", "secret", "witness"]);
    daemon.ok(&["network", "rm", "red", "inside"]);
    assert_eq!(bridges(&daemon), [""; 0]);
    daemon.assert_no_container_left();
}

#[test]
fn a_running_container_enters_and_leaves_networks() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["network", "create", "--subnet", "10.71.0.0/16", "alpha"]);
    daemon.ok(&["network", "create", "beta"]);
    serve(&daemon, "web", &["--network", "beta", "-p", "127.0.0.1::80"], "web");
    serve(&daemon, "peer", &["--network", "alpha"], "peer");
    let peer = address(&daemon, "peer", "alpha").unwrap();
    let published = || daemon.inspect("web")["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"].clone();
    let port = published();
    let number: u16 = port.as_str().unwrap().parse().unwrap();
    let answers = || get_soon(daemon.sandbox(), (Ipv4Addr::LOCALHOST, number), "/").body == "web\n";
    assert!(answers() && !reaches(&daemon, "web", peer));

    daemon.ok(&["network", "connect", "--ip", "10.71.9.9", "alpha", "web"]);
    assert_eq!(address(&daemon, "web", "alpha"), Some(Ipv4Addr::new(10, 71, 9, 9)));
    assert!(reaches_soon(&daemon, "web", peer));
    let inside = daemon.ok(&["exec", "web", "cat", "/etc/hosts"]);
    let own = address(&daemon, "web", "beta").unwrap();
    assert!(inside.contains("10.71.9.9\t") && inside.contains(&format!("{own}\t")), "{inside}");
    // `alpha` comes first by name: the way out and the ports are there now, and the port is the same.
    let route = || daemon.ok(&["exec", "web", "ip", "route", "show", "default"]);
    assert!(route().contains("via 10.71.0.1"), "{}", route());
    assert!(published() == port && answers());
    daemon.fails(&["network", "connect", "alpha", "web"], 1).saying("already exists in network alpha");

    daemon.ok(&["network", "disconnect", "alpha", "web"]);
    assert_eq!(address(&daemon, "web", "alpha"), None);
    assert!(!reaches(&daemon, "web", peer) && published() == port && answers());
    assert!(!daemon.ok(&["exec", "web", "cat", "/etc/hosts"]).contains("10.71.9.9"));
    daemon.fails(&["network", "disconnect", "alpha", "web"], 1).saying("is not connected to network alpha");

    daemon.ok(&["network", "disconnect", "beta", "web"]);
    assert_eq!(daemon.ok(&["exec", "web", "ls", "/sys/class/net"]), "lo");
    assert_eq!(get(daemon.sandbox(), (Ipv4Addr::LOCALHOST, number), "/"), None, "nobody leads there any more");
    daemon.ok(&["network", "connect", "bridge", "web"]);
    daemon.ok(&["exec", "web", "ping", "-c1", "-W5", "127.0.0.1"]);
    assert!(address(&daemon, "web", "bridge").is_some());
    let told = daemon.ok(&["events", "--since=1h", "--until=0s", "-f", "network=alpha", "--format", "{{.Action}}"]);
    assert_eq!(told.lines().collect::<Vec<_>>(), ["create", "connect", "connect", "disconnect"]);
}

#[test]
fn priorities_decide_which_network_leads_out() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["network", "create", "--subnet", "10.71.0.0/24", "aa"]);
    daemon.ok(&["network", "create", "--subnet", "10.72.0.0/24", "bb"]);
    let both = ["--network", "name=aa", "--network", "name=bb,gw-priority=1,mac-address=02:00:00:00:00:77"];
    serve(&daemon, "web", &both, "web");
    let seen = daemon.ok(&["exec", "web", "sh", "-c", "ip route show default; ip address show eth1"]);
    assert!(seen.contains("via 10.72.0.1 dev eth1") && seen.contains("02:00:00:00:00:77"), "{seen}");
    let places = &daemon.inspect("web")["NetworkSettings"]["Networks"];
    assert_eq!((&places["bb"]["GwPriority"], &places["aa"]["Gateway"]), (&1.into(), &"10.71.0.1".into()));
}

#[test]
fn a_container_keeps_its_networks_when_it_stops_and_starts() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["network", "create", "--subnet", "10.71.0.0/16", "fixed"]);
    daemon.ok(&["network", "create", "other"]);
    daemon.ok(&["create", "--name", "it", "--network", "fixed", "--ip", "10.71.0.77", "busybox", "sleep", "600"]);
    daemon.ok(&["network", "connect", "other", "it"]);
    for _ in 0..2 {
        daemon.ok(&["start", "it"]);
        assert_eq!(address(&daemon, "it", "fixed"), Some(Ipv4Addr::new(10, 71, 0, 77)));
        assert_eq!(daemon.ok(&["exec", "it", "ls", "/sys/class/net"]), "eth0\neth1\nlo");
        daemon.fails(&["network", "rm", "other"], 1).saying("network other has active endpoints (it)");
        daemon.ok(&["stop", "-t", "0", "it"]);
        assert_eq!(address(&daemon, "it", "fixed"), None);
    }
    // A network that only a stopped container names can go, as in Docker; the container does not start then.
    daemon.ok(&["network", "rm", "other"]);
    daemon.fails(&["start", "it"], 1).saying("network other");
    daemon.ok(&["network", "disconnect", "-f", "other", "it"]);
    daemon.ok(&["start", "it"]);
    daemon.ok(&["network", "disconnect", "fixed", "it"]);
    daemon.ok(&["restart", "-t", "0", "it"]);
    assert_eq!(daemon.ok(&["exec", "it", "ls", "/sys/class/net"]), "lo", "it was taken out of all of them");
}

#[test]
fn what_collides_is_refused_and_changes_nothing() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["network", "create", "--subnet", "10.71.0.0/16", "mine"]);
    daemon.ok(&["network", "create", "chosen"]);
    serve(&daemon, "web", &["--network", "mine", "--ip", "10.71.0.9", "-p", "8080:80"], "web");
    let state = || (names(&daemon), bridges(&daemon), daemon.ok(&["ps", "-aq"]));
    let before = state();
    let create = |arguments: &[&str], words: &str| {
        daemon.fails(&[&["network", "create"], arguments].concat(), 1).saying(words);
    };
    create(&["mine"], "network with name mine already exists");
    create(&["host"], "host is a pre-defined network");
    create(&["--subnet", "10.71.5.0/24", "x"], "overlaps 10.71.0.0/16");
    create(&["--subnet", "10.72.0.0/16", "--gateway", "10.71.0.1", "x"], "gateway 10.71.0.1");
    create(&["-d", "overlay", "x"], "\"overlay\"");
    create(&["-o", "com.docker.network.bridge.name=lo", "x"], "an interface lo exists already");
    create(&["-o", "com.example.unknown=1", "x"], "com.example.unknown");
    let run = |arguments: &[&str], words: &str| {
        daemon.fails(&[&["run", "--rm"], arguments, &["busybox", "true"]].concat(), 125).saying(words);
    };
    run(&["--network", "nowhere"], "network nowhere not found");
    run(&["--network", "mine", "--ip", "10.71.0.9"], "10.71.0.9 is already in use by container");
    run(&["--network", "mine", "--ip", "10.99.0.9"], "10.99.0.9");
    run(&["--network", "chosen", "--ip", "172.18.0.9"], "--ip");
    run(&["--ip", "172.17.0.9"], "--ip");
    run(&["--network", "mine", "-p", "8080:80"], "port 8080/tcp is already in use");
    run(&["--network", "container:nobody"], "nobody");
    daemon.fails(&["network", "rm", "bridge"], 1).saying("bridge is a pre-defined network and cannot be removed");
    daemon.fails(&["network", "rm", "mine"], 1).saying("has active endpoints (web)");
    daemon.fails(&["network", "connect", "--ip", "10.71.0.9", "nowhere", "web"], 1).saying("nowhere not found");
    daemon.fails(&["network", "connect", "host", "web"], 1).saying("host");
    assert_eq!(state(), before);
    assert_eq!(daemon.ok(&["exec", "web", "ls", "/sys/class/net"]), "eth0\nlo");
    let elements = daemon.sandbox().run(|| {
        let output = testkit::process::command("nft").args(["list", "ruleset"]).output().expect("nft is installed");
        String::from_utf8_lossy(&output.stdout).matches("8080").count()
    });
    assert_eq!(elements, 1, "what failed publishes nothing");
}

#[test]
fn the_network_of_another_container_is_shared() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["network", "create", "mine"]);
    serve(&daemon, "owner", &["--network", "mine", "--hostname", "the-owner"], "owner");
    let share = ["run", "-d", "--name", "guest", "--network", "container:owner", "busybox", "sleep", "600"];
    daemon.ok(&share);
    assert!(reaches_soon(&daemon, "guest", Ipv4Addr::LOCALHOST));
    assert_eq!(daemon.ok(&["exec", "guest", "wget", "-qO-", "http://127.0.0.1/"]), "owner");
    assert_eq!(daemon.ok(&["exec", "guest", "hostname"]), "the-owner");
    let file = |name: &str| daemon.ok(&["exec", name, "cat", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname"]);
    assert_eq!(file("guest"), file("owner"));
    daemon.fails(&["network", "connect", "bridge", "guest"], 1).saying("shares the network of container:");
    let publish = ["run", "--rm", "--network", "container:owner", "-p", "80:80", "busybox", "true"];
    daemon.fails(&publish, 125).saying("--publish");
    // With the owner go its interfaces, though the guest is still there: somebody else gets the address.
    let own = address(&daemon, "owner", "mine").unwrap();
    daemon.ok(&["rm", "-f", "owner"]);
    let begun = Instant::now();
    while daemon.ok(&["exec", "guest", "ls", "/sys/class/net"]) != "lo" {
        assert!(begun.elapsed() < Duration::from_secs(30), "the interface stays");
        std::thread::sleep(Duration::from_millis(20));
    }
    // The address is free a moment after the interface that had it has gone.
    let begun = Instant::now();
    loop {
        serve(&daemon, "next", &["--network", "mine"], "next");
        if address(&daemon, "next", "mine") == Some(own) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "the address stays taken");
        daemon.ok(&["rm", "-f", "next"]);
    }
    daemon.fails(&["restart", "-t", "0", "guest"], 1);
}

#[test]
fn a_killed_daemon_cuts_no_connection_and_forgets_no_network() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["network", "create", "--subnet", "10.71.0.0/16", "mine"]);
    daemon.ok(&["network", "create", "unused"]);
    serve(&daemon, "one", &["--network", "mine", "-p", "8080:80"], "one");
    daemon.ok(&["run", "-d", "--rm", "--name", "two", "--network", "mine", "busybox", "sleep", "600"]);
    daemon.ok(&["network", "connect", "unused", "two"]);
    let at = |name: &str, network: &str| address(&daemon, name, network);
    let before = [at("one", "mine"), at("two", "mine"), at("two", "unused")];
    assert!(before.iter().all(Option::is_some));
    for _ in 0..2 {
        daemon.kill();
        assert_eq!(get_soon(daemon.sandbox(), (Ipv4Addr::LOCALHOST, 8080), "/").body, "one\n", "without a daemon");
        daemon.start();
        assert_eq!([at("one", "mine"), at("two", "mine"), at("two", "unused")], before);
        assert!(reaches_soon(&daemon, "two", before[0].unwrap()));
        assert_eq!(get_soon(daemon.sandbox(), (Ipv4Addr::LOCALHOST, 8080), "/").body, "one\n");
    }
    let next = ["run", "--rm", "--network", "mine", "busybox", "ip", "-4", "address", "show", "eth0"];
    let next = daemon.ok(&next);
    assert!(next.contains("inet 10.71.0.4/16"), "neither address is given out again: {next}");
    daemon.ok(&["network", "disconnect", "unused", "two"]);
    daemon.ok(&["rm", "-f", "one", "two"]);
    // What nobody uses goes with the daemon, and is made again when it is needed.
    daemon.stop();
    assert_eq!(bridges(&daemon), [""; 0]);
    daemon.start();
    assert_eq!(names(&daemon), ["bridge", "host", "mine", "none", "unused"]);
    assert_eq!(bridges(&daemon), [""; 0]);
    daemon.ok(&["run", "--rm", "--network", "mine", "busybox", "true"]);
    assert_eq!(bridges(&daemon).len(), 1);
    daemon.ok(&["network", "rm", "mine", "unused"]);
}

#[test]
fn a_daemon_killed_while_networks_come_and_go_leaves_none_half_made() {
    let daemon = Daemon::with_busybox();
    let seed = chance::number("CORTEN_SEED").unwrap_or(15);
    let mut chance = Chance::new(seed);
    daemon.ok(&["network", "create", "kept"]);
    for round in 0..4 {
        let creating = daemon.spawn(&["network", "create", "coming"]);
        let removing = daemon.spawn(&["network", "create", "going"]);
        std::thread::sleep(Duration::from_micros(chance.below(40_000) as u64));
        daemon.kill();
        let (made, _) = (creating.wait().code == 0, removing.wait());
        daemon.start();
        let left = names(&daemon);
        assert!(
            left.contains(&"kept".to_owned()) && (!made || left.contains(&"coming".to_owned())),
            "{seed}, {round}: {left:?}"
        );
        for name in ["coming", "going"] {
            if left.contains(&name.to_owned()) {
                daemon.ok(&["run", "--rm", "--network", name, "busybox", "true"]);
                daemon.ok(&["network", "rm", name]);
            }
        }
        assert!(bridges(&daemon).len() <= 1, "{seed}, {round}: {:?}", bridges(&daemon));
        daemon.ok(&["run", "--rm", "--network", "kept", "busybox", "true"]);
    }
    daemon.ok(&["network", "rm", "kept"]);
    assert_eq!(bridges(&daemon), [""; 0]);
}
