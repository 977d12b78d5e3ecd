// SPDX-License-Identifier: Apache-2.0
//! The plain life of a container.

use std::time::Duration;

use testkit::Daemon;

/// The command's exit code is `run`'s, a signal's is 128 and its number, and the container is gone with `--rm`.
pub fn the_exit_code_is_the_commands() {
    let daemon = Daemon::with_busybox();
    daemon.corten(&["run", "--rm", "busybox", "true"]).ok();
    assert_eq!(daemon.corten(&["run", "--rm", "busybox", "sh", "-c", "exit 42"]).code, 42);
    assert_eq!(daemon.corten(&["run", "--rm", "busybox", "sh", "-c", "kill -9 $$; true"]).code, 0, "pid 1 is immune");
    let by_signal = ["run", "--rm", "busybox", "sh", "-c", "sh -c 'kill -KILL $$'; exit $?"];
    assert_eq!(daemon.corten(&by_signal).code, 137);
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
    daemon.assert_no_container_left();
}

/// `-d` gives the id and leaves it running; `stop` sends the stop signal first and the command may answer it.
pub fn a_container_runs_in_the_background_and_is_stopped() {
    let daemon = Daemon::with_busybox();
    let script = "trap 'echo goodbye; exit 5' TERM; echo hello; while :; do sleep 0.1; done";
    let id = daemon.ok(&["run", "-d", "--name", "background", "busybox", "sh", "-c", script]);
    assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id:?}");
    assert_eq!(daemon.inspect("background")["State"]["Status"], "running");
    while !daemon.ok(&["logs", "background"]).contains("hello") {
        std::thread::sleep(Duration::from_millis(20));
    }
    let stopped = daemon.corten(&["stop", "background"]).ok();
    assert_eq!(stopped.text(), "background");
    assert!(stopped.took < Duration::from_secs(8), "it was not asked, it was killed\n{stopped}");
    assert_eq!(daemon.ok(&["logs", "background"]), "hello\ngoodbye");
    let state = &daemon.inspect("background")["State"];
    assert_eq!((state["Status"].as_str(), state["ExitCode"].as_i64()), (Some("exited"), Some(5)), "{state}");
    daemon.ok(&["rm", "background"]);
    daemon.assert_no_container_left();
}

/// `exec` runs beside the command: in its namespaces, with its own exit code and input.
pub fn a_command_is_executed_in_a_running_container() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "host", "--hostname", "inside", "-e", "SEEN=yes", "busybox", "sleep", "60"]);
    assert_eq!(daemon.ok(&["exec", "host", "hostname"]), "inside");
    assert_eq!(daemon.ok(&["exec", "host", "sh", "-c", "echo $SEEN"]), "yes");
    assert_eq!(daemon.ok(&["exec", "-e", "MORE=too", "-w", "/tmp", "host", "sh", "-c", "echo $MORE $PWD"]), "too /tmp");
    assert_eq!(daemon.corten(&["exec", "host", "sh", "-c", "exit 9"]).code, 9);
    let fed = daemon.spawn_with(&["exec", "-i", "host", "wc", "-c"], b"12345", &[]).wait().ok();
    assert_eq!(fed.text().trim(), "5");
    let ids = daemon.ok(&["exec", "-u", "worker", "host", "id"]);
    assert!(ids.contains("uid=1000(worker) gid=1001(workers)"), "{ids}");
    let as_seen = daemon.ok(&["exec", "host", "sh", "-c", "readlink /proc/self/ns/pid; readlink /proc/1/ns/pid"]);
    let links: Vec<&str> = as_seen.lines().collect();
    assert_eq!(links[0], links[1]);
    daemon.ok(&["rm", "-f", "host"]);
    daemon.assert_no_container_left();
}
