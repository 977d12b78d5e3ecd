// SPDX-License-Identifier: Apache-2.0
//! The name server in real network namespaces: one that stands for the host, one for a container. Needs root.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, also in its helper functions")]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dns::{Names, Server, Serving, Upstream};
use oci::ContainerId;
use sys::process::CloneFlags;

const NAME_SERVER: (Ipv4Addr, u16) = (dns::ADDRESS, 53);
const A: u8 = 1;
/// Nothing here takes as long; a loaded machine is forgiven.
const PATIENCE: Duration = Duration::from_secs(20);

/// Knows `web`, twice.
struct Known {
    forward: AtomicBool,
}

impl Names for Known {
    fn addresses(&self, _: &ContainerId, name: &str) -> Option<Vec<IpAddr>> {
        (name == "web").then(|| vec![[10, 9, 0, 1].into(), [10, 9, 0, 2].into()])
    }

    fn name_of(&self, _: &ContainerId, address: IpAddr) -> Option<String> {
        (address == IpAddr::from([10, 9, 0, 1])).then(|| "web.net".into())
    }

    fn may_forward(&self, _: &ContainerId) -> bool {
        self.forward.load(Ordering::Relaxed)
    }
}

/// A host, and a container on it.
struct Host {
    runtime: tokio::runtime::Runtime,
    server: Server,
    known: Arc<Known>,
    container: OwnedFd,
}

/// Runs a test on a host of its own.
fn on_a_host(test: impl FnOnce(&Host) + Send + 'static) {
    let thread = thread::spawn(|| {
        let container = thread::spawn(new_namespace).join().unwrap();
        new_namespace();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let known = Arc::new(Known { forward: AtomicBool::new(true) });
        let server = Server::new(Arc::clone(&known) as _, runtime.handle().clone());
        test(&Host { runtime, server, known, container });
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Moves the thread into a new namespace with its loopback up.
fn new_namespace() -> OwnedFd {
    sys::namespace::unshare(CloneFlags::NEWNET).expect("needs root");
    let mut socket = netlink::Socket::open(netlink::Protocol::Route).unwrap();
    let mut batch = netlink::Batch::new();
    netlink::route::set_up(&mut batch, 1);
    socket.execute(&mut batch).unwrap();
    File::open("/proc/thread-self/ns/net").unwrap().into()
}

impl Host {
    fn serve(&self, upstreams: &[Upstream]) -> Serving {
        self.serve_with(&self.server, upstreams, false)
    }

    fn serve_with(&self, server: &Server, upstreams: &[Upstream], anew: bool) -> Serving {
        let id: ContainerId = "1".repeat(64).parse().unwrap();
        server.serve(&id, self.container.try_clone().unwrap(), upstreams, anew).unwrap()
    }

    /// Does something in the container.
    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                sys::namespace::setns(self.container.as_fd(), CloneFlags::NEWNET).unwrap();
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn client(&self) -> UdpSocket {
        self.inside(|| {
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.connect(NAME_SERVER).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client
        })
    }

    fn ask(&self, name: &str) -> Answer {
        ask(&self.client(), &question(name, A, 1))
    }

    fn ask_by_tcp(&self, message: &[u8]) -> Answer {
        let mut stream = self.inside(|| TcpStream::connect(NAME_SERVER).unwrap());
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&framed(message)).unwrap();
        Answer(read_framed(&mut stream).unwrap())
    }
}

/// What came back.
#[derive(Debug, PartialEq)]
struct Answer(Vec<u8>);

impl Answer {
    fn code(&self) -> u8 {
        self.0[3] & 0x0f
    }

    fn truncated(&self) -> bool {
        self.0[2] & 2 != 0
    }

    /// The addresses, whose records have sixteen bytes each and stand last.
    fn addresses(&self) -> Vec<Ipv4Addr> {
        let count = usize::from(u16::from_be_bytes([self.0[6], self.0[7]]));
        let records = self.0[self.0.len() - 16 * count..].chunks(16);
        records.map(|record| Ipv4Addr::new(record[12], record[13], record[14], record[15])).collect()
    }
}

fn question(name: &str, kind: u8, number: u8) -> Vec<u8> {
    let mut message = vec![0, number, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, kind, 0, 1]);
    message
}

fn ask(client: &UdpSocket, message: &[u8]) -> Answer {
    client.send(message).unwrap();
    let mut buffer = [0; 65_535];
    loop {
        let length = client.recv(&mut buffer).unwrap();
        if buffer[..2] == message[..2] {
            return Answer(buffer[..length].to_vec());
        }
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

fn read_framed(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message)?;
    Ok(message)
}

/// An upstream server's answer: so many addresses, and this code.
fn reply(question: &[u8], code: u8, addresses: u8) -> Vec<u8> {
    let mut reply = question[..].to_vec();
    (reply[2], reply[3], reply[7]) = (0x81, 0x80 | code, addresses);
    for last in 0..addresses {
        reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, last]);
    }
    reply
}

