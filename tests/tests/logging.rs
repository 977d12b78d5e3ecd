// SPDX-License-Identifier: Apache-2.0
//! Log drivers: what is on disk, what `logs` reads back of it, and what of it arrives elsewhere.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use end_to_end::log_server::{acknowledge, datagrams, numbers, silent, tcp_server, udp_server};
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
        let suffix = name.strip_prefix(&stem)?;
        // It may have been compressed, or rotated away, since it was listed.
        Some((suffix.to_owned(), entry.metadata().ok()?.len()))
    });
    let (mut names, sizes): (Vec<String>, Vec<u64>) = found.unzip();
    names.sort();
    (names, sizes.iter().sum())
}

#[track_caller]
fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
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
    let log = ["--log-driver", "json-file", "--log-opt", "labels-regex=^te.m$", "--log-opt", "env=STAGE", "--log-opt"];
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
        (&["--log-opt", "labels-regex=^(a"], "labels-regex"),
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

const TALK: &str = "seq 1 700; echo oops >&2; echo the-end";

/// Whether what was sent has all of these: which of two streams is read first nobody says.
fn has_all(sent: &[u8], words: &[&[u8]]) -> bool {
    words.iter().all(|word| sent.windows(word.len()).any(|window| window == *word))
}

/// Every driver: all lines arrive, in order, and `logs` reads them here all the same.
#[track_caller]
fn talks(daemon: &Daemon, name: &str, options: &[&str]) {
    let log: Vec<&str> = options.iter().flat_map(|option| ["--log-opt", option]).collect();
    let (driver, _) = name.split_once('-').unwrap_or((name, ""));
    run(daemon, name, &[&["--log-driver", driver][..], &log].concat(), TALK);
    let expected: String = (1..=700).map(|number| format!("{number}\n")).collect();
    assert_eq!(daemon.ok(&["logs", name]), expected + "the-end", "{name}");
    assert_eq!(daemon.inspect(name)["LogPath"], "", "{name}");
}

#[test]
fn syslog_has_every_line_over_tcp_udp_and_unix_sockets() {
    let daemon = Daemon::with_busybox();
    let of = |messages: Vec<String>, name: &str| {
        let numbers: Vec<&str> =
            messages.iter().filter(|m| m.starts_with("<134>1 ")).map(|m| m.rsplit(' ').next().expect("text")).collect();
        let expected: Vec<String> = (1..=700).map(|number| number.to_string()).chain(["the-end".to_owned()]).collect();
        assert_eq!(numbers, expected, "{name}");
        let oops = messages.iter().find(|m| m.ends_with(" - oops")).expect("of standard error");
        assert!(oops.starts_with("<131>1 20") && oops.contains(&format!(" {name}/busybox ")), "{oops}");
    };
    let common = ["syslog-format=rfc5424micro", "syslog-facility=local0", "tag={{.Name}}/{{.ImageName}}"];
    let tcp = tcp_server(daemon.sandbox(), 601, silent);
    talks(&daemon, "syslog-tcp", &[&common[..], &["syslog-address=tcp://127.0.0.1:601"]].concat());
    let text = tcp.wait_until(|all| has_all(all, &[b"- the-end\n", b"- oops\n"])).concat();
    of(String::from_utf8(text).expect("UTF-8").lines().map(str::to_owned).collect(), "syslog-tcp");

    let udp = udp_server(daemon.sandbox(), 514);
    talks(&daemon, "syslog-udp", &[&common[..], &["syslog-address=udp://127.0.0.1"]].concat());
    let each =
        |messages: Vec<Vec<u8>>| messages.into_iter().map(|m| String::from_utf8(m).expect("UTF-8")).collect::<Vec<_>>();
    let both: [&[u8]; 2] = [b"- the-end", b"- oops"];
    of(each(udp.wait_until(|all| has_all(all, &both))), "syslog-udp");

    let path = daemon.path().join("log.sock");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    let unix = datagrams(move |message| socket.recv(message));
    talks(&daemon, "syslog-unix", &[&common[..], &[&format!("syslog-address=unixgram://{}", path.display())]].concat());
    of(each(unix.wait_until(|all| has_all(all, &both))), "syslog-unix");
}

