// SPDX-License-Identifier: Apache-2.0
//! Networks with IPv6: who reaches whom, what a hostile container cannot, and that the host stays what it was.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use errors::{Classify, Kind};
use network::{BridgeSpec, BridgeWish, Endpoint, Join, LayoutWish, NetworkError, Networks, PortMapping, Protocol};
use network::{Sandbox, Traits};

use crate::connectivity::advertise;
use crate::lab::*;
use crate::several::{made, wish};

const ANY: Ipv6Addr = Ipv6Addr::UNSPECIFIED;

/// A network with both families: 10.N.0.0/16 and fd00:N::/64.
fn both(number: u8) -> BridgeWish {
    let subnet = Some(format!("fd00:{number}::/64").parse().unwrap());
    let ipv6 = Some(LayoutWish { subnet, ..LayoutWish::default() });
    BridgeWish { ipv6, ..wish(number, &format!("10.{number}.0.0/16")) }
}

fn internal(number: u8) -> BridgeWish {
    BridgeWish { traits: Traits { internal: true, ..Traits::default() }, ..both(number) }
}

/// A container in one network, with its default routes.
fn container(networks: &Networks, number: u32, spec: &BridgeSpec) -> (Sandbox, Endpoint) {
    let mut sandbox = Sandbox::open(networks.isolated().unwrap()).unwrap();
    let join = Join { container: &id(number), network: &spec.id, address: None, ipv6: None, mac: None };
    let endpoint = networks.join(&mut sandbox, &join).unwrap();
    sandbox.set_default_route(Some(&endpoint)).unwrap();
    sandbox.set_ipv6_default_route(&endpoint).unwrap();
    (sandbox, endpoint)
}

fn address(endpoint: &Endpoint) -> Ipv6Addr {
    endpoint.ipv6.unwrap().address
}

fn gateway6(spec: &BridgeSpec) -> Ipv6Addr {
    spec.ipv6.as_ref().unwrap().gateway
}

/// As whom a caller is seen by a server on port 80, if it is greeted.
fn seen_by(server: &Sandbox, from: impl std::os::fd::AsFd, by: Ipv6Addr, port: u16) -> Option<IpAddr> {
    let server = Server::start(server, ANY, 80);
    let greeted = call(from, by, port);
    server.caller().filter(|_| greeted).map(|peer| peer.ip())
}

#[test]
fn containers_of_one_network_reach_each_other_and_nobody_of_another() {
    on_a_host(|| {
        let networks = network();
        let (red, blue) = (made(&networks, both(1)), made(&networks, both(2)));
        let inside_only = made(&networks, internal(3));
        let (one, one_end) = container(&networks, 1, &red);
        let (two, two_end) = container(&networks, 2, &red);
        let (other, other_end) = container(&networks, 3, &blue);
        let (secret, secret_end) = container(&networks, 4, &inside_only);
        let (witness, _) = container(&networks, 5, &inside_only);
        assert_eq!(one_end.ipv6.unwrap().address, "fd00:1::2".parse::<Ipv6Addr>().unwrap());
        let seen = inside(&one, || ip(&["-6", "address", "show", "dev", "eth0"]) + &ip(&["-6", "route"]));
        assert!(seen.contains("inet6 fd00:1::2/64") && seen.contains("default via fd00:1::1"), "{seen}");
        assert!(!seen.contains("tentative"), "nobody waits for it: {seen}");
        assert_eq!(seen_by(&two, &one, address(&two_end), 80), Some(address(&one_end).into()));
        assert!(seen_by(&secret, &witness, address(&secret_end), 80).is_some());
        assert_eq!(secret_end.ipv6.unwrap().gateway, None);
        // Not by a route of its own either.
        inside(&secret, || ip(&["-6", "route", "add", "default", "via", "fd00:3::1"]));
        for (who, from, to, by) in [
            ("another network", &one, &other, &other_end),
            ("an internal one", &one, &secret, &secret_end),
            ("out of an internal one", &secret, &one, &one_end),
        ] {
            assert_eq!(seen_by(to, from, address(by), 80), None, "{who}");
        }
        assert!(seen_by(&one, here(), address(&one_end), 80).is_some(), "the host reaches its containers");
        let default = networks.attach(&id(6), &[]).unwrap();
        assert_eq!(
            (default.1.ipv6, inside(&default.0, || ip(&["-6", "address", "show", "dev", "eth0"]))),
            (None, "".into())
        );
    });
}

