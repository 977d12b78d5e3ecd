// SPDX-License-Identifier: Apache-2.0
//! The zygote: waits on its standard input, a socket of the daemon's, and clones itself for every message. For the next
//! shim it has done so already, when it had nothing else to do: a clone waits to be told, its view of the host's cgroups
//! looked at. When several are wanted at once, the others are cloned as they are asked for.
//!
//! It executes itself once more through a read-only mount, so that no container can reach the program, and then only
//! clones. It decides nothing and parses nothing: a message says only which descriptors came with it. So it stays as small as
//! it started, and so do the shims, whose memory is a copy of its own.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{WaitOptions, chdir, setsid, umask, wait};
use rustix::stdio::{dup2_stdin, stdin};
use sys::process::{Child, CloneArgs, CloneError, clone3};

use crate::namespaces;
use crate::server::{self, Descriptors};
use crate::spawn::{HAS_ATTACH, HAS_NETNS, HAS_ROOTFS, NAMESPACES};

/// `SIGCHLD` and `SIGTERM` have these numbers on every architecture that Linux runs containers on.
const SIGCHLD: i32 = 17;
const SIGTERM: i32 = 15;
/// How long nothing must be wanted before the next shim is cloned: what a start does next has the processors first.
const IDLE: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };

/// The whole life of a zygote: `corten zygote`, to be called before anything else is initialised. Returns the exit
/// code when the daemon has gone; shims live on.
pub fn zygote_main() -> u8 {
    let protected = runtime::protect::reexec().map_err(|e| match e {
        runtime::LaunchError::Call(e) => e.errno(),
        _ => Errno::PERM,
    });
    match protected.and_then(|()| serve()) {
        Ok(()) => 0,
        Err(errno) => {
            // The answer to the first question, which may have been asked already. If the daemon is gone there is
            // nobody to tell.
            let _ = sys::fds::send_with(stdin(), &(-errno.raw_os_error()).to_ne_bytes(), &[]);
            1
        }
    }
}

