// SPDX-License-Identifier: Apache-2.0
//! What starts a container again, holds it still, or gives it another name.

use std::time::{Duration, Instant};

use end_to_end::isolation::pid;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::Daemon;

fn state(daemon: &Daemon, name: &str) -> Value {
    daemon.inspect(name)["State"].clone()
}

fn restarts(daemon: &Daemon, name: &str) -> u64 {
    daemon.inspect(name)["RestartCount"].as_u64().expect("a number")
}

#[track_caller]
fn wait_until(daemon: &Daemon, name: &str, what: &str, reached: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let found = daemon.inspect(name);
        if reached(&found) {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{name} was never {what}: {found}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn kill(pid: i64) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("an id");
    kill_process(pid, Signal::KILL).expect("it lives");
}

#[test]
fn restart_stops_and_starts_and_keeps_even_what_goes_at_its_end() {
    let daemon = Daemon::with_busybox();
    let script = "echo began; trap 'echo asked; exit 0' TERM; sleep 60 & wait";
    daemon.ok(&["run", "-d", "--name", "one", "busybox", "sh", "-c", script]);
    daemon.ok(&["run", "-d", "--rm", "--name", "brief", "-p", "8080:80", "busybox", "sh", "-c", script]);
    let before = [pid(&daemon, "one"), pid(&daemon, "brief")];
    wait_until(&daemon, "one", "heard", |_| daemon.ok(&["logs", "one"]) == "began");
    assert_eq!(daemon.ok(&["restart", "-t", "5", "one", "brief"]), "one\nbrief");
    let after = [pid(&daemon, "one"), pid(&daemon, "brief")];
    assert!(before[0] != after[0] && before[1] != after[1], "{before:?} {after:?}");
    wait_until(&daemon, "one", "heard", |_| daemon.ok(&["logs", "one"]) == "began\nasked\nbegan");
    assert_eq!(restarts(&daemon, "one"), 0, "only policies count");
    daemon.ok(&["stop", "-t", "5", "one", "brief"]);
    assert_eq!(daemon.ok(&["ps", "-aq", "--no-trunc"]), daemon.inspect("one")["Id"].as_str().expect("an id"));
    daemon.ok(&["restart", "one"]);
    assert_eq!(state(&daemon, "one")["Status"], "running");
    daemon.fails(&["restart", "nothing"], 1).saying("no such container: nothing");
    daemon.fails(&["restart", "-s", "NONSENSE", "one"], 1).saying("NONSENSE");
    assert_eq!(state(&daemon, "one")["Status"], "running");
}

#[test]
fn what_fails_is_started_again_so_often_and_waits_longer_each_time() {
    let daemon = Daemon::with_busybox();
    let begun = Instant::now();
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "fails",
        "--restart",
        "on-failure:3",
        "busybox",
        "sh",
        "-c",
        "echo once; exit 3",
    ]);
    // Not before the last of them.
    assert_eq!(daemon.ok(&["wait", "fails"]), "3");
    assert!(begun.elapsed() >= Duration::from_millis(700), "100, 200 and 400 ms: {:?}", begun.elapsed());
    let found = daemon.inspect("fails");
    assert_eq!((&found["State"]["Status"], &found["RestartCount"]), (&"exited".into(), &3.into()));
    let policy = &found["HostConfig"]["RestartPolicy"];
    assert_eq!((&policy["Name"], &policy["MaximumRetryCount"]), (&"on-failure".into(), &3.into()));
    assert_eq!(daemon.ok(&["logs", "fails"]), "once\n".repeat(4).trim_end());
    // A user's start counts from the beginning.
    daemon.ok(&["start", "fails"]);
    daemon.ok(&["wait", "fails"]);
    assert_eq!((restarts(&daemon, "fails"), daemon.ok(&["logs", "fails"]).lines().count()), (3, 8));
    daemon.ok(&["run", "-d", "--name", "works", "--restart", "on-failure", "busybox", "true"]);
    daemon.ok(&["wait", "works"]);
    assert_eq!((restarts(&daemon, "works"), &state(&daemon, "works")["Status"]), (0, &"exited".into()));
    // In the foreground the first end is the command's.
    let first =
        daemon.corten(&["run", "--name", "front", "--restart", "on-failure:1", "busybox", "sh", "-c", "exit 4"]);
    assert_eq!((first.code, first.stderr.as_str()), (4, ""));
}

