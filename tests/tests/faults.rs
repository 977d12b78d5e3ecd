// SPDX-License-Identifier: Apache-2.0
//! Surroundings that fail: a disk that is full, and clients that stop reading.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use testkit::Daemon;

#[track_caller]
fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Fills the file system of the daemon's data to the last byte.
fn fill(daemon: &Daemon) -> std::path::PathBuf {
    let path = daemon.path().join("data/ballast");
    let filling = path.clone();
    daemon.sandbox().run(move || {
        let mut file = fs::File::create(&filling).expect("our own directory");
        for block in [1 << 20, 4096, 1] {
            let block = vec![b'x'; block];
            while file.write_all(&block).is_ok() {}
        }
    });
    path
}

#[test]
fn on_a_full_disk_containers_go_on_and_end_and_what_cannot_be_done_is_said() {
    let daemon = Daemon::builder().data_size(48 << 20).argument("--gc-threshold").argument("0").start();
    daemon.import_busybox();
    let talks = "while :; do echo still here; sleep 0.02; done";
    daemon.ok(&["run", "-d", "--name", "talks", "--stop-signal", "KILL", "busybox", "sh", "-c", talks]);
    daemon.ok(&["run", "-d", "--name", "ends", "busybox", "sh", "-c", "read line; exit 7"]);
    daemon.ok(&["run", "-id", "--name", "waits", "busybox", "sh", "-c", "read line; exit 7"]);
    soon("it ended", || daemon.inspect("ends")["State"]["ExitCode"] == 7);
    let ballast = fill(&daemon);

    daemon.fails(&["run", "--rm", "--name", "new", "busybox", "true"], 125).saying("No space left on device");
    assert!(!daemon.ok(&["ps", "-a"]).contains("new"), "half of it is left");
    assert_eq!(daemon.ok(&["exec", "talks", "echo", "alive"]), "alive");
    let pid = daemon.inspect("talks")["State"]["Pid"].clone();
    // Its log has no room, and it is not held up: it ends when it is told something.
    assert_eq!(daemon.spawn_with(&["attach", "waits"], b"go\n", &[]).wait().code, 7);
    soon("its exit is known", || daemon.inspect("waits")["State"]["ExitCode"] == 7);
    daemon.ok(&["rm", "ends"]);
    assert!(!daemon.ok(&["ps", "-a"]).contains("ends"));

    daemon.kill();
    daemon.start();
    assert_eq!(daemon.inspect("talks")["State"]["Pid"], pid, "a new daemon finds it");
    assert_eq!(daemon.inspect("waits")["State"]["ExitCode"], 7, "and how the other one ended");
    daemon.ok(&["stop", "talks"]);
    assert_eq!(daemon.inspect("talks")["State"]["ExitCode"], 137);

    let freed = ballast.clone();
    daemon.sandbox().run(move || fs::remove_file(freed)).expect("our own file");
    daemon.ok(&["run", "--rm", "busybox", "true"]);
    daemon.ok(&["start", "talks"]);
    daemon.ok(&["rm", "-f", "talks", "waits"]);
    daemon.assert_no_container_left();
}

/// A client that asked to be attached, and got its answer's head.
fn attached(daemon: &Daemon, name: &str) -> UnixStream {
    let mut client = UnixStream::connect(daemon.socket()).expect("it listens");
    let request = format!(
        "POST /v1.43/containers/{name}/attach?stream=1&stdout=1&stderr=1 HTTP/1.1\r\nhost: x\r\nupgrade: tcp\r\n\
         connection: Upgrade\r\n\r\n"
    );
    client.write_all(request.as_bytes()).expect("it reads");
    let mut head = [0; 12];
    client.read_exact(&mut head).expect("an answer");
    assert_eq!(&head, b"HTTP/1.1 101");
    client
}

/// As with Docker, and with a pipe: who reads late still gets all of it, so the container's output waits for it.
#[test]
fn who_stops_reading_an_attached_stream_holds_up_that_container_alone_and_until_it_leaves() {
    let daemon = Daemon::with_busybox();
    // Far more than sockets and pipes take, by the first process itself.
    let script = "read line; exec awk 'BEGIN { for (i = 0; i < 450000; i++) print \"0123456789\"; fflush(); \
                  system(\"echo done > /done; sleep 600\") }'";
    for name in ["talks", "stopped"] {
        daemon.ok(&["run", "-id", "--name", name, "busybox", "sh", "-c", script]);
    }
    let stalled: Vec<UnixStream> = (0..3).map(|_| attached(&daemon, "talks")).collect();
    let _stalled_too = attached(&daemon, "stopped");
    let readers = ["talks", "stopped"].map(|name| daemon.spawn_with(&["attach", name], b"go\n", &[]));
    let pid = daemon.inspect("talks")["State"]["Pid"].clone();
    let printed = || {
        let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
        let line = io.lines().find_map(|line| line.strip_prefix("wchar: ")).expect("what it has written");
        line.parse::<u64>().expect("a number")
    };
    let (mut before, mut still) = (0, 0);
    soon("it writes until nobody takes it", || {
        let now = printed();
        still = if now > 0 && now == before { still + 1 } else { 0 };
        before = now;
        still > 20
    });
    assert_eq!(daemon.corten(&["exec", "talks", "cat", "/done"]).code, 1, "somebody took what nobody read");
    assert_eq!(daemon.ok(&["run", "--rm", "busybox", "echo", "others go on"]), "others go on");

    daemon.ok(&["stop", "-t", "0", "stopped"]);
    assert_eq!(daemon.inspect("stopped")["State"]["ExitCode"], 137, "and the daemon is its master");
    drop(stalled);
    soon("the last one that stalled has left", || daemon.corten(&["exec", "talks", "cat", "/done"]).code == 0);
    assert_eq!(daemon.ok(&["logs", "talks"]).lines().count(), 450_000);
    daemon.ok(&["rm", "-f", "talks", "stopped"]);
    let [read, _] = readers.map(testkit::Running::wait);
    assert_eq!(read.stdout.len(), 4_950_000, "the one that reads gets all of it");
    daemon.assert_no_container_left();
}
