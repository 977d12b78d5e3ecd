// SPDX-License-Identifier: Apache-2.0
//! What is made, what is left, and what is found again.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use errors::{Classify, Kind};
use network::{Config, Endpoint, NetworkError, Networks};

use crate::lab::*;

fn ours() -> Vec<String> {
    interfaces().into_iter().filter(|name| name.starts_with("vethc") || name.starts_with("corten")).collect()
}

#[test]
fn nothing_is_touched_before_the_first_container() {
    on_a_host(|| {
        let before = (ip(&["address"]), nft(&["list", "ruleset"]));
        let network = network();
        network.adopt(vec![], &[]).unwrap();
        network.shutdown(true).unwrap();
        assert_eq!((ip(&["address"]), nft(&["list", "ruleset"])), before);
        assert_eq!(network.describe().subnet, None);
    });
}

#[test]
fn fifty_containers_come_and_go_and_leave_nothing() {
    on_a_host(|| {
        let before = interfaces();
        let network = network();
        let mut attached: Vec<(OwnedFd, Endpoint)> = Vec::new();
        for number in 0..50 {
            attached.push(network.attach(&id(number), &[tcp(10_000 + number as u16, 80)]).unwrap());
        }
        let addresses: BTreeSet<Ipv4Addr> = attached.iter().map(|(_, endpoint)| endpoint.address).collect();
        assert_eq!((addresses.len(), elements()), (50, 50));
        let description = network.describe();
        assert_eq!((description.attached, description.published), (50, 50));
        for (namespace, endpoint) in attached {
            network.release(&endpoint).unwrap();
            drop(namespace);
        }
        assert_eq!((elements(), network.describe().attached), (0, 0));
        eventually("only the pool is left", || ours().len() == 1 + network.describe().prepared);
        network.shutdown(true).unwrap();
        eventually("nothing is left", || interfaces() == before);
        assert_eq!(nft(&["list", "ruleset"]), "");
    });
}

#[test]
fn a_network_that_is_used_survives_the_daemons_end_and_is_adopted() {
    on_a_host(|| {
        let first = network();
        let (one, one_end) = first.attach(&id(1), &[tcp(8080, 80)]).unwrap();
        let (two, two_end) = first.attach(&id(2), &[tcp(8082, 80)]).unwrap();
        let (stray, _) = first.attach(&id(3), &[tcp(8083, 80)]).unwrap();
        // A crash: no `shutdown`, and the second container's namespace ended with nobody to release it.
        drop(first);
        drop(two);
        let second = network();
        at_last("adopt", || second.adopt(vec![], &[(id(1), vec![one_end.clone()])]));
        assert_eq!((elements(), second.describe().attached), (1, 1));
        eventually("the stray's interface is gone", || {
            ours().iter().filter(|name| name.starts_with("veth")).count() == 1 + second.describe().prepared
        });
        assert!(ours().contains(&one_end.host_interface));
        drop(stray);
        let server = Server::start(&one, Ipv4Addr::UNSPECIFIED, 80);
        assert!(call(here(), Ipv4Addr::LOCALHOST, 8080));
        assert!(server.caller().is_some());
        assert_eq!(second.attach(&id(4), &[tcp(8080, 80)]).unwrap_err().kind(), Kind::Conflict, "reserved again");
        let (_four, four) = at_last("attach", || second.attach(&id(4), &[tcp(8082, 80)]));
        assert_eq!(four.address, two_end.address, "the lowest that nobody has");
        second.shutdown(true).unwrap();
        assert!(ours().contains(&"corten0".to_owned()), "still used");
    });
}

#[test]
fn what_a_crash_left_without_containers_is_removed() {
    on_a_host(|| {
        let before = interfaces();
        let first = network();
        let (namespace, _endpoint) = first.attach(&id(1), &[tcp(8080, 80)]).unwrap();
        drop(first);
        let second = network();
        eventually("nothing is left", || {
            second.adopt(vec![], &[]).unwrap();
            interfaces() == before
        });
        assert_eq!(nft(&["list", "ruleset"]), "");
        drop(namespace);
    });
}

#[test]
fn containers_that_cannot_have_been_attached_together_are_not_adopted() {
    on_a_host(|| {
        let before = interfaces();
        let first = network();
        let (_namespace, endpoint) = first.attach(&id(1), &[]).unwrap();
        first.shutdown(false).unwrap();
        drop(first);
        let twice = [(id(1), vec![endpoint.clone()]), (id(2), vec![endpoint])];
        eventually("refused for the right reason", || {
            matches!(network().adopt(vec![], &twice), Err(NetworkError::AddressTaken { .. }))
        });
        eventually("nothing is left", || {
            interfaces().iter().filter(|name| !name.starts_with("vethc")).eq(before.iter())
        });
    });
}

#[test]
fn a_release_that_comes_late_harms_nobody() {
    on_a_host(|| {
        let network = network();
        let (_one, one) = network.attach(&id(1), &[tcp(8080, 80)]).unwrap();
        network.release(&one).unwrap();
        let (_two, two) = at_last("attach", || network.attach(&id(2), &[tcp(8080, 80)]));
        assert_eq!(one.address, two.address);
        network.release(&one).unwrap();
        assert_eq!((elements(), network.describe().attached), (1, 1));
    });
}

#[test]
fn the_subnet_collides_with_nothing_the_host_knows() {
    on_a_host(|| {
        let _world = world();
        ip(&["address", "add", "172.17.200.1/24", "dev", "wire"]);
        ip(&["route", "add", "172.18.64.0/20", "via", "192.0.2.2"]);
        let (_container, endpoint) = network().attach(&id(1), &[]).unwrap();
        assert_eq!(gateway(&endpoint), Ipv4Addr::new(172, 19, 0, 1));
    });
    on_a_host(|| {
        let _world = world();
        let config = Config { subnet: Some((Ipv4Addr::new(192, 0, 2, 128), 25)), ..Config::default() };
        let error = Networks::open(config).unwrap().attach(&id(1), &[]).unwrap_err();
        assert!(matches!(error, NetworkError::SubnetTaken { .. }) && error.kind() == Kind::Conflict, "{error}");
        assert_eq!(ours(), [""; 0]);
    });
}

