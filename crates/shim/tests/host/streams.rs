// SPDX-License-Identifier: Apache-2.0
//! Output, input, logs: complete, in order, whoever listens and however slowly.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use shim::frame::Kind;
use shim::{LogConfig, Request, ShimFds};

use crate::harness::{Client, World, eventually};

#[test]
fn output_and_log_are_complete_and_in_order() {
    let world = World::new();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let request = world.request("seq 1 20000; echo bad >&2; printf tail; exit 7");
    let fds = ShimFds { attach: Some(OwnedFd::from(theirs)), ..ShimFds::default() };
    let container = world.start_with(request, fds);
    let mut client = Client::of(ours);
    assert_eq!(client.started().pid, container.started.pid);
    let (out, err, exit) = client.collect();
    let expected: String = (1..=20000).map(|n| format!("{n}\n")).collect::<String>() + "tail";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    assert_eq!(err, b"bad\n");
    assert_eq!((exit.code, exit.signal, exit.oom_killed), (7, None, false));
    let log = container.log();
    let logged = |stream: &str| log.iter().filter(|(s, _)| s == stream).map(|(_, l)| l.as_str()).collect::<String>();
    assert_eq!(logged("stdout"), expected);
    assert_eq!(logged("stderr"), "bad\n");
    assert_eq!(container.finish().code, 7);
}

#[test]
fn standard_input_reaches_the_container_and_ends_once() {
    let world = World::new();
    let mut request = world.request("cat; echo done");
    (request.open_stdin, request.stdin_once) = (true, true);
    let container = world.start(request);
    let mut client = container.attach(true);
    client.send(Kind::Stdin, b"hello\n");
    assert_eq!(client.read_until("hello\n"), "hello\n");
    client.send(Kind::Stdin, b"again\n");
    client.read_until("again\n");
    client.send(Kind::StdinEof, b"");
    assert_eq!(client.collect().0, b"done\n");
    container.finish();
}

#[test]
fn a_client_that_leaves_ends_the_input_only_with_stdin_once() {
    let world = World::new();
    for once in [true, false] {
        let mut request = world.request("cat; echo done");
        (request.open_stdin, request.stdin_once) = (true, once);
        let container = world.start(request);
        let mut first = container.attach(true);
        first.send(Kind::Stdin, b"one\n");
        first.read_until("one\n");
        drop(first);
        if once {
            assert_eq!(container.finish().code, 0);
        } else {
            let mut second = container.attach(true);
            second.send(Kind::Stdin, b"two\n");
            second.read_until("two\n");
            container.kill(9);
            assert_eq!(container.finish().code, 137);
        }
    }
}

#[test]
fn a_client_that_detaches_does_not_end_the_input() {
    let world = World::new();
    let mut request = world.request("cat; echo done");
    (request.open_stdin, request.stdin_once) = (true, true);
    let container = world.start(request);
    let mut first = container.attach(true);
    first.send(Kind::Detached, b"");
    assert!(first.next().is_none());
    let mut second = container.attach(true);
    second.send(Kind::Stdin, b"still here\n");
    second.read_until("still here\n");
    drop(second);
    container.finish();
}

#[test]
fn without_open_stdin_the_container_reads_nothing() {
    let world = World::new();
    let container = world.start(world.request("cat; echo end >&2"));
    container.finish();
}

#[test]
fn much_input_is_taken_as_the_container_reads_it() {
    let world = World::new();
    let mut request = world.request("sleep 1; cat");
    (request.open_stdin, request.stdin_once, request.log) = (true, true, None);
    let container = world.start(request);
    let mut client = container.attach(true);
    let sent: Vec<u8> = (0..5_000_000u32).map(|n| (n % 251) as u8).collect();
    let mut writer = Client::of(client.stream.try_clone().unwrap());
    let input = sent.clone();
    let feeder = std::thread::spawn(move || {
        input.chunks(100_000).for_each(|piece| writer.send(Kind::Stdin, piece));
        writer.send(Kind::StdinEof, b"");
    });
    let mut got = Vec::new();
    while let Some((Kind::Stdout, payload)) = client.next() {
        got.extend(payload);
    }
    feeder.join().unwrap();
    assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
    container.finish();
}

#[test]
fn a_slow_client_slows_the_container_and_loses_nothing() {
    const BYTES: usize = 50 << 20;
    let world = World::new();
    let mut request = world.request(&format!("yes 0123456789abcde | head -c {BYTES}; echo finished > /tmp/finished"));
    request.log = None;
    let (ours, theirs) = UnixStream::pair().unwrap();
    let fds = ShimFds { attach: Some(theirs.into()), ..ShimFds::default() };
    let container = world.start_with(request, fds);
    let mut client = Client::of(ours);
    client.started();
    std::thread::sleep(Duration::from_millis(500));
    assert!(!world.dir.path().join("root/tmp/finished").exists(), "the container waits for its reader");
    let own = own_kib(container.pid);
    assert!(own < 1200, "a shim with a slow client holds {own} KiB of its own");
    let (out, _, exit) = client.collect();
    assert_eq!((out.len(), exit.code), (BYTES, 0));
    assert!(out.chunks(16).all(|line| line == b"0123456789abcde\n"));
    container.finish();
}

