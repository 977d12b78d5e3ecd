// SPDX-License-Identifier: Apache-2.0
//! Log drivers beside Docker's daemon: the same containers on both, and what each writes and sends.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use end_to_end::log_server::{Received, datagrams, silent, tcp_server};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::Value;
use testkit::Daemon;
use testkit::docker::Docker;
use testkit::process::command;
use testkit::sandbox::Sandbox;

/// Corten and Docker, each with its image.
struct Pair {
    corten: Daemon,
    docker: Docker,
}

/// A command line's answer, or why there is none.
type Answer = Result<String, String>;

impl Pair {
    fn start() -> Pair {
        let corten = Daemon::with_busybox();
        let docker = Docker::start().expect("dockerd");
        let tar = corten.path().join("busybox.tar");
        docker.run(&["import", &tar.to_string_lossy(), "busybox"]).expect("an image");
        Pair { corten, docker }
    }

    /// The same on both: Corten's answer, then Docker's.
    fn ask(&self, arguments: &[&str]) -> [Answer; 2] {
        let ours = self.corten.corten(arguments);
        let ours = if ours.code == 0 { Ok(ours.text().to_owned()) } else { Err(ours.stderr) };
        [ours, self.docker.run(arguments).map_err(|error: Box<dyn Error>| error.to_string())]
    }

    /// The same on both, which must succeed.
    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> [String; 2] {
        self.ask(arguments).map(|answer| answer.unwrap_or_else(|error| panic!("{arguments:?}: {error}")))
    }

    /// Runs a container of that name on both, with this log.
    #[track_caller]
    fn run(&self, name: &str, driver: &str, options: &[&str], script: &str) {
        let run = ["run", "--name", name, "--network", "none", "--log-driver", driver];
        let of_container = ["--label", "team=a b", "--label", "com.example.tier=web", "--label", "com.other=x", "-e"];
        let variables = ["STAGE=test", "-e", "REGION_NAME=north", "-e", "SECRET=s"];
        let options: Vec<&str> = options.iter().flat_map(|option| ["--log-opt", option]).collect();
        self.ok(&[&run[..], &of_container, &variables, &options, &["busybox", "sh", "-c", script]].concat());
    }

    fn sandboxes(&self) -> [&Sandbox; 2] {
        [self.corten.sandbox(), self.docker.sandbox()]
    }
}

/// Labels and variables by name and by expression, and a tag.
const PICKED: [&str; 5] = [
    "labels=team,none",
    r"labels-regex=^com\.ex.*(tier|zone)$",
    "env=STAGE",
    "env-regex=^REGION|NOTHING",
    "tag={{.Name}}",
];
const SCRIPT: &str = "echo out; echo err >&2; echo the-end";

/// Whether what was sent has the ends of both streams, behind these words: which of them is read first nobody says.
fn is_whole(sent: &[u8], before: &str) -> bool {
    ["the-end", "err"].iter().all(|end| {
        let end = format!("{before}{end}");
        sent.windows(end.len()).any(|window| window == end.as_bytes())
    })
}

#[test]
fn drivers_say_what_dockers_say() {
    let pair = Pair::start();
    json_file(&pair);
    gelf(&pair);
    syslog(&pair);
    fluentd(&pair);
    journald(&pair);
    options(&pair);
}

/// The lines of the file are the same, but for the time.
fn json_file(pair: &Pair) {
    pair.run("file", "json-file", &PICKED, &format!("{SCRIPT}; printf 'tab\\t \"quoted\" <&> \\303\\251 \\377 \\001'"));
    let paths = pair.ok(&["inspect", "--format", "{{.LogPath}}", "file"]);
    let [ours, theirs] = paths.map(|path| {
        let text = std::fs::read_to_string(path).expect("the log");
        let lines = text.lines().map(|line| serde_json::from_str::<BTreeMap<String, Value>>(line).expect("JSON"));
        let mut lines: Vec<_> = lines.map(|mut line| line.remove("time").map(|_| line).expect("a time")).collect();
        lines.sort_by_key(|line| line["stream"].to_string());
        lines
    });
    assert_eq!(ours, theirs);
    assert_eq!(ours[0]["attrs"].as_object().map(serde_json::Map::len), Some(5), "{ours:?}");
    let [ours, theirs] = pair.ok(&["logs", "--details", "file"]);
    assert_eq!(ours, theirs);
}