#[test]
fn a_full_subnet_says_so_and_has_room_again() {
    on_a_host(|| {
        let config = Config { subnet: Some((Ipv4Addr::new(10, 99, 0, 0), 30)), ..Config::default() };
        let network = Networks::open(config).unwrap();
        let (_one, one) = network.attach(&id(1), &[]).unwrap();
        assert_eq!(one.address, Ipv4Addr::new(10, 99, 0, 2));
        let error = network.attach(&id(2), &[tcp(8080, 80)]).unwrap_err();
        assert!(matches!(error, NetworkError::NoFreeAddress { capacity: 1, .. }), "{error}");
        network.release(&one).unwrap();
        network.attach(&id(2), &[tcp(8080, 80)]).unwrap();
    });
}

#[test]
fn a_packet_filter_that_was_emptied_is_set_up_again() {
    on_a_host(|| {
        let network = network();
        let (_one, one) = network.attach(&id(1), &[tcp(8081, 80)]).unwrap();
        nft(&["flush", "ruleset"]);
        let (_two, _) = network.attach(&id(2), &[tcp(8082, 80)]).unwrap();
        assert_eq!(elements(), 2, "the first container's port is published again as well");
        nft(&["flush", "ruleset"]);
        network.release(&one).unwrap();
        assert_eq!(elements(), 1);
    });
}

#[test]
fn a_bridge_that_was_deleted_is_made_again_for_all() {
    on_a_host(|| {
        let network = network();
        let (one, one_end) = network.attach(&id(1), &[tcp(8081, 80)]).unwrap();
        ip(&["link", "delete", "corten0"]);
        let (two, two_end) = network.attach(&id(2), &[tcp(8082, 80)]).unwrap();
        assert_eq!(gateway(&two_end), gateway(&one_end));
        for (container, port) in [(&one, 8081), (&two, 8082)] {
            eventually("the port is reached", || {
                let server = Server::start(container, Ipv4Addr::UNSPECIFIED, 80);
                call(here(), Ipv4Addr::LOCALHOST, port) & server.caller().is_some()
            });
        }
    });
}

#[test]
fn two_daemons_need_two_names() {
    on_a_host(|| {
        let one = network();
        one.attach(&id(1), &[]).unwrap();
        let same = network();
        let error = same.attach(&id(2), &[]).unwrap_err();
        assert!(matches!(error, NetworkError::Managed { .. }) && error.kind() == Kind::Conflict, "{error}");
        same.adopt(vec![], &[]).unwrap();
        assert!(ours().contains(&"corten0".to_owned()), "what another manages is not removed");
        let config = Config { bridge: "corten1".to_owned(), table: "corten1".to_owned(), ..Config::default() };
        let (_container, endpoint) = Networks::open(config).unwrap().attach(&id(2), &[]).unwrap();
        assert_eq!(gateway(&endpoint), Ipv4Addr::new(172, 18, 0, 1));
    });
}

#[test]
fn an_interface_that_is_no_bridge_is_left_alone() {
    on_a_host(|| {
        ip(&["link", "add", "corten0", "type", "veth", "peer", "name", "other"]);
        let error = network().attach(&id(1), &[]).unwrap_err();
        assert!(matches!(error, NetworkError::NotABridge { .. }), "{error}");
        network().adopt(vec![], &[]).unwrap();
        assert_eq!(ours(), ["corten0"]);
    });
}

#[test]
fn many_threads_attach_at_once() {
    on_a_host(|| {
        let network = network();
        let endpoints: Vec<(OwnedFd, Endpoint)> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8_u32)
                .map(|thread| {
                    let network = &network;
                    scope.spawn(move || {
                        (0..5).map(|n| network.attach(&id(thread * 5 + n), &[tcp(0, 80)]).unwrap()).collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let addresses: BTreeSet<Ipv4Addr> = endpoints.iter().map(|(_, endpoint)| endpoint.address).collect();
        assert_eq!((addresses.len(), elements()), (40, 40));
    });
}

#[test]
fn attaching_from_the_pool_is_quick() {
    on_a_host(|| {
        const COUNT: usize = 31;
        let network = Networks::open(Config { pool: COUNT, ..Config::default() }).unwrap();
        network.prepare().unwrap();
        let report = |kind: &str, mut times: Vec<Duration>| {
            times.sort();
            println!("attach with one port, {kind}: median {:?}, p90 {:?}", times[15], times[27]);
            assert!(times[15] < Duration::from_millis(10), "generous: this machine may be busy");
        };
        let attach = |number: u16| {
            let start = Instant::now();
            let attached = network.attach(&id(number.into()), &[tcp(8000 + number, 80)]).unwrap();
            (start.elapsed(), attached)
        };
        let series = [("one after the other", Duration::ZERO, 0), ("after a pause", Duration::from_millis(10), 100)];
        for (kind, pause, first) in series {
            eventually("the pool is full", || network.describe().prepared == COUNT);
            let mut times = Vec::new();
            let mut attached = Vec::new();
            for number in first..first + COUNT as u16 {
                std::thread::sleep(pause);
                let (time, one) = attach(number);
                times.push(time);
                attached.push(one);
            }
            report(kind, times);
            for (namespace, endpoint) in attached {
                network.release(&endpoint).unwrap();
                drop(namespace);
            }
        }
    });
}
