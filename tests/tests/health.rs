// SPDX-License-Identifier: Apache-2.0
//! Health checks: what their probes make of a container, and who is told.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use end_to_end::network::serve;
use serde_json::Value;
use testkit::{Daemon, internet};

/// Probes follow each other fast here.
const FAST: [&str; 4] = ["--health-interval", "50ms", "--health-retries", "2"];

/// A container in the background that is checked by `line`.
fn checked(daemon: &Daemon, name: &str, flags: &[&str], line: &str) {
    let begin = ["run", "-d", "--name", name, "--health-cmd", line];
    daemon.ok(&[&begin, &FAST[..], flags, &["busybox", "sleep", "60"]].concat());
}

fn health(daemon: &Daemon, name: &str) -> Value {
    daemon.inspect(name)["State"]["Health"].clone()
}

#[track_caller]
fn wait_until(daemon: &Daemon, name: &str, what: &str, reached: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let found = health(daemon, name);
        if reached(&found) {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{name} was never {what}: {found}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[track_caller]
fn wait_for(daemon: &Daemon, name: &str, status: &str) -> Value {
    wait_until(daemon, name, status, |health| health["Status"] == status)
}

fn listed(daemon: &Daemon, filters: &[&str]) -> String {
    daemon.ok(&[&["ps", "-a", "--format", "{{.Names}} {{.Status}}"], filters].concat())
}

#[test]
fn a_container_is_starting_then_healthy_then_unhealthy_and_everybody_is_told() {
    let daemon = Daemon::with_busybox();
    let line = "cat /tmp/ok";
    checked(&daemon, "web", &["--health-start-period", "10m", "--health-start-interval", "30ms"], line);
    // Failures within the start period do not count.
    let found = wait_until(&daemon, "web", "probed", |found| found["Log"].as_array().is_some_and(|log| log.len() > 2));
    assert_eq!((&found["Status"], &found["FailingStreak"]), (&"starting".into(), &0.into()));
    assert!(listed(&daemon, &[]).ends_with("(health: starting)"));
    daemon.ok(&["exec", "web", "sh", "-c", "echo fine > /tmp/ok"]);
    wait_for(&daemon, "web", "healthy");
    let told = ["events", "--since", "1h", "--until", "0s", "--filter", "event=health_status"];
    let told = [&told[..], &["--format", "{{.Action}} {{.Actor.Attributes.name}}"]].concat();
    // What is found is shown before it is told; and each probe has events, of which only the last are remembered.
    let is_told = |last: &str| {
        wait_until(&daemon, "web", &format!("told to be {last}"), |_| daemon.ok(&told).lines().last() == Some(last));
    };
    is_told("health_status: healthy web");
    assert!(listed(&daemon, &[]).ends_with("(healthy)"), "{}", listed(&daemon, &[]));
    let found = wait_until(&daemon, "web", "healthy for long", |found| {
        found["Log"].as_array().is_some_and(|log| log.iter().all(|probe| probe["ExitCode"] == 0))
    });
    let log = found["Log"].as_array().expect("a list");
    assert_eq!((log.len(), &log[4]["Output"]), (5, &"fine\n".into()));
    let time = |probe: &Value, field: &str| probe[field].as_str().expect("a time").parse::<jiff::Timestamp>();
    assert!(time(&log[3], "End").expect("a time") < time(&log[4], "Start").expect("a time"));
    daemon.ok(&["exec", "web", "rm", "/tmp/ok"]);
    let found = wait_for(&daemon, "web", "unhealthy");
    assert!(found["FailingStreak"].as_u64() >= Some(2), "{found}");
    assert!(found["Log"][4]["Output"].as_str().is_some_and(|text| text.contains("No such file")), "{found}");
    is_told("health_status: unhealthy web");
    let config = &daemon.inspect("web")["Config"]["Healthcheck"];
    assert_eq!((&config["Test"][0], &config["Test"][1]), (&"CMD-SHELL".into(), &line.into()));
    assert_eq!((&config["Interval"], &config["Retries"]), (&50_000_000.into(), &2.into()));
    // What has ended is not probed, and not well.
    daemon.ok(&["stop", "-t", "0", "web"]);
    let ended = health(&daemon, "web");
    assert_eq!(ended["Status"], "unhealthy");
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!(health(&daemon, "web"), ended);
    assert!(!listed(&daemon, &[]).contains("health"));
    daemon.ok(&["start", "web"]);
    assert_eq!(health(&daemon, "web")["Status"], "starting");
}

#[test]
fn a_probe_has_its_time_and_its_output_a_limit() {
    let daemon = Daemon::with_busybox();
    checked(&daemon, "slow", &["--health-timeout", "200ms"], "echo begun; exec sleep 55");
    checked(&daemon, "long", &[], "yes | head -c 9000; exit 3");
    checked(&daemon, "odd", &[], "kill -9 $$");
    // On a busy machine one may have had no time to say anything.
    let says = "Health check exceeded timeout (200ms): begun\n";
    let found = wait_until(&daemon, "slow", "heard", |found| {
        found["Log"].as_array().is_some_and(|log| log.iter().any(|probe| probe["Output"] == says))
    });
    assert!(found["Log"].as_array().expect("a list").iter().all(|probe| probe["ExitCode"] == -1), "{found}");
    wait_for(&daemon, "slow", "unhealthy");
    let found = wait_for(&daemon, "long", "unhealthy");
    assert_eq!((&found["Log"][0]["ExitCode"], output_length(&found)), (&3.into(), 4096 + 3));
    assert_eq!(wait_for(&daemon, "odd", "unhealthy")["Log"][0]["ExitCode"], 137);
    // What took too long is gone, but for one that may be under way.
    wait_until(&daemon, "slow", "rid of them", |_| daemon.ok(&["top", "slow"]).matches("sleep 55").count() <= 1);
    // And so is what was noted of each.
    let id = daemon.inspect("odd")["Id"].as_str().expect("an id").to_owned();
    wait_until(&daemon, "odd", "rid of what was noted", |_| {
        let noted = std::fs::read_dir(daemon.path().join("exec/shims").join(&id)).expect("a directory");
        let noted = noted.filter_map(Result::ok).filter(|entry| entry.file_name().to_string_lossy().contains("exec-"));
        noted.count() <= 1
    });
}

/// When the last probe began.
fn last_probe(found: &Value) -> Option<jiff::Timestamp> {
    found["Log"].as_array()?.last()?["Start"].as_str()?.parse().ok()
}

fn output_length(found: &Value) -> usize {
    found["Log"][0]["Output"].as_str().map_or(0, str::len)
}

#[test]
fn what_stands_still_is_not_probed_and_a_new_daemon_goes_on() {
    let daemon = Daemon::with_busybox();
    checked(&daemon, "kept", &[], "echo still here");
    checked(&daemon, "brief", &["--rm"], "true");
    checked(&daemon, "ill", &[], "false");
    daemon.ok(&["run", "-d", "--name", "plain", "busybox", "sleep", "60"]);
    for (name, status) in [("kept", "healthy"), ("brief", "healthy"), ("ill", "unhealthy")] {
        wait_for(&daemon, name, status);
    }
    daemon.ok(&["pause", "kept"]);
    let pause = jiff::Timestamp::now();
    // Several times as long as there is between two probes. What one had found just before may be noted meanwhile.
    std::thread::sleep(Duration::from_millis(200));
    let paused = health(&daemon, "kept");
    assert!(last_probe(&paused).is_some_and(|start| start < pause), "it was probed: {paused}");
    assert_eq!(paused["Status"], "healthy");
    daemon.ok(&["unpause", "kept"]);
    wait_until(&daemon, "kept", "probed again", |found| last_probe(found) > Some(pause));
    for (wanted, names) in [("healthy", "brief kept"), ("unhealthy", "ill"), ("none", "plain"), ("starting", "")] {
        let found = daemon.ok(&["ps", "--format", "{{.Names}}", "--filter", &format!("health={wanted}")]);
        let mut found: Vec<&str> = found.lines().collect();
        found.sort_unstable();
        assert_eq!(found.join(" "), names, "{wanted}");
    }
    daemon.kill();
    daemon.start();
    for (name, status) in [("kept", "healthy"), ("brief", "healthy"), ("ill", "unhealthy")] {
        assert_eq!(health(&daemon, name)["Status"], status, "{name}");
    }
    let before = jiff::Timestamp::now();
    wait_until(&daemon, "kept", "probed by the new daemon", |found| last_probe(found) > Some(before));
    daemon.fails(&["ps", "--filter", "health=fine"], 1).saying("health=fine");
}

#[test]
fn an_images_check_is_had_field_by_field_and_can_be_left_out() {
    let daemon = Daemon::builder().start();
    let tar = daemon.path().join("busybox.tar");
    testkit::fixtures::busybox::write(&tar);
    let change = "HEALTHCHECK --interval=50ms --retries=7 CMD [\"test\", \"-e\", \"/tmp/ok\"]";
    daemon.ok(&["import", "-c", change, &tar.to_string_lossy(), "busybox"]);
    assert_eq!(daemon.inspect("busybox")["Config"]["Healthcheck"]["Retries"], 7);
    daemon.ok(&["run", "-d", "--name", "as-it-is", "busybox", "sleep", "60"]);
    daemon.ok(&["run", "-d", "--name", "sooner", "--health-retries", "1", "busybox", "sleep", "60"]);
    daemon.ok(&["run", "-d", "--name", "none", "--no-healthcheck", "busybox", "sleep", "60"]);
    wait_for(&daemon, "sooner", "unhealthy");
    let config = daemon.inspect("sooner")["Config"]["Healthcheck"].clone();
    assert_eq!(config["Test"], serde_json::json!(["CMD", "test", "-e", "/tmp/ok"]));
    assert_eq!((&config["Interval"], &config["Retries"]), (&50_000_000.into(), &1.into()));
    daemon.ok(&["exec", "as-it-is", "touch", "/tmp/ok"]);
    wait_for(&daemon, "as-it-is", "healthy");
    assert_eq!(health(&daemon, "none"), Value::Null);
    assert_eq!(daemon.inspect("none")["Config"]["Healthcheck"]["Test"], serde_json::json!(["NONE"]));
    // Refused, and nothing is made.
    for (flags, says) in [
        (&["--no-healthcheck", "--health-cmd", "true"][..], "--no-healthcheck"),
        (&["--health-interval", "10us"], "Healthcheck.Interval: cannot be less than 1 ms"),
        (&["--health-timeout", "soon"], "soon"),
    ] {
        daemon.fails(&[&["run", "-d", "--name", "bad"], flags, &["busybox", "true"]].concat(), 125).saying(says);
    }
    daemon.fails(&["inspect", "bad"], 1);
}

#[test]
fn without_any_program_of_the_images_a_request_a_port_and_a_file_are_tried() {
    let daemon = Daemon::with_busybox();
    let run = |name: &str, flag: &str, value: &str, image: &[&str]| {
        daemon.ok(&[&["run", "-d", "--name", name, flag, value], &FAST[..], image].concat());
    };
    // An image without a shell. It listens where the daemon's host cannot see it.
    let hello = ["--network", "none", "corten/hello", "serve"];
    run("asked", "--health-http", ":8080/health/live", &hello);
    run("missing", "--health-http", "HEAD http://127.0.0.1:8080/no/such/page", &hello);
    run("open", "--health-tcp", "8080", &hello);
    run("closed", "--health-tcp", "8081", &hello);
    run("file", "--health-file", "/tmp/there", &["busybox", "sleep", "60"]);
    // A link of the image's leads to the image's own file, wherever it points.
    run("link", "--health-file", "/link", &["busybox", "sh", "-c", "ln -s /../../etc/shadow /link; sleep 60"]);
    for (name, status, says) in [
        ("asked", "healthy", "HTTP/1.1 200 OK"),
        ("missing", "unhealthy", "HTTP/1.1 404"),
        ("open", "healthy", ""),
        ("closed", "unhealthy", "refused"),
        ("file", "unhealthy", "/tmp/there"),
        ("link", "unhealthy", "/link"),
    ] {
        // Before a server listens its probes are refused.
        wait_until(&daemon, name, &format!("{status}: {says}"), |found| {
            let last = found["Log"].as_array().and_then(|log| log.last());
            found["Status"] == status
                && last.and_then(|probe| probe["Output"].as_str()).is_some_and(|output| output.contains(says))
        });
    }
    daemon.ok(&["exec", "file", "touch", "/tmp/there"]);
    wait_for(&daemon, "file", "healthy");
    let test = daemon.inspect("asked")["Config"]["Healthcheck"]["Test"].clone();
    assert_eq!(test, serde_json::json!(["CORTEN-HTTP", ":8080/health/live"]));
    for (flag, value) in [("--health-http", "https://localhost/"), ("--health-tcp", "0"), ("--health-file", "there")] {
        daemon.fails(&["run", flag, value, "busybox", "true"], 125).saying("Healthcheck.Test");
    }
    // One that answers nothing has no more time than others.
    let silent = ["busybox", "nc", "-ll", "-p", "80", "-e", "sleep", "60"];
    run("silent", "--health-http", ":80/", &[&["--health-timeout", "100ms"][..], &silent].concat());
    wait_until(&daemon, "silent", "too slow", |found| found["Log"].to_string().contains("exceeded timeout"));
}

#[test]
fn what_is_unhealthy_is_started_again_so_often_as_its_policy_says() {
    let daemon = Daemon::with_busybox();
    let policy = ["--restart", "unhealthy:2", "--health-file", "/tmp/ok"];
    // However long it takes to make its file.
    let patient = ["--health-start-period", "10m", "--health-start-interval", "50ms"];
    let script = "trap 'echo asked; exit 0' TERM; touch /tmp/ok; echo began; while true; do usleep 10000; done";
    daemon.ok(&[&["run", "-d", "--name", "ill"], &policy[..], &patient, &FAST, &["busybox", "sh", "-c", script]].concat());
    let restarts = |count: u64| {
        wait_until(&daemon, "ill", "started again", |_| daemon.inspect("ill")["RestartCount"] == count);
    };
    for count in 0..2 {
        restarts(count);
        wait_for(&daemon, "ill", "healthy");
        daemon.ok(&["exec", "ill", "rm", "/tmp/ok"]);
    }
    restarts(2);
    wait_for(&daemon, "ill", "healthy");
    // What it wrote before it made the file may still be on its way to the log.
    wait_until(&daemon, "ill", "heard", |_| daemon.ok(&["logs", "ill"]) == "began\nasked\nbegan\nasked\nbegan");
    let shown = &daemon.inspect("ill")["HostConfig"]["RestartPolicy"];
    assert_eq!(shown, &serde_json::json!({"Name": "unhealthy", "MaximumRetryCount": 2}));
    // Twice it was: now it stays as it is. So does what its user stops.
    daemon.ok(&["exec", "ill", "rm", "/tmp/ok"]);
    wait_until(&daemon, "ill", "unhealthy for long", |found| found["FailingStreak"].as_u64() > Some(5));
    assert_eq!(daemon.inspect("ill")["RestartCount"], 2);
    daemon.ok(&["update", "--restart", "unhealthy", "ill"]);
    daemon.ok(&["stop", "ill"]);
    assert_eq!(daemon.inspect("ill")["State"]["Status"], "exited");
    // One that never was well waits longer each time.
    let run =
        ["run", "-d", "--name", "never", "--restart", "unhealthy", "--health-tcp", "9", "--health-interval", "20ms"];
    daemon.ok(&[&run[..], &["--health-retries", "1", "--stop-timeout", "0", "busybox", "sleep", "60"]].concat());
    wait_until(&daemon, "never", "started again", |_| daemon.inspect("never")["RestartCount"].as_u64() > Some(1));
    daemon.ok(&["rm", "-f", "never"]);
    for (policy, flags, says) in [
        ("unhealthy", &[][..], "needs a health check"),
        ("unhealthy", &["--no-healthcheck"], "needs a health check"),
        ("unhealthy:x", &["--health-tcp", "1"], "unhealthy:x"),
    ] {
        let run = [&["run", "--name", "bad", "--restart", policy], flags, &["busybox", "true"]].concat();
        daemon.fails(&run, 125).saying(says);
    }
    daemon.ok(&["create", "--name", "plain", "busybox", "true"]);
    daemon.fails(&["update", "--restart", "unhealthy", "plain"], 1).saying("needs a health check");
    daemon.assert_no_container_left();
}

/// Whether the published port leads to somebody, as soon as it is as expected.
#[track_caller]
fn wait_for_port(daemon: &Daemon, answers: bool) {
    let begun = Instant::now();
    while internet::get(daemon.sandbox(), (Ipv4Addr::LOCALHOST, 8080), "/").is_some() != answers {
        assert!(begun.elapsed() < Duration::from_secs(20), "the port never changed to {answers}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_published_port_leads_only_to_what_is_ready() {
    let daemon = Daemon::with_busybox();
    let flags =
        ["-p", "8080:80", "--publish-when", "ready", "--health-file", "/tmp/ready", "--health-interval", "30ms"];
    serve(&daemon, "web", &[&flags[..], &["--health-retries", "1000"]].concat(), "ready");
    // It answers, and nobody is led to it.
    assert!(internet::get(daemon.sandbox(), (Ipv4Addr::LOCALHOST, 8080), "/").is_none());
    daemon.ok(&["exec", "web", "touch", "/tmp/ready"]);
    wait_for_port(&daemon, true);
    assert_eq!(daemon.inspect("web")["HostConfig"]["CortenPublishWhen"], "ready");
    daemon.ok(&["exec", "web", "rm", "/tmp/ready"]);
    wait_for_port(&daemon, false);
    assert_eq!(health(&daemon, "web")["Status"], "healthy", "one failure says nothing about its health");
    // Nobody else may have the port meanwhile, and a new daemon knows where it does not lead.
    daemon.fails(&["run", "-p", "8080:80", "busybox", "true"], 125).saying("8080");
    daemon.kill();
    daemon.start();
    wait_for_port(&daemon, false);
    daemon.ok(&["exec", "web", "touch", "/tmp/ready"]);
    wait_for_port(&daemon, true);
    daemon.ok(&["restart", "-t", "0", "web"]);
    wait_for_port(&daemon, true);
    daemon.ok(&["rm", "-f", "web"]);
    daemon
        .fails(&["run", "--publish-when", "ready", "-p", "1:1", "busybox", "true"], 125)
        .saying("needs a health check");
    daemon.assert_no_container_left();
}
