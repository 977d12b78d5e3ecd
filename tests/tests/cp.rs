// SPDX-License-Identifier: Apache-2.0
//! `cp` and the archives of a container's files: Docker's rules, whether it runs or not; and no way out of it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use testkit::Daemon;

/// A directory here with a file in it and one below.
fn tree(daemon: &Daemon) -> PathBuf {
    let tree = daemon.path().join("tree");
    fs::create_dir_all(tree.join("sub")).expect("it is made");
    fs::write(tree.join("file"), "here\n").expect("it is made");
    fs::write(tree.join("sub/deep"), "deep\n").expect("it is made");
    symlink("file", tree.join("link")).expect("it is made");
    tree
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The status, the headers and the body of an answer.
fn ask(daemon: &Daemon, method: &str, path: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    let mut stream = UnixStream::connect(daemon.socket()).expect("a socket");
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).expect("it is sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head, answer[end + 4..].to_vec())
}

#[test]
fn copies_are_called_what_dockers_are() {
    let daemon = Daemon::with_busybox();
    let tree = tree(&daemon);
    daemon.ok(&["run", "-d", "--name", "runs", "busybox", "sleep", "60"]);
    daemon.ok(&["create", "--name", "stands", "busybox", "true"]);
    for name in ["runs", "stands"] {
        let to = |path: &str| format!("{name}:{path}");
        daemon.ok(&["cp", text(&tree), &to("/new")]);
        daemon.ok(&["cp", text(&tree), &to("/home")]);
        daemon.ok(&["cp", &format!("{}/.", text(&tree)), &to("/tmp")]);
        daemon.ok(&["cp", text(&tree.join("file")), &to("/tmp/renamed")]);
        daemon.fails(&["cp", text(&tree.join("file")), &to("/tmp/none/")], 1).saying("no such directory");
        daemon.fails(&["cp", text(&tree), &to("/tmp/renamed")], 1).saying("onto a file");
        daemon.fails(&["cp", text(&tree.join("file")), &to("/nowhere/x")], 1).saying("/nowhere");
        daemon.fails(&["cp", &to("/nothing"), "-"], 1).saying("could not find the file /nothing in container");
        let out = daemon.path().join(format!("out-{name}"));
        fs::create_dir(&out).unwrap();
        for path in ["/new", "/home/tree/sub/.", "/tmp/renamed", "/tmp/link"] {
            daemon.ok(&["cp", &to(path), text(&out)]);
        }
        daemon.ok(&["cp", &to("/home/tree"), text(&out.join("called"))]);
        daemon.ok(&["cp", "-L", &to("/tmp/link"), text(&out.join("followed"))]);
        let read = |path: &str| fs::read_to_string(out.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!((read("new/file"), read("new/sub/deep")), ("here\n".into(), "deep\n".into()));
        assert_eq!((read("deep"), read("renamed")), ("deep\n".into(), "here\n".into()));
        assert_eq!((read("called/sub/deep"), read("followed")), ("deep\n".into(), "here\n".into()));
        assert_eq!(fs::read_link(out.join("link")).unwrap(), Path::new("file"), "a link is copied as one");
        assert!(!out.join("followed").is_symlink());
        daemon.fails(&["cp", &to("/new"), "/nowhere/x"], 1).saying("does not exist");
    }
    daemon.fails(&["cp", "runs:/new", "stands:/x"], 1).saying("between containers");
    daemon.fails(&["cp", "a", "b"], 1).saying("at least one container");
    let events = ["events", "--since", "1h", "--until", "0s", "--format", "{{.Action}}"];
    let told = daemon.ok(&[&events[..], &["-f", "container=runs"]].concat());
    assert!(told.contains("extract-to-dir") && told.contains("archive-path"), "{told}");
    // What was put into one that does not run is there when it does.
    let id = daemon.ok(&["create", "busybox", "cat", "/tmp/put/file"]);
    daemon.ok(&["cp", text(&tree), &format!("{id}:/tmp/put")]);
    assert_eq!(daemon.ok(&["start", "-a", &id]), "here");
}

#[test]
fn archives_go_through_stdin_and_stdout() {
    let daemon = Daemon::with_busybox();
    let tree = tree(&daemon);
    fs::set_permissions(tree.join("file"), fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(tree.join("file"), Some(1234), Some(5678)).unwrap();
    daemon.ok(&["create", "--name", "one", "-u", "worker", "busybox", "true"]);
    daemon.ok(&["create", "--name", "two", "busybox", "stat", "-c", "%u:%g %a", "/tmp/tree/file"]);
    daemon.ok(&["cp", text(&tree), "one:/tmp"]);
    let out = daemon.spawn(&["cp", "one:/tmp/tree", "-"]).wait().ok();
    let (status, head, archive) = ask(&daemon, "GET", "/v1.47/containers/one/archive?path=/tmp/tree", b"");
    assert_eq!((status, head.contains("application/x-tar")), (200, true), "{head}");
    assert!(!out.stdout.is_empty());
    let (status, ..) = ask(&daemon, "PUT", "/containers/two/archive?path=/tmp", &dechunked(&archive));
    assert_eq!(status, 200);
    assert_eq!(daemon.ok(&["start", "-a", "two"]), "1234:5678 640");
    // -a gives it to the container's user.
    daemon.ok(&["cp", "-a", text(&tree), "one:/tmp/owned"]);
    daemon.ok(&["commit", "one", "committed"]);
    let owner = ["run", "--rm", "-u", "root", "committed", "stat", "-c", "%u:%g", "/tmp/owned/file"];
    assert_eq!(daemon.ok(&owner), "1000:1001");
    daemon.fails(&["cp", "-", "one:/tmp/tree/file"], 1).saying("must be a directory");
    // What here comes from a container is ours, and has no rights of its own.
    daemon.ok(&[
        "run",
        "--name",
        "three",
        "busybox",
        "sh",
        "-c",
        "cp /bin/busybox /tmp/root; chown 7:8 /tmp/root; chmod 6755 /tmp/root",
    ]);
    daemon.ok(&["cp", "three:/tmp/root", text(daemon.path())]);
    let copied = fs::metadata(daemon.path().join("root")).unwrap();
    assert_eq!((copied.uid(), copied.mode() & 0o7777), (rustix::process::getuid().as_raw(), 0o755));
}

/// A body that came in chunks.
fn dechunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|window| window == b"\r\n") {
        let length =
            usize::from_str_radix(std::str::from_utf8(&body[..end]).expect("it is made"), 16).expect("a length");
        if length == 0 {
            break;
        }
        whole.extend_from_slice(&body[end + 2..end + 2 + length]);
        body = &body[end + 4 + length..];
    }
    whole
}

#[test]
fn volumes_and_binds_are_seen_as_the_container_sees_them() {
    let daemon = Daemon::with_busybox();
    let tree = tree(&daemon);
    let bind = format!("{}:/bound:ro", text(&tree));
    let options = ["-v", "data:/data", "-v", "data:/data-ro:ro", "-v", &bind, "-v", "data:/data/again"];
    daemon.ok(&[&["create", "--name", "stands"], &options[..], &["busybox", "true"]].concat());
    daemon.ok(&[&["run", "-d", "--name", "runs"], &options[..], &["busybox", "sleep", "60"]].concat());
    let place = daemon.path().join("data/volumes/data/_data");
    for name in ["stands", "runs"] {
        let at = |path: &str| format!("{name}:{path}");
        daemon.ok(&["cp", text(&tree.join("file")), &at(&format!("/data/of-{name}"))]);
        assert_eq!(fs::read_to_string(place.join(format!("of-{name}"))).unwrap(), "here\n");
        daemon
            .fails(&["cp", text(&tree.join("file")), &at("/data-ro/x")], 1)
            .saying("mounted volume is marked read-only");
        daemon
            .fails(&["cp", text(&tree.join("file")), &at("/bound/x")], 1)
            .saying("mounted volume is marked read-only");
        let out = daemon.path().join(format!("deep-{name}"));
        daemon.ok(&["cp", &at("/bound/sub/deep"), text(&out)]);
        assert_eq!(fs::read_to_string(&out).unwrap(), "deep\n");
        // Over a mount that is read-only the kernel itself watches.
        daemon.fails(&["cp", &format!("{}/.", text(&tree)), &at("/bound")], 1);
    }
    assert_eq!(daemon.ok(&["exec", "runs", "cat", "/data/of-stands"]), "here");
    daemon.ok(&["run", "-d", "--name", "fixed", "--read-only", "-v", "data:/data", "busybox", "sleep", "60"]);
    daemon.fails(&["cp", text(&tree), "fixed:/tmp"], 1).saying("container rootfs is marked read-only");
    daemon.ok(&["cp", text(&tree), "fixed:/data/fixed"]);
    assert!(place.join("fixed/sub/deep").exists());
    assert!(!tree.join("x").exists());
    daemon.ok(&["rm", "-f", "stands", "runs", "fixed"]);
    daemon.assert_no_container_left();
}

#[test]
fn no_link_of_a_container_leads_to_the_host() {
    let daemon = Daemon::with_busybox();
    let tree = tree(&daemon);
    let secret = daemon.path().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("file"), "of the host\n").unwrap();
    let up = format!("../../../../../../../..{}", text(&secret));
    let script = format!(
        "ln -s {secret} /out; ln -s {up} /up; ln -s /proc/1/root/../../..{secret} /magic; ln -s {secret}/file /file; \
         ln -s loop /loop; mkdir /real; ln -s /real /dir; sleep 60",
        secret = text(&secret)
    );
    daemon.ok(&["run", "-d", "--name", "bad", "busybox", "sh", "-c", &script]);
    while daemon.corten(&["exec", "bad", "test", "-e", "/dir"]).code != 0 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    for path in ["/out/file", "/up/file", "/magic/file", "/file/", "/out/", "/loop/x"] {
        daemon.fails(&["cp", &format!("bad:{path}"), "-"], 1);
    }
    for path in ["/out", "/up", "/magic", "/out/new", "/file", "/loop"] {
        daemon.corten(&["cp", text(&tree.join("file")), &format!("bad:{path}")]);
        daemon.corten(&["cp", text(&tree), &format!("bad:{path}")]);
    }
    assert_eq!(fs::read_to_string(secret.join("file")).unwrap(), "of the host\n");
    assert_eq!(fs::read_dir(&secret).unwrap().count(), 1, "nothing came out");
    // A link inside leads where it leads in the container.
    daemon.ok(&["cp", text(&tree), "bad:/dir/x"]);
    assert_eq!(daemon.ok(&["exec", "bad", "cat", "/real/x/file"]), "here");
    // An archive that brings its links along.
    let archive = hostile(&secret);
    let (status, ..) = ask(&daemon, "PUT", "/containers/bad/archive?path=/tmp", &archive);
    assert!(status == 200 || status == 400, "{status}");
    assert_eq!(fs::read_to_string(secret.join("file")).unwrap(), "of the host\n");
    assert_eq!(fs::read_dir(&secret).unwrap().count(), 1);
    // And one that comes here.
    let inside = daemon.path().join("inside");
    fs::create_dir(&inside).unwrap();
    let script = format!("mkdir /tmp/t; ln -s {0} /tmp/t/a; mv /tmp/t/a /tmp/t/z; echo x > /tmp/t/f", text(&secret));
    daemon.ok(&["exec", "bad", "sh", "-c", &script]);
    daemon.ok(&["cp", "bad:/tmp/t", text(&inside)]);
    assert_eq!(fs::read_dir(&secret).unwrap().count(), 1);
}

