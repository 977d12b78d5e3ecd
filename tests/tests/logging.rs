// SPDX-License-Identifier: Apache-2.0
//! Log drivers: what is on disk, what `logs` reads back of it, and what of it arrives elsewhere.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testkit::Daemon;

/// Runs a container with this log to its end.
fn run(daemon: &Daemon, name: &str, log: &[&str], script: &str) {
    let arguments = [&["run", "--name", name, "--network", "none"], log, &["busybox", "sh", "-c", script]].concat();
    daemon.ok(&arguments);
}

fn log_path(daemon: &Daemon, name: &str) -> PathBuf {
    daemon.inspect(name)["LogPath"].as_str().expect("a path").into()
}

/// The files of a container's log, and how large they are together.
fn log_files(newest: &Path) -> (Vec<String>, u64) {
    let stem = newest.file_name().expect("a name").to_string_lossy().into_owned();
    let entries = std::fs::read_dir(newest.parent().expect("a directory")).expect("a directory");
    let found = entries.map(|entry| entry.expect("an entry")).filter_map(|entry| {
        let name = entry.file_name().into_string().expect("a name");
        name.starts_with(&stem).then(|| (name[stem.len()..].to_owned(), entry.metadata().expect("a file").len()))
    });
    let (mut names, sizes): (Vec<String>, Vec<u64>) = found.unzip();
    names.sort();
    (names, sizes.iter().sum())
}

/// Asks for something over HTTP and leaves the answer unread.
fn ask(daemon: &Daemon, path: &str) -> UnixStream {
    let mut stream = UnixStream::connect(daemon.socket()).expect("a socket");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it is sent");
    stream
}

#[test]
fn json_file_has_dockers_lines_and_logs_tells_their_details() {
    let daemon = Daemon::with_busybox();
    let log = ["--log-driver", "json-file", "--log-opt", "labels=team,none", "--log-opt", "env=STAGE", "--log-opt"];
    let tag = ["tag={{.Name}}/{{.ImageName}}", "--label", "team=a b", "-e", "STAGE=test", "-e", "OTHER=1"];
    run(&daemon, "one", &[&log[..], &tag].concat(), "echo out; echo 'a \"quoted\" <error>' >&2");
    let path = log_path(&daemon, "one");
    let lines: Vec<Value> = std::fs::read_to_string(&path)
        .expect("the log")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let attrs = json!({"team": "a b", "STAGE": "test", "tag": "one/busybox"});
    let of = |stream: &str| lines.iter().find(|line| line["stream"] == stream).expect("a line");
    assert_eq!((&of("stdout")["log"], &of("stdout")["attrs"]), (&json!("out\n"), &attrs));
    assert_eq!((&of("stderr")["log"], lines.len()), (&json!("a \"quoted\" <error>\n"), 2));
    let config = &daemon.inspect("one")["HostConfig"]["LogConfig"];
    assert_eq!((&config["Type"], &config["Config"]["env"]), (&json!("json-file"), &json!("STAGE")));

    let details = daemon.ok(&["logs", "--details", "one"]);
    assert_eq!(details, "STAGE=test,tag=one%2Fbusybox,team=a+b out", "of standard output");
    let stamped = daemon.ok(&["logs", "--details", "-t", "one"]);
    assert_eq!(stamped, format!("{} {details}", of("stdout")["time"].as_str().expect("a time")));
}

#[test]
fn a_container_without_a_log_speaks_to_who_listens() {
    let daemon = Daemon::with_busybox();
    let heard = daemon.ok(&["run", "--name", "mute", "--log-driver", "none", "busybox", "echo", "heard"]);
    assert_eq!((heard.as_str(), &daemon.inspect("mute")["LogPath"]), ("heard", &json!("")));
    daemon.fails(&["logs", "mute"], 1).saying("log driver is none");
    let mut answer = String::new();
    ask(&daemon, "/containers/mute/logs?stdout=1").read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 501 "), "{answer}");
}

#[test]
fn options_are_checked_before_anything_is_made() {
    let daemon = Daemon::with_busybox();
    for (log, said) in [
        (["--log-driver", "paper"].as_slice(), "paper"),
        (&["--log-opt", "max-sise=1m"], "max-sise"),
        (&["--log-opt", "max-size=much"], "max-size"),
        (&["--log-opt", "labels-regex=^a"], "labels-regex"),
        (&["--log-driver", "none", "--log-opt", "tag=x"], "tag"),
        (&["--log-opt", "tag={{.Secret}}"], "Secret"),
    ] {
        daemon.fails(&[&["create"], log, &["busybox", "true"]].concat(), 125).saying(said);
    }
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
}

#[test]
fn the_daemon_has_a_default_which_later_ones_do_not_change() {
    let daemon = Daemon::builder().argument("--log-driver=local").argument("--log-opt=max-size=5m").start();
    daemon.import_busybox();
    assert_eq!(daemon.ok(&["info", "--format", "{{.LoggingDriver}}"]), "local");
    assert!(daemon.ok(&["info", "--format", "{{json .Plugins.Log}}"]).contains("json-file"));
    daemon.ok(&["create", "--name", "as-usual", "busybox", "true"]);
    daemon.ok(&["create", "--name", "own", "--log-opt", "max-file=2", "busybox", "true"]);
    daemon.ok(&["create", "--name", "other", "--log-driver", "json-file", "busybox", "true"]);
    let config = |name| daemon.inspect(name)["HostConfig"]["LogConfig"].clone();
    assert_eq!(config("as-usual"), json!({"Type": "local", "Config": {"max-size": "5m"}}));
    assert_eq!(config("own"), json!({"Type": "local", "Config": {"max-size": "5m", "max-file": "2"}}));
    assert_eq!(config("other"), json!({"Type": "json-file", "Config": {}}));
}

