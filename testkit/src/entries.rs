// SPDX-License-Identifier: Apache-2.0
//! Which functions a program enters, with all processes and threads that it makes, in the order in which each is entered
//! first. A breakpoint stands at the beginning of each and is taken away where it is reached, so a program of many
//! thousands of functions runs at nearly its own speed.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::fs::File;
use std::io;
use std::mem::offset_of;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::libc::user_regs_struct;
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::process::command;

/// `int3`, one byte.
const BREAKPOINT: u8 = 0xcc;
/// A process that gets this signal, which does nothing otherwise, begins anew: see [`Entered::part`].
pub const ANEW: Signal = Signal::SIGWINCH;

/// A function that was entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Entered {
    /// Where it begins.
    pub address: u64,
    /// By the process that was started, not by one that it made.
    pub by_first: bool,
    /// How often [`ANEW`] had been sent to the first process by then. Functions that were entered before are told again.
    pub part: usize,
}

/// A command that stops itself, to be followed, before it becomes that one. Its output is nobody's.
pub fn stopped(what: &Command) -> Command {
    let mut shell = command("/bin/sh");
    shell.args(["-c", "kill -STOP $$; exec \"$@\"", "sh"]).arg(what.get_program()).args(what.get_args());
    for (name, value) in what.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    if let Some(directory) = what.get_current_dir() {
        shell.current_dir(directory);
    }
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    shell
}

/// The functions that are watched for.
pub struct Functions {
    program: PathBuf,
    /// Where the breakpoints are.
    entries: HashSet<u64>,
    /// The code as it is, from the first entry on, and with the breakpoints.
    start: u64,
    code: Vec<u8>,
    broken: Vec<u8>,
}

impl Functions {
    /// Those of a statically linked program that begin at these addresses, each of which must be that of an instruction.
    ///
    /// # Errors
    /// When there is none, or the program cannot be read.
    pub fn of(program: &Path, entries: impl IntoIterator<Item = u64>) -> Result<Functions, Box<dyn Error>> {
        let entries: HashSet<u64> = entries.into_iter().collect();
        let (start, last) = entries.iter().min().zip(entries.iter().max()).ok_or("no functions")?;
        let (start, length) = (*start, usize::try_from(last - start + 1)?);
        Ok(Functions { program: program.to_owned(), entries, start, code: vec![0; length], broken: Vec::new() })
    }

