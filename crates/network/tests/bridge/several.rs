// SPDX-License-Identifier: Apache-2.0
//! Networks beside the default bridge: who reaches whom, what is refused, what is found again.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;

use errors::{Classify, Kind};
use network::{
    BridgeSpec, BridgeWish, Config, Endpoint, Join, LayoutWish, NetworkError, NetworkId, Networks, Sandbox, Traits,
};

use crate::lab::*;

/// A network that is told by a number; its bridge is br-NUMBER.
pub(crate) fn wish(number: u8, subnet: &str) -> BridgeWish {
    BridgeWish {
        id: NetworkId::from_random([number; 32]),
        bridge: format!("br-{number}"),
        ipv4: LayoutWish { subnet: Some(subnet.parse().unwrap()), ..LayoutWish::default() },
        ipv6: None,
        site: None,
        traits: Traits::default(),
    }
}

pub(crate) fn made(networks: &Networks, wish: BridgeWish) -> BridgeSpec {
    let spec = networks.reserve(wish).unwrap();
    networks.establish(&spec.id).unwrap();
    spec
}

/// A container in networks, with its default route through the first.
pub(crate) fn container(networks: &Networks, number: u32, places: &[&BridgeSpec]) -> (Sandbox, Vec<Endpoint>) {
    let mut sandbox = Sandbox::open(networks.isolated().unwrap()).unwrap();
    let container = id(number);
    let join = |sandbox: &mut Sandbox, network| {
        networks.join(sandbox, &Join { container: &container, network, address: None, ipv6: None, mac: None }).unwrap()
    };
    let endpoints: Vec<Endpoint> = places.iter().map(|spec| join(&mut sandbox, &spec.id)).collect();
    sandbox.set_default_route(endpoints.first()).unwrap();
    (sandbox, endpoints)
}

pub(crate) fn reaches(from: &Sandbox, to: &Sandbox, by: Ipv4Addr, port: u16) -> bool {
    let server = Server::start(to, Ipv4Addr::UNSPECIFIED, 80);
    call(from, by, port) & server.caller().is_some()
}

#[test]
fn containers_of_one_network_reach_each_other_and_nobody_else_but_by_published_ports() {
    on_a_host(|| {
        let networks = network();
        let (red, blue) = (made(&networks, wish(1, "10.1.0.0/16")), made(&networks, wish(2, "10.2.0.0/24")));
        let (one, _) = container(&networks, 1, &[&red]);
        let (two, two_ends) = container(&networks, 2, &[&red]);
        let (other, mut other_ends) = container(&networks, 3, &[&blue]);
        let (default, default_end) = networks.attach(&id(4), &[]).unwrap();
        let default = Sandbox::open(default).unwrap();
        assert!(reaches(&one, &two, two_ends[0].address, 80));
        assert!(!reaches(&one, &other, other_ends[0].address, 80), "of another network");
        assert!(!reaches(&default, &other, other_ends[0].address, 80), "from the default bridge");
        assert!(!reaches(&other, &default, default_end.address, 80), "to the default bridge");
        networks.publish(&mut other_ends[0], &[tcp(8080, 80)], false).unwrap();
        for (who, from) in [("another network", &one), ("the default bridge", &default), ("itself", &other)] {
            assert!(reaches(from, &other, red.ipv4.gateway, 8080), "{who}, by another bridge's address");
            assert!(reaches(from, &other, blue.ipv4.gateway, 8080), "{who}, by its own bridge's address");
        }
        networks.withdraw(&mut other_ends[0]).unwrap();
        assert!(other_ends[0].ports.is_empty() && elements() == 0);
        assert!(!reaches(&one, &other, red.ipv4.gateway, 8080));
        assert_eq!(networks.describe().others, 2);
    });
}

