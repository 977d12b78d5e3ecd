// SPDX-License-Identifier: Apache-2.0
//! `corten events`: what happens to containers and images, told in order and with Docker's words.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::Daemon;

/// The events from the daemon's start to now, with these filters.
fn so_far(daemon: &Daemon, filters: &[&str]) -> Vec<Value> {
    let filters = filters.iter().flat_map(|filter| ["-f", filter]);
    let arguments = ["events", "--since", "1", "--until", "0s", "--format", "json"].into_iter().chain(filters);
    let printed = daemon.ok(&arguments.collect::<Vec<_>>());
    printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn actions(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["Action"].as_str()).collect()
}

/// Waits until one of the events with these filters has this action.
#[track_caller]
fn wait_for(daemon: &Daemon, filters: &[&str], action: &str) {
    let begun = Instant::now();
    while !actions(&so_far(daemon, filters)).contains(&action) {
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", actions(&so_far(daemon, filters)));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_containers_whole_life_is_told_in_order() {
    let daemon = Daemon::with_busybox();
    let id = daemon.ok(&["create", "--name", "first", "--label", "tier=front", "busybox", "sleep", "60"]);
    daemon.ok(&["start", "first"]);
    daemon.ok(&["rename", "first", "second"]);
    daemon.ok(&["pause", "second"]);
    daemon.ok(&["unpause", "second"]);
    daemon.ok(&["update", "--pids-limit", "50", "second"]);
    daemon.ok(&["top", "second"]);
    daemon.corten(&["exec", "second", "sh", "-c", "exit 7"]);
    wait_for(&daemon, &["container=second"], "exec_die");
    daemon.ok(&["exec", "-d", "second", "true"]);
    let begun = Instant::now();
    while so_far(&daemon, &["event=exec_die"]).len() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(10), "the end of a detached exec was not told");
        std::thread::sleep(Duration::from_millis(20));
    }
    daemon.ok(&["stop", "-t", "0", "second"]);
    daemon.ok(&["restart", "-t", "0", "second"]);
    daemon.ok(&["commit", "-m", "words", "second", "made:1"]);
    daemon.corten(&["export", "-o", &daemon.path().join("out.tar").display().to_string(), "second"]).ok();
    daemon.ok(&["kill", "second"]);
    daemon.ok(&["rm", "second"]);
    let events = so_far(&daemon, &["type=container", &format!("container={}", &id[..12])]);
    let told = actions(&events);
    let expected = [
        "create",
        "start",
        "rename",
        "pause",
        "unpause",
        "update",
        "top",
        "exec_create: sh -c exit 7",
        "exec_start: sh -c exit 7",
        "exec_die",
        "exec_create: true ",
        "exec_start: true ",
        "exec_die",
        // `sleep` is process 1 and does not hear the stop signal.
        "kill",
        "kill",
        "die",
        "stop",
        "start",
        "restart",
        "pause",
        "commit",
        "unpause",
        "export",
        "kill",
        "die",
        "destroy",
    ];
    assert_eq!(told, expected);
    for event in &events {
        let attributes = &event["Actor"]["Attributes"];
        assert_eq!((&event["Type"], &event["scope"]), (&"container".into(), &"local".into()), "{event}");
        assert_eq!((&event["id"], &event["Actor"]["ID"]), (&id.as_str().into(), &id.as_str().into()), "{event}");
        assert_eq!((&event["status"], &event["from"]), (&event["Action"], &"busybox".into()), "{event}");
        assert_eq!((&attributes["image"], &attributes["tier"]), (&"busybox".into(), &"front".into()), "{event}");
        assert_eq!(event["timeNano"].as_i64().map(|nanos| nanos / 1_000_000_000), event["time"].as_i64(), "{event}");
    }
    let attribute = |place: usize, name: &str| events[place]["Actor"]["Attributes"][name].as_str().unwrap_or("none");
    assert_eq!((attribute(0, "name"), attribute(1, "name")), ("first", "first"));
    assert_eq!((attribute(2, "name"), attribute(2, "oldName")), ("second", "/first"));
    assert_eq!(attribute(9, "exitCode"), "7");
    assert_eq!(attribute(7, "execID"), attribute(9, "execID"));
    assert_eq!((attribute(13, "signal"), attribute(14, "signal")), ("15", "9"));
    assert_eq!((attribute(15, "exitCode"), attribute(15, "execDuration").parse::<u32>().is_ok()), ("137", true));
    assert_eq!((attribute(20, "comment"), attribute(20, "imageRef")), ("words", "made:1"));
}

#[test]
fn run_with_rm_is_told_to_its_end() {
    let daemon = Daemon::with_busybox();
    daemon.corten(&["run", "--rm", "--name", "short", "busybox", "sh", "-c", "exit 3"]);
    let events = so_far(&daemon, &["container=short"]);
    assert_eq!(actions(&events), ["create", "attach", "start", "die", "destroy"]);
    assert_eq!(events[3]["Actor"]["Attributes"]["exitCode"], "3");
}

