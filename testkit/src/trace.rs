// SPDX-License-Identifier: Apache-2.0
//! What a command does, in numbers that repeat: system calls, instructions of its own, and the most memory it had. It is
//! traced (ptrace(2)) with all its children, each until it executes another program than its
//! parent's: what the container's own command does is not counted.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::process::Command;

use crate::entries::stopped;
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// The numbers of some system calls.
pub mod number {
    use nix::libc;

    /// bind(2)
    pub const BIND: u64 = libc::SYS_bind as u64;
    /// chmod(2)
    pub const CHMOD: u64 = libc::SYS_chmod as u64;
    /// fsync(2)
    pub const FSYNC: u64 = libc::SYS_fsync as u64;
    /// listen(2)
    pub const LISTEN: u64 = libc::SYS_listen as u64;
    /// rename(2)
    pub const RENAME: u64 = libc::SYS_rename as u64;
}

/// What was counted.
#[derive(Debug, Default)]
pub struct Counts {
    /// System calls by number.
    pub calls: BTreeMap<u64, u64>,
    /// Instructions in user space.
    pub instructions: u64,
    /// The most memory that the first process had after its last execve, in bytes (`VmHWM`, proc_pid_status(5)).
    pub peak: u64,
    /// System calls of the first process's first thread, as they came.
    order: Vec<u64>,
}

impl Counts {
    /// All system calls.
    pub fn total_calls(&self) -> u64 {
        self.calls.values().sum()
    }
}

/// How tracees go on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// To the end; children are left alone.
    End,
    /// From system call to system call.
    Calls,
    /// Instruction by instruction: some microseconds each.
    Instructions,
}

/// Counts a command's system calls in one run, its instructions in another.
///
/// # Errors
/// When the command fails, or cannot be traced.
pub fn count(mut make: impl FnMut() -> Command) -> Result<Counts, Box<dyn Error>> {
    let mut counts = Counts::default();
    succeeded(trace(&make(), Pace::Calls, &mut counts)?)?;
    succeeded(trace(&make(), Pace::Instructions, &mut counts)?)?;
    Ok(counts)
}

/// The most memory that the command's first process has, in bytes.
///
/// # Errors
/// When the command fails, or cannot be traced.
pub fn peak(what: &Command) -> Result<u64, Box<dyn Error>> {
    let mut counts = Counts::default();
    succeeded(trace(what, Pace::End, &mut counts)?)?;
    Ok(counts.peak)
}

/// The system calls of the command's first thread in their order, and its exit code.
///
/// # Errors
/// When the command cannot be traced.
pub fn calls(what: &Command) -> Result<(Vec<u64>, i32), Box<dyn Error>> {
    let mut counts = Counts::default();
    let code = trace(what, Pace::Calls, &mut counts)?;
    Ok((counts.order, code))
}

fn succeeded(code: i32) -> Result<(), Box<dyn Error>> {
    if code == 0 { Ok(()) } else { Err(format!("the traced command ended with {code}").into()) }
}

/// The exit code of the traced command.
fn trace(what: &Command, pace: Pace, counts: &mut Counts) -> Result<i32, Box<dyn Error>> {
    let mut child = stopped(what).spawn()?;
    let first = Pid::from_raw(i32::try_from(child.id())?);
    waitpid(first, Some(WaitPidFlag::WUNTRACED))?;
    let follow = match pace {
        Pace::End => Options::empty(),
        _ => Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK | Options::PTRACE_O_TRACECLONE,
    };
    let tell = Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_TRACEEXIT | Options::PTRACE_O_TRACESYSGOOD;
    ptrace::seize(first, follow | tell)?;
    kill(first, Signal::SIGCONT)?;
    let outcome = Tracer { first, pace, counts, begun: false, inside: BTreeSet::new() }.follow();
    if outcome.is_err() {
        child.kill()?;
    }
    outcome
}

/// One register of a tracee, by where it lies in `struct user_regs_struct`: asked after every step, so not all of them.
fn register(pid: Pid, offset: usize) -> Result<u64, Box<dyn Error>> {
    let value = ptrace::read_user(pid, std::ptr::without_provenance_mut(offset))?;
    Ok(value.cast_unsigned())
}

struct Tracer<'a> {
    first: Pid,
    pace: Pace,
    counts: &'a mut Counts,
    /// The command has been executed; before that it is the shell.
    begun: bool,
    /// Tracees that are inside a system call.
    inside: BTreeSet<Pid>,
}

impl Tracer<'_> {
    fn follow(mut self) -> Result<i32, Box<dyn Error>> {
        loop {
            // Of this thread's children only: other tests have their own.
            match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD))? {
                WaitStatus::Exited(pid, code) if pid == self.first => return Ok(code),
                WaitStatus::Signaled(pid, signal, _) if pid == self.first => {
                    return Err(format!("the traced command was ended by {signal}").into());
                }
                WaitStatus::PtraceSyscall(pid) => {
                    if self.inside.remove(&pid) {
                        self.go_on(pid, None)?;
                    } else {
                        self.inside.insert(pid);
                        let number = register(pid, std::mem::offset_of!(nix::libc::user_regs_struct, orig_rax))?;
                        *self.counts.calls.entry(number).or_default() += u64::from(self.begun);
                        if self.begun && pid == self.first {
                            self.counts.order.push(number);
                        }
                        self.go_on(pid, None)?;
                    }
                }
                WaitStatus::PtraceEvent(pid, _, event) => self.event(pid, event)?,
                WaitStatus::Stopped(pid, Signal::SIGTRAP) if self.pace == Pace::Instructions => {
                    self.counts.instructions += u64::from(self.begun);
                    self.go_on(pid, None)?;
                }
                WaitStatus::Stopped(pid, Signal::SIGSTOP | Signal::SIGTRAP) => self.go_on(pid, None)?,
                WaitStatus::Stopped(pid, signal) => self.go_on(pid, Some(signal))?,
                _ => {}
            }
        }
    }

    fn event(&mut self, pid: Pid, event: i32) -> Result<(), Box<dyn Error>> {
        if event == Event::PTRACE_EVENT_EXEC as i32 {
            self.begun = true;
            if pid != self.first {
                return Ok(ptrace::detach(pid, None)?);
            }
        } else if event == Event::PTRACE_EVENT_EXIT as i32 && pid == self.first {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib: u64 = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmHWM")?.parse()?;
            self.counts.peak = kib * 1024;
        }
        self.go_on(pid, None)
    }

    fn go_on(&self, pid: Pid, signal: Option<Signal>) -> Result<(), Box<dyn Error>> {
        let gone_on = match self.pace {
            Pace::Instructions if self.begun => ptrace::step(pid, signal),
            Pace::Instructions | Pace::End => ptrace::cont(pid, signal),
            Pace::Calls => ptrace::syscall(pid, signal),
        };
        match gone_on {
            // It was killed meanwhile: its end is reported next.
            Err(nix::errno::Errno::ESRCH) => Ok(()),
            other => Ok(other?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::command;

    #[test]
    fn calls_and_instructions_are_counted_and_repeat() {
        let busybox = || {
            let mut busybox = command("/bin/busybox");
            busybox.arg("true");
            busybox
        };
        let (one, two) = (count(busybox).unwrap(), count(busybox).unwrap());
        assert!(one.total_calls() > 5 && one.instructions > 1000, "{one:?}");
        assert_eq!(one.calls, two.calls);
        assert!((100_000..10_000_000).contains(&peak(&busybox()).unwrap()));
    }
}
