// SPDX-License-Identifier: Apache-2.0
//! How the kernel schedules the calling thread: CPU (sched(7)), CPUs (sched_setaffinity(2)), disks (ioprio_set(2)) and
//! memory nodes (set_mempolicy(2)).

use crate::error::{Result, check};

/// What sched_setattr(2) sets. Fields that the policy does not use are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scheduler {
    /// `SCHED_…`.
    pub policy: u32,
    /// `SCHED_FLAG_…`.
    pub flags: u64,
    /// The nice value, of the policies that share time.
    pub nice: i32,
    /// The static priority, of the real-time policies.
    pub priority: u32,
    /// Nanoseconds of every period, of the deadline policy.
    pub runtime: u64,
    /// Nanoseconds until they must have been had.
    pub deadline: u64,
    /// Nanoseconds of a period.
    pub period: u64,
}

/// `struct sched_attr` (linux/sched/types.h), its first version: 48 bytes.
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Sets the calling thread's scheduling policy and its parameters.
pub fn set_scheduler(to: &Scheduler) -> Result<()> {
    let attr = SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        policy: to.policy,
        flags: to.flags,
        nice: to.nice,
        priority: to.priority,
        runtime: to.runtime,
        deadline: to.deadline,
        period: to.period,
    };
    // SAFETY: a struct that says its own size and outlives the call, which reads it and changes no memory.
    let returned = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
    check(returned, || {
        format!(
            "sched_setattr(0, {{policy={}, flags={:#x}, nice={}, priority={}, runtime={}, deadline={}, period={}}}, 0)",
            to.policy, to.flags, to.nice, to.priority, to.runtime, to.deadline, to.period
        )
    })
    .map(drop)
}

/// Whether the calling thread has a policy (sched(7)) that goes before all who share time.
pub fn has_realtime_policy() -> bool {
    const POLICIES: [libc::c_int; 3] = [libc::SCHED_FIFO, libc::SCHED_RR, libc::SCHED_DEADLINE];
    // SAFETY: an integer only; 0 is the calling thread, which cannot be gone.
    let policy = unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) };
    POLICIES.iter().any(|known| policy & !libc::c_long::from(libc::SCHED_RESET_ON_FORK) == libc::c_long::from(*known))
}

/// Has the calling thread share time with all others, with the nice value that it has.
pub fn share_time() -> Result<()> {
    // `struct sched_param` has one field, the static priority: 0 for all who share time.
    let priority: libc::c_int = 0;
    // SAFETY: the kernel reads the one integer, which outlives the call, and changes no memory.
    let returned = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_OTHER, &raw const priority) };
    check(returned, || "sched_setscheduler(0, SCHED_OTHER, 0)".to_owned()).map(drop)
}

/// Sets the CPUs that the calling thread may run on: bit n of word n / 64. Bits of CPUs that the kernel does not have
/// are ignored.
pub fn set_affinity(cpus: &[u64]) -> Result<()> {
    // SAFETY: the kernel reads as many bytes as the slice has.
    let returned = unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(cpus), cpus.as_ptr()) };
    check(returned, || {
        let all = cpus.iter().all(|word| *word == u64::MAX);
        let cpus = if all { "all CPUs".into() } else { format!("{cpus:x?}") };
        format!("sched_setaffinity(0, {cpus})")
    })
    .map(drop)
}

/// Sets the I/O class (`IOPRIO_CLASS_…`) and the level within it of the calling process's group, which the calling
/// process leads when it has made a session or a group of its own.
pub fn set_io_priority_of_group(class: u32, level: u32) -> Result<()> {
    const WHO_PROCESS_GROUP: libc::c_int = 2;
    const CLASS_SHIFT: u32 = 13;
    let value = class << CLASS_SHIFT | level;
    // SAFETY: integers only.
    let returned = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS_GROUP, 0, value) };
    check(returned, || format!("ioprio_set(IOPRIO_WHO_PGRP, 0, IOPRIO_PRIO_VALUE({class}, {level}))")).map(drop)
}

/// Sets from which nodes the calling thread's memory comes: `MPOL_…` with `MPOL_F_…`, and the nodes as bits.
pub fn set_memory_policy(mode: u32, nodes: &[u64]) -> Result<()> {
    // The kernel takes one bit less than it is told.
    let bits = if nodes.is_empty() { 0 } else { nodes.len() * 64 + 1 };
    let pointer = if nodes.is_empty() { std::ptr::null() } else { nodes.as_ptr() };
    // SAFETY: the kernel reads `bits - 1` bits from the slice, or nothing when there are none.
    let returned = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode as libc::c_int, pointer, bits) };
    check(returned, || format!("set_mempolicy({mode:#x}, {nodes:#x?}, {bits})")).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_a_thread(body: impl FnOnce() + Send + 'static) {
        std::thread::spawn(body).join().unwrap();
    }

    #[test]
    fn policy_and_nice_value_are_what_proc_says() {
        in_a_thread(|| {
            set_scheduler(&Scheduler { policy: 3, nice: 7, ..Scheduler::default() }).unwrap();
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
            // Fields 19 and 41 of proc_pid_stat(5), counted from the third.
            assert_eq!((fields[16], fields[38]), ("7", "3"));
        });
    }

    #[test]
    fn who_goes_before_others_can_share_time_again() {
        in_a_thread(|| {
            const FIFO: u32 = 1;
            assert!(!has_realtime_policy());
            // Not everybody may, and where nobody may there is nothing to take back.
            if set_scheduler(&Scheduler { policy: FIFO, priority: 1, ..Scheduler::default() }).is_ok() {
                assert!(has_realtime_policy());
            }
            share_time().unwrap();
            assert!(!has_realtime_policy());
        });
    }

    #[test]
    fn the_affinity_is_what_proc_says_and_no_cpu_at_all_is_refused() {
        in_a_thread(|| {
            set_affinity(&[1]).unwrap();
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
            set_affinity(&[u64::MAX; 16]).unwrap();
            assert_eq!(set_affinity(&[0]).unwrap_err().errno(), rustix::io::Errno::INVAL);
        });
    }

    #[test]
    fn a_memory_policy_without_its_nodes_is_refused() {
        in_a_thread(|| {
            const BIND: u32 = 2;
            set_memory_policy(BIND, &[1]).unwrap();
            assert_eq!(set_memory_policy(BIND, &[]).unwrap_err().errno(), rustix::io::Errno::INVAL);
            set_memory_policy(0, &[]).unwrap();
        });
    }
}
