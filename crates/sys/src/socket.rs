// SPDX-License-Identifier: Apache-2.0
//! What a socket's peer has not read yet (unix(7), `SIOCOUTQ`).

use std::os::fd::{AsFd, AsRawFd};

use crate::error::{Result, check};

/// How much of what was sent over a unix socket its peer has not read, in the kernel's accounting: 0 when it has read
/// everything, otherwise more than the bytes themselves.
pub fn unread(socket: impl AsFd) -> Result<u32> {
    let number = socket.as_fd().as_raw_fd();
    let mut length: libc::c_int = 0;
    // SAFETY: the descriptor is open as long as `socket` is borrowed; TIOCOUTQ, which is SIOCOUTQ, writes one int, and
    // `length` is one that nobody else uses.
    let result = unsafe { libc::ioctl(number, libc::TIOCOUTQ, &raw mut length) };
    check(i64::from(result), || format!("ioctl({number}, SIOCOUTQ)"))?;
    // It counts memory, which is never negative.
    Ok(u32::try_from(length).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_read_is_not_unread() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        assert_eq!(unread(&ours).unwrap(), 0);
        ours.write_all(b"abc").unwrap();
        assert!(unread(&ours).unwrap() >= 3);
        theirs.read_exact(&mut [0; 3]).unwrap();
        assert_eq!(unread(&ours).unwrap(), 0);
    }

    #[test]
    fn what_is_no_socket_is_an_error() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(unread(&file).is_err());
    }
}
