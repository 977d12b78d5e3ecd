// SPDX-License-Identifier: Apache-2.0
//! What cannot work: one clear error that says what to do, the right exit code, and nothing left behind.
//!
//! Every daemon here fails its test when it is dropped if anything is left: mounts, cgroups, links, rules, processes.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use testkit::fixtures::hostile::{self, BAIT};
use testkit::fixtures::image::{Layer, native_architecture};
use testkit::{Daemon, Finished, corten};

/// Imports an archive under this name.
fn import(daemon: &Daemon, tar: &[u8], name: &str) -> Finished {
    let path = daemon.path().join("import.tar");
    std::fs::write(&path, tar).expect("a file");
    daemon.corten(&["import", &path.to_string_lossy(), name])
}

/// Neither an image, nor a blob, nor a layer, nor a container has come of what failed, nor a part of one.
#[track_caller]
fn assert_nothing_made(daemon: &Daemon) {
    assert_eq!(daemon.ok(&["images", "-q"]), "");
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
    let begun = std::time::Instant::now();
    loop {
        let left: Vec<PathBuf> = ["content/blobs/sha256", "content/ingest", "layers", "containers"]
            .iter()
            .flat_map(|below| std::fs::read_dir(daemon.path().join("data").join(below)).into_iter().flatten())
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            // The lower directories of every store.
            .filter(|path| !path.ends_with(".empty") && !path.ends_with(".mount-points"))
            // What the next container will have.
            .filter(|path| !daemon.made_ahead().iter().any(|id| path.ends_with(id)))
            .collect();
        if left.is_empty() {
            return;
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "left: {left:?}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn an_unknown_image() {
    let daemon = Daemon::builder().start();
    // Nobody listens at this port of the sandbox: it is the registry that is missing.
    daemon.fails(&["run", "--rm", "127.0.0.1:5999/nowhere", "true"], 125).saying("127.0.0.1:5999");
    daemon.fails(&["run", "--rm", "--pull", "never", "nowhere", "true"], 125).saying("nowhere");
    daemon.fails(&["rmi", "nowhere"], 1).saying("nowhere");
    assert_nothing_made(&daemon);
}

#[test]
fn a_name_that_is_none() {
    let daemon = Daemon::with_busybox();
    daemon.fails(&["run", "--rm", "Not A Name", "true"], 125).saying("Not A Name");
    daemon.fails(&["run", "--rm", "--name", "no/slash", "busybox", "true"], 125).saying("no/slash");
    daemon.fails(&["pull", "busybox@sha256:123"], 1).saying("sha256:123");
}

#[test]
fn a_missing_command_is_127_and_names_it() {
    let daemon = Daemon::with_busybox();
    daemon.fails(&["run", "--rm", "busybox", "no-such-command"], 127).saying("no-such-command");
    daemon.fails(&["run", "--rm", "busybox", "/no/such/path"], 127).saying("/no/such/path");
    daemon.fails(&["run", "-d", "--rm", "busybox", "no-such-command"], 127).saying("no-such-command");
    daemon.ok(&["run", "-d", "--name", "up", "busybox", "sleep", "60"]);
    daemon.fails(&["exec", "up", "no-such-command"], 127).saying("no-such-command");
    daemon.ok(&["rm", "-f", "up"]);
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
    daemon.assert_no_container_left();
}

#[test]
fn a_command_that_is_not_executable_is_126_and_says_why() {
    let daemon = Daemon::with_busybox();
    daemon.fails(&["run", "--rm", "busybox", "/etc/not-executable"], 126).saying("/etc/not-executable");
    daemon.fails(&["run", "--rm", "busybox", "/etc"], 126).saying("/etc");
    daemon.ok(&["run", "-d", "--name", "up", "busybox", "sleep", "60"]);
    daemon.fails(&["exec", "up", "/etc/not-executable"], 126).saying("/etc/not-executable");
    daemon.ok(&["rm", "-f", "up"]);
    daemon.assert_no_container_left();
}

#[test]
fn a_command_of_another_architecture_is_126_and_says_so() {
    let daemon = Daemon::builder().start();
    // An ELF header of a 64-bit executable for a machine (IBM S/390) that runs none of these tests.
    let mut program = vec![0x7f, b'E', b'L', b'F', 2, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 22, 0, 0, 0, 1];
    program.resize(200, 0);
    let tar = Layer::default().directory("bin").file_with_mode("bin/foreign", 0o755, &program).tar();
    import(&daemon, &tar, "foreign").ok();
    let failed = daemon.fails(&["run", "--rm", "foreign", "/bin/foreign"], 126).saying("/bin/foreign");
    assert!(failed.stderr.contains("architecture") || failed.stderr.contains(native_architecture()), "{failed}");
    daemon.assert_no_container_left();
}

#[test]
fn an_archive_that_reaches_out_is_refused_or_stays_inside() {
    let daemon = Daemon::builder().start();
    let landed = ["/", "/tmp", "/etc"].map(|directory| Path::new(directory).join(BAIT));
    for hostile in hostile::all() {
        let outcome = import(&daemon, &hostile.tar, "hostile");
        for path in &landed {
            assert!(!path.exists(), "{}: it wrote {}", hostile.name, path.display());
        }
        assert_eq!(outcome.code, 1, "{} was believed\n{outcome}", hostile.name);
        outcome.fails(1);
        assert_nothing_made(&daemon);
    }
}

#[test]
fn an_absolute_name_in_an_archive_is_below_the_images_root() {
    let daemon = Daemon::with_busybox();
    let outcome = import(&daemon, &hostile::absolute_path(), "absolute");
    assert!(!Path::new("/tmp").join(BAIT).exists(), "it was written to the host");
    assert!(outcome.code == 0 || (outcome.code == 1 && !outcome.stderr.is_empty()), "{outcome}");
}

#[test]
fn a_huge_sparse_file_is_refused_without_filling_the_disk() {
    let daemon = Daemon::builder().start();
    import(&daemon, &hostile::huge_sparse(1 << 50), "huge").fails(1).saying("bytes");
    assert_nothing_made(&daemon);
}

#[test]
fn a_device_node_in_an_image_opens_nothing() {
    let daemon = Daemon::builder().start();
    let (path, header) = hostile::device_node();
    let busybox = testkit::fixtures::busybox::bytes();
    let busybox_without_end = &busybox[..busybox.len() - 1024];
    let mut tar = busybox_without_end.to_vec();
    tar.extend(Layer::default().raw(&header, b"").tar());
    let imported = import(&daemon, &tar, "device");
    if imported.code == 0 {
        let read = daemon.corten(&["run", "--rm", "device", "head", "-c", "1", path]);
        assert!(read.code != 0 && read.stderr.contains("not permitted"), "{read}");
    } else {
        imported.fails(1).saying("disk");
    }
}

#[test]
fn what_is_no_archive_is_refused() {
    let daemon = Daemon::builder().start();
    import(&daemon, b"this is not an archive, whatever its name says", "text").fails(1);
    let path = daemon.path().join("nothing.tar");
    daemon.fails(&["import", &path.to_string_lossy(), "x"], 1).saying("nothing.tar");
    import(&daemon, &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3], "cut-gzip").fails(1);
    import(&daemon, &[0x28, 0xb5, 0x2f, 0xfd, 1, 2, 3], "cut-zstd").fails(1);
    assert_nothing_made(&daemon);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "first", "-p", "8080:80", "busybox", "sleep", "60"]);
    daemon.fails(&["run", "--rm", "-p", "8080:81", "busybox", "true"], 125).saying("8080");
    let listener = daemon.sandbox().run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8090)).expect("a port"));
    daemon.fails(&["run", "--rm", "-p", "8090:80", "busybox", "true"], 125).saying("8090");
    drop(listener);
    daemon.corten(&["run", "--rm", "-p", "8090:80", "busybox", "true"]).ok();
    assert_eq!(daemon.ok(&["ps", "-aq"]).lines().count(), 1, "what failed left a container");
    daemon.ok(&["rm", "-f", "first"]);
    daemon.assert_no_container_left();
}

