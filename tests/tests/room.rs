// SPDX-License-Identifier: Apache-2.0
//! A disk that gets full: what nobody needs goes by itself, what somebody needs stays. And leases, by which clients of
//! the API say what they need.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::Daemon;
use testkit::fixtures::debian::Form;
use testkit::fixtures::faulty::{Faulty, Reply};
use testkit::fixtures::image::{Image, Layer};
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

/// An archive with a file of so many bytes that cannot be compressed.
fn archive(seed: u8, bytes: usize) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    });
    let noise: Vec<u8> = noise.take(bytes).collect();
    Layer::default().file_with_mode("file", 0o755, &noise).tar()
}

/// Imports an image of twice [`FILE`], named so; gives its id.
fn import(daemon: &Daemon, seed: u8, name: &str) -> String {
    let bytes = archive(seed, FILE);
    let archive = daemon.path().join(format!("{seed}.tar"));
    fs::write(&archive, bytes).expect("our own directory");
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
    let daemon = Daemon::builder().data_size(DISK).argument("--gc-threshold").argument("25m").start();
    let (kept, used, next) = fill(&daemon);
    let rule = "Collection: with less than 26.2MB free, until 39.3MB are";
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

#[test]
fn images_that_were_used_last_go_last() {
    let daemon = Daemon::builder().data_size(DISK).argument("--gc-threshold").argument("25m").start();
    let (_, _, next) = fill(&daemon);
    // The second and the third one have a name for a moment, and of the first one a container is made and removed.
    for image in [&next[1][..], &next[2], "kept:1"] {
        daemon.ok(&["tag", image, "moving:1"]);
    }
    // The last one has been used at its coming only, and loses its name before another image comes: the daemon may look
    // in the middle of that, and would find it named.
    daemon.ok(&["tag", "kept:1", "next:1"]);
    daemon.ok(&["create", "--name", "once", &next[0]]);
    daemon.ok(&["rm", "once"]);
    daemon.stop();
    daemon.start();
    import(&daemon, 6, "last:1");
    eventually("three have gone", || told(&daemon).len() == 3);
    assert_eq!(told(&daemon), [&next[3][..], &next[1], &next[2]]);
    daemon.ok(&["rm", "stopped"]);
}

/// An image that takes more room than [`crowded`] leaves, as an archive to be loaded and in a registry.
const LARGE: usize = 12 * MIB;

/// A disk that images without a name fill, but for less than [`LARGE`], and that is not looked at while it has a megabyte;
/// and their ids.
fn crowded(threshold: &str) -> (Daemon, Vec<String>) {
    let daemon = Daemon::builder().data_size(DISK).argument("--gc-threshold").argument(threshold).start();
    import(&daemon, 0, "kept:1");
    let next: Vec<String> = (1..9).map(|seed| import(&daemon, seed, "next:1")).collect();
    assert_eq!(told(&daemon), [""; 0], "there is room for these");
    (daemon, next)
}

/// The image in a layout of its own, beside the daemon's disk: of two layers.
fn large(daemon: &Daemon) -> PathBuf {
    let layout = daemon.path().join("large");
    Image::default()
        .layer(archive(100, LARGE / 2), Form::Gzip)
        .layer(archive(101, LARGE / 2), Form::Plain)
        .config(serde_json::json!({"Cmd": ["/file"]}))
        .write(&layout);
    layout
}

/// Nothing that has a name has gone, nothing more than was necessary, and all is whole.
#[track_caller]
fn assert_made_room(daemon: &Daemon, next: &[String]) {
    let gone = told(daemon);
    assert!(!gone.is_empty() && gone.len() < next.len() - 1, "{gone:?} of {next:?}");
    assert_eq!(gone, next[..gone.len()], "{}", daemon.log());
    let named = daemon.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert!(named.contains("kept:1") && named.contains("next:1"), "{named}");
    assert!(daemon.ok(&["system", "check"]).contains("nothing is broken"));
}

#[test]
fn a_pull_that_finds_the_disk_full_makes_room_and_fetches_nothing_twice() {
    let (daemon, next) = crowded("1m");
    let layout = large(&daemon);
    let mut content: BTreeMap<String, Vec<u8>> = fs::read_dir(layout.join("blobs/sha256"))
        .expect("a layout")
        .map(|entry| entry.expect("an entry"))
        .map(|blob| (format!("sha256:{}", blob.file_name().to_string_lossy()), fs::read(blob.path()).expect("a blob")))
        .collect();
    let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).expect("an index")).expect("JSON");
    let manifest = content[index["manifests"][0]["digest"].as_str().expect("a digest")].clone();
    content.insert("1".to_owned(), manifest);
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let noted = Arc::clone(&asked);
    let registry = Faulty::start(daemon.sandbox(), move |request| {
        let last = request.path.rsplit('/').next().unwrap_or_default();
        noted.lock().unwrap().push(last.to_owned());
        content.get(last).map_or_else(|| Reply::status(200), |bytes| Reply::ok(bytes.clone()))
    });
    daemon.ok(&["pull", "-q", &registry.name("large:1")]);
    assert_made_room(&daemon, &next);
    let mut asked = asked.lock().unwrap().clone();
    asked.retain(|last| last.starts_with("sha256:"));
    let distinct: BTreeSet<&String> = asked.iter().collect();
    assert_eq!(distinct.len(), asked.len(), "{asked:?}");
}