/// Links to the host, and files through them.
fn hostile(secret: &Path) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    archive.append_link(&mut link, "planted", secret).expect("it is made");
    for name in ["planted/file", "planted/new"] {
        let mut file = tar::Header::new_gnu();
        file.set_size(4);
        file.set_mode(0o644);
        archive.append_data(&mut file, name, &b"evil"[..]).expect("it is made");
    }
    archive.into_inner().expect("it is made")
}

#[test]
fn a_container_that_races_does_not_get_out() {
    let daemon = Daemon::with_busybox();
    let tree = tree(&daemon);
    let secret = daemon.path().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("file"), "of the host\n").unwrap();
    let script = format!(
        "mkdir -p /a/d /b; echo inside > /a/d/file; ln -s {} /b/d; echo ready; \
         while true; do mv /a/d /a/x; mv /b/d /a/d; mv /a/d /b/d; mv /a/x /a/d; done",
        text(&secret)
    );
    daemon.ok(&["run", "-d", "--name", "races", "busybox", "sh", "-c", &script]);
    while !daemon.ok(&["logs", "races"]).contains("ready") {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    for round in 0..15 {
        let found = daemon.corten(&["cp", "races:/a/d/file", "-"]);
        assert!(!found.stdout.contains("of the host"), "round {round}");
        daemon.corten(&["cp", text(&tree.join("file")), &format!("races:/a/d/new{round}")]);
        daemon.corten(&["cp", text(&tree), "races:/a/d"]);
    }
    assert_eq!(fs::read_dir(&secret).unwrap().count(), 1, "nothing came out");
    assert_eq!(fs::read_to_string(secret.join("file")).unwrap(), "of the host\n");
    daemon.ok(&["rm", "-f", "races"]);
    daemon.assert_no_container_left();
}