#[test]
fn whoever_stops_or_removes_a_container_comes_before_its_policy() {
    let daemon = Daemon::with_busybox();
    let run = |name: &str, policy: &str, script: &str| {
        daemon.ok(&["run", "-d", "--name", name, "--restart", policy, "busybox", "sh", "-c", script]);
    };
    run("ends", "always", "exit 0");
    run("goes", "unless-stopped", "exit 1");
    run("lives", "always", "sleep 60");
    let found = wait_until(&daemon, "ends", "restarting", |found| {
        found["State"]["Status"] == "restarting" && found["RestartCount"].as_u64() > Some(3)
    });
    assert_eq!((&found["State"]["Running"], &found["State"]["Restarting"]), (&true.into(), &true.into()));
    let listed = daemon.ok(&["ps", "--format", "{{.Names}} {{.Status}}"]);
    assert!(listed.contains("ends Restarting (0) ") || listed.contains("ends Up "), "{listed}");
    // It may just be running again.
    let mut refused = (0..20).map(|_| daemon.corten(&["exec", "ends", "true"]));
    assert!(refused.any(|refused| refused.code == 1 && refused.stderr.contains("restarting")), "{found}");
    let refused = daemon.corten(&["rm", "ends"]);
    assert!(refused.code == 1 && refused.stderr.contains("corten stop ends"), "{refused}");
    assert_eq!(daemon.ok(&["stop", "ends"]), "ends");
    let count = restarts(&daemon, "ends");
    daemon.ok(&["rm", "-f", "goes"]);
    // A crash is none of the user's doing; a kill is.
    kill(pid(&daemon, "lives"));
    wait_until(&daemon, "lives", "started again", |found| {
        found["RestartCount"] == 1 && found["State"]["Status"] == "running"
    });
    daemon.ok(&["kill", "lives"]);
    assert_eq!(state(&daemon, "lives")["Status"], "exited");
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!((restarts(&daemon, "ends"), &state(&daemon, "ends")["Status"]), (count, &"exited".into()));
    assert_eq!(state(&daemon, "lives")["Status"], "exited");
    assert!(!daemon.ok(&["ps", "-a"]).contains("goes"));
    daemon.ok(&["rm", "ends", "lives"]);
    daemon.assert_no_container_left();
    for (flags, says) in [
        (&["--restart", "always", "--rm"][..], "--rm"),
        (&["--restart", "always:3"], "only on-failure"),
        (&["--restart", "sometimes"], "unless-stopped"),
    ] {
        daemon.fails(&[&["run"], flags, &["busybox", "true"]].concat(), 125).saying(says);
    }
}

#[test]
fn a_daemon_starts_what_should_run_and_goes_on_with_what_was_failing() {
    let daemon = Daemon::with_busybox();
    let run = |name: &str, policy: &str| {
        daemon.ok(&["run", "-d", "--name", name, "--restart", policy, "busybox", "sleep", "60"]);
    };
    for (name, policy) in [
        ("always", "always"),
        ("unless", "unless-stopped"),
        ("none", "no"),
        ("failing", "on-failure"),
        ("always-stopped", "always"),
        ("unless-stopped", "unless-stopped"),
        ("untouched", "always"),
    ] {
        run(name, policy);
    }
    daemon.ok(&["create", "--name", "created", "--restart", "always", "busybox", "sleep", "60"]);
    daemon.ok(&["run", "-d", "--name", "broken", "--restart", "always", "busybox", "sh", "-c", "exit 9"]);
    daemon.ok(&["stop", "-t", "0", "always-stopped", "unless-stopped"]);
    wait_until(&daemon, "broken", "broken", |found| found["RestartCount"].as_u64() > Some(1));
    let untouched = pid(&daemon, "untouched");
    let ending: Vec<i64> = ["always", "unless", "none", "failing"].iter().map(|name| pid(&daemon, name)).collect();
    daemon.kill();
    ending.into_iter().for_each(kill);
    daemon.start();
    for name in ["always", "unless", "failing", "always-stopped"] {
        wait_until(&daemon, name, "running", |found| found["State"]["Status"] == "running");
    }
    wait_until(&daemon, "broken", "started again", |found| found["RestartCount"].as_u64() > Some(2));
    for (name, status) in [("none", "exited"), ("unless-stopped", "exited"), ("created", "created")] {
        assert_eq!(state(&daemon, name)["Status"], status, "{name}");
    }
    assert_eq!(pid(&daemon, "untouched"), untouched);
}

