// SPDX-License-Identifier: Apache-2.0
//! What the store takes on disk, what of it can go, whether it is whole, and what images waste.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use end_to_end::chance::number;
use serde_json::Value;
use testkit::fixtures::debian::Form;
use testkit::fixtures::image::{Image, Layer};
use testkit::process::command;
use testkit::{Daemon, Finished};

/// What cannot be compressed, so that sizes can be foretold.
fn noise(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Loads an image made of these layers, named so.
fn load(daemon: &Daemon, name: &str, layers: Vec<Layer>) {
    let layout = daemon.path().join(format!("layout-{}", name.replace(':', "-")));
    let image = layers.into_iter().fold(Image::default(), |image, layer| image.layer(layer.tar(), Form::Gzip));
    image.config(serde_json::json!({"Cmd": ["/true"]})).write(&layout);
    let archive = layout.with_extension("tar");
    let packed = command("tar").arg("-C").arg(&layout).arg("-cf").arg(&archive).arg(".").status().expect("tar");
    assert!(packed.success());
    let said = daemon.ok(&["load", "-q", "-i", &archive.to_string_lossy()]);
    daemon.ok(&["tag", said.rsplit(' ').next().unwrap_or_default(), name]);
}

const LARGE: usize = 3 << 20;

fn shared() -> Layer {
    Layer::default().directory("usr").file_with_mode("usr/large", 0o644, &noise(LARGE, 1))
}

fn own(seed: u32) -> Layer {
    Layer::default().file_with_mode("own", 0o644, &noise(1 << 20, seed))
}

/// Bytes on disk of the store's blobs and layers, as du(1) has them.
fn on_disk(daemon: &Daemon) -> u64 {
    let du = |directory: &str| {
        let path = daemon.path().join("data").join(directory);
        let output = command("du").args(["-s", "--block-size=1"]).arg(&path).output().expect("du");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.split_whitespace().next().and_then(|bytes| bytes.parse::<u64>().ok()).unwrap_or_default()
    };
    du("content/blobs/sha256") + du("layers")
}

fn usage(daemon: &Daemon) -> Value {
    serde_json::from_slice(&daemon_get(daemon, "/v1.43/system/df")).expect("JSON")
}

/// The answer to a GET of the daemon's API, as any HTTP client has it.
fn daemon_get(daemon: &Daemon, path: &str) -> Vec<u8> {
    let output =
        command("curl").args(["-s", "--unix-socket"]).arg(daemon.socket()).arg(format!("http://x{path}")).output();
    output.expect("curl is installed").stdout
}

#[test]
fn sizes_are_the_disks_and_shared_layers_count_once() {
    let daemon = Daemon::builder().start();
    load(&daemon, "a:1", vec![shared(), own(2)]);
    let alone = on_disk(&daemon);
    load(&daemon, "b:1", vec![shared(), own(3)]);
    daemon.ok(&["tag", "b:1", "b:2"]);
    let before = usage(&daemon);
    let total = before["LayersSize"].as_u64().unwrap();
    // The directories that hold it all are not counted, and are small.
    assert!(total <= on_disk(&daemon) && on_disk(&daemon) - total < 1 << 20, "{total} {}", on_disk(&daemon));
    let images = before["Images"].as_array().unwrap();
    assert_eq!(images.len(), 2);
    for image in images {
        let (size, shared) = (image["Size"].as_u64().unwrap(), image["SharedSize"].as_u64().unwrap());
        // Blob and unpacked layer, each with what cannot be compressed.
        assert!(shared as usize >= 2 * LARGE && shared < size && size < alone + (1 << 20), "{image}");
    }
    let unique = |image: &Value| image["Size"].as_u64().unwrap() - image["SharedSize"].as_u64().unwrap();
    let shared = images[0]["SharedSize"].as_u64().unwrap();
    assert_eq!(total, shared + images.iter().map(unique).sum::<u64>(), "each byte once");
    assert_eq!(before["Store"]["Reclaimable"].as_u64(), Some(total));
    let table = daemon.ok(&["system", "df"]);
    assert!(table.starts_with("TYPE ") && table.contains("(100%)"), "{table}");
    let verbose = daemon.ok(&["system", "df", "-v"]);
    assert!(verbose.contains("UNIQUE SIZE") && verbose.contains("Unpacked layers"), "{verbose}");

    daemon.ok(&["create", "--name", "user", "a:1"]);
    let used = usage(&daemon);
    let b = images.iter().find(|image| image["RepoTags"][0] == "b:1").map(unique);
    assert_eq!(used["Store"]["Reclaimable"].as_u64(), b, "what b alone has");
    let disk = on_disk(&daemon);
    let said = daemon.ok(&["image", "prune", "-af"]);
    for part in ["untagged: b:1", "untagged: b:2", "deleted: sha256:", "Total reclaimed space: "] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let after = usage(&daemon);
    let freed = total - after["LayersSize"].as_u64().unwrap();
    assert_eq!(Some(freed), used["Store"]["Reclaimable"].as_u64());
    assert!(disk - on_disk(&daemon) >= freed && disk - on_disk(&daemon) < freed + (1 << 20));
    assert_eq!(daemon.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]), "a:1", "a container needs it");
    daemon.ok(&["rm", "user"]);
}

