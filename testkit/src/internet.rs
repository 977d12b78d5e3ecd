// SPDX-License-Identifier: Apache-2.0
//! What lies beyond a daemon's network: a router that answers names, relays HTTP to the distribution's mirrors, and
//! notes who came.
//!
//! It is a network namespace at the other end of a cable from the daemon's. It knows no way back to a container's
//! address: what arrives from one has been masqueraded, or it gets no answer.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::mount::mount_bind;

use crate::sandbox::{Sandbox, ip};

/// The router, and every name it is asked for (TEST-NET-2, RFC 5737).
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The daemon's host, as the router sees it.
pub const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

/// The namespace beyond.
pub struct Internet {
    beyond: Sandbox,
    visitors: Arc<Mutex<Vec<IpAddr>>>,
}

impl Internet {
    /// Connects a sandbox to it: a cable, a default route, and a resolv.conf.
    pub(crate) fn connect(inside: &Sandbox, directory: &Path) -> Internet {
        let beyond = Sandbox::new();
        let thread = beyond.run(|| rustix::thread::gettid().as_raw_nonzero().to_string());
        let resolv = directory.join("resolv.conf");
        std::fs::write(&resolv, format!("nameserver {ROUTER}\n")).expect("a file");
        inside.run(move || {
            ip(&["link", "add", "wan0", "type", "veth", "peer", "name", "wan1", "netns", &thread]);
            ip(&["address", "add", &format!("{HOST}/24"), "dev", "wan0"]);
            ip(&["link", "set", "wan0", "up"]);
            ip(&["route", "add", "default", "via", &ROUTER.to_string()]);
            mount_bind(&resolv, "/etc/resolv.conf").expect("a resolv.conf of its own");
        });
        let (web, names) = beyond.run(|| {
            ip(&["address", "add", &format!("{ROUTER}/24"), "dev", "wan1"]);
            ip(&["link", "set", "wan1", "up"]);
            (TcpListener::bind((ROUTER, 80)).expect("a port"), UdpSocket::bind((ROUTER, 53)).expect("a port"))
        });
        let visitors = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&visitors);
        // These threads are born outside of the sandbox, and so are the connections they make.
        std::thread::spawn(move || relay(&web, &seen));
        std::thread::spawn(move || answer(&names));
        Internet { beyond, visitors }
    }

    /// Its namespaces, to reach the daemon's host from another network.
    pub fn sandbox(&self) -> &Sandbox {
        &self.beyond
    }

    /// The source address of each HTTP connection so far.
    pub fn visitors(&self) -> Vec<IpAddr> {
        self.visitors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Sends each connection on to the host its request names. A request for `/whoami` is answered here.
fn relay(listener: &TcpListener, visitors: &Mutex<Vec<IpAddr>>) {
    for client in listener.incoming().map_while(Result::ok) {
        if let Ok(peer) = client.peer_addr() {
            visitors.lock().unwrap_or_else(PoisonError::into_inner).push(peer.ip());
        }
        // A connection that breaks is the client's to notice.
        std::thread::spawn(move || drop(relay_one(client)));
    }
}

fn relay_one(mut client: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte)? == 1 {
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    if text.starts_with("GET /whoami ") {
        let body = format!("{}\n", client.peer_addr()?.ip());
        return write!(client, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    }
    let host = text.lines().find_map(|line| line.strip_prefix("Host: ")).unwrap_or_default();
    let mut upstream = TcpStream::connect((host, 80))?;
    upstream.write_all(&head)?;
    let (mut from_client, mut to_upstream) = (client.try_clone()?, upstream.try_clone()?);
    std::thread::spawn(move || {
        let copied = std::io::copy(&mut from_client, &mut to_upstream);
        to_upstream.shutdown(std::net::Shutdown::Write).and(copied)
    });
    std::io::copy(&mut upstream, &mut client)?;
    client.shutdown(std::net::Shutdown::Both)
}

/// A name server for which every name has one address: the router's. RFC 1035, section 4.
fn answer(socket: &UdpSocket) {
    let mut query = [0; 512];
    while let Ok((length, peer)) = socket.recv_from(&mut query) {
        if let Some(reply) = reply(&query[..length]) {
            // A lost answer is asked for again.
            let _ = socket.send_to(&reply, peer);
        }
    }
}

fn reply(query: &[u8]) -> Option<Vec<u8>> {
    let question = query.get(12..)?;
    let name_end = question.iter().position(|&byte| byte == 0)? + 1;
    let wanted = question.get(name_end..name_end + 2)?;
    let answers = u8::from(wanted == [0, 1]);
    let mut reply = query.get(..2)?.to_vec();
    reply.extend([0x81, 0x80, 0, 1, 0, answers, 0, 0, 0, 0]);
    reply.extend(question.get(..name_end + 4)?);
    if answers == 1 {
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        reply.extend(ROUTER.octets());
    }
    Some(reply)
}

/// An answer to a GET request: its status and its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

/// GETs `path` from `address`, from inside a sandbox. `None` when nobody answers there.
pub fn get(from: &Sandbox, address: (impl Into<IpAddr>, u16), path: &str) -> Option<Answer> {
    let address = SocketAddr::new(address.0.into(), address.1);
    let path = path.to_owned();
    from.run(move || {
        let patience = std::time::Duration::from_secs(5);
        let mut stream = TcpStream::connect_timeout(&address, patience).ok()?;
        stream.set_read_timeout(Some(patience)).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", address.ip()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Answer { status, body: body.to_owned() })
    })
}

/// GETs `path` as soon as somebody answers at `address`.
///
/// # Panics
/// When nobody does in time.
#[track_caller]
pub fn get_soon(from: &Sandbox, address: (impl Into<IpAddr>, u16), path: &str) -> Answer {
    let address = (address.0.into(), address.1);
    let begun = std::time::Instant::now();
    while begun.elapsed() < std::time::Duration::from_secs(30) {
        if let Some(answer) = get(from, address, path) {
            return answer;
        }
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    panic!("nobody answers at {address:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_the_routers_address() {
        let query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03deb\x06debian\x03org\x00\x00\x01\x00\x01";
        let reply = reply(query).unwrap();
        assert_eq!(&reply[..2], b"\x12\x34");
        assert_eq!(&reply[reply.len() - 4..], ROUTER.octets());
    }

    #[test]
    fn the_router_sees_the_host_and_not_what_is_behind_it() {
        let inside = Sandbox::new();
        let directory = tempfile::tempdir().unwrap();
        let internet = Internet::connect(&inside, directory.path());
        let answer = get(&inside, (ROUTER, 80), "/whoami").unwrap();
        assert_eq!(answer, Answer { status: 200, body: format!("{HOST}\n") });
        assert_eq!(internet.visitors(), [IpAddr::V4(HOST)]);
    }
}
