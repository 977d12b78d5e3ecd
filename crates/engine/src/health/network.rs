// SPDX-License-Identifier: Apache-2.0
//! Probes that need no program in the image: a connection, a request, a file. Connections are made in the container's
//! network namespace, so that what listens on its loopback interface alone is reached, too; the file is looked for from the
//! container's root by descriptor.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd as _;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use sys::process::CloneFlags;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;

use crate::container::Running;
use crate::error::EngineError;
use crate::signal::pidfd;

/// The longest beginning of an answer that is looked at, in bytes.
const ANSWER_LIMIT: usize = 4096;

/// What is asked over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HttpRequest {
    method: String,
    /// Where; `None` for the container's own loopback addresses.
    address: Option<IpAddr>,
    port: u16,
    /// With a slash in front.
    target: String,
}

impl HttpRequest {
    /// Reads `[METHOD ]:PORT[/PATH]` or `[METHOD ]http://ADDRESS[:PORT][/PATH]`.
    pub(super) fn parse(text: &str) -> Result<HttpRequest, String> {
        let (method, url) = text.split_once(' ').unwrap_or(("GET", text));
        if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(format!("{method:?} is no method, as in GET or HEAD"));
        }
        // Nothing that could end the line, or begin another.
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("{url:?} has characters that cannot be in a URL"));
        }
        if url.starts_with("https:") {
            return Err("https cannot be checked: nobody says which certificate is right".to_owned());
        }
        let rest = url.strip_prefix("http://").unwrap_or(url);
        let (authority, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let target = target.split('#').next().unwrap_or_default();
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (authority, "80"),
        };
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(|| format!("{port:?} is no port"))?;
        let address = match host {
            "" | "localhost" if rest.len() < url.len() || authority.starts_with(':') => None,
            host => {
                let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
                let problem =
                    || format!("{url:?} is neither :PORT/PATH nor http://ADDRESS:PORT/PATH with a number as address");
                Some(bare.parse().map_err(|_| problem())?)
            }
        };
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(HttpRequest { method: method.to_owned(), address, port, target: format!("{slash}{target}") })
    }

    /// The status of the answer, and what is to be said of it.
    pub(super) async fn ask(&self, running: &Running) -> Result<(bool, String), String> {
        let mut stream = connect_to(running, self.address, self.port).await?;
        let host = match self.address {
            None => "localhost".to_owned(),
            Some(IpAddr::V6(address)) => format!("[{address}]"),
            Some(IpAddr::V4(address)) => address.to_string(),
        };
        let HttpRequest { method, port, target, .. } = self;
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: corten-health\r\nAccept: */*\r\n\
             Connection: close\r\n\r\n"
        );
        let failed = |error: std::io::Error| format!("{method} {host}:{port}{target}: {error}");
        stream.write_all(request.as_bytes()).await.map_err(failed)?;
        let mut answer = Vec::new();
        let mut buffer = [0; 1024];
        // The status line decides.
        while !answer.contains(&b'\n') && answer.len() < ANSWER_LIMIT {
            match stream.read(&mut buffer).await.map_err(failed)? {
                0 => break,
                count => answer.extend_from_slice(&buffer[..count]),
            }
        }
        let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line).trim_end().to_owned();
        match status(&line) {
            Some(status) => Ok(((200..400).contains(&status), line)),
            None => Err(format!("{method} {host}:{port}{target}: what answers speaks no HTTP: {line:?}")),
        }
    }
}

/// The status in an answer's first line.
fn status(line: &str) -> Option<u16> {
    let (version, rest) = line.split_once(' ')?;
    let code = rest.split(' ').next()?;
    (version.starts_with("HTTP/1.") && code.len() == 3).then(|| code.parse().ok())?
}

/// A connection to a port of the container, made from inside; of its loopback addresses where none is named.
pub(super) async fn connect_to(running: &Running, address: Option<IpAddr>, port: u16) -> Result<TcpStream, String> {
    match address {
        Some(address) => connect_one(running, SocketAddr::new(address, port)).await,
        None => match connect_one(running, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)).await {
            Ok(stream) => Ok(stream),
            // Something may listen on the other one only.
            Err(error) => {
                connect_one(running, SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port)).await.map_err(|_| error)
            }
        },
    }
}

async fn connect_one(running: &Running, address: SocketAddr) -> Result<TcpStream, String> {
    let running = running.clone();
    let begun = tokio::task::spawn_blocking(move || begin_connection(&running, address)).await;
    let stream =
        begun.map_err(|_| "the daemon's worker panicked".to_owned())?.map_err(|error| errors::chain(&error))?;
    let failed = |error: std::io::Error| format!("cannot connect to {address}: {error}");
    let stream = TcpStream::from_std(stream).map_err(failed)?;
    stream.ready(Interest::WRITABLE).await.map_err(failed)?;
    match stream.take_error().map_err(failed)? {
        Some(error) => Err(failed(error)),
        None => Ok(stream),
    }
}

/// Begins to connect from the container's network namespace. The thread that visits it ends there; a socket stays in the
/// namespace in which it was made.
fn begin_connection(running: &Running, address: SocketAddr) -> Result<std::net::TcpStream, EngineError> {
    let gone = || EngineError::invalid("health check", "the container has ended");
    let process = pidfd(running)?.ok_or_else(gone)?;
    let begin = move || -> Result<std::net::TcpStream, EngineError> {
        sys::namespace::setns(process.as_fd(), CloneFlags::NEWNET).map_err(EngineError::Namespace)?;
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let failed = |errno: rustix::io::Errno| EngineError::io("connect to", address.to_string())(errno.into());
        let socket = socket_with(family, SocketType::STREAM, flags, None).map_err(failed)?;
        match connect(&socket, &address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket.into()),
            Err(errno) => Err(failed(errno)),
        }
    };
    let thread = std::thread::Builder::new().name("probe".to_owned()).spawn(begin);
    let thread = thread.map_err(EngineError::io("start a thread in", "/proc/self/task"))?;
    thread.join().map_err(|_| EngineError::Worker("health check"))?
}

/// Whether the container has this file, of whatever kind. Nothing of it is opened.
pub(super) fn has_file(running: &Running, path: &str) -> Result<(), String> {
    let root = format!("/proc/{}/root", running.pid);
    let ended = || "the container has ended".to_owned();
    let root = openat(CWD, &root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| format!("the container's root cannot be opened: {errno}"))?;
    // The number may be another process's by now; the descriptor would then be another root.
    pidfd(running).map_err(|error| errors::chain(&error))?.ok_or_else(ended)?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    match openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
        Ok(_) => Ok(()),
        Err(errno) => Err(format!("{path}: {}", std::io::Error::from(errno))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_a_port_and_a_path_or_a_url() {
        for (text, method, address, port, target) in [
            (":8080", "GET", None, 8080, "/"),
            (":8080/ready?full=1", "GET", None, 8080, "/ready?full=1"),
            ("HEAD :80/x#y", "HEAD", None, 80, "/x"),
            ("http://localhost/", "GET", None, 80, "/"),
            ("http://10.1.2.3:81", "GET", Some("10.1.2.3"), 81, "/"),
            ("POST http://[::1]:82/a", "POST", Some("::1"), 82, "/a"),
            ("http://[::1]?q", "GET", Some("::1"), 80, "/?q"),
        ] {
            let found = HttpRequest::parse(text).unwrap_or_else(|problem| panic!("{text}: {problem}"));
            let address = address.map(|address: &str| address.parse().unwrap());
            let expected = HttpRequest { method: method.into(), address, port, target: target.into() };
            assert_eq!(found, expected, "{text}");
        }
        for bad in [
            "",
            "8080",
            ":0",
            ":x",
            ":99999",
            "get :80",
            "GET  :80",
            ":80/a b",
            ":80/\r\nX: y",
            "https://localhost/",
            "http://example.org/",
            "http://[::1",
            "ftp://1.2.3.4/",
        ] {
            assert!(HttpRequest::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_status_is_three_digits_after_the_version() {
        assert_eq!(status("HTTP/1.1 204 No Content"), Some(204));
        assert_eq!(status("HTTP/1.0 503"), Some(503));
        for bad in ["", "HTTP/1.1", "HTTP/1.1 20 x", "SSH-2.0-OpenSSH 200 x", "HTTP/2 200", "HTTP/1.1 2x0"] {
            assert_eq!(status(bad), None, "{bad}");
        }
    }
}
