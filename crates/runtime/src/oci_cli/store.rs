// SPDX-License-Identifier: Apache-2.0
//! What is remembered of a container between two calls: a directory per id below `--root`.
//!
//! ```text
//! <root>/<id>/state.json   which process, which bundle, which cgroup (replaced by rename, never written in place)
//! <root>/<id>/config.json  the configuration it was made from
//! <root>/<id>/exec.fifo    there until `start`: the process waits on it
//! ```
//! The status is asked of the kernel each time: a file cannot know whether a process lives.

use std::fs::{self, DirBuilder, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use cgroup::{Cgroup, CgroupPath};
use oci::ContainerId;
use oci::runtime_spec::{ContainerState, Spec};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde::{Deserialize, Serialize};

use super::error::CliError;

/// All containers of one `--root`.
#[derive(Debug)]
pub(super) struct Store {
    root: PathBuf,
}

/// What `state.json` says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: ContainerId,
    /// The first process; its number alone might be somebody else's by now.
    pub(super) pid: i32,
    /// When it was made, in clock ticks since the machine started.
    pub(super) start_time: u64,
    pub(super) bundle: PathBuf,
    /// Its cgroup's path; empty when it has none.
    pub(super) cgroup: String,
    pub(super) created: String,
}

/// One container's directory.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) dir: PathBuf,
}

impl Store {
    pub(super) fn new(root: PathBuf) -> Store {
        Store { root }
    }

    /// Where compiled system call filters are kept: a name that is no container's id.
    pub(super) fn filters(&self) -> PathBuf {
        self.root.join("filters~")
    }

    /// Takes an id; nobody else can from then on.
    pub(super) fn reserve(&self, id: &ContainerId) -> Result<Entry, CliError> {
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        builder.recursive(true).create(&self.root).map_err(CliError::file("make the directory", &self.root))?;
        let dir = self.root.join(id.as_str());
        match builder.recursive(false).create(&dir) {
            Ok(()) => Ok(Entry { dir }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(CliError::Exists { id: id.to_string() })
            }
            Err(error) => Err(CliError::file("make the directory", dir)(error)),
        }
    }

    pub(super) fn find(&self, id: &ContainerId) -> Result<(Entry, Record), CliError> {
        let entry = Entry { dir: self.root.join(id.as_str()) };
        let record = entry.record()?.ok_or_else(|| CliError::NotFound { id: id.to_string() })?;
        Ok((entry, record))
    }

    /// All containers, by id. One that vanishes meanwhile, or is still being made, is left out.
    pub(super) fn all(&self) -> Result<Vec<(Entry, Record)>, CliError> {
        let listed = match fs::read_dir(&self.root) {
            Ok(listed) => listed,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(CliError::file("list", &self.root)(error)),
        };
        let mut found = Vec::new();
        for item in listed {
            let entry = Entry { dir: item.map_err(CliError::file("list", &self.root))?.path() };
            if let Some(record) = entry.record()? {
                found.push((entry, record));
            }
        }
        found.sort_by(|(_, left), (_, right)| left.id.cmp(&right.id));
        Ok(found)
    }
}

impl Entry {
    pub(super) fn fifo(&self) -> PathBuf {
        self.dir.join("exec.fifo")
    }

    /// Makes the fifo that the process waits on. Others may write: the process opens it as the container's user.
    pub(super) fn make_fifo(&self) -> Result<PathBuf, CliError> {
        let path = self.fifo();
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o622), 0)
            .and_then(|()| rustix::fs::chmod(&path, Mode::from_raw_mode(0o622)))
            .map_err(|errno| CliError::file("make the fifo", &path)(errno.into()))?;
        Ok(path)
    }

    pub(super) fn write(&self, record: &Record, spec: &Spec) -> Result<(), CliError> {
        self.replace("config.json", spec)?;
        self.replace("state.json", record)
    }

    fn replace(&self, name: &str, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_vec(value).map_err(CliError::Format)?;
        replace(&self.dir.join(name), &text)
    }

    fn record(&self) -> Result<Option<Record>, CliError> {
        read_json(&self.dir.join("state.json"))
    }

    pub(super) fn spec(&self) -> Result<Spec, CliError> {
        let path = self.dir.join("config.json");
        let missing = || CliError::file("read", &path)(std::io::ErrorKind::NotFound.into());
        read_json(&path)?.ok_or_else(missing)
    }

    pub(super) fn remove(&self) -> Result<(), CliError> {
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(CliError::file("remove", &self.dir)(error))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn status(&self, record: &Record) -> ContainerState {
        if !record.is_alive() {
            ContainerState::Stopped
        } else if self.fifo().exists() {
            ContainerState::Created
        } else {
            ContainerState::Running
        }
    }
}

impl Record {
    fn is_alive(&self) -> bool {
        process_times(self.pid).is_some_and(|(state, start)| start == self.start_time && !matches!(state, 'Z' | 'X'))
    }

    /// A descriptor of the first process, if it lives. Checked after opening: the number may have been given anew.
    pub(super) fn pidfd(&self) -> Option<OwnedFd> {
        let pidfd = sys::process::pidfd_open(self.pid).ok()?;
        self.is_alive().then_some(pidfd)
    }

    /// The cgroup that another process of the container joins; `None` when it should be there and is not.
    pub(super) fn cgroup_to_join(&self) -> Result<Option<Cgroup>, CliError> {
        if !self.cgroup.is_empty() {
            return self.cgroup();
        }
        let path: CgroupPath = format!("/{}", self.id).parse().map_err(crate::LaunchError::CgroupPath)?;
        Ok(Some(Cgroup::absent(path)))
    }

    /// Its cgroup, if it is still there.
    pub(super) fn cgroup(&self) -> Result<Option<Cgroup>, CliError> {
        if self.cgroup.is_empty() {
            return Ok(None);
        }
        let path = self.cgroup.parse().map_err(crate::LaunchError::CgroupPath)?;
        match crate::prepare::cgroup_host()?.open(&path) {
            Ok(cgroup) => Ok(Some(cgroup)),
            Err(cgroup::CgroupError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// A process's state and start time (fields 3 and 22 of `/proc/<pid>/stat`, proc_pid_stat(5)). The name in field 2
/// may hold anything, so the fields are counted from its closing parenthesis.
pub(super) fn process_times(pid: i32) -> Option<(char, u64)> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat).into_owned();
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// Replaces a file as a whole: whoever reads it sees the old or the new content.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<(), CliError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = File::create(&temporary).and_then(|mut file| file.write_all(content));
    written.and_then(|()| fs::rename(&temporary, path)).map_err(CliError::file("write", path))
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, CliError> {
    match fs::read(path) {
        Ok(text) => {
            let read = serde_json::from_slice(&text);
            read.map(Some).map_err(|source| CliError::Json { path: path.into(), source })
        }
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(CliError::file("read", path)(error)),
    }
}