#[test]
fn limits_and_policy_change_while_it_runs_all_or_nothing() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "one", "-m", "64m", "--pids-limit", "20", "busybox", "sleep", "60"]);
    let host = |field: &str| daemon.inspect("one")["HostConfig"][field].clone();
    let inside = |files: &str| {
        let script = format!("for file in {files}; do cat /sys/fs/cgroup/$file 2>/dev/null && exit; done");
        daemon.ok(&["exec", "one", "sh", "-c", &script])
    };
    let memory = || inside("memory/memory.limit_in_bytes memory.max");
    assert_eq!(memory(), (64 << 20).to_string());
    let changes = ["update", "-m", "256m", "--cpus", "0.5", "--pids-limit", "-1", "--restart", "unless-stopped", "one"];
    assert_eq!(daemon.ok(&changes), "one");
    assert_eq!(memory(), (256 << 20).to_string());
    assert_eq!(inside("pids/pids.max pids.max"), "max");
    assert_eq!(inside("cpu/cpu.cfs_quota_us"), "50000");
    let found = daemon.inspect("one")["HostConfig"].clone();
    assert_eq!((&found["Memory"], &found["NanoCpus"]), (&(256 << 20).into(), &500_000_000.into()));
    assert_eq!(found["RestartPolicy"]["Name"], "unless-stopped");
    // One of them cannot be, so none is.
    for (flags, says) in [
        (&["-m", "1m", "--pids-limit", "7"][..], "6 MiB"),
        (&["--pids-limit", "7", "--cpuset-cpus", "4000"], "cpuset"),
        (&["--pids-limit", "7", "--memory-swap", "8m"], "--memory-swap"),
        (&[], "nothing was said"),
    ] {
        daemon.fails(&[&["update"], flags, &["one"]].concat(), 1).saying(says);
        assert_eq!((host("PidsLimit"), inside("pids/pids.max pids.max")), ((-1).into(), "max".to_owned()), "{flags:?}");
    }
    assert_eq!(memory(), (256 << 20).to_string());
    // Kept, for a successor and for the next run.
    daemon.kill();
    daemon.start();
    assert_eq!(host("Memory"), 256 << 20);
    daemon.ok(&["restart", "-t", "0", "one"]);
    assert_eq!(memory(), (256 << 20).to_string());
    kill(pid(&daemon, "one"));
    wait_until(&daemon, "one", "started again", |found| found["RestartCount"] == 1);
    daemon.ok(&["run", "-d", "--rm", "--name", "brief", "busybox", "sleep", "60"]);
    daemon.fails(&["update", "--restart", "always", "brief"], 1).saying("--rm");
    daemon.fails(&["update", "--cpus", "1", "nothing"], 1).saying("no such container");
}

#[test]
fn who_waits_for_a_failing_container_is_not_let_go_by_who_attaches() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "fails", "--restart", "on-failure", "busybox", "sh", "-c", "exit 3"]);
    wait_until(&daemon, "fails", "restarting for long", |found| {
        found["State"]["Status"] == "restarting" && found["RestartCount"].as_u64() > Some(3)
    });
    let waiting = daemon.spawn(&["wait", "fails"]);
    // Until the end of the next run.
    daemon.spawn(&["attach", "fails"]).wait();
    daemon.ok(&["stop", "fails"]);
    assert_eq!(waiting.wait().ok().text(), "3");
}

/// What the container has counted so far.
fn counted(daemon: &Daemon, name: &str) -> usize {
    daemon.ok(&["logs", name]).lines().count()
}

