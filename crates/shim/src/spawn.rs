// SPDX-License-Identifier: Apache-2.0
//! The daemon's side of starting shims: the zygote as a child process, and one question and answer per shim.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde::Serialize;

use crate::error::ShimError;
use crate::frame::{Header, Kind, write_frame};
use crate::protocol::{Ahead, ShimRequest};

/// How long a zygote may take to clone itself before it is taken for dead.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which descriptors come with the control socket, in this order.
pub(crate) const HAS_ROOTFS: u8 = 1;
/// See [`HAS_ROOTFS`].
pub(crate) const HAS_NETNS: u8 = 2;
/// See [`HAS_ROOTFS`].
pub(crate) const HAS_ATTACH: u8 = 4;
/// No shim is wanted, but namespaces.
pub(crate) const NAMESPACES: u8 = 8;
/// A shim is wanted that is told later whose it is, on its control socket.
pub(crate) const AHEAD: u8 = 16;

/// A frame's payload, which must fit.
fn encode(what: &'static str, value: &impl Serialize) -> Result<Vec<u8>, ShimError> {
    let payload = serde_json::to_vec(value).map_err(|source| ShimError::Encode { what, source })?;
    Header::new(Kind::Request, payload.len()).map_err(ShimError::Send)?;
    Ok(payload)
}

/// What a shim is given besides its description.
#[derive(Debug, Default)]
pub struct ShimFds {
    /// A detached mount that becomes the container's root, instead of the spec's `root.path`.
    pub rootfs: Option<OwnedFd>,
    /// A prepared network namespace to join.
    pub netns: Option<OwnedFd>,
    /// A connected stream that is an attach session (input if open, output and errors) from its first byte on.
    pub attach: Option<OwnedFd>,
}

impl ShimFds {
    /// Which there are, and they.
    fn to_send(&self) -> (u8, Vec<BorrowedFd<'_>>) {
        let (mut which, mut sent) = (0, Vec::with_capacity(4));
        for (flag, fd) in [(HAS_ROOTFS, &self.rootfs), (HAS_NETNS, &self.netns), (HAS_ATTACH, &self.attach)] {
            if let Some(fd) = fd {
                which |= flag;
                sent.push(fd.as_fd());
            }
        }
        (which, sent)
    }
}

/// A shim that has been started.
#[derive(Debug)]
pub struct ShimHandle {
    /// The shim's process id.
    pub pid: i32,
    /// A descriptor of it, readable when the shim has ended.
    pub pidfd: OwnedFd,
    /// A watch session: `STARTED` or `FAILED` comes first, `EXITED` later, then the end of the stream.
    pub control: UnixStream,
}

/// The process that shims are cloned from: this program, freshly started as `zygote`, with nothing in its memory.
/// Ends when this value is dropped; the shims do not.
#[derive(Debug)]
pub struct Zygote {
    program: PathBuf,
    live: Mutex<Option<Live>>,
}

/// A shim that was cloned ahead, and waits to be told what to run. It ends when this is dropped.
#[derive(Debug)]
pub struct WaitingShim(ShimHandle);

impl WaitingShim {
    /// It, after it was given what its container gets. `None` when it has ended.
    fn told(self, fds: &ShimFds) -> Option<ShimHandle> {
        let (which, sent) = fds.to_send();
        sys::fds::send_with(&self.0.control, &[which], &sent).is_ok().then_some(self.0)
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.0.pid
    }

    /// Has it take back what it made, and end; waits until it has, or for `patience`. Whether it has.
    pub fn end(self, patience: Duration) -> bool {
        let ShimHandle { pidfd, control, .. } = self.0;
        drop(control);
        let patience = Timespec { tv_sec: patience.as_secs().cast_signed(), tv_nsec: patience.subsec_nanos().into() };
        // Interrupted, it is as if the time were over.
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&patience)).is_ok_and(|ready| ready > 0)
    }
}

/// A running zygote.
#[derive(Debug)]
struct Live {
    socket: OwnedFd,
    child: Child,
}

impl Drop for Live {
    fn drop(&mut self) {
        // The end of its socket would end it too; it holds nothing that killing could harm, and this cannot hang.
        // Failures mean that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Zygote {
    /// Starts `/proc/self/exe zygote`. The program's `main` must call [`zygote_main`](crate::zygote_main) for that
    /// argument, before anything else is initialised.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start() -> Result<Zygote, ShimError> {
        Zygote::start_program(Path::new("/proc/self/exe"))
    }

