// SPDX-License-Identifier: Apache-2.0
//! One conversation with CRIU: `criu swrk FD`, a request over a socket, steps it tells us of, an answer, its end.
//!
//! The program is started by clone3 and execve rather than by the standard library, for what it must do in between:
//! enter the container's cgroup itself (from outside the kernel would take its time, see `apply/cgroups.rs`).

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use errors::{Kind as ErrorKind, Report};
use rustix::fs::{Mode, OFlags};
use rustix::io::FdFlags;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use sys::exec::StringList;
use sys::process::{Child, CloneArgs, CloneFlags};

use super::CriuError;
use super::rpc::{Kind, Notice, Request, Response};
use crate::LaunchError;
use crate::message::{Message, listen};

/// Longest answer taken; runc's limit.
const LONGEST: usize = 40 << 10;

/// What is done at a step that CRIU tells of, with the descriptors that came along; CRIU waits meanwhile, and gives up
/// when this fails.
pub(crate) type Notified<'a> = &'a mut dyn FnMut(&Notice, Vec<OwnedFd>) -> Result<(), CriuError>;

/// The program, and what it runs with.
#[derive(Debug, Default)]
pub(crate) struct Surroundings<'a> {
    pub(crate) program: PathBuf,
    /// The cgroup to enter: v1 `tasks` files, and the directory of the unified hierarchy.
    pub(crate) tasks: Vec<OwnedFd>,
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
    /// What it inherits, under the same numbers, beside the standard streams.
    pub(crate) inherit: Vec<OwnedFd>,
    /// Whether the standard streams are the container's to be; otherwise CRIU gets none.
    pub(crate) streams: bool,
}

/// CRIU, started and waiting for a request.
pub(crate) struct Session {
    socket: OwnedFd,
    child: Child,
}

impl Session {
    pub(crate) fn start(surroundings: &Surroundings<'_>) -> Result<Session, CriuError> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(|errno| sys::Error::new("socketpair(AF_UNIX, SOCK_SEQPACKET|SOCK_CLOEXEC)", errno))?;
        let (status, status_inside) =
            pipe_with(PipeFlags::CLOEXEC).map_err(|errno| sys::Error::new("pipe2(O_CLOEXEC)", errno))?;
        let args = CloneArgs { flags: CloneFlags::empty(), cgroup: surroundings.cgroup };
        let child = sys::process::clone3(args, || {
            let error = become_criu(surroundings, &theirs);
            let report = Report::new(ErrorKind::Internal, error.to_string());
            let told = Message::Failed(report).write(&mut std::fs::File::from(status_inside));
            // The parent sees an end without a word otherwise, which it reports as such.
            i32::from(told.is_err()) + 1
        })?;
        drop(theirs);
        let session = Session { socket: ours, child };
        // The child has its own copy of the pipe's other side, which the closure took with it.
        let nothing = |_| Err(LaunchError::Listen(std::io::ErrorKind::InvalidData.into()));
        match listen(status, None, None, nothing) {
            Ok(heard) => match heard.failed {
                None => Ok(session),
                Some(report) => {
                    session.end()?;
                    Err(CriuError::Start(report))
                }
            },
            Err(error) => {
                session.end()?;
                Err(error.into())
            }
        }
    }

    /// The process CRIU runs as.
    pub(crate) fn pid(&self) -> i32 {
        self.child.pid
    }

    /// Asks, answers CRIU's notifications by way of `notified`, and waits for CRIU's end. An answer that says no is
    /// an answer.
    pub(crate) fn ask(self, request: &Request, notified: Notified<'_>) -> Result<Response, CriuError> {
        let talked = self.talk(request, notified);
        let status = self.end()?;
        match talked {
            Ok(None) => Err(CriuError::Ended { status: status.text }),
            // CRIU waits for the next pre-dump, and takes our leaving for a failure.
            Ok(Some(response)) if response.success && !status.success && request.kind() != Kind::PreDump => {
                Err(CriuError::FailedAfterwards { status: status.text })
            }
            Ok(Some(response)) => Ok(response),
            Err(error) => Err(error),
        }
    }

