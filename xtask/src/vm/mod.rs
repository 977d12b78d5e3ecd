// SPDX-License-Identifier: Apache-2.0
//! The vm lane: the release binary in QEMU, in software emulation, with a pure cgroup v2 hierarchy.
//!
//! There are three machines, which differ in what is installed: the ordinary one; one with podman, which wants a pure v2
//! hierarchy, and runs its containers by Corten and by crun; and one with the distribution's CRIU, so that checkpoints are
//! tested on a kernel that this CRIU knows.
//!
//! A machine's first process is `vm_init` of the end-to-end tests: it mounts what a system has, runs its checks
//! through the command line, says on the serial console how each went, and powers the machine off.

mod cpio;
mod kernel;
mod programs;

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::summary::Tally;
use crate::{Outcome, cargo};

/// Kernel modules that Corten's features stand on, and what an ordinary system has loaded by the time somebody logs in.
const MODULES: &[&str] = &[
    "overlay",
    "erofs",
    "loop",
    "veth",
    "bridge",
    "br_netfilter",
    "tun",
    "nf_tables",
    "nft_chain_nat",
    "nft_nat",
    "nft_masq",
    "nft_redir",
    "nft_ct",
    "nft_fib",
    "nft_fib_ipv4",
    "nft_fib_ipv6",
    "nft_fib_inet",
    "nft_reject",
    "nft_reject_inet",
    "nft_limit",
    "nft_log",
    "nf_nat",
    "nf_conntrack",
    "crc32c_generic",
];

/// What gives a user ids of others, with the rights of root; and what makes a file system that can be shown with other ids,
/// as the machine's memory cannot be with its kernel.
const PROGRAMS: &[&str] = &["/usr/bin/newuidmap", "/usr/bin/newgidmap", "/usr/sbin/mke2fs"];

/// podman, what it starts, and the runtime that Corten is compared with.
const PODMAN: &[&str] = &["/usr/bin/podman", "/usr/bin/conmon", "/usr/bin/crun"];

/// What CRIU asks the kernel about sockets with, and what it locks a network with.
const CRIU_MODULES: &[&str] = &[
    "unix_diag",
    "inet_diag",
    "tcp_diag",
    "udp_diag",
    "raw_diag",
    "netlink_diag",
    "af_packet_diag",
    "nft_compat",
    "xt_mark",
    "nf_conntrack_netlink",
];

/// CRIU, and the programs it runs.
const CRIU_PROGRAMS: &[&str] =
    &["/usr/sbin/criu", "/bin/tar", "/usr/sbin/iptables-restore", "/usr/sbin/ip6tables-restore"];

/// What iptables loads by name.
const CRIU_FILES: &[&str] =
    &["/usr/lib/x86_64-linux-gnu/xtables/libxt_mark.so", "/usr/lib/x86_64-linux-gnu/xtables/libxt_standard.so"];

/// `S_ISUID` (inode(7)).
const SET_USER_ID: u32 = 0o4000;

/// One machine: what is in it beside the product, and which of the checks run there (`vm_init` knows the names).
struct Machine {
    checks: &'static str,
    modules: &'static [&'static str],
    programs: &'static [&'static str],
    files: &'static [&'static str],
}

const MACHINES: [Machine; 3] = [
    Machine { checks: "cgroup-v2", modules: &[], programs: PROGRAMS, files: &[] },
    Machine { checks: "podman", modules: &[], programs: PODMAN, files: &[] },
    Machine { checks: "criu", modules: CRIU_MODULES, programs: CRIU_PROGRAMS, files: CRIU_FILES },
];

/// Software emulation on a busy machine is slow; a machine that hangs must still end.
const DEADLINE: Duration = Duration::from_secs(600);

