// SPDX-License-Identifier: Apache-2.0
//! How a daemon is started, what it says beforehand, and what it writes into its log.

use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, getsid, pidfd_open, pidfd_send_signal};
use testkit::Daemon;
use testkit::corten::{Running, binary};
use testkit::http::ask;
use testkit::process::command;
use testkit::trace::calls;
use testkit::trace::number::{BIND, CHMOD, FSYNC, LISTEN, RENAME};

/// The command that starts another daemon of the same roots.
fn daemon_of(daemon: &Daemon) -> Command {
    let mut command = command(binary());
    command.args(["daemon", "-H", &daemon.host(), "--cgroup-parent", daemon.cgroup(), "--gc-threshold", "0"]);
    for (flag, name) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
        command.arg(flag).arg(daemon.path().join(name));
    }
    command
}

/// Starts a daemon of `daemon`'s roots in the background, as a shell with job control does, whose commands lead process groups:
/// the exit code, and what was said.
fn start_as_a_leader(daemon: &Daemon) -> (Option<i32>, String) {
    let mut command = daemon_of(daemon);
    // A file, because the daemon keeps it open.
    let path = daemon.path().join("background.log");
    let log = std::fs::File::create(&path).expect("a log");
    command.arg("--background").process_group(0);
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
    let status = daemon.sandbox().run(move || command.status().expect("it starts"));
    (status.code(), std::fs::read_to_string(path).expect("a log"))
}

/// A socket could be connected to before its group and mode were set, and ids that were chosen were lost in a power cut.
#[test]
fn what_others_rely_on_is_made_in_its_order() {
    // No user has ids, so that some are chosen.
    let builder = Daemon::builder().etc("subuid", "").etc("subgid", "");
    let daemon = builder.start();
    daemon.stop();
    let taken = daemon.sandbox().run(|| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let metrics = taken.local_addr().expect("an address").to_string();
    let mut command = daemon_of(&daemon);
    // With that it ends by itself, when it listens.
    command.args(["--userns-remap", "default", "--metrics-addr", &metrics]);
    let (calls, code) =
        daemon.sandbox().run(move || calls(&command).map_err(|error| error.to_string())).expect("a trace");
    assert_eq!(code, 1);
    let only = |wanted: &[u64]| calls.iter().copied().filter(|call| wanted.contains(call)).collect::<Vec<_>>();
    // The last one is that of the metrics.
    assert!(only(&[BIND, CHMOD, LISTEN]).ends_with(&[BIND, CHMOD, LISTEN, BIND]), "{calls:?}");
    let ids = only(&[RENAME, FSYNC]);
    let renamed = ids.iter().position(|call| *call == RENAME).expect("ids that are kept");
    assert_eq!(ids[renamed - 1..=renamed + 1], [FSYNC, RENAME, FSYNC], "{calls:?}");
    assert!(daemon.path().join("data/subordinate-ids").exists());
}

/// It could not leave the session of the shell.
#[test]
fn a_shell_with_job_control_starts_one_in_the_background() {
    let daemon = Daemon::builder().start();
    let (code, said) = start_as_a_leader(&daemon);
    assert_eq!(code, Some(1), "one runs there: {said}");
    assert!(said.contains("corten: "), "{said}");
    daemon.stop();
    let (code, said) = start_as_a_leader(&daemon);
    assert_eq!(code, Some(0), "{said}");
    // Who is told that it has started can use it.
    daemon.ok(&["ps"]);
    let pid = std::fs::read_to_string(daemon.path().join("pid")).expect("a number");
    let pid = Pid::from_raw(pid.trim().parse().expect("a number")).expect("it is positive");
    assert_eq!(getsid(Some(pid)).expect("it runs"), pid, "it has a session of its own");
    let directory = std::fs::read_link(format!("/proc/{}/cwd", pid.as_raw_nonzero())).expect("it runs");
    assert_eq!(directory, std::path::Path::new("/"));
    let process = pidfd_open(pid, PidfdFlags::empty()).expect("it runs");
    pidfd_send_signal(&process, Signal::TERM).expect("it runs");
    let patience = Timespec { tv_sec: 60, tv_nsec: 0 };
    let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&patience)).expect("it can be waited for");
    assert_eq!(ended, 1, "it does not end");
}