#[test]
fn a_full_disk_is_said_so_and_freed_again() {
    let daemon = Daemon::builder().data_size(16 * 1024 * 1024).start();
    daemon.import_busybox();
    let tar = Layer::default().file("big", &"x".repeat(32 * 1024 * 1024)).tar();
    let failed = import(&daemon, &tar, "big").fails(1);
    assert!(failed.stderr.contains("space") || failed.stderr.contains("full"), "{failed}");
    assert!(!daemon.ok(&["images"]).contains("big"));
    let full = daemon.corten(&["run", "--rm", "busybox", "sh", "-c", "dd if=/dev/zero of=/root/big bs=1M count=32"]);
    assert!(full.code != 0 && full.stderr.contains("No space"), "{full}");
    // What the container wrote is removed behind the caller's back; then there is room again.
    let begun = std::time::Instant::now();
    while daemon.corten(&["run", "--rm", "busybox", "true"]).code != 0 {
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "the space never came back");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    daemon.assert_no_container_left();
}

#[test]
fn a_daemon_that_is_not_there_is_named_and_what_to_do() {
    let missing = "unix:///tmp/corten-test-nobody/s.sock";
    let output = testkit::process::command(corten::binary()).args(["-H", missing, "ps"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("/tmp/corten-test-nobody/s.sock"), "{text}");
    assert!(text.contains("corten daemon"), "it does not say what to do: {text}");
    let run = testkit::process::command(corten::binary()).args(["-H", missing, "run", "busybox"]).output().unwrap();
    assert_eq!(run.status.code(), Some(125), "{}", String::from_utf8_lossy(&run.stderr));
}

#[test]
fn without_root_it_says_so() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let binary = directory.path().join("corten");
    std::fs::copy(corten::binary(), &binary).unwrap();
    let output = testkit::process::command("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&binary)
        .args(["daemon", "-H"])
        .arg(format!("unix://{}/s.sock", directory.path().display()))
        .arg("--data-root")
        .arg(directory.path().join("data"))
        .arg("--exec-root")
        .arg(directory.path().join("exec"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("root"), "{text}");
    assert!(!directory.path().join("data").exists(), "it made something before it looked");
}

#[test]
fn a_user_without_the_right_to_the_socket_is_told() {
    let daemon = Daemon::builder().argument("--group=54321").start();
    std::fs::set_permissions(daemon.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let binary = daemon.path().join("corten");
    std::fs::copy(corten::binary(), &binary).unwrap();
    let output = testkit::process::command("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&binary)
        .args(["-H", &daemon.host(), "ps"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.to_lowercase().contains("permission denied"), "{text}");
    assert!(text.contains("members of the group 54321 may use it"), "it does not say who may: {text}");
    let mode = std::fs::metadata(daemon.socket()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o660);
}

#[test]
fn an_unknown_flag_or_command_is_a_usage_error() {
    let daemon = Daemon::with_busybox();
    daemon.fails(&["run", "--no-such-flag", "busybox"], 125).saying("--no-such-flag");
    let unknown = daemon.corten(&["frobnicate"]);
    assert!(unknown.code != 0 && unknown.stderr.contains("frobnicate"), "{unknown}");
    daemon.fails(&["run", "--rm", "--memory", "lots", "busybox", "true"], 125).saying("lots");
    daemon.fails(&["run", "--rm", "--cap-add", "NO_SUCH", "busybox", "true"], 125).saying("NO_SUCH");
    daemon.fails(&["run", "--rm", "-u", "nobody-here", "busybox", "true"], 125).saying("nobody-here");
    daemon.fails(&["run", "--rm", "-p", "99999:80", "busybox", "true"], 125).saying("99999");
    daemon.fails(&["run", "--rm", "-v", "/no/such/host/path/for/corten:/x:wrong-mode", "busybox", "true"], 125);
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
    daemon.assert_no_container_left();
}

#[test]
fn a_second_daemon_on_the_same_data_is_refused() {
    let daemon = Daemon::with_busybox();
    let (binary, root) = (corten::binary(), daemon.path().to_owned());
    let output = daemon.sandbox().run(move || {
        testkit::process::command(binary)
            .args(["daemon", "-H"])
            .arg(format!("unix://{}", root.join("second.sock").display()))
            .arg("--data-root")
            .arg(root.join("data"))
            .arg("--exec-root")
            .arg(root.join("exec2"))
            .arg("--pidfile")
            .arg(root.join("pid2"))
            .output()
            .expect("it starts")
    });
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "two daemons on one directory");
    assert!(text.contains("data"), "{text}");
    daemon.corten(&["run", "--rm", "busybox", "true"]).ok();
}
