// SPDX-License-Identifier: Apache-2.0
//! A disk that gets full: what nobody needs goes by itself, what somebody needs stays. And leases, by which clients of
//! the API say what they need.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::Daemon;
use testkit::fixtures::image::Layer;
use testkit::process::command;

const MIB: usize = 1 << 20;
/// What the tests' disks have.
const DISK: u64 = 64 << 20;
/// What one image takes: its archive, and its files.
const FILE: usize = 3 * MIB;

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Imports an image of twice [`FILE`], named so; gives its id.
fn import(daemon: &Daemon, seed: u8, name: &str) -> String {
    let mut state = u32::from(seed) + 1;
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    });
    let noise: Vec<u8> = noise.take(FILE).collect();
    let archive = daemon.path().join(format!("{seed}.tar"));
    fs::write(&archive, Layer::default().file_with_mode("file", 0o755, &noise).tar()).expect("our own directory");
    let id = daemon.ok(&["import", "-c", "CMD [\"/file\"]", &archive.to_string_lossy(), name]);
    fs::remove_file(&archive).expect("our own file");
    id
}

/// The ids of all images.
fn images(daemon: &Daemon) -> Vec<String> {
    daemon.ok(&["images", "-aq", "--no-trunc"]).lines().map(str::to_owned).collect()
}

/// Two images that must stay, and then as many as it takes under one name, each of which takes it from the one before.
fn fill(daemon: &Daemon) -> (String, String, Vec<String>) {
    let kept = import(daemon, 0, "kept:1");
    let used = import(daemon, 1, "used:1");
    daemon.ok(&["create", "--name", "stopped", "used:1"]);
    daemon.ok(&["rmi", "-f", "used:1"]);
    (kept, used, (2..6).map(|seed| import(daemon, seed, "next:1")).collect())
}

/// The images that the daemon says it has removed, in that order.
fn told(daemon: &Daemon) -> Vec<String> {
    let log = daemon.log();
    let lines = log.lines().filter(|line| line.contains("removed because the disk gets full"));
    lines.filter_map(|line| line.split_once("id=\"")?.1.split_once('"')).map(|(id, _)| id.to_owned()).collect()
}

#[test]
fn images_without_a_name_go_when_the_disk_gets_full_and_no_others() {
    let daemon = Daemon::builder().data_size(DISK).argument("--gc-threshold").argument("23m").start();
    let (kept, used, next) = fill(&daemon);
    let rule = "Collection: with less than 24.1MB free, until 36.2MB are";
    let info = daemon.ok(&["info"]);
    assert!(info.contains(rule) && info.contains("Last collection: never"), "{info}");
    assert_eq!((images(&daemon).len(), told(&daemon).len()), (6, 0), "there is room enough");

    let last = import(&daemon, 6, "next:1");
    eventually("three have gone", || told(&daemon).len() == 3);
    assert_eq!(told(&daemon), next[..3], "those first that came first");
    let mut left = images(&daemon);
    left.sort();
    let mut expected = vec![kept, used, next[3].clone(), last];
    expected.sort();
    assert_eq!(left, expected);
    let info = daemon.ok(&["info"]);
    assert!(info.contains("ago: ") && info.contains(" freed, 3 images removed"), "{info}");
    assert!(daemon.ok(&["system", "check"]).contains("nothing is broken"));
    daemon.stop();
    daemon.start();
    assert!(daemon.ok(&["info"]).contains("3 images removed"), "it is remembered");
    daemon.ok(&["rm", "stopped"]);
}

#[test]
fn nothing_goes_by_itself_with_a_threshold_of_nothing() {
    let daemon = Daemon::builder().data_size(DISK).argument("--gc-threshold").argument("0").start();
    fill(&daemon);
    import(&daemon, 6, "next:1");
    import(&daemon, 7, "next:1");
    assert!(daemon.ok(&["info"]).contains("Collection: off"));
    // Longer than a daemon takes that does look.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!((images(&daemon).len(), told(&daemon).len()), (8, 0));
    daemon.ok(&["rm", "stopped"]);
}

