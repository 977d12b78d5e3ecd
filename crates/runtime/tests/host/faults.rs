// SPDX-License-Identifier: Apache-2.0
//! Every system call of a start is made to fail in turn. Each time the error names what was being done, the call with
//! its arguments and the kernel's answer, and nothing is left behind; or the container runs all the same, for a reason
//! that stands in `judge`.

mod bundles;
mod case;
mod judge;

use std::os::unix::net::UnixListener;

use case::Case;

use crate::bundle::Bundle;
use crate::tracer::{At, Call, Fault, Who};

const EIO: i32 = 5;

/// The container's process, where no other is made before it.
const CHILD: Who = Who::Made(0);

#[test]
fn every_call_of_a_containers_process() {
    Case::new(bundles::full(), &["run", "--pid-file", "pid"], bundles::SAID).every_call_fails(CHILD);
}

#[test]
fn every_call_of_a_launcher() {
    Case::new(bundles::full(), &["run", "--pid-file", "pid"], bundles::SAID).every_call_fails(Who::Launcher);
}

fn listen(bundle: &Bundle) -> UnixListener {
    let socket = UnixListener::bind(bundle.path().join("socket")).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn with_terminal() -> Case {
    let neighbour = bundles::running();
    let bundle = bundles::terminal(&neighbour);
    let socket = listen(&bundle);
    let args = ["create", "--console-socket", "socket", "--pid-file", "pid", "--no-pivot"];
    Case { socket: Some(socket), _neighbour: Some(neighbour), ..Case::new(bundle, &args, "") }
}

#[test]
fn every_call_of_a_process_that_waits_and_has_a_terminal() {
    with_terminal().every_call_fails(CHILD);
}

#[test]
fn every_call_of_a_launcher_that_does_not_wait() {
    with_terminal().every_call_fails(Who::Launcher);
}

/// A container for which other processes are made: one that holds the ids of a mount, the stage, the container's, hooks.
fn with_helpers() -> Case {
    let bundle = bundles::all_namespaces();
    let socket = listen(&bundle);
    let case = Case::new(bundle, &["run", "--pid-file", "pid"], bundles::SAID);
    Case { socket: Some(socket), container: 2, ..case }
}

#[test]
fn every_call_of_a_stage() {
    with_helpers().every_call_fails(Who::Made(1));
}

#[test]
fn every_call_of_a_process_that_a_stage_made() {
    with_helpers().every_call_fails(Who::Made(2));
}

#[test]
fn every_call_of_a_launcher_that_is_asked() {
    with_helpers().every_call_fails(Who::Launcher);
}

#[test]
fn every_call_of_hooks() {
    let case = with_helpers();
    for hook in 3..6 {
        case.every_call_fails(Who::Made(hook));
    }
}

#[test]
fn every_call_of_a_process_that_joins() {
    Case::exec().every_call_fails(CHILD);
}

#[test]
fn every_call_of_a_launcher_that_joins() {
    Case::exec().every_call_fails(Who::Launcher);
}

/// The kernel kills whom it likes when memory is short, and so may an administrator.
#[test]
fn a_process_that_is_killed_anywhere_leaves_nothing_and_keeps_nobody_waiting() {
    Case::new(bundles::full(), &["run", "--pid-file", "pid"], bundles::SAID).killed_anywhere(CHILD);
    with_helpers().killed_anywhere(Who::Made(1));
    with_helpers().killed_anywhere(Who::Made(2));
    Case::exec().killed_anywhere(CHILD);
}

/// The kernel's answer for a capability that it does not know, for one that it must know: it would stay.
#[test]
fn a_capability_that_cannot_be_dropped_is_an_error() {
    let case = Case::new(bundles::full(), &["run"], bundles::SAID);
    let drop = |call: &Call| call.name == "prctl" && call.arguments[0] == 24;
    let index = case.calls().made[0].iter().position(drop).unwrap();
    let outcome = case.run(&[Fault { who: CHILD, at: At::Index(index), errno: nix::libc::EINVAL }]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.err);
    assert!(outcome.err.contains("bounding set 0x421: prctl(PR_CAPBSET_DROP, 1) = -1 EINVAL"), "{}", outcome.err);
    case.bundle.left_nothing();
}

/// Where there is another way, or doing without: told as a warning, and the container runs.
#[test]
fn what_can_be_done_without() {
    let case = Case::new(bundles::full(), &["run"], bundles::SAID);
    let calls = &case.calls().made[0];
    let cpus = "the CPU affinity stays as it is: sched_setaffinity(0, all CPUs) = -1 EPERM (";
    for (name, errno, warning) in [
        ("keyctl", nix::libc::ENOSYS, ""),
        ("sched_setaffinity", nix::libc::EPERM, cpus),
        ("prlimit64", nix::libc::EPERM, "RLIMIT_NOFILE is not raised: prlimit64("),
    ] {
        let index = calls.iter().position(|call| call.name == name).unwrap();
        let outcome = case.run(&[Fault { who: CHILD, at: At::Index(index), errno }]);
        assert_eq!((outcome.code, outcome.out.as_str()), (Some(0), bundles::SAID), "{name}: {}", outcome.err);
        assert_eq!(outcome.traced.hit.map(|call| call.name), Some(name));
        assert!(outcome.err.contains(warning), "{name}: {}", outcome.err);
        assert_eq!(warning.is_empty(), outcome.err.is_empty(), "{name}: {}", outcome.err);
    }
    let score = calls.iter().position(|call| call.path.as_deref() == Some("/proc/self/oom_score_adj")).unwrap();
    let outcome = case.run(&[Fault { who: CHILD, at: At::Index(score), errno: nix::libc::EACCES }]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    assert!(outcome.err.contains("the OOM score stays as it is: openat("), "{}", outcome.err);
    case.bundle.left_nothing();
}

/// What was made before a failure is taken back in the opposite order.
#[test]
fn what_was_made_is_taken_back_last_first() {
    let case = Case::new(bundles::full(), &["run"], bundles::SAID);
    let calls = case.calls().launcher;
    let index = calls.iter().position(|call| call.name == "clone3").unwrap();
    let outcome = case.run(&[Fault { who: Who::Launcher, at: At::Index(index), errno: EIO }]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.err);
    let groups = |name: &str, calls: &[Call]| -> Vec<(u64, Option<String>)> {
        let ours = |call: &&Call| call.path.as_deref().is_some_and(|path| path.starts_with("corten-rt-"));
        let found = calls.iter().filter(|call| call.name == name).filter(ours);
        found.map(|call| (call.arguments[0], call.path.clone())).collect()
    };
    // Parents: of those that failed for want of a parent, only the second attempt made something.
    let parent = |(_, path): &(u64, Option<String>)| path.as_ref().is_some_and(|path| !path.contains('/'));
    let made: Vec<_> = groups("mkdirat", &outcome.traced.launcher[..index]).into_iter().filter(parent).collect();
    let removed: Vec<_> = groups("unlinkat", &outcome.traced.launcher[index..]).into_iter().filter(parent).collect();
    assert!(made.len() > 1);
    assert_eq!(removed, made.into_iter().rev().collect::<Vec<_>>());
    case.bundle.left_nothing();
}

/// A failure while something is taken back is told beside the first one, and the rest is taken back all the same.
#[test]
fn a_failure_of_taking_back_is_told_beside_the_first() {
    let case = Case::new(bundles::full(), &["run"], bundles::SAID);
    let clean = case.calls();
    let clone = clean.launcher.iter().position(|call| call.name == "clone3").unwrap();
    let mkdir = clean.launcher.iter().rposition(|call| call.name == "mkdirat").unwrap();
    let hostname = clean.made[0].iter().position(|call| call.name == "sethostname").unwrap();
    for (who, index, told) in [
        (Who::Launcher, clone, "clone3("),
        (Who::Launcher, mkdir, "mkdir cgroup"),
        (CHILD, hostname, "sethostname(\"corten\") = -1 EIO"),
    ] {
        let first = Fault { who, at: At::Index(index), errno: EIO };
        let once = case.run(&[first]).traced;
        // In the second run a removal fails as well: the first one after that.
        let from = if who == Who::Launcher { index } else { clone };
        let removal = once.launcher.iter().skip(from).position(|call| call.name == "unlinkat").unwrap() + from;
        let kept = once.launcher[removal].clone();
        let outcome = case.run(&[first, Fault { who: Who::Launcher, at: At::Index(removal), errno: EIO }]);
        assert_eq!(outcome.code, Some(1), "{}", outcome.err);
        let (before, after) = outcome.err.split_once("; and it could not be undone: ").unwrap();
        assert!(before.contains(told), "{}", outcome.err);
        assert!(after.contains("rmdir cgroup"), "{}", outcome.err);
        // One directory stayed, with those above it; not those of the other hierarchies.
        let left: Vec<_> = case.left_groups();
        assert_eq!(left.len(), 1, "{left:?} after {kept:?} failed");
        // It is empty: the next start uses it as it is, and it goes with that container.
        assert_eq!(case.run(&[]).code, Some(0));
        case.clean();
        case.bundle.left_nothing();
    }
}

/// A launcher that fails once its process runs ends it: nobody would know of one that runs on.
#[test]
fn a_process_that_nobody_attends_is_ended() {
    let launcher = |name, nth| [Fault { who: Who::Launcher, at: At::Named(name, nth), errno: EIO }];
    let bundle = bundles::full().set("/process/args", serde_json::json!(["sleep", "1000"]));
    let run = Case::new(bundle, &["run", "--pid-file", "pid"], "");
    let outcome = run.run(&launcher("ppoll", 0));
    assert!(outcome.err.contains("poll(signals, process, terminal) = -1 EIO"), "{}", outcome.err);
    assert_eq!((outcome.code, run.left()), (Some(1), None));
    let exec = Case::exec();
    let words = [&exec.args[..exec.args.len() - 2], &["sleep".into(), "1000".into()]].concat();
    let exec = Case { args: words, ..exec };
    for (fault, told) in [(launcher("ppoll", 0), "poll("), (launcher("setns", 1), "setns(")] {
        let outcome = exec.run(&fault);
        assert!(outcome.err.contains(told), "{}", outcome.err);
        assert_eq!((outcome.code, exec.left()), (Some(255), None));
    }
}
