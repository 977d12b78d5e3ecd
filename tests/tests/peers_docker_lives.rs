// SPDX-License-Identifier: Apache-2.0
//! The same life under both daemons: what Docker's own daemon tells of it, and in which order, Corten tells as well.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::Daemon;
use testkit::docker::Docker;
use testkit::process::command;
use testkit::sandbox::Sandbox;

/// What is done: the end of a command that fails is not looked at.
const LIFE: &[&[&str]] = &[
    &["create", "--name", "box", "--label", "tier=x", "--network", "none", "busybox", "sleep", "600"],
    &["rm", "box"],
    &["run", "-d", "--name", "box", "--label", "tier=x", "-v", "data:/data:ro", "busybox", "sleep", "600"],
    &["exec", "box", "true"],
    &["exec", "box", "sh", "-c", "exit 3"],
    &["pause", "box"],
    &["unpause", "box"],
    &["commit", "-m", "words", "box", "made:1"],
    &["rename", "box", "crate"],
    &["kill", "-s", "HUP", "crate"],
    &["network", "create", "mine"],
    &["network", "connect", "mine", "crate"],
    &["network", "disconnect", "mine", "crate"],
    &["stop", "-t", "0", "crate"],
    &["start", "crate"],
    &["restart", "-t", "0", "crate"],
    &["cp", "crate:/etc/passwd", "-"],
    &["rm", "-f", "crate"],
    &["run", "--rm", "--name", "short", "busybox", "sh", "-c", "exit 3"],
    &["run", "--name", "bad", "-v", "data:/data", "busybox", "no-such-command"],
    &["rm", "bad"],
    &["network", "rm", "mine"],
    &["volume", "rm", "data"],
];

/// A daemon, asked by Docker's command line.
struct Asked<'a> {
    sandbox: &'a Sandbox,
    docker: &'a (dyn Fn(&[&str]) -> Command + Sync),
}

impl Asked<'_> {
    fn run(&self, arguments: &[&str]) -> String {
        let mut docker = (self.docker)(arguments);
        let output = self.sandbox.run(move || docker.output()).expect("docker is installed");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What was told so far of containers, networks and volumes, a line each.
    fn told(&self) -> Vec<String> {
        // A second to come lies behind all that has happened.
        let until = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs_f64();
        let (since, until) = ("--since=1".to_owned(), format!("--until={until:.6}"));
        let printed = self.run(&["events", &since, &until, "--format", "{{json .}}"]);
        let events = printed.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        events.filter(|event| event["Type"] != "image").map(|event| line(&event)).collect()
    }

    fn lives(&self) -> Vec<String> {
        let count = |told: &[String], what: &str| told.iter().filter(|line| line.contains(what)).count();
        for step in LIFE {
            let before = count(&self.told(), "exec_die");
            self.run(step);
            // The end of an exec is told when it comes.
            let begun = Instant::now();
            while step[0] == "exec" && count(&self.told(), "exec_die") == before {
                assert!(begun.elapsed() < Duration::from_secs(10), "{step:?}: {:#?}", self.told());
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        self.told()
    }
}

/// An event's kind and action with its attributes, but for what differs each time.
fn line(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut line = format!("{} {}", text(&event["Type"]), text(&event["Action"]));
    for (name, value) in event["Actor"]["Attributes"].as_object().into_iter().flatten() {
        let value = text(value);
        let bare = value.strip_prefix("sha256:").unwrap_or(&value);
        let is_id = bare.len() == 64 && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
        line.push_str(&match name.as_str() {
            // Docker 20.10 does not have it.
            "execDuration" => continue,
            _ if is_id => format!(" {name}=ID"),
            _ => format!(" {name}={value}"),
        });
    }
    line
}

/// What is told of a life, without what the Docker daemon at hand (20.10) tells otherwise than newer ones: twice that a network
/// was left, a volume's creation with each container that names it, and in another order what is taken and left around a start
/// and an end.
fn settled(told: Vec<String>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in told {
        let created_again = line.starts_with("volume create ") && lines.contains(&line);
        if !created_again && lines.last() != Some(&line) {
            lines.push(line);
        }
    }
    let ends = ["network connect ", "network disconnect ", "volume mount ", "volume unmount ", "container die "];
    let moves = |line: &String| ends.iter().any(|end| line.starts_with(end));
    lines.chunk_by_mut(|a, b| moves(a) && moves(b)).for_each(<[String]>::sort);
    lines
}

#[test]
fn both_daemons_tell_of_a_life_alike() {
    let daemon = Daemon::with_busybox();
    let theirs = Docker::start().expect("dockerd runs");
    let tar = daemon.path().join("busybox.tar");
    theirs.run(&["import", &tar.to_string_lossy(), "busybox"]).expect("it imports");
    let ours = |arguments: &[&str]| {
        let mut docker = command("docker");
        docker.args(arguments).env("DOCKER_HOST", daemon.host()).env("DOCKER_CONFIG", daemon.path());
        docker
    };
    let dockers = |arguments: &[&str]| theirs.command(arguments);
    let ours = Asked { sandbox: daemon.sandbox(), docker: &ours };
    let dockers = Asked { sandbox: theirs.sandbox(), docker: &dockers };
    let (ours, dockers) = std::thread::scope(|scope| {
        let dockers = scope.spawn(|| dockers.lives());
        (ours.lives(), dockers.join().expect("its life"))
    });
    let (ours, dockers) = (settled(ours), settled(dockers));
    assert_eq!(ours, dockers, "{ours:#?}\n{dockers:#?}");
}
