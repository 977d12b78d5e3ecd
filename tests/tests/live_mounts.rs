// SPDX-License-Identifier: Apache-2.0
//! Mounts that come into a container and go while it runs: `corten update --mount` and `--unmount`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use end_to_end::isolation::pid;
use serde_json::{Value, json};
use testkit::Daemon;

/// A directory of the host's with one file, `name`, that says `name`.
fn directory(daemon: &Daemon, name: &str) -> String {
    let path = daemon.path().join(format!("host-{name}"));
    std::fs::create_dir(&path).expect("a new directory");
    std::fs::write(path.join(name), name).expect("a file");
    path.to_str().expect("text").to_owned()
}

fn bind(source: &str, target: &str) -> String {
    format!("type=bind,source={source},target={target}")
}

fn sleeper(daemon: &Daemon, name: &str, flags: &[&str]) {
    daemon.ok(&[&["run", "-d", "--name", name], flags, &["busybox", "sleep", "600"]].concat());
}

fn inside(daemon: &Daemon, name: &str, line: &str) -> String {
    daemon.ok(&["exec", name, "sh", "-c", line])
}

/// Where `inspect` says that something is mounted, with the kind, sorted.
fn shown(daemon: &Daemon, name: &str) -> Vec<String> {
    let found = daemon.inspect(name)["Mounts"].clone();
    let text = |point: &Value, field: &str| point[field].as_str().unwrap_or_default().to_owned();
    let points = found.as_array().expect("a list").iter();
    let mut list: Vec<String> =
        points.map(|one| format!("{} {}", text(one, "Type"), text(one, "Destination"))).collect();
    list.sort();
    list
}

/// The mount points that the kernel says a container has below `/t`, sorted.
fn mounted(daemon: &Daemon, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{}/mountinfo", pid(daemon, name))).expect("it runs");
    let points = text.lines().filter_map(|line| line.split(' ').nth(4));
    let mut list: Vec<String> = points.filter(|point| point.starts_with("/t")).map(str::to_owned).collect();
    list.sort();
    list
}

