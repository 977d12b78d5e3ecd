// SPDX-License-Identifier: Apache-2.0
//! Volumes: made, used, shared, filled from images, listed, removed, and right again after a kill.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use serde_json::{Value, json};
use testkit::Daemon;

/// Where a volume's files are on the host.
fn place(daemon: &Daemon, name: &str) -> PathBuf {
    daemon.path().join("data/volumes").join(name).join("_data")
}

fn names(daemon: &Daemon, arguments: &[&str]) -> Vec<String> {
    let listed = daemon.ok(&[&["volume", "ls", "-q"], arguments].concat());
    listed.lines().map(str::to_owned).collect()
}

/// An image with files below `/data`, owned by another user, where it wants a volume.
fn image_with_data(daemon: &Daemon) {
    let script = "mkdir -p /data/sub && echo of-the-image > /data/file && ln /data/file /data/again && \
                  ln -s file /data/link && chown -R 1000:1001 /data && chmod 2770 /data && chmod 600 /data/file";
    daemon.ok(&["run", "--name", "maker", "busybox", "sh", "-c", script]);
    daemon.ok(&["commit", "--change", "VOLUME /data", "maker", "with-data"]);
    daemon.ok(&["rm", "maker"]);
}

#[test]
fn a_named_volume_outlives_its_containers_and_a_kill() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "--rm", "-v", "store:/store", "busybox", "sh", "-c", "echo kept > /store/file"]);
    assert_eq!(daemon.ok(&["run", "--rm", "-v", "store:/s:ro", "busybox", "cat", "/s/file"]), "kept");
    daemon.fails(&["run", "--rm", "-v", "store:/s:ro", "busybox", "touch", "/s/x"], 1).saying("Read-only file system");
    assert_eq!(names(&daemon, &[]), ["store"]);
    daemon.ok(&["volume", "create", "--label", "tier=db", "made"]);
    daemon.kill();
    daemon.start();
    assert_eq!(names(&daemon, &[]), ["made", "store"]);
    assert_eq!(names(&daemon, &["-f", "label=tier=db"]), ["made"]);
    assert_eq!(daemon.ok(&["run", "--rm", "-v", "store:/s", "busybox", "cat", "/s/file"]), "kept");
    // Of the same name there is one.
    assert_eq!(daemon.ok(&["volume", "create", "store"]), "store");
    assert_eq!(std::fs::read_to_string(place(&daemon, "store").join("file")).unwrap(), "kept\n");
    let found = daemon.ok(&["volume", "inspect", "made"]);
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!((&found[0]["Driver"], &found[0]["Labels"]["tier"]), (&json!("local"), &json!("db")));
    assert_eq!(found[0]["Mountpoint"], json!(place(&daemon, "made").to_str()));
    assert_eq!(daemon.ok(&["inspect", "--format", "{{.Scope}}", "made"]), "local");
    assert_eq!(daemon.ok(&["volume", "rm", "store", "made"]), "store\nmade");
    assert!(!place(&daemon, "store").exists());
    daemon.fails(&["volume", "rm", "store"], 1).saying("no such volume: store");
    daemon.ok(&["volume", "rm", "-f", "store"]);
    daemon.fails(&["volume", "inspect", "store"], 1).saying("no such volume: store");
    daemon.fails(&["volume", "create", "a/b"], 1).saying("invalid characters");
    daemon.fails(&["volume", "create", "-d", "nfs", "ab"], 1).saying("nfs");
    daemon.fails(&["volume", "create", "-o", "size=1g", "ab"], 1).saying("size");
    daemon.fails(&["volume", "create", "-o", "type=tmpfs", "ab"], 1).saying("device");
    daemon.fails(&["run", "-v", ".hidden.:/x:rw:rw", "busybox", "true"], 125);
    assert!(names(&daemon, &[]).is_empty());
}

