// SPDX-License-Identifier: Apache-2.0
//! Servers of logs as they are in life: behind TLS, stalled, dying and coming back. None delays a container, and what is
//! lost is what the mode says.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use end_to_end::log_server::{acknowledge, listen, numbers, silent, stalled_server, tcp_server, tls_files, tls_server};
use testkit::Daemon;

const SYSLOG: [&str; 4] = ["--log-driver", "syslog", "--log-opt", "syslog-address=tcp://127.0.0.1:601"];

/// Makes a container with this log, and starts it in the background.
fn start(daemon: &Daemon, name: &str, log: &[&str], script: &str) {
    let arguments = ["run", "-d", "-i", "--name", name, "--network", "none"];
    daemon.ok(&[&arguments, log, &["busybox", "sh", "-c", script]].concat());
}

/// A script that prints so many lines of a thousand bytes, each with its number at the end.
fn lines(count: usize) -> String {
    let text = "x".repeat(990);
    format!("awk -v text={text} 'BEGIN {{ for (i = 1; i <= {count}; i++) print text, i }}'")
}

fn until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// How large the files of a container's log are together.
fn kept(daemon: &Daemon, name: &str) -> u64 {
    let id = daemon.ok(&["inspect", "--format", "{{.Id}}", name]);
    let entries = std::fs::read_dir(daemon.path().join("data/containers").join(id)).expect("a directory");
    let entries = entries.map(|entry| entry.expect("an entry"));
    let of_log = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("container.log"));
    // The shim may rotate one away.
    of_log.filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum()
}

/// Whether a new daemon would begin behind all that there is of a container's log.
fn is_remembered(daemon: &Daemon, name: &str) -> bool {
    let directory = daemon.path().join("data/containers").join(daemon.ok(&["inspect", "--format", "{{.Id}}", name]));
    let newest = std::fs::metadata(directory.join("container.log")).expect("the log").len();
    let cursor = std::fs::read_to_string(directory.join("log-cursor.json")).expect("it was written");
    let cursor: serde_json::Value = serde_json::from_str(&cursor).expect("JSON");
    cursor["offset"] == newest
}

