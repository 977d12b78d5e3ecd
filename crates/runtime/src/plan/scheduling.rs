// SPDX-License-Identifier: Apache-2.0
//! How the kernel schedules the process: `process.scheduler`, `process.ioPriority`, `process.execCPUAffinity` and
//! `linux.memoryPolicy`.

use std::fmt;

use oci::runtime_spec::{
    IOPriorityClass, LinuxMemoryPolicy, LinuxSchedulerFlag, LinuxSchedulerPolicy, MemoryPolicyFlagType,
    MemoryPolicyModeType, Process, Scheduler,
};

use serde::Serialize;

use super::PlanError;
use super::operation::Operation;

/// Policies as the specification writes them, with the kernel's numbers (linux/sched.h).
const POLICIES: [(LinuxSchedulerPolicy, &str, u32); 7] = [
    (LinuxSchedulerPolicy::SchedOther, "SCHED_OTHER", 0),
    (LinuxSchedulerPolicy::SchedFifo, "SCHED_FIFO", 1),
    (LinuxSchedulerPolicy::SchedRr, "SCHED_RR", 2),
    (LinuxSchedulerPolicy::SchedBatch, "SCHED_BATCH", 3),
    (LinuxSchedulerPolicy::SchedIso, "SCHED_ISO", 4),
    (LinuxSchedulerPolicy::SchedIdle, "SCHED_IDLE", 5),
    (LinuxSchedulerPolicy::SchedDeadline, "SCHED_DEADLINE", 6),
];

const FLAGS: [(LinuxSchedulerFlag, u64); 7] = [
    (LinuxSchedulerFlag::SchedResetOnFork, 0x01),
    (LinuxSchedulerFlag::SchedFlagReclaim, 0x02),
    (LinuxSchedulerFlag::SchedFlagDLOverrun, 0x04),
    (LinuxSchedulerFlag::SchedFlagKeepPolicy, 0x08),
    (LinuxSchedulerFlag::SchedFlagKeepParams, 0x10),
    (LinuxSchedulerFlag::SchedFlagUtilClampMin, 0x20),
    (LinuxSchedulerFlag::SchedFlagUtilClampMax, 0x40),
];

const IO_CLASSES: [(IOPriorityClass, &str, u32); 3] = [
    (IOPriorityClass::IoprioClassRt, "IOPRIO_CLASS_RT", 1),
    (IOPriorityClass::IoprioClassBe, "IOPRIO_CLASS_BE", 2),
    (IOPriorityClass::IoprioClassIdle, "IOPRIO_CLASS_IDLE", 3),
];

/// Modes with the kernel's numbers (linux/mempolicy.h), and whether a mode wants nodes.
const MEMORY_MODES: [(MemoryPolicyModeType, &str, u32, Nodes); 7] = [
    (MemoryPolicyModeType::MpolDefault, "MPOL_DEFAULT", 0, Nodes::None),
    (MemoryPolicyModeType::MpolPreferred, "MPOL_PREFERRED", 1, Nodes::Any),
    (MemoryPolicyModeType::MpolBind, "MPOL_BIND", 2, Nodes::Some),
    (MemoryPolicyModeType::MpolInterleave, "MPOL_INTERLEAVE", 3, Nodes::Some),
    (MemoryPolicyModeType::MpolLocal, "MPOL_LOCAL", 4, Nodes::None),
    (MemoryPolicyModeType::MpolPreferredMany, "MPOL_PREFERRED_MANY", 5, Nodes::Some),
    (MemoryPolicyModeType::MpolWeightedInterleave, "MPOL_WEIGHTED_INTERLEAVE", 6, Nodes::Some),
];