/// Only the flags that can be refused by themselves were looked at.
#[test]
fn what_would_be_refused_at_the_start_is_found_by_validate() {
    let directory = tempfile::tempdir().expect("a directory");
    let absent = directory.path().join("absent").display().to_string();
    let validate = |flags: &[&str]| {
        let mut command = command(binary());
        command.args(["daemon", "--validate", "--data-root", &absent, "--exec-root", &absent]).args(flags);
        command.env_remove("CORTEN_HOST");
        Running::start(command, Vec::new()).wait()
    };
    assert_eq!(validate(&["-H", "unix:///run/x.sock", "-H", "fd://"]).ok().text(), "configuration OK");
    for (flags, word) in [
        (&["-H", "ssh://far"][..], "ssh"),
        (&["-H", "tcp://0.0.0.0:2375"], "be root"),
        (
            &["-H", "tcp://0.0.0.0:2376", "--tlsverify", "--tlscacert", &absent, "--tlscert", "x", "--tlskey", "y"],
            &absent,
        ),
        (&["--group", "no-such-group"], "groupadd"),
        (&["--authorization-hook", "tcp://far"], "tcp://far"),
        (&["--seccomp-profile", &absent], &absent),
        (&["--userns-remap", "a:b:c"], "a:b:c"),
    ] {
        validate(flags).fails(1).saying(word);
    }
    assert!(!std::path::Path::new(&absent).exists(), "nothing is made");
}

/// What a client may ask of any daemon, and this one does not do, is none of the daemon's failures.
#[test]
fn what_is_not_supported_is_no_error_in_the_log() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["create", "--name", "box", "--log-driver", "none", "busybox", "true"]);
    let body = br#"{"Image": "busybox", "HostConfig": {"StorageOpt": {"size": "1g"}}}"#;
    for (method, path, body) in [
        ("GET", "/containers/box/logs?stdout=1", &b""[..]),
        ("POST", "/build", b""),
        ("GET", "/images/search?term=x", b""),
        ("POST", "/containers/create", body),
    ] {
        assert_eq!(ask(&daemon, method, path, &[], body).status, 501, "{path}");
    }
    assert_eq!(ask(&daemon, "POST", "/nowhere", &[], b"").status, 404);
    assert_eq!(ask(&daemon, "GET", "/swarm", &[], b"").status, 503);
    assert!(!daemon.log().contains("ERROR"), "{}", daemon.log());
}

/// The last lines that were asked for were gathered before the first was sent.
#[test]
fn many_last_lines_take_no_memory_of_the_daemon() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "--name", "box", "busybox", "true"]);
    let path = daemon.inspect("box")["LogPath"].as_str().expect("a path").to_owned();
    let text = "x".repeat(500);
    let line = |number: u32| {
        format!("{{\"log\":\"{text}\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:00.{number:09}Z\"}}\n")
    };
    let log: String = (0..40_000).map(line).collect();
    assert!(log.len() > 20 << 20);
    std::fs::write(path, log).expect("a log");
    let proc = format!("/proc/{}", daemon.pid());
    let peak = || {
        let status = std::fs::read_to_string(format!("{proc}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it has memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
    };
    daemon.ok(&["logs", "--tail", "1", "box"]);
    // As much as it has now (proc_pid_clear_refs(5)).
    std::fs::write(format!("{proc}/clear_refs"), "5").expect("it runs");
    let before = peak();
    assert_eq!(daemon.ok(&["logs", "--tail", "39999", "box"]).lines().count(), 39_999);
    let more = peak().saturating_sub(before);
    assert!(more < 8 << 20, "{more} bytes");
}