    /// `None` when CRIU went away.
    fn talk(&self, request: &Request, notified: Notified<'_>) -> Result<Option<Response>, CriuError> {
        let mut failed = None;
        let mut sent = self.send(request)?;
        let mut buffer = vec![0; LONGEST];
        while sent {
            let (length, fds) = match sys::fds::recv_with(&self.socket, &mut buffer) {
                Err(error) if error.errno() == rustix::io::Errno::CONNRESET => break,
                other => other?,
            };
            if length == 0 {
                break;
            }
            if length == LONGEST {
                return Err(CriuError::TooLong { limit: LONGEST });
            }
            let response = Response::decode(&buffer[..length]).map_err(CriuError::Unreadable)?;
            match &response.notice {
                Some(notice) if response.is(Kind::Notify) => {
                    let result = if failed.is_some() { Ok(()) } else { notified(notice, fds) };
                    if let Err(error) = result {
                        failed = Some(error);
                    }
                    sent = self.send(&Request::Notified(failed.is_none()))?;
                }
                // Why it failed is told with the kind of the request, or with none.
                _ if response.is(request.kind()) || !response.success => {
                    return failed.map_or(Ok(Some(response)), Err);
                }
                _ => return Err(CriuError::OtherAnswer { kind: response.kind }),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// False when CRIU is gone.
    fn send(&self, request: &Request) -> Result<bool, CriuError> {
        let bytes = request.encode();
        match rustix::io::retry_on_intr(|| send(&self.socket, &bytes, SendFlags::NOSIGNAL)) {
            Ok(_) => Ok(true),
            Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => Ok(false),
            Err(errno) => Err(sys::Error::new(format!("send(criu, {:?})", request.kind()), errno).into()),
        }
    }

    /// Lets CRIU go, and waits for it.
    fn end(self) -> Result<Status, CriuError> {
        drop(self.socket);
        let pidfd = self.child.pidfd.as_fd();
        let status = rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED))
            .map_err(|errno| sys::Error::new("waitid(P_PIDFD, criu, WEXITED)", errno))?;
        let (code, signal) = status.map_or((None, None), |status| (status.exit_status(), status.terminating_signal()));
        let text = match (code, signal) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "nobody knows how".into(),
        };
        Ok(Status { success: code == Some(0), text })
    }
}

struct Status {
    success: bool,
    text: String,
}

/// What the child does; returns only with an error.
fn become_criu(surroundings: &Surroundings<'_>, socket: &OwnedFd) -> sys::Error {
    match prepare(surroundings, socket) {
        Err(error) => error,
        Ok(()) => execute(surroundings, socket.as_raw_fd()),
    }
}

fn prepare(surroundings: &Surroundings<'_>, socket: &OwnedFd) -> sys::Result<()> {
    for file in &surroundings.tasks {
        rustix::io::write(file, b"0")
            .map_err(|errno| sys::Error::new("write(\"0\") to the tasks of the container's cgroup", errno))?;
    }
    sys::fds::cloexec_from(3)?;
    for fd in surroundings.inherit.iter().chain([socket]) {
        rustix::io::fcntl_setfd(fd, FdFlags::empty())
            .map_err(|errno| sys::Error::new(format!("fcntl({}, F_SETFD, 0)", fd.as_raw_fd()), errno))?;
    }
    if !surroundings.streams {
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| sys::Error::new("open(\"/dev/null\", O_RDWR)", errno))?;
        let call = |errno| sys::Error::new("dup2(/dev/null, a standard stream)", errno);
        rustix::stdio::dup2_stdin(&null).map_err(call)?;
        rustix::stdio::dup2_stdout(&null).map_err(call)?;
        rustix::stdio::dup2_stderr(&null).map_err(call)?;
    }
    sys::signal::reset_ignored();
    sys::signal::unblock_all()?;
    Ok(())
}

fn execute(surroundings: &Surroundings<'_>, socket: i32) -> sys::Error {
    // None of these can hold a NUL byte: a path that exists, words of ours, and what execve gave us.
    let text = |bytes: Vec<u8>| CString::new(bytes).unwrap_or_default();
    let path = text(surroundings.program.as_os_str().as_bytes().to_vec());
    let words = [b"criu".to_vec(), b"swrk".to_vec(), socket.to_string().into_bytes()];
    let environment = std::env::vars_os().map(|(name, value)| {
        let mut variable = name.into_vec();
        variable.push(b'=');
        variable.extend(value.into_vec());
        text(variable)
    });
    let arguments = StringList::new(words.map(text).to_vec());
    sys::exec::execve(&path, &arguments, &StringList::new(environment.collect()))
}
