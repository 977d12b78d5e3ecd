// SPDX-License-Identifier: Apache-2.0
//! Two hundred megabytes through `json-file`: within its bound at every moment, in order, and whole for who follows.

use std::collections::BTreeSet;
use std::io::{BufReader, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use testkit::Daemon;

/// So many lines of so many bytes, the number first.
const LINES: usize = 50_000;
const LENGTH: usize = 4000;

/// A container that prints them when it is started.
fn create(daemon: &Daemon, name: &str, options: &[&str]) -> PathBuf {
    let text = "x".repeat(LENGTH - 7);
    let script =
        format!("read go; awk -v text={text} 'BEGIN {{ for (i = 0; i < {LINES}; i++) print i + 100000, text }}'");
    let log: Vec<&str> = options.iter().flat_map(|option| ["--log-opt", option]).collect();
    let create = ["create", "--name", name, "--network", "none", "--log-driver", "json-file"];
    daemon.ok(&[&create, &log[..], &["busybox", "sh", "-c", &script]].concat());
    daemon.inspect(name)["LogPath"].as_str().expect("a path").into()
}

/// Starts it, and waits for its end.
fn print(daemon: &Daemon, name: &str) {
    daemon.ok(&["start", name]);
    assert_eq!(daemon.ok(&["wait", name]), "0");
}

/// The files of a log by name, and how large they are together.
fn files(log: &Path) -> (BTreeSet<String>, u64) {
    let name = log.file_name().expect("a name").to_string_lossy().into_owned();
    let entries = std::fs::read_dir(log.parent().expect("a directory")).expect("a directory");
    let of_log = entries.filter_map(|entry| {
        let entry = entry.expect("an entry");
        let file = entry.file_name().to_string_lossy().into_owned();
        // It may be rotated away between the two looks.
        file.starts_with(&name).then(|| Some((file, entry.metadata().ok()?.len())))?
    });
    let (names, sizes): (BTreeSet<String>, Vec<u64>) = of_log.unzip();
    (names, sizes.iter().sum())
}

/// A log as the API gives it.
fn ask(daemon: &Daemon, name: &str, query: &str) -> BufReader<UnixStream> {
    let mut stream = UnixStream::connect(daemon.socket()).expect("a socket");
    // HTTP 1.0 has no chunks: after the head come the frames.
    write!(stream, "GET /containers/{name}/logs?stdout=1&stderr=1&{query} HTTP/1.0\r\n\r\n").expect("it is sent");
    let mut reader = BufReader::with_capacity(1 << 20, stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        reader.read_exact(&mut byte).expect("a head");
        head.extend(byte);
    }
    assert!(head.starts_with(b"HTTP/1.0 200"), "{}", String::from_utf8_lossy(&head));
    reader
}

/// The numbers of the lines that come.
fn numbers(mut log: impl Read) -> Vec<usize> {
    let (mut numbers, mut header, mut line) = (Vec::new(), [0; 8], Vec::new());
    while log.read_exact(&mut header).is_ok() {
        let [.., a, b, c, d] = header;
        line.resize(u32::from_be_bytes([a, b, c, d]) as usize, 0);
        log.read_exact(&mut line).expect("a whole frame");
        assert_eq!(
            (header[0], line.len()),
            (1, LENGTH + 1),
            "{}",
            String::from_utf8_lossy(&line[..line.len().min(200)])
        );
        let number = std::str::from_utf8(&line[..6]).expect("digits").parse::<usize>().expect("a number");
        numbers.push(number - 100_000);
    }
    numbers
}

#[test]
fn two_hundred_megabytes_stay_within_their_bound_and_in_order() {
    const BOUND: u64 = 30_000_000;
    let daemon = Daemon::with_busybox();
    let log = create(&daemon, "talker", &["max-size=10m", "max-file=3"]);
    let over = AtomicBool::new(false);
    let most = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !over.load(Ordering::Acquire) {
                most = most.max(files(&log).1);
                std::thread::yield_now();
            }
            most
        });
        print(&daemon, "talker");
        over.store(true, Ordering::Release);
        watcher.join().expect("it watches")
    });
    assert!(most > BOUND / 3 && most <= BOUND, "{most} bytes at once");
    let (names, size) = files(&log);
    assert_eq!((names.len(), size <= BOUND), (3, true), "{names:?} {size}");
    let numbers = numbers(ask(&daemon, "talker", "follow=0"));
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "no gap");
    assert!(numbers.len() > 20_000_000 / (LENGTH + 100) && numbers.last() == Some(&(LINES - 1)), "{}", numbers.len());
}

#[test]
fn who_follows_two_hundred_megabytes_across_rotations_misses_nothing() {
    let daemon = Daemon::with_busybox();
    let log = create(&daemon, "talker", &["max-size=10m", "max-file=25"]);
    let follower = ask(&daemon, "talker", "follow=1");
    let followed = std::thread::spawn(move || numbers(follower));
    print(&daemon, "talker");
    let followed = followed.join().expect("whole lines of the container's");
    assert!(followed.iter().copied().eq(0..LINES), "{} lines", followed.len());
    assert!(files(&log).0.len() > 20, "it was rotated all the while");
}
