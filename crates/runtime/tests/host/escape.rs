// SPDX-License-Identifier: Apache-2.0
//! Roads out of a container that others left open: each test is one of them.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::bundle::{Bundle, example};

const LIST_FDS: &str = "for f in /proc/$$/fd/*; do echo ${f##*/} $(readlink $f); done";

fn through_shell(bundle: &Bundle, before: &str, args: &[&str]) -> Command {
    let oci = bundle.command(args);
    let words: Vec<String> = std::iter::once(oci.get_program())
        .chain(oci.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{before}; exec {}", words.join(" "))]).current_dir(bundle.path());
    command
}

/// CVE-2016-9962, CVE-2024-21626: descriptors of the host inherited by the container.
#[test]
fn no_descriptor_of_the_host_is_inherited() {
    let bundle = Bundle::script(LIST_FDS);
    let ran = bundle.finish(through_shell(&bundle, "exec 3</etc/passwd 7</ 9</proc", &["run", &bundle.id]));
    let numbers: Vec<String> = ran.ok().lines().filter_map(|line| line.split(' ').next()).map(String::from).collect();
    // The shell itself may hold its script's terminal at 10 and the directory it lists; neither is ours.
    assert!(numbers.iter().all(|number| matches!(number.as_str(), "0" | "1" | "2" | "3")), "{numbers:?}");
    let listed = Bundle::script("ls -l /proc/self/fd");
    let ran = listed.finish(through_shell(&listed, "exec 3</etc/passwd 7</ 9</proc", &["run", &listed.id]));
    let out = ran.ok();
    assert!(!out.contains("passwd") && !out.contains("-> / ") && !out.contains(" 7 ") && !out.contains(" 9 "), "{out}");
}

#[test]
fn only_preserved_descriptors_are_inherited() {
    let bundle = Bundle::script("cat <&3; ls /proc/self/fd");
    let file = bundle.path().join("given");
    fs::write(&file, "given\n").unwrap();
    let before = format!("exec 3<'{}' 4</etc/passwd", file.display());
    let ran = bundle.finish(through_shell(&bundle, &before, &["run", "--preserve-fds", "1", &bundle.id]));
    // 4 is the directory that ls itself lists.
    assert_eq!(ran.ok(), "given\n0\n1\n2\n3\n4\n");
}

/// CVE-2024-21626: a working directory or a command by way of a descriptor of the host.
#[test]
fn descriptors_are_no_way_out_for_directory_or_command() {
    for number in 3..16 {
        let cwd = Bundle::new(&["pwd"]).set("/process/cwd", json!(format!("/proc/self/fd/{number}")));
        let ran = cwd.finish(through_shell(&cwd, "exec 3</ 7</ 9</", &["run", &cwd.id]));
        assert_eq!(ran.code, Some(1), "{}", ran.out);
        assert!(ran.err.contains("working directory"), "{}", ran.err);
        let path = format!("/proc/self/fd/{number}/../../../bin/sh");
        let command = Bundle::new(&[&path, "-c", "echo escaped"]);
        let ran = command.finish(through_shell(&command, "exec 3</ 7</ 9</", &["run", &command.id]));
        assert_eq!(ran.code, Some(127), "{}{}", ran.out, ran.err);
    }
}

/// CVE-2019-5736: our program executed inside, then opened for writing through `/proc/N/exe`. The mount it was
/// executed through is read-only; "Text file busy" would mean that only its still running protects it.
#[test]
fn our_program_cannot_be_overwritten_from_inside() {
    let bundle = Bundle::new(&["sleep", "100"]).set("/root/readonly", json!(false));
    rustix::fs::mkfifoat(rustix::fs::CWD, bundle.rootfs("config.json"), rustix::fs::Mode::from_raw_mode(0o600))
        .unwrap();
    let bundle = bundle.start();
    // Inside, our program waits for a configuration that never comes.
    let mut attacker =
        bundle.command(&["exec", &bundle.id, "/proc/self/exe", "run", "--bundle", "/", "x"]).spawn().unwrap();
    let find = "for p in /proc/[0-9]*; do grep -q -- --bundle $p/cmdline 2>/dev/null && echo $p; done";
    let deadline = Instant::now() + Duration::from_secs(10);
    let process = loop {
        // The search's own words hold what it looks for; ours are found by the program's first word.
        let found =
            bundle.exec(&format!("{find} | while read p; do grep -q ^/proc/self/exe $p/cmdline && echo $p; done")).out;
        if let Some(process) = found.lines().next() {
            break process.to_owned();
        }
        assert!(Instant::now() < deadline, "our program did not start inside");
        std::thread::sleep(Duration::from_millis(20));
    };
    let before = fs::metadata(example("oci")).unwrap().len();
    let ran = bundle.exec(&format!("echo overwritten > {process}/exe"));
    assert!(ran.err.contains("Read-only file system"), "{}", ran.err);
    assert_eq!(fs::metadata(example("oci")).unwrap().len(), before);
    attacker.kill().unwrap();
    attacker.wait().unwrap();
}

/// Who launches without having been executed through a read-only mount is told, and launches nothing.
#[test]
fn an_exposed_launcher_is_refused() {
    let bundle = Bundle::new(&["true"]);
    bundle.command(&["features"]);
    let mut command = Command::new(example("launch"));
    command.arg(bundle.path()).arg("--exposed");
    let ran = bundle.finish(command);
    ran.fails(125, "could be overwritten");
    assert_eq!(bundle.cgroups(), Vec::<std::path::PathBuf>::new());
}

/// A process that still is ours cannot be looked into from inside, although it has the same user and capabilities as
/// who looks: one that waits for `start` in a shared pid namespace stays in that moment for as long as it takes.
#[test]
fn a_process_that_still_is_ours_cannot_be_looked_into() {
    let inside = Bundle::new(&["sleep", "100"]).start();
    let pid = inside.state()["pid"].as_i64().unwrap();
    let kinds = ["mount", "uts", "ipc", "network", "cgroup"].map(|kind| json!({ "type": kind }));
    let mut namespaces = kinds.to_vec();
    namespaces.push(json!({ "type": "pid", "path": format!("/proc/{pid}/ns/pid") }));
    let waiting = Bundle::new(&["sleep", "100"]).set("/linux/namespaces", json!(namespaces));
    waiting.oci(&["create", &waiting.id]).ok();
    let find =
        "p=$(grep -l corten:starting /proc/[0-9]*/comm); p=${p%/comm}; echo $p; sed -n 's/^CapPrm:.0*//p' $p/status";
    let look =
        format!("{find}; readlink $p/exe $p/fd/*; head -c 20 $p/environ; head -c 4 $p/exe; head -c 4 $p/fd/4; true");
    let ran = inside.exec(&look);
    let said: Vec<&str> = ran.out.lines().filter(|line| !line.is_empty()).collect();
    // Its number and that it has no more than who looks; nothing else could be seen.
    assert!(said[0].starts_with("/proc/"), "{ran:?}");
    assert_eq!(said[1..], ["20000420"], "{ran:?}");
    assert!(ran.err.matches("Permission denied").count() >= 3, "{ran:?}");
    waiting.oci(&["start", &waiting.id]).ok();
    let after = inside.exec("for p in /proc/[0-9]*; do readlink $p/exe; done").ok();
    assert!(after.contains("/bin/busybox"), "{after}");
}

/// The container ends with the process that launched it, however that ends.
#[test]
fn a_container_dies_with_its_launcher() {
    let bundle = Bundle::new(&["sleep", "100"]);
    bundle.command(&["features"]);
    let err = bundle.path().join("err");
    let mut launcher =
        Command::new(example("launch")).arg(bundle.path()).stderr(fs::File::create(&err).unwrap()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let pid = loop {
        let said = fs::read_to_string(&err).unwrap();
        if let Some(pid) = said.lines().find_map(|line| line.strip_prefix("pid ")) {
            break pid.parse::<i32>().unwrap();
        }
        assert!(Instant::now() < deadline, "not launched: {said}");
        std::thread::sleep(Duration::from_millis(5));
    };
    let pidfd = sys::process::pidfd_open(pid).unwrap();
    launcher.kill().unwrap();
    launcher.wait().unwrap();
    let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    let patience = rustix::event::Timespec { tv_sec: 5, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut fds, Some(&patience)).unwrap(), 1, "the container lives on");
    // Nobody is left to remove its cgroup, so the test does.
    for directory in bundle.cgroups() {
        while fs::remove_dir(&directory).is_err() {
            assert!(Instant::now() < deadline, "{} cannot be removed", directory.display());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
