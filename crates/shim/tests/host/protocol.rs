// SPDX-License-Identifier: Apache-2.0
//! Clients that do not keep to the protocol harm only themselves.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

use errors::{Classify as _, Kind as ErrorKind};
use shim::frame::{Kind, encode};
use shim::{Request, connect};

use crate::harness::{Client, World};

#[test]
fn malformed_and_oversized_frames_end_only_their_session() {
    let world = World::new();
    let container = world.start(world.request("sleep 1000"));
    let healthy = container.attach(false);
    let whole = encode(Kind::Request, br#"{"resize": "#).unwrap();
    let wrong: [&[u8]; 6] = [
        &[16, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
        &[99, 0, 0, 0, 0, 0, 0, 1, b'x'],
        &[0, 0, 0, 0, 0, 0, 0, 1, b'x'],
        &[22, 0, 0, 0, 0, 0, 0, 0],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &whole,
    ];
    for bytes in wrong {
        let mut stream = UnixStream::connect(container.dir.join("sock")).unwrap();
        stream.write_all(bytes).unwrap();
        let mut client = Client::of(stream);
        assert_eq!(client.failed().kind, ErrorKind::InvalidArgument, "{bytes:?}");
        assert!(client.next().is_none());
    }
    // Half a frame and away; nothing and away.
    UnixStream::connect(container.dir.join("sock")).unwrap().write_all(&[16, 0, 0, 0, 0, 0, 1]).unwrap();
    drop(UnixStream::connect(container.dir.join("sock")).unwrap());
    // After the handshake too.
    let mut attached = container.attach(true);
    attached.stream.write_all(&[0, 0, 0, 0, 0xff, 0, 0, 0]).unwrap();
    assert_eq!(attached.failed().kind, ErrorKind::InvalidArgument);
    container.kill(15);
    container.kill(9);
    assert_eq!(healthy.collect().2.code, 137);
    container.finish();
}

#[test]
fn more_clients_than_are_served_at_once_wait_their_turn() {
    let world = World::new();
    let container = world.start(world.request("sleep 1000"));
    let watchers: Vec<Client> = (0..100).map(|_| container.connect(&Request::Watch)).collect();
    let idle: Vec<UnixStream> = (0..60).map(|_| UnixStream::connect(container.dir.join("sock")).unwrap()).collect();
    drop(idle);
    let mut late = container.connect(&Request::Watch);
    late.started();
    container.kill(9);
    for mut watcher in watchers {
        watcher.started();
        assert_eq!(watcher.exited().code, 137);
    }
    container.finish();
}

#[test]
fn the_socket_is_roots_alone() {
    let world = World::new();
    let container = world.start(world.request("sleep 1000"));
    let mode = |name: &str| std::fs::metadata(container.dir.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("sock"), mode("state.json"), mode("log")), (0o600, 0o600, 0o600));
    container.kill(9);
    container.finish();
}

#[test]
fn other_users_are_sent_away_even_if_they_can_connect() {
    let world = World::new();
    let container = world.start(world.request("sleep 1000"));
    for (path, mode) in [(world.dir.path(), 0o755), (&container.dir, 0o755), (&container.dir.join("sock"), 0o666)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let sock = container.dir.join("sock");
    let stranger = std::thread::spawn(move || {
        let nobody = rustix::process::Uid::from_raw(65534);
        // This thread's only: the others of the test process stay root.
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        Client::of(UnixStream::connect(sock).unwrap()).failed()
    });
    assert_eq!(stranger.join().unwrap().kind, ErrorKind::PermissionDenied);
    container.kill(9);
    container.finish();
}

#[test]
fn resizing_what_has_no_terminal_is_refused() {
    let world = World::new();
    let container = world.start(world.request("sleep 1000"));
    let report = container.connect(&Request::Resize { exec_id: None, rows: 1, cols: 1 }).failed();
    assert_eq!(report.kind, ErrorKind::Conflict);
    let report = container.connect(&Request::Resize { exec_id: Some("no".into()), rows: 1, cols: 1 }).failed();
    assert_eq!(report.kind, ErrorKind::NotFound);
    assert_eq!(container.connect(&Request::Resume).failed().kind, ErrorKind::Conflict);
    container.kill(9);
    container.finish();
}

#[test]
fn nobody_listens_where_nothing_runs() {
    let world = World::new();
    let error = connect(world.dir.path(), &Request::Watch).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
}
