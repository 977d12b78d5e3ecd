// SPDX-License-Identifier: Apache-2.0
//! The registry server with other people's clients: skopeo, Docker, podman, and our own engine.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::Daemon;
use testkit::corten::binary;
use testkit::docker::Docker;
use testkit::fixtures::image::Image;
use testkit::process::command;
use testkit::sandbox::Sandbox;

const PORT: u16 = 5000;
/// `htpasswd -nbBC 4 tester secret`, which is not installed everywhere.
const TESTER: &str = "tester:$2b$04$Jij5gj.Iu/t4xozEjO8eVOIGBJAQ7Tkp6PIi41VVQteDZt/JeYAci\n";

/// `corten registry serve` in a sandbox; ended, and seen to end in order, when it is dropped.
struct Server<'a> {
    sandbox: &'a Sandbox,
    process: Child,
}

impl<'a> Server<'a> {
    fn start(sandbox: &'a Sandbox, root: &Path, flags: &[&str]) -> Server<'a> {
        Server::start_at(sandbox, root, PORT, flags)
    }

    fn start_at(sandbox: &'a Sandbox, root: &Path, port: u16, flags: &[&str]) -> Server<'a> {
        let mut serve = command(binary());
        serve.args(["registry", "serve", "--listen", &format!("127.0.0.1:{port}"), "--root"]).arg(root).args(flags);
        serve.stdin(Stdio::null()).stdout(Stdio::null());
        serve.stderr(fs::File::create(root.with_extension("log")).unwrap());
        let process = sandbox.run(move || serve.spawn()).unwrap();
        let begun = Instant::now();
        while sandbox.run(move || TcpStream::connect(("127.0.0.1", port)).is_err()) {
            assert!(begun.elapsed() < Duration::from_secs(20), "{}", log(root));
            std::thread::sleep(Duration::from_millis(20));
        }
        Server { sandbox, process }
    }

    /// Runs skopeo, and gives what it says.
    fn skopeo(&self, arguments: &[&str]) -> Output {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        self.sandbox.run(move || command("skopeo").args(arguments).output()).unwrap()
    }
}

impl Server<'_> {
    /// Ends it as a crash does.
    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        std::mem::forget(self);
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        let pid = i32::try_from(self.process.id()).ok().and_then(rustix::process::Pid::from_raw).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = self.process.wait().unwrap();
        assert!(std::thread::panicking() || status.success(), "it ends in order: {status}");
    }
}

fn log(root: &Path) -> String {
    fs::read_to_string(root.with_extension("log")).unwrap_or_default()
}

