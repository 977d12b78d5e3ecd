// SPDX-License-Identifier: Apache-2.0
//! How the command line behaves where something is not as it should be: nobody answers, somebody else does, the output cannot be
//! written, the user gives up.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, also in its helper functions")]

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use testkit::Daemon;
use testkit::corten::{Finished, Running, binary};
use testkit::process::command;

/// No client waits longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Something that listens as a daemon would, and answers each connection with `answer`. What it gives says when one has come and
/// been answered; the connections stay open.
fn impostor(directory: &Path, answer: &'static [u8]) -> (PathBuf, mpsc::Receiver<()>) {
    let socket = directory.join("impostor.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let (came, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut open: Vec<UnixStream> = Vec::new();
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            // The head of a request comes in one piece.
            let mut request = [0; 64 * 1024];
            let _ = connection.read(&mut request);
            let _ = connection.write_all(answer);
            open.push(connection);
            if came.send(()).is_err() {
                return;
            }
        }
    });
    (socket, told)
}

fn start(socket: &Path, arguments: &[&str]) -> Running {
    let mut corten = command(binary());
    corten.arg("-H").arg(format!("unix://{}", socket.display())).args(arguments).env("DOCKER_CONFIG", "/nowhere");
    Running::start(corten, Vec::new())
}

fn shell(script: &str) -> Finished {
    let mut bash = command("bash");
    bash.args(["-o", "pipefail", "-c", script]).env("CORTEN", binary());
    Running::start(bash, Vec::new()).wait()
}

#[test]
fn an_output_that_cannot_be_written_is_an_error_and_a_reader_that_left_is_none() {
    let full = shell("\"$CORTEN\" completion bash > /dev/full").fails(1);
    full.saying("cannot write the output: No space left");
    let left = shell("\"$CORTEN\" completion bash | true; echo ${PIPESTATUS[0]}");
    // The reader may have left later than all was written.
    assert!(["141", "0"].contains(&left.text()) && left.stderr.is_empty(), "{left}");

    // An archive that is longer than any pipe.
    let daemon = Daemon::with_busybox();
    let host = daemon.host();
    let save = format!("\"$CORTEN\" -H {host} save busybox | head -c 1 > /dev/null; echo ${{PIPESTATUS[0]}}");
    let left = shell(&save);
    assert!(left.text() == "141" && left.stderr.is_empty(), "{left}");
}

#[test]
fn a_pipe_that_somebody_does_not_want_to_wait_for_is_waited_for() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    // The smallest there is: a page.
    rustix::pipe::fcntl_setpipe_size(&writer, 4096).unwrap();
    rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::NONBLOCK).unwrap();
    let mut corten = command(binary());
    corten.args(["run", "--help"]).stdout(writer);
    let mut running = corten.spawn().unwrap();
    // Ours is open as long as the command has it.
    drop(corten);
    let mut bytes = Vec::new();
    let mut piece = [0; 512];
    loop {
        let length = reader.read(&mut piece).unwrap();
        if length == 0 {
            break;
        }
        bytes.extend_from_slice(&piece[..length]);
    }
    let text = String::from_utf8(bytes).unwrap();
    assert!(running.wait().unwrap().success(), "{text}");
    assert!(text.len() > 8192 && text.ends_with('\n') && text.contains("Examples:"), "{} bytes: {text}", text.len());
}

#[test]
fn somebody_else_on_the_socket_is_told_from_a_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, _told) = impostor(directory.path(), b"220 mail.example ESMTP\r\n");
    start(&socket, &["ps"]).wait().fails(1).saying("another program's socket");

    let directory = tempfile::tempdir().unwrap();
    let page = b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\n<p>no";
    let (socket, _told) = impostor(directory.path(), page);
    start(&socket, &["ps"]).wait().fails(1).saying("404").saying("another program that listens there");

    // Docker's own, or an older Corten, does not know the routes of this one.
    let directory = tempfile::tempdir().unwrap();
    let page = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 29\r\n\r\n{\"message\":\"page not found\"}\n";
    let (socket, _told) = impostor(directory.path(), page);
    let refused = start(&socket, &["run", "--rm", "busybox", "true"]).wait().fails(125);
    refused.saying("not Corten's, or an older one").saying("corten version");
}