/// The most memory that a process has had, in bytes.
fn peak(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// The messages that come each behind its length (RFC 5425).
fn counted(mut bytes: &[u8]) -> Vec<String> {
    let mut messages = Vec::new();
    while let Some(space) = bytes.iter().position(|byte| *byte == b' ') {
        let length = std::str::from_utf8(&bytes[..space]).expect("digits").parse::<usize>().expect("a length");
        let (message, rest) = bytes[space + 1..].split_at(length);
        messages.push(String::from_utf8(message.to_vec()).expect("UTF-8"));
        bytes = rest;
    }
    messages
}

#[test]
fn syslog_over_tls_goes_to_a_server_that_is_trusted_and_to_no_other() {
    let daemon = Daemon::with_busybox();
    let server = tls_server(daemon.sandbox(), 6514);
    let authority = |file: &str| format!("syslog-tls-ca-cert={}", tls_files().join(file).display());
    let log = |authority: &str| {
        ["syslog-address=tcp+tls://127.0.0.1:6514", "syslog-format=rfc5424", authority].iter().fold(
            vec!["--log-driver".to_owned(), "syslog".to_owned()],
            |mut all, option| {
                all.extend(["--log-opt".to_owned(), (*option).to_owned()]);
                all
            },
        )
    };
    let run = |name: &str, log: &[String]| {
        let log: Vec<&str> = log.iter().map(String::as_str).collect();
        start(&daemon, name, &log, "seq 1 1500; echo the-end");
        assert_eq!(daemon.ok(&["wait", name]), "0");
    };
    run("wrong", &log(&authority("ca2.pem")));
    until("the daemon says whom it does not trust, and why", || {
        let log = daemon.log();
        let said = log.lines().find(|line| line.contains("a log server takes no lines"));
        said.is_some_and(|line| line.contains("tcp+tls://127.0.0.1:6514") && line.contains("UnknownIssuer"))
    });
    assert_eq!(server.so_far(), b"", "to whom is not trusted nothing is said");
    assert_eq!(daemon.ok(&["logs", "--tail", "1", "wrong"]), "the-end");

    run("right", &log(&authority("ca.pem")));
    let messages = counted(&server.wait_for(b"- the-end").concat());
    let expected: Vec<u32> = (1..=1500).collect();
    assert_eq!(numbers(&messages.join("\n")), expected);
    assert!(messages.iter().all(|message| message.starts_with("<30>1 2")), "{}", messages[0]);

    let mistaken = log(&authority("server.key"));
    let mistaken: Vec<&str> = mistaken.iter().map(String::as_str).collect();
    daemon.fails(&[&["create"][..], &mistaken, &["busybox", "true"]].concat(), 125).saying("server.key");
}

#[test]
fn a_server_that_takes_nothing_delays_neither_containers_nor_their_end() {
    let daemon = Daemon::with_busybox();
    let (received, stall) = stalled_server(daemon.sandbox(), 601, silent);
    let (left_out, other_stall) = stalled_server(daemon.sandbox(), 602, silent);
    let before = peak(daemon.pid());
    // More than the connection and the log on this host hold together.
    let cache =
        ["--log-opt", "cache-max-size=1m", "--log-opt", "cache-max-file=3", "--log-opt", "cache-compress=false"];
    start(&daemon, "blocking", &[&SYSLOG[..], &cache].concat(), &format!("{}; echo the-end", lines(10_000)));
    assert_eq!(daemon.ok(&["wait", "blocking"]), "0");
    assert!(kept(&daemon, "blocking") <= 3_000_000, "{}", kept(&daemon, "blocking"));

    let address = ["--log-driver", "syslog", "--log-opt", "syslog-address=tcp://127.0.0.1:602"];
    let short = ["--log-opt", "mode=non-blocking", "--log-opt", "max-buffer-size=64k"];
    let script = format!("{}; echo the-end; exec sleep 600", lines(10_000));
    start(&daemon, "talker", &[address, short].concat(), &script);
    until("the container goes on", || daemon.ok(&["logs", "--tail", "1", "talker"]) == "the-end");
    let begun = Instant::now();
    daemon.ok(&["stop", "-t", "0", "talker"]);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let grown = peak(daemon.pid()) - before;
    assert!(grown < 32 << 20, "the daemon has grown by {grown} bytes");

    // When they go on they hear what there still is, and where something is missing.
    stall.end();
    other_stall.end();
    for (server, notice, last) in
        [(received, "log lines were rotated away", true), (left_out, "log lines were left out", false)]
    {
        let text = server.text(": the-end\n");
        let numbers = numbers(&text);
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{notice}: in order");
        // What is rotated away is the oldest. What finds a full buffer may be the first, before anything was sent, or the last
        // before the end, which comes a moment later.
        assert!(numbers.last() == Some(&10_000) || !last, "{notice}: {:?}", numbers.last());
        assert!(numbers.len() < 10_000 && text.contains(notice), "{notice}: {} lines", numbers.len());
    }
}

#[test]
fn what_a_server_had_not_acknowledged_is_sent_to_the_one_that_comes_after_it() {
    let daemon = Daemon::with_busybox();
    let listener = listen(daemon.sandbox(), 24224);
    let mortal = std::thread::spawn(move || {
        // It acknowledges the first lines, reads some of the next, and is gone.
        let (mut stream, _) = listener.accept().expect("a connection");
        let (mut read, mut part) = (Vec::new(), vec![0; 64 << 10]);
        let answer = loop {
            let count = stream.read(&mut part).expect("bytes");
            read.extend_from_slice(&part[..count]);
            if let Some(answer) = acknowledge(&read) {
                break answer;
            }
        };
        stream.write_all(&answer).expect("it is sent");
        assert!(stream.read(&mut part[..100]).expect("the next lines") > 0);
        read
    });
    let log = ["--log-driver", "fluentd", "--log-opt", "fluentd-request-ack=true", "--log-opt"];
    let script = "seq 1 1000; read go; seq 1001 2000";
    start(&daemon, "talker", &[&log[..], &["fluentd-retry-wait=50ms"]].concat(), script);
    let acknowledged = mortal.join().expect("it read what it was sent");
    // While there is no server the container writes on, and ends.
    daemon.spawn_with(&["attach", "talker"], b"go\n", &[]).wait().ok();
    assert_eq!(daemon.ok(&["wait", "talker"]), "0");
    let server = tcp_server(daemon.sandbox(), 24224, acknowledge);
    let rest = server.wait_for(b"\xa3log\xa42000").concat();
    let all: Vec<u32> = [acknowledged, rest].iter().flat_map(|sent| logged(sent)).collect();
    assert_eq!(all, (1..=2000).collect::<Vec<u32>>(), "each once, and in order");
}

/// The numbers among the lines of a forward protocol's records.
fn logged(sent: &[u8]) -> Vec<u32> {
    let key = b"\xa3log";
    let places = sent.windows(key.len()).enumerate().filter(|(_, window)| window == key).map(|(at, _)| at + key.len());
    let lines = places.filter_map(|at| sent.get(at + 1..at + 1 + usize::from(sent[at] & 0x1f)));
    lines.filter_map(|line| std::str::from_utf8(line).ok()?.parse().ok()).collect()
}

#[test]
fn with_cache_disabled_nothing_stays_of_what_was_sent() {
    let daemon = Daemon::with_busybox();
    let server = tcp_server(daemon.sandbox(), 601, silent);
    let log =
        ["--log-opt", "cache-disabled=true", "--log-opt", "cache-max-size=100k", "--log-opt", "cache-max-file=30"];
    start(&daemon, "talker", &[&SYSLOG[..], &log].concat(), &format!("{}; echo the-end", lines(2000)));
    let text = server.text(": the-end\n");
    assert_eq!(numbers(&text), (1..=2000).collect::<Vec<u32>>());
    until("the files are emptied", || kept(&daemon, "talker") <= 100_000);
    // Of what was sent last this daemon may not know yet that it was: another one would send it again.
    until("it is remembered", || is_remembered(&daemon, "talker"));
    daemon.fails(&["logs", "talker"], 1).saying("cache-disabled");
    // The next daemon goes on where this one stopped.
    daemon.kill();
    daemon.start();
    daemon.ok(&["start", "talker"]);
    let ends = |all: &[u8]| String::from_utf8_lossy(all).matches(": the-end\n").count();
    let both = server.wait_until(|all| ends(all) == 2).concat();
    assert_eq!(numbers(&String::from_utf8_lossy(&both)), (1..=2000).chain(1..=2000).collect::<Vec<u32>>());
}
