// SPDX-License-Identifier: Apache-2.0
//! From a profile to a program.

use std::collections::BTreeMap;

use errors::{Classify, Kind};
use oci::runtime_spec::{Arch, LinuxSeccomp, LinuxSeccompFilterFlag, LinuxSyscall};

use crate::action::{self, ENOSYS, ERRNO, KILL_PROCESS, USER_NOTIF};
use crate::arch::{self, ARM_PRIVATE, Table, X32_BIT};
use crate::args::{self, Clauses, Condition};
use crate::assemble::{Assembler, EQUAL, Goal, LOAD};
use crate::calls::Call;
use crate::tree::{self, Run};

/// The longest program the kernel takes (linux/bpf_common.h, `BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// One instruction of classic BPF: `struct sock_filter` (linux/filter.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// A filter, ready for seccomp(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The instructions, at least one and at most [`MAX_INSTRUCTIONS`].
    pub instructions: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*` for `SECCOMP_SET_MODE_FILTER`. With `SECCOMP_FILTER_FLAG_NEW_LISTENER` (8) among them, which a
    /// profile with SCMP_ACT_NOTIFY brings, the call returns the listener's descriptor.
    pub flags: u32,
    /// Names in the profile that no version of Linux up to 6.18 knows, on any architecture: misspelt, or newer.
    /// Their rules have no effect.
    pub unknown_calls: Vec<String>,
}

/// Why a profile is not a program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// There is no table of system calls for the architecture the filter is meant for.
    #[error("seccomp filters for {0} are not supported")]
    Architecture(Arch),
    /// An error number or tracer's value out of range.
    #[error("errnoRet of {value} in the seccomp rule for {call:?} is out of range")]
    ReturnValue {
        /// The first call of the rule; empty for the default action.
        call: String,
        /// The value.
        value: u32,
    },
    /// A condition on an argument that system calls do not have.
    #[error("the seccomp rule for {call:?} names argument {index}, but a call has arguments 0 to 5")]
    Argument {
        /// The first call of the rule.
        call: String,
        /// The index given.
        index: usize,
    },
    /// The kernel would refuse the program.
    #[error("the seccomp profile compiles to {0} instructions, and the kernel takes {MAX_INSTRUCTIONS}")]
    TooLong(usize),
}

impl Classify for CompileError {
    fn kind(&self) -> Kind {
        match self {
            CompileError::Architecture(_) => Kind::Unsupported,
            _ => Kind::InvalidArgument,
        }
    }
}

/// Compiles `profile` for a kernel of the `native` architecture (see [`crate::native_arch`]).
///
/// The rules for a call are tried in the order given; the first whose conditions all hold decides, and when none does,
/// the default action. Calls of an architecture that the profile does not list end the process; the native
/// one is always listed. When the default action is an error, a call newer than any that the profile names
/// gets `ENOSYS`, as runc does it: programs try such calls and fall back when they do not exist.
///
/// # Errors
/// See [`CompileError`].
pub fn compile(profile: &LinuxSeccomp, native: Arch) -> Result<Program, CompileError> {
    let tables = tables(profile, native)?;
    let default = default_action(profile)?;
    let mut resolved = Resolved { calls: vec![BTreeMap::new(); tables.len()], unknown: Vec::new() };
    for rule in profile.syscalls().iter().flatten() {
        resolved.add(rule, &tables)?;
    }
    let mut assembler = Assembler::default();
    let spaces = spaces(&tables, &resolved.calls, default, &mut assembler);
    let entry = dispatch(&mut assembler, &spaces);
    let instructions = assembler.finish(entry);
    if instructions.len() > MAX_INSTRUCTIONS {
        return Err(CompileError::TooLong(instructions.len()));
    }
    let flags = flags(profile, &instructions);
    Ok(Program { instructions, flags, unknown_calls: resolved.unknown })
}

/// The architectures to write tables for, the native one first. Ones that this kernel cannot run programs of are left
/// out: their calls cannot occur.
fn tables(profile: &LinuxSeccomp, native: Arch) -> Result<Vec<Table>, CompileError> {
    let native_table = Table::of(native).ok_or(CompileError::Architecture(native))?;
    let mut tables = vec![native_table];
    for arch in profile.architectures().iter().flatten() {
        if let Some(table) = Table::of(*arch)
            && arch::family(native).contains(arch)
            && !tables.contains(&table)
        {
            tables.push(table);
        }
    }
    Ok(tables)
}

fn default_action(profile: &LinuxSeccomp) -> Result<u32, CompileError> {
    let data = profile.default_errno_ret();
    action::value(profile.default_action(), data)
        .ok_or(CompileError::ReturnValue { call: String::new(), value: data.unwrap_or_default() })
}

/// A call's rules, in order.
pub(crate) type Rules = Vec<(Vec<Condition>, u32)>;

struct Resolved {
    /// For each table, the rules by number.
    calls: Vec<BTreeMap<u32, Rules>>,
    unknown: Vec<String>,
}

impl Resolved {
    fn add(&mut self, rule: &LinuxSyscall, tables: &[Table]) -> Result<(), CompileError> {
        let first = || rule.names().first().cloned().unwrap_or_default();
        let data = rule.errno_ret();
        let action = action::value(rule.action(), data)
            .ok_or_else(|| CompileError::ReturnValue { call: first(), value: data.unwrap_or_default() })?;
        let condition =
            |arg| Condition::of(arg).ok_or_else(|| CompileError::Argument { call: first(), index: arg.index() });
        let conditions: Vec<Condition> = rule.args().iter().flatten().map(condition).collect::<Result<_, _>>()?;
        for name in rule.names() {
            let Some(call) = Call::named(name) else {
                self.unknown.push(name.clone());
                continue;
            };
            for (table, calls) in tables.iter().zip(&mut self.calls) {
                if let Some(number) = call.number(*table) {
                    calls.entry(number).or_default().push((conditions.clone(), action));
                }
            }
        }
        Ok(())
    }
}

/// All numbers that come with one audit value, and where they lead.
struct Space {
    audit: u32,
    entry: Goal,
}

/// Writes the trees, the native one last and so nearest to the program's beginning.
fn spaces(tables: &[Table], calls: &[BTreeMap<u32, Rules>], default: u32, assembler: &mut Assembler) -> Vec<Space> {
    let mut blocks: Vec<(Clauses, Goal)> = Vec::new();
    let mut spaces: Vec<(u32, Vec<Run>)> = Vec::new();
    for (table, calls) in tables.iter().zip(calls) {
        let goals: BTreeMap<u32, Goal> =
            calls.iter().map(|(number, rules)| (*number, goal(assembler, &mut blocks, rules, default))).collect();
        let runs = runs(*table, &goals, default);
        match spaces.iter_mut().find(|(audit, _)| *audit == table.audit()) {
            Some((_, others)) => overlay(others, &runs, *table),
            None => spaces.push((table.audit(), runs)),
        }
    }
    let weight = |start: u32| if start >= X32_BIT { 1 } else { 16 };
    let write = |(audit, runs): &(u32, Vec<Run>)| {
        let tree = tree::decide(assembler, runs, &weight);
        Space { audit: *audit, entry: assembler.then(LOAD, NUMBER, tree) }
    };
    let mut written: Vec<Space> = spaces.iter().rev().map(write).collect();
    written.reverse();
    written
}

// Offsets in `struct seccomp_data` (linux/seccomp.h).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// Where one call's rules lead. Calls with the same rules share the same instructions.
fn goal(assembler: &mut Assembler, blocks: &mut Vec<(Clauses, Goal)>, rules: &Rules, default: u32) -> Goal {
    let clauses = clauses(rules, default);
    if let Some((_, goal)) = blocks.iter().find(|(known, _)| *known == clauses) {
        return *goal;
    }
    let goal = args::write(assembler, &clauses);
    blocks.push((clauses, goal));
    goal
}

/// The rules up to the first without conditions, which is what happens otherwise.
pub(crate) fn clauses(rules: &Rules, default: u32) -> Clauses {
    let unconditional = rules.iter().position(|(conditions, _)| conditions.is_empty());
    let otherwise = unconditional.map_or(default, |index| rules[index].1);
    let mut clauses = rules[..unconditional.unwrap_or(rules.len())].to_vec();
    while clauses.last().is_some_and(|(_, action)| *action == otherwise) {
        clauses.pop();
    }
    Clauses { clauses, otherwise }
}

/// Every number of a table's space, in runs. For x32, only what starts at its bit means anything.
fn runs(table: Table, goals: &BTreeMap<u32, Goal>, default: u32) -> Vec<Run> {
    let default_goal = Goal::Return(default);
    let mut runs = vec![Run { start: 0, goal: default_goal }];
    for (&number, &goal) in goals {
        runs.retain(|run| run.start != number);
        runs.push(Run { start: number, goal });
        runs.push(Run { start: number + 1, goal: default_goal });
    }
    let newest = goals.keys().copied().filter(|number| table != Table::Arm || *number < ARM_PRIVATE).max();
    if let (Some(newest), Some(absent)) = (newest, absent(default)) {
        runs.retain(|run| run.start != newest + 1);
        runs.push(Run { start: newest + 1, goal: Goal::Return(absent) });
        if table == Table::Arm && !goals.contains_key(&ARM_PRIVATE) {
            runs.push(Run { start: ARM_PRIVATE, goal: default_goal });
        }
    }
    if table == Table::X86_64 {
        runs.push(Run { start: X32_BIT, goal: Goal::Return(KILL_PROCESS) });
    }
    // Not a number: a tracer's way to say "no call at all", which the kernel lets a filter see.
    runs.push(Run { start: u32::MAX, goal: default_goal });
    runs.sort_by_key(|run| run.start);
    runs
}

/// What a call newer than the profile gets, if anything but the default.
pub(crate) fn absent(default: u32) -> Option<u32> {
    let is_error = default & 0xffff_0000 == ERRNO;
    (is_error && default != ERRNO | ENOSYS).then_some(ERRNO | ENOSYS)
}

/// x32's numbers lie in x86-64's space, from their bit on.
fn overlay(others: &mut Vec<Run>, runs: &[Run], table: Table) {
    let (from, native) = if table == Table::X32 { (X32_BIT, false) } else { (0, true) };
    let first = runs.iter().rev().find(|run| run.start <= from).map(|run| Run { start: from, goal: run.goal });
    if native {
        // The tables put the native architecture first, so this is x86-64 joining a native x32: x32 keeps its part.
        others.retain(|run| run.start >= X32_BIT);
        others.splice(0..0, runs.iter().copied().filter(|run| run.start < X32_BIT));
        return;
    }
    others.retain(|run| run.start < from);
    others.extend(first);
    others.extend(runs.iter().filter(|run| run.start > from));
}

/// The beginning: which architecture's call is this?
fn dispatch(assembler: &mut Assembler, spaces: &[Space]) -> Goal {
    let foreign = Goal::Return(KILL_PROCESS);
    let chain = spaces
        .iter()
        .rev()
        .fold(foreign, |otherwise, space| assembler.branch(EQUAL, space.audit, space.entry, otherwise));
    assembler.then(LOAD, ARCHITECTURE, chain)
}

fn flags(profile: &LinuxSeccomp, instructions: &[Instruction]) -> u32 {
    // Without the mitigation that a filter brings on older kernels: what it protects against is not a container's secret from
    // itself, and it slows everything down. runc's default too.
    const SPEC_ALLOW: u32 = 4;
    const NEW_LISTENER: u32 = 8;
    let bit = |flag: &LinuxSeccompFilterFlag| match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 1,
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => 2,
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => SPEC_ALLOW,
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 32,
    };
    let given = profile.flags().as_ref().map_or(SPEC_ALLOW, |flags| flags.iter().map(bit).fold(0, |a, b| a | b));
    let notifies = instructions.iter().any(|i| i.code == crate::assemble::RETURN && i.k == USER_NOTIF);
    given | if notifies { NEW_LISTENER } else { 0 }
}
