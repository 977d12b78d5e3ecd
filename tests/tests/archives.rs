// SPDX-License-Identifier: Apache-2.0
//! Containers as archives and as images: export, import and commit.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;

use serde_json::{Value, json};
use testkit::Daemon;
use testkit::process::command;

/// What GNU tar says of each member: type and mode, owner, size, link; by name.
fn listed(archive: &Path) -> BTreeMap<String, String> {
    let output = command("tar").args(["--numeric-owner", "--full-time", "-tvf"]).arg(archive).output().expect("tar");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let member = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (
            words[5].trim_end_matches('/').to_owned(),
            format!("{} {} {} {}", words[0], words[1], words[2], words[6..].join(" ")),
        )
    };
    text.lines().map(member).collect()
}

const SCRIPT: &str = "
    mkdir -p /work/empty; echo text > /work/file; chown 1000:1001 /work/file; chmod 4751 /work/file
    ln /work/file /work/again; ln -s ../nowhere /work/link; mknod /work/pipe p; mknod /work/null c 1 3
    rm /etc/group; rm -r /home; mkdir /home; echo new > /home/new; echo secret > /mounted/inside; touch /work/done";

/// A daemon, and a container `changed` that has run the script.
fn daemon() -> Daemon {
    let daemon = Daemon::with_busybox();
    daemon.ok(&[
        "run", "--name", "changed", "--tmpfs", "/mounted", "-e", "KEPT=yes", "-l", "a=b", "busybox", "sh", "-c", SCRIPT,
    ]);
    daemon
}

fn check_export(archive: &Path) {
    let members = listed(archive);
    let member = |name: &str| members.get(name).map(String::as_str);
    // The first of two names has the content.
    assert_eq!(member("work/again"), Some("-rwsr-x--x 1000/1001 5 "), "{members:#?}");
    assert_eq!(member("work/file"), Some("hrwsr-x--x 1000/1001 0 link to work/again"));
    assert!(member("work/link").unwrap_or_default().ends_with("-> ../nowhere"), "{members:#?}");
    assert!(member("work/pipe").unwrap_or_default().starts_with('p'));
    assert!(
        member("work/null").unwrap_or_default().starts_with('c')
            && member("work/null").unwrap_or_default().contains("1,3")
    );
    assert!(member("bin/busybox").is_some() && member("home/new").is_some());
    for gone in ["etc/group", "home/old", "mounted/inside", "proc/1", "dev/null"] {
        assert_eq!(member(gone), None, "{gone}");
    }
}

#[test]
fn a_container_is_exported_whole_running_or_not() {
    let daemon = daemon();
    let at = |name: &str| daemon.path().join(name);
    daemon.ok(&["export", "-o", &at("stopped.tar").to_string_lossy(), "changed"]);
    check_export(&at("stopped.tar"));
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "running",
        "--tmpfs",
        "/mounted",
        "busybox",
        "sh",
        "-c",
        &format!("{SCRIPT}; exec sleep 1000"),
    ]);
    let wait = "i=0; while [ $i -lt 100 ] && ! [ -e /work/done ]; do sleep 0.1; i=$((i+1)); done; [ -e /work/done ]";
    daemon.ok(&["exec", "running", "sh", "-c", wait]);
    daemon.ok(&["export", "-o", &at("running.tar").to_string_lossy(), "running"]);
    check_export(&at("running.tar"));
    let names = |name: &str| listed(&at(name)).into_keys().collect::<Vec<_>>();
    assert_eq!(names("running.tar"), names("stopped.tar"));
    daemon.ok(&["create", "--name", "new", "busybox", "true"]);
    daemon.ok(&["export", "-o", &at("new.tar").to_string_lossy(), "new"]);
    assert!(listed(&at("new.tar")).contains_key("etc/group"));
    daemon.fails(&["export", "-o", &at("x.tar").to_string_lossy(), "nothing"], 1).saying("nothing");
    assert!(!at("x.tar").exists());

    daemon.ok(&["import", "-c", "CMD cat /home/new", &at("running.tar").to_string_lossy(), "again:1"]);
    assert_eq!(daemon.ok(&["run", "--rm", "again:1"]), "new");
    assert_eq!(daemon.ok(&["run", "--rm", "again:1", "stat", "-c", "%a %u:%g %h", "/work/again"]), "4751 1000:1001 2");
    daemon.ok(&["rm", "-f", "running"]);
    // The mount that was read is gone: the container can be started again.
    daemon.ok(&["start", "changed"]);
    daemon.ok(&["wait", "changed"]);
    daemon.ok(&["rm", "changed", "new"]);
    daemon.assert_no_container_left();
}

