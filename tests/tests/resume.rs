// SPDX-License-Identifier: Apache-2.0
//! A pull that is interrupted, by whatever, goes on where it stopped.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::Daemon;
use testkit::fixtures::busybox;
use testkit::fixtures::debian::Form;
use testkit::fixtures::image::{Image, Layer};

/// The large layer's noise, in bytes.
const SIZE: usize = 12 << 20;
/// How much of a blob is sent before the registry falls silent.
const SENT: usize = 5 << 20;

/// What a registry that limits its connections sends at once, and how often: 13 MB in a second.
const TRICKLE: (usize, Duration) = (64 << 10, Duration::from_millis(5));

/// A registry of one image that falls silent in the middle of large blobs until it is told to go on, or is slow.
struct Halting {
    name: String,
    manner: Arc<Manner>,
}

/// How it behaves, and what it was asked for.
#[derive(Default)]
struct Manner {
    stalls: AtomicBool,
    /// Whether each connection is slow.
    trickles: AtomicBool,
    /// Of each request for the large layer the first byte, and the last one where it says one.
    asked: Mutex<Vec<(usize, Option<usize>)>>,
    /// Bytes of the large layer that were taken.
    sent: AtomicUsize,
}

impl Halting {
    fn start(daemon: &Daemon, layout: &Path, manner: Manner) -> Halting {
        let listener = daemon.sandbox().run(|| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let name = format!("{}/large", listener.local_addr().expect("an address"));
        let (content, manner) = (Arc::new(content(layout)), Arc::new(manner));
        let behaving = Arc::clone(&manner);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (content, manner) = (Arc::clone(&content), Arc::clone(&behaving));
                // A client that hangs up is part of the play.
                std::thread::spawn(move || serve(stream, &content, &manner).is_ok());
            }
        });
        Halting { name, manner }
    }
}

/// What the last part of a path stands for: a digest, or the tag.
fn content(layout: &Path) -> HashMap<String, Vec<u8>> {
    let blobs = fs::read_dir(layout.join("blobs/sha256")).expect("a layout").filter_map(Result::ok);
    let mut content: HashMap<String, Vec<u8>> = blobs
        .map(|entry| {
            (format!("sha256:{}", entry.file_name().to_string_lossy()), fs::read(entry.path()).expect("a blob"))
        })
        .collect();
    let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).expect("an index")).expect("JSON");
    let manifest = content[index["manifests"][0]["digest"].as_str().expect("a digest")].clone();
    content.insert("latest".to_owned(), manifest);
    content
}

fn serve(mut stream: TcpStream, content: &HashMap<String, Vec<u8>>, manner: &Manner) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let (mut path, mut from, mut last) = (String::new(), 0, None);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(rest) = line.strip_prefix("GET ") {
                path = rest.split(' ').next().unwrap_or_default().to_owned();
            }
            if let Some((first, end)) =
                line.to_lowercase().strip_prefix("range: bytes=").and_then(|r| r.split_once('-'))
            {
                (from, last) = (first.parse().expect("a number"), end.trim().parse::<usize>().ok());
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let Some(body) = content.get(path.rsplit('/').next().unwrap_or_default()) else {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
            continue;
        };
        let rest = &body[from..last.map_or(body.len(), |last| last + 1)];
        let status = if rest.len() < body.len() { "206 Partial Content" } else { "200 OK" };
        let range = format!("content-range: bytes {from}-{}/{}\r\n", from + rest.len() - 1, body.len());
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{range}\r\n", rest.len())?;
        if body.len() < SENT {
            stream.write_all(rest)?;
            continue;
        }
        manner.asked.lock().expect("no panic").push((from, last));
        if manner.trickles.load(Ordering::Relaxed) {
            for piece in rest.chunks(TRICKLE.0) {
                std::thread::sleep(TRICKLE.1);
                stream.write_all(piece)?;
                manner.sent.fetch_add(piece.len(), Ordering::Relaxed);
            }
            continue;
        }
        let stalls = &manner.stalls;
        let sent = if stalls.load(Ordering::Relaxed) { SENT.min(rest.len()) } else { rest.len() };
        stream.write_all(&rest[..sent])?;
        while sent < rest.len() && stalls.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn noise(size: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(size).collect()
}

/// Bytes of the largest partial blob in the daemon's store.
fn partial(daemon: &Daemon) -> usize {
    let entries = fs::read_dir(daemon.path().join("data/content/ingest")).into_iter().flatten().filter_map(Result::ok);
    let largest = entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).max();
    usize::try_from(largest.unwrap_or(0)).expect("it fits")
}

