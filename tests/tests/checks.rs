// SPDX-License-Identifier: Apache-2.0
//! What follows from checks: whom published traffic reaches, what is started again, what an image takes over.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use end_to_end::network::serve;
use serde_json::{Value, json};
use testkit::{Daemon, internet};

/// Whether the published port leads to somebody.
fn answers(daemon: &Daemon) -> bool {
    internet::get(daemon.sandbox(), (Ipv4Addr::LOCALHOST, 8080), "/").is_some()
}

#[track_caller]
fn wait_until(what: &str, reached: impl Fn() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_port_that_is_held_back_stays_so_where_the_gateway_moves() {
    let daemon = Daemon::with_busybox();
    for network in ["one", "two"] {
        daemon.ok(&["network", "create", network]);
    }
    let flags = ["--network", "one", "-p", "8080:80", "--publish-when", "ready", "--health-file", "/ready"];
    serve(&daemon, "web", &[&flags[..], &["--health-interval", "30ms"]].concat(), "web");
    assert!(!answers(&daemon));
    daemon.ok(&["network", "connect", "--gw-priority", "9", "two", "web"]);
    assert!(!answers(&daemon), "it was published by a connection");
    daemon.ok(&["network", "disconnect", "two", "web"]);
    assert!(!answers(&daemon), "it was published by the end of one");
    daemon.ok(&["exec", "web", "touch", "/ready"]);
    wait_until("published", || answers(&daemon));
    daemon.ok(&["network", "connect", "--gw-priority", "9", "two", "web"]);
    wait_until("published through the other", || answers(&daemon));
    daemon.ok(&["exec", "web", "rm", "/ready"]);
    wait_until("held back again", || !answers(&daemon));
    daemon.ok(&["rm", "-f", "web"]);
    daemon.ok(&["network", "rm", "one", "two"]);
    daemon.assert_no_container_left();
}

#[test]
fn an_image_that_is_made_of_a_container_has_its_check() {
    let daemon = Daemon::with_busybox();
    let flags =
        ["--health-tcp", "80", "--health-interval", "7s", "--health-retries", "2", "--health-start-period", "1m"];
    daemon.ok(&[&["create", "--name", "web"], &flags[..], &["busybox", "true"]].concat());
    daemon.ok(&["commit", "web", "checked"]);
    let expected = json!({"Test": ["CORTEN-TCP", "80"], "Interval": 7_000_000_000_i64, "Retries": 2,
        "StartPeriod": 60_000_000_000_i64});
    assert_eq!(daemon.inspect("checked")["Config"]["Healthcheck"], expected);
    daemon.ok(&["create", "--name", "none", "--no-healthcheck", "checked", "true"]);
    daemon.ok(&["create", "--name", "less", "--health-retries", "9", "checked", "true"]);
    for (name, field, value) in [
        ("none", "Test", json!(["NONE"])),
        ("less", "Retries", json!(9)),
        ("less", "Test", json!(["CORTEN-TCP", "80"])),
    ] {
        daemon.ok(&["commit", name, "again"]);
        assert_eq!(daemon.inspect("again")["Config"]["Healthcheck"][field], value, "{name}");
    }
    // What is said at the commit counts more.
    daemon.ok(&["commit", "--change", "HEALTHCHECK CMD [\"/probe\"]", "web", "other"]);
    assert_eq!(daemon.inspect("other")["Config"]["Healthcheck"], json!({"Test": ["CMD", "/probe"]}));
}

/// What one of the checks of a container has found: `Startup`, `Liveness`, `Readiness`.
fn found(daemon: &Daemon, name: &str, check: &str) -> Value {
    daemon.inspect(name)["State"]["CortenChecks"][check].clone()
}

fn probes(daemon: &Daemon, name: &str, check: &str) -> usize {
    found(daemon, name, check)["Log"].as_array().map_or(0, Vec::len)
}

#[track_caller]
fn wait_for(daemon: &Daemon, name: &str, check: &str, status: &str) {
    wait_until(&format!("{check} of {name} is {status}"), || found(daemon, name, check)["Status"] == status);
}

/// A server whose three checks look for files of these names.
fn questioned(daemon: &Daemon, name: &str, flags: &[&str]) {
    let startup = ["--startup", "file=/up,interval=20ms,retries=100000"];
    let liveness = ["--liveness", "file=/alive,interval=20ms,retries=2", "--restart", "always", "--stop-timeout", "0"];
    let readiness = ["--readiness", "file=/ready,interval=20ms,retries=2"];
    serve(daemon, name, &[&startup[..], &liveness, &readiness, flags].concat(), name);
}

#[test]
fn until_it_has_started_nothing_else_is_asked_and_traffic_comes_when_it_is_ready() {
    let daemon = Daemon::with_busybox();
    questioned(&daemon, "web", &["-p", "8080:80"]);
    wait_until("asked whether it has started", || probes(&daemon, "web", "Startup") == 5);
    assert_eq!((probes(&daemon, "web", "Liveness"), probes(&daemon, "web", "Readiness")), (0, 0));
    assert_eq!(daemon.inspect("web")["State"]["Health"]["Status"], "starting");
    assert!(!answers(&daemon));
    daemon.ok(&["exec", "web", "touch", "/alive", "/up"]);
    wait_for(&daemon, "web", "Liveness", "healthy");
    wait_until("asked whether it is ready", || probes(&daemon, "web", "Readiness") > 2);
    let startup = found(&daemon, "web", "Startup");
    assert_eq!((startup["Status"].as_str(), answers(&daemon)), (Some("healthy"), false));
    assert_eq!(found(&daemon, "web", "Readiness")["Status"], "starting", "it has never been ready");
    daemon.ok(&["exec", "web", "touch", "/ready"]);
    wait_until("reached", || answers(&daemon));
    assert!(daemon.ok(&["ps"]).contains("(healthy)"));
    assert_eq!(found(&daemon, "web", "Startup"), startup, "that it has started is asked once");
    let shown = &daemon.inspect("web")["HostConfig"]["CortenChecks"];
    assert_eq!(shown["Liveness"], json!({"Test": ["CORTEN-FILE", "/alive"], "Interval": 20_000_000, "Retries": 2}));
    // Not ready: nobody is led there, and that is all.
    daemon.ok(&["exec", "web", "rm", "/ready"]);
    wait_until("reached no more", || !answers(&daemon));
    wait_for(&daemon, "web", "Readiness", "unhealthy");
    let state = daemon.inspect("web");
    assert_eq!((&state["RestartCount"], &state["State"]["Health"]["Status"]), (&json!(0), &json!("unhealthy")));
    assert_eq!(found(&daemon, "web", "Liveness")["Status"], "healthy");
    assert_eq!(daemon.ok(&["ps", "-q", "--filter", "health=unhealthy"]).lines().count(), 1);
    // So it is for a new daemon, which need not ask again whether it has started.
    daemon.kill();
    daemon.start();
    // What the killed one had just found out may not have been written.
    wait_until("held back by the new daemon", || !answers(&daemon));
    daemon.ok(&["exec", "web", "sh", "-c", "rm /up; touch /ready"]);
    wait_until("reached again", || answers(&daemon));
    assert_eq!(found(&daemon, "web", "Startup")["Status"], "healthy");
    let told = ["events", "--since", "1h", "--until", "0s", "--filter", "event=check_status"];
    let told = [&told[..], &["--format", "{{.Action}} {{.Actor.Attributes.check}}"]].concat();
    // Its port leads there before it is told of.
    wait_until("told of", || daemon.ok(&told).ends_with("check_status: healthy readiness"));
    daemon.ok(&["rm", "-f", "web"]);
    daemon.assert_no_container_left();
}

#[test]
fn what_is_not_alive_is_started_again_so_often_as_its_policy_says() {
    let daemon = Daemon::with_busybox();
    // However long it takes to make its file.
    let script = "[ -e /ill ] || touch /alive; touch /begun; exec sleep 600";
    let policy =
        ["--restart", "on-failure:2", "--liveness", "file=/alive,interval=30ms,retries=3", "--stop-timeout", "0"];
    let patient = ["--startup", "file=/begun,interval=20ms,retries=100000"];
    daemon.ok(&[&["run", "-d", "--name", "app"], &policy[..], &patient, &["busybox", "sh", "-c", script]].concat());
    let restarts = || daemon.inspect("app")["RestartCount"].as_u64();
    wait_for(&daemon, "app", "Liveness", "healthy");
    assert_eq!(daemon.inspect("app")["State"]["CortenRestart"], Value::Null);
    // It ends with 0 when it is asked to, and is started again all the same.
    daemon.ok(&["exec", "app", "sh", "-c", "touch /ill; rm /alive"]);
    // How often is known once it is over: between two looks it may have been started twice.
    wait_until("started again", || restarts() >= Some(1));
    let why = daemon.inspect("app")["State"]["CortenRestart"]["Reason"].clone();
    assert_eq!(why, "the liveness check failed 3 times in a row: /alive: No such file or directory (os error 2)");
    // It is never alive again: twice it was started, then it stays as it is.
    wait_until("started twice", || restarts() == Some(2));
    wait_for(&daemon, "app", "Liveness", "unhealthy");
    wait_until("looked at for long", || found(&daemon, "app", "Liveness")["FailingStreak"].as_u64() > Some(6));
    let state = daemon.inspect("app");
    assert_eq!((&state["RestartCount"], &state["State"]["Status"]), (&json!(2), &json!("running")));
    let told = ["events", "--since", "1h", "--until", "0s", "--format", "{{.Action}} {{.Actor.Attributes.check}}"];
    let told = daemon.ok(&told);
    let mut course: Vec<&str> = told.lines().collect();
    course.dedup();
    let once = ["check_status: unhealthy liveness", "health_status: unhealthy", "kill", "disconnect", "die"];
    assert!(
        course.windows(5).any(|window| window.iter().zip(once).all(|(line, says)| line.starts_with(says))),
        "{told}"
    );
    // Another policy goes on with what it finds, and a user's start begins anew.
    daemon.ok(&["update", "--restart", "on-failure:3", "app"]);
    wait_until("started by another policy", || restarts() == Some(3));
    wait_for(&daemon, "app", "Liveness", "unhealthy");
    daemon.ok(&["exec", "app", "rm", "/ill", "/begun"]);
    daemon.ok(&["restart", "-t", "0", "app"]);
    wait_for(&daemon, "app", "Liveness", "healthy");
    assert_eq!((restarts(), &daemon.inspect("app")["State"]["CortenRestart"]), (Some(0), &Value::Null));
    daemon.ok(&["rm", "-f", "app"]);
    // What never comes up is started again as well.
    let policy = ["--restart", "unless-stopped", "--startup", "tcp=9,interval=20ms,retries=2", "--stop-timeout", "0"];
    daemon.ok(&[&["run", "-d", "--name", "app"], &policy[..], &["busybox", "sleep", "600"]].concat());
    wait_until("started again and again", || restarts() > Some(1));
    let why = daemon.inspect("app")["State"]["CortenRestart"]["Reason"].clone();
    assert!(why.as_str().is_some_and(|why| why.starts_with("the startup check failed 2 times")), "{why}");
    daemon.ok(&["stop", "-t", "0", "app"]);
    assert_eq!(daemon.inspect("app")["State"]["Status"], "exited");
    daemon.ok(&["rm", "-f", "app"]);
    daemon.assert_no_container_left();
}

#[test]
fn of_several_that_bear_a_name_those_are_reached_that_are_ready() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["network", "create", "back"]);
    let flags = ["--network", "back", "--network-alias", "svc", "--readiness", "file=/ready,interval=20ms,retries=1"];
    for name in ["one", "two"] {
        serve(&daemon, name, &flags, name);
    }
    daemon.ok(&["run", "-d", "--name", "asker", "--network", "back", "busybox", "sleep", "600"]);
    let names = || {
        let said = daemon.ok(&["exec", "asker", "nslookup", "-type=a", "svc"]);
        said.lines().skip(2).filter(|line| line.starts_with("Address")).count()
    };
    let fetched = || daemon.ok(&["exec", "asker", "wget", "-qO-", "http://svc/"]);
    assert_eq!(names(), 2, "none is ready, and the name does not vanish");
    daemon.ok(&["exec", "two", "touch", "/ready"]);
    wait_for(&daemon, "two", "Readiness", "healthy");
    assert_eq!(names(), 1);
    assert!((0..5).all(|_| fetched() == "two"));
    daemon.ok(&["exec", "one", "touch", "/ready"]);
    wait_for(&daemon, "one", "Readiness", "healthy");
    assert_eq!(names(), 2);
    daemon.ok(&["exec", "two", "rm", "/ready"]);
    wait_for(&daemon, "two", "Readiness", "unhealthy");
    assert!((0..5).all(|_| fetched() == "one"));
    assert_eq!(daemon.ok(&["exec", "asker", "wget", "-qO-", "http://two/"]), "two", "its own name is its own");
    daemon.ok(&["rm", "-f", "one", "two", "asker"]);
    daemon.ok(&["network", "rm", "back"]);
}

#[test]
fn checks_that_nothing_comes_of_are_refused() {
    let daemon = Daemon::with_busybox();
    let always = ["--restart", "always"];
    for (flags, says) in [
        (&["--liveness", "tcp=80"][..], "add --restart"),
        (&["--rm", "--liveness", "tcp=80"], "add --restart"),
        (&["--readiness", "80"], "needs fields"),
        (&["--readiness", "tcp=0"], "is no port"),
        (&["--startup", "http=https://localhost/"], "Healthcheck.Test"),
        (&["--startup", "file=relative"], "not an absolute path"),
        (&["--readiness", "tcp=80,interval=10us"], "cannot be less than 1 ms"),
        (&["--readiness", "interval=1s"], "nothing to try"),
    ] {
        daemon.fails(&[&["run", "--name", "bad"], flags, &["busybox", "true"]].concat(), 125).saying(says);
    }
    daemon.fails(&["inspect", "bad"], 1);
    let create = [&["create", "--name", "app", "--liveness", "cmd=true"], &always[..], &["busybox", "true"]].concat();
    daemon.ok(&create);
    daemon.fails(&["update", "--restart", "no", "app"], 1).saying("add --restart");
}