/// An upstream server at this address that answers so, until the test ends. Counts what it is asked.
fn upstream(address: [u8; 4], answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> Arc<AtomicUsize> {
    let socket = UdpSocket::bind((Ipv4Addr::from(address), 53)).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            count.fetch_add(1, Ordering::Relaxed);
            socket.send_to(&answer(&buffer[..length]), from).unwrap();
        }
    });
    asked
}

#[test]
fn names_are_answered_beside_a_name_server_of_the_containers_own() {
    on_a_host(|host| {
        let _serving = host.serve(&[]);
        host.inside(|| upstream([0, 0, 0, 0], |question| reply(question, 0, 1)));
        let answer = host.ask("web");
        assert_eq!(answer.code(), 0);
        let mut addresses = answer.addresses();
        let second = host.ask("WEB").addresses();
        assert_eq!(second, [addresses[1], addresses[0]], "in turn");
        addresses.sort();
        assert_eq!(addresses, [Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2)]);
        assert_eq!(host.ask_by_tcp(&question("web", A, 7)).addresses().len(), 2);
        let own = host.inside(|| {
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.connect("127.0.0.1:53").unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            ask(&client, &question("web", A, 1))
        });
        assert_eq!(own.addresses(), [Ipv4Addr::new(192, 0, 2, 0)]);
        let named = ask(&host.client(), &question("1.0.9.10.in-addr.arpa", 12, 3)).0;
        assert!(named.ends_with(b"\x03web\x03net\0"), "{named:?}");
    });
}

#[test]
fn upstream_servers_are_asked_one_after_the_other_from_where_they_are() {
    on_a_host(|host| {
        let host_address = |last| IpAddr::from([127, 0, 1, last]);
        let failing = upstream([127, 0, 1, 1], |question| reply(question, 2, 0));
        let inside = host.inside(|| upstream([127, 0, 1, 3], |question| reply(question, 0, 2)));
        let upstreams = [
            Upstream::of_host(host_address(1)),
            // Nobody listens there: the kernel says so.
            Upstream::of_host(host_address(2)),
            Upstream::of_container(host_address(3)),
        ];
        let serving = host.serve(&upstreams);
        let answer = host.ask("example.org");
        assert_eq!((answer.code(), answer.addresses().len()), (0, 2));
        assert_eq!((failing.load(Ordering::Relaxed), inside.load(Ordering::Relaxed)), (1, 1));
        assert_eq!(host.ask("web").addresses().len(), 2);
        assert_eq!(inside.load(Ordering::Relaxed), 1, "a name that is known here is asked for nowhere else");

        host.known.forward.store(false, Ordering::Relaxed);
        assert_eq!(host.ask("example.org").code(), 2);
        assert_eq!(failing.load(Ordering::Relaxed), 1, "and on internal networks no name is");
        host.known.forward.store(true, Ordering::Relaxed);
        drop(serving);

        let _serving = host.serve(&[upstreams[1], Upstream::of_host(dns::ADDRESS.into())]);
        assert_eq!(host.ask("example.org").code(), 2, "nobody answers");
        let by_tcp = host.ask_by_tcp(&question("example.org", A, 9));
        assert_eq!((by_tcp.code(), by_tcp.0[1]), (2, 9));
    });
}

