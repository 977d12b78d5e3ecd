// SPDX-License-Identifier: Apache-2.0
//! Running a command under ptrace: its system calls and those of its children, and one of them made to fail.
//!
//! Every process it makes, and what those make, is followed until it executes another program; from there on it runs on
//! its own. Counting begins where the
//! program, executed for the last time, has asked the kernel whether it may launch (`runtime::protect`): what came
//! before is the start of the program and of its runtime library.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// One system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    pub(crate) arguments: [u64; 6],
    /// The path among its arguments, or of the file that is its first argument.
    pub(crate) path: Option<String>,
}

/// Who makes a call: the command itself, or the nth process that was made by it or by one of these, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    Launcher,
    Made(usize),
}

/// In place of an error number: the process is killed where it makes the call.
pub(crate) const KILLED: i32 = 0;

/// The call that fails: whose, which, and with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) who: Who,
    pub(crate) at: At,
    pub(crate) errno: i32,
}

/// Which call it is, counted from 0: among all, or among those of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Index(usize),
    Named(&'static str, usize),
}

impl At {
    fn is(self, call: &Call, before: &[Call]) -> bool {
        match self {
            At::Index(index) => index == before.len(),
            At::Named(name, nth) => {
                call.name == name && before.iter().filter(|earlier| earlier.name == name).count() == nth
            }
        }
    }
}

/// What happened.
#[derive(Debug, Default)]
pub(crate) struct Traced {
    pub(crate) launcher: Vec<Call>,
    pub(crate) made: Vec<Vec<Call>>,
    /// The last call that was made to fail.
    pub(crate) hit: Option<Call>,
    /// The command's exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    /// Which of the processes executed a program.
    pub(crate) executed: Vec<usize>,
    /// Somebody had to be killed for want of progress.
    pub(crate) stuck: bool,
}

impl Traced {
    pub(crate) fn calls(&self, who: Who) -> &[Call] {
        match who {
            Who::Launcher => &self.launcher,
            Who::Made(number) => self.made.get(number).map_or(&[], Vec::as_slice),
        }
    }
}

/// How long one traced command may take.
const PATIENCE: Duration = Duration::from_secs(20);

struct Tracee {
    who: Who,
    /// Between a call's entry and its exit.
    inside: bool,
    /// The answer to give at the call's exit.
    answer: Option<i32>,
    /// Whether calls are counted.
    counting: bool,
}

struct Tracer<'a> {
    faults: &'a [Fault],
    tracees: HashMap<Pid, Tracee>,
    /// Every process that was made, also those that ended.
    seen: HashSet<Pid>,
    launcher: Pid,
    traced: Traced,
    /// How often the command has been executed: it does so once itself.
    executions: usize,
    /// Called when the command ended and its child lives.
    released: Option<Box<dyn FnOnce() + 'a>>,
}

/// Runs `command` to its end. When it ends well while its child has not executed anything yet (`create`), `release`
/// is called, and the child followed further.
pub(crate) fn trace<'a>(command: &Command, faults: &'a [Fault], release: impl FnOnce() + 'a) -> Traced {
    let mut stopped = Command::new("sh");
    stopped.args(["-c", "kill -STOP $$; exec \"$@\"", "sh"]).arg(command.get_program()).args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        stopped.current_dir(directory);
        let file = |name: &str| Stdio::from(std::fs::File::create(directory.join(name)).unwrap());
        stopped.stdin(Stdio::null()).stdout(file("out")).stderr(file("err"));
    }
    #[expect(clippy::zombie_processes, reason = "waited for by its number, with what it leaves behind")]
    let child = stopped.spawn().unwrap();
    let launcher = Pid::from_raw(i32::try_from(child.id()).unwrap());
    waitpid(launcher, Some(WaitPidFlag::WUNTRACED)).unwrap();
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK;
    ptrace::seize(launcher, options).unwrap();
    kill(launcher, Signal::SIGCONT).unwrap();
    let mut tracer = Tracer {
        faults,
        tracees: HashMap::new(),
        seen: HashSet::new(),
        launcher,
        traced: Traced::default(),
        executions: 0,
        released: Some(Box::new(release)),
    };
    tracer.add(launcher, Who::Launcher, false);
    tracer.follow();
    tracer.traced
}

