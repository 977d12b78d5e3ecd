// SPDX-License-Identifier: Apache-2.0
//! What is asked about a container from outside: `top`, `diff`, `port`, `stats`, `ps --filter`.

use std::io::{BufRead as _, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};
use testkit::Daemon;

/// What the daemon answers to a request without a body: its status and its JSON.
fn ask(daemon: &Daemon, path: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(daemon.socket()).expect("a socket");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}")))
}

#[test]
fn top_lists_the_processes_as_ps_does() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "busy", "busybox", "sh", "-c", "sleep 61 & sleep 62; wait"]);
    let pid = daemon.inspect("busy")["State"]["Pid"].to_string();
    let mut listed = String::new();
    for _ in 0..500 {
        listed = daemon.ok(&["top", "busy"]);
        if listed.lines().count() == 4 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"], "{listed}");
    let first = lines.iter().find(|line| line[1] == pid).expect("the first process");
    assert_eq!((first[0], first[5], first[7]), ("root", "?", "sh"), "{listed}");
    let children: Vec<&Vec<&str>> = lines.iter().filter(|line| line[2] == pid).collect();
    assert_eq!(children.len(), 2, "{listed}");
    assert!(listed.contains("sleep 61") && listed.contains("sleep 62"), "{listed}");

    let chosen = daemon.ok(&["top", "busy", "-o", "pid,args"]);
    assert_eq!(chosen.lines().next().map(|line| line.split_whitespace().collect()), Some(vec!["PID", "COMMAND"]));
    assert!(daemon.ok(&["top", "busy", "aux"]).starts_with("USER "), "aux");
    daemon.fails(&["top", "busy", "-o", "pid,colour"], 1).saying("colour");
    let (status, answer) = ask(&daemon, "/v1.47/containers/busy/top?ps_args=-o%20pid,comm");
    assert_eq!((status, &answer["Titles"]), (200, &json!(["PID", "COMMAND"])));
    assert!(answer["Processes"].as_array().is_some_and(|rows| rows.contains(&json!([pid, "sh"]))), "{answer}");
    assert_eq!(ask(&daemon, "/containers/busy/top?ps_args=--forest").0, 400);
    assert_eq!(ask(&daemon, "/containers/nobody/top").0, 404);
    daemon.ok(&["kill", "busy"]);
    daemon.ok(&["wait", "busy"]);
    daemon.fails(&["top", "busy"], 1).saying("exited");
    assert_eq!(ask(&daemon, "/containers/busy/top").0, 409);
}

