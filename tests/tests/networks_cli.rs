// SPDX-License-Identifier: Apache-2.0
//! Networks as users have them: `corten network`, the flags about networks, and the names that containers find each
//! other by.

use std::collections::BTreeSet;

use end_to_end::network::serve;
use serde_json::{Value, json};
use testkit::Daemon;
use testkit::internet::HOST;

/// Starts a container that only waits.
fn wait(daemon: &Daemon, name: &str, flags: &[&str]) {
    let arguments = [&["run", "-d", "--name", name], flags, &["busybox", "sleep", "600"]].concat();
    daemon.ok(&arguments);
}

/// What a container is told of a name: the addresses in their order, or the words of whoever does not know it.
fn look_up(daemon: &Daemon, container: &str, name: &str) -> Vec<String> {
    let answer = daemon.corten(&["exec", container, "nslookup", "-type=a", name]);
    let text = answer.text().to_owned();
    // The first address is the name server's own.
    text.lines().filter_map(|line| line.strip_prefix("Address: ")).map(str::to_owned).collect()
}

/// A container's address in a network.
fn address(daemon: &Daemon, container: &str, network: &str) -> String {
    let place = &daemon.inspect(container)["NetworkSettings"]["Networks"][network];
    place["IPAddress"].as_str().filter(|text| !text.is_empty()).unwrap_or_else(|| panic!("{place}")).to_owned()
}

/// What `network inspect` says.
fn inspect(daemon: &Daemon, name: &str) -> Value {
    let text = daemon.ok(&["network", "inspect", name]);
    serde_json::from_str::<Vec<Value>>(&text).unwrap_or_else(|error| panic!("{error}: {text}")).remove(0)
}

#[test]
fn containers_in_a_network_find_each_other_by_their_names() {
    let daemon = Daemon::builder().internet().start();
    daemon.import_busybox();
    daemon.ok(&["network", "create", "front"]);
    daemon.ok(&["network", "create", "--internal", "back"]);
    serve(&daemon, "one", &["--network", "front", "--network-alias", "web"], "first");
    serve(&daemon, "two", &["--network", "name=front,alias=web,alias=second"], "second");
    wait(&daemon, "client", &["--network", "front", "--link", "one:uno"]);
    wait(&daemon, "inside", &["--network", "back"]);
    let fetch = |url: &str| daemon.ok(&["exec", "client", "wget", "-qO-", url]);
    assert_eq!(fetch("http://one/"), "first");
    assert_eq!(fetch("http://second/"), "second");
    assert_eq!(fetch("http://uno/"), "first");
    assert_eq!(fetch("http://one.front/"), "first");
    let id = daemon.inspect("two")["Id"].as_str().unwrap()[..12].to_owned();
    assert_eq!(fetch(&format!("http://{id}/")), "second");

    let firsts: BTreeSet<String> = (0..4).map(|_| look_up(&daemon, "client", "web").remove(0)).collect();
    let both = [address(&daemon, "one", "front"), address(&daemon, "two", "front")];
    assert_eq!(firsts, BTreeSet::from(both.clone()), "an alias of two has both, in turn");
    let named = daemon.ok(&["exec", "client", "nslookup", &both[0]]);
    assert!(named.contains("name = one.front"), "{named}");

    assert_eq!(fetch("http://a.name.example/whoami"), HOST.to_string(), "other names come from the host's name server");
    assert_eq!(look_up(&daemon, "inside", "a.name.example"), Vec::<String>::new(), "but not into an internal network");
    assert_eq!(look_up(&daemon, "inside", "one"), Vec::<String>::new());
    assert_eq!(look_up(&daemon, "inside", "inside"), [address(&daemon, "inside", "back")]);

    daemon.ok(&["network", "connect", "--alias", "late", "back", "one"]);
    assert_eq!(look_up(&daemon, "inside", "late"), [address(&daemon, "one", "back")]);
    daemon.ok(&["network", "disconnect", "back", "one"]);
    assert_eq!(look_up(&daemon, "inside", "late"), Vec::<String>::new());

    // A container's own name server is its own.
    daemon.ok(&["exec", "-d", "client", "nc", "-lk", "-p", "53", "-e", "true"]);
    assert_eq!(fetch("http://one/"), "first");
}

#[test]
fn names_outlive_the_daemon() {
    let daemon = Daemon::builder().internet().start();
    daemon.import_busybox();
    daemon.ok(&["network", "create", "mine"]);
    wait(&daemon, "aa", &["--network", "mine"]);
    wait(&daemon, "bb", &["--network", "mine"]);
    for stop in [Daemon::kill, Daemon::stop] {
        stop(&daemon);
        daemon.start();
        assert_eq!(look_up(&daemon, "aa", "bb"), [address(&daemon, "bb", "mine")]);
        assert_eq!(look_up(&daemon, "aa", "x.example").len(), 1);
    }
    // A later bridge connects a container that had no name server of ours before.
    wait(&daemon, "plain", &[]);
    daemon.ok(&["network", "connect", "mine", "plain"]);
    assert_eq!(look_up(&daemon, "plain", "aa"), [address(&daemon, "aa", "mine")]);
}