#[test]
fn containers_of_any_network_reach_the_world_as_the_host_unless_it_is_internal() {
    on_a_host(|| {
        let world = world();
        let networks = network();
        let open = made(&networks, wish(1, "10.1.0.0/16"));
        let closed = wish(2, "10.2.0.0/16");
        let closed =
            made(&networks, BridgeWish { traits: Traits { internal: true, ..closed.traits.clone() }, ..closed });
        let (one, _) = container(&networks, 1, &[&open]);
        let server = Server::start(&world, Ipv4Addr::UNSPECIFIED, 7000);
        assert!(call(&one, WORLD, 7000));
        assert_eq!(server.caller().unwrap().ip(), IpAddr::V4(HOST));

        let (two, ends) = container(&networks, 2, &[&closed]);
        assert_eq!((ends[0].gateway, inside(&two, || ip(&["route", "show", "default"]))), (None, String::new()));
        // Not by a route of its own either, nor does the world get in by one.
        inside(&two, || ip(&["route", "add", "default", "via", "10.2.0.1"]));
        inside(&world, || ip(&["route", "add", "10.0.0.0/8", "via", "192.0.2.1"]));
        let server = Server::start(&world, Ipv4Addr::UNSPECIFIED, 7000);
        assert!(!call(&two, WORLD, 7000));
        assert_eq!(server.caller(), None);
        let server = Server::start(&two, Ipv4Addr::UNSPECIFIED, 80);
        assert!(!call(&world, ends[0].address, 80));
        assert_eq!(server.caller(), None);
        let (three, _) = container(&networks, 3, &[&closed]);
        assert!(reaches(&three, &two, ends[0].address, 80), "its own containers reach each other");
    });
}

#[test]
fn a_network_without_masquerade_shows_its_containers_addresses() {
    on_a_host(|| {
        let world = world();
        let networks = network();
        let plain = wish(1, "10.1.0.0/16");
        let plain =
            made(&networks, BridgeWish { traits: Traits { masquerade: false, ..plain.traits.clone() }, ..plain });
        let (one, ends) = container(&networks, 1, &[&plain]);
        inside(&world, || ip(&["route", "add", "10.1.0.0/16", "via", "192.0.2.1"]));
        let seen = exchange(&one, (WORLD, 7000), &world, 7000).unwrap();
        assert_eq!(seen.ip(), IpAddr::V4(ends[0].address));
    });
}

#[test]
fn without_inter_container_traffic_only_published_ports_are_reached() {
    on_a_host(|| {
        // What the bridge would redirect by itself, were it made to ask the packet filter, is traffic between containers.
        set("/proc/sys/net/bridge/bridge-nf-call-iptables", "0");
        let networks = network();
        let quiet = wish(1, "10.1.0.0/16");
        let quiet =
            made(&networks, BridgeWish { traits: Traits { inter_container: false, ..quiet.traits.clone() }, ..quiet });
        let (one, _) = container(&networks, 1, &[&quiet]);
        let (two, mut ends) = container(&networks, 2, &[&quiet]);
        assert!(!reaches(&one, &two, ends[0].address, 80));
        networks.publish(&mut ends[0], &[tcp(8080, 80)], false).unwrap();
        assert!(reaches(&one, &two, quiet.ipv4.gateway, 8080));
        // Not even if both send by way of the host what is for the other.
        inside(&one, || ip(&["route", "add", "10.1.0.3/32", "via", "10.1.0.1"]));
        inside(&two, || ip(&["route", "add", "10.1.0.2/32", "via", "10.1.0.1"]));
        assert!(!reaches(&one, &two, ends[0].address, 80));
        assert!(reaches(&one, &two, quiet.ipv4.gateway, 8080));
        // A bridge that is made again has the same manners.
        ip(&["link", "delete", "br-1"]);
        networks.establish(&quiet.id).unwrap();
        eventually("the port is reached", || reaches(&one, &two, quiet.ipv4.gateway, 8080));
        assert!(!reaches(&one, &two, ends[0].address, 80));
    });
}

