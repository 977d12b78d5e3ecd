// SPDX-License-Identifier: Apache-2.0
//! What a container can see and do, looked at from inside and from outside.

use std::fs;

use testkit::Daemon;

/// The kinds of namespaces that are a container's own.
const KINDS: [&str; 6] = ["pid", "mnt", "uts", "ipc", "net", "cgroup"];

/// Docker's default capabilities: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE,
/// NET_RAW, SYS_CHROOT, MKNOD, AUDIT_WRITE, SETFCAP.
const DEFAULT_CAPABILITIES: u64 = 0x0000_0000_a804_25fb;
const NET_ADMIN: u64 = 1 << 12;
const NET_RAW: u64 = 1 << 13;

/// The host's process id of a container's command.
pub fn pid(daemon: &Daemon, name: &str) -> i64 {
    let state = &daemon.inspect(name)["State"];
    state["Pid"].as_i64().filter(|pid| *pid > 0).unwrap_or_else(|| panic!("{name} does not run: {state}"))
}

/// A line of `/proc/PID/status`, read from outside.
pub fn status(pid: i64, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {key} in\n{text}")).trim().to_owned()
}

fn capabilities(pid: i64, set: &str) -> u64 {
    u64::from_str_radix(&status(pid, set), 16).expect("hexadecimal")
}

/// Each namespace is another one than the daemon's, and is the one the command sees itself in.
pub fn every_namespace_is_its_own() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "own", "--hostname", "inside", "busybox", "sleep", "60"]);
    let pid = pid(&daemon, "own");
    for kind in KINDS {
        let outside = fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("it lives");
        let daemons = fs::read_link(format!("/proc/{}/ns/{kind}", daemon.pid())).expect("it lives");
        assert_ne!(outside, daemons, "the {kind} namespace is the daemon's");
        let inside = daemon.ok(&["exec", "own", "readlink", &format!("/proc/self/ns/{kind}")]);
        assert_eq!(inside, outside.to_string_lossy(), "the {kind} namespace differs by who looks");
    }
    assert_eq!(daemon.ok(&["exec", "own", "hostname"]), "inside");
    assert!(daemon.ok(&["exec", "own", "cat", "/proc/self/cgroup"]).lines().all(|line| line.ends_with(":/")));
    let outside = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it lives");
    assert!(outside.contains(daemon.cgroup()), "it is not below the parent: {outside}");
    let mounts = daemon.ok(&["exec", "own", "cat", "/proc/self/mountinfo"]);
    let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).expect("a root");
    assert!(root.contains(" - overlay "), "{root}");
    assert!(!daemon.ok(&["exec", "own", "ls", "/"]).contains("boot"), "the host's root is seen");
}

/// Inside it is process 1 and sees only its own; outside it has another id, and the daemon is not its parent.
pub fn the_command_is_process_one_and_sees_no_other() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "first", "busybox", "sleep", "61"]);
    let pid = pid(&daemon, "first");
    assert_eq!(status(pid, "NSpid"), format!("{pid}\t1"));
    let seen = daemon.ok(&["exec", "first", "sh", "-c", "ls /proc | grep -c '^[0-9]*$'; cat /proc/1/cmdline"]);
    let (count, command) = seen.split_once('\n').expect("two lines");
    assert!(count.parse::<u32>().expect("a number") <= 4, "it sees others: {seen}");
    assert_eq!(command.trim_end_matches('\0'), "sleep\u{0}61");
    let parent = testkit::leftovers::parent(i32::try_from(pid).expect("an id")).expect("it lives");
    assert_ne!(parent, daemon.pid(), "it would die with the daemon");
}

/// Docker's set by default, what is added and dropped by name, and nothing for another user; the same seen from inside.
pub fn capabilities_are_dockers_default_set() {
    let daemon = Daemon::with_busybox();
    let start = |name: &str, flags: &[&str]| {
        let mut arguments = vec!["run", "-d", "--name", name];
        arguments.extend(flags);
        arguments.extend(["busybox", "sleep", "60"]);
        daemon.ok(&arguments);
        pid(&daemon, name)
    };
    let default = start("default", &[]);
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(capabilities(default, set), DEFAULT_CAPABILITIES, "{set}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(capabilities(default, set), 0, "{set}");
    }
    let inside = daemon.ok(&["exec", "default", "grep", "CapEff", "/proc/1/status"]);
    assert!(inside.ends_with(&format!("{DEFAULT_CAPABILITIES:016x}")), "{inside}");
    let changed = start("changed", &["--cap-add", "NET_ADMIN", "--cap-drop", "CAP_NET_RAW"]);
    assert_eq!(capabilities(changed, "CapEff"), DEFAULT_CAPABILITIES & !NET_RAW | NET_ADMIN);
    let none = start("none", &["--cap-drop", "ALL"]);
    assert_eq!((capabilities(none, "CapEff"), capabilities(none, "CapBnd")), (0, 0));
    let user = start("user", &["-u", "1000"]);
    assert_eq!((capabilities(user, "CapEff"), capabilities(user, "CapBnd")), (0, DEFAULT_CAPABILITIES));
}

