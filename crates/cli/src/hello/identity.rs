// SPDX-License-Identifier: Apache-2.0
//! Who this process is: what `/proc` says of it. What cannot be read is left out, not made up.

use std::collections::BTreeMap;
use std::fs;

use serde::Serialize;

use super::addresses::{self, Address};
use super::cgroup::{self, Limits};

/// The capabilities by number (capability.h).
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Who this process is.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Identity {
    /// As its namespace numbers it; 1 is a container's first.
    pub(crate) pid: u32,
    /// The name of its UTS namespace.
    pub(crate) hostname: String,
    /// Its user and group.
    pub(crate) user: User,
    /// The namespaces it is in, by kind, with their inode numbers.
    pub(crate) namespaces: BTreeMap<String, u64>,
    /// The limits of its control groups.
    pub(crate) cgroup: Limits,
    /// The capabilities in effect.
    pub(crate) capabilities: Vec<String>,
    /// `disabled`, `strict` or `filter`.
    pub(crate) seccomp: &'static str,
    /// That programs it executes gain nothing.
    pub(crate) no_new_privileges: bool,
    /// Its mounts, in order.
    pub(crate) mounts: Vec<Mount>,
    /// Its network addresses.
    pub(crate) addresses: Vec<Address>,
    /// Milliseconds from the start of the client to this process's own first instruction.
    pub(crate) started_after_ms: Option<f64>,
}

/// A user and group.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// As the image's `/etc/passwd` calls it.
    pub(crate) name: Option<String>,
    /// As the image's `/etc/group` calls it.
    pub(crate) group: Option<String>,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Mount {
    /// Where.
    pub(crate) target: String,
    /// The kind of file system.
    pub(crate) kind: String,
    /// That it cannot be written to.
    pub(crate) read_only: bool,
}

impl Identity {
    /// Everything, now; `start_ns` is when `main` began.
    pub(crate) fn gather(start_ns: u64) -> Identity {
        let status = read("/proc/self/status");
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let client_start = std::env::var("CORTEN_CLIENT_START_NS").ok().and_then(|text| text.parse::<u64>().ok());
        let elapsed = client_start.and_then(|began| start_ns.checked_sub(began));
        Identity {
            pid: std::process::id(),
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            user: User { uid, gid, name: name_of(&read("/etc/passwd"), uid), group: name_of(&read("/etc/group"), gid) },
            namespaces: namespaces(),
            cgroup: cgroup::limits(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"), &|path| {
                fs::read_to_string(path).ok()
            }),
            capabilities: capabilities(field(&status, "CapEff").unwrap_or("0")),
            seccomp: match field(&status, "Seccomp") {
                Some("1") => "strict",
                Some("2") => "filter",
                _ => "disabled",
            },
            no_new_privileges: field(&status, "NoNewPrivs") == Some("1"),
            mounts: mounts(&read("/proc/self/mountinfo")),
            addresses: addresses::gather(),
            started_after_ms: elapsed.map(|nanoseconds| nanoseconds as f64 / 1e6),
        }
    }
}

/// A file's text; empty when it cannot be read.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The value of a line `name:\tvalue`.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// The name with this number in a file of `name:x:number:…`.
fn name_of(file: &str, number: u32) -> Option<String> {
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(number)).then(|| name.to_owned())
    })
}

fn namespaces() -> BTreeMap<String, u64> {
    let entries = fs::read_dir("/proc/self/ns").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            // Those that only children will be in say nothing about this process.
            if name.ends_with("_for_children") {
                return None;
            }
            let target = fs::read_link(entry.path()).ok()?;
            Some((name, inode(target.to_str()?)?))
        })
        .collect()
}

/// The number in `net:[4026531840]`.
fn inode(link: &str) -> Option<u64> {
    link.split_once('[')?.1.strip_suffix(']')?.parse().ok()
}

/// The names of the capabilities in a hexadecimal set; those too new to have one here by number.
fn capabilities(hexadecimal: &str) -> Vec<String> {
    let set = u64::from_str_radix(hexadecimal, 16).unwrap_or(0);
    (0..64)
        .filter(|number| set & (1 << number) != 0)
        .map(|number| CAPABILITIES.get(number).map_or_else(|| number.to_string(), |name| (*name).to_owned()))
        .collect()
}

/// The mounts in a `mountinfo` (proc_pid_mountinfo(5)).
fn mounts(mountinfo: &str) -> Vec<Mount> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (mount, file_system) = line.split_once(" - ")?;
            let mut fields = mount.split(' ').skip(4);
            let (target, options) = (fields.next()?, fields.next()?);
            let (kind, rest) = file_system.split_once(' ')?;
            let super_options = rest.rsplit(' ').next().unwrap_or("");
            let read_only = [options, super_options].iter().any(|list| list.split(',').any(|option| option == "ro"));
            Some(Mount { target: unescape(target), kind: kind.to_owned(), read_only })
        })
        .collect()
}

/// A path whose blanks and backslashes are written in octal.
pub(crate) fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_are_understood() {
        let status = "Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\nNoNewPrivs:\t0\n";
        assert_eq!(field(status, "Seccomp"), Some("2"));
        assert_eq!(field(status, "None"), None);
        assert_eq!(name_of("root:x:0:0:root:/:/x\nnobody:x:65534:65534::/:/x\n", 65534).as_deref(), Some("nobody"));
        assert_eq!(name_of("garbage\n", 0), None);
        assert_eq!(inode("net:[4026531840]"), Some(4_026_531_840));
        assert_eq!(inode("/proc"), None);
    }

    #[test]
    fn capabilities_have_names_and_unknown_ones_numbers() {
        assert_eq!(capabilities("00000000a80425fb").len(), 14, "docker's default set");
        assert_eq!(capabilities("20000000001"), ["CHOWN", "41"]);
        assert!(capabilities("no number").is_empty());
    }

    #[test]
    fn a_mount_may_be_read_only_in_either_list() {
        let info = "1 0 0:1 / / rw,relatime - overlay overlay ro,lowerdir=/x\n\
                    2 1 0:2 / /a\\040b ro shared:1 - tmpfs tmpfs rw\n\
                    3 1 0:3 / /dev rw - tmpfs tmpfs rw,size=64k\nnonsense\n";
        let mount = |target: &str, kind: &str, read_only| Mount { target: target.into(), kind: kind.into(), read_only };
        assert_eq!(
            mounts(info),
            [mount("/", "overlay", true), mount("/a b", "tmpfs", true), mount("/dev", "tmpfs", false)]
        );
    }

    #[test]
    fn this_process_can_say_who_it_is() {
        let identity = Identity::gather(0);
        assert_eq!(identity.pid, std::process::id());
        assert!(identity.namespaces.contains_key("mnt"));
        assert!(!identity.mounts.is_empty());
    }
}
