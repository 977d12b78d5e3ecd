// SPDX-License-Identifier: Apache-2.0
//! One run of a command line, with what it printed, its exit code and its time.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// No command of a test takes longer unless it says so: a hang must end as a failure with a name.
const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test: `corten` beside the directory of the running test, or on PATH in the vm lane's machine.
///
/// # Panics
/// When it has not been built.
pub fn binary() -> PathBuf {
    let own = std::env::current_exe().expect("/proc");
    for directory in own.ancestors().skip(1).take(2) {
        let candidate = directory.join("corten");
        if candidate.is_file() {
            return candidate;
        }
    }
    let installed = Path::new("/bin/corten");
    assert!(installed.is_file(), "no corten binary beside {}: run cargo xtask build", own.display());
    installed.to_owned()
}

/// What a finished command left.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The arguments it had.
    pub arguments: Vec<String>,
    /// Its exit code; 128+n when a signal ended it.
    pub code: i32,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
    /// From its start to the end of its output.
    pub took: Duration,
}

impl Finished {
    /// The same, when it succeeded.
    ///
    /// # Panics
    /// When it did not, with everything it said.
    #[track_caller]
    pub fn ok(self) -> Finished {
        assert_eq!(self.code, 0, "{self}");
        self
    }

    /// The same, when it failed with this exit code and said so in one clear error.
    ///
    /// # Panics
    /// When it ended otherwise, or its error names none of a message, or shows a panic or a Rust value.
    #[track_caller]
    pub fn fails(self, code: i32) -> Finished {
        assert_eq!(self.code, code, "{self}");
        assert!(!self.stderr.trim().is_empty(), "it failed without a word\n{self}");
        for ugly in ["panicked at", "RUST_BACKTRACE", "Os {", "Error {", "Some("] {
            assert!(!self.stderr.contains(ugly), "the error is not for a user\n{self}");
        }
        self
    }

    /// The same, when the error says this (case does not matter).
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn saying(self, words: &str) -> Finished {
        assert!(self.stderr.to_lowercase().contains(&words.to_lowercase()), "the error does not say {words:?}\n{self}");
        self
    }

    /// Its standard output without the newline at its end.
    pub fn text(&self) -> &str {
        self.stdout.trim_end_matches('\n')
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Finished { arguments, code, stdout, stderr, took } = self;
        write!(f, "{}: exit {code} after {took:.1?}\nstdout: {stdout}\nstderr: {stderr}", arguments.join(" "))
    }
}

/// A command that runs.
pub struct Running {
    arguments: Vec<String>,
    child: Child,
    begun: Instant,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

impl Running {
    /// Starts it, with pipes for its three streams; `input` is written to the first, which is then closed.
    ///
    /// # Panics
    /// When there is no such program.
    pub fn start(mut command: Command, input: Vec<u8>) -> Running {
        let arguments = command.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
        let begun = Instant::now();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut stdin = child.stdin.take();
        std::thread::spawn(move || {
            // It may end without reading its input: that is its right.
            let _ = stdin.take().map(|mut pipe| pipe.write_all(&input));
        });
        let stdout = child.stdout.take().map(drain);
        let stderr = child.stderr.take().map(drain);
        Running { arguments, child, begun, stdout, stderr }
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("process ids fit")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid()).expect("a process id is positive");
        rustix::process::kill_process(pid, signal).expect("the command still runs");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time; it is killed then.
    #[track_caller]
    pub fn wait(self) -> Finished {
        self.wait_for(PATIENCE)
    }

    /// Waits for its end, this long at most.
    ///
    /// # Panics
    /// When it does not end in time; it is killed then.
    #[track_caller]
    pub fn wait_for(mut self, patience: Duration) -> Finished {
        let status = loop {
            match self.child.try_wait().expect("our own child") {
                Some(status) => break Some(status),
                None if self.begun.elapsed() > patience => break None,
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        if status.is_none() {
            self.child.kill().expect("our own child");
            self.child.wait().expect("our own child");
        }
        let text = |handle: Option<JoinHandle<Vec<u8>>>| {
            let bytes = handle.and_then(|handle| handle.join().ok()).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let finished = Finished {
            code: status.map_or(-1, exit_code),
            stdout: text(self.stdout.take()),
            stderr: text(self.stderr.take()),
            took: self.begun.elapsed(),
            arguments: self.arguments,
        };
        assert!(status.is_some(), "did not end within {patience:?}\n{finished}");
        finished
    }
}

/// The exit code a shell would show.
pub(crate) fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn drain(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // A read error ends the output; the exit code tells the rest.
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}
