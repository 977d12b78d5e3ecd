// SPDX-License-Identifier: Apache-2.0
//! What is made before anybody asks for a container: it goes to the next one, and is nobody's trace.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use testkit::Daemon;
use testkit::leftovers::cgroups_below;

/// The id that the next container will have, when all is made for it.
fn next(daemon: &Daemon) -> String {
    let begun = Instant::now();
    loop {
        let containers = daemon.ok(&["ps", "-aq", "--no-trunc"]);
        let mut ahead = daemon.made_ahead();
        ahead.retain(|id| !containers.contains(id));
        if let [id] = ahead.as_slice()
            && cgroups_below(daemon.cgroup()).iter().any(|path| path.ends_with(id))
        {
            return id.clone();
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing is made ahead: {:?}", daemon.made_ahead());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn directories(daemon: &Daemon) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(daemon.path().join("data/containers")).expect("the containers' directory");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

fn id_of(daemon: &Daemon, name: &str) -> String {
    daemon.ok(&["inspect", "--format", "{{.Id}}", name])
}

#[test]
fn the_next_container_gets_it_whoever_creates_it() {
    let daemon = Daemon::with_busybox();
    let first = next(&daemon);
    daemon.ok(&["run", "-d", "--name", "ran", "busybox", "sleep", "600"]);
    assert_eq!(id_of(&daemon, "ran"), first);
    let second = next(&daemon);
    assert_ne!(second, first);
    daemon.ok(&["create", "--name", "made", "busybox", "sh", "-c", "echo from $(hostname)"]);
    assert_eq!(id_of(&daemon, "made"), second);
    assert_eq!(daemon.ok(&["start", "-a", "made"]), format!("from {}", &second[..12]));
    // Again, without anything made ahead for it.
    assert_eq!(daemon.ok(&["start", "-a", "made"]), format!("from {}", &second[..12]));
    next(&daemon);
    daemon.ok(&["rm", "-f", "ran", "made"]);
    daemon.assert_no_container_left();
}

#[test]
fn who_cannot_be_created_leaves_it_to_the_next() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["create", "--name", "taken", "busybox", "true"]);
    daemon.ok(&["start", "taken"]);
    let id = next(&daemon);
    daemon.fails(&["run", "--rm", "--name", "taken", "busybox", "true"], 125).saying("taken");
    daemon.fails(&["create", "--name", "taken", "busybox", "true"], 125).saying("taken");
    assert_eq!(daemon.made_ahead(), [id.as_str()]);
    assert_eq!(directories(&daemon).len(), 2, "the container's, and the next one's");
    daemon.ok(&["create", "--name", "free", "busybox", "true"]);
    assert_eq!(id_of(&daemon, "free"), id);
}

#[test]
fn only_the_newest_that_was_created_has_a_shim_that_waits() {
    let daemon = Daemon::with_busybox();
    for name in ["one", "two", "three"] {
        next(&daemon);
        daemon.ok(&["create", "--name", name, "busybox", "sh", "-c", "exit 4"]);
        let waiting = daemon.made_ahead();
        assert!(waiting.contains(&id_of(&daemon, name)) && waiting.len() <= 2, "{waiting:?}");
    }
    for name in ["one", "three", "two", "one"] {
        assert_eq!(daemon.corten(&["start", "-a", name]).code, 4, "{name}");
    }
    // One that goes without having been started takes its shim and control group along.
    next(&daemon);
    daemon.ok(&["create", "--name", "four", "busybox", "true"]);
    daemon.ok(&["rm", "one", "two", "three", "four"]);
    daemon.assert_no_container_left();
}

#[test]
fn a_control_group_of_the_users_is_used_all_the_same() {
    let daemon = Daemon::with_busybox();
    next(&daemon);
    let parent = format!("{}-own", daemon.cgroup());
    let text = daemon.ok(&[
        "run",
        "--rm",
        "--cgroup-parent",
        &parent,
        "--cgroupns=host",
        "busybox",
        "cat",
        "/proc/self/cgroup",
    ]);
    assert!(text.lines().all(|line| line.contains(&format!("{parent}/"))), "{text}");
    daemon.assert_no_container_left();
    testkit::leftovers::remove_cgroups(&parent);
}

#[test]
fn a_command_that_cannot_run_leaves_nothing() {
    let daemon = Daemon::with_busybox();
    for _ in 0..3 {
        next(&daemon);
        daemon.fails(&["run", "--rm", "busybox", "/no/such/program"], 127);
        daemon.fails(&["run", "--rm", "--network", "container:nobody", "busybox", "true"], 125);
    }
    next(&daemon);
    assert_eq!(directories(&daemon).len(), 1);
    daemon.assert_no_container_left();
}

#[test]
fn a_root_like_the_last_one_is_mounted_ahead_and_another_is_mounted_anew() {
    let daemon = Daemon::with_busybox();
    // An image whose root directory is another's, and nothing else.
    daemon.ok(&["run", "--name", "shaped", "busybox", "sh", "-c", "chmod 1711 /; echo other > /which"]);
    daemon.ok(&["commit", "shaped", "other"]);
    daemon.ok(&["rm", "shaped"]);
    let see = |image: &str| {
        daemon.ok(&[
            "run",
            "--rm",
            image,
            "sh",
            "-c",
            "stat -c %a /; cat /which 2>&1; echo mine > /which; ls / | grep -c dirt; echo dirt > /dirt",
        ])
    };
    let (busybox, other) = (see("busybox"), see("other"));
    assert!(busybox.starts_with("755") && busybox.contains("No such file"), "{busybox}");
    assert!(other.starts_with("1711") && other.contains("other"), "{other}");
    for image in ["other", "busybox", "busybox", "other", "other", "busybox"] {
        let id = next(&daemon);
        let upper = daemon.path().join("data/containers").join(&id).join("upper");
        let begun = Instant::now();
        while !upper.exists() {
            assert!(begun.elapsed() < Duration::from_secs(30), "no root is mounted ahead");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(see(image), if image == "busybox" { busybox.clone() } else { other.clone() }, "{image}");
    }
    // The space of an image that is removed is free, though a root of it was mounted ahead.
    see("other");
    let id = next(&daemon);
    let upper = daemon.path().join("data/containers").join(&id).join("upper");
    let begun = Instant::now();
    while !std::fs::metadata(&upper).is_ok_and(|meta| meta.permissions().mode() & 0o7777 == 0o1711) {
        assert!(begun.elapsed() < Duration::from_secs(30), "no root is mounted ahead");
        std::thread::sleep(Duration::from_millis(5));
    }
    daemon.ok(&["rmi", "other"]);
    assert!(!upper.exists(), "nothing holds its layers");
    assert_eq!(see("busybox"), busybox);
}

#[test]
fn no_root_is_mounted_ahead_that_would_be_synced_when_it_is_not_wanted() {
    let daemon = Daemon::with_busybox();
    // Whether the next container had a root when it was created.
    let had_root = |name: &str| {
        let id = next(&daemon);
        daemon.ok(&["create", "--name", name, "busybox", "true"]);
        assert_eq!(id_of(&daemon, name), id);
        daemon.path().join("data/containers").join(&id).join("upper").exists()
    };
    next(&daemon);
    daemon.ok(&["run", "--rm", "busybox", "true"]);
    assert!(had_root("after-rm"));
    daemon.ok(&["start", "-a", "after-rm"]);
    assert!(!had_root("after-another"));
}

#[test]
fn its_files_are_there_and_nobodys_before_the_start() {
    let daemon = Daemon::with_busybox();
    let files = |id: &str| {
        let entries = std::fs::read_dir(daemon.path().join("data/containers").join(id)).expect("it is there");
        let mut files: Vec<(String, u64, u32)> = entries
            .map(|entry| {
                let entry = entry.expect("an entry");
                let metadata = entry.metadata().expect("it is there");
                (
                    entry.file_name().to_string_lossy().into_owned(),
                    metadata.len(),
                    metadata.permissions().mode() & 0o777,
                )
            })
            .collect();
        files.sort();
        files
    };
    let of_etc = || ["hostname", "hosts", "resolv.conf"].map(|name| (name.to_owned(), 0, 0o644));
    let log = |id: &str| (format!("{id}-json.log"), 0, 0o600);
    let id = next(&daemon);
    assert_eq!(files(&id), [&[log(&id)], &of_etc()[..]].concat());
    daemon.ok(&["create", "--name", "made", "busybox", "sh", "-c", "cat /etc/hostname"]);
    assert_eq!(id_of(&daemon, "made"), id);
    let inspected = daemon.inspect("made");
    for path in ["HostnamePath", "HostsPath", "ResolvConfPath"] {
        assert_eq!(inspected[path], "", "as long as nothing is in it");
    }
    assert_eq!(daemon.ok(&["logs", "made"]), "");
    assert_eq!(daemon.ok(&["start", "-a", "made"]), &id[..12]);
    assert_eq!(daemon.ok(&["logs", "made"]), &id[..12]);
    // Another log is in another file, or nowhere.
    for driver in ["local", "none"] {
        let id = next(&daemon);
        daemon.ok(&["create", "--name", driver, "--log-driver", driver, "busybox", "true"]);
        assert_eq!(files(&id), of_etc());
    }
}

#[test]
fn a_containers_cgroups_look_the_same_whether_they_were_mounted_ahead_or_not() {
    let daemon = Daemon::with_busybox();
    // Place, flags and root of each mount; the file system's own number and the order differ from container to container.
    let mounts = |arguments: &[&str]| {
        next(&daemon);
        let script = "grep /sys/fs/cgroup /proc/self/mountinfo; ls -l /sys/fs/cgroup; touch /sys/fs/cgroup/x";
        let run = daemon.corten(&[&["run", "--rm"], arguments, &["busybox", "sh", "-c", script]].concat());
        assert!(run.stderr.contains("Read-only file system"), "{}", run.stderr);
        let mut lines: Vec<String> = run.stdout.lines().map(told).collect();
        lines.sort();
        lines
    };
    let parent = format!("{}-other", daemon.cgroup());
    let (ahead, anew) = (mounts(&[]), mounts(&["--cgroup-parent", &parent]));
    assert!(ahead.len() > 1, "{ahead:#?}");
    assert_eq!(ahead, anew);
    // With other attributes than the usual ones.
    let mounts =
        daemon.ok(&["run", "--rm", "--privileged", "busybox", "grep", "/sys/fs/cgroup", "/proc/self/mountinfo"]);
    assert!(mounts.lines().all(|line| line.contains(" rw,")), "{mounts}");
    testkit::leftovers::remove_cgroups(&parent);
}

/// A line of mountinfo from the root on (proc_pid_mountinfo(5)), or of `ls -l` without links and times.
fn told(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    if words.get(4).is_some_and(|place| place.starts_with('/')) {
        return words[3..].join(" ");
    }
    let name = words.iter().skip(8).copied().collect::<Vec<_>>().join(" ");
    format!("{} {name}", words.first().copied().unwrap_or_default())
}

#[test]
fn who_takes_it_away_meanwhile_only_costs_time() {
    let daemon = Daemon::with_busybox();
    let id = next(&daemon);
    std::fs::remove_dir_all(daemon.path().join("data/containers").join(&id)).expect("it is there");
    std::fs::remove_dir_all(daemon.path().join("exec/shims").join(&id)).expect("it is there");
    testkit::leftovers::remove_cgroups(daemon.cgroup());
    daemon.ok(&["run", "--name", "ran", "busybox", "true"]);
    assert_eq!(id_of(&daemon, "ran"), id);
    assert_eq!(daemon.ok(&["diff", "ran"]), "");
}

#[test]
fn a_daemon_that_is_killed_leaves_it_to_the_next_daemon_to_remove() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "--rm", "busybox", "true"]);
    let id = next(&daemon);
    daemon.kill();
    daemon.start();
    let other = next(&daemon);
    assert_ne!(other, id);
    assert_eq!(directories(&daemon).len(), 1);
    assert!(!cgroups_below(daemon.cgroup()).iter().any(|path| path.ends_with(&id)), "its shim has removed its group");
    daemon.stop();
    assert_eq!(directories(&daemon), Vec::<PathBuf>::new(), "a daemon that ends removes what it made");
    assert_eq!(cgroups_below(daemon.cgroup()), Vec::<PathBuf>::new());
    daemon.start();
}
