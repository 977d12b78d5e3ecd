// SPDX-License-Identifier: Apache-2.0
//! Networks with IPv6, as a user sees them: addresses, names, published ports, and what is refused.

use std::net::Ipv6Addr;

use end_to_end::network::serve;
use serde_json::{Value, json};
use testkit::Daemon;
use testkit::internet::{get, get_soon};

/// A container's place in a network, as `inspect` has it.
fn place(daemon: &Daemon, container: &str, network: &str) -> Value {
    daemon.inspect(container)["NetworkSettings"]["Networks"][network].clone()
}

/// Whether a container gets a page of whoever has an address, on a machine that may be busy.
fn reaches(daemon: &Daemon, from: &str, to: &str) -> bool {
    let url = format!("http://{to}/");
    daemon.corten(&["exec", from, "timeout", "1", "wget", "-qO-", &url]).code == 0
}

fn reaches_soon(daemon: &Daemon, from: &str, to: &str) -> bool {
    (0..10).any(|_| reaches(daemon, from, to))
}

const BRIDGE: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x71, 0, 0, 0, 0, 0, 1);

#[test]
fn a_network_has_both_families_and_a_container_is_found_by_either() {
    let daemon = Daemon::with_busybox();
    let subnets = ["--subnet", "fd00:71::/64", "--subnet", "10.71.0.0/16"];
    daemon.ok(&[&["network", "create", "--ipv6"], &subnets[..], &["mine"]].concat());
    daemon.ok(&["network", "create", "--ipv6", "other"]);
    daemon.ok(&["network", "create", "plain"]);
    let table = daemon.ok(&["network", "ls", "--format", "{{.Name}} {{.IPv6}}"]);
    assert!(table.contains("mine true") && table.contains("plain false") && table.contains("bridge false"), "{table}");
    let inspected: Value = serde_json::from_str(&daemon.ok(&["network", "inspect", "mine", "other"])).unwrap();
    let expected = json!([{"Subnet": "10.71.0.0/16", "Gateway": "10.71.0.1"},
        {"Subnet": "fd00:71::/64", "Gateway": "fd00:71::1"}]);
    assert_eq!((&inspected[0]["EnableIPv6"], &inspected[0]["IPAM"]["Config"]), (&true.into(), &expected));
    let chosen = inspected[1]["IPAM"]["Config"][1]["Subnet"].as_str().unwrap();
    assert!(chosen.starts_with("fd") && chosen.ends_with("::/64"), "{chosen}");

    serve(&daemon, "web", &["--network", "mine", "--ip6", "fd00:71::77", "-p", "8080:80"], "web");
    serve(&daemon, "client", &["--network", "mine"], "client");
    serve(&daemon, "stranger", &["--network", "other"], "stranger");
    let web = place(&daemon, "web", "mine");
    let told = (&web["GlobalIPv6Address"], &web["GlobalIPv6PrefixLen"], &web["IPv6Gateway"], &web["IPAMConfig"]);
    let wished = json!({"IPv6Address": "fd00:71::77"});
    assert_eq!(told, (&"fd00:71::77".into(), &64.into(), &"fd00:71::1".into(), &wished));
    let members: Value = serde_json::from_str(&daemon.ok(&["network", "inspect", "mine"])).unwrap();
    assert!(members.to_string().contains(r#""IPv6Address":"fd00:71::77/64""#), "{members}");
    assert!(reaches_soon(&daemon, "client", "[fd00:71::77]"));
    let client = place(&daemon, "client", "mine")["GlobalIPv6Address"].as_str().unwrap().to_owned();
    for (from, to) in [("stranger", "fd00:71::77"), ("stranger", &client)] {
        assert!(!reaches(&daemon, from, &format!("[{to}]")), "{from} reaches {to}");
    }
    let names = daemon.ok(&["exec", "client", "nslookup", "-type=aaaa", "web"]);
    assert!(names.contains("fd00:71::77"), "{names}");
    let names = daemon.ok(&["exec", "client", "nslookup", "fd00:71::77"]);
    assert!(names.contains("web.mine"), "{names}");
    let hosts = daemon.ok(&["exec", "web", "cat", "/etc/hosts"]);
    assert!(hosts.contains("fd00:71::77\t"), "{hosts}");
    let plain = ["run", "--rm", "--network", "plain", "busybox", "ip", "-6", "address", "show", "dev", "eth0"];
    assert_eq!(daemon.ok(&plain), "", "no address to wait for where there is no IPv6");

    assert_eq!(daemon.ok(&["port", "web", "80"]), "0.0.0.0:8080\n[::]:8080");
    assert_eq!(get_soon(daemon.sandbox(), (BRIDGE, 8080), "/").body, "web\n");
    assert!(reaches(&daemon, "stranger", "[fd00:71::1]:8080"), "what is published is for everybody");
    let explained = daemon.ok(&["explain", "web"]);
    assert!(explained.contains("[::]:8080/tcp") && explained.contains("map published6"), "{explained}");
    daemon.ok(&["update", "--publish", "8081:80", "--unpublish", "8080:80", "web"]);
    daemon.kill();
    daemon.start();
    assert_eq!(get_soon(daemon.sandbox(), (BRIDGE, 8081), "/").body, "web\n");
    assert_eq!(get(daemon.sandbox(), (BRIDGE, 8080), "/"), None);
    assert!(reaches_soon(&daemon, "client", "[fd00:71::77]"));
    daemon.ok(&["restart", "-t", "0", "web"]);
    assert_eq!(place(&daemon, "web", "mine")["GlobalIPv6Address"], "fd00:71::77");
    daemon.ok(&["rm", "-f", "web", "client", "stranger"]);
    daemon.ok(&["network", "rm", "mine", "other", "plain"]);
    daemon.assert_no_container_left();
}

#[test]
fn a_running_container_gets_ipv6_and_loses_it_again() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["network", "create", "plain"]);
    daemon.ok(&["network", "create", "--ipv6", "--subnet", "fd00:71::/64", "six"]);
    daemon.ok(&["network", "create", "--ipv6", "--internal", "--subnet", "fd00:72::/64", "inside"]);
    serve(&daemon, "web", &["--network", "plain", "-p", "8080:80"], "web");
    assert_eq!(daemon.ok(&["port", "web"]), "80/tcp -> 0.0.0.0:8080");
    let inside = |words: &str| daemon.ok(&["exec", "web", "sh", "-c", words]);
    assert_eq!(inside("ip -6 route"), "");
    daemon.ok(&["network", "connect", "--ip6", "fd00:71::9", "six", "web"]);
    daemon.ok(&["network", "connect", "inside", "web"]);
    let seen = inside("ip -6 route; cat /etc/hosts");
    assert!(seen.contains("default via fd00:71::1 dev eth1") && seen.contains("fd00:71::9\t"), "{seen}");
    assert_eq!(place(&daemon, "web", "inside")["IPv6Gateway"], "");
    // The default route of IPv4 leads through `plain` as before, and the ports with it.
    assert_eq!(daemon.ok(&["port", "web"]), "80/tcp -> 0.0.0.0:8080");
    daemon.ok(&["network", "disconnect", "plain", "web"]);
    assert_eq!(daemon.ok(&["port", "web"]), "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080");
    assert_eq!(get_soon(daemon.sandbox(), (BRIDGE, 8080), "/").body, "web\n");
    daemon.ok(&["network", "connect", "plain", "web"]);
    daemon.ok(&["network", "disconnect", "six", "web"]);
    let seen = inside("ip -6 route; cat /etc/hosts");
    assert!(!seen.contains("default") && !seen.contains("fd00:71::9"), "{seen}");
    assert_eq!(daemon.ok(&["port", "web"]), "80/tcp -> 0.0.0.0:8080");
    assert_eq!(get(daemon.sandbox(), (BRIDGE, 8080), "/"), None);
}

