// SPDX-License-Identifier: Apache-2.0
//! A network and a mount namespace of a test's own.
//!
//! A namespace belongs to a thread before it belongs to a process. The sandbox is a thread that has unshared itself and
//! then does what it is asked: a program it starts is born inside.

use std::sync::Mutex;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountPropagationFlags, mount_change};

type Job = Box<dyn FnOnce() + Send>;

/// A thread in namespaces of its own. They end when it does and no process is left in them.
pub struct Sandbox {
    jobs: Option<Mutex<Sender<Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Sandbox {
    /// New, empty namespaces: loopback is up, mounts are the host's, and nothing propagates back.
    ///
    /// # Panics
    /// When this process may not make namespaces: these tests need root.
    pub fn new() -> Sandbox {
        let (jobs, queue) = mpsc::channel::<Job>();
        let thread = std::thread::spawn(move || {
            for job in queue {
                job();
            }
        });
        let sandbox = Sandbox { jobs: Some(Mutex::new(jobs)), thread: Some(thread) };
        sandbox.run(|| {
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).expect("namespaces: these tests run as root");
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).expect("private mounts");
            ip(&["link", "set", "lo", "up"]);
        });
        sandbox
    }

    /// Runs `work` inside and gives back what it answers. A panic inside is a panic here.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer, answered) = mpsc::sync_channel(1);
        let job: Job = Box::new(move || {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // Nobody listens any more only when the asking thread has died.
            let _ = answer.send(outcome);
        });
        let jobs = self.jobs.as_ref().expect("the sandbox lives until it is dropped");
        jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).send(job).expect("the sandbox's thread lives");
        match answered.recv().expect("the sandbox's thread answers") {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// The network interfaces inside, sorted.
    pub fn interfaces(&self) -> Vec<String> {
        self.run(|| {
            let table = std::fs::read_to_string("/proc/thread-self/net/dev").expect("/proc");
            let mut names: Vec<String> = table
                .lines()
                .skip(2)
                .filter_map(|line| line.split_once(':').map(|(name, _)| name.trim().to_owned()))
                .collect();
            names.sort();
            names
        })
    }

    /// The mount points inside, in mount order.
    pub fn mounts(&self) -> Vec<String> {
        self.run(|| mount_points("/proc/thread-self/mountinfo"))
    }

    /// The nf_tables tables inside, as `nft` lists them. Empty where there is no `nft` (the vm lane's machine).
    pub fn tables(&self) -> Vec<String> {
        self.run(|| match crate::process::command("nft").args(["list", "tables"]).output() {
            Ok(output) => {
                assert!(output.status.success(), "nft list tables: {}", String::from_utf8_lossy(&output.stderr));
                String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => panic!("nft: {error}"),
        })
    }

    /// The names (inode numbers) of its network and mount namespaces, as `/proc/PID/ns/*` links to them.
    pub fn namespaces(&self) -> [std::path::PathBuf; 2] {
        self.run(|| {
            ["net", "mnt"].map(|kind| std::fs::read_link(format!("/proc/thread-self/ns/{kind}")).expect("/proc"))
        })
    }
}

impl Default for Sandbox {
    fn default() -> Sandbox {
        Sandbox::new()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // Its jobs answered for their own panics already.
            let _ = thread.join();
        }
    }
}

/// The mount points in a mountinfo file: proc(5), field 5.
pub fn mount_points(mountinfo: &str) -> Vec<String> {
    let table = std::fs::read_to_string(mountinfo).expect("/proc");
    table.lines().filter_map(|line| line.split(' ').nth(4)).map(str::to_owned).collect()
}

/// Runs `ip` in the calling thread's network namespace; panics when it fails.
pub fn ip(arguments: &[&str]) {
    let output = crate::process::command("ip").args(arguments).output().expect("ip is there");
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_done_inside_is_seen_outside() {
        let before = mount_points("/proc/self/mountinfo").len();
        let sandbox = Sandbox::new();
        sandbox.run(|| {
            ip(&["link", "add", "here0", "type", "bridge"]);
            rustix::mount::mount("tmpfs", "/mnt", "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
        });
        assert!(sandbox.interfaces().contains(&"here0".to_owned()));
        assert!(sandbox.mounts().contains(&"/mnt".to_owned()));
        assert!(!std::fs::read_to_string("/proc/self/net/dev").unwrap().contains("here0"));
        assert_eq!(mount_points("/proc/self/mountinfo").len(), before);
    }
}
