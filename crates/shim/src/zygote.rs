// SPDX-License-Identifier: Apache-2.0
//! The zygote: waits on its standard input, a socket of the daemon's, and clones itself for every message.
//!
//! A clone may be asked for ahead: it looks at the host's cgroups, makes its container's, and waits on its own socket to be
//! told whose shim it is.
//!
//! It executes itself once more through a read-only mount, so that no container can reach the program, and then only
//! clones. It decides nothing and parses nothing: a message says only which descriptors came with it. So it stays as small as
//! it started, and so do the shims, whose memory is a copy of its own.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{WaitOptions, chdir, setsid, umask, wait};
use rustix::stdio::{dup2_stdin, stdin};
use sys::process::{CloneArgs, CloneError, clone3};

use crate::frame::read_frame;
use crate::namespaces;
use crate::protocol::Ahead;
use crate::server::{self, Descriptors};
use crate::spawn::{AHEAD, HAS_ATTACH, HAS_NETNS, HAS_ROOTFS, NAMESPACES};

/// `SIGCHLD` and `SIGTERM` have these numbers on every architecture that Linux runs containers on.
const SIGCHLD: i32 = 17;
const SIGTERM: i32 = 15;

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
    loop {
        let socket = stdin();
        let mut waiting = [PollFd::new(&socket, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
        match poll(&mut waiting, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
        let [asked, reap] = waiting.map(|fd| !fd.revents().is_empty());
        if reap {
            drain(signals.as_fd());
            while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        }
        if asked && !answer(socket, &signals)? {
            return Ok(());
        }
    }
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

/// Reads one message and clones a shim for it, or who makes namespaces. False at the end of the socket.
fn answer(socket: BorrowedFd<'_>, signals: &OwnedFd) -> Result<bool, Errno> {
    let mut which = [0];
    let (length, received) = match sys::fds::recv_with(socket, &mut which) {
        Ok(message) => message,
        Err(e) if e.errno() == Errno::CONNRESET => return Ok(false),
        Err(e) => return Err(e.errno()),
    };
    if length == 0 {
        return Ok(false);
    }
    let cloned = match descriptors(which[0], received) {
        Some(descriptors) if which[0] & NAMESPACES != 0 => {
            clone3(CloneArgs::default(), || become_other(|| namespaces::run(descriptors.control)))
        }
        Some(descriptors) if which[0] & AHEAD != 0 => {
            clone3(CloneArgs::default(), || become_other(|| wait_to_be_told(descriptors.control, signals.as_fd())))
        }
        Some(descriptors) => {
            clone3(CloneArgs::default(), || become_other(|| server::run(descriptors, None, None, signals.as_fd())))
        }
        None => Err(CloneError::Call(sys::Error::new("a message without its descriptors", Errno::INVAL))),
    };
    let (number, pidfd) = match cloned {
        Ok(child) => (child.pid, Some(child.pidfd)),
        Err(CloneError::Call(e)) => (-e.errno().raw_os_error(), None),
        Err(CloneError::Threads { .. }) => (-Errno::DEADLK.raw_os_error(), None),
    };
    let fds: Vec<BorrowedFd<'_>> = pidfd.iter().map(AsFd::as_fd).collect();
    match sys::fds::send_with(socket, &number.to_ne_bytes(), &fds) {
        Ok(_) => Ok(true),
        // The daemon died in between. The shim finds no description on its control socket and ends.
        Err(e) if matches!(e.errno(), Errno::PIPE | Errno::CONNRESET) => Ok(false),
        Err(e) => Err(e.errno()),
    }
}

/// The life of a shim that was asked for ahead, until it is told whose it is.
fn wait_to_be_told(control: OwnedFd, signals: BorrowedFd<'_>) -> i32 {
    runtime::look_at_host();
    own_memory();
    // What fails here is done again, and told of, by the launch.
    let itself = server::Itself::detached().ok();
    // What cannot be made ahead is made, or said to be impossible, by the launch.
    let cgroup = read_ahead(&control).and_then(|path| runtime::make_cgroup_ahead(&path).ok());
    let mut which = [0];
    let told = match sys::fds::recv_with(control.as_fd(), &mut which) {
        Ok((1.., received)) => with_control(control, which[0], received.into_iter()),
        // The daemon has ended, or needs it no longer.
        Ok(_) | Err(_) => None,
    };
    match told {
        Some(descriptors) => server::run(descriptors, itself, cgroup, signals),
        None => {
            // Nobody is there to hear of a failure. A new daemon looks for groups of containers that it does not know.
            cgroup.map_or(Ok(()), |cgroup| cgroup.undo()).map_or(1, |()| 0)
        }
    }
}

/// Has the memory that a launch needs behind this process's stack and heap, for which it need not wait at every page then. It
/// is no more than the launch would have taken.
#[inline(never)]
fn own_memory() {
    /// What reading a description takes, in bytes.
    const STACK: usize = 72 << 10;
    const HEAP: usize = 48 << 10;
    let stack = [1u8; STACK];
    std::hint::black_box(&stack);
    // Given back to the allocator, which keeps it for the next who asks.
    let heap = vec![1u8; HEAP];
    std::hint::black_box(&heap);
}

/// The control group that is wanted ahead.
fn read_ahead(control: &OwnedFd) -> Option<cgroup::CgroupPath> {
    let (_, payload) = read_frame(File::from(control.try_clone().ok()?)).ok()??;
    let ahead: Ahead = serde_json::from_slice(&payload).ok()?;
    ahead.cgroup?.parse().ok()
}

fn descriptors(which: u8, received: Vec<OwnedFd>) -> Option<Descriptors> {
    let mut received = received.into_iter();
    let control = received.next()?;
    with_control(control, which, received)
}

fn with_control(control: OwnedFd, which: u8, mut received: impl Iterator<Item = OwnedFd>) -> Option<Descriptors> {
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