#[test]
fn a_new_volume_begins_with_what_the_image_has() {
    let daemon = Daemon::with_busybox();
    image_with_data(&daemon);
    let listing = ["sh", "-c", "cd /data; cat file; stat -c '%n %u:%g %a %h' . file again sub; readlink link"];
    let expected =
        "of-the-image\n. 1000:1001 2770 3\nfile 1000:1001 600 2\nagain 1000:1001 600 2\nsub 1000:1001 755 2\nfile";
    let run = |options: &[&str]| daemon.ok(&[&["run", "--rm"], options, &["with-data"], &listing[..]].concat());
    // A volume that the image declares, one with a name, and an empty one that there was before.
    assert_eq!(run(&[]), expected);
    assert_eq!(run(&["-v", "named:/data"]), expected);
    daemon.ok(&["volume", "create", "before"]);
    assert_eq!(run(&["--mount", "source=before,target=/data"]), expected);
    let root = std::fs::metadata(place(&daemon, "before")).unwrap();
    assert_eq!((root.uid(), root.gid(), root.permissions().mode() & 0o7777), (1000, 1001, 0o2770));
    // What is in a volume stays, and nothing comes where nothing shall.
    std::fs::write(place(&daemon, "before").join("file"), "of-the-host\n").unwrap();
    let cat = |volume: &str| {
        let volume = format!("{volume}:/data:nocopy");
        daemon.ok(&["run", "--rm", "-v", &volume, "with-data", "sh", "-c", "cat /data/file || true"])
    };
    assert_eq!(cat("before"), "of-the-host");
    assert_eq!(cat("empty"), "");
    assert_eq!(daemon.ok(&["run", "--rm", "-v", "before:/data", "with-data", "cat", "/data/file"]), "of-the-host");
    // One that is made with its container is filled before it starts.
    let id = daemon.ok(&["create", "-v", "early:/data", "with-data", "true"]);
    assert_eq!(std::fs::read_to_string(place(&daemon, "early").join("file")).unwrap(), "of-the-image\n");
    daemon.fails(&["volume", "rm", "early"], 1).saying(&format!("remove early: volume is in use - [{id}]"));
    daemon.fails(&["create", "-v", "on-a-file:/etc/passwd", "with-data", "true"], 125).saying("/etc/passwd");
    // What failed has left nothing, and --rm took what nobody has named.
    assert_eq!(names(&daemon, &[]), ["before", "early", "empty", "named"]);
}