/// The messages' fields are the same, but for what is the daemon's.
fn gelf(pair: &Pair) {
    let servers = pair.sandboxes().map(|sandbox| {
        let socket = sandbox.run(|| UdpSocket::bind("127.0.0.1:12201").expect("a port"));
        datagrams(move |message| socket.recv(message))
    });
    let address = ["gelf-address=udp://127.0.0.1:12201", "gelf-compression-type=none"];
    pair.run("gelf", "gelf", &[&address[..], &PICKED].concat(), SCRIPT);
    let [ours, theirs] = servers.map(|server: Received| {
        let messages = server.wait_until(|sent| is_whole(sent, "\"short_message\":\""));
        let fields = messages.iter().map(|message| serde_json::from_slice(message).expect("JSON"));
        let mut fields: Vec<_> = fields
            .map(|fields: BTreeMap<String, Value>| {
                comparable(fields, &["timestamp", "_container_id", "_created", "_image_id"])
            })
            .collect();
        fields.sort_by_key(|fields| fields["level"].to_string());
        fields
    });
    assert_eq!(ours, theirs);
}

/// Without the values that differ from daemon to daemon; that they are there is compared.
fn comparable(mut fields: BTreeMap<String, Value>, own: &[&str]) -> BTreeMap<String, Value> {
    fields.iter_mut().filter(|(name, _)| own.contains(&name.as_str())).for_each(|(_, value)| *value = Value::Null);
    fields
}

/// The messages are the same in all formats, but for times and processes.
fn syslog(pair: &Pair) {
    for (port, format) in [(601, "rfc3164"), (602, "rfc5424micro")] {
        let servers = pair.sandboxes().map(|sandbox| tcp_server(sandbox, port, silent));
        let (address, format_option) =
            (format!("syslog-address=tcp://127.0.0.1:{port}"), format!("syslog-format={format}"));
        let options =
            [&address[..], &format_option, "syslog-facility=local3", "tag={{.Name}}/{{.ImageName}}", "labels=team"];
        pair.run(format, "syslog", &options, SCRIPT);
        let [ours, theirs] = servers.map(|server| {
            let text = server.wait_until(|sent| sent.ends_with(b"\n") && is_whole(sent, "")).concat();
            let text = String::from_utf8(text).expect("UTF-8");
            let mut lines: Vec<String> = text.lines().map(blank).collect();
            // By its priority, which each stream has its own of.
            lines.sort_by_key(|line| line.split('>').next().map(str::to_owned));
            lines
        });
        assert_eq!(ours, theirs, "{format}");
    }
}

/// A message whose numbers are all zero: times and the process. That of priority and version, at the beginning, stays.
fn blank(message: &str) -> String {
    let (first, rest) = message.split_once(' ').expect("a header");
    let mut text = format!("{first} ");
    for character in rest.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }) {
        if !(character == '0' && text.ends_with('0')) {
            text.push(character);
        }
    }
    text
}