impl Tracer<'_> {
    fn add(&mut self, pid: Pid, who: Who, counting: bool) {
        self.tracees.insert(pid, Tracee { who, inside: false, answer: None, counting });
    }

    fn made(&mut self, pid: Pid) {
        if self.seen.insert(pid) {
            self.add(pid, Who::Made(self.traced.made.len()), true);
            self.traced.made.push(Vec::new());
        }
    }

    fn follow(&mut self) {
        let (done, watched) = mpsc::channel::<()>();
        let launcher = self.launcher;
        // Whoever waits for something that never comes is ended, and the test told.
        let watchdog = std::thread::spawn(move || {
            let late = watched.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout);
            if late {
                kill_tree(launcher);
            }
            late
        });
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        while !self.tracees.is_empty() {
            match waitpid(None, Some(flags)) {
                Ok(status) => self.handle(status),
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => panic!("waitpid: {errno}"),
            }
        }
        drop(done);
        self.traced.stuck = watchdog.join().unwrap();
    }

    fn handle(&mut self, status: WaitStatus) {
        match status {
            WaitStatus::Exited(pid, code) => self.gone(pid, Some(code)),
            WaitStatus::Signaled(pid, ..) => self.gone(pid, None),
            WaitStatus::PtraceSyscall(pid) => {
                self.at_call(pid);
                self.resume(pid, None);
            }
            WaitStatus::PtraceEvent(pid, _, event) => self.at_event(pid, event),
            WaitStatus::Stopped(pid, signal) => self.resume(pid, Some(signal)),
            _ => {}
        }
    }

    fn gone(&mut self, pid: Pid, code: Option<i32>) {
        self.tracees.remove(&pid);
        if pid == self.launcher {
            self.traced.code = code;
            if code == Some(0)
                && !self.tracees.is_empty()
                && let Some(release) = self.released.take()
            {
                release();
            }
        }
    }

    fn at_event(&mut self, pid: Pid, event: i32) {
        match event {
            libc::PTRACE_EVENT_EXEC if pid != self.launcher => {
                if let Some(Tracee { who: Who::Made(number), .. }) = self.tracees.remove(&pid) {
                    self.traced.executed.push(number);
                }
                ptrace::detach(pid, None).unwrap();
                return;
            }
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
                let child = Pid::from_raw(i32::try_from(ptrace::getevent(pid).unwrap()).unwrap());
                self.made(child);
            }
            // The child's first stop may come before its maker's event.
            libc::PTRACE_EVENT_STOP if !self.tracees.contains_key(&pid) => self.made(pid),
            libc::PTRACE_EVENT_EXEC => {
                self.executions += 1;
                // The stop at the end of execve is still to come.
                self.tracees.get_mut(&pid).unwrap().inside = true;
            }
            _ => {}
        }
        self.resume(pid, None);
    }

    fn resume(&mut self, pid: Pid, signal: Option<Signal>) {
        // It may have been killed meanwhile; then its end is reported next.
        ptrace::syscall(pid, signal).unwrap_or_default();
    }

    fn at_call(&mut self, pid: Pid) {
        let Ok(mut registers) = ptrace::getregs(pid) else { return };
        let tracee = self.tracees.get_mut(&pid).unwrap();
        tracee.inside = !tracee.inside;
        if !tracee.inside {
            if let Some(errno) = tracee.answer.take() {
                registers.rax = i64::from(-errno).cast_unsigned();
                ptrace::setregs(pid, registers).unwrap();
            }
            return;
        }
        let call = read_call(pid, &registers);
        let asked = call.name == "statfs" && call.path.as_deref() == Some("/proc/self/exe");
        if !tracee.counting {
            tracee.counting = asked && self.executions == 2;
            return;
        }
        let who = tracee.who;
        let calls = match who {
            Who::Launcher => &mut self.traced.launcher,
            Who::Made(number) => &mut self.traced.made[number],
        };
        let fault = self.faults.iter().find(|fault| fault.who == who && fault.at.is(&call, calls));
        if let Some(fault) = fault {
            self.traced.hit = Some(call.clone());
            if fault.errno == KILLED {
                kill(pid, Signal::SIGKILL).unwrap();
            } else {
                tracee.answer = Some(fault.errno);
                registers.orig_rax = u64::MAX;
                ptrace::setregs(pid, registers).unwrap();
            }
        }
        calls.push(call);
    }
}

