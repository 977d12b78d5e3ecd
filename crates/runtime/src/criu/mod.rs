// SPDX-License-Identifier: Apache-2.0
//! Checkpoint and restore, by CRIU (<https://criu.org>): one of the few programs that Corten runs.
//!
//! Freezing processes, reading their memory and building them anew elsewhere is a kernel's worth of knowledge that
//! CRIU has and nobody else. It is asked as its other users ask it, over its own protocol:
//!
//! - [`wire`], [`rpc`]: its messages, as bytes. Pure.
//! - [`session`]: one conversation.
//! - [`layout`]: what of a container is not CRIU's to save, from the container's plan. Pure.
//! - [`externals`]: the names under which CRIU is told of that.
//! - [`stage`]: the root file system as CRIU wants to find it.
//! - [`streams`]: standard input, output and error, which are the caller's.
//! - [`log`]: the end of its log, for errors.

mod error;
pub(crate) mod externals;
mod layout;
mod log;
mod rpc;
mod session;
mod stage;
pub(crate) mod streams;
mod wire;

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, Mode, OFlags};

pub(crate) use error::CriuError;
pub(crate) use layout::Layout;
pub(crate) use rpc::{CgroupMode, Features, Notice, Options, PageServer, Request, Response};
pub(crate) use session::{Session, Surroundings};
pub(crate) use stage::{OwnMounts, Stage, open_root};

/// The oldest version that answers what we ask, as a number (`rpc::Response::version`).
const OLDEST: u32 = 3_00_00;

/// Where it is looked for without a `PATH`; it is an administrator's program.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The CRIU of this host.
#[derive(Debug)]
pub(crate) struct Criu {
    program: PathBuf,
    version: u32,
}

impl Criu {
    /// Finds it by `PATH` and asks for its version.
    pub(crate) fn find() -> Result<Criu, CriuError> {
        let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
        let executable = |path: &PathBuf| path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok();
        let absolute = std::env::split_paths(&path).filter(|directory| directory.is_absolute());
        let program =
            absolute.map(|directory| directory.join("criu")).find(executable).ok_or(CriuError::NotInstalled)?;
        let mut criu = Criu { program, version: 0 };
        let response = criu.ask_plainly(&Request::Version)?;
        criu.version = response.version.unwrap_or(0);
        criu.needs(OLDEST, "checkpoints")?;
        Ok(criu)
    }

    pub(crate) fn program(&self) -> PathBuf {
        self.program.clone()
    }

    pub(crate) fn is_at_least(&self, version: u32) -> bool {
        self.version >= version
    }

    pub(crate) fn needs(&self, version: u32, purpose: &'static str) -> Result<(), CriuError> {
        if self.is_at_least(version) {
            return Ok(());
        }
        Err(CriuError::TooOld { purpose, found: dotted(self.version), needed: dotted(version) })
    }

    /// Makes sure that CRIU on this kernel can do what is asked of it.
    pub(crate) fn needs_features(&self, wanted: Features) -> Result<(), CriuError> {
        let response = self.ask_plainly(&Request::FeatureCheck(wanted))?;
        let has = response.features;
        for (wanted, has, feature) in [
            (wanted.mem_track, has.mem_track, "tracking of changed memory"),
            (wanted.lazy_pages, has.lazy_pages, "lazy pages"),
        ] {
            if wanted && !(response.success && has) {
                return Err(CriuError::NoFeature { feature });
            }
        }
        Ok(())
    }

    fn ask_plainly(&self, request: &Request) -> Result<Response, CriuError> {
        let surroundings = Surroundings { program: self.program(), ..Surroundings::default() };
        Session::start(&surroundings)?.ask(request, &mut |_, _| Ok(()))
    }
}

fn dotted(version: u32) -> String {
    format!("{}.{}.{}", version / 10000, version / 100 % 100, version % 100)
}

/// A directory for CRIU's files, made when missing.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    fd: OwnedFd,
}

impl Directory {
    pub(crate) fn make(path: &Path) -> Result<Directory, CriuError> {
        use std::os::unix::fs::DirBuilderExt;
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(path).map_err(CriuError::file("make the directory", path))?;
        Directory::open(path)
    }

    pub(crate) fn open(path: &Path) -> Result<Directory, CriuError> {
        let path = std::path::absolute(path).map_err(CriuError::file("resolve", path))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&path, flags, Mode::empty())
            .map_err(|errno| CriuError::file("open the directory", &path)(errno.into()))?;
        Ok(Directory { path, fd })
    }

    /// The number that CRIU opens it by, through our `/proc/<pid>/fd`.
    pub(crate) fn number(&self) -> i32 {
        self.fd.as_raw_fd()
    }
}

/// Turns an answer that says no into an error with the end of CRIU's log.
pub(crate) fn succeeded(response: Response, action: &'static str, log: PathBuf) -> Result<Response, CriuError> {
    if response.success {
        return Ok(response);
    }
    let because = match response.errno {
        0 => String::new(),
        errno => format!(" ({})", std::io::Error::from_raw_os_error(errno)),
    };
    // Without a log its first complaint is all there is.
    let complaint = || response.message.map(|message| format!("  {}", log::printable(message.trim_end())));
    let lines = log::tail(&log).or_else(complaint).unwrap_or_else(|| "  (it says nothing)".into());
    Err(CriuError::Refused { action, because, lines, log })
}