#[test]
fn diff_tells_what_was_added_changed_and_deleted() {
    for snapshotter in [None, Some("--snapshotter=directories")] {
        let builder = Daemon::builder();
        let daemon = snapshotter.into_iter().fold(builder, |builder, flag| builder.argument(flag)).start();
        daemon.import_busybox();
        daemon.ok(&["create", "--name", "new", "busybox", "true"]);
        assert_eq!(daemon.ok(&["diff", "new"]), "");
        assert_eq!(ask(&daemon, "/containers/new/changes"), (200, json!([])));
        let script = "mkdir /made; echo x > /made/file; echo y >> /etc/passwd; rm /etc/group; echo ready; sleep 60";
        daemon.ok(&["run", "-d", "--name", "changes", "busybox", "sh", "-c", script]);
        while !daemon.ok(&["logs", "changes"]).contains("ready") {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let expected = "C /etc\nD /etc/group\nC /etc/passwd\nA /made\nA /made/file";
        assert_eq!(daemon.ok(&["diff", "changes"]), expected, "while it runs");
        // What it runs on is still there.
        assert_eq!(daemon.ok(&["exec", "changes", "cat", "/made/file"]), "x");
        daemon.ok(&["kill", "changes"]);
        daemon.ok(&["wait", "changes"]);
        assert_eq!(daemon.ok(&["diff", "changes"]), expected, "after its end");
        let (status, answer) = ask(&daemon, "/containers/changes/changes");
        assert_eq!((status, &answer[1]), (200, &json!({"Path": "/etc/group", "Kind": 2})), "{answer}");
        assert_eq!(ask(&daemon, "/containers/nobody/changes").0, 404);
        daemon.fails(&["diff", "nobody"], 1).saying("nobody");
        daemon.ok(&["rm", "new", "changes"]);
        daemon.assert_no_container_left();
    }
}

#[test]
fn port_lists_where_ports_are_published() {
    let daemon = Daemon::with_busybox();
    let ports = ["-p", "127.0.0.1:18080:80", "-p", "18053:53/udp"];
    daemon.ok(&[&["run", "-d", "--name", "web"], &ports[..], &["busybox", "sleep", "60"]].concat());
    assert_eq!(daemon.ok(&["port", "web"]), "53/udp -> 0.0.0.0:18053\n80/tcp -> 127.0.0.1:18080");
    assert_eq!(daemon.ok(&["port", "web", "80"]), "127.0.0.1:18080");
    assert_eq!(daemon.ok(&["port", "web", "53/udp"]), "0.0.0.0:18053");
    daemon.fails(&["port", "web", "81"], 1).saying("no public port '81/tcp' published for web");
    daemon.fails(&["port", "nobody"], 1).saying("nobody");
}

#[test]
fn stats_tell_what_a_container_uses() {
    let daemon = Daemon::with_busybox();
    let limits = ["--memory", "64m", "--cpus", "1"];
    let script = "while :; do :; done";
    daemon.ok(&[&["run", "-d", "--name", "busy"], &limits[..], &["busybox", "sh", "-c", script]].concat());
    daemon.ok(&["create", "--name", "idle", "busybox", "true"]);

    let (status, once) = ask(&daemon, "/v1.47/containers/busy/stats?stream=false");
    assert_eq!((status, &once["name"]), (200, &json!("/busy")));
    let (cpu, before) = (&once["cpu_stats"], &once["precpu_stats"]);
    let passed =
        |of: fn(&Value) -> &Value| of(cpu).as_u64().unwrap_or(0) as f64 - of(before).as_u64().unwrap_or(0) as f64;
    let used = passed(|cpu| &cpu["cpu_usage"]["total_usage"]);
    let machine = passed(|cpu| &cpu["system_cpu_usage"]);
    assert!(used > 0.0 && machine > 0.0 && used <= machine * 1.2, "{once}");
    assert_eq!(once["memory_stats"]["limit"], 64 << 20, "{once}");
    assert_eq!(once["pids_stats"]["current"], 1, "{once}");
    assert!(once["memory_stats"]["usage"].as_u64() > Some(0), "{once}");
    assert!(once["networks"]["eth0"]["rx_bytes"].is_u64() && once["networks"].get("lo").is_none(), "{once}");
    let (_, shot) = ask(&daemon, "/containers/busy/stats?stream=false&one-shot=true");
    assert_eq!(shot["precpu_stats"]["cpu_usage"]["total_usage"], 0);
    assert_eq!(ask(&daemon, "/containers/busy/stats?one-shot=true").0, 400);
    assert_eq!(ask(&daemon, "/containers/nobody/stats?stream=false").0, 404);
    let (status, stopped) = ask(&daemon, "/containers/idle/stats?stream=false");
    assert_eq!((status, &stopped["memory_stats"]), (200, &json!({})));

    let format = ["stats", "--no-stream", "--format", "{{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.PIDs}}"];
    let line = daemon.ok(&format);
    let words: Vec<&str> = line.split_whitespace().collect();
    let share: f64 = words[1].trim_end_matches('%').parse().expect("a number");
    assert!(words[0] == "busy" && (1.0..150.0).contains(&share), "{line}");
    assert_eq!(words[3..], ["/", "64MiB", "1"], "{line}");
    assert!(!line.contains("idle"), "{line}");
    let all = daemon.ok(&["stats", "--no-stream", "--all"]);
    assert!(all.starts_with("CONTAINER ID   NAME      CPU %"), "{all}");
    assert!(all.contains("idle") && all.contains("0B / 0B"), "{all}");
    daemon.fails(&["stats", "--no-stream", "nobody"], 1).saying("nobody");
    // Many are asked about at once.
    let (status, several) = ask(&daemon, "/corten/v1/stats?container=idle&container=busy");
    assert_eq!((status, &several[0]["Asked"], &several[1]["Name"]), (200, &json!("idle"), &json!("busy")), "{several}");
    assert_eq!(
        (&several[0]["Used"], &several[1]["Used"]["MemoryLimit"]),
        (&Value::Null, &json!(64 << 20)),
        "{several}"
    );
    assert_eq!(ask(&daemon, "/corten/v1/stats?container=nobody&container=busy").0, 404);
    let (_, there) = ask(&daemon, "/corten/v1/stats?container=nobody&container=busy&skip-missing=1");
    assert_eq!(there.as_array().map(Vec::len), Some(1), "{there}");
}

#[test]
fn stats_come_every_second_and_end_with_the_container() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "watched", "busybox", "sleep", "60"]);
    let stream = UnixStream::connect(daemon.socket()).expect("a socket");
    write!(&stream, "GET /containers/watched/stats HTTP/1.1\r\nHost: x\r\n\r\n").expect("it is sent");
    let mut lines = std::io::BufReader::new(&stream).lines();
    let mut next = || -> Option<Value> {
        let line =
            lines.by_ref().map(|line| line.expect("a line")).find(|line| line.starts_with('{') || line == "0")?;
        serde_json::from_str(&line).ok().filter(Value::is_object)
    };
    let (first, second) = (next().expect("a sample"), next().expect("another"));
    assert_eq!(first["precpu_stats"]["cpu_usage"]["total_usage"], 0);
    assert_eq!((&second["preread"], &second["precpu_stats"]), (&first["read"], &first["cpu_stats"]));
    daemon.ok(&["rm", "-f", "watched"]);
    let mut rest = 0;
    while next().is_some() {
        rest += 1;
    }
    assert!(rest < 4, "it went on after the container: {rest}");
    daemon.assert_no_container_left();
}

