// SPDX-License-Identifier: Apache-2.0
//! The shim's directory: `state.json` while it lives, `exit.json` once the container has ended, `exec-<id>.json` for
//! each ended exec. All by atomic rename, so that a reader sees a whole file or none. Not synced: after a power cut
//! there is no container either.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use errors::{Classify, Kind, kind_of_io};
use rustix::fs::{CWD, Mode, OFlags, openat, renameat};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::process::ProcessRef;
use crate::protocol::Exit;

/// No file of ours is longer; what is longer is not ours.
const MAX_FILE: u64 = 1 << 20;

/// What a living shim says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The shim.
    pub shim: ProcessRef,
    /// The container's first process, as the host sees it; `None` while it is being launched, and for a moment more: it is
    /// written here only of one that lives longer. Until then the shim says it on its socket.
    pub init: Option<ProcessRef>,
    /// When that was started, RFC 3339; together with it.
    #[serde(default)]
    pub started: Option<String>,
    /// The container's control group, relative to the mount of each hierarchy.
    pub cgroup: Option<PathBuf>,
    /// Whether it was paused by request.
    #[serde(default)]
    pub paused: bool,
    /// Log lines that could not be written and are lost, for want of space or another failure of the log's disk.
    #[serde(default)]
    pub log_lines_lost: u64,
    /// Why the last of them could not be written, while that still holds.
    #[serde(default)]
    pub log_failure: Option<String>,
}

impl State {
    /// That of a shim that has done nothing yet.
    pub(crate) fn of(shim: ProcessRef) -> State {
        State { shim, init: None, started: None, cgroup: None, paused: false, log_lines_lost: 0, log_failure: None }
    }
}

/// A file in a shim's directory that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file is there and cannot be read.
    #[error("read {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file is none that a shim wrote.
    #[error("{path:?} was not written by a shim")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

impl Classify for StateError {
    fn kind(&self) -> Kind {
        match self {
            StateError::Read { source, .. } => kind_of_io(source),
            StateError::Parse { .. } => Kind::Corrupt,
        }
    }
}

/// What the shim in `dir` said about itself; `None` when it has not, or has ended and tidied up.
/// Believe nobody: [`ProcessRef::open`] says whether the processes are still there.
///
/// # Errors
/// The file is there and cannot be read, or was not written by a shim.
pub fn read_state(dir: &Path) -> Result<Option<State>, StateError> {
    read(dir, "state.json")
}

/// How the container of the shim in `dir` ended; `None` when it has not.
///
/// # Errors
/// The file is there and cannot be read, or was not written by a shim.
pub fn read_exit(dir: &Path) -> Result<Option<Exit>, StateError> {
    read(dir, "exit.json")
}

/// How the exec `exec_id` ended; `None` when it has not, or when the id is no file name.
///
/// # Errors
/// The file is there and cannot be read, or was not written by a shim.
pub fn read_exec_exit(dir: &Path, exec_id: &str) -> Result<Option<Exit>, StateError> {
    if !is_exec_id(exec_id) {
        return Ok(None);
    }
    read(dir, &exec_file(exec_id))
}

/// Removes the record of how the exec `exec_id` ended, if there is one.
///
/// # Errors
/// It is there and cannot be removed.
pub fn forget_exec_exit(dir: &Path, exec_id: &str) -> io::Result<()> {
    if !is_exec_id(exec_id) {
        return Ok(());
    }
    match std::fs::remove_file(dir.join(exec_file(exec_id))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Whether `text` may name an exec: a short file name of harmless characters.
pub(crate) fn is_exec_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
}

/// The file in which the exit of an exec is recorded.
pub(crate) fn exec_file(exec_id: &str) -> String {
    format!("exec-{exec_id}.json")
}

fn read<T: DeserializeOwned>(dir: &Path, name: &str) -> Result<Option<T>, StateError> {
    let path = dir.join(name);
    let mut text = Vec::new();
    let file = openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty());
    match file.map_err(io::Error::from).and_then(|f| File::from(f).take(MAX_FILE).read_to_end(&mut text)) {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StateError::Read { path, source }),
    }
    serde_json::from_slice(&text).map(Some).map_err(|source| StateError::Parse { path, source })
}

/// Writes `value` as `name` in `dir`, visible only when whole.
pub(crate) fn write<T: Serialize>(dir: impl AsFd, name: &str, value: &T) -> io::Result<()> {
    let dir = dir.as_fd();
    let temporary = format!(".{name}.new");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = openat(dir, &temporary, flags, Mode::RUSR | Mode::WUSR)?;
    File::from(file).write_all(&serde_json::to_vec(value)?)?;
    Ok(renameat(dir, &temporary, dir, name)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_state(dir.path()).unwrap(), None);
        let state = State { cgroup: Some("/corten/x".into()), ..State::of(ProcessRef { pid: 7, start_time: 9 }) };
        write(File::open(dir.path()).unwrap(), "state.json", &state).unwrap();
        assert_eq!(read_state(dir.path()).unwrap(), Some(state));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        std::fs::write(dir.path().join("exit.json"), "{").unwrap();
        assert!(matches!(read_exit(dir.path()), Err(StateError::Parse { .. })));
    }

    #[test]
    fn an_exec_id_cannot_leave_the_directory() {
        for bad in ["", "..", "a/b", "a.b", "a\0", &"x".repeat(129)] {
            assert!(!is_exec_id(bad), "{bad:?}");
            assert!(read_exec_exit(Path::new("/"), bad).unwrap().is_none());
        }
        assert!(is_exec_id("0af_-9"));
    }
}