/// Waits until a partial blob of this many bytes is in the daemon's store.
fn wait_for_partial(daemon: &Daemon, bytes: usize) {
    let begun = Instant::now();
    while partial(daemon) < bytes {
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing arrives: {}\n{}", partial(daemon), daemon.log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until the daemon has let go of the blob that a client left.
fn wait_until_nobody_writes(daemon: &Daemon) {
    let begun = Instant::now();
    let is_free = |path: &Path| {
        // One that is gone is nobody's.
        let Ok(file) = fs::File::open(path) else { return true };
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared).is_ok()
    };
    for entry in fs::read_dir(daemon.path().join("data/content/ingest")).expect("a store").filter_map(Result::ok) {
        while !is_free(&entry.path()) {
            assert!(begun.elapsed() < Duration::from_secs(10), "the pull goes on without its client");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// An image with a large layer that cannot be compressed, which counts its bytes.
fn large_image(daemon: &Daemon, size: usize) -> PathBuf {
    let layout = daemon.path().join("layout");
    Image::default()
        .layer(busybox::bytes(), Form::Gzip)
        .layer(Layer::default().file_with_mode("noise", 0o644, &noise(size)).tar(), Form::Plain)
        .config(serde_json::json!({"Cmd": ["wc", "-c", "/noise"]}))
        .write(&layout);
    layout
}

#[test]
fn a_pull_goes_on_where_a_killed_daemon_and_a_client_that_left_stopped() {
    let daemon = Daemon::builder().start();
    let layout = large_image(&daemon, SIZE);
    let registry = Halting::start(&daemon, &layout, Manner { stalls: true.into(), ..Manner::default() });
    let pull = daemon.spawn(&["pull", &registry.name]);
    wait_for_partial(&daemon, SENT - (1 << 20));
    daemon.kill();
    pull.wait().fails(1);
    daemon.start();
    assert_eq!(daemon.ok(&["images", "-q"]), "");

    let pull = daemon.spawn(&["pull", &registry.name]);
    wait_for_partial(&daemon, 2 * SENT - (2 << 20));
    pull.signal(rustix::process::Signal::INT);
    pull.wait();

    registry.manner.stalls.store(false, Ordering::Relaxed);
    wait_until_nobody_writes(&daemon);
    daemon.ok(&["pull", &registry.name]);
    assert_eq!(daemon.ok(&["run", "--rm", &registry.name]), format!("{SIZE} /noise"));
    let asked: Vec<usize> = registry.manner.asked.lock().unwrap().iter().map(|(from, _)| *from).collect();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(asked[0] == 0 && asked[1] >= SENT - (1 << 20) && asked[2] >= 2 * SENT - (2 << 20), "{asked:?}");
    let left = fs::read_dir(daemon.path().join("data/content/ingest")).unwrap().count();
    assert_eq!(left, 0, "nothing partial stays of what is whole");
}

#[test]
fn a_pull_by_ranges_side_by_side_goes_on_where_a_killed_daemon_stopped() {
    /// Bytes of the layer, and of it before the kill: so much that ranges are under way, and worth it again afterwards.
    const LARGE: (usize, usize) = (64 << 20, 20 << 20);
    /// What a connection that is given up may have sent meanwhile.
    const IN_BUFFERS: usize = 3 << 20;
    let daemon = Daemon::builder().start();
    let layout = large_image(&daemon, LARGE.0);
    let registry = Halting::start(&daemon, &layout, Manner { trickles: true.into(), ..Manner::default() });
    let by_ranges = || {
        let asked = registry.manner.asked.lock().unwrap().clone();
        (asked.iter().filter(|(_, last)| last.is_some()).count(), asked)
    };
    let pull = daemon.spawn(&["pull", &registry.name]);
    wait_for_partial(&daemon, LARGE.1);
    daemon.kill();
    pull.wait().fails(1);
    assert!(by_ranges().0 >= 4, "{:?}", by_ranges());
    let stored = partial(&daemon);
    // What the killed daemon's connections still take counts as theirs.
    std::thread::sleep(Duration::from_millis(200));
    registry.manner.asked.lock().unwrap().clear();
    registry.manner.sent.store(0, Ordering::Relaxed);
    daemon.start();

    daemon.ok(&["pull", &registry.name]);
    let (ranges, asked) = by_ranges();
    assert!(ranges >= 4, "side by side again: {asked:?}");
    assert_eq!(asked.iter().map(|(from, _)| *from).min(), Some(stored), "{asked:?}");
    let sent = registry.manner.sent.load(Ordering::Relaxed);
    let missing = LARGE.0 + 2048 - stored;
    assert!((LARGE.0 - stored..missing + IN_BUFFERS).contains(&sent), "{sent} bytes for {missing}: {asked:?}");
    assert_eq!(daemon.ok(&["run", "--rm", &registry.name]), format!("{} /noise", LARGE.0));
    assert!(daemon.ok(&["system", "check"]).contains("nothing is broken"));
}
