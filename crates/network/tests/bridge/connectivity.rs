// SPDX-License-Identifier: Apache-2.0
//! Who reaches whom, and as whom.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6, UdpSocket};

use network::{PortMapping, Protocol};
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, netdevice, sendto, socket, sockopt};

use crate::lab::*;

const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

#[test]
fn a_container_and_its_host_reach_each_other() {
    on_a_host(|| {
        let network = network();
        let (container, endpoint) = network.attach(&id(1), &[]).unwrap();
        let server = Server::start(here(), gateway(&endpoint), 7000);
        assert!(call(&container, gateway(&endpoint), 7000));
        assert_eq!(server.caller().unwrap().ip(), IpAddr::V4(endpoint.address));
        let server = Server::start(&container, Ipv4Addr::UNSPECIFIED, 80);
        assert!(call(here(), endpoint.address, 80));
        assert_eq!(server.caller().unwrap().ip(), IpAddr::V4(gateway(&endpoint)));

        let inside_view = inside(&container, || ip(&["address", "show", "dev", "eth0"]));
        let mac = endpoint.mac.map(|byte| format!("{byte:02x}")).join(":");
        assert!(
            inside_view.contains(&mac) && inside_view.contains(&format!("{}/16", endpoint.address)),
            "{inside_view}"
        );
        assert!(!inside_view.contains("inet6"), "no address to wait for: {inside_view}");
    });
}

#[test]
fn containers_reach_each_other_by_address() {
    on_a_host(|| {
        let network = network();
        let (one, _one) = network.attach(&id(1), &[]).unwrap();
        let (two, endpoint) = network.attach(&id(2), &[]).unwrap();
        let server = Server::start(&two, Ipv4Addr::UNSPECIFIED, 80);
        assert!(call(&one, endpoint.address, 80));
        assert!(server.caller().is_some());
    });
}

#[test]
fn a_published_port_is_reached_from_everywhere() {
    on_a_host(|| {
        let world = world();
        let network = network();
        let (container, endpoint) = network.attach(&id(1), &[tcp(8080, 80)]).unwrap();
        let (sibling, other) = network.attach(&id(2), &[]).unwrap();
        // With and without the packet filter looking at what the bridge only bridges.
        for filter_bridged in ["0", "1"] {
            set("/proc/sys/net/bridge/bridge-nf-call-iptables", filter_bridged);
            let reached = |who: &str, from: &std::os::fd::OwnedFd, by: Ipv4Addr, seen_as: Ipv4Addr| {
                let server = Server::start(&container, Ipv4Addr::UNSPECIFIED, 80);
                assert!(call(from, by, 8080), "{who} by {by}, bridge-nf-call-iptables={filter_bridged}");
                assert_eq!(server.caller().unwrap().ip(), IpAddr::V4(seen_as), "{who} by {by}");
            };
            reached("the host", &here(), LOCALHOST, gateway(&endpoint));
            reached("the host", &here(), Ipv4Addr::new(127, 9, 9, 9), gateway(&endpoint));
            reached("the host", &here(), HOST, HOST);
            reached("the host", &here(), gateway(&endpoint), gateway(&endpoint));
            reached("the world, which keeps its address,", &world, HOST, WORLD);
            reached("a sibling", &sibling, gateway(&endpoint), gateway(&endpoint));
            reached("a sibling", &sibling, HOST, gateway(&endpoint));
            reached("the container itself", &container, HOST, gateway(&endpoint));
        }
        drop(other);
    });
}

#[test]
fn a_port_published_on_one_address_is_reached_there_only() {
    on_a_host(|| {
        let world = world();
        let network = network();
        let ports = [tcp_on(LOCALHOST, 8080, 80), tcp_on(HOST, 8081, 80)];
        let (container, endpoint) = network.attach(&id(1), &ports).unwrap();
        let greeted = |from: &std::os::fd::OwnedFd, by: Ipv4Addr, port: u16| {
            let server = Server::start(&container, Ipv4Addr::UNSPECIFIED, 80);
            call(from, by, port) & server.caller().is_some()
        };
        assert!(greeted(&here(), LOCALHOST, 8080));
        assert!(!greeted(&here(), HOST, 8080));
        assert!(!greeted(&world, HOST, 8080));
        assert!(greeted(&here(), HOST, 8081));
        assert!(greeted(&world, HOST, 8081));
        assert!(!greeted(&here(), LOCALHOST, 8081));
        assert!(!greeted(&here(), gateway(&endpoint), 8081));
    });
}