#[test]
fn what_is_wished_is_what_the_container_has() {
    on_a_host(|| {
        let networks = network();
        let traits = Traits { mtu: Some(1400), publish_on: Some(Ipv4Addr::LOCALHOST), ..Traits::default() };
        let ipv4 = LayoutWish {
            subnet: Some("10.1.0.0/16".parse().unwrap()),
            gateway: Some(Ipv4Addr::new(10, 1, 255, 254)),
            range: Some("10.1.4.0/24".parse().unwrap()),
            reserved: vec![Ipv4Addr::new(10, 1, 4, 0)],
        };
        let wide = BridgeWish { ipv4, traits, ..wish(1, "10.1.0.0/16") };
        let spec = made(&networks, wide);
        let mut sandbox = Sandbox::open(networks.isolated().unwrap()).unwrap();
        let (address, mac) = (Some(Ipv4Addr::new(10, 1, 9, 9)), Some([2, 0, 0, 0, 0, 9]));
        let join = Join { container: &id(1), network: &spec.id, address, ipv6: None, mac };
        let mut endpoint = networks.join(&mut sandbox, &join).unwrap();
        sandbox.set_default_route(Some(&endpoint)).unwrap();
        let seen = inside(&sandbox, || ip(&["address", "show", "dev", "eth0"]) + &ip(&["route"]));
        for part in ["mtu 1400", "02:00:00:00:00:09", "inet 10.1.9.9/16", "default via 10.1.255.254"] {
            assert!(seen.contains(part), "{part}: {seen}");
        }
        networks.publish(&mut endpoint, &[tcp(8080, 80)], false).unwrap();
        assert_eq!(endpoint.ports[0].host_ip, Some(Ipv4Addr::LOCALHOST.into()));

        let refused = |address: [u8; 4]| {
            let mut sandbox = Sandbox::open(networks.isolated().unwrap()).unwrap();
            let join =
                Join { container: &id(2), network: &spec.id, address: Some(address.into()), ipv6: None, mac: None };
            networks.join(&mut sandbox, &join).unwrap_err()
        };
        assert_eq!(
            refused([10, 1, 9, 9]).to_string(),
            "the address 10.1.9.9 is already in use by container 000000000000"
        );
        assert_eq!(refused([10, 1, 4, 0]).to_string(), "the address 10.1.4.0 is reserved");
        assert_eq!(refused([10, 2, 0, 1]).kind(), Kind::InvalidArgument);
        let (_, ends) = container(&networks, 3, &[&spec]);
        assert_eq!(ends[0].address, Ipv4Addr::new(10, 1, 4, 1), "the first of the range that is not reserved");
        assert_eq!(networks.describe().attached, 2);
    });
}

/// An address goes with a hardware address that is made of it: who gets it need not tell a thousand neighbours. But its
/// neighbours must be told when somebody had it otherwise.
#[test]
fn an_address_is_announced_only_when_its_neighbours_know_it_otherwise() {
    on_a_host(|| {
        let networks = network();
        let spec = made(&networks, wish(1, "10.1.0.0/16"));
        let (neighbour, neighbours) = container(&networks, 1, &[&spec]);
        let place = |number: u32, mac: Option<[u8; 6]>| {
            let address = Ipv4Addr::new(10, 1, 0, 9);
            let mut sandbox = Sandbox::open(networks.isolated().unwrap()).unwrap();
            let join = Join { container: &id(number), network: &spec.id, address: Some(address), ipv6: None, mac };
            let endpoint = networks.join(&mut sandbox, &join).unwrap();
            (sandbox, endpoint)
        };
        let known = || inside(&neighbour, || ip(&["neigh", "show", "10.1.0.9"]));
        let (usual, end) = place(2, None);
        assert!(reaches(&usual, &neighbour, neighbours[0].address, 80));
        let told = end.mac.map(|byte| format!("{byte:02x}")).join(":");
        eventually("its own words made it known", || known().contains(&told));
        drop(usual);
        networks.leave(&end).unwrap();

        let (usual, end) = place(3, None);
        assert!(reaches(&neighbour, &usual, end.address, 80), "the neighbour finds it by what it knows");
        drop(usual);
        networks.leave(&end).unwrap();

        // Another, who has asked nobody, remembers whoever says something unasked.
        let (listener, _) = container(&networks, 7, &[&spec]);
        inside(&listener, || set("/proc/sys/net/ipv4/conf/eth0/arp_accept", "1"));
        let heard = || inside(&listener, || ip(&["neigh", "show", "10.1.0.9"]));
        let (usual, end) = place(6, None);
        assert_eq!(heard(), "", "nothing was told");
        drop(usual);
        networks.leave(&end).unwrap();

        let (strange, end) = place(4, Some([2, 0, 0, 0, 0, 9]));
        eventually("the neighbours are told", || {
            known().contains("02:00:00:00:00:09") && heard().contains("02:00:00:00:00:09")
        });
        assert!(reaches(&neighbour, &strange, end.address, 80));
        drop(strange);
        networks.leave(&end).unwrap();
        let (usual, end) = place(5, None);
        eventually("and told again", || known().contains(&told));
        assert!(reaches(&neighbour, &usual, end.address, 80));
    });
}