fn kill_tree(pid: Pid) {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
        kill(Pid::from_raw(child), Signal::SIGKILL).unwrap_or_default();
    }
    kill(pid, Signal::SIGKILL).unwrap_or_default();
}

fn read_call(pid: Pid, registers: &libc::user_regs_struct) -> Call {
    let arguments = [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9];
    let name = name(registers.orig_rax);
    let path = match name {
        "open" | "statfs" | "chdir" | "chmod" | "mkdir" | "rmdir" | "unlink" | "execve" | "stat" | "access" => Some(0),
        "openat" | "openat2" | "newfstatat" | "mknodat" | "mkdirat" | "unlinkat" | "readlinkat" | "faccessat2"
        | "open_tree" | "fchmodat" | "statx" | "write" => Some(1),
        _ => None,
    };
    let described =
        matches!(name, "read" | "pread64" | "fstat" | "fstatfs" | "getdents64" | "waitid" | "statx" | "unlinkat");
    let descriptor = || std::fs::read_link(format!("/proc/{pid}/fd/{}", arguments[0])).ok();
    let path = path.and_then(|index: usize| read_text(pid, arguments[index])).filter(|path| !path.is_empty());
    let of_descriptor = descriptor().filter(|_| described).map(|path| path.to_string_lossy().into_owned());
    Call { name, arguments, path: path.or(of_descriptor) }
}

fn read_text(pid: Pid, address: u64) -> Option<String> {
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut bytes = [0; 256];
    // Where the memory ends before that, less is read.
    let length = memory.read_at(&mut bytes, address).ok()?;
    let text = bytes[..length].split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

macro_rules! names {
    ($($name:ident $number:ident,)*) => {
        fn name(number: u64) -> &'static str {
            match i64::try_from(number).unwrap_or(-1) {
                $(libc::$number => stringify!($name),)*
                other => panic!("system call {other} has no name here: add it"),
            }
        }
    };
}

