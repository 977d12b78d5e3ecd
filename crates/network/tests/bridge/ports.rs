// SPDX-License-Identifier: Apache-2.0
//! Ports that are taken, and ports that are free again.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};

use errors::{Classify, Kind};
use network::{NetworkError, PortHolder, PortMapping, Protocol};

use crate::lab::*;

#[test]
fn a_port_of_another_container_is_a_conflict_that_names_it() {
    on_a_host(|| {
        let network = network();
        let (_one, endpoint) = network.attach(&id(1), &[tcp(8080, 80)]).unwrap();
        let error = network.attach(&id(2), &[tcp(9090, 90), tcp(8080, 80)]).unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict);
        assert_eq!(error.to_string(), "port 8080/tcp is already in use on 0.0.0.0, by container 000000000000");
        let on_loopback = network.attach(&id(2), &[tcp_on(Ipv4Addr::LOCALHOST, 8080, 80)]).unwrap_err();
        assert_eq!(on_loopback.kind(), Kind::Conflict);
        assert_eq!(elements(), 1, "what failed leaves nothing");
        assert_eq!(network.describe().attached, 1);
        // The same number is another port with another protocol, and free again after its release.
        let udp = PortMapping { protocol: Protocol::Udp, ..tcp(8080, 80) };
        let (_two, two) = network.attach(&id(2), &[udp, tcp(9090, 90)]).unwrap();
        assert_eq!(two.address, Ipv4Addr::new(172, 17, 0, 3), "failures lease no address");
        network.release(&endpoint).unwrap();
        at_last("attach", || network.attach(&id(3), &[tcp(8080, 80)]));
    });
}

#[test]
fn of_a_range_the_first_free_port_is_taken() {
    on_a_host(|| {
        let network = network();
        let range = |last| PortMapping { host_port_last: Some(last), ..tcp(8000, 80) };
        let _listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8001)).unwrap();
        let taken = |number, last| network.attach(&id(number), &[range(last)]).map(|(_, made)| made.ports[0].host_port);
        assert_eq!(taken(1, 8002).unwrap(), 8000);
        assert_eq!(taken(2, 8002).unwrap(), 8002, "somebody listens on the one between");
        let error = taken(3, 8002).unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict);
        assert_eq!(error.to_string(), "all ports from 8000 to 8002 (tcp) are already in use on 0.0.0.0");
        assert_eq!(taken(3, 8003).unwrap(), 8003);
    });
}

#[test]
fn one_container_cannot_have_a_port_twice() {
    on_a_host(|| {
        let error = network().attach(&id(0xabc), &[tcp(8080, 80), tcp(8080, 81)]).unwrap_err();
        let NetworkError::PortTaken { holder: Some(PortHolder::Container(holder)), .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!(holder, id(0xabc).short());
    });
}

#[test]
fn a_port_that_the_host_listens_on_is_a_conflict() {
    on_a_host(|| {
        let network = network();
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8080)).unwrap();
        assert_eq!(network.attach(&id(1), &[tcp(8080, 80)]).unwrap_err().kind(), Kind::Conflict);
        let on_loopback = [tcp_on(Ipv4Addr::LOCALHOST, 8080, 80)];
        assert_eq!(network.attach(&id(1), &on_loopback).unwrap_err().kind(), Kind::Conflict);
        drop(listener);
        let dual = at_last("listen", || TcpListener::bind((Ipv6Addr::UNSPECIFIED, 8080)));
        assert_eq!(network.attach(&id(1), &[tcp(8080, 80)]).unwrap_err().kind(), Kind::Conflict);
        drop(dual);
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 5353)).unwrap();
        let udp = PortMapping { protocol: Protocol::Udp, ..tcp(5353, 53) };
        assert_eq!(network.attach(&id(1), std::slice::from_ref(&udp)).unwrap_err().kind(), Kind::Conflict);
        drop(socket);
        at_last("attach", || network.attach(&id(1), &[tcp(8080, 80), udp.clone()]));
    });
}

#[test]
fn the_host_cannot_take_a_published_port() {
    on_a_host(|| {
        let network = network();
        let (_namespace, endpoint) = network.attach(&id(1), &[tcp(8080, 80)]).unwrap();
        // The standard library's listeners may reuse addresses, as most servers' do.
        assert!(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8080)).is_err());
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, 8080)).is_err());
        network.release(&endpoint).unwrap();
        at_last("listen", || TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8080)));
    });
}