#[test]
fn only_what_is_meant_is_pruned() {
    let daemon = Daemon::with_busybox();
    let archive = daemon.path().join("root.tar");
    fs::write(&archive, own(5).tar()).unwrap();
    let import = |label: &str| {
        daemon.ok(&["import", "-c", &format!("LABEL kind={label}"), &archive.to_string_lossy(), "made:1"])
    };
    let (first, second) = (import("first"), import("second"));
    import("third");
    let all = || daemon.ok(&["images", "-aq", "--no-trunc"]);
    assert_eq!(daemon.ok(&["image", "prune"]), "", "nobody has said yes");
    assert_eq!(daemon.ok(&["image", "prune", "-f", "--filter", "until=1h"]), "Total reclaimed space: 0B");
    daemon.ok(&["image", "prune", "-f", "--filter", "label=kind=first"]);
    assert!(!all().contains(&first) && all().contains(&second));
    daemon.ok(&["image", "prune", "-f", "--filter", "label!=kind=second"]);
    assert!(all().contains(&second));
    let yes = daemon.spawn_with(&["image", "prune"], b"y\n", &[]).wait().ok();
    assert!(yes.stdout.contains(&second), "{yes}");
    assert_eq!(all().lines().count(), 2, "those with names stay");
    daemon.fails(&["image", "prune", "-f", "--filter", "reference=x"], 1).saying("reference");
}

fn blob(daemon: &Daemon, digest: &str) -> PathBuf {
    daemon.path().join("data/content/blobs").join(digest.replace(':', "/"))
}

fn spoil(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap_or_default();
    change(&mut bytes);
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("our own file");
    fs::write(path, bytes).expect("our own file");
}