#[test]
fn who_gives_up_need_not_wait_for_a_daemon_that_hangs() {
    for arguments in [&["run", "--sig-proxy=false", "x"][..], &["run", "-d", "x"]] {
        let directory = tempfile::tempdir().unwrap();
        let (socket, told) = impostor(directory.path(), b"");
        let running = start(&socket, arguments);
        told.recv_timeout(PATIENCE).unwrap();
        running.signal(Signal::INT);
        assert_eq!(running.wait_for(PATIENCE).code, 130, "{arguments:?}");
    }
    // What is meant for the container waits for it; the third time the user means it.
    let directory = tempfile::tempdir().unwrap();
    let (socket, told) = impostor(directory.path(), b"");
    let running = start(&socket, &["run", "x"]);
    told.recv_timeout(PATIENCE).unwrap();
    let pid = Pid::from_raw(running.pid()).unwrap();
    let ended = std::thread::spawn(move || running.wait_for(PATIENCE));
    while !ended.is_finished() {
        // Two at once are one.
        let _ = kill_process(pid, Signal::INT);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(ended.join().unwrap().code, 130);
}

#[test]
fn of_an_archive_that_was_given_up_nothing_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let begun = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-tar\r\nContent-Length: 99999\r\n\r\nbegun";
    let (socket, told) = impostor(directory.path(), begun);
    let archives = directory.path().join("archives");
    std::fs::create_dir(&archives).unwrap();
    let running = start(&socket, &["export", "-o", archives.join("a.tar").to_str().unwrap(), "x"]);
    told.recv_timeout(PATIENCE).unwrap();
    running.signal(Signal::TERM);
    assert_eq!(running.wait_for(PATIENCE).code, 143);
    assert_eq!(std::fs::read_dir(&archives).unwrap().count(), 0, "half an archive is left");
}

#[test]
fn who_stops_several_waits_for_the_slowest_alone() {
    let daemon = Daemon::with_busybox();
    // Each ends only when the other was asked to as well.
    let script = "trap 'touch /v/$WHO; until [ -e /v/one ] && [ -e /v/two ]; do usleep 10000; done; exit 0' TERM; \
                  touch /v/$WHO-ready; while :; do usleep 10000; done";
    for name in ["one", "two"] {
        let who = format!("WHO={name}");
        daemon.ok(&["run", "-d", "--name", name, "-e", &who, "-v", "shared:/v", "busybox", "sh", "-c", script]);
    }
    daemon.ok(&["exec", "one", "sh", "-c", "until [ -e /v/one-ready ] && [ -e /v/two-ready ]; do usleep 10000; done"]);
    let stopped = daemon.corten(&["stop", "-t", "30", "two", "nobody", "one"]).fails(1);
    assert_eq!(stopped.text(), "two\none", "in the order in which they were named: {stopped}");
    for name in ["one", "two"] {
        assert_eq!(daemon.inspect(name)["State"]["ExitCode"], 0, "{name} was killed");
    }
    assert_eq!(daemon.ok(&["rm", "one", "two"]), "one\ntwo");
}

#[test]
fn a_live_view_shows_at_once_what_is_known() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "one", "busybox", "sleep", "60"]);
    let mut terminal = daemon.terminal(&["stats"], 24, 120);
    // The share of the processors takes a second look.
    terminal.expect("--");
    let first = terminal.shown();
    assert!(first.contains("CPU %") && first.contains("one") && first.contains("iB / "), "{first}");
    terminal.expect("0.00%");
    terminal.send("\x03");
    assert_eq!(terminal.wait(), 130);
}
