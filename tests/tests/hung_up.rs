// SPDX-License-Identifier: Apache-2.0
//! Clients whose connection was taken over and who hang up: what was theirs is free again, though the container says
//! nothing. Who has only ended its input goes on hearing.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use testkit::Daemon;

const PATIENCE: Duration = Duration::from_secs(30);
const ALL: &str = "stream=1&stdin=1&stdout=1&stderr=1";

#[track_caller]
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asks for a connection to be taken over: the status of the answer. Reads byte by byte, so that what follows the head stays.
fn take_over(stream: &mut (impl Read + Write), path: &str, body: &str) -> u16 {
    let length = body.len();
    let headers = "Host: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json";
    write!(stream, "POST {path} HTTP/1.1\r\n{headers}\r\nContent-Length: {length}\r\n\r\n{body}").expect("it is sent");
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head);
    head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
}

fn attach(daemon: &Daemon, container: &str) -> (u16, UnixStream) {
    let mut stream = UnixStream::connect(daemon.socket()).expect("the daemon listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    (take_over(&mut stream, &format!("/containers/{container}/attach?{ALL}"), ""), stream)
}

/// The sockets that a process has open.
fn sockets(pid: i32) -> usize {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
    let links = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

/// A number that has not changed for a while.
fn settled(number: impl Fn() -> usize) -> usize {
    let (mut last, mut since) = (number(), Instant::now());
    while since.elapsed() < Duration::from_millis(200) {
        std::thread::sleep(Duration::from_millis(5));
        let now = number();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
}

/// The parent of a container's first process.
fn shim_of(daemon: &Daemon, container: &str) -> i32 {
    let pid = &daemon.inspect(container)["State"]["Pid"];
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, rest) = stat.rsplit_once(')').expect("a name");
    rest.split_whitespace().nth(1).and_then(|parent| parent.parse().ok()).expect("a parent")
}

#[test]
fn who_attached_before_the_start_and_died_keeps_no_place() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["create", "-i", "--name", "box", "busybox", "sh", "-c", "read word; echo heard $word"]);
    let (status, first) = attach(&daemon, "box");
    assert_eq!(status, 101);
    assert_eq!(attach(&daemon, "box").0, 409, "the place is taken as long as its client is there");
    // Who has no more input waits for the output, and keeps its place.
    first.shutdown(Shutdown::Write).expect("half a connection");
    assert_eq!(attach(&daemon, "box").0, 409, "it still listens");
    drop(first);
    let mut second = None;
    until("the place is free", || {
        let (status, stream) = attach(&daemon, "box");
        second = Some(stream).filter(|_| status == 101);
        second.is_some()
    });
    let mut second = second.expect("one that attached");
    daemon.ok(&["start", "box"]);
    second.write_all(b"you\n").expect("it is sent");
    let mut heard = Vec::new();
    second.read_to_end(&mut heard).expect("the output, and its end");
    assert_eq!(heard, b"\x01\0\0\0\0\0\0\x0aheard you\n");
    daemon.ok(&["rm", "box"]);
}

#[test]
fn a_client_that_hangs_up_leaves_a_silent_container() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&[
        "run",
        "-d",
        "-i",
        "--name",
        "box",
        "busybox",
        "sh",
        "-c",
        "until [ -e /go ]; do usleep 10000; done; echo gone",
    ]);
    let shim = shim_of(&daemon, "box");
    let before_of_shim = sockets(shim);
    let mut stays = attach(&daemon, "box").1;
    stays.shutdown(Shutdown::Write).expect("half a connection");
    // Of those that hang up, every second one ends its input first, as Docker's command line does.
    let leaving: Vec<_> = (0..10)
        .map(|number| {
            let (status, stream) = attach(&daemon, "box");
            assert_eq!(status, 101);
            if number % 2 == 0 {
                stream.shutdown(Shutdown::Write).expect("half a connection");
            }
            stream
        })
        .collect();
    until("the shim has them", || sockets(shim) == before_of_shim + 11);
    let body = r#"{"Detach": false, "Tty": false}"#;
    let execs = ["sleep 600", "sleep 601"].map(|command| {
        let created = serde_json::json!({"Cmd": command.split(' ').collect::<Vec<_>>(), "AttachStdout": true});
        let created = testkit::http::ask(&daemon, "POST", "/containers/box/exec", &[], created.to_string().as_bytes());
        let id = created.expect(201)["Id"].as_str().expect("an id").to_owned();
        let mut stream = UnixStream::connect(daemon.socket()).expect("the daemon listens");
        assert_eq!(take_over(&mut stream, &format!("/exec/{id}/start"), body), 101);
        (id, stream)
    });
    let (ids, streams): (Vec<_>, Vec<_>) = execs.into_iter().unzip();
    let with_all = settled(|| sockets(daemon.pid()));
    drop((leaving, streams));
    // Each has had a connection, a second descriptor of it and one to the shim. What the daemon makes ahead for the next
    // containers has sockets too, and may come meanwhile: fewer than one client's.
    until("the daemon lets them go", || sockets(daemon.pid()) + 12 * 3 <= with_all + 2);
    until("the shim lets them go", || sockets(shim) == before_of_shim + 1);
    for id in ids {
        let exec = testkit::http::ask(&daemon, "GET", &format!("/exec/{id}/json"), &[], b"").expect(200);
        assert_eq!(exec["Running"], true, "what it executed goes on");
    }
    // Who has only ended its input hears what comes, to the end.
    daemon.ok(&["exec", "box", "touch", "/go"]);
    let mut heard = Vec::new();
    stays.read_to_end(&mut heard).expect("the output, and its end");
    assert_eq!(heard, b"\x01\0\0\0\0\0\0\x05gone\n");
    daemon.ok(&["rm", "box"]);
}

#[test]
fn what_a_client_has_sent_before_it_hangs_up_is_the_commands() {
    let daemon = Daemon::with_busybox();
    let script = "head -c 3000000 | wc -c; sleep 600";
    daemon.ok(&["run", "-d", "-i", "--name", "box", "busybox", "sh", "-c", script]);
    let mut stream = attach(&daemon, "box").1;
    stream.write_all(&vec![b'x'; 3_000_000]).expect("it is sent");
    drop(stream);
    until("all of it is there", || daemon.ok(&["logs", "box"]).trim() == "3000000");
    daemon.ok(&["rm", "-f", "box"]);
}

#[test]
fn a_client_that_breaks_off_over_tcp_is_noticed_too() {
    let daemon = Daemon::builder().argument("-H").argument("tcp://127.0.0.1:2375").argument("--insecure").start();
    daemon.import_busybox();
    daemon.ok(&["run", "-d", "-i", "--name", "box", "busybox", "sh", "-c", "read x; echo $x; exec sleep 600"]);
    let shim = shim_of(&daemon, "box");
    let before = sockets(shim);
    let mut stream = daemon.sandbox().run(|| TcpStream::connect("127.0.0.1:2375").expect("the daemon listens"));
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    assert_eq!(take_over(&mut stream, &format!("/containers/box/attach?{ALL}"), ""), 101);
    stream.write_all(b"word\n").expect("it is sent");
    stream.shutdown(Shutdown::Write).expect("half a connection");
    // What it has been sent and has not read makes its end known at once: without, the next probe does so.
    until("something is to be read", || stream.peek(&mut [0; 13]).is_ok_and(|length| length == 13));
    drop(stream);
    until("the shim lets it go", || sockets(shim) == before);
    daemon.ok(&["rm", "-f", "box"]);
}
