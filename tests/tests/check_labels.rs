// SPDX-License-Identifier: Apache-2.0
//! Checks by labels, through the API as any client of Docker's would say them.

use serde_json::{Value, json};
use testkit::Daemon;
use testkit::http::{Answer, ask};

#[track_caller]
fn create(daemon: &Daemon, name: &str, body: &Value) -> Answer {
    let path = format!("/v1.41/containers/create?name={name}");
    ask(daemon, "POST", &path, &["Content-Type: application/json"], body.to_string().as_bytes())
}

#[track_caller]
fn wait_until(what: &str, reached: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !reached() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "never: {what}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn a_client_of_dockers_says_checks_by_labels() {
    let daemon = Daemon::with_busybox();
    let labels = json!({
        "corten.startup": "file=/up,interval=20ms,retries=100000",
        "corten.liveness": "file=/alive,interval=20ms,retries=2",
        "corten.readiness": "file=/ready,interval=20ms",
        "corten.health": "interval=20ms,start-period=1m,start-interval=20ms,cmd=test -e /ready",
        "corten.publish-when": "ready",
        "corten.example/mine": "anything",
    });
    let script = "touch /alive /up /ready; exec sleep 600";
    let body = json!({"Image": "busybox", "Cmd": ["sh", "-c", script], "Labels": labels, "StopTimeout": 0,
        "HostConfig": {"RestartPolicy": {"Name": "always"}}});
    create(&daemon, "web", &body).expect(201);
    let shown = daemon.inspect("web");
    let checks = &shown["HostConfig"]["CortenChecks"];
    assert_eq!(checks["Liveness"], json!({"Test": ["CORTEN-FILE", "/alive"], "Interval": 20_000_000, "Retries": 2}));
    assert_eq!((&checks["Startup"]["Retries"], &checks["Readiness"]["Test"][1]), (&json!(100_000), &json!("/ready")));
    assert_eq!(shown["HostConfig"]["CortenPublishWhen"], "ready");
    assert_eq!(shown["Config"]["Healthcheck"]["Test"], json!(["CMD-SHELL", "test -e /ready"]));
    assert_eq!(shown["Config"]["Labels"]["corten.example/mine"], "anything");
    ask(&daemon, "POST", "/v1.41/containers/web/start", &[], b"").expect(204);
    let state = |name: &str| daemon.inspect("web")["State"]["CortenChecks"][name]["Status"].clone();
    for check in ["Startup", "Liveness", "Readiness"] {
        wait_until(check, || state(check) == "healthy");
    }
    wait_until("healthy", || daemon.ok(&["ps", "--filter", "health=healthy", "-q"]).lines().count() == 1);
    daemon.ok(&["exec", "web", "rm", "/alive"]);
    wait_until("started again", || daemon.inspect("web")["RestartCount"].as_i64() > Some(0));
    let reason = daemon.inspect("web")["State"]["CortenRestart"]["Reason"].to_string();
    assert!(reason.contains("liveness"), "{reason}");
    daemon.ok(&["rm", "-f", "web"]);

    // By the command line as well, where a flag counts more.
    let label = ["--label", "corten.readiness=tcp=1,retries=9", "--label", "corten.health=tcp=2,retries=9"];
    let flags = ["--readiness", "tcp=3", "--health-retries", "4"];
    daemon.ok(&[&["create", "--name", "both"], &label[..], &flags, &["busybox", "true"]].concat());
    let shown = daemon.inspect("both");
    assert_eq!(shown["HostConfig"]["CortenChecks"]["Readiness"], json!({"Test": ["CORTEN-TCP", "3"]}));
    assert_eq!(shown["Config"]["Healthcheck"], json!({"Test": ["CORTEN-TCP", "2"], "Retries": 4}));
    // What an image says by labels counts for nothing.
    daemon.ok(&["commit", "--change", "LABEL corten.readiness=tcp=7", "both", "labelled"]);
    daemon.ok(&["create", "--name", "plain", "labelled", "true"]);
    assert_eq!(daemon.inspect("plain")["HostConfig"]["CortenChecks"], Value::Null);
}

#[test]
fn a_label_that_cannot_be_read_refuses_the_container_by_its_name() {
    let daemon = Daemon::with_busybox();
    for (name, value, problem) in [
        ("corten.liveness", "http=:80/,every=5s", "every"),
        ("corten.readiness", "tcp=http", "no port"),
        ("corten.startup", "interval=1s", "nothing to try"),
        ("corten.health", "http=https://a/", "https"),
        ("corten.publish-when", "now", "now"),
        ("corten.livenes", "tcp=80", "corten.liveness"),
    ] {
        let body = json!({"Image": "busybox", "Labels": {name: value}});
        let message = create(&daemon, "bad", &body).expect(400)["message"].to_string();
        assert!(message.contains(&format!("the label {name}: ")) && message.contains(problem), "{message}");
    }
    // Nothing would come of it: what is not alive is started again by a policy, and there is none.
    let body = json!({"Image": "busybox", "Labels": {"corten.liveness": "tcp=80"}});
    assert!(create(&daemon, "bad", &body).expect(400)["message"].to_string().contains("--restart"));
    assert_eq!(daemon.ok(&["ps", "-aq"]), "", "nothing was made");
}