#[test]
fn networks_are_made_listed_and_removed() {
    let daemon = Daemon::with_busybox();
    let id = daemon.ok(&[
        "network",
        "create",
        "--subnet",
        "10.77.0.0/16",
        "--gateway",
        "10.77.0.9",
        "--ip-range",
        "10.77.5.0/24",
        "--aux-address",
        "printer=10.77.5.1",
        "-o",
        "com.docker.network.driver.mtu=1400",
        "--label",
        "tier=front",
        "mine",
    ]);
    assert_eq!(id.len(), 64);
    let shown = inspect(&daemon, "mine");
    assert_eq!((&shown["Id"], &shown["Driver"], &shown["Scope"]), (&json!(id), &json!("bridge"), &json!("local")));
    let config = json!([{"Subnet": "10.77.0.0/16", "Gateway": "10.77.0.9", "IPRange": "10.77.5.0/24",
        "AuxiliaryAddresses": {"printer": "10.77.5.1"}}]);
    assert_eq!(shown["IPAM"]["Config"], config);
    assert_eq!((&shown["Labels"]["tier"], &shown["Internal"]), (&json!("front"), &json!(false)));

    daemon.ok(&["network", "create", "--internal", "other"]);
    let names = |filters: &[&str]| daemon.ok(&[&["network", "ls", "--format", "{{.Name}}"], filters].concat());
    assert_eq!(names(&[]), "bridge\nhost\nmine\nnone\nother");
    assert_eq!(names(&["-f", "type=custom"]), "mine\nother");
    assert_eq!(names(&["-f", "driver=host"]), "host");
    assert_eq!(names(&["-f", "label=tier=front"]), "mine");
    assert_eq!(names(&["-f", "name=min"]), "mine");
    assert_eq!(names(&["-f", &format!("id={}", &id[..8])]), "mine");
    let table = daemon.ok(&["network", "ls"]);
    assert!(table.starts_with("NETWORK ID     NAME      DRIVER    SCOPE\n"), "{table}");
    assert!(table.contains(&format!("{}   mine      bridge    local", &id[..12])), "{table}");
    assert_eq!(daemon.ok(&["network", "ls", "-q", "--no-trunc", "-f", "name=mine"]), id);

    wait(&daemon, "cc", &["--network", "mine", "--ip", "10.77.3.3", "--mac-address", "02:00:00:00:00:07"]);
    let member = &inspect(&daemon, "mine")["Containers"][daemon.inspect("cc")["Id"].as_str().unwrap()];
    assert_eq!(
        (&member["Name"], &member["IPv4Address"], &member["MacAddress"]),
        (&json!("cc"), &json!("10.77.3.3/16"), &json!("02:00:00:00:00:07"))
    );
    assert_eq!(names(&["-f", "dangling=true"]), "other");
    assert_eq!(daemon.ok(&["ps", "-q", "--no-trunc", "--filter", "network=mine"]).len(), 64);
    assert_eq!(daemon.ok(&["ps", "-q", "--filter", "network=other"]), "");
    daemon.fails(&["network", "rm", "mine"], 1).saying("active endpoints");
    daemon.fails(&["network", "rm", "bridge"], 1).saying("pre-defined");
    daemon.fails(&["network", "create", "mine"], 1).saying("already exists");
    daemon.fails(&["network", "rm", "nothing"], 1).saying("nothing");
    assert_eq!(daemon.ok(&["network", "rm", "-f", "nothing"]), "nothing");
    assert_eq!(daemon.ok(&["network", "prune", "-f"]), "Deleted Networks:\nother");
    daemon.ok(&["rm", "-f", "cc"]);
    assert_eq!(daemon.ok(&["network", "rm", &id[..12]]), id[..12]);
    assert_eq!(names(&[]), "bridge\nhost\nnone");
}

#[test]
fn what_networks_cannot_have_is_refused_by_name_and_changes_nothing() {
    let daemon = Daemon::with_busybox();
    for (flags, said) in [
        (&["--driver", "overlay", "x"][..], "overlay"),
        (&["--ipv4=false", "x"], "EnableIPv4"),
        (&["--subnet", "fd00:1::/64", "x"], "EnableIPv6"),
        (&["--ipam-driver", "other", "x"], "IPAM.Driver"),
        (&["--config-only", "x"], "ConfigOnly"),
        (&["--ingress", "x"], "Ingress"),
        (&["--scope", "swarm", "x"], "Scope"),
        (&["-o", "com.example.colour=red", "x"], "com.example.colour"),
        (&["--subnet", "10.1.0.0/33", "x"], "IPAM.Config.Subnet"),
        (&["--gateway", "10.1.0.1", "x"], "--subnet"),
    ] {
        let text = daemon.corten(&[&["network", "create"], flags].concat());
        assert_ne!(text.code, 0, "{flags:?}");
        assert!(text.stderr.contains(said), "{flags:?}: {}", text.stderr);
    }
    for (flags, said) in [
        (&["--network", "nowhere"][..], "nowhere"),
        (&["--network", "container:nobody"], "nobody"),
        (&["--ip6", "fd00::1"], "IPv6"),
        (&["--link-local-ip", "169.254.0.1"], "LinkLocalIPs"),
        (&["--network-alias", "web"], "user-defined"),
        (&["--network", "none", "-p", "80"], "--publish"),
    ] {
        let text = daemon.corten(&[&["create", "--name", "cc"], flags, &["busybox"]].concat());
        assert_eq!(text.code, 125, "{flags:?}: {}", text.stderr);
        assert!(text.stderr.contains(said), "{flags:?}: {}", text.stderr);
    }
    assert_eq!(daemon.ok(&["network", "ls", "-q", "-f", "type=custom"]), "");
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
}