#[test]
fn stats_are_redrawn_in_a_terminal() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "drawn", "busybox", "sleep", "60"]);
    let terminal = daemon.terminal(&["stats", "drawn"], 24, 120);
    terminal.expect("\u{1b}[HCONTAINER ID");
    terminal.expect("drawn");
    daemon.ok(&["rm", "-f", "drawn"]);
}

#[test]
fn ps_lists_what_the_filters_let_through() {
    let daemon = Daemon::with_busybox();
    let run = |arguments: &[&str], command: &[&str]| {
        daemon.corten(&[&["run"], arguments, &["busybox"], command].concat());
    };
    run(&["--name", "ended", "-l", "tier=old"], &["sh", "-c", "exit 3"]);
    run(&["-d", "--name", "web", "-p", "127.0.0.1:18088:80", "-l", "tier=front"], &["sleep", "60"]);
    run(&["-d", "--name", "web2", "--tmpfs", "/scratch", "--network", "none"], &["sleep", "60"]);
    let id = daemon.inspect("web2")["Id"].as_str().expect("an id").to_owned();
    for (filters, expected) in [
        (&["name=web"][..], "web2 web"),
        (&["name=^web$"], "web"),
        (&["name=^/web$"], "web"),
        (&[&format!("id={}", &id[..12])], "web2"),
        (&["status=exited"], "ended"),
        (&["status=exited", "status=running"], "web2 web ended"),
        (&["status=running", "label=tier"], "web"),
        (&["label=tier=front"], "web"),
        (&["label=tier", "label=tier=back"], ""),
        (&["exited=3"], ""),
        (&["ancestor=busybox"], "web2 web"),
        (&["ancestor=nothing"], ""),
        (&["since=ended"], "web2 web"),
        (&["before=web2"], "web"),
        (&["volume=/scratch"], "web2"),
        (&["network=none"], "web2"),
        (&["publish=80"], "web"),
        (&["expose=79-81/tcp"], "web"),
        (&["publish=80/udp"], ""),
    ] {
        let flags: Vec<&str> = filters.iter().flat_map(|filter| ["--filter", filter]).collect();
        let listed = daemon.ok(&[&["ps", "--format", "{{.Names}}"], &flags[..]].concat());
        assert_eq!(listed.split_whitespace().collect::<Vec<_>>().join(" "), expected, "{filters:?}");
    }
    assert_eq!(daemon.ok(&["ps", "-a", "--filter", "exited=3", "--format", "{{.Names}}"]), "ended");
    assert_eq!(daemon.ok(&["ps", "--latest", "--format", "{{.Names}}"]), "web2");
    daemon.fails(&["ps", "--filter", "colour=red"], 1).saying("colour");
    daemon.fails(&["ps", "--filter", "before=nobody"], 1).saying("nobody");
    assert_eq!(ask(&daemon, "/containers/json?filters=%7B%22status%22%3A%5B%22asleep%22%5D%7D").0, 400);
    assert_eq!(ask(&daemon, "/containers/json?filters=%7B%22since%22%3A%5B%22nobody%22%5D%7D").0, 404);
}
