// SPDX-License-Identifier: Apache-2.0
//! What must hold over a container's life whoever goes away in the middle of it: the client that asked, the daemon, or who
//! serves its files. And in which order it is told of.

use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, open};
use rustix::mount::{MountFlags, mount};
use serde_json::{Value, json};
use testkit::Daemon;
use testkit::http::ask;
use testkit::process::command;

#[track_caller]
fn until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What this daemon has told so far of all kinds, each event as its type, its action and the attributes of these names.
fn told(daemon: &Daemon, attributes: &[&str]) -> Vec<String> {
    let lines = daemon.ok(&["events", "--since", "1", "--until", "0s", "--format", "json"]);
    let line = |line: &str| {
        let event: Value = serde_json::from_str(line).expect("JSON");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let own = attributes.iter().map(|name| &event["Actor"]["Attributes"][name]).filter(|value| value.is_string());
        let own: String = own.map(|value| format!(" {}", text(value))).collect();
        format!("{} {}{own}", text(&event["Type"]), text(&event["Action"]))
    };
    lines.lines().map(line).collect()
}

fn exec(daemon: &Daemon, container: &str, script: &str) -> String {
    let body = json!({"Cmd": ["sh", "-c", script]}).to_string();
    let path = format!("/containers/{container}/exec");
    let id = ask(daemon, "POST", &path, &[], body.as_bytes()).expect(201)["Id"].as_str().expect("an id").to_owned();
    let started = ask(daemon, "POST", &format!("/exec/{id}/start"), &[], br#"{"Detach":true}"#);
    assert_eq!(started.status, 200, "{started}");
    id
}

fn exec_state(daemon: &Daemon, id: &str) -> Value {
    ask(daemon, "GET", &format!("/exec/{id}/json"), &[], b"").expect(200)
}

#[test]
fn an_exec_that_ends_without_a_daemon_is_told_of_by_the_next_one() {
    let daemon = Daemon::with_busybox();
    let shared = daemon.path().join("shared");
    std::fs::create_dir(&shared).expect("a new directory");
    let volume = format!("{}:/shared", shared.display());
    let id = daemon.ok(&["run", "-d", "--name", "box", "-v", &volume, "busybox", "sleep", "600"]);
    let wait = |name: &str, code: i32| format!("until [ -e /shared/{name} ]; do usleep 10000; done; exit {code}");
    let (ends, stays) = (exec(&daemon, "box", &wait("first", 7)), exec(&daemon, "box", &wait("second", 8)));
    let pid = exec_state(&daemon, &ends)["Pid"].as_i64().expect("it runs");
    daemon.kill();
    std::fs::write(shared.join("first"), "").expect("a file");
    until("the exec ends", || !std::path::Path::new(&format!("/proc/{pid}")).exists());
    daemon.start();
    until("its end is known", || exec_state(&daemon, &ends)["Running"] == false);
    let state = exec_state(&daemon, &ends);
    assert_eq!((&state["ExitCode"], &state["ProcessConfig"]["entrypoint"]), (&json!(7), &json!("sh")), "{state}");
    let die = |id: &str, code: &str| {
        told(&daemon, &["execID", "exitCode"]).contains(&format!("container exec_die {id} {code}"))
    };
    until("its end is told", || die(&ends, "7"));
    // The other one goes on, and its end is seen when it comes.
    assert_eq!(exec_state(&daemon, &stays)["Running"], true);
    assert_eq!(daemon.inspect("box")["ExecIDs"], json!([stays]));
    std::fs::write(shared.join("second"), "").expect("a file");
    until("the other's end is told", || die(&stays, "8"));
    assert_eq!(exec_state(&daemon, &stays)["ExitCode"], 8);
    let records = || {
        let found = std::fs::read_dir(daemon.path().join("exec/shims").join(&id)).expect("the shim's directory");
        let names = found.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("exec-") || name.starts_with("started-")).collect::<Vec<_>>()
    };
    until("nothing is left of them", || records().is_empty());
    daemon.ok(&["rm", "-f", "box"]);
}

/// The destruction of a container that goes at its end was told before that of its volumes.
#[test]
fn who_removes_itself_goes_after_its_volumes_as_in_docker() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "--rm", "-v", "/own", "-v", "/another", "-v", "kept:/kept", "busybox", "true"]);
    let gone = || told(&daemon, &[]).into_iter().filter(|line| line.ends_with("destroy")).collect::<Vec<_>>();
    until("it is gone", || gone().len() == 3);
    assert_eq!(gone(), ["volume destroy", "volume destroy", "container destroy"]);
    daemon.ok(&["volume", "rm", "kept"]);
}

