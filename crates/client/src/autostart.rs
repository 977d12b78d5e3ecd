// SPDX-License-Identifier: Apache-2.0
//! Starting the daemon when nobody answers: the same executable, in the background, in its own session.
//!
//! Clients that come at the same moment start one daemon: whoever holds the lock starts it, the others find it running.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::error::ClientError;

/// How long a daemon may take until it listens.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked for.
const INTERVAL: Duration = Duration::from_millis(4);

/// The directories of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// Sockets and process state.
    pub exec_root: PathBuf,
    /// Images and containers.
    pub data_root: PathBuf,
}

/// Start the daemon of `roots` unless `socket` answers by now; returns when it listens.
///
/// # Errors
/// Not root; the directories cannot be made; the daemon ended, or does not listen within ten seconds.
pub fn start(socket: &Path, roots: &Roots) -> Result<(), ClientError> {
    if !rustix::process::geteuid().is_root() {
        return Err(ClientError::NotRoot { socket: socket.to_owned() });
    }
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| ClientError::PrepareStart { action, path, source }
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(&roots.exec_root)
        .map_err(failed("make directory", &roots.exec_root))?;
    let lock_path = roots.exec_root.join("start.lock");
    let lock = append(&lock_path).map_err(failed("open", &lock_path))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|errno| failed("lock", &lock_path)(errno.into()))?;
    if UnixStream::connect(socket).is_ok() {
        return Ok(());
    }

    let log_path = roots.exec_root.join("daemon.log");
    let log = append(&log_path).map_err(failed("open", &log_path))?;
    let said_before = log.metadata().map_err(failed("stat", &log_path))?.len();
    let daemon = spawn(roots, &log).map_err(failed("execute", Path::new("/proc/self/exe")))?;
    wait_until_it_listens(socket, daemon).map_err(|ending| ClientError::Start {
        reason: last_message(&log_path, said_before).unwrap_or(ending),
        log: log_path,
    })
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn spawn(roots: &Roots, log: &File) -> io::Result<Child> {
    #[expect(clippy::disallowed_methods, reason = "this is the daemon's start, one of the places that may")]
    let mut command = std::process::Command::new("/proc/self/exe");
    command
        .arg0("corten")
        .args(["daemon", "--background", "--exec-root"])
        .arg(&roots.exec_root)
        .arg("--data-root")
        .arg(&roots.data_root)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?)
        .spawn()
}

/// The error says how the daemon ended, or that it still has not come up.
fn wait_until_it_listens(socket: &Path, mut daemon: Child) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Looked at before the socket: a daemon that another one beat to it ends, and the socket answers all the same.
        let ended = daemon.try_wait().map_err(|error| error.to_string())?;
        if UnixStream::connect(socket).is_ok() {
            return Ok(());
        }
        if let Some(status) = ended {
            return Err(format!("it ended with {status}"));
        }
        if Instant::now() > deadline {
            return Err(format!("it does not listen on {} after {} s", socket.display(), PATIENCE.as_secs()));
        }
        std::thread::sleep(INTERVAL);
    }
}

/// The last line that the daemon wrote after byte `from` and that is not a hint (hints are indented).
fn last_message(log: &Path, from: u64) -> Option<String> {
    let mut file = File::open(log).ok()?;
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut said = Vec::new();
    file.take(64 * 1024).read_to_end(&mut said).ok()?;
    message_in(&String::from_utf8_lossy(&said))
}

fn message_in(said: &str) -> Option<String> {
    let line = said.lines().rfind(|line| !line.trim().is_empty() && !line.starts_with(' '))?;
    Some(line.strip_prefix("corten: ").unwrap_or(line).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_message_is_the_error_without_its_hint() {
        let said = "listening\ncorten: the disk is full\n  make room\n\n";
        assert_eq!(message_in(said).as_deref(), Some("the disk is full"));
        assert_eq!(message_in("\n  only a hint\n"), None);
    }
}