#[test]
fn mounts_come_and_go_while_the_container_runs_and_outlive_what_ends() {
    let daemon = Daemon::with_busybox();
    let data = directory(&daemon, "data");
    sleeper(&daemon, "web", &["-v", &format!("{data}:/t/begin")]);
    let (rw, ro) = (bind(&data, "/t/rw"), bind(&format!("{data}/data"), "/t/file") + ",readonly");
    let volume = "source=store,target=/t/sub/../volume";
    let all = ["--mount", &rw, "--mount", &ro, "--mount", volume, "--mount", "type=tmpfs,target=/t/tmp,tmpfs-size=1m"];
    daemon.ok(&[&["update"], &all[..], &["web"]].concat());
    assert_eq!(
        inside(&daemon, "web", "cat /t/rw/data /t/file; echo new > /t/rw/new; echo kept > /t/volume/kept"),
        "datadata"
    );
    assert_eq!(std::fs::read_to_string(format!("{data}/new")).expect("a file of the container's"), "new\n");
    daemon.fails(&["exec", "web", "sh", "-c", "echo x > /t/file"], 1).saying("Read-only file system");
    assert!(inside(&daemon, "web", "grep ' /t/tmp ' /proc/mounts").contains("nosuid,nodev,noexec"));
    assert_eq!(inside(&daemon, "web", "stat -c %a /t/tmp"), "1777");
    let expected = ["bind /t/begin", "bind /t/file", "bind /t/rw", "tmpfs /t/tmp", "volume /t/volume"];
    assert_eq!(shown(&daemon, "web"), expected);
    let wishes = daemon.inspect("web")["HostConfig"]["Mounts"].clone();
    assert_eq!((&wishes[1]["Target"], &wishes[1]["ReadOnly"]), (&json!("/t/file"), &json!(true)));
    daemon.fails(&["volume", "rm", "store"], 1).saying("in use");
    // Who copies files and who explains sees them as well.
    let copy = daemon.path().join("copy").display().to_string();
    daemon.ok(&["cp", "web:/t/volume/kept", &copy]);
    assert_eq!(std::fs::read_to_string(&copy).expect("a copy"), "kept\n");
    let explained = daemon.ok(&["explain", "web"]);
    assert!(["/t/file", "/t/rw", "/t/tmp", "/t/volume"].iter().all(|path| explained.contains(path)), "{explained}");
    // What is mounted stays where a daemon ends, and comes again when the container does.
    daemon.kill();
    daemon.start();
    assert_eq!((shown(&daemon, "web").len(), inside(&daemon, "web", "cat /t/volume/kept")), (5, "kept".to_owned()));
    daemon.ok(&["restart", "-t", "0", "web"]);
    assert_eq!(shown(&daemon, "web"), expected);
    assert_eq!(inside(&daemon, "web", "cat /t/volume/kept /t/file"), "kept\ndata");
    // Those of the start go as those of later do; a file that is open stays so.
    daemon.ok(&["update", "--mount", &bind(&data, "/t/late"), "web"]);
    daemon.ok(&[
        "exec",
        "-d",
        "web",
        "sh",
        "-c",
        "exec 3< /t/late/data; touch /ready; until [ -e /go ]; do usleep 10000; done; cat <&3 > /read; touch /done",
    ]);
    inside(&daemon, "web", "until [ -e /ready ]; do usleep 10000; done");
    let gone = ["/t/late", "/t/begin", "/t/tmp", "/t/volume"];
    let flags: Vec<&str> = gone.iter().flat_map(|path| ["--unmount", path]).collect();
    daemon.ok(&[&["update"], &flags[..], &["web"]].concat());
    assert_eq!(shown(&daemon, "web"), ["bind /t/file", "bind /t/rw"]);
    assert_eq!(mounted(&daemon, "web"), ["/t/file", "/t/rw"]);
    assert_eq!(
        inside(&daemon, "web", "ls /t/late /t/begin; touch /go; until [ -e /done ]; do usleep 10000; done; cat /read"),
        "/t/begin:\n\n/t/late:\ndata"
    );
    daemon.ok(&["volume", "rm", "store"]);
    // One that does not run has them from its next start on.
    daemon.ok(&["stop", "-t", "0", "web"]);
    daemon.ok(&["update", "--unmount", "/t/rw", "--mount", "source=store,target=/t/store", "web"]);
    daemon.ok(&["start", "web"]);
    assert_eq!(mounted(&daemon, "web"), ["/t/file", "/t/store"]);
    let told = ["events", "--since", "1h", "--until", "0s", "--filter", "event=update", "--format", "{{.Action}}"];
    assert_eq!(daemon.ok(&told).lines().count(), 3, "those of this daemon");
    daemon.ok(&["rm", "-f", "web"]);
    daemon.assert_no_container_left();
}

