// SPDX-License-Identifier: Apache-2.0
//! Namespaces made ahead of a container, by a clone of the zygote: who makes a user namespace must be able to make a process
//! in it, which the daemon with its threads never does. It makes them, sends their files, and ends.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use errors::{Kind as ErrorKind, Report};
use runtime::plan::{IdMapping, IdMaps};
use runtime::user_namespace;
use serde::{Deserialize, Serialize};

use crate::error::ShimError;
use crate::frame::{Kind, read_frame, write_frame};
use crate::spawn::Zygote;

/// What comes before the descriptors; anything else is the report of a failure.
const MADE: &[u8] = b"+";
/// No report is longer.
const MAX_REPORT: usize = 16 << 10;

/// The namespaces that a container is to find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespacesRequest {
    /// The file of the user namespace that the others are to belong to; a new one without.
    pub user: Option<PathBuf>,
    /// The host's user id of the root of a new user namespace.
    pub uid: u32,
    /// The host's group id of its root's group.
    pub gid: u32,
    /// How many ids there are from each of these on.
    pub count: u32,
    /// A network namespace as well, which belongs to it.
    pub network: bool,
    /// The file of a pid namespace whose procfs is wanted.
    pub procfs_of: Option<PathBuf>,
    /// The file of a network namespace whose sysfs is wanted.
    pub sysfs_of: Option<PathBuf>,
}

/// The files of what was made.
#[derive(Debug)]
pub struct Namespaces {
    /// The user namespace.
    pub user: OwnedFd,
    /// The network namespace, without any interface but a loopback that is down.
    pub network: Option<OwnedFd>,
    /// A detached mount of that procfs.
    pub procfs: Option<OwnedFd>,
    /// A detached mount of that sysfs.
    pub sysfs: Option<OwnedFd>,
}

impl Zygote {
    /// Makes a user namespace, and what belongs to it. It lasts as long as its file is open or a process is in it.
    ///
    /// # Errors
    /// No zygote could be made, or the kernel refused.
    pub fn make_namespaces(&self, request: &NamespacesRequest) -> Result<Namespaces, ShimError> {
        let what = "the wish for namespaces";
        let payload = serde_json::to_vec(request).map_err(|source| ShimError::Encode { what, source })?;
        let handle = self.clone_for_namespaces()?;
        write_frame(&handle.control, Kind::Request, &payload).map_err(ShimError::Send)?;
        let mut answer = vec![0; MAX_REPORT];
        let (length, files) =
            sys::fds::recv_with(&handle.control, &mut answer).map_err(|error| ShimError::Zygote(error.to_io()))?;
        answer.truncate(length);
        if answer != MADE {
            // It ended without a word.
            let silent = || ShimError::Zygote(io::ErrorKind::UnexpectedEof.into());
            let report = serde_json::from_slice(&answer).map_err(|_| silent())?;
            return Err(ShimError::Namespaces(report));
        }
        let mut files = files.into_iter();
        let missing = || ShimError::Zygote(io::ErrorKind::InvalidData.into());
        let user = files.next().ok_or_else(missing)?;
        let mut next = |wanted: bool| wanted.then(|| files.next().ok_or_else(missing)).transpose();
        let network = next(request.network)?;
        let procfs = next(request.procfs_of.is_some())?;
        let sysfs = next(request.sysfs_of.is_some())?;
        Ok(Namespaces { user, network, procfs, sysfs })
    }
}

/// The whole life of the clone; its exit code.
pub(crate) fn run(control: OwnedFd) -> i32 {
    let (answer, files) = match read(&control).and_then(|request| make(&request)) {
        Ok(files) => (MADE.to_vec(), files),
        Err(report) => (serde_json::to_vec(&report).unwrap_or_default(), Vec::new()),
    };
    let files: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
    let answer = &answer[..answer.len().min(MAX_REPORT)];
    // If the daemon is gone there is nobody to tell.
    i32::from(sys::fds::send_with(&control, answer, &files).is_err())
}

fn read(control: &OwnedFd) -> Result<NamespacesRequest, Report> {
    let unreadable = |what: String| Report::new(ErrorKind::Internal, format!("read which namespaces to make: {what}"));
    let stream = control.try_clone().map_err(|error| unreadable(error.to_string()))?;
    match read_frame(File::from(stream)).map_err(|error| unreadable(errors::chain(&error)))? {
        Some((Kind::Request, payload)) => {
            serde_json::from_slice(&payload).map_err(|error| unreadable(error.to_string()))
        }
        _ => Err(unreadable("the daemon went away".to_owned())),
    }
}

fn make(request: &NamespacesRequest) -> Result<Vec<OwnedFd>, Report> {
    let all = |outside| vec![IdMapping { inside: 0, outside, count: request.count }];
    let ids = IdMaps { uids: all(request.uid), gids: all(request.gid) };
    let made = || {
        let mut files = match (&request.user, request.network) {
            (None, true) => user_namespace::make_with_network(&ids)?.into(),
            (None, false) => vec![user_namespace::make(&ids)?],
            (Some(path), true) => user_namespace::network_of(path)?.into(),
            (Some(path), false) => vec![user_namespace::open(path)?],
        };
        if let Some(path) = &request.procfs_of {
            files.push(user_namespace::procfs_of(path)?);
        }
        if let Some(path) = &request.sysfs_of {
            files.push(user_namespace::sysfs_of(path)?);
        }
        Ok(files)
    };
    made().map_err(|error: runtime::LaunchError| Report::from(&error))
}