#[test]
fn a_load_that_finds_the_disk_full_makes_room() {
    let (daemon, next) = crowded("1m");
    let layout = large(&daemon);
    let packed = daemon.path().join("large.tar");
    let done = command("tar").arg("-C").arg(&layout).arg("-cf").arg(&packed).arg(".").status().expect("tar");
    assert!(done.success());
    daemon.ok(&["load", "-q", "-i", &packed.to_string_lossy()]);
    assert_made_room(&daemon, &next);
}

#[test]
fn a_commit_that_finds_the_disk_full_makes_room() {
    let (daemon, next) = crowded("1m");
    daemon.import_busybox();
    let write = ["dd", "if=/dev/urandom", "of=/changed", "bs=1M", "count=3"];
    daemon.ok(&[&["run", "--name", "changed", "busybox"], &write[..]].concat());
    assert_eq!(told(&daemon), [""; 0], "there is room for the container");
    daemon.ok(&["commit", "changed", "built:1"]);
    assert_made_room(&daemon, &next);
    daemon.ok(&["rm", "changed"]);
}

#[test]
fn a_full_disk_on_which_nothing_may_go_is_an_error_and_the_store_goes_on() {
    let (daemon, next) = crowded("0");
    let layout = large(&daemon);
    let packed = daemon.path().join("large.tar");
    let done = command("tar").arg("-C").arg(&layout).arg("-cf").arg(&packed).arg(".").status().expect("tar");
    assert!(done.success());
    daemon.fails(&["load", "-q", "-i", &packed.to_string_lossy()], 1).saying("space");
    assert_eq!(told(&daemon), [""; 0]);
    assert_eq!(images(&daemon).len(), 1 + next.len());
    assert!(daemon.ok(&["system", "check"]).contains("nothing is broken"));
    daemon.ok(&["image", "prune", "-f"]);
    daemon.ok(&["load", "-q", "-i", &packed.to_string_lossy()]);
}

#[test]
fn room_can_be_made_on_a_disk_without_a_single_free_byte() {
    let (daemon, next) = crowded("0");
    let filler = daemon.path().join("data/filler");
    let file = filler.clone();
    daemon.sandbox().run(move || {
        let mut file = fs::File::create(file).expect("the daemon's disk");
        // Ends when the disk is full.
        while file.write_all(&[7; 4096]).is_ok() {}
    });
    daemon.ok(&["image", "prune", "-f"]);
    assert_eq!(images(&daemon).len(), 2, "of {next:?} the one with a name, and the first");
    import(&daemon, 9, "next:1");
    assert!(daemon.ok(&["system", "check"]).contains("nothing is broken"));
    daemon.sandbox().run(move || fs::remove_file(filler).expect("our own file"));
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