const MEMORY_FLAGS: [(MemoryPolicyFlagType, &str, u32); 3] = [
    (MemoryPolicyFlagType::MpolFNumaBalancing, "MPOL_F_NUMA_BALANCING", 1 << 13),
    (MemoryPolicyFlagType::MpolFRelativeNodes, "MPOL_F_RELATIVE_NODES", 1 << 14),
    (MemoryPolicyFlagType::MpolFStaticNodes, "MPOL_F_STATIC_NODES", 1 << 15),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Nodes {
    None,
    Some,
    Any,
}

/// The names of the memory policy's modes and flags, for `features`.
pub(crate) fn memory_policy_names() -> (Vec<&'static str>, Vec<&'static str>) {
    (MEMORY_MODES.iter().map(|mode| mode.1).collect(), MEMORY_FLAGS.iter().map(|flag| flag.1).collect())
}

/// The highest CPU or node number that is taken: above what any kernel is built for.
const HIGHEST: u32 = 8191;

/// Numbers of CPUs or memory nodes: bit n of word n / 64.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NumberSet(Vec<u64>);

impl NumberSet {
    /// The words, as the kernel takes them.
    pub(crate) fn words(&self) -> &[u64] {
        &self.0
    }

    /// Reads `0-3,7`.
    fn parse(text: &str) -> Option<NumberSet> {
        let mut set = NumberSet::default();
        for range in text.split(',').map(str::trim) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            if first > last || last > HIGHEST {
                return None;
            }
            let words = last as usize / 64 + 1;
            set.0.resize(set.0.len().max(words), 0);
            (first..=last).for_each(|number| set.0[number as usize / 64] |= 1 << (number % 64));
        }
        Some(set)
    }

    fn has(&self, number: u32) -> bool {
        self.0.get(number as usize / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }
}

impl Serialize for NumberSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for NumberSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = u32::try_from(self.0.len() * 64).unwrap_or(u32::MAX);
        let mut number = 0;
        let mut comma = "";
        while number < end {
            if self.has(number) {
                let last = (number..end).take_while(|next| self.has(*next)).last().unwrap_or(number);
                match last {
                    _ if last == number => write!(f, "{comma}{number}")?,
                    _ => write!(f, "{comma}{number}-{last}")?,
                }
                comma = ",";
                number = last;
            }
            number += 1;
        }
        Ok(())
    }
}

fn invalid(field: &str, value: impl fmt::Display, expected: &'static str) -> PlanError {
    PlanError::Invalid { field: field.into(), value: value.to_string(), expected }
}

/// The affinity that a process executed in a running container begins with, before it joins the cgroup.
pub(super) fn initial_affinity(process: &Process, operations: &mut Vec<Operation>) -> Result<(), PlanError> {
    let initial = process.exec_cpu_affinity().as_ref().and_then(|affinity| affinity.initial().as_ref());
    if let Some(cpus) = initial.filter(|text| !text.is_empty()) {
        operations.push(Operation::CpuAffinity(cpus_of("process.execCPUAffinity.initial", cpus)?));
    }
    Ok(())
}

/// And the one it ends up with, in the cgroup. As runc does, without any the launcher's own does not stick.
pub(super) fn final_affinity(process: &Process, operations: &mut Vec<Operation>) -> Result<(), PlanError> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let affinity = process.exec_cpu_affinity().as_ref();
    let last = affinity.and_then(|affinity| given(affinity.cpu_affinity_final()));
    let first = affinity.and_then(|affinity| given(affinity.initial()));
    match (first, last) {
        (_, Some(cpus)) => {
            operations.push(Operation::CpuAffinity(cpus_of("process.execCPUAffinity.final", &cpus)?));
        }
        (Some(_), None) => {}
        (None, None) => operations.push(Operation::AnyCpu),
    }
    Ok(())
}

fn cpus_of(field: &str, text: &str) -> Result<NumberSet, PlanError> {
    NumberSet::parse(text).ok_or_else(|| invalid(field, text, "CPU numbers such as 0-3,7"))
}

