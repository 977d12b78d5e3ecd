// SPDX-License-Identifier: Apache-2.0
//! A directory copied with everything that it is: for volumes that begin with what an image has.

use std::os::fd::BorrowedFd;

use errors::{Classify, Kind};

use crate::apply::{ApplyError, copy_up};

/// Why a directory could not be copied.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct CopyError(Box<ApplyError>);

impl Classify for CopyError {
    fn kind(&self) -> Kind {
        self.0.kind()
    }
}

/// Copies what is in the directory `from` into the empty directory `to`, which gets the owner, mode, times and extended
/// attributes of `from` as well. Both are walked by descriptor, and no link is followed.
///
/// # Errors
/// Something cannot be read or written. What was copied until then stays.
pub fn copy_directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), CopyError> {
    let copied = copy_up::copy_up(from, to, true).and_then(|()| copy_up::take_after(from, to));
    let failed = |source| ApplyError::Operation { operation: "copy a directory".to_owned(), source };
    copied.map_err(|source| CopyError(Box::new(failed(source))))
}
