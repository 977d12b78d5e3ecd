// SPDX-License-Identifier: Apache-2.0
//! The table in a real kernel, as Debian's `nft` reads it. Each test has a network namespace of its own; needs root.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, also in its helper functions")]
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::thread;

use firewall::{Bridge, Firewall, Published, Transit, Transport};
use serde_json::Value;

/// Runs the test in a thread with its own network namespace, which ends with the thread.
fn in_new_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = thread::spawn(|| {
        sys::namespace::unshare(sys::process::CloneFlags::NEWNET).expect("needs root");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

#[allow(clippy::disallowed_methods, reason = "nft is the yardstick")]
fn nft(arguments: &[&str]) -> String {
    let output = Command::new("nft").args(arguments).output().expect("nft is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "nft {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    text
}

fn bridge() -> Bridge {
    Bridge {
        name: "corten0".to_owned(),
        network: Ipv4Addr::new(172, 17, 0, 0),
        prefix: 16,
        ipv6: None,
        masquerade: true,
        internal: false,
        inter_container: true,
    }
}

fn internal() -> Bridge {
    Bridge { name: "br-inside".to_owned(), network: Ipv4Addr::new(172, 18, 0, 0), internal: true, ..bridge() }
}

fn with_ipv6() -> Bridge {
    Bridge { ipv6: Some(("fd00:0:0:1::".parse().unwrap(), 64)), ..bridge() }
}

fn port(host_address: Option<Ipv4Addr>, host_port: u16, last: u8) -> Published {
    Published {
        transport: Transport::Tcp,
        host_address: host_address.map(IpAddr::V4),
        host_port,
        container_address: Ipv4Addr::new(172, 17, 0, last).into(),
        container_port: 80,
    }
}

/// The table's words, in an order that does not depend on how the kernel keeps sets.
fn listing() -> Vec<String> {
    let text = nft(&["list", "table", "inet", "corten"]);
    let words =
        text.split([' ', ',', '\n', '\t']).filter(|word| !matches!(*word, "" | "." | "elements" | "=" | "{" | "}"));
    let mut words: Vec<String> = words.map(str::to_owned).collect();
    words.sort_by_key(|word| (word.starts_with('"'), word.clone()));
    words
}

/// The elements of a map, as nft prints them: key parts and value parts.
fn elements(table: &str, map: &str) -> Vec<Value> {
    let listing: Value = serde_json::from_str(&nft(&["-j", "list", "map", "inet", table, map])).unwrap();
    let map = listing["nftables"].as_array().unwrap().iter().find_map(|object| object.get("map")).unwrap();
    map.get("elem").and_then(Value::as_array).cloned().unwrap_or_default()
}

#[test]
fn the_table_reads_in_nft_as_it_is_meant() {
    in_new_namespace(|| {
        let mut firewall = Firewall::open("corten").unwrap();
        firewall.replace(&[with_ipv6()], &[], Transit::Dropped).unwrap();
        let listing = nft(&["list", "table", "inet", "corten"]);
        println!("{listing}");
        let lines: Vec<&str> = listing.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let expected = include_str!("table.nft");
        let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert_eq!(lines, expected);
    });
}

#[test]
fn ports_come_and_go_one_by_one() {
    in_new_namespace(|| {
        let mut firewall = Firewall::open("corten").unwrap();
        firewall.replace(&[bridge()], &[port(None, 8080, 2)], Transit::Untouched).unwrap();
        firewall.publish(&[port(None, 8081, 3), port(Some(Ipv4Addr::LOCALHOST), 8082, 4)]).unwrap();
        assert_eq!(elements("corten", "published").len(), 2);
        let expected: Value = serde_json::json!([[
            {"concat": ["tcp", "127.0.0.1", 8082]},
            {"concat": ["172.17.0.4", 80]}
        ]]);
        assert_eq!(Value::from(elements("corten", "published-on-address")), expected);

        let twice = firewall.publish(&[port(None, 9000, 3), port(None, 8081, 3)]).unwrap_err();
        assert!(!twice.is_missing());
        assert_eq!(elements("corten", "published").len(), 2, "a transaction that fails changes nothing");

        firewall.withdraw(&[port(None, 8080, 2), port(Some(Ipv4Addr::LOCALHOST), 8082, 4)]).unwrap();
        assert_eq!(elements("corten", "published-on-address").len(), 0);
        assert_eq!(elements("corten", "published").len(), 1);
        assert!(firewall.withdraw(&[port(None, 8080, 2)]).unwrap_err().is_missing());
    });
}

#[test]
fn ipv6_ports_are_in_maps_of_their_own() {
    in_new_namespace(|| {
        let mut firewall = Firewall::open("corten").unwrap();
        firewall.replace(&[with_ipv6()], &[], Transit::Untouched).unwrap();
        let container: Ipv6Addr = "fd00:0:0:1::2".parse().unwrap();
        let any = Published { container_address: container.into(), ..port(None, 8080, 2) };
        let one = Published { host_address: Some("2001:db8::1".parse().unwrap()), host_port: 8081, ..any };
        firewall.publish(&[port(None, 8080, 2), any, one]).unwrap();
        let expected = serde_json::json!([[{"concat": ["tcp", 8080]}, {"concat": ["fd00:0:0:1::2", 80]}]]);
        assert_eq!(Value::from(elements("corten", "published6")), expected);
        let expected =
            serde_json::json!([[{"concat": ["tcp", "2001:db8::1", 8081]}, {"concat": ["fd00:0:0:1::2", 80]}]]);
        assert_eq!(Value::from(elements("corten", "published6-on-address")), expected);
        firewall.withdraw(&[any, one]).unwrap();
        assert_eq!((elements("corten", "published6").len(), elements("corten", "published").len()), (0, 1));
        firewall.remove_bridge(&with_ipv6()).unwrap();
        assert!(!nft(&["list", "table", "inet", "corten"]).contains("fd00:"));
    });
}

#[test]
fn bridges_come_and_go_one_by_one_and_add_no_rule() {
    in_new_namespace(|| {
        let mut firewall = Firewall::open("corten").unwrap();
        firewall.replace(&[bridge()], &[], Transit::Untouched).unwrap();
        let alone = listing();
        firewall.add_bridge(&internal()).unwrap();
        let both = listing();
        firewall.replace(&[bridge(), internal()], &[], Transit::Untouched).unwrap();
        assert_eq!(listing(), both, "added or there from the beginning");
        assert!(!firewall.add_bridge(&internal()).unwrap_err().is_missing());
        let new: Vec<&String> = both.iter().filter(|word| !alone.contains(word)).collect();
        let name = "\"br-inside\"";
        assert_eq!(new, ["172.18.0.0/16", name, name, name, name], "more elements, and nothing else");
        firewall.remove_bridge(&internal()).unwrap();
        assert_eq!(listing(), alone);
        assert!(firewall.remove_bridge(&internal()).unwrap_err().is_missing());
    });
}

#[test]
fn replacing_leaves_other_tables_alone_and_deleting_is_final() {
    in_new_namespace(|| {
        nft(&["add", "table", "inet", "theirs"]);
        nft(&["add", "chain", "inet", "theirs", "input", "{ type filter hook input priority 0; }"]);
        let theirs = nft(&["-a", "list", "table", "inet", "theirs"]);
        let mut firewall = Firewall::open("corten").unwrap();
        firewall.replace(&[bridge()], &[port(None, 1, 2)], Transit::Untouched).unwrap();
        firewall.replace(&[bridge()], &[port(None, 2, 3), port(None, 3, 3)], Transit::Untouched).unwrap();
        assert_eq!(elements("corten", "published").len(), 2);
        firewall.delete().unwrap();
        firewall.delete().unwrap();
        assert!(firewall.publish(&[port(None, 1, 2)]).unwrap_err().is_missing());
        assert_eq!(nft(&["-a", "list", "ruleset"]), theirs);
    });
}

#[test]
fn ten_thousand_ports_fit_into_one_transaction() {
    in_new_namespace(|| {
        let ports: Vec<Published> = (1..=10_000).map(|n| port(None, n, 2)).collect();
        let mut firewall = Firewall::open("corten").unwrap();
        firewall.replace(&[bridge()], &ports, Transit::Untouched).unwrap();
        assert_eq!(elements("corten", "published").len(), ports.len());
    });
}