/// Boots the machines, one after the other, and reads their verdicts.
pub(crate) fn test(tally: &mut Tally) -> Outcome {
    let kernel = kernel::obtain()?;
    let mut failed = Vec::new();
    for machine in &MACHINES {
        println!("vm: the machine for {}", machine.checks);
        let initrd = initramfs(&kernel, machine)?;
        let lines = boot(&kernel.image, &initrd)?;
        failed.extend(verdict(&lines, tally).err().map(|error| format!("{}: {error}", machine.checks)));
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ").into()) }
}

fn initramfs(kernel: &kernel::Kernel, machine: &Machine) -> Result<PathBuf, Box<dyn Error>> {
    let release = cargo::release_directory()?;
    let mut archive = cpio::Archive::default();
    for directory in ["bin", "dev", "modules", "programs"] {
        archive.directory(directory);
    }
    archive.device("dev/console", 5, 1);
    archive.file("init", &read(&release.join("vm_init"))?);
    archive.file("checks", machine.checks.as_bytes());
    archive.file("bin/corten", &read(&release.join("corten"))?);
    archive.file("bin/busybox", &read(Path::new("/bin/busybox"))?);
    let mut order = String::new();
    for module in kernel.load_order(&[MODULES, machine.modules].concat())? {
        archive.file(&format!("modules/{}.ko", module.name), &module.bytes);
        order.push_str(&format!("{}\n", module.name));
    }
    archive.file("modules/order", order.as_bytes());
    let mut places = String::new();
    for (number, path) in programs::with_libraries(machine.programs, machine.files)?.iter().enumerate() {
        let (name, content) = (format!("programs/{number}"), read(path)?);
        match std::fs::metadata(path)?.mode() & SET_USER_ID {
            0 => archive.file(&name, &content),
            _ => archive.set_user_id(&name, &content),
        }
        places.push_str(&format!("{}\n", path.display()));
    }
    archive.file("programs/places", places.as_bytes());
    let path = cargo::root().join("target/fixtures/initramfs.cpio");
    std::fs::write(&path, archive.finish())?;
    Ok(path)
}

fn read(path: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()).into())
}

/// Runs the machine until it powers itself off, and gives back what it said.
fn boot(image: &Path, initrd: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let mut machine = testkit::process::command("qemu-system-x86_64")
        .args(["-accel", "tcg", "-cpu", "max", "-m", "1536", "-no-reboot", "-nodefaults", "-no-user-config"])
        .args(["-display", "none", "-serial", "stdio", "-nic", "none"])
        .args(["-append", "console=ttyS0 quiet panic=-1 cgroup_no_v1=all rdinit=/init"])
        .arg("-kernel")
        .arg(image)
        .arg("-initrd")
        .arg(initrd)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let console = machine.stdout.take().ok_or("no console")?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                break;
            }
        }
    });
    let end = Instant::now() + DEADLINE;
    let mut lines = Vec::new();
    loop {
        match receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                println!("vm| {line}");
                lines.push(line);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                machine.kill()?;
                machine.wait()?;
                return Err(format!("the machine did not power off within {} s", DEADLINE.as_secs()).into());
            }
        }
    }
    let status = machine.wait()?;
    if status.success() { Ok(lines) } else { Err(format!("qemu failed: {status}").into()) }
}

/// Good only when the closing line is there, names at least one success, and no failure.
fn verdict(lines: &[String], tally: &mut Tally) -> Outcome {
    let closing = lines
        .iter()
        .find_map(|line| line.strip_prefix("vm result: "))
        .ok_or("the machine powered off without a result: look above for a panic")?;
    let failed: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("FAILED ")).collect();
    tally.passed += lines.iter().filter(|line| line.starts_with("ok ")).count() as u64;
    tally.failed += failed.len() as u64;
    if !failed.is_empty() {
        return Err(format!("{} checks failed in the machine: {closing}", failed.len()).into());
    }
    match closing.split_once(" passed").map(|(count, _)| count.parse::<u32>()) {
        Some(Ok(count)) if count > 0 => Ok(()),
        _ => Err(format!("no check passed in the machine: {closing}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict_of(lines: &[&str]) -> Result<(), String> {
        verdict(&lines.iter().map(ToString::to_string).collect::<Vec<_>>(), &mut Tally::default())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_machine_that_says_nothing_or_proves_nothing_fails() {
        assert!(verdict_of(&[]).unwrap_err().contains("without a result"));
        assert!(verdict_of(&["vm result: 0 passed; 0 failed"]).unwrap_err().contains("no check passed"));
    }

    #[test]
    fn one_failed_check_fails_the_lane() {
        let lines = ["ok a", "FAILED b: because", "vm result: 1 passed; 1 failed"];
        assert!(verdict_of(&lines).unwrap_err().contains("1 checks failed"));
        assert_eq!(verdict_of(&["ok a", "vm result: 1 passed; 0 failed"]), Ok(()));
    }
}