/// `process.scheduler` and `process.ioPriority`.
pub(super) fn operations(process: &Process, operations: &mut Vec<Operation>) -> Result<(), PlanError> {
    if let Some(given) = process.scheduler() {
        operations.push(scheduler(given)?);
    }
    if let Some(given) = process.io_priority() {
        let class = IO_CLASSES.iter().find(|(class, ..)| *class == given.class());
        let (_, name, class) = class.copied().unwrap_or(IO_CLASSES[1]);
        let level = u32::try_from(given.priority()).ok().filter(|level| *level < 8);
        let level = level.ok_or_else(|| invalid("process.ioPriority.priority", given.priority(), "0 to 7"))?;
        operations.push(Operation::IoPriority { name, class, level });
    }
    Ok(())
}

fn scheduler(given: &Scheduler) -> Result<Operation, PlanError> {
    let policy = *given.policy();
    let (_, name, number) = POLICIES.iter().find(|(known, ..)| *known == policy).copied().unwrap_or(POLICIES[0]);
    let flags = given.flags().iter().flatten().filter_map(|flag| FLAGS.iter().find(|(known, _)| known == flag));
    let flags = flags.fold(0, |flags, (_, bit)| flags | bit);
    let nice = given.nice().unwrap_or(0);
    let priority = given.priority().unwrap_or(0);
    let real_time = matches!(policy, LinuxSchedulerPolicy::SchedFifo | LinuxSchedulerPolicy::SchedRr);
    let shares = matches!(policy, LinuxSchedulerPolicy::SchedOther | LinuxSchedulerPolicy::SchedBatch);
    if shares && !(-20..=19).contains(&nice) {
        return Err(invalid("process.scheduler.nice", nice, "-20 to 19"));
    }
    if priority != 0 && !real_time {
        return Err(invalid("process.scheduler.priority", priority, "none but with SCHED_FIFO or SCHED_RR"));
    }
    let priority = u32::try_from(priority)
        .map_err(|_| invalid("process.scheduler.priority", priority, "a number that is not negative"))?;
    let deadline = [given.runtime(), given.deadline(), given.period()].map(|value| value.unwrap_or(0));
    for (field, value) in ["runtime", "deadline", "period"].iter().zip(deadline) {
        if value != 0 && policy != LinuxSchedulerPolicy::SchedDeadline {
            let field = format!("process.scheduler.{field}");
            return Err(invalid(&field, value, "none but with SCHED_DEADLINE"));
        }
    }
    Ok(Operation::Scheduler { name, policy: number, flags, nice, priority, deadline })
}

/// `linux.memoryPolicy`.
pub(super) fn memory_policy(given: &LinuxMemoryPolicy) -> Result<Operation, PlanError> {
    let mode = MEMORY_MODES.iter().find(|(mode, ..)| *mode == given.mode());
    let (_, name, number, wanted) = *mode.unwrap_or(&MEMORY_MODES[0]);
    let text = given.nodes().clone().unwrap_or_default();
    let nodes = match text.as_str() {
        "" => NumberSet::default(),
        text => NumberSet::parse(text)
            .ok_or_else(|| invalid("linux.memoryPolicy.nodes", text, "node numbers such as 0-3,7"))?,
    };
    let problem = match wanted {
        Nodes::None if !text.is_empty() => Some("none in this mode"),
        Nodes::Some if text.is_empty() => Some("at least one node in this mode"),
        _ => None,
    };
    if let Some(expected) = problem {
        return Err(invalid("linux.memoryPolicy.nodes", text, expected));
    }
    let flags = given.flags().iter().flatten().filter_map(|flag| MEMORY_FLAGS.iter().find(|known| known.0 == *flag));
    let mode = flags.fold(number, |mode, (.., bit)| mode | bit);
    Ok(Operation::MemoryPolicy { name, mode, nodes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_sets_are_read_and_printed() {
        for (text, printed) in [("0", "0"), ("0-3,7", "0-3,7"), ("7, 1-2,64-65", "1-2,7,64-65"), ("5-5,6", "5-6")] {
            assert_eq!(NumberSet::parse(text).unwrap().to_string(), printed);
        }
        for text in ["", "3-1", "a", "1,", "-1", "8192", "0-99999999", "1-2-3"] {
            assert_eq!(NumberSet::parse(text), None, "{text}");
        }
    }
}
