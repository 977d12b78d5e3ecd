// SPDX-License-Identifier: Apache-2.0
//! A daemon of a test's own, in its own sandbox, directories and cgroup. When it is dropped it is stopped, and nothing
//! may be left of it.

use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, mount};
use rustix::process::{Pid, Signal, kill_process};

use crate::corten::{Finished, Running, binary};
use crate::internet::Internet;
use crate::leftovers;
use crate::sandbox::Sandbox;
use crate::terminal::Terminal;

/// A daemon starts in milliseconds; a loaded machine is forgiven.
const START: Duration = Duration::from_secs(60);
/// More prepared network namespaces, each with its cable, no daemon keeps: four, and what was given back meanwhile.
const POOL: usize = 6;
/// What is torn down behind the caller's back must be gone by then.
const TEARDOWN: Duration = Duration::from_secs(30);

/// A daemon to be started.
#[derive(Default)]
pub struct Builder {
    arguments: Vec<String>,
    data_size: Option<u64>,
    internet: bool,
    etc: Vec<(String, String)>,
    disk: bool,
    run_in_memory: bool,
}

impl Builder {
    /// One more argument for `corten daemon`.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Builder {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Keeps its data on a file system of this many bytes, to see what happens when that is full.
    #[must_use]
    pub fn data_size(mut self, bytes: u64) -> Builder {
        self.data_size = Some(bytes);
        self
    }

    /// Connects its host to a network beyond, with names and the distribution's mirrors.
    #[must_use]
    pub fn internet(mut self) -> Builder {
        self.internet = true;
        self
    }

    /// Keeps its data on a disk, which is in a file, where this machine's root is none: ext4, made by mke2fs.
    #[must_use]
    pub fn disk(mut self) -> Builder {
        self.disk = true;
        self
    }

    /// Keeps in memory what does not outlive a boot, as hosts do, whose `/run` is a tmpfs; seen in its sandbox only.
    #[must_use]
    pub fn run_in_memory(mut self) -> Builder {
        self.run_in_memory = true;
        self
    }