    /// The same with another program than the running one: what has no `main` of its own, as a test has not, must
    /// name one that calls [`zygote_main`](crate::zygote_main).
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start_program(program: &Path) -> Result<Zygote, ShimError> {
        let live = Mutex::new(Some(Live::start(program)?));
        Ok(Zygote { program: program.to_owned(), live })
    }

    /// Starts a shim, or takes the one that waits, and tells it what to run. Returns as soon as the shim has its description:
    /// whether the container could be started is said on [`ShimHandle::control`]. A zygote that has died is started again, and
    /// a shim that died while it waited replaced.
    ///
    /// # Errors
    /// No zygote or no shim could be made, or the description is too long for a frame.
    pub fn spawn(
        &self,
        waiting: Option<WaitingShim>,
        request: &ShimRequest,
        fds: ShimFds,
    ) -> Result<ShimHandle, ShimError> {
        let payload = encode("the container's description", request)?;
        let handle = match waiting.and_then(|waiting| waiting.told(&fds)) {
            Some(handle) => handle,
            None => self.clone_for(0, &fds)?,
        };
        // Only now: a zygote that died without an answer may have left a shim behind. Without a description it ends.
        write_frame(&handle.control, Kind::Request, &payload).map_err(ShimError::Send)?;
        Ok(handle)
    }

    /// Has a shim cloned ahead, and has it make ahead what does not depend on what it will be told. What that takes is not
    /// waited for by the [`Zygote::spawn`] that is given it.
    ///
    /// # Errors
    /// No zygote or no shim could be made.
    pub fn prepare(&self, ahead: &Ahead) -> Result<WaitingShim, ShimError> {
        let payload = encode("what is made ahead", ahead)?;
        let handle = self.clone_for(AHEAD, &ShimFds::default())?;
        write_frame(&handle.control, Kind::Request, &payload).map_err(ShimError::Send)?;
        Ok(WaitingShim(handle))
    }

    /// A clone that makes namespaces.
    pub(crate) fn clone_for_namespaces(&self) -> Result<ShimHandle, ShimError> {
        self.clone_for(NAMESPACES, &ShimFds::default())
    }

    fn clone_for(&self, purpose: u8, fds: &ShimFds) -> Result<ShimHandle, ShimError> {
        // A poisoned lock only means that another caller panicked: `Live` is whole or absent at any time.
        let mut slot = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(live) = slot.as_ref() {
            match live.ask(purpose, fds) {
                Err(ShimError::Zygote(_)) => *slot = None,
                other => return other,
            }
        }
        let live = Live::start(&self.program)?;
        let handle = live.ask(purpose, fds)?;
        *slot = Some(live);
        Ok(handle)
    }
}

impl Live {
    #[allow(clippy::disallowed_methods, reason = "the zygote's start is one of the places that start a process")]
    fn start(program: &Path) -> Result<Live, ShimError> {
        let failed = |source| ShimError::StartZygote { program: program.to_owned(), source };
        let (socket, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(|e| failed(e.into()))?;
        for direction in [Timeout::Recv, Timeout::Send] {
            set_socket_timeout(&socket, direction, Some(PATIENCE)).map_err(|e| failed(e.into()))?;
        }
        let child = Command::new(program)
            .arg0("corten")
            .arg("zygote")
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        Ok(Live { socket, child })
    }

    /// One shim, that has no description yet. [`ShimError::Zygote`]: there was no answer.
    fn ask(&self, purpose: u8, fds: &ShimFds) -> Result<ShimHandle, ShimError> {
        let silent = |e: sys::Error| ShimError::Zygote(e.to_io());
        let (control, theirs) = UnixStream::pair().map_err(ShimError::Clone)?;
        let (which, mut sent) = fds.to_send();
        sent.insert(0, theirs.as_fd());
        sys::fds::send_with(&self.socket, &[purpose | which], &sent).map_err(silent)?;
        let mut answer = [0; 4];
        let (length, mut received) = sys::fds::recv_with(&self.socket, &mut answer).map_err(silent)?;
        if length != answer.len() {
            return Err(ShimError::Zygote(io::ErrorKind::UnexpectedEof.into()));
        }
        match (i32::from_ne_bytes(answer), received.pop()) {
            (pid @ 1.., Some(pidfd)) => Ok(ShimHandle { pid, pidfd, control }),
            (errno, _) => Err(ShimError::Clone(io::Error::from_raw_os_error(errno.wrapping_neg()))),
        }
    }
}