#[test]
fn datagrams_reach_published_ports_and_come_back() {
    on_a_host(|| {
        let world = world();
        let network = network();
        let port = PortMapping { protocol: Protocol::Udp, ..tcp(5353, 53) };
        let (container, endpoint) = network.attach(&id(1), &[port]).unwrap();
        let seen = exchange(&world, (HOST, 5353), &container, 53).unwrap();
        assert_eq!(seen.ip(), IpAddr::V4(WORLD));
        let seen = exchange(here(), (LOCALHOST, 5353), &container, 53).unwrap();
        assert_eq!(seen.ip(), IpAddr::V4(gateway(&endpoint)));
    });
}

#[test]
fn a_sender_that_never_pauses_reaches_the_next_container() {
    on_a_host(|| {
        let world = world();
        let network = network();
        let port = [PortMapping { protocol: Protocol::Udp, ..tcp(5353, 53) }];
        let sender = Sender::start(&world, (HOST, 5353));
        let receives = |container: &std::os::fd::OwnedFd| {
            inside(container, || {
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53)).unwrap();
                socket.set_read_timeout(Some(GIVE_UP)).unwrap();
                socket.recv(&mut [0; 16]).is_ok()
            })
        };
        // Begun before anything was published, the flow goes to the host itself.
        let (one, one_end) = network.attach(&id(1), &port).unwrap();
        assert!(receives(&one));
        let (_other, _other_end) = network.attach(&id(2), &[]).unwrap();
        network.release(&one_end).unwrap();
        // Takes the first one's address, but not its port.
        let (_third, third) = network.attach(&id(3), &[]).unwrap();
        assert_eq!(third.address, one_end.address);
        let (two, _two_end) = at_last("attach", || network.attach(&id(2), &port));
        assert!(receives(&two));
        sender.stop();
    });
}

#[test]
fn containers_reach_the_world_as_the_host() {
    on_a_host(|| {
        let world = world();
        // A new namespace inherits it from the machine's first one, where a daemon may have switched it on.
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        let network = network();
        let (container, _endpoint) = network.attach(&id(1), &[]).unwrap();
        assert!(network.describe().enabled_forwarding, "it was off before");
        let server = Server::start(&world, Ipv4Addr::UNSPECIFIED, 7000);
        assert!(call(&container, WORLD, 7000));
        assert_eq!(server.caller().unwrap().ip(), IpAddr::V4(HOST));
    });
}

#[test]
fn the_world_does_not_reach_what_is_not_published() {
    on_a_host(|| {
        let world = world();
        let network = network();
        let (container, endpoint) = network.attach(&id(1), &[tcp(8080, 80), tcp_on(LOCALHOST, 8081, 80)]).unwrap();
        let subnet = format!("{}/16", endpoint.address);
        inside(&world, move || {
            ip(&["route", "add", "172.17.0.0/16", "via", "192.0.2.1"]);
            assert!(subnet.starts_with("172.17."), "{subnet}");
            // The loopback of the world is down: 127.0.0.1 can be made the host's.
            set("/proc/sys/net/ipv4/conf/wire/route_localnet", "1");
            ip(&["route", "add", "127.0.0.1", "via", "192.0.2.1"]);
        });
        let reached = |by: Ipv4Addr, port: u16| {
            let server = Server::start(&container, Ipv4Addr::UNSPECIFIED, 80);
            call(&world, by, port) & server.caller().is_some()
        };
        assert!(reached(HOST, 8080), "the published port is");
        assert!(!reached(endpoint.address, 80), "by the container's own address");
        assert!(!reached(LOCALHOST, 8081), "what is published on loopback");
        assert!(!reached(LOCALHOST, 8080), "what is published everywhere, by the loopback address");
    });
}

#[test]
fn containers_do_not_reach_the_hosts_loopback() {
    on_a_host(|| {
        let network = network();
        let (container, _endpoint) = network.attach(&id(1), &[]).unwrap();
        inside(&container, || {
            ip(&["address", "delete", "127.0.0.1/8", "dev", "lo"]);
            set("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1");
            ip(&["route", "add", "127.0.0.1", "via", "172.17.0.1"]);
            assert!(ip(&["route", "get", "127.0.0.1"]).contains("dev eth0"), "the packets do leave");
        });
        let server = Server::start(here(), LOCALHOST, 7000);
        assert!(!call(&container, LOCALHOST, 7000));
        assert_eq!(server.caller(), None);
    });
}

