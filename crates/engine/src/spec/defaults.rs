// SPDX-License-Identifier: Apache-2.0
//! Docker's defaults, as facts: what a container gets when nobody asks for anything else.

use oci::OciSpecError;
use oci::runtime_spec as rt;

/// The command search path of an image that sets none.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The length of a scheduling period, microseconds; `--cpus` is a share of it.
pub(super) const CPU_PERIOD_US: u64 = 100_000;

/// Mounts: destination, type, source, options.
pub(super) const MOUNTS: [(&str, &str, &str, &[&str]); 7] = [
    ("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
    ("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]),
    ("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777"]),
];

/// Bytes of `/dev/shm`.
pub const SHM_SIZE: i64 = 64 << 20;

/// What of `/proc` and `/sys` a container cannot see.
pub const MASKED_PATHS: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// What of `/proc` a container cannot change.
pub const READONLY_PATHS: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The capabilities of a container, without `CAP_`.
pub(super) const CAPABILITIES: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Device access: any node may be made, few may be opened.
pub(super) fn device_rules() -> Result<Vec<rt::LinuxDeviceCgroup>, OciSpecError> {
    use rt::LinuxDeviceType::{A, B, C};
    /// Major and minor numbers of null, zero, full, random, urandom, tty, ptmx; and of all pseudo-terminals.
    const USABLE: [(i64, Option<i64>); 8] =
        [(1, Some(3)), (1, Some(5)), (1, Some(7)), (1, Some(8)), (1, Some(9)), (5, Some(0)), (5, Some(2)), (136, None)];
    let rule = |allow, kind, number: (Option<i64>, Option<i64>), access: &str| {
        let mut rule = rt::LinuxDeviceCgroupBuilder::default().allow(allow).typ(kind).access(access).build()?;
        rule.set_major(number.0);
        rule.set_minor(number.1);
        Ok(rule)
    };
    let any = (None, None);
    let first = [(false, A, any, "rwm"), (true, C, any, "m"), (true, B, any, "m")];
    let usable = USABLE.map(|(major, minor)| (true, C, (Some(major), minor), "rwm"));
    first.into_iter().chain(usable).map(|(allow, kind, number, access)| rule(allow, kind, number, access)).collect()
}
