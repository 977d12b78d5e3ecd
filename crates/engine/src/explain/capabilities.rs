// SPDX-License-Identifier: Apache-2.0
//! Capabilities by number, and what each allows (capabilities(7)).

use api_types::explain::{Capabilities, Capability};

/// Name without `CAP_`, whether containers have it usually, and what it allows; the place is the number.
const ALL: [(&str, bool, &str); 41] = [
    ("CHOWN", true, "give files to other users"),
    ("DAC_OVERRIDE", true, "read and write files whatever their mode"),
    ("DAC_READ_SEARCH", false, "read any file, and open files by handle: those of the whole disk"),
    ("FOWNER", true, "change modes and times of others' files"),
    ("FSETID", true, "keep set-uid bits of files that are changed"),
    ("KILL", true, "signal processes of other users"),
    ("SETGID", true, "become any group"),
    ("SETUID", true, "become any user"),
    ("SETPCAP", true, "give up capabilities for itself and its children"),
    ("LINUX_IMMUTABLE", false, "make files immutable, and mutable again"),
    ("NET_BIND_SERVICE", true, "listen on ports below 1024"),
    ("NET_BROADCAST", false, "nothing: the kernel does not ask for it"),
    ("NET_ADMIN", false, "configure interfaces, routes and packet filters of its network namespace"),
    ("NET_RAW", true, "send and see raw packets in its network: ping, and forged addresses"),
    ("IPC_LOCK", false, "lock memory without a limit"),
    ("IPC_OWNER", false, "use others' shared memory and queues"),
    ("SYS_MODULE", false, "load code into the host's kernel"),
    ("SYS_RAWIO", false, "reach the host's ports, disks and memory directly"),
    ("SYS_CHROOT", true, "change its root directory, and join mount namespaces"),
    ("SYS_PTRACE", false, "read and change the memory of every process it sees"),
    ("SYS_PACCT", false, "switch process accounting"),
    ("SYS_ADMIN", false, "mount file systems, join namespaces and much else: nearly all of root"),
    ("SYS_BOOT", false, "restart the host, or load another kernel"),
    ("SYS_NICE", false, "raise priorities, and pin others' processes"),
    ("SYS_RESOURCE", false, "exceed limits of resources and quotas"),
    ("SYS_TIME", false, "set the host's clock"),
    ("SYS_TTY_CONFIG", false, "take over terminals"),
    ("MKNOD", true, "make device files; which may be used, the device rules say"),
    ("LEASE", false, "hold leases on others' files"),
    ("AUDIT_WRITE", true, "write to the kernel's audit log"),
    ("AUDIT_CONTROL", false, "change the kernel's audit rules"),
    ("SETFCAP", true, "give capabilities to programs' files"),
    ("MAC_OVERRIDE", false, "bypass Smack"),
    ("MAC_ADMIN", false, "change the rules of security modules"),
    ("SYSLOG", false, "read the kernel's log and addresses"),
    ("WAKE_ALARM", false, "wake the host from sleep"),
    ("BLOCK_SUSPEND", false, "keep the host from sleeping"),
    ("AUDIT_READ", false, "read the kernel's audit log"),
    ("PERFMON", false, "watch the whole machine's performance, kernel and other containers included"),
    ("BPF", false, "load programs into the kernel"),
    ("CHECKPOINT_RESTORE", false, "choose process ids, and read others' memory maps"),
];

/// The sets of a process, as masks.
pub(super) fn told(bounding: u64, effective: u64) -> Capabilities {
    let (mut kept, mut dropped) = (Vec::new(), Vec::new());
    for (number, (name, usual, allows)) in ALL.iter().enumerate() {
        let one = Capability { name: format!("CAP_{name}"), allows: (*allows).to_owned(), unusual: !usual };
        let list = if bounding >> number & 1 == 1 { &mut kept } else { &mut dropped };
        list.push(one);
    }
    Capabilities { kept, dropped, in_effect: (effective & bounding).count_ones() as usize }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_split_into_kept_and_dropped() {
        // Docker's usual set.
        let told = told(0xa804_25fb, 0);
        assert_eq!((told.kept.len(), told.dropped.len(), told.in_effect), (14, 27, 0));
        assert!(told.kept.iter().all(|one| !one.unusual));
        assert!(told.dropped.iter().all(|one| one.unusual));
        let all = super::told(u64::MAX, 1 << 21);
        assert_eq!((all.kept.len(), all.dropped.len(), all.in_effect), (41, 0, 1));
        assert_eq!(all.kept[21].name, "CAP_SYS_ADMIN");
    }
}