#[test]
fn a_container_enters_and_leaves_networks_while_it_lives() {
    on_a_host(|| {
        let world = world();
        let networks = network();
        let (red, blue) = (made(&networks, wish(1, "10.1.0.0/16")), made(&networks, wish(2, "10.2.0.0/16")));
        let (namespace, first) = networks.attach(&id(1), &[]).unwrap();
        let mut one = Sandbox::open(namespace).unwrap();
        let (two, two_ends) = container(&networks, 2, &[&red, &blue]);
        assert_eq!(two_ends.iter().map(|end| end.interface.as_str()).collect::<Vec<_>>(), ["eth0", "eth1"]);
        assert!(!reaches(&one, &two, two_ends[1].address, 80));
        let join = Join { container: &id(1), network: &blue.id, address: None, ipv6: None, mac: None };
        let second = networks.join(&mut one, &join).unwrap();
        assert!(reaches(&one, &two, two_ends[1].address, 80), "entered");
        assert!(call_world(&one, &world), "its default route is what it was");
        networks.leave(&first).unwrap();
        assert!(!call_world(&one, &world), "the route went with the interface");
        one.set_default_route(Some(&second)).unwrap();
        assert!(call_world(&one, &world), "by the other network");
        one.set_default_route(None).unwrap();
        one.set_default_route(None).unwrap();
        assert!(!call_world(&one, &world));
        let third = networks.join(&mut one, &Join { network: &red.id, ..join.clone() }).unwrap();
        assert_eq!(third.interface, "eth0", "the name is free again");
        networks.leave(&second).unwrap();
        networks.leave(&second).unwrap();
        assert!(!reaches(&one, &two, two_ends[1].address, 80), "left");
        let again = networks.join(&mut one, &join).unwrap();
        assert_eq!(again.address, second.address, "the address was free");
    });
}

fn call_world(from: &Sandbox, world: &OwnedFd) -> bool {
    let server = Server::start(world, Ipv4Addr::UNSPECIFIED, 7000);
    call(from, WORLD, 7000) & server.caller().is_some()
}

#[test]
fn what_collides_is_refused_and_what_is_chosen_does_not() {
    on_a_host(|| {
        let _world = world();
        let networks = network();
        let before = interfaces();
        ip(&["link", "add", "taken", "type", "bridge"]);
        let refused = |wish: BridgeWish| networks.reserve(wish).unwrap_err();
        assert!(matches!(refused(wish(1, "192.0.2.0/28")), NetworkError::SubnetTaken { .. }));
        assert!(
            matches!(refused(wish(1, "172.17.4.0/24")), NetworkError::SubnetOfAnother { .. }),
            "the default bridge's"
        );
        let named = BridgeWish { bridge: "taken".into(), ..wish(1, "10.1.0.0/16") };
        assert!(matches!(refused(named), NetworkError::InterfaceExists { .. }));
        let named = BridgeWish { bridge: "corten0".into(), ..wish(1, "10.1.0.0/16") };
        assert!(matches!(refused(named), NetworkError::InterfaceExists { .. }), "not there yet, but taken");
        assert_eq!(refused(wish(1, "10.1.0.0/31")).kind(), Kind::InvalidArgument);
        ip(&["link", "delete", "taken"]);
        ip(&["route", "add", "172.19.0.0/16", "via", "192.0.2.2"]);
        let one = made(&networks, wish(1, "10.1.0.0/16"));
        assert!(matches!(refused(wish(2, "10.0.0.0/8")), NetworkError::SubnetOfAnother { .. }));
        let chosen = |number| {
            let free = BridgeWish { ipv4: LayoutWish::default(), ..wish(number, "0.0.0.0/0") };
            made(&networks, free).ipv4.subnet.to_string()
        };
        assert_eq!((chosen(3), chosen(4)), ("172.18.0.0/16".into(), "172.20.0.0/16".into()), "not what has a route");
        let (namespace, first) = networks.attach(&id(1), &[]).unwrap();
        assert_eq!(first.address, Ipv4Addr::new(172, 17, 0, 2), "the default bridge's was kept for it");
        let (sandbox, ends) = container(&networks, 2, &[&one]);
        let error = networks.remove(&one.id).unwrap_err();
        assert!(matches!(error, NetworkError::InUse { attached: 1, .. }), "{error}");
        networks.release(&ends[0]).unwrap();
        drop((sandbox, namespace));
        for number in [1, 3, 4] {
            networks.remove(&NetworkId::from_random([number; 32])).unwrap();
        }
        networks.release(&first).unwrap();
        networks.shutdown(true).unwrap();
        eventually("nothing is left", || interfaces() == before);
        assert_eq!(nft(&["list", "ruleset"]), "");
    });
}