#[test]
fn without_inter_container_traffic_only_published_ports_are_reached() {
    on_a_host(|| {
        set("/proc/sys/net/bridge/bridge-nf-call-ip6tables", "0");
        let networks = network();
        let traits = Traits { inter_container: false, ..Traits::default() };
        let quiet = made(&networks, BridgeWish { traits, ..both(1) });
        let (one, one_end) = container(&networks, 1, &quiet);
        let (two, mut two_end) = container(&networks, 2, &quiet);
        networks.publish(&mut two_end, &[tcp(8080, 80)], false).unwrap();
        for by_the_host in [false, true] {
            assert_eq!(seen_by(&two, &one, address(&two_end), 80), None, "by the host: {by_the_host}");
            assert!(seen_by(&two, &one, gateway6(&quiet), 8080).is_some(), "by the host: {by_the_host}");
            for (from, to) in [(&one, address(&two_end)), (&two, address(&one_end))] {
                let route = move || ip(&["-6", "route", "replace", &format!("{to}/128"), "via", "fd00:1::1"]);
                inside(from, route);
            }
        }
    });
}

#[test]
fn containers_reach_the_world_as_the_host_and_it_does_not_reach_them() {
    on_a_host(|| {
        let world = world();
        let networks = network();
        let plain = BridgeWish { traits: Traits { masquerade: false, ..Traits::default() }, ..both(2) };
        let (red, plain, closed) = (made(&networks, both(1)), made(&networks, plain), made(&networks, internal(3)));
        let (one, one_end) = container(&networks, 1, &red);
        let (two, two_end) = container(&networks, 2, &plain);
        let (three, three_end) = container(&networks, 3, &closed);
        inside(&three, || ip(&["-6", "route", "add", "default", "via", "fd00:3::1"]));
        inside(&world, || ip(&["-6", "route", "add", "fd00::/16", "via", "2001:db8::1"]));
        let out = |from: &Sandbox| {
            let server = Server::start(&world, ANY, 7000);
            let greeted = call(from, WORLD6, 7000);
            server.caller().filter(|_| greeted).map(|peer| peer.ip())
        };
        assert_eq!(out(&one), Some(HOST6.into()));
        assert_eq!(out(&two), Some(address(&two_end).into()), "without masquerade it is itself");
        assert_eq!(out(&three), None);
        for (sandbox, end) in [(&one, &one_end), (&two, &two_end), (&three, &three_end)] {
            assert_eq!(seen_by(sandbox, &world, address(end), 80), None);
        }
    });
}

#[test]
fn a_published_port_is_reached_by_both_families() {
    on_a_host(|| {
        let world = world();
        let networks = network();
        let (red, blue) = (made(&networks, both(1)), made(&networks, both(2)));
        let (server, mut end) = container(&networks, 1, &red);
        let (sibling, _) = container(&networks, 2, &red);
        let (stranger, _) = container(&networks, 3, &blue);
        networks.publish(&mut end, &[tcp(8080, 80), tcp_on(HOST6, 8081, 80), tcp_on(ANY, 8082, 80)], false).unwrap();
        let on: Vec<Vec<IpAddr>> = end.ports.iter().map(|port| port.host_addresses()).collect();
        assert_eq!(on, [vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED), ANY.into()], vec![HOST6.into()], vec![ANY.into()]]);
        assert_eq!(elements(), 4);
        assert!(TcpListener::bind((ANY, 8080)).is_err(), "it is reserved");
        for filter_bridged in ["0", "1"] {
            set("/proc/sys/net/bridge/bridge-nf-call-ip6tables", filter_bridged);
            let reached = |who: &str, from: &OwnedFd, by: Ipv6Addr, seen_as: Ipv6Addr| {
                let seen = seen_by(&server, from, by, 8080);
                assert_eq!(seen, Some(seen_as.into()), "{who} by {by}, bridge-nf-call-ip6tables={filter_bridged}");
            };
            let of = |sandbox: &Sandbox| std::os::fd::AsFd::as_fd(sandbox).try_clone_to_owned().unwrap();
            reached("the host", &here(), HOST6, HOST6);
            reached("the host", &here(), gateway6(&red), gateway6(&red));
            reached("the world, which keeps its address,", &world, HOST6, WORLD6);
            reached("a sibling", &of(&sibling), HOST6, gateway6(&red));
            reached("another network", &of(&stranger), HOST6, gateway6(&red));
            reached("the container itself", &of(&server), HOST6, gateway6(&red));
        }
        assert!(seen_by(&server, &world, HOST6, 8081).is_some() && seen_by(&server, &world, HOST6, 8082).is_some());
        assert_eq!(seen_by(&server, &sibling, gateway6(&red), 8081), None, "on the other address only");
        let asked = std::time::Instant::now();
        assert_eq!(seen_by(&server, here(), Ipv6Addr::LOCALHOST, 8080), None);
        assert!(asked.elapsed() < GIVE_UP, "::1 is refused rather than kept waiting");
        let listener = Server::start(&server, Ipv4Addr::UNSPECIFIED, 80);
        assert!(call(here(), Ipv4Addr::LOCALHOST, 8080) & listener.caller().is_some());
        networks.hold_back(&end, true).unwrap();
        assert_eq!((elements(), seen_by(&server, &world, HOST6, 8080)), (0, None));
        networks.hold_back(&end, false).unwrap();
        let first = end.ports[0].clone();
        networks.exchange(&mut end, &[first], &[tcp(9090, 80)]).unwrap();
        assert_eq!(seen_by(&server, &world, HOST6, 8080), None);
        assert!(seen_by(&server, &world, HOST6, 9090).is_some());
        networks.withdraw(&mut end).unwrap();
        assert_eq!(elements(), 0);
    });
}