#[test]
fn what_is_broken_in_the_store_is_named() {
    let daemon = Daemon::builder().start();
    load(&daemon, "good:1", vec![own(7)]);
    load(&daemon, "bad:1", vec![shared(), own(8)]);
    assert!(daemon.ok(&["system", "check"]).contains("checked 2 images, 3 layers, 7 blobs"));
    let manifest = daemon.inspect("bad:1")["Descriptor"]["digest"].as_str().unwrap().to_owned();
    let document: Value = serde_json::from_slice(&fs::read(blob(&daemon, &manifest)).unwrap()).unwrap();
    let layer = |n: usize| document["layers"][n]["digest"].as_str().unwrap().to_owned();
    spoil(&blob(&daemon, &layer(0)), |bytes| bytes[100] ^= 1);
    fs::remove_file(blob(&daemon, &layer(1))).unwrap();
    let unpacked = daemon.inspect("bad:1")["RootFS"]["Layers"][1].as_str().unwrap().to_owned();
    let failed = daemon.corten(&["system", "check"]).fails(1);
    for part in [&layer(0)[..], "its content has the digest", &layer(1), "is missing", "corten rmi bad:1"] {
        assert!(failed.stderr.contains(part), "{part}\n{failed}");
    }
    assert!(failed.stdout.contains("2 things are broken") && !failed.stderr.contains("good:1"), "{failed}");
    daemon.stop();
    fs::remove_dir_all(daemon.path().join("data/layers").join(unpacked.trim_start_matches("sha256:"))).unwrap();
    daemon.start();
    let report = daemon.corten(&["system", "check", "--format", "json"]);
    let report: Value = serde_json::from_str(&report.stdout).unwrap();
    let problems = report["Problems"].as_array().unwrap();
    assert!(problems.iter().any(|problem| problem["Problem"].as_str().unwrap().contains(&unpacked)), "{report}");
    daemon.ok(&["rmi", "bad:1"]);
    assert!(daemon.ok(&["system", "check"]).contains("nothing is broken"));
}

#[test]
fn waste_is_told_with_the_instruction_that_made_it() {
    let daemon = Daemon::builder().start();
    let copy = noise(200_000, 11);
    let below = Layer::default()
        .directory("opt")
        .file_with_mode("opt/gone", 0o644, &noise(100_000, 12))
        .file_with_mode("opt/changed", 0o644, &noise(50_000, 13))
        .file_with_mode("opt/a", 0o644, &copy)
        .file_with_mode("var/lib/apt/lists/deb", 0o644, &noise(70_000, 14));
    let above = Layer::default()
        .without("opt/gone")
        .file_with_mode("opt/changed", 0o755, &noise(50_000, 13))
        .file_with_mode("opt/b", 0o644, &copy);
    load(&daemon, "waste:1", vec![below, above]);
    let report: Value = serde_json::from_str(&daemon.ok(&["image", "waste", "--format", "json", "waste:1"])).unwrap();
    assert_eq!((report["Size"].as_u64(), report["Wasted"].as_u64()), (Some(670_000), Some(420_000)), "{report:#}");
    let finding = |layer: usize, kind: &str| {
        let all = report["Layers"][layer]["Findings"].as_array().unwrap();
        all.iter().find(|found| found["Kind"] == kind).map(|found| (found["Bytes"].as_u64().unwrap(), found.clone()))
    };
    let (bytes, hidden) = finding(0, "hidden").unwrap();
    assert_eq!((bytes, hidden["Files"].as_u64()), (150_000, Some(2)));
    assert!(hidden["Reason"].as_str().unwrap().contains("layer 2: corten's tests"), "{hidden}");
    assert_eq!(hidden["Examples"][0]["Path"], "opt/gone");
    let (bytes, cache) = finding(0, "cache").unwrap();
    assert_eq!((bytes, cache["Reason"].as_str()), (70_000, Some("apt's package lists")));
    assert_eq!(finding(1, "repeated").unwrap().0, 200_000);
    assert_eq!(finding(1, "hidden"), None);
    let text = daemon.ok(&["image", "waste", "waste:1"]);
    assert!(text.contains("420kB of 670kB (62%) could go") && text.contains("/opt/gone"), "{text}");
    daemon.fails(&["image", "waste", "nothing"], 1).saying("nothing");
}

/// A kill, and what the daemon does then, drawn by six bytes.
#[derive(Debug)]
struct Round<'n> {
    /// Whether all images are there at first, so that there is something to remove.
    filled: bool,
    /// A name that is moved before: an image loses its name, and the daemon collects it as soon as it looks.
    moved: Option<[&'n str; 2]>,
    chores: Vec<Vec<&'n str>>,
    /// When the kill comes: after the chores have begun, or a collection of the daemon's own.
    moment: Duration,
    /// When the daemon that sweeps up behind the killed one is killed, too.
    again: Option<Duration>,
}

