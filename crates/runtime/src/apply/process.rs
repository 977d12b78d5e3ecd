// SPDX-License-Identifier: Apache-2.0
//! What belongs to the process: session, limits, descriptors, identity, privileges, filter, command.

use std::convert::Infallible;
use std::ffi::{CString, OsStr};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, fchown, openat, openat2};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sys::capability::{self, Sets};

use super::mounts::stat;
use super::stage::set_groups;
use super::{Child, StepError, abandon, unsaid};
use crate::executable;
use crate::message::{Message, Question};
use crate::plan::{CAPABILITY_NAMES, CapabilitySets, LabelKind, Operation, SYS_ADMIN, capability_name};

/// More CPUs than any kernel is built for.
const ANY_CPU: &[u64] = &[u64::MAX; 128];

/// SIGHUP, SIGINT, SIGQUIT, SIGTERM.
const ENDING: [i32; 4] = [1, 2, 3, 15];

impl Child<'_> {
    pub(super) fn process_step(&mut self, index: usize, operation: &Operation) -> Result<(), StepError> {
        match operation {
            Operation::OomScoreAdj(score) => self.oom_score(*score)?,
            Operation::Rlimit { name, resource, soft, hard } => self.rlimit(name, *resource, *soft, *hard)?,
            Operation::SessionKeyring => match sys::keyring::join_new_session() {
                // A kernel without keyrings has no keys to hide either.
                Err(error) if error.errno() == Errno::NOSYS => {}
                other => other?,
            },
            Operation::Personality(domain) => sys::personality::set(*domain)?,
            Operation::Label { kind, label } => self.label(*kind, label)?,
            Operation::CloseDescriptors { preserve } => {
                self.close_descriptors(*preserve, self.asks_after(index))?;
            }
            Operation::Home => self.home = home(self.home_uid())?,
            Operation::WorkingDirectory(path) => self.working_directory(path)?,
            Operation::NoNewPrivileges => sys::prctl::set_no_new_privs()?,
            Operation::BoundingSet(keep) => bounding_set(*keep)?,
            Operation::User { uid, gid, groups } => self.user(*uid, *gid, groups)?,
            Operation::Capabilities { sets, for_filter } => self.capabilities(sets, *for_filter)?,
            Operation::FindCommand => {
                let program = &self.prepared.program;
                self.executable = Some(executable::find(&program.command, program.path.as_deref())?);
            }
            Operation::WaitForStart => self.wait_for_start()?,
            Operation::Seccomp => {
                let filter = self.prepared.filter.as_ref().ok_or(StepError::NotProvided { what: "a filter" })?;
                sys::seccomp::install(&filter.instructions, filter.flags)?;
            }
            Operation::SeccompListener => {
                let filter = self.prepared.filter.as_ref().ok_or(StepError::NotProvided { what: "a filter" })?;
                let listener = sys::seccomp::install_with_listener(&filter.instructions, filter.flags)?;
                // From here on any call but write may wait for who listens, and nobody does before this was answered.
                self.ask(Question::Listener { descriptor: listener.as_raw_fd() })?;
            }
            Operation::Ambient(set) => self.ambient(*set)?,
            Operation::DieWithParent => self.die_with_parent()?,
            Operation::Umask(mask) => {
                rustix::process::umask(Mode::from_raw_mode(*mask));
            }
            Operation::Init => match self.become_init()? {},
            Operation::Execute(_) => match self.execute()? {},
            other => self.scheduling_step(other)?,
        }
        Ok(())
    }

    /// Whether something is asked of the launcher after the operation at this place.
    fn asks_after(&self, index: usize) -> bool {
        self.prepared.plan.operations.iter().skip(index + 1).any(Operation::asks)
    }

    pub(super) fn new_session(&mut self) -> Result<(), StepError> {
        rustix::process::setsid().map_err(|errno| sys::Error::new("setsid()", errno))?;
        match &self.prepared.stdio {
            Some(stdio) => become_stdio(stdio.each_ref().map(AsFd::as_fd)),
            None => Ok(()),
        }
    }

    /// What is not inheritable cannot be ambient. Configurations that ask for it are common, `runc spec` writes one; the
    /// specification (config.md, "Linux Process") wants a warning for what cannot be granted.
    fn ambient(&self, set: u64) -> Result<(), StepError> {
        let mut refused = Vec::new();
        for number in (0..64).filter(|number| set & (1 << number) != 0) {
            match capability::raise_ambient(number) {
                Ok(()) => {}
                Err(error) if error.errno() == Errno::PERM => refused.push(capability_name(number)),
                Err(error) => return Err(error.into()),
            }
        }
        if !refused.is_empty() {
            self.warn(format!("can't raise ambient capability {}: not inheritable", refused.join(", ")));
        }
        Ok(())
    }

    fn scheduling_step(&self, operation: &Operation) -> Result<(), StepError> {
        match operation {
            Operation::CpuAffinity(cpus) => sys::scheduling::set_affinity(cpus.words())?,
            Operation::AnyCpu => {
                if let Err(error) = sys::scheduling::set_affinity(ANY_CPU) {
                    self.warn(format!("the CPU affinity stays as it is: {error}"));
                }
            }
            Operation::Scheduler { policy, flags, nice, priority, deadline: [runtime, deadline, period], .. } => {
                sys::scheduling::set_scheduler(&sys::scheduling::Scheduler {
                    policy: *policy,
                    flags: *flags,
                    nice: *nice,
                    priority: *priority,
                    runtime: *runtime,
                    deadline: *deadline,
                    period: *period,
                })?;
            }
            Operation::IoPriority { class, level, .. } => {
                sys::scheduling::set_io_priority_of_group(*class, *level)?;
            }
            Operation::MemoryPolicy { mode, nodes, .. } => sys::scheduling::set_memory_policy(*mode, nodes.words())?,
            // The others are steps of files and namespaces.
            _ => return Err(StepError::NotProvided { what: "this step" }),
        }
        Ok(())
    }

    /// Writes what a security module is to know this process by, through the directory of a procfs that is the
    /// host's: it was opened before anything was entered.
    fn label(&self, kind: LabelKind, label: &str) -> Result<(), StepError> {
        let attributes = self.attributes.as_ref().ok_or(StepError::NotProvided { what: "procfs" })?;
        let (names, text) = match kind {
            // The second name is that of kernels before 5.1, where one module at a time had the directory.
            LabelKind::AppArmor => (&["apparmor/exec", "exec"][..], format!("exec {label}")),
            LabelKind::Selinux => (&["exec"][..], label.to_owned()),
            LabelKind::SelinuxKeys => (&["keycreate"][..], label.to_owned()),
        };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let open = |name: &str| {
            openat2(attributes, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve).map_err(|errno| {
                sys::Error::new(format!("openat2(\"/proc/thread-self/attr\", {name:?}, O_WRONLY)"), errno)
            })
        };
        let file = match open(names[0]) {
            Err(error) if error.errno() == Errno::NOENT && names.len() > 1 => open(names[1])?,
            other => other?,
        };
        rustix::io::write(&file, text.as_bytes()).map_err(|errno| {
            sys::Error::new(format!("write(\"/proc/thread-self/attr/{}\", {text:?})", names[0]), errno)
        })?;
        Ok(())
    }

    fn oom_score(&self, score: i32) -> Result<(), StepError> {
        const PATH: &str = "/proc/self/oom_score_adj";
        let opened = openat(CWD, PATH, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| sys::Error::new(format!("openat(AT_FDCWD, {PATH:?}, O_WRONLY|O_CLOEXEC)"), errno));
        if let Ok(file) = &opened {
            super::mounts::require_procfs(file.as_fd(), Path::new(PATH))?;
        }
        let written = opened.and_then(|file| {
            let written = rustix::io::write(&file, score.to_string().as_bytes());
            written.map_err(|errno| sys::Error::new(format!("write({PATH:?}, \"{score}\")"), errno))
        });
        match written {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.errno(), Errno::ACCESS | Errno::PERM) => {
                self.warn(format!("the OOM score stays as it is: {error}"));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Raising a limit needs `CAP_SYS_RESOURCE`, which root in a container of its own has not. Docker's defaults raise
    /// some: as far as the hard limit goes is then as good as it gets, and a warning says so.
    fn rlimit(&self, name: &str, resource: Resource, soft: Option<u64>, hard: Option<u64>) -> Result<(), StepError> {
        let call = |soft: Option<u64>, hard: Option<u64>| {
            let text = |limit: Option<u64>| limit.map_or("RLIM64_INFINITY".into(), |limit| limit.to_string());
            format!("prlimit64(0, {name}, {{rlim_cur={}, rlim_max={}}})", text(soft), text(hard))
        };
        match setrlimit(resource, Rlimit { current: soft, maximum: hard }) {
            Ok(()) => Ok(()),
            Err(errno @ Errno::PERM) => {
                let most = getrlimit(resource).maximum;
                let unlimited = u64::MAX;
                let soft = Some(soft.unwrap_or(unlimited).min(most.unwrap_or(unlimited))).filter(|l| *l != unlimited);
                let hard = Some(hard.unwrap_or(unlimited).min(most.unwrap_or(unlimited))).filter(|l| *l != unlimited);
                self.warn(format!("{name} is not raised: {}", sys::Error::new(call(soft, hard), errno)));
                setrlimit(resource, Rlimit { current: soft, maximum: hard })
                    .map_err(|errno| sys::Error::new(call(soft, hard), errno).into())
            }
            Err(errno) => Err(sys::Error::new(call(soft, hard), errno).into()),
        }
    }

    /// Closes everything but the standard three, what the container is to inherit, and what is still needed here,
    /// which comes right after. From here on no descriptor leads to the host.
    fn close_descriptors(&mut self, preserve: u32, asks: bool) -> Result<(), StepError> {
        let first = 3 + preserve;
        // Out of the way first, so that none is overwritten by another's new place.
        let aside = |fd: BorrowedFd<'_>| {
            rustix::io::fcntl_dupfd_cloexec(fd, i32::try_from(first + 4).unwrap_or(i32::MAX)).map_err(|errno| {
                sys::Error::new(format!("fcntl({}, F_DUPFD_CLOEXEC, {})", fd.as_raw_fd(), first + 4), errno)
            })
        };
        let status = aside(self.prepared.status.as_fd())?;
        let fifo = self.prepared.fifo.as_ref().map(|fd| aside(fd.as_fd())).transpose()?;
        let answers = self.prepared.answers.as_ref().filter(|_| asks).map(|fd| aside(fd.as_fd())).transpose()?;
        let init = self.prepared.init.as_ref().map(|fd| aside(fd.as_fd())).transpose()?;
        self.files.abandon();
        abandon((self.attributes.take(), std::mem::take(&mut self.trees)));
        self.status = Some(sys::fds::place(status.as_fd(), first)?);
        let mut next = first + 1;
        if let Some(fifo) = &fifo {
            self.fifo = Some(sys::fds::place(fifo.as_fd(), next)?);
            next += 1;
        }
        if let Some(answers) = &answers {
            self.answers = Some(sys::fds::place(answers.as_fd(), next)?);
            next += 1;
        }
        if let Some(init) = &init {
            self.init = Some(sys::fds::place(init.as_fd(), next)?);
            next += 1;
        }
        abandon((status, fifo, answers, init));
        sys::fds::close_from(next)?;
        Ok(())
    }

    /// The user the process will be, for `HOME`.
    fn home_uid(&self) -> u32 {
        let user = |operation: &Operation| match operation {
            Operation::User { uid, .. } => Some(*uid),
            _ => None,
        };
        self.prepared.plan.operations.iter().find_map(user).unwrap_or(0)
    }

    fn working_directory(&mut self, path: &Path) -> Result<(), StepError> {
        match enter(path) {
            // Root may be forbidden what the user is not (NFS).
            Err(StepError::Call(error)) if error.errno() == Errno::ACCESS => {
                self.directory_pending = true;
                Ok(())
            }
            other => other,
        }
    }

    fn user(&mut self, uid: u32, gid: u32, groups: &[u32]) -> Result<(), StepError> {
        if uid != 0 {
            // Who reopens its own standard output (/dev/stdout) must own the pipe behind it.
            let standard = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
            for fd in standard.into_iter().filter(|_| self.prepared.stdio.is_some()) {
                if FileType::from_raw_mode(stat(fd)?.st_mode) != FileType::Fifo {
                    continue;
                }
                match fchown(fd, Some(Uid::from_raw(uid)), None) {
                    // A pipe of somebody who is nobody in this user namespace is not ours to give away.
                    Ok(()) | Err(Errno::PERM) => {}
                    Err(errno) => {
                        return Err(sys::Error::new(format!("fchown({}, {uid}, -1)", fd.as_raw_fd()), errno).into());
                    }
                }
            }
            sys::prctl::set_keep_capabilities(true)?;
        }
        set_groups(groups)?;
        let group = Gid::from_raw(gid);
        rustix::thread::set_thread_res_gid(group, group, group)
            .map_err(|errno| sys::Error::new(format!("setresgid({gid}, {gid}, {gid})"), errno))?;
        let user = Uid::from_raw(uid);
        rustix::thread::set_thread_res_uid(user, user, user)
            .map_err(|errno| sys::Error::new(format!("setresuid({uid}, {uid}, {uid})"), errno))?;
        if self.directory_pending {
            let wanted = self.prepared.plan.operations.iter().find_map(|operation| match operation {
                Operation::WorkingDirectory(path) => Some(path),
                _ => None,
            });
            wanted.map_or(Ok(()), |path| enter(path))?;
        }
        Ok(())
    }

    /// What the launcher itself lacks cannot be given; the container runs without, and a warning says so.
    fn capabilities(&self, sets: &CapabilitySets, for_filter: bool) -> Result<(), StepError> {
        let own = capability::get()?.permitted;
        let lacking = (sets.permitted | sets.effective) & !own;
        if lacking != 0 && !for_filter {
            let names: Vec<String> =
                (0..64).filter(|number| lacking & (1 << number) != 0).map(capability_name).collect();
            self.warn(format!("without {}, which this process has not to give", names.join(", ")));
        }
        let extra = if for_filter { SYS_ADMIN } else { 0 };
        capability::set(Sets {
            effective: (sets.effective | extra) & own,
            permitted: (sets.permitted | extra) & own,
            inheritable: sets.inheritable,
        })?;
        Ok(())
    }

    fn wait_for_start(&mut self) -> Result<(), StepError> {
        let fifo = self.fifo.take().ok_or(StepError::NotProvided { what: "a fifo" })?;
        self.flush_steps();
        // The first process of a pid namespace would not end of these. Whoever sends them to what waits means it; execve
        // unblocks them.
        sys::signal::block(&ENDING)?;
        let signals = sys::signal::signalfd(&ENDING)?;
        self.say(&Message::Ready).map_err(|error| unsaid("ready", &error))?;
        // The fifo is full: there is room when somebody reads.
        let mut fds = [PollFd::new(&fifo, PollFlags::OUT), PollFd::new(&signals, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut fds, None))
            .map_err(|errno| StepError::Fifo(sys::Error::new("poll(fifo, signals)", errno)))?;
        if !fds[1].revents().is_empty() {
            return Err(StepError::EndedWhileWaiting);
        }
        self.started = Some(fifo);
        Ok(())
    }

    fn die_with_parent(&self) -> Result<(), StepError> {
        sys::prctl::set_parent_death_signal(Some(9))?;
        // It may have ended before that. Its end of the status pipe then is closed.
        let status = self.status.as_ref().unwrap_or(&self.prepared.status);
        let mut fds = [PollFd::new(status, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).map_err(|errno| sys::Error::new("poll(status, 0)", errno))?;
        if fds[0].revents().contains(PollFlags::ERR) { Err(StepError::ParentGone) } else { Ok(()) }
    }

    pub(super) fn execute(&mut self) -> Result<Infallible, StepError> {
        let program = &self.prepared.program;
        let path = self.executable.clone().ok_or(StepError::NotProvided { what: "a command" })?;
        let mut environment = program.environment.clone();
        environment.extend(self.home.take());
        let environment = sys::exec::StringList::new(environment);
        if self.prepared.trace {
            self.steps.push(crate::Step::now("execve"));
        }
        self.flush_steps();
        self.announce()?;
        sys::signal::reset_ignored();
        sys::signal::unblock_all()?;
        let error = sys::exec::execve(&path, &program.arguments, &environment);
        // Telling about it must not end in a signal.
        sys::signal::block_all()?;
        Err(executable::diagnose(OsStr::from_bytes(path.as_bytes()), error).into())
    }
}

/// Puts these where standard input, output and error are.
pub(super) fn become_stdio(fds: [BorrowedFd<'_>; 3]) -> Result<(), StepError> {
    let error = |number: i32| {
        move |errno| sys::Error::new(format!("dup2({}, {number})", fds[number as usize].as_raw_fd()), errno)
    };
    rustix::stdio::dup2_stdin(fds[0]).map_err(error(0))?;
    rustix::stdio::dup2_stdout(fds[1]).map_err(error(1))?;
    rustix::stdio::dup2_stderr(fds[2]).map_err(error(2))?;
    Ok(())
}

fn bounding_set(keep: u64) -> Result<(), StepError> {
    capability::clear_ambient()?;
    for number in (0..64).filter(|number| keep & (1 << number) == 0) {
        if !capability::drop_from_bounding_set(number)? {
            // Every kernel we run on knows those that have a name here: one of them that stays is one too many.
            if usize::try_from(number).is_ok_and(|number| number < CAPABILITY_NAMES.len()) {
                return Err(sys::Error::new(format!("prctl(PR_CAPBSET_DROP, {number})"), Errno::INVAL).into());
            }
            // The kernel knows neither this nor any higher one.
            break;
        }
    }
    Ok(())
}

/// Enters a directory of the container. No magic link leads out, and the kernel is asked where we are: a directory
/// that is not below the root has no path.
fn enter(path: &Path) -> Result<(), StepError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let call = || format!("openat2(AT_FDCWD, {path:?}, O_PATH|O_DIRECTORY, RESOLVE_NO_MAGICLINKS)");
    let directory: OwnedFd = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
        .map_err(|errno| sys::Error::new(call(), errno))?;
    rustix::process::fchdir(&directory).map_err(|errno| sys::Error::new(format!("fchdir({path:?})"), errno))?;
    let at = rustix::process::getcwd(Vec::new()).map_err(|errno| sys::Error::new("getcwd()", errno))?;
    if at.as_bytes().starts_with(b"/") { Ok(()) } else { Err(StepError::OutsideContainer) }
}

/// `HOME=` of user `uid` in the container's `/etc/passwd`, or `/`. The file is the image's: it is read only if it is a
/// regular file, and not beyond a size that no such file has.
fn home(uid: u32) -> Result<Option<CString>, StepError> {
    const MOST: u64 = 1 << 20;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = openat2(CWD, "/etc/passwd", flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS);
    let mut text = Vec::new();
    if let Ok(file) = opened
        && FileType::from_raw_mode(stat(&file)?.st_mode) == FileType::RegularFile
    {
        // A file that cannot be read is as one that is not there.
        std::fs::File::from(file).take(MOST).read_to_end(&mut text).unwrap_or(0);
    }
    let entry = text.split(|byte| *byte == b'\n').find_map(|line| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        (fields.len() >= 6 && fields[2] == uid.to_string().as_bytes()).then(|| fields[5].to_vec())
    });
    let home = entry.filter(|home| home.starts_with(b"/")).unwrap_or_else(|| b"/".to_vec());
    Ok(CString::new([b"HOME=", home.as_slice()].concat()).ok())
}
