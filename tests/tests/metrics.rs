// SPDX-License-Identifier: Apache-2.0
//! `/metrics`: on the daemon's socket, and at an address of its own; its names are those of `docs/metrics.md`.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;

use testkit::Daemon;

/// The answer's head and body.
fn ask(mut stream: impl Read + Write, path: &str) -> (String, String) {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

fn metrics(daemon: &Daemon) -> String {
    let (head, body) = ask(UnixStream::connect(daemon.socket()).expect("a socket"), "/metrics");
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/plain; version=0.0.4"), "{head}");
    body
}

/// The value of the one sample of `name` whose labels have all of these.
#[track_caller]
fn value(text: &str, name: &str, labels: &[&str]) -> f64 {
    let is_it = |line: &&str| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']));
        rest.is_some_and(|rest| labels.iter().all(|label| rest.contains(label)))
    };
    let found: Vec<&str> = text.lines().filter(is_it).collect();
    assert_eq!(found.len(), 1, "{name} {labels:?}: {found:?} in {text}");
    found[0].rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}

#[test]
fn containers_are_measured_by_what_the_kernel_counts() {
    let daemon = Daemon::with_busybox();
    // It prints when it has been throttled, which the kernel counts in its own time.
    let busy = "while :; do :; done";
    let limits = ["--memory", "64m", "--cpus", "0.2", "--pids-limit", "20"];
    daemon.ok(&[&["run", "-d", "--name", "busy"][..], &limits, &["busybox", "sh", "-c", busy]].concat());
    daemon.ok(&["run", "-d", "--name", "still", "--network", "none", "busybox", "sleep", "60"]);
    daemon.ok(&["pause", "still"]);
    daemon.corten(&["run", "--name", "ended", "busybox", "false"]);
    let mut text = String::new();
    let begun = std::time::Instant::now();
    // Where others want the processor as well, it takes a while to want more than a fifth of one.
    while begun.elapsed() < std::time::Duration::from_secs(60) {
        text = metrics(&daemon);
        if value(&text, "container_cpu_cfs_throttled_seconds_total", &["name=\"busy\""]) > 0.0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    let of = |name: &str, labels: &[&str]| value(&text, name, labels);
    assert!(of("container_cpu_cfs_throttled_periods_total", &["name=\"busy\""]) > 0.0);
    assert!(of("container_cpu_usage_seconds_total", &["name=\"busy\"", "image=\"busybox\""]) > 0.0);
    assert_eq!(of("container_spec_memory_limit_bytes", &["name=\"busy\""]), f64::from(64 << 20));
    assert!(
        of("container_memory_working_set_bytes", &["name=\"busy\""])
            <= of("container_memory_usage_bytes", &["name=\"busy\""])
    );
    assert_eq!(of("container_threads", &["name=\"busy\""]), 1.0);
    assert_eq!(of("container_threads_max", &["name=\"busy\""]), 20.0);
    assert_eq!(of("container_oom_events_total", &["name=\"busy\""]), 0.0);
    assert!(of("container_network_receive_bytes_total", &["name=\"busy\"", "interface=\"eth0\""]) >= 0.0);
    for (state, count) in [("running", 1.0), ("paused", 1.0), ("exited", 1.0), ("created", 0.0)] {
        assert_eq!(of("corten_containers", &[&format!("state=\"{state}\"")]), count, "{state}");
    }
    assert_eq!(of("corten_unreadable_containers", &[]), 0.0);
    assert!(of("corten_images", &[]) >= 1.0 && of("corten_image_bytes", &[]) > 0.0);
    assert!(of("corten_build_info", &["version=\""]) == 1.0);
    assert!(!text.contains("container_threads{id=\"\""), "{text}");
    // What has ended uses nothing, and is not told of as using nothing.
    assert!(!text.lines().any(|line| line.starts_with("container_threads{") && line.contains("name=\"ended\"")));
    assert_eq!(of("container_restarts_total", &["name=\"ended\""]), 0.0);

    let count = |route: &str| of("corten_api_request_duration_seconds_count", &[&format!("route=\"{route}\"")]);
    assert_eq!(count("run"), 3.0);
    let bucket =
        |le: &str| of("corten_api_request_duration_seconds_bucket", &["route=\"run\"", &format!("le=\"{le}\"")]);
    assert!(bucket("0.001") <= bucket("1") && bucket("1") <= bucket("+Inf") && bucket("+Inf") == count("run"));
    daemon.ok(&["unpause", "still"]);
}

#[test]
fn metrics_have_an_address_of_their_own_with_nothing_else() {
    let daemon = Daemon::builder().argument("--metrics-addr=127.0.0.1:19323").start();
    let (metrics, api) = daemon.sandbox().run(|| {
        let connect = || TcpStream::connect("127.0.0.1:19323").expect("it listens");
        (ask(connect(), "/metrics"), ask(connect(), "/containers/json"))
    });
    assert!(metrics.0.starts_with("HTTP/1.1 200") && metrics.1.contains("\ncorten_containers{"), "{}", metrics.1);
    assert!(api.0.starts_with("HTTP/1.1 404"), "{}", api.0);
}

#[test]
fn every_name_is_documented_and_every_documented_name_is_there() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "busybox", "sleep", "60"]);
    let text = metrics(&daemon);
    let told: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let page = std::fs::read_to_string(path).expect("docs/metrics.md");
    let row = |line: &'_ str| line.strip_prefix("| `").and_then(|rest| rest.split('`').next()).map(str::to_owned);
    let documented: BTreeSet<String> = page.lines().filter_map(row).collect();
    assert_eq!(told, documented.iter().map(String::as_str).collect());
}