#[test]
fn what_cannot_be_changes_nothing_and_what_fails_is_undone() {
    let daemon = Daemon::with_busybox();
    let data = directory(&daemon, "data");
    sleeper(&daemon, "web", &["--tmpfs", "/t/tmp", "-v", &format!("{data}:/t/data")]);
    inside(&daemon, "web", "echo precious > /t/tmp/file; touch /file");
    let before = (daemon.inspect("web"), mounted(&daemon, "web"));
    let file = bind(&format!("{data}/data"), "/t/other");
    for (flags, says) in [
        (&["--mount", &bind(&data, "/t/data")[..]][..], "/t/data is mounted on already"),
        (&["--unmount", "/t/nothing"], "has nothing mounted on /t/nothing"),
        (&["--unmount", "/t"], "has nothing mounted on /t"),
        (&["--mount", &bind(&data, "/t")], "is mounted below /t"),
        (&["--mount", &bind(&data, "/../..")], "cannot be the container's root"),
        (&["--mount", &bind("/no/such/place", "/t/new")], "/no/such/place"),
        (&["--mount", "type=bind,source=/tmp,target=/proc/x"], "not inside /proc"),
        (&["--mount", "type=volume,source=new,target=/t/new,volume-opt=size=1"], "size"),
        // The last of several fails: what was done before it is undone, and a new volume has gone.
        (
            &["--unmount", "/t/tmp", "--mount", "source=new,target=/t/new", "--mount", &bind(&data, "/file")],
            "is not a directory",
        ),
        (
            &[
                "--unmount",
                "/t/data",
                "--mount",
                &file,
                "--mount",
                "type=tmpfs,target=/t/x,tmpfs-mode=7",
                "--cpuset-cpus",
                "4000",
            ],
            "cpuset",
        ),
    ] {
        daemon.fails(&[&["update"], flags, &["web"]].concat(), 1).saying(says);
        assert_eq!((daemon.inspect("web"), mounted(&daemon, "web")), before, "{flags:?}");
    }
    assert_eq!(daemon.ok(&["volume", "ls", "-q"]), "");
    assert_eq!(inside(&daemon, "web", "cat /t/tmp/file /t/data/data"), "precious\ndata");
    // What was put back goes like any other, and a place changes hands in one update.
    let other = directory(&daemon, "other");
    daemon.ok(&["update", "--unmount", "/t/data", "--mount", &bind(&other, "/t/data"), "--unmount", "/t/tmp", "web"]);
    assert_eq!(
        (inside(&daemon, "web", "ls /t/data"), mounted(&daemon, "web")),
        ("other".into(), vec!["/t/data".into()])
    );
    // How it spreads is as it was asked for.
    daemon.ok(&["update", "--mount", &(bind(&other, "/t/peer") + ",bind-propagation=rshared"), "web"]);
    let spreads =
        |target: &str| inside(&daemon, "web", &format!("grep ' {target} ' /proc/self/mountinfo")).contains("shared:");
    assert!(spreads("/t/peer") && !spreads("/t/data"));
}

#[test]
fn no_path_of_the_containers_leads_out_of_it() {
    let daemon = Daemon::with_busybox();
    let (data, outside) = (directory(&daemon, "data"), directory(&daemon, "outside"));
    let host = daemon.sandbox().mounts();
    sleeper(&daemon, "web", &["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"]);
    let up = "../".repeat(30);
    let links = format!(
        "ln -s / /root-of-all; ln -s {up}{outside}/away /dots; ln -s {outside}/away /absolute; ln -s /proc/sys /kernel; \
         ln -s /loop /loop; ln -s /proc/1/root /out"
    );
    inside(&daemon, "web", &links);
    for (target, says) in [
        ("/root-of-all", "leads to the container's root"),
        ("/kernel", "procfs"),
        ("/kernel/kernel", "procfs"),
        ("/loop", "ELOOP"),
        ("/out", "ELOOP"),
    ] {
        daemon.fails(&["update", "--mount", &bind(&data, target), "web"], 1).saying(says);
    }
    // They lead to the container's own directories of these names.
    daemon.ok(&["update", "--mount", &bind(&data, "/dots"), "--mount", &bind(&data, "/absolute/x"), "web"]);
    assert_eq!(inside(&daemon, "web", &format!("cat {outside}/away/x/data")), "data");
    assert!(!PathBuf::from(&outside).join("away").exists());
    daemon.ok(&["update", "--unmount", "/absolute/x", "--unmount", "/dots", "web"]);
    // A container that renames what a mount lies in does not keep it, and one that mounts over it is told apart.
    daemon.ok(&["update", "--mount", &bind(&data, "/t/a/b"), "web"]);
    inside(&daemon, "web", "mv /t/a /t/moved; mkdir -p /t/a/b; ls /t/moved/b/data");
    daemon.ok(&["update", "--unmount", "/t/a/b", "web"]);
    assert_eq!(mounted(&daemon, "web"), [] as [&str; 0]);
    daemon.ok(&["update", "--mount", &bind(&data, "/t/covered"), "web"]);
    inside(&daemon, "web", "mount -t tmpfs none /t/covered");
    daemon.fails(&["update", "--unmount", "/t/covered", "web"], 1).saying("something else by now");
    inside(&daemon, "web", "umount /t/covered && umount /t/covered");
    daemon.ok(&["update", "--unmount", "/t/covered", "web"]);
    assert_eq!(shown(&daemon, "web"), [] as [&str; 0]);
    // A directory and a link out of the container take each other's place all the time.
    let race = format!("mkdir /d; ln -s {up}{outside} /l; while true; do mv /d /e; mv /l /d; mv /d /l; mv /e /d; done");
    daemon.ok(&["exec", "-d", "web", "sh", "-c", &race]);
    for _ in 0..15 {
        if daemon.corten(&["update", "--mount", &bind(&data, "/d/away"), "web"]).code == 0 {
            daemon.corten(&["update", "--unmount", "/d/away", "web"]);
        }
        assert!(!PathBuf::from(&outside).join("away").exists(), "made outside");
    }
    daemon.ok(&["rm", "-f", "web"]);
    daemon.assert_no_container_left();
    let now = daemon.sandbox().mounts();
    let new: Vec<&String> = now.iter().filter(|point| !host.contains(point)).collect();
    assert!(new.is_empty(), "{new:?}");
}