#[test]
fn an_anonymous_volume_goes_when_it_is_asked_for() {
    let daemon = Daemon::with_busybox();
    let anonymous = || names(&daemon, &["-f", "label=com.docker.volume.anonymous"]);
    daemon.ok(&["run", "--name", "one", "-v", "/a", "-v", "named:/n", "busybox", "true"]);
    daemon.ok(&["run", "--name", "two", "-v", "/a", "busybox", "true"]);
    daemon.ok(&["create", "--name", "three", "--volumes-from", "two", "busybox", "true"]);
    let all = anonymous();
    assert_eq!((all.len(), all[0].len()), (2, 64), "{all:?}");
    assert_eq!(names(&daemon, &["-f", "dangling=true"]), [""; 0]);
    daemon.ok(&["rm", "-v", "one"]);
    assert_eq!(anonymous().len(), 1);
    assert_eq!(names(&daemon, &["-f", "dangling=true"]), ["named"]);
    // Another container has it.
    daemon.ok(&["rm", "-v", "two"]);
    assert_eq!(anonymous().len(), 1);
    daemon.ok(&["rm", "three"]);
    assert_eq!(anonymous().len(), 1);
    daemon.fails(&["volume", "prune", "-f", "--filter", "colour=red"], 1).saying("colour");
    let pruned = daemon.ok(&["volume", "prune", "-f"]);
    assert!(
        pruned.starts_with(&format!("Deleted Volumes:\n{}", all.iter().find(|name| pruned.contains(*name)).unwrap()))
    );
    assert_eq!(names(&daemon, &[]), ["named"], "what has a name is not pruned unasked");
    assert!(daemon.ok(&["volume", "prune", "-af"]).contains("named"));
    assert!(names(&daemon, &[]).is_empty());
    // A --rm container takes it along, also when the daemon was killed meanwhile.
    let id = daemon.ok(&["run", "-d", "--rm", "-v", "/a", "busybox", "sleep", "60"]);
    assert_eq!(anonymous().len(), 1);
    daemon.kill();
    daemon.start();
    assert_eq!(anonymous().len(), 1);
    daemon.ok(&["kill", &id]);
    daemon.assert_no_container_left();
    for _ in 0..500 {
        if names(&daemon, &[]).is_empty() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{:?}", names(&daemon, &[]));
}

#[test]
fn mounts_are_listed_as_docker_lists_them() {
    let daemon = Daemon::with_busybox();
    image_with_data(&daemon);
    let shared = daemon.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    let bind = format!("{}:/b:ro", shared.display());
    let mount = format!("type=bind,src={},dst=/c,bind-recursive=disabled", shared.display());
    let options = ["-v", "named:/n", "-v", &bind, "--mount", &mount, "--tmpfs", "/t", "--mount", "type=tmpfs,dst=/u"];
    daemon.ok(&[&["create", "--name", "all"], &options[..], &["with-data", "true"]].concat());
    let found = daemon.inspect("all");
    let point = |target: &str| {
        let points = found["Mounts"].as_array().unwrap();
        points.iter().find(|point| point["Destination"] == target).cloned().unwrap_or(Value::Null)
    };
    let source = shared.to_str().unwrap();
    let place = place(&daemon, "named");
    assert_eq!(
        point("/n"),
        json!({"Type": "volume", "Name": "named", "Source": place.to_str(), "Destination": "/n", "Driver": "local",
            "Mode": "z", "RW": true, "Propagation": ""})
    );
    assert_eq!(
        point("/b"),
        json!({"Type": "bind", "Source": source, "Destination": "/b", "Mode": "ro", "RW": false, "Propagation": "rprivate"})
    );
    assert_eq!((&point("/c")["Mode"], &point("/u")["Type"]), (&json!(""), &json!("tmpfs")));
    let declared = point("/data");
    assert_eq!((&declared["Mode"], declared["Name"].as_str().map(str::len)), (&json!(""), Some(64)));
    assert_eq!(point("/t"), Value::Null, "Docker does not list what --tmpfs mounts");
    assert_eq!(found["HostConfig"]["Binds"], json!(["named:/n", bind]));
    assert_eq!(found["HostConfig"]["Tmpfs"], json!({"/t": ""}));
    assert_eq!(found["HostConfig"]["Mounts"][0]["BindOptions"], json!({"NonRecursive": true}));
    assert_eq!(found["Config"]["Volumes"], json!({"/data": {}}));
    let short = ["--format", "{{.Names}} {{.LocalVolumes}}"];
    assert_eq!(daemon.ok(&[&["ps", "-a", "-f", "volume=named"], &short[..]].concat()), "all 2");
    assert_eq!(daemon.ok(&[&["ps", "-a", "-f", "volume=other"], &short[..]].concat()), "");
    // What goes where twice is refused; what the image declares gives way.
    daemon
        .fails(&["create", "-v", "a1:/x", "-v", "b1:/x/", "busybox", "true"], 125)
        .saying("Duplicate mount point: /x");
    daemon.ok(&["run", "--rm", "--tmpfs", "/data", "with-data", "sh", "-c", "test ! -e /data/file"]);
    daemon
        .fails(&["create", "--mount", "type=bind,src=/nowhere/x,dst=/x", "busybox", "true"], 125)
        .saying("does not exist");
    daemon.fails(&["create", "--volumes-from", "nobody", "busybox", "true"], 125).saying("nobody");
    let from = daemon.ok(&["create", "--volumes-from", "all:ro", "busybox", "true"]);
    let from = daemon.inspect(&from);
    let named = from["Mounts"].as_array().unwrap().iter().find(|point| point["Name"] == "named").cloned().unwrap();
    assert_eq!((&named["RW"], &named["Mode"]), (&json!(false), &json!("")));
    assert_eq!(from["HostConfig"]["VolumesFrom"], json!(["all:ro"]));
}

#[test]
fn what_is_mounted_below_another_mount_is_seen() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["volume", "create", "inner"]);
    std::fs::write(place(&daemon, "inner").join("file"), "inner\n").unwrap();
    let output = daemon.ok(&["run", "--rm", "-v", "inner:/a/b", "-v", "outer:/a", "busybox", "cat", "/a/b/file"]);
    assert_eq!(output, "inner");
}

