// SPDX-License-Identifier: Apache-2.0
//! What may follow a failed call.

use crate::tracer::{Call, Who};

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

/// A call whose failure does not keep the container from running, and why that is right.
pub(super) fn tolerated(who: Who, call: &Call) -> Option<&'static str> {
    let path = call.path.as_deref().unwrap_or_default();
    Some(match (who, call.name) {
        (Who::Child, "rt_sigaction") => "two signals refuse it always, and what is not ignored needs no reset",
        (Who::Child, "openat2" | "read") if path.ends_with("/etc/passwd") => {
            "a list of users that cannot be read is none"
        }
        (Who::Child, "rt_sigprocmask" | "signalfd4" | "poll" | "ppoll") if waits_for_start(call) => {
            "a process that cannot wait for `start` ends: `create` has returned by then, and `start` finds it stopped"
        }
        (_, "statx") => "the library only asks how large a file is, to read it in one piece",
        (Who::Launcher, "openat2" | "write") if path.ends_with("cgroup.subtree_control") || path.starts_with('+') => {
            "a controller that is not switched on is missed where a limit needs it, and named there"
        }
        _ => return None,
    })
}

/// Of the fifo and of signals: nothing else makes a child look at two descriptors, at signals, or block only some.
fn waits_for_start(call: &Call) -> bool {
    /// `SIG_BLOCK`.
    const BLOCK: u64 = 0;
    match call.name {
        "rt_sigprocmask" => call.arguments[0] == BLOCK,
        "signalfd4" => true,
        _ => call.arguments[1] == 2,
    }
}

/// Calls by which a container's process is looked at. What cannot be looked at counts as ended: nothing is sent to it,
/// nobody joins it, and the answer is that it does not run.
pub(super) fn looks_whether_it_runs(who: Who, call: &Call) -> bool {
    let stat = call.path.as_deref().is_some_and(|path| path.starts_with("/proc/") && path.ends_with("/stat"));
    who == Who::Launcher && (call.name == "pidfd_open" || (stat && matches!(call.name, "openat" | "read")))
}

/// The names under which messages know a call.
pub(super) fn spoken(call: &Call) -> &[&'static str] {
    match call.name {
        "newfstatat" => &["fstatat", "stat", "fstat"],
        "openat" if call.path.as_deref() == Some("/proc/self/cgroup") => &["read"],
        "openat" => &["openat", "open"],
        "dup3" => &["dup3", "dup2"],
        "rt_sigprocmask" => &["sigprocmask"],
        "signalfd4" => &["signalfd"],
        "faccessat2" => &["faccessat", "faccessat2"],
        "fchownat" => &["fchownat"],
        _ => std::slice::from_ref(&call.name),
    }
}