#[test]
fn a_client_that_is_gone_holds_nobody_up() {
    let world = World::new();
    let mut request = world.request("sleep 0.3; yes | head -c 5000000; exit 3");
    request.log = None;
    let container = world.start(request);
    let stays = container.attach(false);
    let leaves = container.attach(false);
    let paused = container.attach(false);
    drop(leaves);
    std::thread::sleep(Duration::from_millis(600));
    drop(paused);
    let (out, _, exit) = stays.collect();
    assert_eq!((out.len(), exit.code), (5_000_000, 3));
    container.finish();
}

#[test]
fn every_client_gets_what_it_asked_for() {
    let world = World::new();
    let mut request = world.request("read go; echo out; echo err >&2");
    (request.open_stdin, request.stdin_once) = (true, false);
    let container = world.start(request);
    let both = container.attach(false);
    let mut only_err = container.connect(&Request::Attach { stdin: false, stdout: false, stderr: true });
    only_err.started();
    let mut giver = container.attach(true);
    giver.send(Kind::Stdin, b"go\n");
    let (out, err, _) = both.collect();
    assert_eq!((out.as_slice(), err.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    let (out, err, _) = only_err.collect();
    assert_eq!((out.as_slice(), err.as_slice()), (&b""[..], &b"err\n"[..]));
    container.finish();
}

#[test]
fn what_was_not_read_in_time_is_sent_after_the_exit() {
    let world = World::new();
    let mut request = world.request("seq 1 20000");
    request.log = None;
    let (ours, theirs) = UnixStream::pair().unwrap();
    let container = world.start_with(request, ShimFds { attach: Some(theirs.into()), ..ShimFds::default() });
    let mut client = Client::of(ours);
    let dir = container.dir.clone();
    // The container ends and is tidied up, while this client has read nothing.
    eventually("the exit is recorded", || dir.join("exit.json").exists());
    client.started();
    let (out, _, exit) = client.collect();
    assert_eq!(exit.code, 0);
    assert!(out.ends_with(b"\n20000\n"));
    container.finish();
}

#[test]
fn a_terminal_has_a_size_and_echoes() {
    let world = World::new();
    let mut request = world.request("stty size; read line; stty size; echo got $line; tty");
    request.spec.process_mut().as_mut().unwrap().set_terminal(Some(true));
    (request.open_stdin, request.terminal_size) = (true, Some((33, 101)));
    let container = world.start(request);
    let mut client = container.attach(true);
    // The first line may have come before this client did; it is in the log in any case.
    eventually("the first size", || container.log().iter().any(|(_, line)| line == "33 101\r\n"));
    container.connect(&Request::Resize { exec_id: None, rows: 40, cols: 50 }).ok();
    client.send(Kind::Stdin, b"word\n");
    let text = client.read_until("/dev/");
    assert!(text.contains("40 50\r\n") && text.contains("got word\r\n"), "{text:?}");
    assert_eq!(container.finish().code, 0);
}

#[test]
fn the_session_itself_resizes_too() {
    let world = World::new();
    let mut request = world.request("read line; stty size");
    request.spec.process_mut().as_mut().unwrap().set_terminal(Some(true));
    (request.open_stdin, request.terminal_size) = (true, Some((1, 1)));
    let container = world.start(request);
    let mut client = container.attach(true);
    client.send(Kind::Resize, br#"{"rows":7,"cols":9}"#);
    client.send(Kind::Stdin, b"x\n");
    client.read_until("7 9\r\n");
    container.finish();
}

#[test]
fn the_log_is_bounded() {
    let world = World::new();
    let mut request = world.request("seq 1 50000");
    request.log = Some(LogConfig { max_size: 100_000, max_files: 3, ..LogConfig::new(request.dir.join("log")) });
    let container = world.start(request);
    let dir = container.dir.clone();
    let log = move || crate::harness::log_of(&dir);
    let dir = container.dir.clone();
    container.finish();
    let sizes: Vec<u64> = ["log", "log.1", "log.2"].map(|n| std::fs::metadata(dir.join(n)).unwrap().len()).to_vec();
    assert!(sizes.iter().all(|&size| size <= 100_000), "{sizes:?}");
    assert!(!dir.join("log.3").exists());
    assert_eq!(log().last().unwrap().1, "50000\n");
}

#[test]
fn older_files_of_a_log_are_compressed_beside_the_shim() {
    let world = World::new();
    let mut request = world.request("seq 1 50000");
    let log =
        LogConfig { max_size: 200_000, max_files: 100, compress: true, ..LogConfig::new(request.dir.join("log")) };
    request.log = Some(log);
    let container = world.start(request);
    let dir = container.dir.clone();
    container.finish();
    let mut text = String::new();
    for age in (1..100).rev() {
        // Nothing is left half done when the shim has gone.
        assert!(!dir.join(format!("log.{age}")).exists() && !dir.join(format!("log.{age}.gz.new")).exists());
        if let Ok(file) = std::fs::File::open(dir.join(format!("log.{age}.gz"))) {
            flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
        }
    }
    assert!(text.lines().count() > 40_000, "most of it was rotated");
    text.push_str(&std::fs::read_to_string(dir.join("log")).unwrap());
    let numbers: Vec<u32> = text
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["log"].as_str().unwrap().trim().parse().unwrap()
        })
        .collect();
    assert_eq!(numbers, (1..=50_000).collect::<Vec<u32>>());
}

/// The anonymous memory of a process, in KiB: what exists because it does. Its program's pages are the page cache's,
/// and everybody's who runs it.
pub(crate) fn own_kib(pid: i32) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let anonymous = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
    anonymous.trim().trim_end_matches(" kB").parse().unwrap()
}
