// SPDX-License-Identifier: Apache-2.0
//! The first process of the vm lane's machine: makes a small system, runs the checks, powers off.
#![allow(clippy::print_stdout, reason = "the serial console is how the machine speaks")]

use std::error::Error;
use std::ffi::CStr;
use std::path::Path;
use std::time::Instant;

use rustix::mount::{MountFlags, mount, mount_move};
use rustix::system::{RebootCommand, finit_module, reboot};

/// The argument with which the first process starts itself once more, to run the checks.
const CHECKS: &str = "checks";

fn main() {
    if std::env::args().any(|argument| argument == CHECKS) {
        return run_checks();
    }
    if let Err(error) = system().and_then(|()| reap_until_checked()) {
        println!("FAILED to make a system: {error}");
    }
    rustix::fs::sync();
    if let Err(error) = reboot(RebootCommand::PowerOff) {
        println!("cannot power off: {error}");
    }
}

/// A root that is a mount (the first one cannot be pivoted away from), and what every system has mounted.
fn system() -> Result<(), Box<dyn Error>> {
    std::fs::create_dir("/root.new")?;
    mount("tmpfs", "/root.new", "tmpfs", MountFlags::empty(), Some(c"mode=0755"))?;
    for directory in ["bin", "dev", "proc", "sys", "tmp", "etc", "run", "var", "var/lib", "root"] {
        std::fs::create_dir(Path::new("/root.new").join(directory))?;
    }
    for file in ["bin/corten", "bin/busybox"] {
        std::fs::copy(Path::new("/").join(file), Path::new("/root.new").join(file))?;
        std::fs::remove_file(Path::new("/").join(file))?;
    }
    install_programs(Path::new("/root.new"))?;
    std::fs::copy("/checks", "/root.new/etc/checks")?;
    load_modules()?;
    std::env::set_current_dir("/root.new")?;
    mount_move("/root.new", "/")?;
    rustix::process::chroot(".")?;
    std::env::set_current_dir("/")?;
    let mounts: [(&str, &str, &str, Option<&CStr>); 6] = [
        ("proc", "/proc", "proc", None),
        ("sysfs", "/sys", "sysfs", None),
        ("devtmpfs", "/dev", "devtmpfs", None),
        ("devpts", "/dev/pts", "devpts", Some(c"ptmxmode=0666")),
        ("tmpfs", "/dev/shm", "tmpfs", None),
        ("cgroup2", "/sys/fs/cgroup", "cgroup2", None),
    ];
    for (source, target, kind, data) in mounts {
        std::fs::create_dir_all(target)?;
        mount(source, target, kind, MountFlags::empty(), data).map_err(|error| format!("mount {target}: {error}"))?;
    }
    std::fs::write("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n")?;
    std::fs::write("/etc/group", "root:x:0:\nuser:x:1000:\n")?;
    for file in ["/etc/subuid", "/etc/subgid"] {
        std::fs::write(file, "user:100000:65536\n")?;
    }
    std::fs::write("/etc/resolv.conf", "nameserver 192.0.2.53\n")?;
    testkit::process::command("/bin/busybox").args(["--install", "-s", "/bin"]).status()?;
    testkit::process::command("/bin/busybox").args(["ip", "link", "set", "lo", "up"]).status()?;
    Ok(())
}

/// Runs the checks in a process of their own and meanwhile does a first process's duty: it buries the orphans.
fn reap_until_checked() -> Result<(), Box<dyn Error>> {
    let mut command = testkit::process::command("/proc/self/exe");
    let checks = command.arg(CHECKS).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").spawn()?;
    let checks = i32::try_from(checks.id())?;
    loop {
        if let Some((pid, _)) = rustix::process::wait(rustix::process::WaitOptions::empty())?
            && pid.as_raw_nonzero().get() == checks
        {
            return Ok(());
        }
    }
}

/// Puts each program and library of `/programs` in its place.
fn install_programs(root: &Path) -> Result<(), Box<dyn Error>> {
    for (number, place) in std::fs::read_to_string("/programs/places")?.lines().enumerate() {
        let (from, to) = (format!("/programs/{number}"), root.join(place.trim_start_matches('/')));
        std::fs::create_dir_all(to.parent().ok_or("a program has no directory")?)?;
        std::fs::copy(&from, to)?;
        std::fs::remove_file(from)?;
    }
    Ok(())
}

fn load_modules() -> Result<(), Box<dyn Error>> {
    for name in std::fs::read_to_string("/modules/order")?.lines() {
        let file = std::fs::File::open(format!("/modules/{name}.ko"))?;
        if let Err(error) = finit_module(&file, c"", 0) {
            println!("module {name}: {error}");
        }
        std::fs::remove_file(format!("/modules/{name}.ko"))?;
    }
    Ok(())
}

fn run_checks() {
    let (mut passed, mut failed) = (0, 0);
    let wanted = std::fs::read_to_string("/etc/checks").unwrap_or_default();
    let checks: &[&[end_to_end::Check]] = match wanted.as_str() {
        "cgroup-v2" => &[end_to_end::CHECKS_OF_THE_VM, end_to_end::CHECKS_ON_BOTH_CGROUP_VERSIONS],
        "podman" => &[end_to_end::CHECKS_OF_PODMAN],
        "criu" => &[end_to_end::CHECKS_WITH_CRIU],
        // Nothing passes then, which fails the lane.
        _ => &[],
    };
    for (name, check) in checks.iter().copied().flatten() {
        let begun = Instant::now();
        match std::panic::catch_unwind(check) {
            Ok(()) => {
                passed += 1;
                println!("ok {name} ({:.1} s)", begun.elapsed().as_secs_f64());
            }
            Err(panic) => {
                failed += 1;
                println!("FAILED {name}: {}", message(&*panic));
            }
        }
    }
    println!("vm result: {passed} passed; {failed} failed");
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").replace('\n', " | ")
}
