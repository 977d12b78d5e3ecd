// SPDX-License-Identifier: Apache-2.0
//! What is remembered of a container between two calls: a directory per id below `--root`.
//!
//! ```text
//! <root>/<id>/state.json   which process, which bundle, which cgroup (replaced by rename, never written in place)
//! <root>/<id>/config.json  the configuration it was made from
//! <root>/<id>/exec.fifo    there until `start`: the process waits on it
//! ```
//! The status is asked of the kernel each time: a file cannot know whether a process lives.

use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use cgroup::systemd::Scope;
use cgroup::{Cgroup, CgroupPath};
use oci::ContainerId;
use oci::runtime_spec::{LinuxNamespaceType, Spec};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::error::CliError;

/// What says which process a container is.
const RECORD: &str = "state.json";

/// All containers of one `--root`.
#[derive(Debug)]
pub(super) struct Store {
    root: PathBuf,
    /// Whether the caller said where.
    named: bool,
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
    /// Whether its processes outlive the first, because that is not the first of a pid namespace.
    #[serde(default)]
    pub(super) shares_pids: bool,
    /// systemd's scope around its cgroup, where systemd made that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) scope: Option<Scope>,
    /// Whether its configuration has hooks: one without is not read to start it, nor to delete it.
    pub(super) has_hooks: bool,
}

/// A container's status, in runc's words: the specification's, and `paused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// Its command waits for `start`.
    Created,
    /// Its command was executed and has not ended.
    Running,
    /// Created or running, and all its processes stand still.
    Paused,
    /// Its first process has ended.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

/// One container's directory.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) dir: PathBuf,
}

impl Store {
    pub(super) fn named(root: PathBuf) -> Store {
        Store { root, named: true }
    }

    pub(super) fn usual(root: PathBuf) -> Store {
        Store { root, named: false }
    }

    /// Where compiled system call filters are kept: a name that is no container's id.
    pub(super) fn filters(&self) -> PathBuf {
        self.root.join("filters~")
    }