#[test]
fn an_exec_is_started_once_and_one_that_could_not_be_says_so() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "600"]);
    let body = json!({"Cmd": ["no-such-command"]}).to_string();
    let id = ask(&daemon, "POST", "/containers/box/exec", &[], body.as_bytes()).expect(201)["Id"].clone();
    let path = format!("/exec/{}/start", id.as_str().expect("an id"));
    assert!(ask(&daemon, "POST", &path, &[], br#"{"Detach":true}"#).status >= 400);
    let state = exec_state(&daemon, id.as_str().expect("an id"));
    assert_eq!((&state["Running"], &state["ExitCode"]), (&json!(false), &json!(127)), "{state}");
    assert_eq!(ask(&daemon, "POST", &path, &[], br#"{"Detach":true}"#).status, 409);
    // As Docker has it, with the blank that it puts behind the program.
    let execs = told(&daemon, &[]).into_iter().filter(|line| line.contains("exec_")).collect::<Vec<_>>();
    assert_eq!(execs, ["container exec_create: no-such-command ", "container exec_start: no-such-command "]);
    // Of two who start the same one, one does.
    let id = {
        let body = json!({"Cmd": ["sh", "-c", "echo x >> /count"]}).to_string();
        ask(&daemon, "POST", "/containers/box/exec", &[], body.as_bytes()).expect(201)["Id"].clone()
    };
    let path = format!("/exec/{}/start", id.as_str().expect("an id"));
    let mut statuses = std::thread::scope(|scope| {
        let starts: Vec<_> =
            (0..4).map(|_| scope.spawn(|| ask(&daemon, "POST", &path, &[], br#"{"Detach":true}"#).status)).collect();
        starts.into_iter().map(|start| start.join().expect("an answer")).collect::<Vec<_>>()
    });
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409]);
    daemon.ok(&["rm", "-f", "box"]);
}

#[test]
fn a_client_that_leaves_in_the_middle_leaves_nothing_half_done() {
    let daemon = Daemon::with_busybox();
    let names: Vec<String> = (0..8).map(|number| format!("box{number}")).collect();
    for name in &names {
        daemon.ok(&["create", "--name", name, "busybox", "sleep", "600"]);
    }
    let ask_and_leave = |method: &str, path: &str| {
        let mut stream = UnixStream::connect(daemon.socket()).expect("the daemon listens");
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").expect("it is sent");
    };
    let status = |name: &str| daemon.inspect(name)["State"]["Status"].clone();
    let is_running = |name: &String| status(name) == "running";
    // A request may come to nothing; a start that has begun makes a container that runs and that is known to run. The one
    // that was created last has a cgroup before its start.
    let has_cgroup = |name: &str| {
        let id = daemon.inspect(name)["Id"].as_str().expect("an id").to_owned();
        daemon.cgroups_of_containers().iter().any(|path| path.ends_with(&id))
    };
    until("what runs is known to run", || {
        if !names.iter().any(is_running) {
            names.iter().for_each(|name| ask_and_leave("POST", &format!("/containers/{name}/start")));
        }
        names.iter().any(is_running) && names.iter().all(|name| is_running(name) == has_cgroup(name))
    });
    for name in &names {
        daemon.ok(&["start", name]);
    }
    assert_eq!(daemon.ok(&["ps", "-q"]).lines().count(), names.len());
    // A removal as well.
    names.iter().for_each(|name| ask_and_leave("DELETE", &format!("/containers/{name}?force=1")));
    until("what was ended is gone", || {
        let left = daemon.ok(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]);
        left.lines().all(|line| line.ends_with(" running"))
    });
    daemon.corten(&[&["rm", "-f"], &names.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat());
    daemon.assert_no_container_left();
}

#[test]
fn a_life_with_its_network_and_its_volume_is_told_in_dockers_order() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "box", "-v", "data:/data", "busybox", "sleep", "600"]);
    daemon.ok(&["commit", "box", "made:1"]);
    daemon.ok(&["pause", "box"]);
    daemon.ok(&["commit", "box", "made:2"]);
    daemon.ok(&["unpause", "box"]);
    daemon.ok(&["commit", "--pause=false", "box", "made:3"]);
    daemon.ok(&["stop", "-t", "0", "box"]);
    daemon.ok(&["commit", "box", "made:4"]);
    daemon.ok(&["rm", "box"]);
    let expected = [
        "volume create",
        "container create",
        "volume mount",
        "network connect bridge",
        "container start",
        // While a commit reads what runs, it stands still; what stands still goes on doing so.
        "container pause",
        "container commit made:1",
        "container unpause",
        "container pause",
        "container commit made:2",
        "container unpause",
        "container commit made:3",
        "container kill",
        "container kill",
        "network disconnect bridge",
        "volume unmount",
        "container die",
        "container stop",
        "container commit made:4",
        "container destroy",
    ];
    let without_images = |daemon: &Daemon| {
        let names = told(daemon, &["type", "imageRef"]);
        names.into_iter().filter(|line| !line.starts_with("image ")).collect::<Vec<_>>()
    };
    assert_eq!(without_images(&daemon), expected);
    daemon.ok(&["create", "--name", "box", "-v", "data:/data", "-v", "/own", "busybox", "true"]);
    daemon.ok(&["cp", "box:/etc/passwd", &daemon.path().join("copy").display().to_string()]);
    daemon.ok(&["rm", "-v", "box"]);
    let copied = without_images(&daemon)[expected.len()..].to_vec();
    let (order, gone): (Vec<_>, Vec<_>) =
        copied.iter().map(String::as_str).partition(|line| !line.ends_with("destroy"));
    let at = order.iter().position(|line| *line == "container archive-path").expect("it was copied");
    assert_eq!((order[at - 1], order[at + 1]), ("volume mount", "volume unmount"), "{copied:#?}");
    let count = |what| order.iter().filter(|line| **line == what).count();
    assert_eq!(count("volume mount"), count("volume unmount"), "{copied:#?}");
    assert_eq!(gone, ["volume destroy", "container destroy"], "{copied:#?}");
    // A start that fails tells what it has taken, and that it has given it back.
    let before = expected.len() + copied.len();
    daemon.fails(&["run", "-d", "--name", "bad", "-v", "data:/data", "busybox", "no-such-command"], 127);
    until("all is given back", || without_images(&daemon).len() >= before + 5);
    let failed =
        ["container create", "volume mount", "network connect bridge", "network disconnect bridge", "volume unmount"];
    assert_eq!(without_images(&daemon)[before..], failed);
    daemon.ok(&["rm", "bad"]);
}

/// Mounts a file system in the daemon's mount namespace whose server never answers, as long as the descriptor lives.
fn mount_what_hangs(daemon: &Daemon, at: &str) -> OwnedFd {
    let at = at.to_owned();
    daemon.sandbox().run(move || {
        let server = open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).expect("/dev/fuse");
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
        let options = std::ffi::CString::new(options).expect("text");
        mount("hangs", &at, "fuse", MountFlags::empty(), Some(options.as_c_str())).expect("it is mounted");
        server
    })
}