#[test]
fn a_disk_on_which_nothing_may_go_is_told_of_once() {
    let daemon = Daemon::builder().data_size(DISK).argument("--gc-threshold").argument("90%").start();
    let told = || daemon.log().matches("nothing is left here that may be removed unasked").count();
    for seed in 0..2 {
        import(&daemon, seed, &format!("kept-{seed}:1"));
    }
    eventually("it is told", || told() == 1);
    import(&daemon, 2, "kept-2:1");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!((told(), images(&daemon).len()), (1, 3), "{}", daemon.log());
}

/// Asks the daemon's API, as any HTTP client does: status and answer.
fn ask(daemon: &Daemon, method: &str, path: &str, body: &str) -> (u16, Value) {
    let url = format!("http://x/corten/v1/leases{path}");
    let arguments = ["-s", "-X", method, "-w", "\n%{http_code}", "-d", body, "--unix-socket"];
    let output = command("curl").args(arguments).arg(daemon.socket()).arg(url).output().expect("curl is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (answer, status) = text.rsplit_once('\n').expect("a status");
    (status.parse().expect("a number"), serde_json::from_str(answer).unwrap_or_default())
}

#[test]
fn a_client_keeps_what_it_needs_by_a_lease() {
    let daemon = Daemon::builder().argument("--gc-threshold").argument("99%").start();
    let image = import(&daemon, 0, "mine:1");
    let (status, made) = ask(&daemon, "POST", "", r#"{"ID": "ci-1", "Seconds": 600, "Labels": {"job": "7"}}"#);
    assert_eq!((status, made["ID"].as_str(), made["Images"].as_array().map(Vec::len)), (201, Some("ci-1"), Some(0)));
    let (status, leased) = ask(&daemon, "PUT", "/ci-1/resources", r#"{"Resource": "mine:1"}"#);
    let manifest = daemon.inspect("mine:1")["Descriptor"]["digest"].clone();
    assert_eq!((status, &leased["Images"][0]), (200, &manifest));
    assert_eq!(ask(&daemon, "GET", "", ""), (200, serde_json::json!([leased])));
    let listed = daemon.ok(&["system", "leases", "--format", "{{.ID}} {{.Labels}} {{.Resources}}", "--no-trunc"]);
    assert_eq!(listed, format!("ci-1 job=7 {}", manifest.as_str().expect("a digest")));

    let said = daemon.ok(&["rmi", "mine:1"]);
    assert!(said.contains("mine:1") && !said.contains("deleted"), "{said}");
    daemon.fails(&["rmi", &image], 1).saying("under a lease");
    daemon.ok(&["image", "prune", "-af"]);
    // The disk is never as empty as this daemon wants it: a second image sets its collection off.
    import(&daemon, 1, "next:1");
    let second = import(&daemon, 2, "next:1");
    eventually("the collection has been here", || told(&daemon).len() == 1);
    assert_eq!(images(&daemon).len(), 2, "{second}");
    daemon.stop();
    daemon.start();
    assert!(images(&daemon).contains(&image), "a lease outlives the daemon");

    assert_eq!(ask(&daemon, "DELETE", "/ci-1", "").0, 204);
    daemon.ok(&["image", "prune", "-f"]);
    assert!(!images(&daemon).contains(&image));
    for (method, path, body, expected) in [
        ("DELETE", "/ci-1", "", 404),
        ("PUT", "/ci-1/resources", r#"{"Resource": "next:1"}"#, 404),
        ("POST", "", r#"{"ID": "a/b"}"#, 400),
        ("POST", "", r#"{"ID": "x", "Seconds": 0}"#, 400),
        ("POST", "", r#"{"ID": "x", "Until": "tomorrow"}"#, 400),
        ("POST", "", r#"{"ID": "x"}"#, 201),
        ("POST", "", r#"{"ID": "x"}"#, 409),
        ("PUT", "/x/resources", r#"{"Resource": "nothing:1"}"#, 404),
    ] {
        let (status, answer) = ask(&daemon, method, path, body);
        assert_eq!(status, expected, "{method} {path} {body}: {answer}");
        assert!(status < 400 || answer["message"].as_str().is_some_and(|text| !text.is_empty()), "{answer}");
    }
}
