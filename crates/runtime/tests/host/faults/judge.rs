// SPDX-License-Identifier: Apache-2.0
//! What may follow a failed call.

use crate::tracer::{Call, Who};

/// linux/sched.h
const CLONE_THREAD: u64 = 0x0001_0000;

/// Calls that are not made to fail one by one, and why.
pub(super) fn category(call: &Call) -> Option<&'static str> {
    Some(match call.name {
        "mmap" | "brk" | "munmap" | "mremap" | "madvise" | "mprotect" => {
            "the allocator: out of memory aborts the process"
        }
        "sigaltstack" => "Rust's runtime, for the message of a stack overflow",
        "futex" | "sched_yield" | "restart_syscall" => "locks of the C library; nobody contends for them here",
        "exit" | "exit_group" => "does not return",
        "getpid" | "gettid" | "getuid" | "geteuid" | "umask" | "getppid" | "clock_gettime" => "cannot fail",
        "close" => "the descriptor is gone whatever the answer",
        "getrandom" => "seeds of hash tables; the library asks another way",
        _ => return None,
    })
}

/// A call that returns when something happens elsewhere, and is made again where that was not all: how often, is not
/// the same from run to run.
pub(super) fn waits(call: &Call) -> bool {
    matches!(call.name, "poll" | "ppoll")
}

/// A call that reads what the whole machine changes: a list of mounts is longer, and takes one call more, while another test
/// has some.
pub(super) fn reads_what_changes(call: &Call) -> bool {
    call.name == "read" && call.path.as_deref().is_some_and(|path| path.ends_with("/mountinfo"))
}

/// A call whose failure does not keep the container from running, and why that is right.
pub(super) fn tolerated(who: Who, call: &Call) -> Option<&'static str> {
    let path = call.path.as_deref().unwrap_or_default();
    Some(match (who, call.name) {
        (Who::Made(_), "rt_sigaction") => "two signals refuse it always, and what is not ignored needs no reset",
        (Who::Made(_), "openat2" | "read") if path.ends_with("/etc/passwd") => {
            "a list of users that cannot be read is none"
        }
        (Who::Made(_), "sched_setaffinity") => "it then runs on its launcher's CPUs, which a warning says",
        (Who::Made(_), "poll" | "ppoll") if waits_for_start(call) => {
            "a process that cannot wait for `start` ends: `create` has returned by then, and `start` finds it stopped"
        }
        (_, "unshare") if call.arguments[0] == CLONE_THREAD => {
            "it changes nothing, but asks whether there are threads; a filter may refuse that with any answer"
        }
        (_, "statx") => "the library only asks how large a file is, to read it in one piece",
        (Who::Launcher, "openat2" | "write") if path.ends_with("cgroup.subtree_control") || path.starts_with('+') => {
            "a controller that is not switched on is missed where a limit needs it, and named there"
        }
        (Who::Launcher, "openat" | "fstat" | "read") if is_kept_filter(path) => {
            "a filter that cannot be read from where compiled ones are kept is compiled anew"
        }
        (Who::Launcher, "newfstatat") if path == "/proc/self/exe" => {
            "a program that does not know itself cannot tell which kept filters are its own, and compiles"
        }
        _ => return None,
    })
}

/// Of the fifo and of signals: nothing else makes a child look at two descriptors.
fn waits_for_start(call: &Call) -> bool {
    call.arguments[1] == 2
}

/// Whether this is where compiled filters are kept (`runtime/src/filters.rs`), or one of them, by its hash.
fn is_kept_filter(path: &str) -> bool {
    let hash = path.len() == 16 && path.bytes().all(|byte| byte.is_ascii_hexdigit());
    hash || path.ends_with("/state/filters~") || path.contains("/state/filters~/")
}

/// Whether a tolerated failure is told all the same.
pub(super) fn warns(call: &Call) -> bool {
    call.name == "sched_setaffinity"
}

/// The names under which messages know a call.
pub(super) fn spoken(call: &Call) -> &[&'static str] {
    match call.name {
        "newfstatat" => &["fstatat", "stat", "fstat"],
        "openat" if call.path.as_deref() == Some("/proc/self/cgroup") => &["read"],
        "openat" => &["openat", "open"],
        "dup3" => &["dup3", "dup2"],
        "rt_sigprocmask" => &["sigprocmask"],
        "ppoll" => &["ppoll", "poll"],
        "signalfd4" => &["signalfd"],
        "faccessat2" => &["faccessat", "faccessat2"],
        "fchownat" => &["fchownat"],
        _ => std::slice::from_ref(&call.name),
    }
}

/// Whether it is one of many calls that differ in a number only: signals and capabilities, one after the other.
pub(super) fn is_one_of_many(call: &Call) -> bool {
    /// linux/prctl.h
    const PR_CAPBSET_DROP: u64 = 24;
    const PR_CAPBSET_READ: u64 = 23;
    match call.name {
        "rt_sigaction" => call.arguments[0] > 1,
        "prctl" => matches!(call.arguments[0], PR_CAPBSET_READ | PR_CAPBSET_DROP) && call.arguments[1] > 1,
        _ => false,
    }
}