/// The filter is installed, refuses what Docker's refuses, and can be turned off.
pub fn the_seccomp_filter_is_on_and_forbids() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "filtered", "busybox", "sleep", "60"]);
    daemon.ok(&["run", "-d", "--name", "free", "--security-opt", "seccomp=unconfined", "busybox", "sleep", "60"]);
    assert_eq!(status(pid(&daemon, "filtered"), "Seccomp"), "2");
    assert_eq!(status(pid(&daemon, "free"), "Seccomp"), "0");
    // So are the processes that come later; with capabilities of their own, under the same one.
    let later = ["grep", "Seccomp", "/proc/self/status"];
    let seen = |first: &[&str]| daemon.ok(&[first, &later[..]].concat());
    assert!(seen(&["exec", "filtered"]).starts_with("Seccomp:\t2"));
    assert!(seen(&["exec", "--privileged", "filtered"]).starts_with("Seccomp:\t2"));
    assert!(seen(&["exec", "free"]).starts_with("Seccomp:\t0"));
    // swapoff needs CAP_SYS_ADMIN, and is not among the calls that the profile gives to those who have it.
    let try_swapoff = |option: &str| {
        daemon.corten(&[
            "run",
            "--rm",
            "--cap-add",
            "SYS_ADMIN",
            "--security-opt",
            option,
            "busybox",
            "swapoff",
            "/none",
        ])
    };
    let refused = try_swapoff("no-new-privileges");
    assert!(refused.code != 0 && refused.stderr.contains("not permitted"), "{refused}");
    let free = try_swapoff("seccomp=unconfined");
    assert!(free.code != 0 && free.stderr.contains("No such file"), "{free}");
    // A new user namespace needs no capability: only the filter stands in the way.
    let refused = daemon.corten(&["exec", "filtered", "unshare", "-U", "true"]);
    assert!(refused.code != 0 && refused.stderr.contains("not permitted"), "{refused}");
    let privileges =
        ["run", "--rm", "--security-opt", "no-new-privileges", "busybox", "grep", "NoNewPrivs", "/proc/1/status"];
    assert!(daemon.ok(&privileges).ends_with('1'));
}

/// What Docker hides is hidden, what it makes read-only is, and the mounts say so from outside too.
pub fn kernel_paths_are_masked_and_read_only() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "masked", "--cap-add", "SYS_ADMIN", "busybox", "sleep", "60"]);
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", pid(&daemon, "masked"))).expect("it lives");
    let mounted = |path: &str| mounts.lines().rfind(move |line| line.split(' ').nth(4) == Some(path));
    for path in [
        "/proc/kcore",
        "/proc/keys",
        "/proc/timer_list",
        "/proc/sched_debug",
        "/proc/acpi",
        "/proc/scsi",
        "/sys/firmware",
    ] {
        if std::path::Path::new(path).exists() {
            assert!(mounted(path).is_some(), "{path} is not masked:\n{mounts}");
            let content = daemon.corten(&[
                "exec",
                "masked",
                "sh",
                "-c",
                &format!("head -c 10 {path} 2>/dev/null; ls {path} | grep -v '^{path}$'"),
            ]);
            assert_eq!(content.stdout, "", "{path} shows something");
        }
    }
    for path in ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"] {
        if std::path::Path::new(path).exists() {
            let line = mounted(path).unwrap_or_else(|| panic!("{path} is not a mount of its own:\n{mounts}"));
            assert!(line.split(' ').nth(5).is_some_and(|options| options.split(',').any(|o| o == "ro")), "{line}");
        }
    }
    let written = daemon.corten(&["exec", "masked", "sh", "-c", "echo x > /proc/sys/kernel/domainname"]);
    assert!(written.code != 0 && written.stderr.contains("Read-only file system"), "{written}");
    let made = daemon.corten(&["exec", "masked", "mkdir", "/sys/fs/cgroup/mine"]);
    assert!(made.code != 0, "cgroups can be made inside\n{made}");
}
