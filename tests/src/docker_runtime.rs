// SPDX-License-Identifier: Apache-2.0
//! Docker with two runtimes, runc and Corten, of which nobody may notice the difference.

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use testkit::Finished;
use testkit::docker::Docker;

/// The runtimes by the names that Docker knows them by.
pub const RUNTIMES: [&str; 2] = ["runc", "corten"];

/// A daemon that knows both, with the `busybox` image; `default` is the runtime of containers that name none, and of builds.
pub fn daemon(default: &str) -> Docker {
    let docker = Docker::start_with(|directory| {
        // The binary is an OCI runtime when it is called by this name.
        let runtime = directory.join("corten-oci");
        symlink(testkit::corten::binary(), &runtime).expect("a link");
        ["--add-runtime", &format!("corten={}", runtime.display()), "--default-runtime", default]
            .map(str::to_owned)
            .to_vec()
    })
    .unwrap_or_else(|error| panic!("{error}"));
    let tar = docker.path().join("busybox.tar");
    testkit::fixtures::busybox::write(&tar);
    docker.run(&["import", &tar.to_string_lossy(), "busybox"]).unwrap_or_else(|error| panic!("{error}"));
    docker
}

/// The same daemon, by one of its runtimes.
#[derive(Clone, Copy)]
pub struct Peer<'a> {
    /// The daemon.
    pub docker: &'a Docker,
    /// The runtime that its containers get.
    pub runtime: &'static str,
}

impl Peer<'_> {
    /// A name for a container that is the other runtime's nowhere.
    pub fn name(&self, name: &str) -> String {
        format!("{name}-{}", self.runtime)
    }

    /// `docker` with these arguments, to its end.
    #[track_caller]
    pub fn docker(&self, arguments: &[&str]) -> Finished {
        self.docker.finish(arguments, b"")
    }

    /// `docker`, which must succeed; its output.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        self.docker(arguments).ok().text().to_owned()
    }

    /// `docker run --rm` with these flags, of busybox with this command.
    #[track_caller]
    pub fn run(&self, flags: &[&str], command: &[&str]) -> Finished {
        self.run_with_input(flags, command, b"")
    }

    /// The same, with something to read.
    #[track_caller]
    pub fn run_with_input(&self, flags: &[&str], command: &[&str], input: &[u8]) -> Finished {
        let start = ["run", "--rm", "--runtime", self.runtime];
        self.docker.finish(&[&start, flags, &["busybox"], command].concat(), input)
    }

    /// What a script in a new container prints.
    #[track_caller]
    pub fn script(&self, flags: &[&str], script: &str) -> String {
        self.run(flags, &["sh", "-c", script]).ok().text().to_owned()
    }

    /// Starts a container in the background; its name.
    #[track_caller]
    pub fn start(&self, name: &str, flags: &[&str], command: &[&str]) -> String {
        let name = self.name(name);
        let start = ["run", "-d", "--runtime", self.runtime, "--name", &name];
        self.ok(&[&start, flags, &["busybox"], command].concat());
        name
    }

    /// What `docker inspect` says in this form.
    #[track_caller]
    pub fn inspect(&self, name: &str, form: &str) -> String {
        self.ok(&["inspect", "--format", form, name])
    }

    /// Waits until `docker inspect` says this.
    ///
    /// # Panics
    /// When it never does.
    #[track_caller]
    pub fn await_inspect(&self, name: &str, form: &str, expected: &str) {
        let begun = Instant::now();
        loop {
            let said = self.inspect(name, form);
            if said == expected {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{}: {form} of {name} stays {said:?}", self.runtime);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Looks at something by both runtimes; what is seen must be this.
///
/// # Panics
/// When a runtime shows something else, with both views.
#[track_caller]
pub fn both_show(docker: &Docker, what: &str, expected: &str, look: impl Fn(Peer<'_>) -> String) {
    let seen = RUNTIMES.map(|runtime| look(Peer { docker, runtime }));
    assert_eq!(seen[0], expected, "{what}, by runc (Corten shows {:?})", seen[1]);
    assert_eq!(seen[1], expected, "{what}, by Corten");
}

/// Looks at something by both runtimes and gives what both show.
///
/// # Panics
/// When they differ.
#[track_caller]
pub fn both_agree(docker: &Docker, what: &str, look: impl Fn(Peer<'_>) -> String) -> String {
    let [theirs, ours] = RUNTIMES.map(|runtime| look(Peer { docker, runtime }));
    assert_eq!(ours, theirs, "{what}: Corten (left) is not runc (right)");
    ours
}