#[test]
fn what_happens_to_images_is_told() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["tag", "busybox", "other:1"]);
    let archive = daemon.path().join("saved.tar").display().to_string();
    daemon.ok(&["save", "-o", &archive, "other:1"]);
    daemon.ok(&["rmi", "other:1"]);
    daemon.ok(&["load", "-i", &archive]);
    daemon.ok(&["rmi", "other:1", "busybox"]);
    daemon.ok(&["image", "prune", "-f"]);
    let events = so_far(&daemon, &["type=image"]);
    let told = actions(&events);
    let expected = ["import", "tag", "tag", "save", "untag", "load", "untag", "untag", "delete", "prune"];
    assert_eq!(told, expected);
    assert_eq!(events[2]["Actor"]["Attributes"]["name"], "other:1");
    assert_eq!(events[9]["Actor"]["Attributes"]["reclaimed"], "0");
}

#[test]
fn a_listener_hears_it_as_it_happens_and_the_format_is_dockers() {
    let daemon = Daemon::with_busybox();
    let listener = daemon.terminal(&["events", "-f", "type=container", "-f", "event=start"], 24, 200);
    let template =
        daemon.terminal(&["system", "events", "--format", "{{.Action}} of {{.Actor.Attributes.name}}"], 24, 80);
    // Neither says when it has begun to listen: so there is something to hear until both have.
    let heard = std::thread::scope(|scope| {
        let heard = scope.spawn(|| {
            listener.expect("(image=busybox, name=heard");
            template.expect("die of heard");
        });
        while !heard.is_finished() {
            daemon.ok(&["run", "--rm", "--name", "heard", "busybox", "true"]);
        }
        heard.join()
    });
    heard.expect("both hear");
}

#[test]
fn filters_and_times_that_cannot_be_are_refused() {
    let daemon = Daemon::with_busybox();
    daemon.fails(&["events", "-f", "colour=red"], 1).saying("colour");
    daemon.fails(&["events", "--since", "soon"], 1).saying("soon");
    daemon.fails(&["events", "--since", "10s", "--until", "20s"], 1).saying("later than until");
    // Docker tells of networks; nothing is heard of them here, and that is no error.
    assert!(so_far(&daemon, &["network=bridge"]).is_empty());
    // What has passed is not waited for.
    let begun = Instant::now();
    daemon.ok(&["events", "--until", "10m"]);
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_listener_who_does_not_read_is_cut_off_and_costs_nothing() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "busy", "busybox", "sleep", "600"]);
    let mut deaf = UnixStream::connect(daemon.socket()).expect("the daemon listens");
    deaf.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").expect("a request");
    let mut head = [0; 12];
    deaf.read_exact(&mut head).expect("an answer");
    assert_eq!(&head, b"HTTP/1.1 200");
    let memory = || -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    };
    // Creating an exec is an event and nothing else; a long command makes it a long one.
    let body = serde_json::json!({"Cmd": ["true", "x".repeat(2000)]}).to_string();
    let request =
        format!("POST /containers/busy/exec HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut sender = UnixStream::connect(daemon.socket()).expect("the daemon listens");
    let mut answer = [0; 4096];
    let mut tell = |count: usize| {
        for _ in 0..count {
            sender.write_all(request.as_bytes()).expect("a request");
            let length = sender.read(&mut answer).expect("an answer");
            assert!(answer[..length].starts_with(b"HTTP/1.1 201"));
        }
    };
    // As many as it remembers, of the execs as of the events.
    tell(5000);
    let before = memory();
    tell(10_000);
    let grown = memory().saturating_sub(before);
    assert!(grown < 16 << 10, "it grew by {grown} KiB");
    let begun = Instant::now();
    daemon.ok(&["exec", "busy", "true"]);
    assert!(begun.elapsed() < Duration::from_secs(5));
    // It may read what was on its way, and then it is over, without the chunk that would say that this was all.
    deaf.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let mut rest = Vec::new();
    let end = deaf.read_to_end(&mut rest);
    assert!(end.is_ok() && !rest.ends_with(b"0\r\n\r\n"), "{end:?} after {} bytes", rest.len());
    assert!(daemon.log().contains("a client of /events is cut off"), "{}", daemon.log());
    daemon.ok(&["rm", "-f", "busy"]);
}

#[test]
fn the_daemon_ends_at_once_with_somebody_listening() {
    let daemon = Daemon::with_busybox();
    let listener = daemon.spawn(&["events"]);
    let begun = Instant::now();
    while daemon.ok(&["info", "-f", "{{.NEventsListener}}"]) != "1" {
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody listens");
    }
    let begun = Instant::now();
    daemon.stop();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    listener.wait().ok();
}

#[test]
fn want_of_memory_is_told_just_before_the_end_and_leaving_is_told_of_who_stays() {
    let daemon = Daemon::with_busybox();
    // The shell holds what it reads: 24 MiB.
    let script = "x=$(head -c 25165824 /dev/zero | tr '\\0' x); echo ${#x}";
    let hungry = ["run", "--name", "hungry", "--memory", "12m", "busybox", "sh", "-c", script];
    assert_eq!(daemon.corten(&hungry).code, 137);
    let events = so_far(&daemon, &["container=hungry"]);
    let started = actions(&events).iter().position(|action| *action == "start").expect("it was started");
    assert_eq!(actions(&events)[started + 1..started + 3], ["oom", "die"]);
    assert_eq!(events[started + 2]["Actor"]["Attributes"]["exitCode"], "137");
    let mut terminal = daemon.terminal(&["run", "-it", "--name", "left", "busybox", "sh"], 24, 80);
    terminal.expect("# ");
    terminal.send("\x10\x11");
    assert_eq!(terminal.wait(), 0);
    wait_for(&daemon, &["container=left"], "detach");
}