#[test]
fn datagrams_reach_published_ports_and_come_back() {
    on_a_host(|| {
        let world = world();
        let networks = network();
        let red = made(&networks, both(1));
        let (server, mut end) = container(&networks, 1, &red);
        let port = PortMapping { protocol: Protocol::Udp, ..tcp(5353, 53) };
        networks.publish(&mut end, std::slice::from_ref(&port), false).unwrap();
        assert_eq!(exchange(&world, (HOST6, 5353), &server, 53).unwrap().ip(), IpAddr::V6(WORLD6));
        // What goes on asking is led to the next one.
        networks.withdraw(&mut end).unwrap();
        assert!(exchange(&world, (HOST6, 5353), &server, 53).is_none());
        let (next, mut next_end) = container(&networks, 2, &red);
        networks.publish(&mut next_end, &[port], false).unwrap();
        assert!(exchange(&world, (HOST6, 5353), &next, 53).is_some());
    });
}

#[test]
fn what_cannot_be_published_is_refused_and_nothing_is() {
    on_a_host(|| {
        let networks = network();
        let red = made(&networks, both(1));
        let (_server, mut end) = container(&networks, 1, &red);
        let loopback = networks.publish(&mut end, &[tcp_on(Ipv6Addr::LOCALHOST, 8080, 80)], false).unwrap_err();
        assert!(matches!(loopback, NetworkError::Ipv6Loopback) && loopback.kind() == Kind::Unsupported, "{loopback}");
        let elsewhere = networks.publish(&mut end, &[tcp_on(WORLD6, 8080, 80)], false).unwrap_err();
        assert_eq!(elsewhere.kind(), Kind::InvalidArgument, "{elsewhere}");
        // One family alone is not enough where both are wished for.
        let taken = TcpListener::bind((ANY, 8080)).unwrap();
        let error = networks.publish(&mut end, &[tcp(8080, 80)], false).unwrap_err();
        assert!(matches!(error, NetworkError::PortTaken { .. }), "{error}");
        drop(taken);
        let (_other, mut other_end) = container(&networks, 2, &red);
        at_last("publish", || networks.publish(&mut end.clone(), &[tcp(8080, 80)], false));
        let error = networks.publish(&mut other_end, &[tcp_on(ANY, 8080, 80)], false).unwrap_err();
        assert!(error.to_string().contains("by container 000000000000"), "{error}");
        let plain = made(&networks, wish(2, "10.2.0.0/16"));
        let (_four, mut four) = container(&networks, 3, &plain);
        let error = networks.publish(&mut four, &[tcp_on(ANY, 8081, 80)], false).unwrap_err();
        assert!(matches!(error, NetworkError::Ipv6Port { .. }), "{error}");
        assert_eq!(elements(), 2);
    });
}