#[test]
fn what_ipv6_cannot_be_is_refused_and_changes_nothing() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["network", "create", "--ipv6", "--subnet", "fd00:71::/64", "mine"]);
    daemon.ok(&["network", "create", "--ipv6", "chosen"]);
    daemon.ok(&["network", "create", "plain"]);
    let create = |arguments: &[&str], words: &str| {
        daemon.fails(&[&["network", "create"], arguments, &["x"]].concat(), 1).saying(words);
    };
    create(&["--ipv6", "--subnet", "fd00:71::/80"], "overlaps fd00:71::/64");
    create(&["--ipv6", "--subnet", "fe80::/64"], "fe80::/64");
    create(&["--ipv6", "--subnet", "fd00:73::/64", "--gateway", "fd00:74::1"], "gateway fd00:74::1");
    create(&["--ipv6", "-o", "com.docker.network.driver.mtu=1000"], "1280");
    let run = |arguments: &[&str], words: &str| {
        daemon.fails(&[&["run", "--rm"], arguments, &["busybox", "true"]].concat(), 125).saying(words);
    };
    run(&["--network", "mine", "--ip6", "fd00:99::9"], "fd00:99::9");
    run(&["--network", "mine", "--ip6", "fd00:71::1"], "fd00:71::1 is reserved");
    run(&["--network", "chosen", "--ip6", "fd00:71::9"], "--ip6");
    run(&["--network", "plain", "--ip6", "fd00:71::9"], "the network plain has no IPv6 addresses");
    run(&["--network", "mine", "-p", "[::1]:8080:80"], "::1");
    run(&["--network", "plain", "-p", "[::]:8080:80"], "no IPv6 address");
    let rules = daemon.sandbox().run(|| {
        let output = testkit::process::command("nft").args(["list", "ruleset"]).output().expect("nft is installed");
        String::from_utf8_lossy(&output.stdout).matches("8080").count()
    });
    assert_eq!(rules, 0, "what failed publishes nothing");
    let left =
        daemon.ok(&["run", "--rm", "--network", "mine", "busybox", "ip", "-6", "address", "show", "dev", "eth0"]);
    assert!(left.contains("fd00:71::2/64"), "nor keeps an address: {left}");
}

#[test]
fn a_container_with_ids_of_its_own_has_ipv6_and_one_that_shares_it_too() {
    let ids = "corten:1000000:262144\n";
    let daemon = Daemon::builder().etc("subuid", ids).etc("subgid", ids).start();
    daemon.import_busybox();
    daemon.ok(&["network", "create", "--ipv6", "--subnet", "fd00:71::/64", "mine"]);
    serve(&daemon, "web", &["--network", "mine", "--userns", "auto", "-p", "[::]:8080:80"], "web");
    assert_eq!(daemon.ok(&["port", "web"]), "80/tcp -> [::]:8080");
    assert_eq!(get_soon(daemon.sandbox(), (BRIDGE, 8080), "/").body, "web\n");
    assert_eq!(get(daemon.sandbox(), (std::net::Ipv4Addr::LOCALHOST, 8080), "/"), None, "on IPv6 alone");
    let settings = "cd /proc/sys/net/ipv6/conf/eth0 && cat accept_ra autoconf disable_ipv6";
    assert_eq!(daemon.ok(&["exec", "web", "sh", "-c", settings]), "0\n0\n0");
    let guest = ["run", "--rm", "--network", "container:web", "busybox", "wget", "-qO-", "http://[::1]/"];
    assert_eq!(daemon.ok(&guest), "web");
}
