// SPDX-License-Identifier: Apache-2.0
//! What is done with a container after `run`: one test per command.

use std::time::Duration;

use end_to_end::life;
use testkit::Daemon;

/// Waits until a container's log has this in it.
#[track_caller]
fn wait_for_log(daemon: &Daemon, name: &str, words: &str) {
    for _ in 0..500 {
        if daemon.ok(&["logs", name]).contains(words) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{name} never said {words:?}: {}", daemon.ok(&["logs", name]));
}

#[test]
fn exec_runs_beside_the_command() {
    life::a_command_is_executed_in_a_running_container();
}

#[test]
fn ps_shows_the_running_ones_and_all_with_a() {
    let daemon = Daemon::with_busybox();
    let id = daemon.ok(&["run", "-d", "--name", "runs", "busybox", "sleep", "60"]);
    daemon.corten(&["run", "--name", "ended", "busybox", "sh", "-c", "exit 3"]);
    let running = daemon.ok(&["ps"]);
    let header = running.lines().next().unwrap_or_default();
    for column in ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"] {
        assert!(header.contains(column), "{header}");
    }
    assert!(running.contains(&id[..12]) && running.contains("runs") && running.contains("busybox"), "{running}");
    assert!(!running.contains("ended"), "{running}");
    let all = daemon.ok(&["ps", "-a"]);
    assert!(all.contains("ended") && all.contains("Exited (3)") && all.contains("Up "), "{all}");
    assert_eq!(daemon.ok(&["ps", "-q"]), &id[..12]);
}

#[test]
fn logs_keep_both_outputs_and_follow_to_the_end() {
    let daemon = Daemon::with_busybox();
    let script = "echo out; echo err >&2; i=0; while [ $i -lt 20 ]; do echo line $i; i=$((i+1)); sleep 0.02; done";
    daemon.ok(&["run", "-d", "--name", "talks", "busybox", "sh", "-c", script]);
    let followed = daemon.corten(&["logs", "-f", "talks"]).ok();
    let expected: String = std::iter::once("out\n".to_owned()).chain((0..20).map(|n| format!("line {n}\n"))).collect();
    assert_eq!((followed.stdout.as_str(), followed.stderr.as_str()), (expected.as_str(), "err\n"));
    let again = daemon.corten(&["logs", "talks"]).ok();
    assert_eq!((again.stdout, again.stderr), (followed.stdout, followed.stderr));
}

#[test]
fn a_follower_of_logs_sees_a_line_while_the_command_runs() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "slow", "busybox", "sh", "-c", "echo early; sleep 60"]);
    let follower = daemon.terminal(&["logs", "-f", "slow"], 24, 80);
    follower.expect("early");
    daemon.ok(&["rm", "-f", "slow"]);
}

#[test]
fn inspect_says_what_was_asked_for_and_what_is() {
    let daemon = Daemon::with_busybox();
    let id = daemon.ok(&[
        "run",
        "-d",
        "--name",
        "seen",
        "-e",
        "KEY=value",
        "--memory",
        "64m",
        "--cpus",
        "1.5",
        "--pids-limit",
        "30",
        "--hostname",
        "named",
        "-w",
        "/tmp",
        "busybox",
        "sleep",
        "60",
    ]);
    let seen = daemon.inspect(&id[..12]);
    assert_eq!(seen["Id"], id);
    assert_eq!(seen["Name"], "/seen");
    assert_eq!((&seen["Path"], &seen["Args"]), (&"sleep".into(), &serde_json::json!(["60"])));
    assert_eq!(seen["State"]["Running"], true);
    assert_eq!(seen["Config"]["Hostname"], "named");
    assert_eq!(seen["Config"]["WorkingDir"], "/tmp");
    assert!(seen["Config"]["Env"].as_array().unwrap().contains(&"KEY=value".into()), "{}", seen["Config"]);
    assert_eq!(seen["HostConfig"]["Memory"], 64 * 1024 * 1024);
    assert_eq!(seen["HostConfig"]["NanoCpus"], 1_500_000_000_i64);
    assert_eq!(seen["HostConfig"]["PidsLimit"], 30);
    daemon.fails(&["inspect", "nobody"], 1).saying("nobody");
}