#[test]
fn what_a_file_is_stands_in_a_header() {
    use base64::Engine as _;
    let daemon = Daemon::with_busybox();
    daemon.ok(&["create", "--name", "one", "busybox", "true"]);
    let stat = |path: &str| {
        let (status, head, body) = ask(&daemon, "HEAD", &format!("/v1.47/containers/one/archive?path={path}"), b"");
        assert!(body.is_empty());
        let line = head.lines().find_map(|line| line.strip_prefix("x-docker-container-path-stat: "));
        let json = line.map(|text| base64::engine::general_purpose::STANDARD.decode(text.trim()).expect("base64"));
        (status, json.map(|json| serde_json::from_slice::<serde_json::Value>(&json).expect("JSON")).unwrap_or_default())
    };
    let (status, found) = stat("/etc/passwd");
    assert_eq!((status, &found["name"], &found["linkTarget"]), (200, &"passwd".into(), &"".into()));
    assert_eq!((found["mode"].as_u64(), &found["mtime"]), (Some(0o644), &"2023-11-14T22:13:20Z".into()));
    let (_, found) = stat("/bin/sh");
    assert_eq!(
        (found["mode"].as_u64().map(|mode| mode >> 27), &found["linkTarget"]),
        (Some(1), &"/bin/busybox".into())
    );
    assert_eq!(stat("/tmp").1["mode"].as_u64(), Some((1 << 31) | (1 << 20) | 0o777));
    assert_eq!((stat("/nothing").0, stat("").0), (404, 400));
    let (status, _, body) = ask(&daemon, "PUT", "/containers/one/archive?path=/etc/passwd", b"");
    assert!(status == 400 && String::from_utf8_lossy(&body).contains("not a directory"), "{status}");
    assert_eq!(ask(&daemon, "PUT", "/containers/one/archive?path=/tmp", b"no archive at all").0, 400);
    assert_eq!(ask(&daemon, "GET", "/containers/nobody/archive?path=/", b"").0, 404);
}