#[test]
fn rotated_and_compressed_files_are_read_as_one_and_stay_within_their_bound() {
    let daemon = Daemon::with_busybox();
    for (name, options) in [
        ("plain", ["--log-opt", "max-size=50k", "--log-opt", "max-file=4"].as_slice()),
        ("packed", &["--log-driver", "local", "--log-opt", "max-size=50k", "--log-opt", "max-file=4"]),
    ] {
        run(&daemon, name, options, "seq 1 5000; echo no newline at the end of this >&2; printf the-end");
        let (files, size) = log_files(&log_path(&daemon, name));
        let suffix = if name == "packed" { ".gz" } else { "" };
        // The last one to be rotated may still be on its way to its compressed form.
        let older = [2, 3].map(|age| format!(".{age}{suffix}"));
        assert!(
            files.ends_with(&older)
                && files.iter().all(|file| file.starts_with(".1") || older.contains(file) || file.is_empty()),
            "{name}: {files:?}"
        );
        assert!(size <= 200_000, "{name}: {size}");
        let all = daemon.ok(&["logs", name]);
        let numbers: Vec<u32> = all.lines().filter_map(|line| line.parse().ok()).collect();
        assert!(numbers.len() > 1500 && numbers.len() < 5000, "{name}: {}", numbers.len());
        assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]) && numbers.ends_with(&[5000]), "{name}");
        assert!(all.ends_with("\nthe-end"), "{name}");

        let last = daemon.ok(&["logs", "--tail", "1500", name]);
        // One of them went to the standard error output.
        assert_eq!((last.lines().count(), last.lines().next()), (1499, Some("3503")), "{name}");
        let stamped = daemon.ok(&["logs", "-t", name]);
        let time_of = |number: &str| {
            let line = stamped.lines().find(|line| line.split(' ').nth(1) == Some(number)).expect("the line");
            line.split(' ').next().expect("a time").to_owned()
        };
        let (since, until) = (time_of("4000"), time_of("4999"));
        let between = daemon.ok(&["logs", "--since", &since, "--until", &until, name]);
        assert_eq!((between.lines().next(), between.lines().last()), (Some("4000"), Some("4999")), "{name}");
        assert_eq!(between.lines().count(), 1000, "{name}");
    }
}

#[test]
fn a_follower_loses_nothing_over_many_rotations() {
    let daemon = Daemon::with_busybox();
    for driver in ["json-file", "local"] {
        let log = ["--log-driver", driver, "--log-opt", "max-size=10k", "--log-opt", "max-file=200"];
        let script = "read go; seq 1 8000";
        let create = [&["create", "-i", "--name", driver], &log[..], &["busybox", "sh", "-c", script]].concat();
        daemon.ok(&create);
        daemon.ok(&["start", driver]);
        let follower = daemon.spawn(&["logs", "-f", driver]);
        let attached = daemon.spawn_with(&["attach", driver], b"go\n", &[]);
        let expected: String = (1..=8000).map(|number| format!("{number}\n")).collect();
        assert_eq!(follower.wait().ok().text(), expected.trim_end(), "{driver}");
        attached.wait().ok();
        assert!(log_files(&log_path(&daemon, driver)).0.len() > 20, "{driver}");
    }
}

#[test]
fn readers_who_do_not_read_hold_up_nobody() {
    let daemon = Daemon::with_busybox();
    // More than there are threads for work that blocks: they wait for a container that says nothing.
    daemon.ok(&["run", "-d", "--name", "quiet", "busybox", "sleep", "600"]);
    let waiting: Vec<UnixStream> = (0..560).map(|_| ask(&daemon, "/containers/quiet/logs?stdout=1&follow=1")).collect();
    let script = "seq 1 50000; read go; seq 1 50000";
    daemon.ok(&["run", "-d", "-i", "--name", "talker", "busybox", "sh", "-c", script]);
    let stalled: Vec<UnixStream> = (0..4).map(|_| ask(&daemon, "/containers/talker/logs?stdout=1&follow=1")).collect();
    daemon.spawn_with(&["attach", "talker"], b"go\n", &[]).wait().ok();
    assert_eq!(daemon.ok(&["wait", "talker"]), "0");
    assert_eq!(daemon.ok(&["run", "--rm", "busybox", "echo", "served"]), "served");
    // Whoever reads late after all misses nothing.
    for mut late in stalled {
        let mut answer = Vec::new();
        late.read_to_end(&mut answer).expect("an answer");
        assert_eq!(String::from_utf8_lossy(&answer).matches("\u{6}50000\n").count(), 2, "{}", answer.len());
    }
    daemon.ok(&["kill", "quiet"]);
    for mut reader in waiting {
        let mut answer = String::new();
        reader.read_to_string(&mut answer).expect("an answer");
        assert!(answer.ends_with("\r\n0\r\n\r\n"), "the end comes to each: {answer}");
    }
}