#[test]
fn stop_kills_what_does_not_listen_after_its_time() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "deaf",
        "busybox",
        "sh",
        "-c",
        "trap '' TERM; echo deaf; while :; do sleep 0.1; done",
    ]);
    wait_for_log(&daemon, "deaf", "deaf");
    let stopped = daemon.corten(&["stop", "-t", "1", "deaf"]).ok();
    assert!(stopped.took >= Duration::from_secs(1) && stopped.took < Duration::from_secs(9), "{stopped}");
    assert_eq!(daemon.inspect("deaf")["State"]["ExitCode"], 137);
}

#[test]
fn kill_sends_the_signal_asked_for() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "hears",
        "busybox",
        "sh",
        "-c",
        "trap 'echo usr1' USR1; echo ready; while :; do sleep 0.05; done",
    ]);
    wait_for_log(&daemon, "hears", "ready");
    daemon.ok(&["kill", "-s", "USR1", "hears"]);
    wait_for_log(&daemon, "hears", "usr1");
    assert_eq!(daemon.inspect("hears")["State"]["Running"], true);
    daemon.ok(&["kill", "hears"]);
    assert_eq!(daemon.ok(&["wait", "hears"]), "137");
    daemon.fails(&["kill", "hears"], 1).saying("hears");
}

#[test]
fn start_runs_it_again_with_the_files_it_had() {
    let daemon = Daemon::with_busybox();
    let script = "cat /root/count 2>/dev/null; echo x >> /root/count";
    daemon.ok(&["run", "--name", "again", "busybox", "sh", "-c", script]);
    daemon.ok(&["start", "again"]);
    daemon.ok(&["wait", "again"]);
    assert_eq!(daemon.corten(&["start", "-a", "again"]).ok().stdout, "x\nx\n");
    assert_eq!(daemon.ok(&["logs", "again"]), "x\nx\nx");
}

/// Who had attached stayed in the way of the next who did, for ever.
#[test]
fn a_start_that_failed_early_left_its_client_waiting() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["create", "--name", "nobody", "-u", "no-such-user", "busybox", "true"]);
    for _ in 0..2 {
        daemon.fails(&["start", "-a", "nobody"], 1).saying("no-such-user");
    }
}

/// The shim of the last run takes down what the next one uses: its directory and its cgroup.
#[test]
fn what_has_just_ended_can_be_started_at_once() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "--name", "again", "busybox", "true"]);
    for _ in 0..20 {
        daemon.ok(&["start", "again"]);
        assert_eq!(daemon.ok(&["wait", "again"]), "0");
    }
}

#[test]
fn wait_gives_the_exit_code_at_the_end_and_after() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "short", "busybox", "sh", "-c", "sleep 0.3; exit 6"]);
    assert_eq!(daemon.ok(&["wait", "short"]), "6");
    assert_eq!(daemon.ok(&["wait", "short"]), "6");
}

#[test]
fn rm_refuses_a_running_one_and_f_ends_it() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "busy", "busybox", "sleep", "60"]);
    daemon.fails(&["rm", "busy"], 1).saying("busy");
    assert_eq!(daemon.ok(&["rm", "-f", "busy"]), "busy");
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
    daemon.assert_no_container_left();
}

#[test]
fn images_lists_and_rmi_removes_what_no_container_uses() {
    let daemon = Daemon::with_busybox();
    let list = daemon.ok(&["images"]);
    assert!(list.contains("REPOSITORY") && list.contains("busybox") && list.contains("latest"), "{list}");
    daemon.corten(&["run", "--name", "user", "busybox", "true"]).ok();
    daemon.fails(&["rmi", "busybox"], 1).saying("busybox");
    daemon.ok(&["rm", "user"]);
    daemon.ok(&["rmi", "busybox"]);
    assert!(!daemon.ok(&["images"]).contains("busybox"));
    let blobs = std::fs::read_dir(daemon.path().join("data/content/blobs/sha256")).unwrap().count();
    assert_eq!(blobs, 0, "the blobs of a removed image are still there");
}

#[test]
fn info_and_version_tell_the_host_and_the_program() {
    let daemon = Daemon::with_busybox();
    let info = daemon.ok(&["info"]).to_lowercase();
    for words in ["cgroup", "overlay", "kernel"] {
        assert!(info.contains(words), "{words:?} is not in\n{info}");
    }
    assert!(daemon.ok(&["version"]).contains(env!("CARGO_PKG_VERSION")));
    assert!(daemon.ok(&["--version"]).contains(env!("CARGO_PKG_VERSION")));
}