#[test]
fn gelf_has_every_line_over_tcp_and_udp() {
    let daemon = Daemon::with_busybox();
    let check = |messages: Vec<Value>, name: &str| {
        let lines: Vec<&str> =
            messages.iter().filter(|m| m["level"] == 6).filter_map(|m| m["short_message"].as_str()).collect();
        assert_eq!((lines.len(), lines[0], lines[699], lines[700]), (701, "1", "700", "the-end"), "{name}");
        let oops = messages.iter().find(|m| m["short_message"] == "oops").expect("of standard error");
        let said =
            ["version", "_container_name", "_image_name", "_STAGE"].map(|field| oops[field].as_str().unwrap_or(""));
        assert_eq!((said, &oops["level"]), (["1.1", name, "busybox", ""], &json!(3)));
        assert!(oops["timestamp"].as_f64().is_some_and(|time| time > 1.7e9), "{oops}");
    };
    let tcp = tcp_server(daemon.sandbox(), 12201, silent);
    talks(&daemon, "gelf-tcp", &["gelf-address=tcp://127.0.0.1:12201"]);
    let both: [&[u8]; 2] = [b"\"the-end\"", b"\"oops\""];
    let all = tcp.wait_until(|all| all.ends_with(b"\0") && has_all(all, &both)).concat();
    let messages = all.split(|byte| *byte == 0).filter(|message| !message.is_empty());
    check(messages.map(|message| serde_json::from_slice(message).expect("JSON")).collect(), "gelf-tcp");

    let udp = udp_server(daemon.sandbox(), 12201);
    talks(&daemon, "gelf-udp", &["gelf-address=udp://127.0.0.1:12201", "gelf-compression-type=none"]);
    let messages = udp.wait_until(|all| has_all(all, &both));
    check(messages.iter().map(|message| serde_json::from_slice(message).expect("JSON")).collect(), "gelf-udp");
}

#[test]
fn fluentd_acknowledges_every_line_and_journald_has_its_fields() {
    let daemon = Daemon::with_busybox();
    let fluentd = tcp_server(daemon.sandbox(), 24224, acknowledge);
    talks(&daemon, "fluentd", &["fluentd-request-ack=true", "fluentd-sub-second-precision=true"]);
    let all = fluentd.wait_until(|all| has_all(all, &[b"\xa3log\xa7the-end", b"\xa3log\xa4oops"])).concat();
    let count = |bytes: &[u8]| all.windows(bytes.len()).filter(|window| *window == bytes).count();
    assert_eq!((count(b"\xa6source\xa6stdout"), count(b"\xa6source\xa6stderr\xa3log\xa4oops")), (701, 1));
    assert_eq!((count(b"\xa3log\xa3700"), count(b"container_name\xa8/fluentd")), (1, 702));

    // The journal of the daemon's own machine.
    let run = Path::new("/run");
    let socket = daemon.sandbox().run(move || {
        mount("tmpfs", run, "tmpfs", MountFlags::empty(), None).expect("a tmpfs");
        std::fs::create_dir_all(run.join("systemd/journal")).expect("a directory");
        UnixDatagram::bind(run.join("systemd/journal/socket")).expect("a socket")
    });
    let journal = datagrams(move |message| socket.recv(message));
    talks(&daemon, "journald", &["tag=it"]);
    let entries = journal.wait_until(|all| has_all(all, &[b"MESSAGE=the-end\n", b"MESSAGE=oops\n"]));
    daemon.sandbox().run(move || unmount(run, UnmountFlags::DETACH).expect("it was mounted"));
    let entries: Vec<String> = entries.into_iter().map(|entry| String::from_utf8(entry).expect("UTF-8")).collect();
    assert_eq!(entries.len(), 702);
    let oops = entries.iter().find(|entry| entry.starts_with("MESSAGE=oops\nPRIORITY=3\n")).expect("of standard error");
    assert!(oops.contains("\nCONTAINER_NAME=journald\n") && oops.contains("\nSYSLOG_IDENTIFIER=it\n"), "{oops}");
    let first = entries.iter().find(|entry| entry.contains("\nPRIORITY=6\n")).expect("of standard output");
    assert!(first.starts_with("MESSAGE=1\nPRIORITY=6\n"), "{first}");
}