#[test]
fn a_file_system_that_does_not_answer_holds_up_nothing_but_the_question() {
    let daemon = Daemon::with_busybox();
    let hangs = daemon.path().join("hangs");
    std::fs::create_dir(&hangs).expect("a new directory");
    let (at, below) = (hangs.display().to_string(), hangs.join("below").display().to_string());
    daemon.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "600"]);
    let server = mount_what_hangs(&daemon, &at);
    let bind = |source: &str, target: &str| format!("type=bind,source={source},target={target}");
    let (one, other) = (bind(&at, "/t"), bind(&below, "/u"));
    let refused = std::thread::scope(|scope| {
        let update = scope.spawn(|| daemon.corten(&["update", "--mount", &one, "box"]));
        let run =
            scope.spawn(|| daemon.corten(&["run", "-d", "--name", "other", "--mount", &other, "busybox", "true"]));
        // Meanwhile it is asked as any other.
        daemon.ok(&["exec", "box", "true"]);
        [update, run].map(|asked| asked.join().expect("an end"))
    });
    for refused in refused {
        assert_ne!(refused.code, 0);
        refused.saying("does not answer within");
    }
    daemon.fails(&["exec", "box", "ls", "/t"], 1).saying("No such file");
    daemon.ok(&["restart", "-t", "0", "box"]);
    daemon.ok(&["rm", "-f", "box"]);
    assert_eq!(daemon.ok(&["ps", "-q"]), "");
    // Who was given up ends with the answer, and does nothing more.
    drop(server);
    let pid = daemon.pid();
    let questions = || {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the daemon runs");
        let names = threads.map(|thread| std::fs::read_to_string(thread.expect("a thread").path().join("comm")));
        names.filter(|name| name.as_ref().is_ok_and(|name| name.trim() == "question")).count()
    };
    until("no thread is left that waits", || questions() == 0);
    daemon.sandbox().run(move || {
        rustix::mount::unmount(&at, rustix::mount::UnmountFlags::DETACH).expect("it is mounted");
    });
    daemon.corten(&["rm", "-f", "other"]);
}

#[test]
fn a_daemon_that_goes_before_others_starts_containers_that_do_not() {
    let daemon = Daemon::with_busybox();
    daemon.stop();
    let schedule = |policy: &'static str, priority: &'static str| {
        daemon.sandbox().run(move || {
            let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
            let done = command("chrt").args([policy, "-p", priority, &thread]).status().expect("util-linux");
            assert!(done.success(), "chrt {policy}");
        });
    };
    schedule("--fifo", "1");
    daemon.start();
    schedule("--other", "0");
    let policy = |pid: i64| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        // Field 41 of proc_pid_stat(5), counted from the third.
        stat.rsplit_once(')').expect("a name").1.split_whitespace().nth(38).expect("a policy").to_owned()
    };
    assert_eq!(policy(daemon.pid().into()), "1", "the daemon has the policy");
    daemon.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "600"]);
    assert_eq!(policy(daemon.inspect("box")["State"]["Pid"].as_i64().expect("it runs")), "0");
    daemon.ok(&["exec", "box", "true"]);
    daemon.ok(&["rm", "-f", "box"]);
}