#[test]
fn a_long_answer_comes_by_tcp() {
    on_a_host(|host| {
        upstream([127, 0, 1, 1], |question| {
            let mut short = reply(question, 0, 0);
            short[2] |= 2;
            short
        });
        let listener = TcpListener::bind("127.0.1.1:53").unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let asked = read_framed(&mut stream).unwrap();
                stream.write_all(&framed(&reply(&asked, 0, 60))).unwrap();
            }
        });
        let _serving = host.serve(&[Upstream::of_host([127, 0, 1, 1].into())]);
        assert!(host.ask("example.org").truncated(), "who takes 512 bytes asks again by TCP");
        assert_eq!(host.ask_by_tcp(&question("example.org", A, 2)).addresses().len(), 60);
        let mut extended = question("example.org", A, 3);
        extended[11] = 1;
        extended.extend_from_slice(&[0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0]);
        let answer = ask(&host.client(), &extended);
        assert!(!answer.truncated() && answer.0[7] == 60, "who takes 4096 has it at once");
    });
}

#[test]
fn a_new_daemon_serves_on_and_the_end_of_it_leaves_nothing() {
    on_a_host(|host| {
        let client = host.client();
        let first = host.serve(&[]);
        assert_eq!(ask(&client, &question("web", A, 1)).code(), 0);
        drop(first);
        let server = Server::new(Arc::clone(&host.known) as _, host.runtime.handle().clone());
        let second = host.serve_with(&server, &[], true);
        // The same socket, whose flow the kernel had sent to the first one's port.
        assert_eq!(ask(&client, &question("web", A, 2)).code(), 0);
        drop(second);
        // When nobody listens any more, the kernel says so.
        let begun = Instant::now();
        while host.inside(|| TcpStream::connect(NAME_SERVER)).is_ok() {
            assert!(begun.elapsed() < PATIENCE, "somebody still listens");
            thread::yield_now();
        }
    });
}

#[test]
fn a_thread_that_has_been_in_a_containers_namespace_does_not_keep_it() {
    on_a_host(|host| {
        let serving = host.serve(&[]);
        let container = format!("net:[{}]", rustix::fs::fstat(&host.container).unwrap().st_ino);
        let begun = Instant::now();
        let within = || {
            let threads = std::fs::read_dir("/proc/self/task").unwrap();
            let namespaces = threads.filter_map(|thread| std::fs::read_link(thread.ok()?.path().join("ns/net")).ok());
            namespaces.filter(|namespace| namespace.as_os_str() == container.as_str()).count()
        };
        while within() > 0 {
            assert!(begun.elapsed() < PATIENCE, "{container} is some thread's");
            thread::sleep(Duration::from_millis(1));
        }
        drop(serving);
    });
}

#[test]
fn what_makes_no_sense_is_passed_over() {
    on_a_host(|host| {
        let asked = upstream([127, 0, 1, 1], |question| reply(question, 0, 1));
        let _serving = host.serve(&[Upstream::of_host([127, 0, 1, 1].into())]);
        let client = host.client();
        for length in 0..40u8 {
            let garbage: Vec<u8> = (0..length).map(|at| at.wrapping_mul(37) | 0x80).collect();
            client.send(&garbage).unwrap();
        }
        client.send(&[0; 5000]).unwrap();
        assert_eq!(ask(&client, &question("web", A, 200)).code(), 0);
        assert_eq!(asked.load(Ordering::Relaxed), 0, "nothing of it went on");

        // More questions than may be under way at once: each that is answered is answered rightly, and the next one is.
        for number in 0..150 {
            client.send(&question("example.org", A, number)).unwrap();
        }
        assert_eq!(ask(&host.client(), &question("web", A, 201)).code(), 0);
        let mut stream = host.inside(|| TcpStream::connect(NAME_SERVER).unwrap());
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&[0xff, 0xff, 1, 2, 3]).unwrap();
        assert!(read_framed(&mut stream).is_err(), "a question of 64 KiB ends the connection");
    });
}

#[test]
fn guesses_of_an_answer_are_not_believed() {
    on_a_host(|host| {
        let socket = UdpSocket::bind("127.0.1.1:53").unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let right = reply(&buffer[..length], 0, 1);
                let mut wrong_number = right.clone();
                wrong_number[1] ^= 1;
                wrong_number[right.len() - 1] = 66;
                let mut wrong_name = right.clone();
                wrong_name[13] ^= 1;
                wrong_name[right.len() - 1] = 66;
                for reply in [wrong_number, wrong_name, right] {
                    socket.send_to(&reply, from).unwrap();
                }
            }
        });
        let _serving = host.serve(&[Upstream::of_host(SocketAddr::from(([127, 0, 1, 1], 53)).ip())]);
        assert_eq!(host.ask("example.org").addresses(), [Ipv4Addr::new(192, 0, 2, 0)]);
    });
}
