// SPDX-License-Identifier: Apache-2.0
//! `--init`: a first process that reaps, passes signals on, and is otherwise not noticed.

use std::time::{Duration, Instant};

use end_to_end::isolation::pid;
use testkit::Daemon;

/// Waits until the container has logged this.
#[track_caller]
fn wait_for_log(daemon: &Daemon, name: &str, line: &str) {
    let begun = Instant::now();
    while !daemon.ok(&["logs", name]).lines().any(|logged| logged == line) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{name} never said {line:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn orphans_are_reaped_and_the_command_is_a_child() {
    let daemon = Daemon::with_busybox();
    // The grandchild outlives its parent, and then ends.
    let script = "(sleep 0.1 & echo $! > /tmp/orphan); while [ -e /proc/$(cat /tmp/orphan) ]; do usleep 10000; done; \
                  echo gone; exec sleep 60";
    daemon.ok(&["run", "-d", "--init", "--name", "one", "--env", "A=b", "busybox", "sh", "-c", script]);
    // A zombie would still be in /proc.
    wait_for_log(&daemon, "one", "gone");
    assert_eq!(daemon.inspect("one")["HostConfig"]["Init"], true);
    let inside = |script: &str| daemon.ok(&["exec", "one", "sh", "-c", script]);
    assert!(inside("tr '\\0' ' ' < /proc/1/cmdline").starts_with("/sbin/docker-init -- sh -c "));
    assert_eq!(inside("cat /proc/1/comm"), "docker-init");
    assert!(inside("tr '\\0' '\\n' < /proc/1/environ").lines().any(|variable| variable == "A=b"));
    assert_eq!(inside("grep -c . /proc/1/task/1/children; ls -l /proc/1/fd | grep -c -v total"), "1\n3");
    // Its streams are the container's, and nothing of its program can be written to.
    inside("echo through > /proc/1/fd/1");
    wait_for_log(&daemon, "one", "through");
    let refused = inside("(echo x >> /proc/1/exe) 2>&1; true");
    assert!(["Read-only file system", "Text file busy"].iter().any(|why| refused.contains(why)), "{refused}");
    // What an exec leaves behind is reaped, too.
    let orphan = inside("(sleep 0.1 & echo $!)");
    let begun = Instant::now();
    while inside(&format!("[ -e /proc/{orphan} ] && echo there; true")) == "there" {
        assert!(begun.elapsed() < Duration::from_secs(20), "it is a zombie");
    }
    daemon.ok(&["run", "-d", "--name", "without", "busybox", "sleep", "60"]);
    assert_eq!(daemon.inspect("without")["HostConfig"]["Init"], serde_json::Value::Null);
}

#[test]
fn signals_reach_the_command_and_its_exit_code_is_the_containers() {
    let daemon = Daemon::with_busybox();
    let script = "trap 'echo usr1' USR1; trap 'echo asked; exit 7' TERM; echo ready; while true; do usleep 10000; done";
    daemon.ok(&["run", "-d", "--init", "--name", "hears", "busybox", "sh", "-c", script]);
    wait_for_log(&daemon, "hears", "ready");
    daemon.ok(&["kill", "-s", "USR1", "hears"]);
    wait_for_log(&daemon, "hears", "usr1");
    daemon.ok(&["stop", "-t", "20", "hears"]);
    assert_eq!(daemon.inspect("hears")["State"]["ExitCode"], 7);
    // A command without a handler would not hear of it as process 1.
    daemon.ok(&["run", "-d", "--init", "--name", "plain", "busybox", "sleep", "60"]);
    let begun = Instant::now();
    daemon.ok(&["stop", "-t", "60", "plain"]);
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert_eq!(daemon.inspect("plain")["State"]["ExitCode"], 128 + 15);
    for (script, code) in [("exit 0", 0), ("exit 42", 42), ("kill -9 $$", 137), ("kill -ABRT $$", 134)] {
        let run = daemon.corten(&["run", "--rm", "--init", "busybox", "sh", "-c", script]);
        assert_eq!(run.code, code, "{script}");
    }
    assert_eq!(daemon.ok(&["run", "--rm", "--init", "-u", "1000:1000", "busybox", "id", "-u"]), "1000");
    // Its end is everybody's.
    daemon.ok(&["run", "-d", "--init", "--name", "killed", "busybox", "sleep", "60"]);
    let process = pid(&daemon, "killed");
    daemon.ok(&["kill", "killed"]);
    assert!(!std::path::Path::new(&format!("/proc/{process}/root/bin")).exists());
}

#[test]
fn what_cannot_be_executed_fails_as_without_an_init() {
    let daemon = Daemon::with_busybox();
    for (command, code) in [(&["/no/such/program"][..], 127), (&["nothing"], 127), (&["/tmp"], 126)] {
        for flags in [&["run", "--rm"][..], &["run", "--rm", "--init"]] {
            daemon.fails(&[flags, &["busybox"], command].concat(), code);
        }
    }
    // Found, and yet not executed: only execve can tell.
    daemon.ok(&["run", "--name", "made", "busybox", "sh", "-c", "printf '#!/no/such\\n' > /made; chmod +x /made"]);
    daemon.ok(&["commit", "made", "broken:1"]);
    daemon.fails(&["run", "--rm", "--init", "broken:1", "/made"], 127).saying("interpreter");
    daemon.assert_no_container_left();
}

#[test]
fn a_terminal_is_the_commands() {
    let daemon = Daemon::with_busybox();
    let mut terminal = daemon.terminal(&["run", "--rm", "-it", "--init", "busybox", "sh"], 24, 80);
    terminal.expect("#");
    // The shell leads the terminal's foreground group: no complaint about job control, and Ctrl-C ends what it runs.
    terminal.send("echo at$((1+1)); sleep 60\n");
    terminal.expect("at2");
    terminal.send("\x03");
    terminal.send("echo at$((40+2))\n");
    terminal.expect("at42");
    terminal.send("exit 3\n");
    assert_eq!(terminal.wait(), 3);
}
