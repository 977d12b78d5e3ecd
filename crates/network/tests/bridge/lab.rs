// SPDX-License-Identifier: Apache-2.0
//! A laboratory of network namespaces: one that plays the host, one that plays the world, and the containers.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::Command;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use network::{Config, Networks, PortMapping, Protocol};
use oci::ContainerId;

/// The host's address towards the world.
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The world's address.
pub(crate) const WORLD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The same in IPv6.
pub(crate) const HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
pub(crate) const WORLD6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
/// What cannot be reached is given up after this: before TCP would ask a second time, so that a first packet lost is
/// a failure.
pub(crate) const GIVE_UP: Duration = Duration::from_millis(900);

/// Runs a test in a namespace that plays the host; it ends with the test.
pub(crate) fn on_a_host(test: impl FnOnce() + Send + 'static) {
    let thread = thread::spawn(|| {
        sys::namespace::unshare(sys::process::CloneFlags::NEWNET).expect("this test needs root");
        ip(&["link", "set", "lo", "up"]);
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A namespace on the other end of a wire: 192.0.2.2 and 2001:db8::2, and the host is 192.0.2.1 and 2001:db8::1. It has no
/// route to any container.
pub(crate) fn world() -> OwnedFd {
    let namespace = thread::spawn(|| {
        sys::namespace::unshare(sys::process::CloneFlags::NEWNET).unwrap();
        OwnedFd::from(File::open("/proc/thread-self/ns/net").unwrap())
    });
    let namespace = namespace.join().unwrap();
    let path = format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd());
    ip(&["link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", &path]);
    ip(&["address", "add", "192.0.2.1/24", "dev", "wire"]);
    ip(&["address", "add", "2001:db8::1/64", "dev", "wire", "nodad"]);
    ip(&["link", "set", "wire", "up"]);
    inside(&namespace, || {
        ip(&["address", "add", "192.0.2.2/24", "dev", "wire"]);
        ip(&["address", "add", "2001:db8::2/64", "dev", "wire", "nodad"]);
        ip(&["link", "set", "wire", "up"]);
    });
    let carries = || ip(&["-json", "link", "show", "wire"]).contains(r#""operstate":"UP""#);
    eventually("the wire is up", || carries() && inside(&namespace, carries));
    namespace
}

/// Does something in a namespace, and waits for it.
pub(crate) fn inside<T: Send + 'static>(namespace: impl AsFd, work: impl FnOnce() -> T + Send + 'static) -> T {
    match begin_inside(namespace.as_fd(), work).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn begin_inside<T: Send + 'static>(
    namespace: BorrowedFd<'_>,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let namespace = namespace.try_clone_to_owned().unwrap();
    thread::spawn(move || {
        rustix::thread::move_into_link_name_space(namespace.as_fd(), None).unwrap();
        drop(namespace);
        work()
    })
}

/// The namespace that the calling thread is in.
pub(crate) fn here() -> OwnedFd {
    File::open("/proc/thread-self/ns/net").unwrap().into()
}

/// A server that greets one caller and says who it was.
pub(crate) struct Server {
    thread: JoinHandle<Option<SocketAddr>>,
    called: mpsc::Sender<()>,
}

impl Server {
    /// Listens when this returns.
    pub(crate) fn start(namespace: impl AsFd, address: impl Into<IpAddr>, port: u16) -> Server {
        let address = address.into();
        let (ready, is_ready) = mpsc::channel();
        let (called, was_called) = mpsc::channel();
        let thread = begin_inside(namespace.as_fd(), move || {
            let listener = at_last("listen", || TcpListener::bind((address, port)));
            listener.set_nonblocking(true).unwrap();
            ready.send(()).unwrap();
            loop {
                // Looked at before the queue, so that nobody who called is missed.
                let last = was_called.try_recv() != Err(mpsc::TryRecvError::Empty);
                match listener.accept() {
                    Ok((mut stream, peer)) => {
                        stream.write_all(b"hello").unwrap();
                        return Some(peer);
                    }
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => panic!("{error}"),
                    Err(_) if last => return None,
                    Err(_) => thread::sleep(Duration::from_millis(1)),
                }
            }
        });
        is_ready.recv().unwrap();
        Server { thread, called }
    }

    /// Who called, once nobody will any more.
    pub(crate) fn caller(self) -> Option<SocketAddr> {
        drop(self.called);
        self.thread.join().unwrap()
    }
}

/// Whether a caller in `namespace` is greeted.
pub(crate) fn call(namespace: impl AsFd, address: impl Into<IpAddr>, port: u16) -> bool {
    let address = address.into();
    inside(namespace, move || {
        let Ok(mut stream) = TcpStream::connect_timeout(&(address, port).into(), GIVE_UP) else { return false };
        stream.set_read_timeout(Some(GIVE_UP)).unwrap();
        let mut greeting = String::new();
        stream.read_to_string(&mut greeting).is_ok() && greeting == "hello"
    })
}

/// Sends a datagram from one namespace to a socket in another by way of `to`; gives back who it came from, if it came
/// and the answer came back from where the question went.
pub(crate) fn exchange(
    from: impl AsFd,
    to: (impl Into<IpAddr>, u16),
    server: impl AsFd,
    port: u16,
) -> Option<SocketAddr> {
    let to: (IpAddr, u16) = (to.0.into(), to.1);
    let any: IpAddr = if to.0.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let (ready, is_ready) = mpsc::channel();
    let server = begin_inside(server.as_fd(), move || {
        let socket = UdpSocket::bind((any, port)).unwrap();
        socket.set_read_timeout(Some(GIVE_UP)).unwrap();
        ready.send(()).unwrap();
        let (_, peer) = socket.recv_from(&mut [0; 16]).ok()?;
        socket.send_to(b"answer", peer).unwrap();
        Some(peer)
    });
    is_ready.recv().unwrap();
    let answered = inside(from, move || {
        let socket = UdpSocket::bind((any, 0)).unwrap();
        socket.set_read_timeout(Some(GIVE_UP)).unwrap();
        // Connected, it takes an answer only from whom it asked.
        socket.connect(to).unwrap();
        socket.send(b"question").unwrap();
        socket.recv(&mut [0; 16]).is_ok()
    });
    server.join().unwrap().filter(|_| answered)
}

/// Sends datagrams from one socket, one each millisecond.
pub(crate) struct Sender {
    thread: JoinHandle<()>,
    stop: mpsc::Sender<()>,
}

impl Sender {
    /// Has sent the first when this returns.
    pub(crate) fn start(namespace: impl AsFd, to: (Ipv4Addr, u16)) -> Sender {
        let (stop, stopped) = mpsc::channel::<()>();
        let (ready, is_ready) = mpsc::channel();
        let thread = begin_inside(namespace.as_fd(), move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                socket.send_to(b"datagram", to).unwrap();
                let _ = ready.send(());
                thread::sleep(Duration::from_millis(1));
            }
        });
        is_ready.recv().unwrap();
        Sender { thread, stop }
    }

    pub(crate) fn stop(self) {
        drop(self.stop);
        self.thread.join().unwrap();
    }
}