impl Round<'_> {
    fn drawn<'n>(draw: &[u8], names: &'n [String]) -> Round<'n> {
        let name = |number: u8| names[usize::from(number) % names.len()].as_str();
        let micros = |draw: u8, most: u64| Duration::from_micros(u64::from(draw) * most / 255);
        let chore = |draw: u8| match draw & 7 {
            0..=4 => vec!["pull", name(draw >> 4)],
            5 => vec!["tag", name(draw >> 4), name(1 + (draw >> 4))],
            6 => vec!["rmi", "-f", name(draw >> 4)],
            _ => vec!["image", "prune", "-af"],
        };
        let chores = || draw[1..=1 + usize::from(draw[4]) % 3].iter().map(|draw| chore(*draw)).collect();
        let again = (draw[5] & 3 == 0).then(|| micros(draw[5], 6_000));
        match draw[0] % 3 {
            0 => Round { filled: false, moved: None, chores: chores(), moment: micros(draw[4], 80_000), again },
            1 => {
                let removal =
                    if draw[1] & 1 == 0 { vec!["rmi", "-f", name(draw[2])] } else { vec!["image", "prune", "-af"] };
                Round { filled: true, moved: None, chores: vec![removal], moment: micros(draw[4], 15_000), again }
            }
            _ => {
                let moved = Some([name(draw[1]), name(draw[1].wrapping_add(1 + draw[2] % 2))]);
                Round { filled: true, moved, chores: chores(), moment: micros(draw[4], 4_000), again }
            }
        }
    }

    /// Lets the chores begin, kills the daemon in their middle, and starts another one.
    fn play(&self, daemon: &Daemon, names: &[String], interrupted: &mut Interrupted) {
        for name in names.iter().filter(|_| self.filled) {
            daemon.ok(&["pull", "-q", name]);
        }
        let logged = daemon.log().len();
        if let Some([from, to]) = self.moved {
            daemon.ok(&["tag", from, to]);
        }
        let running: Vec<_> = self.chores.iter().map(|chore| daemon.spawn(chore)).collect();
        let begun = Instant::now();
        // It looks when something comes; there may be nothing that it could remove.
        while self.moved.is_some() && !daemon.log()[logged..].contains("making room") && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_micros(100));
        }
        std::thread::sleep(self.moment);
        daemon.kill();
        // How each ended is chance.
        running.into_iter().for_each(|chore| interrupted.note(&chore.wait()));
        interrupted.note_collection(&daemon.log()[logged..]);
        daemon.start();
        if let Some(moment) = self.again {
            std::thread::sleep(moment);
            daemon.kill();
            daemon.start();
        }
    }
}

/// How long the daemon's own collection is waited for.
const PATIENCE: Duration = Duration::from_millis(300);

/// What was under way when the daemon was killed.
#[derive(Debug, Default)]
struct Interrupted {
    kills: usize,
    pulls: usize,
    tags: usize,
    removals: usize,
    prunes: usize,
    /// The daemon's own.
    collections: usize,
}

impl Interrupted {
    /// A client whose daemon died before it answered: not one that was answered, or that found no daemon any more.
    fn note(&mut self, chore: &Finished) {
        if !chore.stderr.contains("the daemon did not answer") && !chore.stderr.contains("broke") {
            return;
        }
        match chore.arguments[0].as_str() {
            "pull" => self.pulls += 1,
            "tag" => self.tags += 1,
            "rmi" => self.removals += 1,
            _ => self.prunes += 1,
        }
    }

    /// What the daemon has logged since its last start: a collection that began and did not end.
    fn note_collection(&mut self, log: &str) {
        let count = |words: &str| log.matches(words).count();
        self.collections += count("making room").saturating_sub(count("made room"));
    }

    /// Whether enough was hit for the test to mean something.
    fn is_telling(&self) -> bool {
        let least = self.kills / 30;
        [self.pulls, self.removals + self.prunes, self.collections].iter().all(|hit| *hit >= least)
    }
}