#[test]
fn a_container_is_nobodys_router_and_speaks_for_itself_alone() {
    on_a_host(|| {
        let networks = network();
        let red = made(&networks, both(1));
        let (hostile, hostile_end) = container(&networks, 1, &red);
        let (witness, _) = container(&networks, 2, &red);
        let (believer, _) = container(&networks, 3, &red);
        // What the bridge only bridges is not to be looked at: a neighbour must be able to believe it.
        set("/proc/sys/net/bridge/bridge-nf-call-ip6tables", "0");
        inside(&believer, || set("/proc/sys/net/ipv6/conf/eth0/accept_ra", "2"));
        let routers = || ip(&["-6", "route", "show", "default"]);
        let believes = |who: &Sandbox| inside(who, routers).contains("via fe80");
        eventually("a neighbour that wants a router believes it", || {
            inside(&hostile, || advertise("eth0"));
            believes(&believer)
        });
        assert!(!believes(&witness) && routers().is_empty());
        // Not even if somebody told the bridge to believe.
        set("/proc/sys/net/ipv6/conf/br-1/accept_ra", "2");
        for _ in 0..3 {
            inside(&hostile, || advertise("eth0"));
        }
        let gateway = gateway6(&red);
        let socket = UdpSocket::bind((gateway, 7000)).unwrap();
        socket.set_read_timeout(Some(GIVE_UP)).unwrap();
        let own = address(&hostile_end);
        inside(&hostile, move || {
            ip(&["address", "add", "2001:db8:66::1/64", "dev", "eth0", "nodad"]);
            let elsewhere: Ipv6Addr = "2001:db8:66::1".parse().unwrap();
            // The first to be sent finds out where the gateway is: whoever poses would be told nothing.
            for (source, port) in [(own, 7001), (elsewhere, 7002), (own, 7003)] {
                UdpSocket::bind((source, port)).unwrap().send_to(b"trust me", (gateway, 7000)).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        });
        let sender = || socket.recv_from(&mut [0; 16]).unwrap().1.port();
        assert_eq!((sender(), sender()), (7001, 7003), "nothing of the other one");
        assert_eq!(routers(), "", "what came before that, too");
    });
}

#[test]
fn the_host_stays_what_it_was() {
    on_a_host(|| {
        let world = world();
        let second = second_world();
        set("/proc/sys/net/ipv6/conf/wire/accept_ra", "1");
        eventually("the host learns its default route", || {
            inside(&world, || advertise("wire"));
            ip(&["-6", "route", "show", "default"]).contains("dev wire")
        });
        let settings = || {
            ["wire/accept_ra", "wire/forwarding", "lo/forwarding", "default/forwarding", "default/accept_ra"]
                .map(|setting| std::fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{setting}")).unwrap())
        };
        let forwards = || std::fs::read_to_string("/proc/sys/net/ipv6/conf/all/forwarding").unwrap().trim() == "1";
        let before = settings();
        assert!(!forwards());
        let networks = network();
        let red = made(&networks, both(1));
        assert_eq!((forwards(), settings()), (true, before.clone()));
        assert!(ip(&["-6", "route", "show", "default"]).contains("dev wire"), "what it had learnt is not forgotten");
        // It carries nothing between its neighbours, until somebody makes a router of it.
        inside(&world, || ip(&["-6", "route", "add", "2001:db8:2::/64", "via", "2001:db8::1"]));
        inside(&second, || ip(&["-6", "route", "add", "2001:db8::/64", "via", "2001:db8:2::1"]));
        let passes = || {
            let server = Server::start(&second, ANY, 80);
            call(&world, "2001:db8:2::2".parse::<Ipv6Addr>().unwrap(), 80) & server.caller().is_some()
        };
        assert!(!passes());
        set("/proc/sys/net/ipv6/conf/all/forwarding", "1");
        let (sandbox, end) = container(&networks, 1, &red);
        assert!(passes());
        set("/proc/sys/net/ipv6/conf/default/forwarding", "0");
        networks.release(&end).unwrap();
        drop(sandbox);
        networks.shutdown(true).unwrap();
        assert!(!forwards(), "what was switched on for containers is off with the last of them");
    });
}

/// Another neighbour: 2001:db8:2::2, and the host is 2001:db8:2::1.
fn second_world() -> OwnedFd {
    let namespace = std::thread::spawn(|| {
        sys::namespace::unshare(sys::process::CloneFlags::NEWNET).unwrap();
        OwnedFd::from(File::open("/proc/thread-self/ns/net").unwrap())
    });
    let namespace = namespace.join().unwrap();
    let path = format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd());
    ip(&["link", "add", "rope", "type", "veth", "peer", "name", "rope", "netns", &path]);
    ip(&["address", "add", "2001:db8:2::1/64", "dev", "rope", "nodad"]);
    ip(&["link", "set", "rope", "up"]);
    inside(&namespace, || {
        ip(&["address", "add", "2001:db8:2::2/64", "dev", "rope", "nodad"]);
        ip(&["link", "set", "rope", "up"]);
    });
    let carries = || ip(&["-json", "link", "show", "rope"]).contains(r#""operstate":"UP""#);
    eventually("the rope is up", || carries() && inside(&namespace, carries));
    namespace
}

#[test]
fn addresses_are_chosen_from_this_hosts_own_and_none_is_given_twice() {
    on_a_host(|| {
        let networks = network();
        let free =
            |number| BridgeWish { ipv6: Some(LayoutWish::default()), ..wish(number, &format!("10.{number}.0.0/16")) };
        let first = made(&networks, free(1));
        let subnet = first.ipv6.as_ref().unwrap().subnet;
        assert!(subnet.prefix() == 64 && subnet.network().octets()[0] == 0xfd, "{subnet}");
        let second = made(&networks, BridgeWish { site: Some(subnet), ..free(2) });
        let other = second.ipv6.as_ref().unwrap().subnet;
        assert!(other != subnet && other.network().octets()[..6] == subnet.network().octets()[..6], "{other} {subnet}");
        let overlapping = LayoutWish { subnet: Some(subnet), ..LayoutWish::default() };
        let refused = networks.reserve(BridgeWish { ipv6: Some(overlapping), ..wish(3, "10.3.0.0/16") }).unwrap_err();
        assert!(matches!(refused, NetworkError::SubnetOfAnother { .. }), "{refused}");
        ip(&["address", "add", "fd00:7::1/64", "dev", "lo"]);
        let refused = networks.reserve(both(7)).unwrap_err();
        assert!(matches!(refused, NetworkError::SubnetTaken { .. }), "{refused}");

        let red = made(&networks, both(9));
        let join = |number: u32, ipv6: Option<&str>, network: &BridgeSpec| {
            let mut sandbox = Sandbox::open(networks.isolated().unwrap()).unwrap();
            let ipv6 = ipv6.map(|address| address.parse().unwrap());
            let join = Join { container: &id(number), network: &network.id, address: None, ipv6, mac: None };
            networks.join(&mut sandbox, &join).map(|endpoint| (sandbox, endpoint))
        };
        let wished = join(1, Some("fd00:9::3"), &red).unwrap();
        let next = join(2, None, &red).unwrap();
        assert_eq!(
            (next.1.address, address(&next.1)),
            ([10, 9, 0, 3].into(), "fd00:9::2".parse().unwrap()),
            "the other is taken"
        );
        for (taken, kind) in
            [("fd00:9::3", Kind::Conflict), ("fd00:9::1", Kind::Conflict), ("fd01::1", Kind::InvalidArgument)]
        {
            assert_eq!(join(3, Some(taken), &red).unwrap_err().kind(), kind, "{taken}");
        }
        let plain = made(&networks, wish(10, "10.10.0.0/16"));
        assert!(matches!(join(3, Some("fd00:9::9"), &plain).unwrap_err(), NetworkError::WithoutIpv6 { .. }));
        networks.leave(&wished.1).unwrap();
        let again = join(4, None, &red).unwrap();
        assert_eq!(again.1.address, wished.1.address, "nothing of what was refused is kept");
    });
}

#[test]
fn the_next_daemon_finds_all_of_it_and_the_next_container_is_reached_at_once() {
    on_a_host(|| {
        let first = network();
        let red = made(&first, both(1));
        let (one, mut end) = container(&first, 1, &red);
        first.publish(&mut end, &[tcp(8080, 80)], false).unwrap();
        drop(first);
        let second = network();
        at_last("adopt", || second.adopt(vec![red.clone()], &[(id(1), vec![end.clone()])]));
        assert!(seen_by(&one, here(), gateway6(&red), 8080).is_some() && elements() == 2);
        assert!(nft(&["list", "table", "inet", "corten"]).contains("iifkind"), "the host is no router, as before");
        let (two, two_end) = container(&second, 2, &red);
        assert_ne!(address(&two_end), address(&end));
        assert!(seen_by(&one, &two, address(&end), 80).is_some());
        for number in 3..6 {
            let (three, three_end) = container(&second, number, &red);
            assert!(seen_by(&three, here(), address(&three_end), 80).is_some(), "container {number}");
            assert!(seen_by(&three, &two, address(&three_end), 80).is_some(), "container {number}");
            second.leave(&three_end).unwrap();
        }
        drop(second);
        // The machine lost its containers.
        drop((one, two));
        let third = network();
        // As long as the former one seems to be there, nothing is touched.
        eventually("nothing is left", || {
            third.adopt(vec![red.clone()], &[]).unwrap();
            nft(&["list", "ruleset"]).is_empty()
        });
        assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv6/conf/all/forwarding").unwrap().trim(), "0");
    });
}
