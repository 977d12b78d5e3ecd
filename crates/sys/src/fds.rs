// SPDX-License-Identifier: Apache-2.0
//! Descriptors: sending them over a unix socket, putting them in a place, closing what must not be inherited.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use crate::error::{Error, Result, check};

/// The most descriptors that one message of [`send_with`] and [`recv_with`] carries.
pub const MAX_FDS: usize = 16;

/// Sends `bytes` (at least one) together with `fds` (at most [`MAX_FDS`]) over a unix socket. Returns how many bytes
/// were taken; the descriptors went with the first. Never raises SIGPIPE.
pub fn send_with(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<usize> {
    let call = || {
        let numbers: Vec<i32> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        format!("sendmsg({}, {} bytes, SCM_RIGHTS {numbers:?})", socket.as_fd().as_raw_fd(), bytes.len())
    };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    // The space is rounded up, so that it might take one more than the receiver allows.
    if fds.len() > MAX_FDS || (!fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds))) {
        return Err(Error::new(call(), Errno::TOOBIG));
    }
    rustix::io::retry_on_intr(|| sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL))
        .map_err(|errno| Error::new(call(), errno))
}

/// Receives bytes and the descriptors that came with them (close-on-exec). 0 bytes: the peer closed the socket.
///
/// # Errors
/// `EMSGSIZE` when more descriptors came than [`MAX_FDS`]; those that came are closed.
pub fn recv_with(socket: impl AsFd, bytes: &mut [u8]) -> Result<(usize, Vec<OwnedFd>)> {
    let call = |length: usize| format!("recvmsg({}, {length} bytes, SCM_RIGHTS)", socket.as_fd().as_raw_fd());
    let length = bytes.len();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(bytes)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            other => break other.map_err(|errno| Error::new(call(length), errno))?,
        }
    };
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(Error::new(call(length), Errno::MSGSIZE));
    }
    Ok((received.bytes, fds))
}

/// Marks every descriptor from number `first` on close-on-exec (close_range(2), Linux 5.11).
pub fn cloexec_from(first: u32) -> Result<()> {
    // SAFETY: only a flag of descriptors changes; none is closed.
    let returned = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    check(returned, || format!("close_range({first}, ~0, CLOSE_RANGE_CLOEXEC)")).map(drop)
}

/// Closes every descriptor from number `first` on (close_range(2), Linux 5.9).
///
/// Only for a child between clone and execve, where it makes sure that nothing of the host can be reached through
/// `/proc/self/fd`. Whatever owned one of these descriptors must be forgotten, not dropped: in a debug build the
/// standard library aborts on closing a closed descriptor.
pub fn close_from(first: u32) -> Result<()> {
    // SAFETY: descriptors are closed that Rust values may still own. The caller is a child about to execve or _exit
    // (see above), which uses and drops none of them.
    let returned = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    check(returned, || format!("close_range({first}, ~0, 0)")).map(drop)
}

/// Closes the calling process's copy of a descriptor. For a child between clone and execve that must not keep its
/// maker's end of a pipe open; whatever owned the descriptor must be forgotten, not dropped.
pub fn close(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: as for `close_from`: the caller is a child about to execve or _exit, which neither uses nor drops it.
    let returned = unsafe { libc::close(fd.as_raw_fd()) };
    check(libc::c_long::from(returned), || format!("close({})", fd.as_raw_fd())).map(drop)
}

/// Makes number `at` a close-on-exec duplicate of `fd` (dup3(2)); what `at` was before is closed. For a child between
/// clone and execve that arranges its descriptors; whatever owned `at` must be forgotten.
pub fn place(fd: BorrowedFd<'_>, at: u32) -> Result<OwnedFd> {
    // The kernel's descriptors fit in an i32.
    let at = i32::try_from(at).unwrap_or(i32::MAX);
    // SAFETY: `at` now belongs to the value returned; the caller upholds that nothing else uses it (see above).
    unsafe {
        check(libc::c_long::from(libc::dup3(fd.as_raw_fd(), at, libc::O_CLOEXEC)), || {
            format!("dup3({}, {at}, O_CLOEXEC)", fd.as_raw_fd())
        })?;
        Ok(OwnedFd::from_raw_fd(at))
    }
}

/// Takes the descriptor with number `number`, which the process inherited (for example as its standard input, or by
/// `--preserve-fds`), into ownership.
///
/// # Errors
/// `EBADF` when it is not open. `None` of the checks can tell that nobody else owns it: the caller does.
pub fn inherited(number: u32) -> Result<OwnedFd> {
    let raw = i32::try_from(number).unwrap_or(i32::MAX);
    // SAFETY: F_GETFD reads a flag. Ownership is the caller's claim: called once per number, at the program's start.
    unsafe {
        check(libc::c_long::from(libc::fcntl(raw, libc::F_GETFD)), || format!("fcntl({raw}, F_GETFD)"))?;
        Ok(OwnedFd::from_raw_fd(raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_descriptor_travels_with_its_bytes() {
        let (left, right) = UnixStream::pair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        assert_eq!(send_with(&left, b"x", &[writer.as_fd()]).unwrap(), 1);
        drop(writer);
        let mut bytes = [0; 8];
        let (count, mut fds) = recv_with(&right, &mut bytes).unwrap();
        assert_eq!((count, fds.len()), (1, 1));
        std::fs::File::from(fds.remove(0)).write_all(b"hello").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }

    #[test]
    fn a_closed_peer_is_zero_bytes_and_too_many_descriptors_are_refused() {
        let (left, right) = UnixStream::pair().unwrap();
        let many = vec![left.as_fd(); MAX_FDS + 1];
        assert_eq!(send_with(&left, b"x", &many).unwrap_err().errno(), Errno::TOOBIG);
        drop(left);
        assert_eq!(recv_with(&right, &mut [0; 8]).unwrap().0, 0);
    }
}