#[track_caller]
fn ok(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn image(directory: &Path, words: &str) -> PathBuf {
    let layout = directory.join(format!("layout-{words}"));
    Image::saying(words).write(&layout);
    layout
}

/// Every blob of an image layout.
fn blobs(layout: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(layout.join("blobs/sha256")).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

#[test]
fn skopeo_copies_an_image_in_and_out_and_not_a_byte_differs() {
    let directory = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::new();
    let server = Server::start(&sandbox, &directory.path().join("registry"), &[]);
    let layout = image(directory.path(), "copied");
    let (here, there) = (format!("oci:{}:latest", layout.display()), "docker://127.0.0.1:5000/some/image:v1");
    ok(server.skopeo(&["copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false", &here, there]));
    let back = directory.path().join("back");
    let target = format!("oci:{}:latest", back.display());
    ok(server.skopeo(&["copy", "--quiet", "--preserve-digests", "--src-tls-verify=false", there, &target]));
    assert_eq!(blobs(&layout), blobs(&back));
    let inspected = ok(server.skopeo(&["inspect", "--tls-verify=false", there]));
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["RepoTags"], json!(["v1"]));
    // Into another repository of it: the layers are mounted, and the whole is there.
    let mounted = "docker://127.0.0.1:5000/other:v2";
    let flags = ["copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"];
    ok(server.skopeo(&[&flags[..], &[there, mounted]].concat()));
    ok(server.skopeo(&["delete", "--tls-verify=false", there]));
    assert!(!server.skopeo(&["inspect", "--tls-verify=false", there]).status.success());
    ok(server.skopeo(&["inspect", "--tls-verify=false", mounted]));
}

#[test]
fn our_engine_pulls_from_it_and_shares_its_blobs() {
    use std::os::unix::fs::MetadataExt as _;
    let daemon = Daemon::builder().start();
    let engine = daemon.path().join("data/content");
    let flags = ["--share-with", &engine.to_string_lossy()];
    let server = Server::start(daemon.sandbox(), &daemon.path().join("registry"), &flags);
    let layout = image(daemon.path(), "pulled");
    let here = format!("oci:{}:latest", layout.display());
    let push = |there: &str| {
        ok(server.skopeo(&["copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false", &here, there]));
    };
    push("docker://127.0.0.1:5000/image");
    assert_eq!(daemon.ok(&["run", "--rm", "127.0.0.1:5000/image"]), "pulled");
    // Pushed anew where it is not known yet: the engine has the bytes.
    drop(server);
    let again = daemon.path().join("again");
    let server = Server::start(daemon.sandbox(), &again, &flags);
    ok(server.skopeo(&[
        "copy",
        "--quiet",
        "--preserve-digests",
        "--dest-tls-verify=false",
        &here,
        "docker://127.0.0.1:5000/image",
    ]));
    let shared = blobs(&engine).into_keys().filter(|hex| {
        let inode = |root: &Path| fs::metadata(root.join("blobs/sha256").join(hex)).map(|file| file.ino()).ok();
        inode(&engine).is_some() && inode(&engine) == inode(&again.join("content"))
    });
    assert!(shared.count() >= 3, "manifest, configuration and layers");
}

#[test]
fn docker_pushes_with_a_password_and_pulls_without_one() {
    let docker = Docker::start().unwrap();
    let root = docker.path().join("registry-of-corten");
    let users = docker.path().join("users");
    fs::write(&users, TESTER).unwrap();
    let policy = docker.path().join("policy");
    fs::write(&policy, r#"{"tester": {"mine/*": ["pull", "push"]}}"#).unwrap();
    let flags = ["--htpasswd", &users.to_string_lossy(), "--policy", &policy.to_string_lossy(), "--anonymous-pull"];
    let server = Server::start(docker.sandbox(), &root, &flags);
    let tar = docker.path().join("busybox.tar");
    fs::write(&tar, testkit::fixtures::busybox::bytes()).unwrap();
    docker.run(&["import", &tar.to_string_lossy(), "127.0.0.1:5000/mine/busybox"]).unwrap();
    docker.run(&["tag", "127.0.0.1:5000/mine/busybox", "127.0.0.1:5000/others/busybox"]).unwrap();
    assert!(docker.run(&["push", "127.0.0.1:5000/mine/busybox"]).is_err(), "nobody has logged in");
    let login = ["login", "--username", "tester", "--password-stdin", "127.0.0.1:5000"];
    assert_ne!(docker.finish(&login, b"wrong").code, 0);
    docker.finish(&login, b"secret").ok();
    docker.run(&["push", "127.0.0.1:5000/mine/busybox"]).unwrap();
    assert!(docker.run(&["push", "127.0.0.1:5000/others/busybox"]).is_err(), "the policy does not allow it");
    docker.run(&["rmi", "127.0.0.1:5000/mine/busybox", "127.0.0.1:5000/others/busybox"]).unwrap();
    docker.run(&["pull", "127.0.0.1:5000/mine/busybox"]).unwrap();
    let words = docker.run(&["run", "--rm", "127.0.0.1:5000/mine/busybox", "echo", "pulled"]).unwrap();
    assert_eq!(words, "pulled");
    assert!(log(&root).contains(r#""user":"tester""#), "{}", log(&root));
    // Everybody may pull, and only pull.
    docker.run(&["logout", "127.0.0.1:5000"]).unwrap();
    docker.run(&["rmi", "127.0.0.1:5000/mine/busybox"]).unwrap();
    docker.run(&["pull", "127.0.0.1:5000/mine/busybox"]).unwrap();
    docker.run(&["tag", "127.0.0.1:5000/mine/busybox", "127.0.0.1:5000/mine/other"]).unwrap();
    assert!(docker.run(&["push", "127.0.0.1:5000/mine/other"]).is_err(), "nobody is logged in any more");
    let (from, to) = ("docker://127.0.0.1:5000/mine/busybox", "docker://127.0.0.1:5000/mine/copy");
    ok(server.skopeo(&["inspect", "--no-creds", "--tls-verify=false", from]));
    let copy = ["copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false", "--src-no-creds"];
    let with = |more: &[&str]| server.skopeo(&[&copy[..], more, &[from, to]].concat());
    assert!(!with(&["--dest-no-creds"]).status.success());
    assert!(!with(&["--dest-creds=tester:wrong"]).status.success());
    ok(with(&["--dest-creds=tester:secret"]));
}

#[test]
fn skopeo_trusts_its_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("ca.crt"), directory.path().join("key.pem"));
    let mut openssl = command("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    openssl.args(["-subj", "/CN=registry", "-addext", "subjectAltName=IP:127.0.0.1"]);
    openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    ok(openssl.output().expect("openssl is installed"));
    let sandbox = Sandbox::new();
    let flags = ["--tls-cert", &certificate.to_string_lossy(), "--tls-key", &key.to_string_lossy()];
    let server = Server::start(&sandbox, &directory.path().join("registry"), &flags);
    let layout = image(directory.path(), "secret");
    let here = format!("oci:{}:latest", layout.display());
    let there = "docker://127.0.0.1:5000/image";
    let certificates = format!("--dest-cert-dir={}", directory.path().display());
    assert!(!server.skopeo(&["copy", "--quiet", &here, there]).status.success(), "nobody vouches for it");
    ok(server.skopeo(&["copy", "--quiet", &certificates, &here, there]));
    let certificates = format!("--cert-dir={}", directory.path().display());
    ok(server.skopeo(&["inspect", &certificates, there]));
}

#[test]
fn what_nobody_needs_is_collected_while_it_serves() {
    let directory = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::new();
    let root = directory.path().join("registry");
    let layout = image(directory.path(), "collected");
    let here = format!("oci:{}:latest", layout.display());
    let there = "docker://127.0.0.1:5000/image:v1";
    let server = Server::start(&sandbox, &root, &["--gc-interval", "1s", "--gc-grace", "0"]);
    let count = || fs::read_dir(root.join("content/blobs/sha256")).unwrap().count();
    // Without grace a blob may go before its manifest comes; skopeo then fails, and nothing is half there.
    while !server.skopeo(&["copy", "--quiet", "--dest-tls-verify=false", &here, there]).status.success() {}
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(count(), 4, "a manifest, its configuration and two layers");
    ok(server.skopeo(&["inspect", "--tls-verify=false", there]));
    ok(server.skopeo(&["delete", "--tls-verify=false", there]));
    let begun = Instant::now();
    while count() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "{} are left\n{}", count(), log(&root));
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn whatever_a_crash_interrupts_every_tag_stands_for_a_whole_image() {
    let directory = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::new();
    let root = directory.path().join("registry");
    let layouts: Vec<PathBuf> = (0..4).map(|number| image(directory.path(), &format!("crash{number}"))).collect();
    let mut tags = 0;
    for (round, layout) in layouts.iter().enumerate() {
        let server = Server::start(&sandbox, &root, &["--gc-interval", "1s"]);
        let here = format!("oci:{}:latest", layout.display());
        let arguments: Vec<Vec<String>> = (0..20)
            .map(|number| {
                let there = format!("docker://127.0.0.1:5000/image{number}:t{round}");
                ["copy", "--quiet", "--retry-times=0", "--dest-tls-verify=false", &here, &there]
                    .map(str::to_owned)
                    .to_vec()
            })
            .collect();
        let mut pushing = sandbox.run(move || {
            // One after the other, until the server is gone.
            let all: Vec<String> = arguments.iter().map(|words| format!("skopeo {}", words.join(" "))).collect();
            command("sh").args(["-c", &all.join(" && ")]).stderr(Stdio::null()).spawn().unwrap()
        });
        let begun = Instant::now();
        while !root.join(format!("repositories/image1/tags/t{round}")).exists() {
            assert!(begun.elapsed() < Duration::from_secs(30), "nothing is pushed\n{}", log(&root));
            std::thread::sleep(Duration::from_millis(5));
        }
        // In the middle of the next push, each time somewhere else.
        std::thread::sleep(Duration::from_millis(20 + 30 * round as u64));
        server.kill();
        pushing.wait().unwrap();
        let server = Server::start(&sandbox, &root, &[]);
        for number in 0..20 {
            let name = format!("docker://127.0.0.1:5000/image{number}");
            let listed = server.skopeo(&["list-tags", "--tls-verify=false", &name]);
            let Ok(listed) = serde_json::from_slice::<Value>(&listed.stdout) else { continue };
            for tag in listed["Tags"].as_array().unwrap() {
                let image = format!("{name}:{}", tag.as_str().unwrap());
                let copy = format!("dir:{}", directory.path().join("copy").display());
                ok(server.skopeo(&["copy", "--quiet", "--src-tls-verify=false", &image, &copy]));
                tags += 1;
            }
        }
    }
    assert!(tags >= 20, "only {tags} were pushed before the crashes");
}

#[test]
fn docker_pulls_through_it_from_another_registry() {
    let docker = Docker::start_with(|_| vec!["--insecure-registry=127.0.0.1:5001".to_owned()]).unwrap();
    let behind = testkit::fixtures::registry::Registry::serve(docker.sandbox(), &docker.path().join("behind"));
    let name = behind.push(&image(docker.path(), "mirrored"), "some/image");
    let root = docker.path().join("cache");
    let server = Server::start_at(docker.sandbox(), &root, 5001, &["--mirror-of", "http://127.0.0.1:5000"]);
    let through = name.replace(":5000", ":5001");
    assert_eq!(docker.run(&["run", "--rm", &through]).unwrap(), "mirrored");
    docker.run(&["rmi", &through]).unwrap();
    drop(behind);
    assert_eq!(docker.run(&["run", "--rm", &through]).unwrap(), "mirrored", "it was kept");
    docker.run(&["tag", &through, "127.0.0.1:5001/own"]).unwrap();
    docker.run(&["push", "127.0.0.1:5001/own"]).unwrap();
    ok(server.skopeo(&["inspect", "--tls-verify=false", "docker://127.0.0.1:5001/own"]));
}

#[test]
fn podman_logs_in_pushes_and_pulls() {
    let directory = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::new();
    let users = directory.path().join("users");
    fs::write(&users, TESTER).unwrap();
    let flags = ["--htpasswd", &users.to_string_lossy()];
    let _server = Server::start(&sandbox, &directory.path().join("registry"), &flags);
    let auth = directory.path().join("auth.json");
    fs::write(&auth, "{}").unwrap();
    let podman = |arguments: &[&str]| {
        let mut podman = command("podman");
        for (flag, name) in [("--root", "storage"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
            podman.arg(flag).arg(directory.path().join(name));
        }
        // Images alone: this host's cgroups are none that podman would run a container in.
        podman.args(["--storage-driver", "vfs"]).args(arguments).env("HOME", directory.path()).stdin(Stdio::null());
        podman.env("REGISTRY_AUTH_FILE", &auth);
        sandbox.run(move || podman.output()).unwrap()
    };
    let tar = directory.path().join("busybox.tar");
    fs::write(&tar, testkit::fixtures::busybox::bytes()).unwrap();
    let there = "127.0.0.1:5000/team/app:v1";
    ok(podman(&["import", "-q", &tar.to_string_lossy(), there]));
    let id = ok(podman(&["images", "-q", "--no-trunc", there]));
    let push = ["push", "-q", "--tls-verify=false", there];
    let refused = podman(&push);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("authentication required"), "{refused:?}");
    ok(podman(&["login", "--tls-verify=false", "-u", "tester", "-p", "secret", "127.0.0.1:5000"]));
    ok(podman(&push));
    ok(podman(&["rmi", "--all", "--force"]));
    ok(podman(&["pull", "-q", "--tls-verify=false", there]));
    assert_eq!(ok(podman(&["images", "-q", "--no-trunc", there])), id);
}

#[test]
fn flags_that_make_no_sense_are_said_so() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("registry");
    let serve = |flags: &[&str]| {
        let mut serve = command(binary());
        serve.args(["registry", "serve", "--listen", "127.0.0.1:0", "--root"]).arg(&root).args(flags);
        testkit::corten::Running::start(serve, Vec::new()).wait()
    };
    let text = directory.path().join("text");
    fs::write(&text, "no user\n").unwrap();
    let file = text.to_string_lossy();
    serve(&["--htpasswd", &file]).fails(1).saying("line 1");
    serve(&["--htpasswd", "/none"]).fails(1).saying("/none");
    serve(&["--tls-cert", &file, "--tls-key", &file]).fails(1).saying("no certificates");
    serve(&["--share-with", "/none"]).fails(1).saying("no content store");
    serve(&["--mirror-of", "nowhere"]).fails(1).saying("nowhere");
    serve(&["--gc-interval", "soon"]).fails(125).saying("soon");
    serve(&["--listen", "nowhere"]).fails(125);
    let sandbox = Sandbox::new();
    let _server = Server::start(&sandbox, &root, &[]);
    serve(&[]).fails(1).saying("another registry");
}