#[test]
fn a_paused_container_stands_still_until_somebody_says_so() {
    let daemon = Daemon::with_busybox();
    let script = "while true; do echo tick; usleep 10000; done";
    daemon.ok(&["run", "-d", "--name", "ticks", "busybox", "sh", "-c", script]);
    wait_until(&daemon, "ticks", "ticking", |_| counted(&daemon, "ticks") > 3);
    daemon.fails(&["unpause", "ticks"], 1).saying("ticks is running");
    assert_eq!(daemon.ok(&["pause", "ticks"]), "ticks");
    let still = || {
        let before = counted(&daemon, "ticks");
        std::thread::sleep(Duration::from_millis(200));
        counted(&daemon, "ticks") == before
    };
    // Of what was written before, the shim may have some in its hands.
    wait_until(&daemon, "ticks", "still", |_| still());
    let found = state(&daemon, "ticks");
    assert_eq!((&found["Status"], &found["Paused"], &found["Running"]), (&"paused".into(), &true.into(), &true.into()));
    let listed = daemon.ok(&["ps", "--format", "{{.State}} {{.Status}}"]);
    assert!(listed.starts_with("paused Up ") && listed.ends_with("(Paused)"), "{listed}");
    assert!(daemon.ok(&["info"]).contains("Paused: 1"));
    daemon.fails(&["pause", "ticks"], 1).saying("ticks is paused");
    daemon.fails(&["exec", "ticks", "true"], 1).saying("corten unpause ticks");
    daemon.fails(&["start", "ticks"], 1).saying("corten unpause ticks");
    daemon.fails(&["rm", "ticks"], 1).saying("ticks is paused");
    daemon.ok(&["commit", "ticks", "copy:1"]);
    assert!(still(), "a commit let it go on");
    daemon.kill();
    daemon.start();
    assert!(still() && state(&daemon, "ticks")["Paused"] == true, "a new daemon forgot it");
    daemon.ok(&["unpause", "ticks"]);
    let before = counted(&daemon, "ticks");
    wait_until(&daemon, "ticks", "ticking again", |_| counted(&daemon, "ticks") > before + 3);
    assert_eq!(daemon.ok(&["exec", "ticks", "echo", "again"]), "again");
    // Its end needs no unpause.
    for end in [&["stop", "-t", "1"][..], &["kill"], &["restart", "-t", "1"], &["rm", "-f"]] {
        daemon.ok(&["pause", "ticks"]);
        daemon.ok(&[end, &["ticks"]].concat());
        if end[0] == "rm" {
            break;
        }
        daemon.ok(&["start", "ticks"]);
    }
    daemon.assert_no_container_left();
    daemon.fails(&["pause", "ticks"], 1).saying("no such container");
}

#[test]
fn a_signal_is_kept_for_a_paused_container_and_sigterm_reaches_it_when_it_is_stopped() {
    let daemon = Daemon::with_busybox();
    let script = "trap 'echo term; exit 5' TERM; trap 'echo usr1' USR1; echo ready; while true; do usleep 10000; done";
    daemon.ok(&["run", "-d", "--name", "hears", "busybox", "sh", "-c", script]);
    wait_until(&daemon, "hears", "ready", |_| daemon.ok(&["logs", "hears"]) == "ready");
    daemon.ok(&["pause", "hears"]);
    daemon.ok(&["kill", "-s", "USR1", "hears"]);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(daemon.ok(&["logs", "hears"]), "ready", "it stands still");
    daemon.ok(&["stop", "hears"]);
    assert_eq!(state(&daemon, "hears")["ExitCode"], 5);
    assert!(daemon.ok(&["logs", "hears"]).ends_with("term"));
}

#[test]
fn a_container_gets_another_name_and_keeps_it() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "old", "busybox", "sleep", "60"]);
    daemon.ok(&["run", "-d", "--rm", "--name", "brief", "busybox", "sleep", "60"]);
    daemon.ok(&["create", "--name", "other", "busybox", "true"]);
    let id = daemon.inspect("old")["Id"].clone();
    assert_eq!(daemon.ok(&["rename", "old", "new"]), "");
    daemon.ok(&["rename", "brief", "short"]);
    daemon.fails(&["inspect", "old"], 1);
    assert_eq!((&daemon.inspect("new")["Id"], &daemon.inspect("new")["Name"]), (&id, &"/new".into()));
    for (name, says) in [("other", "in use"), ("new", "in use"), ("a b", "new name: \"a b\" is not"), ("", "name")] {
        daemon.fails(&["rename", "new", name], 1).saying(says);
    }
    daemon.fails(&["rename", "nothing", "something"], 1).saying("no such container");
    // The old name is free.
    daemon.ok(&["create", "--name", "old", "busybox", "true"]);
    daemon.ok(&["rename", "other", "another"]);
    daemon.kill();
    daemon.start();
    assert_eq!(daemon.inspect("new")["Id"], id);
    let mut names: Vec<String> =
        daemon.ok(&["ps", "-a", "--format", "{{.Names}}"]).lines().map(str::to_owned).collect();
    names.sort();
    assert_eq!(names, ["another", "new", "old", "short"]);
    assert_eq!(daemon.ok(&["exec", "short", "echo", "here"]), "here");
}
