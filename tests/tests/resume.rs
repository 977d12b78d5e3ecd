// SPDX-License-Identifier: Apache-2.0
//! A pull that is interrupted, by whatever, goes on where it stopped.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// A registry of one image that falls silent in the middle of large blobs until it is told to go on.
struct Halting {
    name: String,
    stalls: Arc<AtomicBool>,
    /// The first byte of each answer for the large layer.
    asked: Arc<Mutex<Vec<usize>>>,
}

impl Halting {
    fn start(daemon: &Daemon, layout: &Path) -> Halting {
        let listener = daemon.sandbox().run(|| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let name = format!("{}/large", listener.local_addr().expect("an address"));
        let (stalls, asked) = (Arc::new(AtomicBool::new(true)), Arc::default());
        let content = Arc::new(content(layout));
        let (stalling, noting) = (Arc::clone(&stalls), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (content, stalls, asked) = (Arc::clone(&content), Arc::clone(&stalling), Arc::clone(&noting));
                // A client that hangs up is part of the play.
                std::thread::spawn(move || serve(stream, &content, &stalls, &asked).is_ok());
            }
        });
        Halting { name, stalls, asked }
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

fn serve(
    mut stream: TcpStream,
    content: &HashMap<String, Vec<u8>>,
    stalls: &AtomicBool,
    asked: &Mutex<Vec<usize>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let (mut path, mut from) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(rest) = line.strip_prefix("GET ") {
                path = rest.split(' ').next().unwrap_or_default().to_owned();
            }
            if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
                from = range.trim().trim_end_matches('-').parse().unwrap_or(0);
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let Some(body) = content.get(path.rsplit('/').next().unwrap_or_default()) else {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
            continue;
        };
        let rest = &body[from..];
        let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
        let range = format!("content-range: bytes {from}-{}/{}\r\n", body.len() - 1, body.len());
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{range}\r\n", rest.len())?;
        if body.len() < SENT {
            stream.write_all(rest)?;
            continue;
        }
        asked.lock().expect("no panic").push(from);
        let sent = if stalls.load(Ordering::Relaxed) { SENT.min(rest.len()) } else { rest.len() };
        stream.write_all(&rest[..sent])?;
        while sent < rest.len() && stalls.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn noise() -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(SIZE).collect()
}

/// Waits until a partial blob of this many bytes is in the daemon's store.
fn wait_for_partial(daemon: &Daemon, bytes: usize) {
    let begun = Instant::now();
    let largest = || {
        let entries =
            fs::read_dir(daemon.path().join("data/content/ingest")).into_iter().flatten().filter_map(Result::ok);
        entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).max().unwrap_or(0)
    };
    while largest() < bytes as u64 {
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing arrives: {} bytes\n{}", largest(), daemon.log());
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

#[test]
fn a_pull_goes_on_where_a_killed_daemon_and_a_client_that_left_stopped() {
    let daemon = Daemon::builder().start();
    let layout = daemon.path().join("layout");
    Image::default()
        .layer(busybox::bytes(), Form::Gzip)
        .layer(Layer::default().file_with_mode("noise", 0o644, &noise()).tar(), Form::Plain)
        .config(serde_json::json!({"Cmd": ["wc", "-c", "/noise"]}))
        .write(&layout);
    let registry = Halting::start(&daemon, &layout);
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

    registry.stalls.store(false, Ordering::Relaxed);
    wait_until_nobody_writes(&daemon);
    daemon.ok(&["pull", &registry.name]);
    assert_eq!(daemon.ok(&["run", "--rm", &registry.name]), format!("{SIZE} /noise"));
    let asked = registry.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(asked[0] == 0 && asked[1] >= SENT - (1 << 20) && asked[2] >= 2 * SENT - (2 << 20), "{asked:?}");
    let left = fs::read_dir(daemon.path().join("data/content/ingest")).unwrap().count();
    assert_eq!(left, 0, "nothing partial stays of what is whole");
}
