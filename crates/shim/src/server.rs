// SPDX-License-Identifier: Apache-2.0
//! The shim itself.

use std::os::fd::{BorrowedFd, OwnedFd};

/// What the zygote hands over.
#[derive(Debug)]
pub(crate) struct Descriptors {
    /// The daemon's watch session, on which the description comes first.
    pub(crate) control: OwnedFd,
    /// See [`ShimFds`](crate::ShimFds).
    pub(crate) rootfs: Option<OwnedFd>,
    /// See [`ShimFds`](crate::ShimFds).
    pub(crate) netns: Option<OwnedFd>,
    /// See [`ShimFds`](crate::ShimFds).
    pub(crate) attach: Option<OwnedFd>,
}
pub(crate) fn run(_: Descriptors, _: BorrowedFd<'_>) -> i32 {
    1
}