/// A web server in the daemon's network: these files, `/moved` to the first of them, one that breaks off, and nothing else.
fn web(daemon: &Daemon, files: Vec<(&'static str, Vec<u8>)>) -> String {
    daemon.sandbox().run(move || {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a client");
                let mut request = BufReader::new(stream.try_clone().expect("a descriptor")).lines();
                let first = request.next().and_then(Result::ok).unwrap_or_default();
                let path = first.split(' ').nth(1).unwrap_or_default();
                let head = |status: &str, length: usize| {
                    format!(
                        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\nLocation: {}\r\n\r\n",
                        files[0].0
                    )
                };
                let answer = match files.iter().find(|(name, _)| *name == path) {
                    Some((_, bytes)) => [head("200 OK", bytes.len()).as_bytes(), bytes].concat(),
                    None if path == "/moved" => head("302 Found", 0).into_bytes(),
                    None if path == "/cut" => {
                        let bytes = &files[0].1;
                        [head("200 OK", bytes.len()).as_bytes(), &bytes[..bytes.len() / 2]].concat()
                    }
                    None => head("404 Not Found", 0).into_bytes(),
                };
                // A client that goes away is its own affair.
                let _ = stream.write_all(&answer);
            }
        });
        format!("http://{address}")
    })
}

#[test]
fn an_archive_is_imported_from_where_it_is_on_the_web() {
    let daemon = Daemon::builder().start();
    let busybox = testkit::fixtures::busybox::bytes();
    let packed = zstd::encode_all(&busybox[..], 1).unwrap();
    let url = web(
        &daemon,
        vec![("/root.tar", busybox), ("/root.tar.zst?token=secret", packed), ("/text", b"text".repeat(999))],
    );
    let imported = daemon.corten(&["import", "-c", "CMD echo there", &format!("{url}/moved"), "web:1"]).ok();
    assert!(imported.stderr.contains(&format!("Downloading from {url}/root.tar")), "{imported}");
    assert!(imported.stderr.contains("moved: Importing"), "{imported}");
    assert_eq!(daemon.ok(&["images", "-q", "--no-trunc", "web:1"]), imported.text());
    assert_eq!(daemon.ok(&["run", "--rm", "web:1"]), "there");
    let hidden = daemon.corten(&["image", "import", &format!("{url}/root.tar.zst?token=secret"), "web:2"]).ok();
    assert!(!hidden.stderr.contains("secret"), "{hidden}");
    daemon.fails(&["import", &format!("{url}/missing"), "web:3"], 1).saying("404");
    daemon.fails(&["import", &format!("{url}/cut"), "web:3"], 1).saying("broke off");
    daemon.fails(&["import", &format!("{url}/text"), "web:3"], 1).saying("archive");
    daemon.fails(&["import", "http://127.0.0.1:1/x", "web:3"], 1).saying("cannot reach http://127.0.0.1:1/x");
    assert_eq!(daemon.ok(&["images", "-q", "-f", "dangling=true"]), "");
    let images = daemon.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    // The newest comes first, and both may be of one second.
    assert_eq!(images.lines().collect::<BTreeSet<_>>(), BTreeSet::from(["web:1", "web:2"]));
    daemon.ok(&["system", "check"]);
    daemon.assert_no_container_left();
}

