// SPDX-License-Identifier: Apache-2.0
//! How a probe is made: a process more in the container, which is not let run longer than its time.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use shim::ProcessRef;
use shim::frame::Kind;
use std::os::fd::AsFd;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::check::HealthTest;
use super::network::{HttpRequest, connect_to, has_file};
use crate::Engine;
use crate::answer;
use crate::container::{Container, Record, Running};
use crate::exec::Executed;
use crate::frames;
use crate::request::ExecSpec;

/// So much of what a probe writes is kept, in bytes; Docker's number.
const OUTPUT_LIMIT: usize = 4096;
/// How long the end of a killed process is waited for.
const KILL_GRACE: Duration = Duration::from_secs(10);
/// What executes a line where the image does not say.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];
/// The exit code of a probe that could not be made, or took too long; Docker's.
const NO_CODE: i32 = -1;

/// What is tried, with all that it needs of the container's record.
pub(super) enum Trial {
    /// This command succeeds.
    Command(Vec<String>),
    /// This request is answered well.
    Http(String, Running),
    /// Somebody listens at this port.
    Tcp(u16, Running),
    /// There is this file.
    File(String, Running),
}

impl Trial {
    pub(super) fn of(record: &Record, running: &Running, test: &HealthTest) -> Trial {
        let shell = || match record.process.shell.as_slice() {
            [] => SHELL.map(str::to_owned).to_vec(),
            own => own.to_vec(),
        };
        match test {
            // Whoever asks has looked that something is tried; a command that is none fails.
            HealthTest::None => Trial::Command(Vec::new()),
            HealthTest::Command(command) => Trial::Command(command.clone()),
            HealthTest::Shell(line) => Trial::Command([shell(), line.clone()].concat()),
            HealthTest::Http(request) => Trial::Http(request.clone(), running.clone()),
            HealthTest::Tcp(port) => Trial::Tcp(*port, running.clone()),
            HealthTest::File(path) => Trial::File(path.clone(), running.clone()),
        }
    }
}

/// The beginning of what a process writes.
#[derive(Default)]
struct Output {
    kept: Vec<u8>,
    cut: bool,
}

impl Output {
    fn take(&mut self, bytes: &[u8]) {
        let room = OUTPUT_LIMIT - self.kept.len();
        self.cut |= bytes.len() > room;
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.kept);
        if self.cut { format!("{text}...") } else { text.into_owned() }
    }
}

impl Engine {
    /// The exit code of a probe, and what is to be said of it.
    pub(super) async fn try_out(
        self: &Arc<Self>,
        container: &Arc<Container>,
        trial: Trial,
        limit: Duration,
    ) -> (i32, String) {
        match trial {
            Trial::Command(command) => self.try_command(container, command, limit).await,
            Trial::Http(request, running) => {
                in_time(limit, async { HttpRequest::parse(&request)?.ask(&running).await }).await
            }
            Trial::Tcp(port, running) => {
                in_time(limit, async { Ok((true, connect_to(&running, None, port).await.map(|_| String::new())?)) })
                    .await
            }
            Trial::File(path, running) => {
                // Of a file system of the container's own that hangs no more threads wait than are given up.
                let look = move || answer::in_time("the file", move || has_file(&running, &path));
                let looked = tokio::task::spawn_blocking(move || look().unwrap_or_else(|e| Err(errors::chain(&e))));
                let looked = async { looked.await.map_err(|_| "the daemon's worker panicked".to_owned())? };
                in_time(limit, async { looked.await.map(|()| (true, String::new())) }).await
            }
        }
    }

    async fn try_command(
        self: &Arc<Self>,
        container: &Arc<Container>,
        command: Vec<String>,
        limit: Duration,
    ) -> (i32, String) {
        let until = Instant::now() + limit;
        let spec = ExecSpec { command, ..ExecSpec::default() };
        let id = match self.exec_create(container.id.as_str(), spec) {
            Ok(id) => id,
            Err(error) => return (NO_CODE, errors::chain(&error)),
        };
        let result = match timeout_at(until, self.exec_launch(&id)).await {
            Ok(Ok(executed)) => self.follow(executed, &id, until, limit).await,
            Ok(Err(error)) => (NO_CODE, errors::chain(&error)),
            Err(_) => (NO_CODE, too_long(limit)),
        };
        self.exec_forget(&container.id, &id);
        result
    }

    /// Reads what a probe's process writes until its end, and ends it when its time is up.
    async fn follow(&self, executed: Executed, id: &str, until: Instant, limit: Duration) -> (i32, String) {
        let Executed { container, state, mut stream, process, .. } = executed;
        let mut output = Output::default();
        let (ended, in_time) = match timeout_at(until, end(&mut stream, &mut output)).await {
            Ok(ended) => (ended, true),
            Err(_) => {
                if let Err(error) = kill(&process) {
                    tracing::warn!(exec = id, error, "cannot kill a health check that takes too long");
                }
                (timeout(KILL_GRACE, end(&mut stream, &mut output)).await.ok().flatten(), false)
            }
        };
        if let Some(code) = ended {
            state.lock().unwrap_or_else(PoisonError::into_inner).end(code);
            container.tell("exec_die", [("execID", id.to_owned()), ("exitCode", code.to_string())]);
        }
        match (ended, in_time) {
            (Some(code), true) => (code, output.text()),
            (None, true) => (NO_CODE, "the container ended before its health check did".to_owned()),
            (_, false) if output.kept.is_empty() => (NO_CODE, too_long(limit)),
            (_, false) => (NO_CODE, format!("{}: {}", too_long(limit), output.text())),
        }
    }
}

/// What a probe without a process has found out: whether all is well, and what is to be said.
async fn in_time(limit: Duration, probe: impl Future<Output = Result<(bool, String), String>>) -> (i32, String) {
    match timeout(limit, probe).await {
        Ok(Ok((is_well, output))) => (i32::from(!is_well), output),
        Ok(Err(problem)) => (1, problem),
        Err(_) => (NO_CODE, too_long(limit)),
    }
}

fn too_long(limit: Duration) -> String {
    format!("Health check exceeded timeout ({limit:?})")
}

/// The exit code of the process whose frames these are; `None` when they break off.
async fn end(stream: &mut UnixStream, output: &mut Output) -> Option<i32> {
    loop {
        match frames::read_raw(stream).await.ok()? {
            (Kind::Stdout | Kind::Stderr, bytes) => output.take(&bytes),
            (Kind::Exited, payload) => return Some(serde_json::from_slice::<shim::Exit>(&payload).ok()?.code),
            _ => {}
        }
    }
}

/// Sends SIGKILL to a process that may have ended.
fn kill(process: &ProcessRef) -> Result<(), String> {
    let Some(pidfd) = process.open().map_err(|error| error.to_string())? else { return Ok(()) };
    match sys::process::pidfd_send_signal(pidfd.as_fd(), rustix::process::Signal::KILL.as_raw()) {
        Err(error) if error.errno() != rustix::io::Errno::SRCH => Err(error.to_string()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_the_output_is_kept_and_a_cut_is_seen() {
        let mut output = Output::default();
        output.take(&[b'a'; OUTPUT_LIMIT - 1]);
        output.take(b"b");
        assert!(output.text().ends_with("ab"));
        output.take(b"");
        assert!(!output.cut);
        output.take(b"c");
        assert_eq!(output.text().len(), OUTPUT_LIMIT + 3);
        assert!(output.text().ends_with("ab..."));
    }
}