names! {
    read SYS_read,
    write SYS_write,
    open SYS_open,
    close SYS_close,
    stat SYS_stat,
    fstat SYS_fstat,
    lstat SYS_lstat,
    poll SYS_poll,
    lseek SYS_lseek,
    mmap SYS_mmap,
    mprotect SYS_mprotect,
    munmap SYS_munmap,
    brk SYS_brk,
    rt_sigaction SYS_rt_sigaction,
    rt_sigprocmask SYS_rt_sigprocmask,
    ioctl SYS_ioctl,
    pread64 SYS_pread64,
    readv SYS_readv,
    writev SYS_writev,
    access SYS_access,
    pipe SYS_pipe,
    sched_yield SYS_sched_yield,
    mremap SYS_mremap,
    madvise SYS_madvise,
    dup SYS_dup,
    dup2 SYS_dup2,
    nanosleep SYS_nanosleep,
    getpid SYS_getpid,
    socket SYS_socket,
    connect SYS_connect,
    sendto SYS_sendto,
    recvfrom SYS_recvfrom,
    sendmsg SYS_sendmsg,
    recvmsg SYS_recvmsg,
    shutdown SYS_shutdown,
    bind SYS_bind,
    listen SYS_listen,
    socketpair SYS_socketpair,
    clone SYS_clone,
    fork SYS_fork,
    vfork SYS_vfork,
    execve SYS_execve,
    exit SYS_exit,
    wait4 SYS_wait4,
    kill SYS_kill,
    uname SYS_uname,
    fcntl SYS_fcntl,
    fsync SYS_fsync,
    ftruncate SYS_ftruncate,
    getdents SYS_getdents,
    getcwd SYS_getcwd,
    chdir SYS_chdir,
    fchdir SYS_fchdir,
    rename SYS_rename,
    mkdir SYS_mkdir,
    rmdir SYS_rmdir,
    link SYS_link,
    unlink SYS_unlink,
    symlink SYS_symlink,
    readlink SYS_readlink,
    chmod SYS_chmod,
    fchmod SYS_fchmod,
    chown SYS_chown,
    fchown SYS_fchown,
    umask SYS_umask,
    gettimeofday SYS_gettimeofday,
    getrlimit SYS_getrlimit,
    getuid SYS_getuid,
    getgid SYS_getgid,
    setuid SYS_setuid,
    setgid SYS_setgid,
    geteuid SYS_geteuid,
    getegid SYS_getegid,
    setsid SYS_setsid,
    setgroups SYS_setgroups,
    setresuid SYS_setresuid,
    setresgid SYS_setresgid,
    capget SYS_capget,
    capset SYS_capset,
    sigaltstack SYS_sigaltstack,
    personality SYS_personality,
    statfs SYS_statfs,
    fstatfs SYS_fstatfs,
    prctl SYS_prctl,
    arch_prctl SYS_arch_prctl,
    setrlimit SYS_setrlimit,
    chroot SYS_chroot,
    sethostname SYS_sethostname,
    setdomainname SYS_setdomainname,
    gettid SYS_gettid,
    futex SYS_futex,
    sched_getaffinity SYS_sched_getaffinity,
    getdents64 SYS_getdents64,
    set_tid_address SYS_set_tid_address,
    exit_group SYS_exit_group,
    openat SYS_openat,
    mkdirat SYS_mkdirat,
    mknodat SYS_mknodat,
    fchownat SYS_fchownat,
    newfstatat SYS_newfstatat,
    unlinkat SYS_unlinkat,
    renameat SYS_renameat,
    linkat SYS_linkat,
    symlinkat SYS_symlinkat,
    readlinkat SYS_readlinkat,
    fchmodat SYS_fchmodat,
    faccessat SYS_faccessat,
    ppoll SYS_ppoll,
    set_robust_list SYS_set_robust_list,
    utimensat SYS_utimensat,
    signalfd4 SYS_signalfd4,
    dup3 SYS_dup3,
    pipe2 SYS_pipe2,
    prlimit64 SYS_prlimit64,
    setns SYS_setns,
    getrandom SYS_getrandom,
    renameat2 SYS_renameat2,
    seccomp SYS_seccomp,
    memfd_create SYS_memfd_create,
    bpf SYS_bpf,
    execveat SYS_execveat,
    statx SYS_statx,
    rseq SYS_rseq,
    pidfd_send_signal SYS_pidfd_send_signal,
    open_tree SYS_open_tree,
    move_mount SYS_move_mount,
    fsopen SYS_fsopen,
    fsconfig SYS_fsconfig,
    fsmount SYS_fsmount,
    fspick SYS_fspick,
    pidfd_open SYS_pidfd_open,
    pidfd_getfd SYS_pidfd_getfd,
    getgroups SYS_getgroups,
    clone3 SYS_clone3,
    close_range SYS_close_range,
    openat2 SYS_openat2,
    faccessat2 SYS_faccessat2,
    mount_setattr SYS_mount_setattr,
    unshare SYS_unshare,
    pivot_root SYS_pivot_root,
    umount2 SYS_umount2,
    mount SYS_mount,
    keyctl SYS_keyctl,
    waitid SYS_waitid,
    clock_gettime SYS_clock_gettime,
    clock_nanosleep SYS_clock_nanosleep,
    restart_syscall SYS_restart_syscall,
    rt_sigreturn SYS_rt_sigreturn,
    eventfd2 SYS_eventfd2,
    epoll_create1 SYS_epoll_create1,
    epoll_ctl SYS_epoll_ctl,
    epoll_wait SYS_epoll_wait,
    tgkill SYS_tgkill,
    getppid SYS_getppid,
    setpriority SYS_setpriority,
    ioprio_set SYS_ioprio_set,
    sched_setattr SYS_sched_setattr,
    sched_setaffinity SYS_sched_setaffinity,
    setpgid SYS_setpgid,
    sendfile SYS_sendfile,
    copy_file_range SYS_copy_file_range,
    pwrite64 SYS_pwrite64,
    accept4 SYS_accept4,
    getsockopt SYS_getsockopt,
    setsockopt SYS_setsockopt,
    fchmodat2 SYS_fchmodat2,
    inotify_init1 SYS_inotify_init1,
    add_key SYS_add_key,
    set_mempolicy SYS_set_mempolicy,
}