    /// Follows a process that has stopped itself ([`stopped`]) before it executes the program, and all that it makes until
    /// they execute something else, up to its end, of which nobody else is told. The calling thread may have no other
    /// children.
    ///
    /// # Errors
    /// When it cannot be traced.
    pub fn follow(&mut self, first: Child) -> Result<Vec<Entered>, Box<dyn Error>> {
        let first = Pid::from_raw(i32::try_from(first.id())?);
        waitpid(first, Some(WaitPidFlag::WUNTRACED))?;
        let options = Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        ptrace::seize(first, options)?;
        kill(first, Signal::SIGCONT)?;
        let mut entered = Vec::new();
        let mut seen = HashSet::new();
        // Threads, and what process each belongs to.
        let mut processes = HashMap::<Pid, Pid>::new();
        let mut part = 0;
        let mut over = false;
        loop {
            // Of this thread's tracees only.
            let status = match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
                Err(Errno::ECHILD) => return Ok(entered),
                status => status?,
            };
            let Some(pid) = status.pid() else { continue };
            let process = match processes.get(&pid) {
                Some(process) => *process,
                None => *processes.entry(pid).or_insert(process_of(pid).unwrap_or(pid)),
            };
            let signal = match status {
                WaitStatus::Exited(..) | WaitStatus::Signaled(..) => {
                    processes.remove(&pid);
                    if pid == first {
                        over = true;
                        // What goes on without it is stopped, to be let go of.
                        for left in processes.keys() {
                            unless_gone(ptrace::interrupt(*left))?;
                        }
                    }
                    continue;
                }
                WaitStatus::PtraceEvent(_, _, event) if event == Event::PTRACE_EVENT_EXEC as i32 => {
                    if !self.executes(pid)? {
                        unless_gone(ptrace::detach(pid, None))?;
                        processes.remove(&pid);
                        continue;
                    }
                    self.set(pid)?;
                    None
                }
                WaitStatus::Stopped(_, Signal::SIGTRAP) => match self.reached(pid)? {
                    Some(address) => {
                        let new = Entered { address, by_first: process == first, part };
                        if seen.insert(new) {
                            entered.push(new);
                        }
                        None
                    }
                    None => Some(Signal::SIGTRAP),
                },
                WaitStatus::Stopped(_, ANEW) => {
                    part += usize::from(process == first);
                    for process in processes.values().collect::<HashSet<_>>() {
                        // One that ends now has no memory any more.
                        let _ = self.set(*process);
                    }
                    None
                }
                WaitStatus::Stopped(_, signal) => Some(signal),
                _ => None,
            };
            if over {
                // One that ends now has no memory any more.
                let _ = memory(process).and_then(|memory| memory.write_all_at(&self.code, self.start));
                unless_gone(ptrace::detach(pid, signal))?;
                processes.remove(&pid);
            } else {
                unless_gone(ptrace::cont(pid, signal))?;
            }
        }
    }

    fn executes(&self, pid: Pid) -> io::Result<bool> {
        let (its, ours) = (std::fs::metadata(format!("/proc/{pid}/exe"))?, std::fs::metadata(&self.program)?);
        Ok((its.dev(), its.ino()) == (ours.dev(), ours.ino()))
    }

    /// Sets all breakpoints.
    fn set(&mut self, process: Pid) -> io::Result<()> {
        let memory = memory(process)?;
        if self.broken.is_empty() {
            memory.read_exact_at(&mut self.code, self.start)?;
            self.broken = self.code.clone();
            for entry in &self.entries {
                self.broken[at(self.start, *entry)] = BREAKPOINT;
            }
        }
        memory.write_all_at(&self.broken, self.start)
    }

    /// The function at whose breakpoint it stands: goes back to it, and takes it away.
    fn reached(&self, pid: Pid) -> Result<Option<u64>, Box<dyn Error>> {
        let register = std::ptr::without_provenance_mut(offset_of!(user_regs_struct, rip));
        let address = ptrace::read_user(pid, register)?.cast_unsigned().wrapping_sub(1);
        if !self.entries.contains(&address) {
            return Ok(None);
        }
        memory(pid)?.write_all_at(&[self.code[at(self.start, address)]], address)?;
        ptrace::write_user(pid, register, address.cast_signed())?;
        Ok(Some(address))
    }
}

/// Where an address is in code that begins at `start`.
fn at(start: u64, address: u64) -> usize {
    usize::try_from(address - start).expect("the length fitted")
}

/// It may have been killed meanwhile: then its end is told next.
fn unless_gone(outcome: nix::Result<()>) -> nix::Result<()> {
    if outcome == Err(Errno::ESRCH) { Ok(()) } else { outcome }
}

fn memory(pid: Pid) -> io::Result<File> {
    File::options().read(true).write(true).open(format!("/proc/{pid}/mem"))
}

/// The process that a thread is of.
fn process_of(pid: Pid) -> Option<Pid> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    line.trim().parse().ok().map(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    extern "C" fn one(number: u32) -> u32 {
        std::hint::black_box(number) + 1
    }

    #[inline(never)]
    extern "C" fn two(number: u32) -> u32 {
        std::hint::black_box(number) * 3
    }

    /// Of this program, executed once more.
    #[test]
    fn functions_are_told_once_by_whoever_enters_them_and_anew_after_the_signal() {
        const INSIDE: &str = "CORTEN_ENTRIES_INSIDE";
        let name = "entries::tests::functions_are_told_once_by_whoever_enters_them_and_anew_after_the_signal";
        let program = std::env::current_exe().unwrap();
        let again = |inside: &str| {
            let mut again = command(&program);
            again.args(["--exact", name]).env(INSIDE, inside);
            again
        };
        let inside = std::env::var(INSIDE).ok();
        if inside.as_deref() == Some("child") {
            assert_eq!(two(1), 3);
            return;
        }
        if inside.is_some() {
            assert_eq!(one(one(1)), 3);
            assert_eq!(std::thread::spawn(|| two(1)).join().unwrap(), 3);
            nix::sys::signal::raise(ANEW).unwrap();
            assert_eq!(one(1), 2);
            assert!(again("child").status().unwrap().success());
            return;
        }
        let [one, two] = [one, two].map(|function| function as *const () as u64);
        let mut functions = Functions::of(&program, [one, two]).unwrap();
        let child = stopped(&again("first")).spawn().unwrap();
        let entered = functions.follow(child).unwrap();
        let expected = [(one, true, 0), (two, true, 0), (one, true, 1), (two, false, 1)];
        assert_eq!(entered, expected.map(|(address, by_first, part)| Entered { address, by_first, part }));
    }
}