/// Runs `ip` in the calling thread's namespace.
pub(crate) fn ip(arguments: &[&str]) -> String {
    run("ip", arguments)
}

/// Runs `nft` in the calling thread's namespace.
pub(crate) fn nft(arguments: &[&str]) -> String {
    run("nft", arguments)
}

#[allow(clippy::disallowed_methods, reason = "other people's programs are the yardstick")]
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Writes a kernel setting of the calling thread's namespace.
pub(crate) fn set(path: &str, value: &str) {
    fs::write(path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
}

/// The names of the interfaces in the calling thread's namespace.
pub(crate) fn interfaces() -> Vec<String> {
    let listing: serde_json::Value = serde_json::from_str(&ip(&["-json", "link"])).unwrap();
    listing.as_array().unwrap().iter().map(|link| link["ifname"].as_str().unwrap().to_owned()).collect()
}

/// How many ports are published, as the packet filter has it.
pub(crate) fn elements() -> usize {
    ["published", "published-on-address", "published6", "published6-on-address"]
        .iter()
        .map(|map| {
            let listing = nft(&["-j", "list", "map", "inet", "corten", map]);
            let listing: serde_json::Value = serde_json::from_str(&listing).unwrap();
            let map = listing["nftables"].as_array().unwrap().iter().find_map(|object| object.get("map")).unwrap();
            map.get("elem").map_or(0, |elements| elements.as_array().unwrap().len())
        })
        .sum()
}

/// Waits for what the kernel does in its own time.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Tries until it succeeds. The tests run in threads of one process: the moment another test starts a program, that
/// program's process has copies of all descriptors, and what was just closed here is open for that moment more.
pub(crate) fn at_last<T, E: std::fmt::Display>(what: &str, attempt: impl Fn() -> Result<T, E>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(error) => assert!(Instant::now() < deadline, "never succeeded: {what}: {error}"),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A network with the default names.
pub(crate) fn network() -> Networks {
    Networks::open(Config::default()).unwrap()
}

/// A container's id, told by a number.
pub(crate) fn id(number: u32) -> ContainerId {
    format!("{number:064x}").parse().unwrap()
}

/// `-p host:container`, on all addresses.
pub(crate) fn tcp(host_port: u16, container_port: u16) -> PortMapping {
    let host_port = Some(host_port);
    PortMapping { host_ip: None, host_port, host_port_last: None, container_port, protocol: Protocol::Tcp }
}

/// `-p address:host:container`.
pub(crate) fn tcp_on(address: impl Into<IpAddr>, host_port: u16, container_port: u16) -> PortMapping {
    PortMapping { host_ip: Some(address.into()), ..tcp(host_port, container_port) }
}

/// The bridge's address.
pub(crate) fn gateway(endpoint: &network::Endpoint) -> Ipv4Addr {
    endpoint.gateway.unwrap()
}