/// Nothing is broken, and nothing is there that no image needs once the daemon has swept after its start.
fn assert_whole(daemon: &Daemon) {
    let checked = daemon.corten(&["system", "check"]);
    assert!(checked.code == 0 && checked.stdout.contains("nothing is broken"), "{checked}");
    let begun = Instant::now();
    loop {
        let unreferenced = usage(daemon)["Store"]["Unreferenced"].clone();
        if unreferenced == 0 {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{unreferenced} bytes have leaked");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sixty times; by hand as often as `CORTEN_KILLS` says, with other chances by `CORTEN_SEED`. A failure names both, and
/// the chores and the moment of the kill.
#[test]
fn a_daemon_killed_while_it_pulls_removes_and_collects_leaves_the_store_whole() {
    let (kills, seed) = (number("CORTEN_KILLS").unwrap_or(60), number("CORTEN_SEED").unwrap_or(5));
    // No disk is as empty as this daemon wants it: it always makes room, too.
    let quota = ["--gc-threshold", "99%", "--log-level", "debug"];
    let daemon = quota.into_iter().fold(Daemon::builder(), testkit::daemon::Builder::argument).start();
    let root = daemon.path().join("registry");
    let registry =
        daemon.spawn(&["registry", "serve", "--listen", "127.0.0.1:5000", "--root", &root.to_string_lossy()]);
    let begun = Instant::now();
    while daemon.sandbox().run(|| TcpStream::connect("127.0.0.1:5000").is_err()) {
        assert!(begun.elapsed() < Duration::from_secs(20), "the registry does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    let images = [("a", vec![shared(), own(2)]), ("b", vec![shared(), own(3)]), ("c", vec![own(4)])];
    let names: Vec<String> = images.iter().map(|(name, _)| format!("127.0.0.1:5000/{name}:1")).collect();
    for (name, (_, layers)) in names.iter().zip(images) {
        load(&daemon, name, layers);
        daemon.ok(&["push", "-q", name]);
    }
    let draws = noise(kills * 4 * 6, u32::try_from(seed).expect("a small seed"));
    let mut interrupted = Interrupted { kills, ..Interrupted::default() };
    for (number, draw) in draws.chunks(6).enumerate() {
        if number >= kills && interrupted.is_telling() {
            break;
        }
        let mut round = Round::drawn(draw, &names);
        // A busy machine may need more of them, and later kills: clients take longer to begin there.
        round.moment *= u32::try_from(1 + number / kills).expect("a small number");
        let case = format!("CORTEN_SEED={seed} CORTEN_KILLS={kills}, kill {number}, {round:?}");
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            round.play(&daemon, &names, &mut interrupted);
            assert_whole(&daemon);
        }));
        assert!(played.is_ok(), "{case}: see above");
    }
    println!("{interrupted:?}");
    assert!(interrupted.is_telling(), "too little was under way: {interrupted:?}");
    for name in &names {
        daemon.ok(&["pull", "-q", name]);
    }
    daemon.ok(&["image", "prune", "-f"]);
    let checked = daemon.ok(&["system", "check"]);
    assert!(checked.contains("checked 3 images, 4 layers, 10 blobs"), "{checked}");
    for name in &names {
        daemon.ok(&["rmi", name]);
    }
    daemon.stop();
    daemon.start();
    for directory in ["content/blobs/sha256", "content/ingest", "layers"] {
        let left = fs::read_dir(daemon.path().join("data").join(directory)).expect("a directory");
        let left: Vec<_> = left.map(|entry| entry.expect("an entry").file_name()).collect();
        assert!(left.iter().all(|name| name == ".empty" || name == ".mount-points"), "{directory}: {left:?}");
    }
    registry.signal(rustix::process::Signal::TERM);
    // It has run since the beginning, which may be long ago.
    registry.wait_for(begun.elapsed() + Duration::from_secs(20)).ok();
}