#[test]
fn a_paused_container_and_one_whose_root_is_read_only_get_mounts_as_well() {
    let daemon = Daemon::with_busybox();
    let data = directory(&daemon, "data");
    sleeper(&daemon, "still", &[]);
    daemon.ok(&["pause", "still"]);
    daemon.ok(&["update", "--mount", &bind(&data, "/t/data"), "--mount", "type=tmpfs,target=/t/tmp", "still"]);
    assert_eq!(mounted(&daemon, "still"), ["/t/data", "/t/tmp"]);
    daemon.ok(&["update", "--unmount", "/t/tmp", "still"]);
    daemon.ok(&["unpause", "still"]);
    assert_eq!(inside(&daemon, "still", "cat /t/data/data"), "data");
    // Its mount points are made as at a start; what is read-only itself stays as it is.
    sleeper(&daemon, "fixed", &["--read-only", "-v", &format!("{data}:/t/fixed:ro")]);
    daemon.ok(&["update", "--mount", &bind(&data, "/t/new/data"), "fixed"]);
    assert_eq!(inside(&daemon, "fixed", "cat /t/new/data/data; touch /t/new/x || true"), "data");
    assert!(!inside(&daemon, "fixed", "ls /t/new").contains('x'));
    daemon.fails(&["update", "--mount", &bind(&data, "/t/fixed/deep/x"), "fixed"], 1).saying("Read-only file system");
    assert_eq!(mounted(&daemon, "fixed"), ["/t/fixed", "/t/new/data"]);
    daemon.ok(&["restart", "-t", "0", "fixed"]);
    assert_eq!(mounted(&daemon, "fixed"), ["/t/fixed", "/t/new/data"]);
}

/// Changes the record that a new daemon finds beside a container's shim.
fn edit_record(daemon: &Daemon, name: &str, id: &str, edit: impl FnOnce(&mut Value)) {
    let path = daemon.path().join("exec/shims").join(id).join("container.json");
    let mut kept: Value = serde_json::from_slice(&std::fs::read(&path).expect("a record")).expect("JSON");
    assert_eq!(kept["record"]["name"], name);
    edit(&mut kept["record"]);
    std::fs::write(&path, kept.to_string()).expect("a record");
}