fn serve() -> Result<(), Errno> {
    // Whatever the daemon's own parent left open is not for containers.
    sys::fds::close_from(3).map_err(|e| e.errno())?;
    sys::prctl::set_name(c"corten-zygote").map_err(|e| e.errno())?;
    // A session and a directory of its own, so that neither a terminal's signals nor a mounted directory binds it.
    // It fails only for a process that leads a group already, as one started by a shell does.
    let _ = setsid();
    chdir("/")?;
    umask(Mode::WGRP | Mode::WOTH);
    // A daemon's real-time policy is its own. Containers do not go before the host's processes unless they ask for it,
    // and v1's new cgroups take nobody who does.
    if sys::scheduling::has_realtime_policy() {
        sys::scheduling::share_time().map_err(|e| e.errno())?;
    }
    // All signals are blocked here and in every shim: a stray one, to a process group or by name, must not end
    // containers. Only SIGKILL does (and SIGTERM a shim that nobody can reach any more). The runtime gives the container an empty mask and default dispositions.
    sys::signal::reset_ignored();
    sys::signal::block_all().map_err(|e| e.errno())?;
    let signals = sys::signal::signalfd(&[SIGCHLD, SIGTERM]).map_err(|e| e.errno())?;
    let mut zygote = Zygote { signals, next: None, cannot: false };
    loop {
        let socket = stdin();
        let mut waiting = [PollFd::new(&socket, PollFlags::IN), PollFd::new(&zygote.signals, PollFlags::IN)];
        let idle = (zygote.next.is_none() && !zygote.cannot).then_some(&IDLE);
        let polled = poll(&mut waiting, idle);
        let [asked, reap] = waiting.map(|fd| !fd.revents().is_empty());
        match polled {
            Ok(0) if idle.is_some() => zygote.make_next(),
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
        if reap {
            drain(zygote.signals.as_fd());
            while let Ok(Some((pid, _))) = wait(WaitOptions::NOHANG) {
                zygote.next.take_if(|next| next.child.pid == pid.as_raw_nonzero().get());
            }
        }
        if asked && !zygote.answer(socket)? {
            return Ok(());
        }
    }
}

/// A clone that waits to become a shim.
struct Next {
    child: Child,
    /// Where it is told; it ends when this does.
    told: OwnedFd,
}

struct Zygote {
    signals: OwnedFd,
    next: Option<Next>,
    /// The last attempt to have one failed: the next message clones, and tells why it cannot.
    cannot: bool,
}

/// Empties a signalfd; which children have ended is found out by waiting for them. Whether SIGTERM was among the signals.
pub(crate) fn drain(signals: BorrowedFd<'_>) -> bool {
    // A signal is told in so many bytes, of which the first four are its number (signalfd(2)).
    const SIGNAL: usize = 128;
    let (mut buffer, mut asked_to_end) = ([0; 4 * SIGNAL], false);
    while let Ok(count @ 1..) = rustix::io::read(signals, &mut buffer) {
        let mut numbers = buffer[..count].chunks_exact(SIGNAL).map(|signal| signal.first_chunk::<4>());
        asked_to_end |= numbers.any(|number| number.copied().map(i32::from_ne_bytes) == Some(SIGTERM));
    }
    asked_to_end
}

impl Zygote {
    /// Clones the next shim.
    fn make_next(&mut self) {
        let signals = self.signals.as_fd();
        let made = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let made = made.ok().and_then(|(ours, theirs)| {
            // The clone has both of its own. It sees the end of ours only when it has none of it.
            let mut ends = (Some(ours), Some(theirs));
            let child = clone3(CloneArgs::default(), || {
                drop(ends.0.take());
                become_other(|| ends.1.take().map_or(1, |theirs| wait_to_be_told(theirs, signals)))
            });
            Some(Next { child: child.ok()?, told: ends.0? })
        });
        self.cannot = made.is_none();
        self.next = made;
    }

    /// Reads one message, and has a shim for it, or a clone that makes namespaces. False at the end of the socket.
    fn answer(&mut self, socket: BorrowedFd<'_>) -> Result<bool, Errno> {
        let mut which = [0];
        let (length, received) = match sys::fds::recv_with(socket, &mut which) {
            Ok(message) => message,
            Err(e) if e.errno() == Errno::CONNRESET => return Ok(false),
            Err(e) => return Err(e.errno()),
        };
        if length == 0 {
            return Ok(false);
        }
        let (number, pidfd) = match self.clone_for(which[0], received) {
            Ok(child) => (child.pid, Some(child.pidfd)),
            Err(CloneError::Call(e)) => (-e.errno().raw_os_error(), None),
            Err(CloneError::Threads { .. }) => (-Errno::DEADLK.raw_os_error(), None),
        };
        self.cannot = pidfd.is_none();
        let fds: Vec<BorrowedFd<'_>> = pidfd.iter().map(AsFd::as_fd).collect();
        match sys::fds::send_with(socket, &number.to_ne_bytes(), &fds) {
            Ok(_) => Ok(true),
            // The daemon died in between. The shim finds no description on its control socket and ends.
            Err(e) if matches!(e.errno(), Errno::PIPE | Errno::CONNRESET) => Ok(false),
            Err(e) => Err(e.errno()),
        }
    }

    fn clone_for(&mut self, which: u8, received: Vec<OwnedFd>) -> Result<Child, CloneError> {
        if which & NAMESPACES == 0
            && let Some(next) = self.next.take()
        {
            let fds: Vec<BorrowedFd<'_>> = received.iter().map(AsFd::as_fd).collect();
            // One that cannot be told has ended, or ends now: nobody is left to tell it.
            if sys::fds::send_with(&next.told, &[which], &fds).is_ok() {
                return Ok(next.child);
            }
        }
        let signals = self.signals.as_fd();
        match descriptors(which, received) {
            Some(descriptors) if which & NAMESPACES != 0 => {
                clone3(CloneArgs::default(), || become_other(|| namespaces::run(descriptors.control)))
            }
            Some(descriptors) => clone3(CloneArgs::default(), || become_other(|| server::run(descriptors, signals))),
            None => Err(CloneError::Call(sys::Error::new("a message without its descriptors", Errno::INVAL))),
        }
    }
}

/// The life of the next shim until it is told whose it is.
fn wait_to_be_told(teller: OwnedFd, signals: BorrowedFd<'_>) -> i32 {
    runtime::look_at_host();
    let mut which = [0];
    let heard = sys::fds::recv_with(teller.as_fd(), &mut which);
    drop(teller);
    match heard {
        Ok((1.., received)) => descriptors(which[0], received).map_or(1, |given| server::run(given, signals)),
        // The zygote has ended.
        Ok(_) | Err(_) => 0,
    }
}

fn descriptors(which: u8, received: Vec<OwnedFd>) -> Option<Descriptors> {
    let mut received = received.into_iter();
    let control = received.next()?;
    let mut next = |flag| if which & flag == 0 { Some(None) } else { received.next().map(Some) };
    let (rootfs, netns, attach) = (next(HAS_ROOTFS)?, next(HAS_NETNS)?, next(HAS_ATTACH)?);
    Some(Descriptors { control, rootfs, netns, attach })
}

/// Runs in the clone, which is a shim or makes namespaces.
fn become_other(other: impl FnOnce() -> i32) -> i32 {
    let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC, Mode::empty());
    // The zygote's socket must end with the zygote, so that the daemon sees its death.
    match null.and_then(dup2_stdin) {
        Ok(()) => other(),
        Err(_) => 1,
    }
}