    /// Takes an id; nobody else can from then on.
    pub(super) fn reserve(&self, id: &ContainerId) -> Result<Entry, CliError> {
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        let dir = self.root.join(id.as_str());
        let mut made = builder.create(&dir);
        if made.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            builder.recursive(true).create(&self.root).map_err(CliError::file("make the directory", &self.root))?;
            made = builder.recursive(false).create(&dir);
        }
        match made {
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

    /// Removes the directory of an id that has no record.
    pub(super) fn forget(&self, id: &ContainerId) -> Result<(), CliError> {
        Entry { dir: self.root.join(id.as_str()) }.remove()
    }

    /// All containers, by id. One that vanishes meanwhile, or is still being made, is left out.
    /// A directory that is not there is an error only where it was named: the usual one is made with the first container.
    pub(super) fn all(&self) -> Result<Vec<(Entry, Record)>, CliError> {
        let listed = match fs::read_dir(&self.root) {
            Ok(listed) => listed,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !self.named => return Ok(Vec::new()),
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

    /// Makes the fifo that the process waits on.
    pub(super) fn make_fifo(&self) -> Result<PathBuf, CliError> {
        let path = self.fifo();
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .map_err(|errno| CliError::file("make the fifo", &path)(errno.into()))?;
        Ok(path)
    }

    pub(super) fn write(&self, record: &Record, config: &[u8]) -> Result<(), CliError> {
        replace(&self.dir.join("config.json"), config)?;
        self.replace(RECORD, record)
    }

    fn replace(&self, name: &str, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_vec(value).map_err(CliError::Format)?;
        replace(&self.dir.join(name), &text)
    }

    fn record(&self) -> Result<Option<Record>, CliError> {
        read_json(&self.dir.join(RECORD))
    }

    pub(super) fn spec(&self) -> Result<Spec, CliError> {
        let path = self.dir.join("config.json");
        let missing = || CliError::file("read", &path)(std::io::ErrorKind::NotFound.into());
        read_json(&path)?.ok_or_else(missing)
    }

    /// Removes the directory; the record last, so that what could not be removed can be deleted another time.
    pub(super) fn remove(&self) -> Result<(), CliError> {
        let gone = |result: std::io::Result<()>| match result {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        let remove = || {
            for item in fs::read_dir(&self.dir)? {
                let item = item?;
                // What a restore mounts the root on: empty, or it must not be removed.
                let is_directory = item.file_type()?.is_dir();
                if item.file_name() != RECORD {
                    gone(if is_directory { fs::remove_dir(item.path()) } else { fs::remove_file(item.path()) })?;
                }
            }
            gone(fs::remove_file(self.dir.join(RECORD)))?;
            fs::remove_dir(&self.dir)
        };
        gone(remove()).map_err(CliError::file("remove", &self.dir))
    }

    pub(super) fn status(&self, record: &Record) -> Result<Status, CliError> {
        Ok(match self.phase(record)? {
            Status::Stopped => Status::Stopped,
            _ if record.is_paused()? => Status::Paused,
            phase => phase,
        })
    }

    /// The status without a look at the freezer: for those who only ask whether it was started, or has ended.
    pub(super) fn phase(&self, record: &Record) -> Result<Status, CliError> {
        if !record.is_alive()? {
            return Ok(Status::Stopped);
        }
        let fifo = self.fifo();
        let waits = fifo.try_exists().map_err(CliError::file("look for", &fifo))?;
        Ok(if waits { Status::Created } else { Status::Running })
    }

    /// Remembers a changed configuration.
    pub(super) fn write_spec(&self, spec: &Spec) -> Result<(), CliError> {
        self.replace("config.json", spec)
    }
}

impl Record {
    fn is_alive(&self) -> Result<bool, CliError> {
        let times = process_times(self.pid)?;
        Ok(times.is_some_and(|(state, start)| start == self.start_time && !matches!(state, 'Z' | 'X')))
    }

    /// Whether its processes stand still.
    pub(super) fn is_paused(&self) -> Result<bool, CliError> {
        self.cgroup_path()?.map_or(Ok(false), |path| Ok(cgroup::is_frozen(&path)?))
    }

    /// A descriptor of the first process, if it lives. Checked after opening: the number may have been given anew.
    pub(super) fn pidfd(&self) -> Result<Option<OwnedFd>, CliError> {
        let opened = sys::process::pidfd_open(self.pid);
        if !self.is_alive()? {
            // Then whatever the answer was, it was about somebody else: a thread that got the number, for example.
            return Ok(None);
        }
        match opened {
            Ok(pidfd) => Ok(Some(pidfd)),
            Err(error) => Err(error.into()),
        }
    }

    /// The cgroup that another process of the container joins; `None` when it should be there and is not.
    pub(super) fn cgroup_to_join(&self) -> Result<Option<Cgroup>, CliError> {
        if !self.cgroup.is_empty() {
            return self.cgroup();
        }
        let path: CgroupPath = format!("/{}", self.id).parse().map_err(crate::LaunchError::CgroupPath)?;
        Ok(Some(Cgroup::absent(path)))
    }

    /// Where its cgroup is; `None` when it has none.
    pub(super) fn cgroup_path(&self) -> Result<Option<CgroupPath>, CliError> {
        let path = Some(&self.cgroup).filter(|path| !path.is_empty());
        Ok(path.map(|path| path.parse()).transpose().map_err(crate::LaunchError::CgroupPath)?)
    }

    /// Its cgroup, if it is still there.
    pub(super) fn cgroup(&self) -> Result<Option<Cgroup>, CliError> {
        let Some(path) = self.cgroup_path()? else { return Ok(None) };
        match crate::prepare::cgroup_host()?.open(&path) {
            Ok(cgroup) => Ok(Some(cgroup)),
            Err(cgroup::CgroupError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether the container has no pid namespace of its own.
pub(super) fn shares_pids(spec: &Spec) -> bool {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    !namespaces.into_iter().flatten().any(|n| n.typ() == LinuxNamespaceType::Pid && n.path().is_none())
}

/// A process's state and start time (fields 3 and 22 of `/proc/<pid>/stat`, proc_pid_stat(5)). The name in field 2
/// may hold anything, so the fields are counted from its closing parenthesis.
/// `None` when there is no such process.
fn process_times(pid: i32) -> Result<Option<(char, u64)>, CliError> {
    let path = stat_path(pid);
    let stat = match fs::read(&path) {
        Ok(stat) => stat,
        // The second, when it ends while its file is open.
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::SRCH)) => return Ok(None),
        Err(error) => return Err(CliError::file("read", path)(error)),
    };
    let unreadable = || CliError::file("read", &path)(std::io::ErrorKind::InvalidData.into());
    parse_times(&stat).map(Some).ok_or_else(unreadable)
}

/// When a process was made that is known to be there: our own child.
pub(super) fn start_time(pid: i32) -> Result<u64, CliError> {
    let missing = || CliError::file("read", stat_path(pid))(std::io::ErrorKind::NotFound.into());
    process_times(pid)?.map(|(_, start)| start).ok_or_else(missing)
}

fn stat_path(pid: i32) -> PathBuf {
    format!("/proc/{pid}/stat").into()
}

fn parse_times(stat: &[u8]) -> Option<(char, u64)> {
    let stat = String::from_utf8_lossy(stat).into_owned();
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// Replaces a file as a whole: whoever reads it sees the old or the new content.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<(), CliError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = create(&temporary).and_then(|mut file| file.write_all(content));
    written.and_then(|()| fs::rename(&temporary, path)).map_err(|error| {
        // There may be none, when making it is what failed.
        fs::remove_file(&temporary).unwrap_or_default();
        CliError::file("write", path)(error)
    })
}

/// Removes a file that [`replace`] may have written.
pub(super) fn remove(path: &Path) -> Result<(), CliError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(CliError::file("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Makes a new file, in place of what somebody else left under that name: never through a link.
fn create(path: &Path) -> std::io::Result<File> {
    match File::create_new(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            File::create_new(path)
        }
        made => made,
    }
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