#[test]
fn networks_that_are_used_outlive_the_daemon_and_the_others_are_made_again() {
    on_a_host(|| {
        let first = network();
        let (red, blue) = (made(&first, wish(1, "10.1.0.0/16")), made(&first, wish(2, "10.2.0.0/16")));
        let (one, mut ends) = container(&first, 1, &[&red]);
        let (two, two_ends) = container(&first, 2, &[&red]);
        let (_stray, stray_ends) = container(&first, 3, &[&red]);
        first.publish(&mut ends[0], &[tcp(8080, 80)], false).unwrap();
        first.attach(&id(4), &[]).unwrap();
        // A crash.
        drop(first);
        let second = network();
        let live = [(id(1), ends.clone()), (id(2), two_ends.clone())];
        at_last("adopt", || second.adopt(vec![red.clone(), blue.clone()], &live));
        assert!(!interfaces().iter().any(|name| name == "br-2" || name == "corten0"), "nobody uses them");
        assert!(!interfaces().contains(&stray_ends[0].host_interface));
        assert!(reaches(&one, &two, two_ends[0].address, 80));
        let server = Server::start(&one, Ipv4Addr::UNSPECIFIED, 80);
        assert!(call(here(), Ipv4Addr::LOCALHOST, 8080) & server.caller().is_some());
        let (three, three_ends) = container(&second, 5, &[&red, &blue]);
        assert_eq!(three_ends[0].address, stray_ends[0].address, "the lowest that nobody has");
        assert!(reaches(&three, &two, two_ends[0].address, 80) && interfaces().contains(&"br-2".to_owned()));
        second.shutdown(true).unwrap();
        assert!(interfaces().contains(&"br-1".to_owned()), "still used");
        drop(second);
        // The machine was rebooted: nothing is live, nothing is there.
        let third = network();
        at_last("adopt", || third.adopt(vec![red.clone(), blue.clone()], &[]));
        assert!(!interfaces().iter().any(|name| name.starts_with("br-")), "{:?}", interfaces());
        let taken = third.reserve(BridgeWish { bridge: "br-9".into(), ..wish(9, "10.1.5.0/24") }).unwrap_err();
        assert_eq!(taken.kind(), Kind::Conflict, "its subnet is kept all the same");
        container(&third, 6, &[&red]);
    });
}

#[test]
fn an_address_is_said_in_the_new_place_at_once() {
    on_a_host(|| {
        let networks = Networks::open(Config { pool: 0, ..Config::default() }).unwrap();
        let red = made(&networks, wish(1, "10.1.0.0/16"));
        for number in 0..4 {
            let (sandbox, ends) = container(&networks, number, &[&red]);
            let (address, gateway) = (ends[0].address, red.ipv4.gateway);
            let socket = UdpSocket::bind((gateway, 0)).unwrap();
            socket.set_read_timeout(Some(GIVE_UP)).unwrap();
            let port = socket.local_addr().unwrap().port();
            inside(&sandbox, move || {
                UdpSocket::bind((address, 0)).unwrap().send_to(b"here", (gateway, port)).unwrap();
            });
            assert_eq!(socket.recv_from(&mut [0; 8]).unwrap().1.ip(), IpAddr::V4(address), "container {number}");
            networks.leave(&ends[0]).unwrap();
        }
    });
}