#[test]
fn a_part_of_a_volume_is_found_in_it_and_nowhere_else() {
    let daemon = Daemon::with_busybox();
    let script = "mkdir -p /v/a/b; echo part > /v/a/b/file; ln -s /etc /v/out; ln -s a/b /v/in; ln -s .. /v/a/up";
    daemon.ok(&["run", "--rm", "-v", "whole:/v", "busybox", "sh", "-c", script]);
    let part = |subpath: &str| format!("type=volume,src=whole,dst=/p,volume-subpath={subpath}");
    for subpath in ["a/b", "in"] {
        assert_eq!(daemon.ok(&["run", "--rm", "--mount", &part(subpath), "busybox", "cat", "/p/file"]), "part");
    }
    let kept = daemon.ok(&["run", "-d", "--mount", &part("a/b"), "busybox", "sleep", "60"]);
    assert_eq!(daemon.ok(&["exec", &kept, "cat", "/p/file"]), "part");
    for subpath in ["out", "a/up/../..", "nothing"] {
        let failed = daemon.fails(&["run", "--rm", "--mount", &part(subpath), "busybox", "ls", "/p"], 125);
        assert!(failed.stderr.contains("ubpath") || failed.stderr.contains("cannot access"), "{}", failed.stderr);
    }
}

#[test]
fn options_say_what_is_mounted_as_long_as_somebody_uses_it() {
    let daemon = Daemon::with_busybox();
    let tmpfs = ["-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,uid=1000,noexec"];
    daemon.ok(&[&["volume", "create"], &tmpfs[..], &["memory"]].concat());
    let mounted = || daemon.sandbox().mounts().iter().any(|mount| mount.contains("volumes/memory/_data"));
    assert!(!mounted());
    let shown = "grep ' /m ' /proc/mounts; stat -c %u /m";
    let output = daemon.ok(&["run", "--rm", "-v", "memory:/m", "busybox", "sh", "-c", shown]);
    assert!(output.starts_with("tmpfs /m tmpfs rw,noexec,relatime,size=1024k,uid=1000"), "{output}");
    assert!(output.ends_with("\n1000"), "{output}");
    let first = daemon.ok(&["run", "-d", "-v", "memory:/m", "busybox", "sh", "-c", "echo x > /m/x; sleep 60"]);
    let second = daemon.ok(&["run", "-d", "-v", "memory:/m", "busybox", "sleep", "60"]);
    daemon.ok(&["exec", &second, "sh", "-c", "until [ -s /m/x ]; do usleep 10000; done"]);
    daemon.ok(&["rm", "-f", &first]);
    // A daemon that starts anew knows who uses it.
    daemon.kill();
    daemon.start();
    assert!(mounted());
    assert_eq!(daemon.ok(&["run", "--rm", "-v", "memory:/m", "busybox", "cat", "/m/x"]), "x");
    assert!(mounted());
    daemon.fails(&["volume", "rm", "memory"], 1).saying("in use");
    daemon.ok(&["rm", "-f", &second]);
    daemon.assert_no_container_left();
    assert!(!mounted());
    // What cannot be mounted fails the start and leaves nothing.
    daemon.ok(&["volume", "create", "-o", "type=nothing-such", "-o", "device=x", "broken"]);
    daemon.fails(&["run", "--rm", "-v", "broken:/m", "busybox", "true"], 125).saying("nothing-such");
    daemon.ok(&["volume", "rm", "memory", "broken"]);
    let shared = daemon.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("file"), "host\n").unwrap();
    let device = format!("volume-opt=device={}", shared.display());
    let mount = format!("type=volume,src=bound,dst=/b,volume-opt=type=none,volume-opt=o=bind,{device}");
    assert_eq!(daemon.ok(&["run", "--rm", "--mount", &mount, "busybox", "cat", "/b/file"]), "host");
    daemon.ok(&["volume", "rm", "bound"]);
    assert!(shared.join("file").exists(), "what was bound is not the volume's to remove");
    daemon.assert_no_container_left();
}