#[test]
fn a_daemon_that_was_killed_in_between_is_followed_by_one_that_asks_the_kernel() {
    let daemon = Daemon::with_busybox();
    let (data, other) = (directory(&daemon, "data"), directory(&daemon, "other"));
    sleeper(&daemon, "web", &["-v", &format!("{data}:/t/old")]);
    let id = daemon.inspect("web")["Id"].as_str().expect("an id").to_owned();
    let record = |daemon: &Daemon| {
        let text = std::fs::read(daemon.path().join("exec/shims").join(&id).join("container.json")).expect("a record");
        serde_json::from_slice::<Value>(&text).expect("JSON")["record"].clone()
    };
    let before = record(&daemon);
    daemon.ok(&[
        "update",
        "--unmount",
        "/t/old",
        "--mount",
        &bind(&other, "/t/new"),
        "--mount",
        &bind(&other, "/t/more"),
        "web",
    ]);
    let after = record(&daemon);
    let added = after["state"]["live"].clone();
    assert_eq!((added.as_array().map(Vec::len), &after["state"]["changing"]), (Some(2), &Value::Null));
    let changing = json!({"wishes": before["spec"]["mounts"], "mounts": before["mounts"], "added": added});
    // Killed when all was done and nothing of it noted.
    daemon.kill();
    edit_record(&daemon, "web", &id, |record| {
        record["state"]["live"] = json!([]);
        record["state"]["changing"] = changing.clone();
    });
    daemon.start();
    assert_eq!(shown(&daemon, "web"), ["bind /t/more", "bind /t/new"]);
    assert!(daemon.log().contains("a change of its mounts was interrupted"));
    daemon.ok(&["update", "--unmount", "/t/new", "--unmount", "/t/more", "--mount", &bind(&data, "/t/old"), "web"]);
    assert_eq!(mounted(&daemon, "web"), ["/t/old"]);
    // Killed when nothing of it was done.
    let now = record(&daemon);
    let mut changing = json!({"wishes": now["spec"]["mounts"], "mounts": now["mounts"], "added": added});
    changing["added"][0]["number"] = json!(u32::MAX);
    changing["added"][1]["number"] = json!(u32::MAX);
    daemon.kill();
    edit_record(&daemon, "web", &id, |record| {
        (record["spec"]["mounts"], record["mounts"]) = (after["spec"]["mounts"].clone(), after["mounts"].clone());
        record["state"]["changing"] = changing;
    });
    daemon.start();
    assert_eq!(shown(&daemon, "web"), ["bind /t/old"]);
    assert_eq!(daemon.inspect("web")["HostConfig"]["Mounts"].as_array().map(Vec::len), Some(1));
    daemon.ok(&["update", "--unmount", "/t/old", "web"]);
    // Killed at whatever moment it was: what is shown is what there is.
    for round in 0..8 {
        let target = format!("/t/round{round}");
        let update = daemon.spawn(&["update", "--mount", &bind(&data, &target), "web"]);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_micros(1500 * round) {
            std::hint::spin_loop();
        }
        daemon.kill();
        drop(update.wait());
        daemon.start();
        let there: Vec<String> = shown(&daemon, "web").iter().map(|one| one.replace("bind ", "")).collect();
        assert_eq!(there, mounted(&daemon, "web"), "{}", daemon.log());
    }
    daemon.ok(&["rm", "-f", "web"]);
    daemon.assert_no_container_left();
}

#[test]
fn in_a_user_namespace_what_comes_is_the_containers_own_as_at_a_start() {
    const IDS: &str = "corten:1000000:262144\n";
    let daemon = Daemon::builder().etc("subuid", IDS).etc("subgid", IDS).start();
    daemon.import_busybox();
    let data = directory(&daemon, "data");
    sleeper(&daemon, "own", &["--userns", "remap", "--read-only"]);
    let all = ["--mount", "source=store,target=/t/made/store", "--mount", "type=tmpfs,target=/t/tmp,tmpfs-mode=700"];
    daemon.ok(&[&["update", "--mount", &bind(&data, "/t/data")], &all[..], &["own"]].concat());
    let look = "stat -c '%u %n' /t/made /t/made/store /t/tmp /t/data; cd /t; touch made/store/x tmp/x && echo mine > /t/tmp/x; \
                cat data/data; touch data/x || true";
    let owned = "0 /t/made\n0 /t/made/store\n0 /t/tmp\n65534 /t/data\ndata";
    assert_eq!(inside(&daemon, "own", look), owned);
    daemon.ok(&["restart", "-t", "0", "own"]);
    assert_eq!(inside(&daemon, "own", look), owned);
    daemon.ok(&["update", "--unmount", "/t/tmp", "--unmount", "/t/data", "own"]);
    assert_eq!(mounted(&daemon, "own"), ["/t/made/store"]);
    daemon.ok(&["rm", "-f", "own"]);
    daemon.assert_no_container_left();
}