#[test]
fn connections_that_just_ended_do_not_keep_a_port() {
    on_a_host(|| {
        let server = Server::start(here(), Ipv4Addr::LOCALHOST, 8080);
        // The server closes first, and its end of the connection lingers.
        assert!(call(here(), Ipv4Addr::LOCALHOST, 8080));
        assert!(server.caller().is_some());
        let network = network();
        at_last("attach", || network.attach(&id(1), &[tcp(8080, 80)]));
        assert!(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8080)).is_err(), "reserved all the same");
        let second = network.attach(&id(2), &[tcp(8080, 80)]).unwrap_err();
        assert_eq!(second.kind(), Kind::Conflict, "and not for two");
    });
}

#[test]
fn the_kernel_chooses_a_port_when_none_is_named() {
    on_a_host(|| {
        let network = network();
        let any = [PortMapping { host_port: None, ..tcp(0, 80) }, tcp(0, 81)];
        let (container, endpoint) = network.attach(&id(1), &any).unwrap();
        assert!(endpoint.ports[0].host_port != 0 && endpoint.ports[0].host_port != endpoint.ports[1].host_port);
        let server = Server::start(&container, Ipv4Addr::UNSPECIFIED, 81);
        assert!(call(here(), Ipv4Addr::LOCALHOST, endpoint.ports[1].host_port));
        assert!(server.caller().is_some());
    });
}

#[test]
fn what_cannot_be_published_is_refused() {
    on_a_host(|| {
        let network = network();
        let elsewhere = network.attach(&id(1), &[tcp_on(WORLD, 8080, 80)]).unwrap_err();
        assert_eq!(elsewhere.kind(), Kind::InvalidArgument, "{elsewhere}");
        let ipv6 = PortMapping { host_ip: Some(Ipv6Addr::LOCALHOST.into()), ..tcp(8080, 80) };
        assert_eq!(network.attach(&id(1), &[ipv6]).unwrap_err().kind(), Kind::Unsupported);
        assert_eq!(network.attach(&id(1), &[tcp(8080, 0)]).unwrap_err().kind(), Kind::InvalidArgument);
        assert_eq!((elements(), network.describe().attached), (0, 0));
    });
}

#[test]
fn ports_are_exchanged_while_others_stay() {
    on_a_host(|| {
        let network = network();
        let (container, mut endpoint) = network.attach(&id(1), &[tcp(8080, 80), tcp(8081, 80)]).unwrap();
        let (_other, _end) = network.attach(&id(2), &[tcp(9000, 80)]).unwrap();
        let reached = |port: u16| {
            let server = Server::start(&container, Ipv4Addr::UNSPECIFIED, 80);
            call(here(), Ipv4Addr::LOCALHOST, port) & server.caller().is_some()
        };
        let first = endpoint.ports[0].clone();
        let error = network.exchange(&mut endpoint, std::slice::from_ref(&first), &[tcp(8082, 80), tcp(9000, 80)]);
        assert_eq!(error.unwrap_err().kind(), Kind::Conflict);
        assert!(reached(8080) && reached(8081) && !reached(8082), "what fails changes nothing");
        assert!(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8080)).is_err(), "it is reserved as before");
        network.exchange(&mut endpoint, &[first], &[tcp(8082, 80), tcp(8080, 80)]).unwrap();
        let numbers: Vec<u16> = endpoint.ports.iter().map(|port| port.host_port).collect();
        assert_eq!(numbers, [8081, 8082, 8080], "the same number again is no conflict with oneself");
        assert!(reached(8080) && reached(8081) && reached(8082) && elements() == 4);
        network.hold_back(&endpoint, true).unwrap();
        network.exchange(&mut endpoint, &[], &[tcp(8083, 80)]).unwrap();
        assert!(!reached(8083) && !reached(8081) && elements() == 1, "what is new is held back with the others");
        network.hold_back(&endpoint, false).unwrap();
        assert!(reached(8083) && reached(8081) && elements() == 5);
        let all = endpoint.ports.clone();
        network.exchange(&mut endpoint, &all, &[]).unwrap();
        assert!(!reached(8081) && endpoint.ports.is_empty() && elements() == 1);
        at_last("listen", || TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8081)));
        network.release(&endpoint).unwrap();
    });
}
