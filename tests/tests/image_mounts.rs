// SPDX-License-Identifier: Apache-2.0
//! `--mount type=image`: the files of an image in a container of another.

use testkit::Daemon;

/// A daemon with busybox, and an image `data` of it with files of its own.
fn with_data() -> Daemon {
    let daemon = Daemon::with_busybox();
    let script = "mkdir -p /data/deep && echo first > /data/file && echo second > /data/deep/file && ln -s / /data/out && ln -s /etc /way";
    daemon.ok(&["run", "--name", "maker", "busybox", "sh", "-c", script]);
    daemon.ok(&["commit", "maker", "data"]);
    daemon.ok(&["rm", "maker"]);
    daemon
}

/// What a command of a container prints that has this mounted.
#[track_caller]
fn seen(daemon: &Daemon, mount: &str, script: &str) -> String {
    daemon.ok(&["run", "--rm", "--mount", mount, "busybox", "sh", "-c", script])
}

#[test]
fn an_image_is_there_and_nobody_can_change_it() {
    let daemon = with_data();
    let whole = "type=image,source=data,target=/mnt/data";
    assert_eq!(seen(&daemon, whole, "cat /mnt/data/data/file /mnt/data/data/deep/file"), "first\nsecond");
    let script = "for f in /mnt/data/data/file /mnt/data/new; do (: > $f) 2>&1 | grep -c Read-only; done; \
                  mount -o remount,rw /mnt/data 2>/dev/null || echo stays";
    assert_eq!(seen(&daemon, whole, script), "1\n1\nstays");
    // A part of it: a directory, a file, and nothing outside of it whatever links say.
    assert_eq!(
        seen(&daemon, "type=image,src=data,dst=/d,image-subpath=data/deep", "ls /d; cat /d/file"),
        "file\nsecond"
    );
    assert_eq!(seen(&daemon, "type=image,src=data,dst=/one,image-subpath=data/file", "cat /one"), "first");
    assert_eq!(seen(&daemon, "type=image,src=data,dst=/d,image-subpath=data/out", "cat /d/data/file"), "first");
    assert!(seen(&daemon, "type=image,src=data,dst=/d,image-subpath=way", "cat /d/passwd").contains("root"));
    // Two of one image, and one below another.
    let two = ["--mount", whole, "--mount", "type=image,source=data,target=/mnt/data/tmp", "busybox"];
    let script = ["cat", "/mnt/data/data/file", "/mnt/data/tmp/data/deep/file"];
    assert_eq!(daemon.ok(&[&["run", "--rm"], &two[..], &script].concat()), "first\nsecond");
    daemon.assert_no_container_left();
}

#[test]
fn it_stays_the_image_that_it_was_and_as_long_as_it_is_needed() {
    let daemon = with_data();
    let mount = ["--mount", "type=image,source=data,target=/d,image-subpath=data"];
    daemon.ok(&[&["run", "-d", "--name", "user"], &mount[..], &["busybox", "sleep", "600"]].concat());
    let read = ["exec", "user", "cat", "/d/file"];
    assert_eq!(daemon.ok(&read), "first");
    let shown = daemon.inspect("user");
    let point = &shown["Mounts"][0];
    assert_eq!((&point["Type"], &point["Source"], &point["RW"]), (&"image".into(), &"data".into(), &false.into()));
    assert_eq!(shown["HostConfig"]["Mounts"][0]["ImageOptions"]["Subpath"], "data");
    // It does not go while a container has it, and another image of its name is another image.
    daemon.fails(&["rmi", "-f", &daemon.ok(&["images", "-q", "--no-trunc", "data"])], 1).saying("user");
    daemon.ok(&["tag", "busybox", "data"]);
    daemon.kill();
    daemon.start();
    assert_eq!(daemon.ok(&read), "first");
    daemon.ok(&["restart", "-t", "0", "user"]);
    assert_eq!(daemon.ok(&read), "first");
    // What is copied out is what is there.
    let copy = daemon.path().join("copy");
    daemon.ok(&["cp", "user:/d/file", copy.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(copy).unwrap(), "first\n");
    let taken = ["run", "--rm", "--volumes-from", "user", "busybox", "cat", "/d/file"];
    assert_eq!(daemon.ok(&taken), "first");
    daemon.ok(&["rm", "-f", "user"]);
    daemon.assert_no_container_left();
}

#[test]
fn what_cannot_be_mounted_is_refused_by_name() {
    let daemon = with_data();
    for (mount, word) in [
        ("type=image,source=nowhere,target=/d", "nowhere"),
        ("type=image,target=/d", "source="),
        ("type=image,source=data,target=/d,image-subpath=../etc", "relative path"),
        ("type=image,source=data,target=/d,image-subpath=/etc", "relative path"),
        ("type=image,source=data,target=/d,volume-nocopy", "another type"),
    ] {
        daemon.fails(&["create", "--pull", "never", "--mount", mount, "busybox", "true"], 125).saying(word);
    }
    let missing =
        ["run", "--rm", "--mount", "type=image,source=data,target=/d,image-subpath=no/such", "busybox", "true"];
    daemon.fails(&missing, 125).saying("no/such");
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
    daemon.assert_no_container_left();
}

/// What is root's in the image is the container's root's, who is nobody on the host.
#[test]
fn in_a_user_namespace_its_files_are_the_containers() {
    const IDS: &str = "corten:1000000:262144\n";
    let daemon = Daemon::builder().etc("subuid", IDS).etc("subgid", IDS).argument("--userns-remap=default").start();
    daemon.import_busybox();
    let owner = "stat -c '%u:%g' /d/etc/passwd /one";
    let mounts = ["--mount", "type=image,source=busybox,target=/d", "--mount"];
    let part = ["type=image,source=busybox,target=/one,image-subpath=etc/passwd", "busybox", "sh", "-c", owner];
    assert_eq!(daemon.ok(&[&["run", "--rm"], &mounts[..], &part].concat()), "0:0\n0:0");
    daemon.assert_no_container_left();
}