    /// Gives its host this file in `/etc`, beside those of this machine.
    #[must_use]
    pub fn etc(mut self, name: &str, text: &str) -> Builder {
        self.etc.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// When it does not start, with its log.
    #[must_use]
    pub fn start(self) -> Daemon {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("corten-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = tempfile::Builder::new().prefix("corten-test-").tempdir().expect("a temporary directory");
        let sandbox = Sandbox::new();
        if let Some(bytes) = self.data_size {
            let data = directory.path().join("data");
            std::fs::create_dir(&data).expect("a directory");
            let options = std::ffi::CString::new(format!("size={bytes}")).expect("no NUL");
            sandbox.run(move || {
                mount("tmpfs", &data, "tmpfs", MountFlags::empty(), Some(options.as_c_str())).expect("a tmpfs");
            });
        }
        if self.run_in_memory {
            mount_in_memory(&sandbox, directory.path().join("exec"));
        }
        if self.disk {
            mount_disk(&sandbox, directory.path());
        }
        if !self.etc.is_empty() {
            cover_etc(&sandbox, directory.path(), self.etc);
        }
        let internet = self.internet.then(|| Internet::connect(&sandbox, directory.path()));
        let mut arguments = self.arguments;
        // How full this machine's own disk is decides nothing in a test.
        if self.data_size.is_none() && !arguments.iter().any(|argument| argument.starts_with("--gc-threshold")) {
            arguments.push("--gc-threshold=0".to_owned());
        }
        let daemon = Daemon {
            mounts: sandbox.mounts(),
            interfaces: sandbox.interfaces(),
            sandbox,
            internet,
            directory: Some(directory),
            cgroup: format!("/{name}"),
            arguments,
            process: Mutex::new(None),
        };
        daemon.start();
        daemon
    }
}

/// Mounts a tmpfs in a new directory of the sandbox.
pub(crate) fn mount_in_memory(sandbox: &Sandbox, directory: PathBuf) {
    std::fs::create_dir(&directory).expect("a directory");
    sandbox.run(move || mount("tmpfs", &directory, "tmpfs", MountFlags::empty(), None).expect("a tmpfs"));
}

/// Mounts a new file system for the daemon's data.
fn mount_disk(sandbox: &Sandbox, directory: &Path) {
    let (data, file) = (directory.join("data"), directory.join("disk"));
    std::fs::create_dir(&data).expect("a directory");
    std::fs::File::create(&file).and_then(|file| file.set_len(256 << 20)).expect("a file");
    sandbox.run(move || {
        for (program, arguments) in [("mke2fs", &["-q", "-F"][..]), ("mount", &["-t", "ext4", "-o", "loop"])] {
            let mut command = crate::process::command(program);
            command.args(arguments).arg(&file);
            if program == "mount" {
                command.arg(&data);
            }
            let output = command.output().expect("it is installed");
            assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        }
    });
}

/// Mounts over the sandbox's `/etc` what is there and these files.
fn cover_etc(sandbox: &Sandbox, directory: &Path, files: Vec<(String, String)>) {
    let (upper, work) = (directory.join("etc"), directory.join("etc-work"));
    for directory in [&upper, &work] {
        std::fs::create_dir(directory).expect("a directory");
    }
    for (name, text) in files {
        std::fs::write(upper.join(name), text).expect("a file");
    }
    let options = format!("lowerdir=/etc,upperdir={},workdir={}", upper.display(), work.display());
    let options = std::ffi::CString::new(options).expect("no NUL");
    sandbox.run(move || {
        mount("overlay", "/etc", "overlay", MountFlags::empty(), Some(options.as_c_str())).expect("an overlay");
    });
}

/// A running daemon.
pub struct Daemon {
    sandbox: Sandbox,
    internet: Option<Internet>,
    directory: Option<tempfile::TempDir>,
    cgroup: String,
    arguments: Vec<String>,
    process: Mutex<Option<Child>>,
    mounts: Vec<String>,
    interfaces: Vec<String>,
}

impl Daemon {
    /// A daemon to be configured.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A daemon with the defaults, and the `busybox` image imported.
    #[must_use]
    pub fn with_busybox() -> Daemon {
        let daemon = Daemon::builder().start();
        daemon.import_busybox();
        daemon
    }

    /// Imports the busybox root as `busybox`.
    pub fn import_busybox(&self) {
        let tar = self.path().join("busybox.tar");
        crate::fixtures::busybox::write(&tar);
        self.ok(&["import", &tar.to_string_lossy(), "busybox"]);
    }

    /// Starts the daemon (again) and waits until it answers.
    ///
    /// # Panics
    /// When it does not, with its log.
    pub fn start(&self) {
        let mut command = self.command();
        let log = std::fs::File::options().create(true).append(true).open(self.log_path()).expect("a log");
        command.stdout(Stdio::from(log.try_clone().expect("a descriptor"))).stderr(Stdio::from(log));
        let child = self.sandbox.run(move || command.spawn().expect("the binary starts"));
        *self.process() = Some(child);
        let begun = Instant::now();
        while UnixStream::connect(self.socket()).is_err() {
            let ended = self.process().as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                *self.process() = None;
                panic!("the daemon ended with {status}:\n{}", self.log());
            }
            assert!(begun.elapsed() < START, "the daemon does not answer:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What [`Daemon::start`] starts, in its sandbox.
    pub fn command(&self) -> Command {
        let mut command = crate::process::command(binary());
        // No program but its own may be needed at run time.
        command.arg("daemon").env("PATH", "/nonexistent").stdin(Stdio::null());
        for (flag, name) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
            command.arg(flag).arg(self.path().join(name));
        }
        command.args(["-H", &self.host(), "--cgroup-parent", &self.cgroup]).args(&self.arguments);
        command
    }

    /// The directory that everything of this daemon is in.
    pub fn path(&self) -> &Path {
        self.directory.as_ref().expect("it lives until it is dropped").path()
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.path().join("s.sock")
    }

    /// Its address, as `-H` takes it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Its cgroup parent, an absolute path in each hierarchy.
    pub fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// Its namespaces.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// The network beyond its host's.
    ///
    /// # Panics
    /// When it was built without one.
    pub fn internet(&self) -> &Internet {
        self.internet.as_ref().expect("a daemon built with an internet")
    }

    /// What the daemon has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.path().join("daemon.log")
    }

    fn process(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it is not running.
    pub fn pid(&self) -> i32 {
        let process = self.process();
        i32::try_from(process.as_ref().expect("the daemon runs").id()).expect("process ids fit")
    }

    /// Its process id while it runs.
    pub(crate) fn running_pid(&self) -> Option<i32> {
        self.process().as_ref().and_then(|child| i32::try_from(child.id()).ok())
    }

    /// Kills the daemon with SIGKILL and nothing else with it.
    pub fn kill(&self) {
        let mut child = self.process().take().expect("the daemon runs");
        child.kill().expect("our own child");
        child.wait().expect("our own child");
    }

    /// Asks the daemon to end and waits until it has.
    ///
    /// # Panics
    /// When it does not, with its log.
    pub fn stop(&self) {
        let Some(mut child) = self.process().take() else { return };
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("process ids fit")).expect("it is positive");
        // It may have ended on its own: then the wait below says how.
        let _ = kill_process(pid, Signal::TERM);
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("our own child") {
                assert!(status.success(), "the daemon ended with {status}:\n{}", self.log());
                return;
            }
            if begun.elapsed() > TEARDOWN {
                child.kill().expect("our own child");
                child.wait().expect("our own child");
                panic!("the daemon did not end when asked:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts `corten` with these arguments, this input and these variables, in the sandbox.
    pub fn spawn_with(&self, arguments: &[&str], input: &[u8], variables: &[(&str, &str)]) -> Running {
        let mut command = crate::process::command(binary());
        command.args(arguments).env("CORTEN_HOST", self.host()).envs(variables.iter().copied());
        let input = input.to_vec();
        self.sandbox.run(move || Running::start(command, input))
    }

    /// Starts `corten` with these arguments and no input.
    pub fn spawn(&self, arguments: &[&str]) -> Running {
        self.spawn_with(arguments, b"", &[])
    }

    /// Runs `corten` with these arguments and no input to its end.
    #[track_caller]
    pub fn corten(&self, arguments: &[&str]) -> Finished {
        self.spawn(arguments).wait()
    }

    /// Runs `corten`, which must succeed, and gives its standard output without the newline at its end.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        self.corten(arguments).ok().text().to_owned()
    }

    /// Runs `corten`, which must fail with this exit code and a clear error.
    #[track_caller]
    pub fn fails(&self, arguments: &[&str], code: i32) -> Finished {
        self.corten(arguments).fails(code)
    }

    /// Runs `corten` in a terminal of this many rows and columns.
    pub fn terminal(&self, arguments: &[&str], rows: u16, columns: u16) -> Terminal {
        let mut command = crate::process::command(binary());
        command.args(arguments).env("CORTEN_HOST", self.host());
        Terminal::start(&self.sandbox, &command, rows, columns)
    }

    /// What `corten inspect NAME` says: the one object.
    #[track_caller]
    pub fn inspect(&self, name: &str) -> serde_json::Value {
        let text = self.ok(&["inspect", name]);
        let mut list: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        assert_eq!(list.len(), 1, "{text}");
        list.remove(0)
    }

    /// Everything of this daemon's that is still there and belongs to no container: mounts, links, tables, processes and
    /// cgroups, one per line.
    pub fn leftovers(&self) -> Vec<String> {
        let mut left = self.leftovers_beside_daemon();
        left.extend(self.links_and_tables());
        left
    }

    fn links_and_tables(&self) -> Vec<String> {
        let links = self.sandbox.interfaces().into_iter().filter(|link| !self.interfaces.contains(link));
        links.map(|link| format!("link {link}")).chain(self.sandbox.tables()).collect()
    }

    /// The network namespaces that the daemon holds ready, by descriptor alone.
    fn prepared_namespaces(&self) -> usize {
        let Some(pid) = self.running_pid() else { return 0 };
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().filter_map(Result::ok);
        let links = descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("net:[")).collect::<BTreeSet<_>>().len()
    }

    fn leftovers_beside_daemon(&self) -> Vec<String> {
        let mut left = Vec::new();
        let mounts = self.sandbox.mounts();
        left.extend(mounts.into_iter().filter(|m| !self.mounts.contains(m)).map(|m| format!("mount {m}")));
        left.extend(self.cgroups_of_containers().into_iter().map(|path| format!("cgroup {}", path.display())));
        left.extend(leftovers::processes_of(self).into_iter().map(|process| format!("process {process}")));
        let cables: Vec<String> =
            self.sandbox.interfaces().into_iter().filter(|link| link.starts_with("veth")).collect();
        if cables.len() > self.prepared_namespaces().min(POOL) {
            left.extend(cables.into_iter().map(|link| format!("link {link}")));
        }
        left
    }

    /// The cgroups of containers in every hierarchy, without those that were made ahead.
    pub fn cgroups_of_containers(&self) -> Vec<PathBuf> {
        let ahead = self.made_ahead();
        let mut cgroups = leftovers::cgroups_below(&self.cgroup);
        cgroups.retain(|path| !ahead.iter().any(|id| path.ends_with(id)));
        cgroups
    }

    /// The ids for which a running daemon has made things ahead: their shims' directories are there, and empty. There is one
    /// for the next container, and there may be one for the container that was created last; more of them are leftovers.
    pub fn made_ahead(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path().join("exec/shims")) else { return Vec::new() };
        let is_empty = |path: PathBuf| std::fs::read_dir(path).is_ok_and(|mut inside| inside.next().is_none());
        let empty = entries.filter_map(Result::ok).filter(|entry| is_empty(entry.path()));
        let ids: Vec<String> = empty.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        if self.running_pid().is_none() || ids.len() > 2 { Vec::new() } else { ids }
    }

    /// Waits until no container has left anything: no mount, cgroup below the parent, process or veth. The daemon may run.
    ///
    /// # Panics
    /// When something stays, with its name.
    #[track_caller]
    pub fn assert_no_container_left(&self) {
        self.wait_until_empty("containers", Daemon::leftovers_beside_daemon);
    }

    #[track_caller]
    fn wait_until_empty(&self, of: &str, left: impl Fn(&Daemon) -> Vec<String>) {
        let begun = Instant::now();
        loop {
            let left = left(self);
            if left.is_empty() {
                return;
            }
            assert!(
                begun.elapsed() < TEARDOWN,
                "left of the {of}:\n{}\nthe daemon's log:\n{}",
                left.join("\n"),
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Removes every container, stops the daemon, and fails when anything is left.
    fn close(&self) {
        if self.process().is_none() {
            self.start();
        }
        let all = self.ok(&["ps", "-aq"]);
        let mut remove = vec!["rm", "-f"];
        remove.extend(all.split_whitespace());
        if remove.len() > 2 {
            self.ok(&remove);
        }
        self.stop();
        self.wait_until_empty("daemon", Daemon::leftovers);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let closed = if std::thread::panicking() {
            // The first failure is the one to read; this daemon only has to go.
            eprint_log(&self.log());
            Err(None)
        } else {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.close())).map_err(Some)
        };
        if let Some(mut child) = self.process().take() {
            // It may have ended on its own.
            let _ = child.kill();
            let _ = child.wait();
        }
        leftovers::end_processes_of(self);
        leftovers::remove_cgroups(&self.cgroup);
        if let Err(Some(panic)) = closed {
            std::panic::resume_unwind(panic);
        }
    }
}

#[allow(clippy::print_stderr, reason = "a failed test shows its daemon's log")]
fn eprint_log(log: &str) {
    let lines: Vec<&str> = log.lines().collect();
    let last = &lines[lines.len().saturating_sub(30)..];
    eprintln!("the daemon's log, its last lines:\n{}", last.join("\n"));
}