#[test]
fn a_dead_server_and_a_killed_daemon_lose_no_line() {
    let daemon = Daemon::with_busybox();
    let log = [
        "--log-driver",
        "syslog",
        "--log-opt",
        "syslog-address=tcp://127.0.0.1:601",
        "--log-opt",
        "cache-max-size=30k",
    ];
    // Nobody listens yet: the container does not notice. Its log is rotated meanwhile.
    let script = "seq 1 1000; read go; seq 1001 2000; echo the-end; read go; echo over";
    let create = [&["run", "-d", "-i", "--name", "talker"], &log[..], &["busybox", "sh", "-c", script]].concat();
    daemon.ok(&create);
    until("it has spoken", || daemon.ok(&["logs", "--tail", "1", "talker"]).contains("1000"));
    daemon.kill();
    let server = tcp_server(daemon.sandbox(), 601, silent);
    daemon.start();
    assert_eq!(numbers(&server.text(": 1000\n")), (1..=1000).collect::<Vec<u32>>());
    // What is written while there is no daemon is sent by the next one, which goes on where the last one stopped.
    let attached = daemon.spawn_with(&["attach", "talker"], b"go\n", &[]);
    let text = server.text(": the-end\n");
    daemon.kill();
    attached.wait();
    daemon.start();
    assert_eq!(numbers(&text), (1..=2000).collect::<Vec<u32>>());
    daemon.spawn_with(&["attach", "talker"], b"go\n", &[]).wait().ok();
    let again = numbers(&server.text(": over\n"));
    assert!(again.starts_with(&numbers(&text)) && again.len() <= 2000 + 512, "{} numbers", again.len());
}

#[test]
fn what_does_not_wait_leaves_lines_out_and_says_so() {
    let daemon = Daemon::with_busybox();
    let log =
        ["--log-driver", "syslog", "--log-opt", "syslog-address=tcp://127.0.0.1:601", "--log-opt", "mode=non-blocking"];
    let limit = ["--log-opt", "max-buffer-size=10k"];
    run(&daemon, "talker", &[&log[..], &limit].concat(), "seq 1 4000; echo the-end");
    let server = tcp_server(daemon.sandbox(), 601, silent);
    let text = server.text(": the-end\n");
    let sent = numbers(&text);
    assert!(sent.len() < 1500 && sent.ends_with(&[3999, 4000]), "{} numbers", sent.len());
    assert!(text.contains(": corten: log lines were left out"), "{text}");
    assert_eq!(daemon.ok(&["logs", "talker"]).lines().count(), 4001, "here nothing is left out");
}

#[test]
fn on_a_full_disk_output_goes_on_and_what_the_log_lost_is_told() {
    let daemon = Daemon::builder().data_size(64 << 20).start();
    daemon.import_busybox();
    let script = "trap 'seq 1 1000' USR1; trap 'echo after; exit' USR2; echo ready; while :; do sleep 0.02; done";
    let id = daemon.ok(&["run", "-d", "--name", "talker", "busybox", "sh", "-c", script]);
    until("it listens for signals", || daemon.ok(&["logs", "talker"]) == "ready");
    let attached = daemon.spawn(&["attach", "talker"]);
    let attach = ["events", "--since", "1h", "--until", "0s", "--filter", "event=attach"];
    until("somebody is attached", || !daemon.ok(&attach).is_empty());
    let filler = daemon.path().join("data/filler");
    let full = filler.clone();
    daemon.sandbox().run(move || {
        let mut file = std::fs::File::create(full).expect("a file");
        for size in [1 << 20, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    });
    daemon.ok(&["kill", "-s", "USR1", "talker"]);
    let state = daemon.path().join("exec/shims").join(&id).join("state.json");
    let said = |words: &str| std::fs::read_to_string(&state).expect("the shim's state").contains(words);
    until("the log has no room", || said("No space left"));
    daemon.sandbox().run(move || std::fs::remove_file(filler).expect("our file"));
    daemon.ok(&["kill", "-s", "USR2", "talker"]);
    assert_eq!(daemon.ok(&["wait", "talker"]), "0");
    let expected: String = (1..=1000).map(|number| format!("{number}\n")).collect();
    assert_eq!(attached.wait().ok().text(), expected + "after");
    let logs = daemon.corten(&["logs", "talker"]).ok();
    assert!(logs.text().starts_with("ready") && logs.text().ends_with("after"), "{logs}");
    assert!(logs.stderr.contains("log lines were lost since") && logs.stderr.contains("No space left"), "{logs}");
}