#[test]
fn events_and_usage_tell_of_volumes() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&[
        "run",
        "--name",
        "user",
        "-v",
        "seen:/s",
        "busybox",
        "sh",
        "-c",
        "dd if=/dev/zero of=/s/f bs=4096 count=8",
    ]);
    let usage = || daemon.ok(&["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}"]);
    assert!(usage().contains("Local Volumes 1 1"), "{}", usage());
    let all = daemon.ok(&["system", "df", "-v", "--format", "json"]);
    let all: Value = serde_json::from_str(&all).unwrap();
    assert_eq!(all["Volumes"][0]["Links"], "1");
    daemon.ok(&["rm", "user"]);
    daemon.ok(&["volume", "rm", "seen"]);
    assert!(usage().contains("Local Volumes 0 0"), "{}", usage());
    let format = "{{.Action}} {{.Actor.ID}} {{json .Actor.Attributes}}";
    let events = daemon.ok(&["events", "--since", "1h", "--until", "0s", "-f", "volume=seen", "--format", format]);
    let events: Vec<&str> = events.lines().collect();
    assert_eq!(events.len(), 4, "{events:?}");
    assert_eq!(events[0], r#"create seen {"driver":"local"}"#);
    assert!(events[1].starts_with("mount seen {\"container\":"), "{events:?}");
    assert!(
        events[1].ends_with(r#""destination":"/s","driver":"local","propagation":"","read/write":"true"}"#),
        "{events:?}"
    );
    assert!(events[2].starts_with("unmount seen {\"container\":"), "{events:?}");
    assert_eq!(events[3], r#"destroy seen {"driver":"local"}"#);
}

#[test]
fn a_starting_daemon_brings_directories_and_records_together() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["volume", "create", "lost"]);
    daemon.stop();
    let volumes = daemon.path().join("data/volumes");
    // As a kill in the middle leaves them: half made, half removed, and one whose removal nobody was told of.
    std::fs::create_dir_all(volumes.join(".new-half/_data")).unwrap();
    std::fs::create_dir_all(volumes.join(".gone-0-over/_data/deep")).unwrap();
    std::fs::write(volumes.join("lost/_data/file"), "still here\n").unwrap();
    std::fs::rename(volumes.join("lost"), volumes.join(".gone-1-lost")).unwrap();
    // As from a backup.
    std::fs::create_dir_all(volumes.join("restored/_data")).unwrap();
    std::fs::write(volumes.join("restored/_data/file"), "from a backup\n").unwrap();
    daemon.start();
    assert_eq!(names(&daemon, &[]), ["lost", "restored"]);
    let cat = |name: &str| daemon.ok(&["run", "--rm", "-v", &format!("{name}:/v"), "busybox", "cat", "/v/file"]);
    assert_eq!((cat("lost").as_str(), cat("restored").as_str()), ("still here", "from a backup"));
    let mut left: Vec<_> = std::fs::read_dir(&volumes).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["lost", "restored"]);
    std::fs::remove_dir_all(volumes.join("restored")).unwrap();
    daemon.fails(&["system", "check"], 1).saying("volume restored");
}

#[test]
fn what_a_killed_daemon_had_mounted_into_a_new_volume_is_let_go_and_not_removed() {
    let daemon = Daemon::with_busybox();
    daemon.stop();
    let precious = daemon.path().join("precious");
    std::fs::create_dir(&precious).unwrap();
    std::fs::write(precious.join("file"), "of the host's").unwrap();
    let half_made = daemon.path().join("data/volumes/.new-half");
    std::fs::create_dir_all(half_made.join("_data")).unwrap();
    let (source, target) = (precious.clone(), half_made.join("_data"));
    daemon.sandbox().run(move || rustix::mount::mount_bind(&source, &target)).unwrap();
    // One that cannot be: it keeps nobody from working.
    std::fs::create_dir_all(daemon.path().join("data/volumes/kept")).unwrap();
    std::fs::write(daemon.path().join("data/volumes/kept/_data"), "no directory").unwrap();
    daemon.start();
    assert!(!half_made.exists(), "half of a volume stays");
    assert_eq!(std::fs::read_to_string(precious.join("file")).unwrap(), "of the host's");
    daemon.ok(&["run", "--rm", "-v", "other:/data", "busybox", "touch", "/data/file"]);
}