#[test]
fn an_import_may_be_nameless_for_another_platform_and_say_why() {
    let daemon = Daemon::builder().start();
    let archive = daemon.path().join("root.tar");
    std::fs::write(&archive, testkit::fixtures::busybox::bytes()).unwrap();
    let archive = archive.to_string_lossy();
    let id = daemon.ok(&["import", "-m", "a word", "--platform", "linux/arm/v7", &archive]);
    let image = daemon.inspect(&id);
    assert_eq!((&image["RepoTags"], &image["Comment"]), (&json!([]), &json!("a word")));
    assert_eq!((&image["Architecture"], &image["Variant"]), (&json!("arm"), &json!("v7")));
    assert_eq!(daemon.ok(&["images", "-q", "--no-trunc", "-f", "dangling=true"]), id);
    daemon.fails(&["import", "--platform", "nonsense", &archive], 1).saying("nonsense");
    daemon.ok(&["rmi", &id]);
}

#[test]
fn a_containers_changes_become_a_layer() {
    let daemon = daemon();
    let commit = [
        "commit",
        "-a",
        "me",
        "-m",
        "a word",
        "-c",
        "CMD cat /home/new /work/file",
        "-c",
        "LABEL c=d",
        "changed",
        "made:1",
    ];
    let id = daemon.ok(&commit);
    assert_eq!(daemon.ok(&["images", "-q", "--no-trunc", "made:1"]), id);
    assert_eq!(daemon.ok(&["run", "--rm", "made:1"]), "new\ntext");
    let seen = daemon.ok(&[
        "run",
        "--rm",
        "made:1",
        "sh",
        "-c",
        "echo $KEPT; ls /home; ls /etc/group 2>&1 | grep -c such; stat -c %h /work/again",
    ]);
    assert_eq!(seen, "yes\nnew\n1\n2");
    let (image, base) = (daemon.inspect("made:1"), daemon.inspect("busybox"));
    assert_eq!((&image["Author"], &image["Comment"]), (&json!("me"), &json!("a word")));
    assert_eq!(image["Config"]["Labels"], json!({"a": "b", "c": "d"}));
    let layers = |image: &Value| image["RootFS"]["Layers"].as_array().map_or(0, Vec::len);
    assert_eq!(
        (layers(&image), image["RootFS"]["Layers"][0].clone()),
        (layers(&base) + 1, base["RootFS"]["Layers"][0].clone())
    );
    let history: Value =
        serde_json::from_str(daemon.ok(&["history", "--format", "json", "made:1"]).lines().next().unwrap()).unwrap();
    assert!(history["CreatedBy"].as_str().unwrap().starts_with("sh -c"), "{history}");
    // A second layer on the first one, of a container that runs on, and without a name.
    daemon.ok(&["run", "-d", "--name", "running", "made:1", "sh", "-c", "rm -r /work; touch /ready; exec sleep 1000"]);
    daemon.ok(&[
        "exec",
        "running",
        "sh",
        "-c",
        "i=0; while [ $i -lt 100 ] && ! [ -e /ready ]; do sleep 0.1; i=$((i+1)); done",
    ]);
    let second = daemon.ok(&["commit", "running"]);
    assert_eq!(daemon.ok(&["exec", "running", "echo", "goes on"]), "goes on");
    assert_eq!(
        daemon.ok(&["run", "--rm", &second, "sh", "-c", "ls /work 2>&1 | grep -c such; cat /home/new"]),
        "1\nnew"
    );
    daemon.fails(&["commit", "-c", "RUN x", "running"], 1).saying("RUN x");
    daemon.fails(&["commit", "running", "Not A Name"], 1).saying("Not A Name");
    daemon.ok(&["rm", "-f", "running", "changed"]);
    daemon.assert_no_container_left();
}