/// The records have the same fields and values, but for the container's id and the times.
fn fluentd(pair: &Pair) {
    let servers = pair.sandboxes().map(|sandbox| tcp_server(sandbox, 24224, silent));
    let options = ["fluentd-address=127.0.0.1:24224", "fluentd-async=true", "fluentd-sub-second-precision=true"];
    let script = format!("printf '%040000d\\n' 7; {SCRIPT}");
    pair.run("fluentd", "fluentd", &[&options[..], &PICKED].concat(), &script);
    let counts = |server: &Received| {
        let sent = server.so_far();
        let has = |text: &[u8]| sent.windows(text.len()).filter(|window| *window == text).count();
        [
            "partial_message",
            "partial_id",
            "partial_ordinal",
            "partial_last",
            "team",
            "a b",
            "com.example.tier",
            "com.other",
            "REGION_NAME",
            "north",
            "STAGE",
            "SECRET",
            "/fluentd",
            "stderr",
            "stdout",
        ]
        .map(|text| has(text.as_bytes()))
        .into_iter()
        // Words in MessagePack, each behind its length.
        .chain([b"\xafpartial_ordinal\xa11", b"\xafpartial_ordinal\xa13"].map(|pair| has(pair)))
        .chain([&b"\xacpartial_last\xa4true"[..], b"\xacpartial_last\xa5false"].map(has))
        .collect::<Vec<usize>>()
    };
    let all_there = |server: &Received| is_whole(&server.so_far(), "");
    let begun = Instant::now();
    loop {
        let whole = servers.iter().all(all_there);
        let [ours, theirs] = servers.each_ref().map(counts);
        if whole && ours == theirs {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{ours:?} and Docker's {theirs:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// systemd's journal, in a sandbox of its own `/run`.
struct Journal<'a> {
    sandbox: &'a Sandbox,
    process: Child,
}

impl Journal<'_> {
    fn start(sandbox: &Sandbox) -> Journal<'_> {
        let process = sandbox.run(|| {
            mount("tmpfs", "/run", "tmpfs", MountFlags::empty(), None).expect("a tmpfs");
            for directory in ["/run/systemd/journal", "/run/log/journal"] {
                std::fs::create_dir_all(directory).expect("a directory");
            }
            let child = command("/lib/systemd/systemd-journald").spawn().expect("journald");
            let begun = Instant::now();
            while !Path::new("/run/systemd/journal/socket").exists() {
                assert!(begun.elapsed() < Duration::from_secs(20), "journald does not listen");
                std::thread::sleep(Duration::from_millis(5));
            }
            child
        });
        Journal { sandbox, process }
    }

    /// The entries of a container, as soon as the last is there: the fields that its sender named.
    fn entries(&self, name: &str) -> Vec<BTreeMap<String, Value>> {
        let begun = Instant::now();
        loop {
            let mut journalctl = command("journalctl");
            journalctl.args(["--directory", "/run/log/journal", "-o", "json", &format!("CONTAINER_NAME={name}")]);
            let said = self.sandbox.run(move || journalctl.output().expect("journalctl"));
            let text = String::from_utf8(said.stdout).expect("UTF-8");
            let entries = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
            let mut entries: Vec<BTreeMap<String, Value>> = entries.collect();
            let has = |text: &str| entries.iter().any(|entry| entry["MESSAGE"] == text);
            if has("the-end") && has("err") {
                // What begins with an underscore is the journal's own account.
                entries.iter_mut().for_each(|entry| entry.retain(|field, _| !field.starts_with('_')));
                entries.sort_by_key(|entry| entry["PRIORITY"].to_string());
                return entries;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Journal<'_> {
    fn drop(&mut self) {
        // It may have ended on its own, and the test with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.sandbox.run(|| unmount("/run", UnmountFlags::DETACH)).expect("it was mounted");
    }
}

/// systemd's journal has the same fields and values from both, but for ids.
fn journald(pair: &Pair) {
    let journals = pair.sandboxes().map(Journal::start);
    let script = format!("printf '%017000d\\n' 7; {SCRIPT}");
    pair.run("journald", "journald", &PICKED, &script);
    let [ours, theirs] = journals.map(|journal| {
        let entries = journal.entries("journald").into_iter();
        entries
            .map(|entry| comparable(entry, &["CONTAINER_ID", "CONTAINER_ID_FULL", "CONTAINER_PARTIAL_ID"]))
            .collect::<Vec<_>>()
    });
    assert_eq!(ours.len(), theirs.len());
    for (mut ours, theirs) in ours.into_iter().zip(theirs) {
        // Later versions of Docker have it as well.
        ours.remove("SYSLOG_TIMESTAMP").expect("when the line was written");
        assert_eq!(ours, theirs);
    }
}

/// What one takes the other takes, and what one refuses the other refuses. (Some values Docker refuses only at the start.)
fn options(pair: &Pair) {
    let mut different = Vec::new();
    for (driver, options) in [
        ("json-file", ["max-size=1m", "compress=true", "max-file=2"].as_slice()),
        ("json-file", &["labels-regexp=^a"]),
        ("json-file", &["mode=non-blocking", "max-buffer-size=2m"]),
        ("json-file", &["max-buffer-size=2m"]),
        ("local", &["max-size=1m", "max-file=3"]),
        ("syslog", &["labels-regex=^a", "env-regex=B", "env=A", "labels=b", "cache-disabled=true"]),
        ("syslog", &["syslog-format=rfc1"]),
        ("syslog", &["cache-max-size=1m", "cache-max-file=2", "cache-compress=true"]),
        ("gelf", &["gelf-address=udp://127.0.0.1:1", "labels-regex=^a", "cache-disabled=false"]),
        ("gelf", &["labels=a"]),
        ("gelf", &["gelf-address=tcp://127.0.0.1:1", "gelf-tcp-max-reconnect=3", "gelf-tcp-reconnect-delay=1"]),
        ("fluentd", &["fluentd-async-connect=true", "fluentd-buffer-limit=1m", "fluentd-max-retries=2"]),
        ("fluentd", &["fluentd-retry-wait=1s", "fluentd-request-ack=true", "fluentd-sub-second-precision=true"]),
        ("journald", &["tag={{.ID}}", "labels-regex=^a", "env-regex=B", "cache-disabled=true"]),
        ("journald", &["journald-address=x"]),
    ] {
        let log: Vec<&str> = options.iter().flat_map(|option| ["--log-opt", option]).collect();
        let create = [&["create", "--log-driver", driver][..], &log, &["busybox", "true"]].concat();
        let [ours, theirs] = pair.ask(&create);
        if ours.is_ok() != theirs.is_ok() {
            different.push(format!("{driver} {options:?}: {ours:?}, Docker: {theirs:?}"));
        }
    }
    assert!(different.is_empty(), "{different:#?}");
}