#[test]
fn containers_do_not_pose_as_the_hosts_loopback() {
    on_a_host(|| {
        let network = network();
        let (container, endpoint) = network.attach(&id(1), &[]).unwrap();
        let socket = UdpSocket::bind((gateway(&endpoint), 7000)).unwrap();
        socket.set_read_timeout(Some(GIVE_UP)).unwrap();
        let gateway = gateway(&endpoint);
        inside(&container, move || {
            set("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1");
            let posing = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 2), 7001)).unwrap();
            posing.send_to(b"trust me", (gateway, 7000)).unwrap();
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 7002)).unwrap().send_to(b"a guest", (gateway, 7000)).unwrap();
        });
        let mut received = [0; 16];
        let (length, sender) = socket.recv_from(&mut received).unwrap();
        assert_eq!((&received[..length], sender.port()), (&b"a guest"[..], 7002));
    });
}

#[test]
fn a_container_does_not_become_the_hosts_router() {
    on_a_host(|| {
        let network = network();
        let (hostile, _hostile) = network.attach(&id(1), &[]).unwrap();
        let (witness, _witness) = network.attach(&id(2), &[]).unwrap();
        let with_ipv6 = || {
            set("/proc/sys/net/ipv6/conf/eth0/accept_dad", "0");
            set("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "0");
        };
        // What the bridge only bridges is not to be looked at: a neighbour must be able to believe it.
        set("/proc/sys/net/bridge/bridge-nf-call-ip6tables", "0");
        inside(&witness, with_ipv6);
        inside(&hostile, with_ipv6);
        let routers = || ip(&["-6", "route", "show", "default"]);
        eventually("a neighbour that has IPv6 believes it", || {
            inside(&hostile, || advertise("eth0"));
            inside(&witness, routers).contains("via fe80")
        });
        assert_eq!(routers(), "");
        assert_eq!(ip(&["-6", "address", "show", "scope", "link"]), "", "the host has no address there either");
    });
}

/// Says to all on the wire that this is a router (RFC 4861), as whoever may send raw packets can.
pub(crate) fn advertise(by: &str) {
    let socket = socket(AddressFamily::INET6, SocketType::RAW, Some(ipproto::ICMPV6)).unwrap();
    // Nobody believes one that may have come from further away.
    sockopt::set_ipv6_multicast_hops(&socket, 255).unwrap();
    let interface = netdevice::name_to_index(&socket, by).unwrap();
    let all_nodes = SocketAddrV6::new(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), 0, 0, interface);
    let advertisement = [134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
    // As long as its interface has no address there is nobody to say it.
    let _ = sendto(&socket, &advertisement, SendFlags::empty(), &all_nodes);
}

#[test]
fn an_isolated_container_has_loopback_and_nothing_else() {
    on_a_host(|| {
        let network = network();
        for _ in 0..4 {
            let namespace = network.isolated().unwrap();
            assert_eq!(inside(&namespace, interfaces).iter().filter(|name| name.starts_with("eth")).count(), 0);
            assert_eq!(inside(&namespace, || ip(&["route"])), "");
            let server = Server::start(&namespace, LOCALHOST, 80);
            assert!(call(&namespace, LOCALHOST, 80), "loopback is up");
            assert!(server.caller().is_some());
        }
        assert!(!interfaces().contains(&"corten0".to_owned()), "no bridge is made for that");
    });
}

#[test]
fn the_next_container_with_an_address_is_reached_at_once() {
    on_a_host(|| {
        let network = network();
        for number in 0..5 {
            let (container, endpoint) = network.attach(&id(number), &[]).unwrap();
            assert_eq!(endpoint.address, Ipv4Addr::new(172, 17, 0, 2));
            let server = Server::start(&container, Ipv4Addr::UNSPECIFIED, 80);
            assert!(call(here(), endpoint.address, 80), "container {number}");
            assert!(server.caller().is_some());
            network.release(&endpoint).unwrap();
        }
    });
}
