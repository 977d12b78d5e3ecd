// SPDX-License-Identifier: Apache-2.0
//! Clients that mean no good, or know no better, on the daemon's socket: whatever they do, others are served.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, also in its helper functions")]

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use testkit::Daemon;

/// No answer takes longer: a hang must end as a failure.
const PATIENCE: Duration = Duration::from_secs(60);

fn connect(daemon: &Daemon) -> UnixStream {
    let stream = UnixStream::connect(daemon.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What the daemon answers to these bytes before it closes the connection.
fn answer(daemon: &Daemon, bytes: &[u8]) -> String {
    let mut stream = connect(daemon);
    // It may close before it has read all: that is an answer, too.
    let _ = stream.write_all(bytes);
    let mut text = Vec::new();
    if let Err(error) = stream.read_to_end(&mut text) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{}", String::from_utf8_lossy(bytes));
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// The status of an answer.
#[track_caller]
fn status(answer: &str) -> u16 {
    let line = answer.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    line[..3].parse().unwrap()
}

fn post(path: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n{body}").into_bytes()
}

fn json(path: &str, body: &str) -> Vec<u8> {
    post(path, &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()), body)
}

#[test]
fn malformed_requests_are_refused_one_by_one() {
    let daemon = Daemon::with_busybox();
    let create = "/containers/create?name=never";
    for (request, expected) in [
        (b"nonsense\r\n\r\n".to_vec(), 400),
        (b"GET /_ping HTTP/9.9\r\n\r\n".to_vec(), 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), 400),
        (json(create, "{"), 400),
        (json(create, "[]"), 400),
        (json(create, "null"), 400),
        (json(create, "\"\\ud800\""), 400),
        (json(create, r#"{"Image": 7}"#), 400),
        (json(create, r#"{"Image": "busybox", "HostConfig": {"Memory": 1e400}}"#), 400),
        (json(create, r#"{"Image": "busybox", "HostConfig": {"NanoCpus": -99999999999999999999}}"#), 400),
        (json(create, &format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000))), 400),
        (json(create, &format!(r#"{{"Image": "busybox", "Cmd": {}}}"#, "{\"a\":".repeat(5000))), 400),
        (post(create, "Transfer-Encoding: chunked\r\n", "zz\r\n{}\r\n0\r\n\r\n"), 400),
        (post(create, "Transfer-Encoding: chunked\r\n", "ffffffffffffffffff\r\n{}"), 400),
        (post(create, "Content-Length: -1\r\n", "{}"), 400),
        (post(create, "Content-Length: 1\r\nContent-Length: 2\r\n", "{}"), 400),
        (post(create, &format!("Content-Length: {}\r\n", u64::MAX), "{}"), 431),
        // An upgrade of what can be none, and one to what nobody speaks.
        (post("/containers/never/start", "Connection: Upgrade\r\nUpgrade: h2c\r\n", ""), 404),
        (post("/corten/v1/run", "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n", "{}"), 400),
        (b"GET /containers/..%2f..%2fetc/json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(), 404),
        (b"GET /v1.999999999999999999999/info HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(), 400),
    ] {
        let answer = answer(&daemon, &request);
        let shown = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
        assert_eq!(status(&answer), expected, "{shown}\n{answer}");
        assert!(!answer.contains("panicked"), "{answer}");
    }
    // A head without an end is not kept; whether the answer still arrives is the kernel's affair.
    let endless = format!("GET /_ping HTTP/1.1\r\nHost: x\r\nX-Long: {}", "a".repeat(4 << 20));
    let cut_off = answer(&daemon, endless.as_bytes());
    assert!(cut_off.is_empty() || status(&cut_off) == 431, "{cut_off}");
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
}

/// Who was refused in the middle of its body had the connection closed, and was told of a broken pipe instead of why.
#[test]
fn who_is_refused_while_it_sends_hears_why_and_may_go_on() {
    let daemon = Daemon::builder().start();
    let mut stream = connect(&daemon);
    let (length, piece) = (4 << 20, vec![b'x'; 1 << 20]);
    write!(stream, "PUT /containers/nobody/archive?path=/ HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n")
        .unwrap();
    stream.write_all(&piece).unwrap();
    let mut heard = Vec::new();
    let mut told = |stream: &mut UnixStream, words: &str| {
        let mut part = [0; 4096];
        while !String::from_utf8_lossy(&heard).contains(words) {
            let count = stream.read(&mut part).unwrap();
            assert!(count > 0, "{words}: {}", String::from_utf8_lossy(&heard));
            heard.extend_from_slice(&part[..count]);
        }
    };
    told(&mut stream, "no such container: nobody");
    for _ in 0..3 {
        stream.write_all(&piece).unwrap();
    }
    stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    told(&mut stream, "\r\n\r\nOK");
}

#[test]
fn bodies_that_never_end_are_not_kept_in_memory() {
    let daemon = Daemon::builder().start();
    let mut stream = connect(&daemon);
    stream.write_all(&post("/containers/create", "Transfer-Encoding: chunked\r\n", "")).unwrap();
    let piece = [b"100000\r\n".as_slice(), &[b' '; 1 << 20], b"\r\n"].concat();
    // More than any configuration has: by then it has closed.
    let taken = (0..64).take_while(|_| stream.write_all(&piece).is_ok()).count();
    assert!(taken < 64, "{taken} MiB were taken");
    daemon.ok(&["ps"]);
}

#[test]
fn two_hundred_at_once_and_as_many_that_stall_are_served_or_wait_for_nobody() {
    let daemon = Daemon::with_busybox();
    // Half a head, half a body, an open end, nothing at all: fifty of each stay while others work.
    let stalled: Vec<UnixStream> = (0..200)
        .map(|number| {
            let mut stream = connect(&daemon);
            let said: &[u8] = match number % 4 {
                0 => b"GET /_ping HTTP/1.1\r\nHo",
                1 => b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"Image\"",
                2 => b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n",
                _ => b"",
            };
            stream.write_all(said).unwrap();
            if number % 8 == 2 {
                // Half open: it will say nothing more, and listens.
                stream.shutdown(Shutdown::Write).unwrap();
            }
            stream
        })
        .collect();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..200)
            .map(|number| {
                let daemon = &daemon;
                scope.spawn(move || {
                    let body = format!(r#"{{"Image": "busybox", "Cmd": ["true"], "Labels": {{"n": "{number}"}}}}"#);
                    let request = match number % 4 {
                        0 => json(&format!("/containers/create?name=c{number}"), &body),
                        // All fifty want the same name.
                        1 => json("/containers/create?name=one", &body),
                        2 => b"GET /v1.41/containers/json?all=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                            .to_vec(),
                        _ => b"GET /info HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(),
                    };
                    status(&answer(daemon, &request))
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
    assert_eq!((count(201), count(409), count(200)), (51, 49, 100), "{statuses:?}");
    assert_eq!(daemon.ok(&["ps", "-aq"]).lines().count(), 51);
    drop(stalled);
    assert_eq!(daemon.ok(&["run", "--rm", "busybox", "echo", "still here"]), "still here");
}
