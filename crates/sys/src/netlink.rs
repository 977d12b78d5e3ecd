// SPDX-License-Identifier: Apache-2.0
//! Netlink socket options (netlink(7)).

use std::ffi::c_int;
use std::os::fd::{AsFd, AsRawFd};

use crate::error::{Result, check};

/// Has the kernel explain refusals in words, and not echo the whole request with each (`NETLINK_EXT_ACK`,
/// `NETLINK_CAP_ACK`).
pub fn extended_acknowledgements(socket: impl AsFd) -> Result<()> {
    switch_on(&socket, libc::NETLINK_EXT_ACK, "NETLINK_EXT_ACK")?;
    switch_on(&socket, libc::NETLINK_CAP_ACK, "NETLINK_CAP_ACK")
}

fn switch_on(socket: &impl AsFd, option: c_int, name: &str) -> Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    let on: c_int = 1;
    // SAFETY: the kernel reads `size_of::<c_int>()` bytes from `on`, which lives until after the call; the borrow of
    // `socket` keeps the descriptor open.
    let returned = unsafe {
        libc::setsockopt(fd, libc::SOL_NETLINK, option, (&raw const on).cast(), size_of::<c_int>() as libc::socklen_t)
    };
    check(returned.into(), || format!("setsockopt({fd}, SOL_NETLINK, {name}, 1)")).map(drop)
}
