// SPDX-License-Identifier: Apache-2.0
//! From a profile to a program.

use std::ops::Range;

use errors::{Classify, Kind};
use oci::runtime_spec::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag, LinuxSyscall};

use crate::action::{self, ENOSYS, ERRNO, KILL_PROCESS};
use crate::arch::{self, ARM_PRIVATE, Table, X32_BIT, X32_OWN};
use crate::args::{self, Clauses, Condition};
use crate::assemble::{AND, AT_LEAST, Assembler, EQUAL, Goal, LOAD};
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
    let resolved = resolve(profile, &tables)?;
    let mut assembler = Assembler::default();
    let spaces = spaces(&tables, &resolved, default, &mut assembler);
    let entry = dispatch(&mut assembler, &spaces);
    let instructions = assembler.finish(entry);
    if instructions.len() > MAX_INSTRUCTIONS {
        return Err(CompileError::TooLong(instructions.len()));
    }
    let flags = flags(profile);
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

/// A rule without its names.
#[derive(Debug)]
struct Rule {
    conditions: Vec<Condition>,
    action: u32,
}

/// The profile, with numbers for names.
#[derive(Debug, Default)]
struct Resolved {
    rules: Vec<Rule>,
    /// For each table: a call's number and the rule that names it, ascending by both.
    calls: Vec<Vec<(u32, usize)>>,
    unknown: Vec<String>,
}

fn resolve(profile: &LinuxSeccomp, tables: &[Table]) -> Result<Resolved, CompileError> {
    let mut resolved = Resolved { calls: vec![Vec::new(); tables.len()], ..Resolved::default() };
    for rule in profile.syscalls().iter().flatten() {
        let first = resolved.rules.len();
        resolved.rules.extend(convert(rule)?);
        for name in rule.names() {
            let Some(call) = Call::named(name) else {
                resolved.unknown.push(name.clone());
                continue;
            };
            for (table, calls) in tables.iter().zip(&mut resolved.calls) {
                let numbers = call.number(*table).into_iter();
                calls.extend(numbers.flat_map(|number| (first..resolved.rules.len()).map(move |rule| (number, rule))));
            }
        }
    }
    resolved.calls.iter_mut().for_each(|calls| calls.sort_unstable());
    Ok(resolved)
}

/// All conditions of a rule must hold; but where two are on one argument, each is a rule of its own, as in libseccomp's
/// early days, when it took one condition for an argument: runc keeps to that, and profiles list alternatives so.
fn convert(rule: &LinuxSyscall) -> Result<Vec<Rule>, CompileError> {
    let first = || rule.names().first().cloned().unwrap_or_default();
    let data = rule.errno_ret();
    let action = action::value(rule.action(), data)
        .ok_or_else(|| CompileError::ReturnValue { call: first(), value: data.unwrap_or_default() })?;
    let condition =
        |arg| Condition::of(arg).ok_or_else(|| CompileError::Argument { call: first(), index: arg.index() });
    let conditions = rule.args().iter().flatten().map(condition).collect::<Result<Vec<_>, _>>()?;
    let repeated = |(place, one): (usize, &Condition)| conditions[..place].iter().any(|other| other.index == one.index);
    if conditions.iter().enumerate().any(repeated) {
        return Ok(conditions.into_iter().map(|condition| Rule { conditions: vec![condition], action }).collect());
    }
    Ok(vec![Rule { conditions, action }])
}

/// All numbers that come with one audit value, and where they lead.
struct Space {
    audit: u32,
    entry: Goal,
}

/// Writes the trees, the native one last and so nearest to the program's beginning.
fn spaces(tables: &[Table], resolved: &Resolved, default: u32, assembler: &mut Assembler) -> Vec<Space> {
    let mut writer = Writer { assembler, resolved, default, blocks: Vec::new() };
    let calls = |wanted: Table| tables.iter().position(|t| *t == wanted).map(|index| resolved.calls[index].as_slice());
    let mut spaces = Vec::new();
    for table in tables.iter().rev() {
        let own = calls(*table).unwrap_or_default();
        let entry = match table {
            // Written with x86-64, of which it is a part.
            Table::X32 if tables.contains(&Table::X86_64) => continue,
            Table::X86_64 => writer.x86_64(own, calls(Table::X32)),
            Table::X32 => writer.x32(own),
            Table::Arm => writer.tree(own, Some(ARM_PRIVATE)),
            Table::X86 | Table::Aarch64 => writer.tree(own, None),
        };
        spaces.push(Space { audit: table.audit(), entry: writer.assembler.then(LOAD, NUMBER, entry) });
    }
    spaces.reverse();
    spaces
}

// Offsets in `struct seccomp_data` (linux/seccomp.h).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// Writes the decisions on call numbers, which the accumulator holds.
struct Writer<'a> {
    assembler: &'a mut Assembler,
    resolved: &'a Resolved,
    default: u32,
    /// Calls with the same rules on their arguments share the same instructions.
    blocks: Vec<(Clauses, Goal)>,
}

impl Writer<'_> {
    /// x86-64, and x32 when the profile lists it.
    ///
    /// The two share one tree: x32's calls have x86-64's numbers with a bit set, or numbers of their own from
    /// [`X32_OWN`] on, and the newest call of either is the newest of both. A number that only the other of the two has is answered as the other's; the kernel (any since 5.4) has no
    /// such call and says so.
    fn x86_64(&mut self, own: &[(u32, usize)], x32: Option<&[(u32, usize)]>) -> Goal {
        let Some(x32) = x32 else {
            let tree = self.tree(own, None);
            // Not a number, and not x32's: a tracer's way to say "no call at all".
            let none = Goal::Return(self.default);
            let foreign = self.assembler.branch(EQUAL, u32::MAX, none, Goal::Return(KILL_PROCESS));
            return self.assembler.branch(AT_LEAST, X32_BIT, foreign, tree);
        };
        let mut both: Vec<(u32, usize)> = x32.iter().map(|(number, rule)| (number & !X32_BIT, *rule)).collect();
        both.extend_from_slice(own);
        both.sort_unstable();
        both.dedup();
        let tree = self.tree(&both, Some(X32_OWN));
        let cleared = self.assembler.then(AND, !X32_BIT, tree);
        self.assembler.branch(AT_LEAST, X32_BIT, cleared, tree)
    }

    /// x32 as the native architecture, of a profile that does not list x86-64.
    fn x32(&mut self, own: &[(u32, usize)]) -> Goal {
        let own: Vec<(u32, usize)> = own.iter().map(|(number, rule)| (number & !X32_BIT, *rule)).collect();
        let tree = self.tree(&own, Some(X32_OWN));
        let cleared = self.assembler.then(AND, !X32_BIT, tree);
        self.assembler.branch(AT_LEAST, X32_BIT, cleared, Goal::Return(KILL_PROCESS))
    }

    /// The tree for these calls, in ascending order. `apart` are numbers that do not tell how new a call is.
    fn tree(&mut self, calls: &[(u32, usize)], apart: Option<Range<u32>>) -> Goal {
        let default = Goal::Return(self.default);
        let apart = apart.unwrap_or(u32::MAX..u32::MAX);
        let newest = calls.iter().map(|(number, _)| *number).filter(|number| !apart.contains(number)).max();
        let absent = newest.zip(absent(self.default)).map(|(newest, value)| (newest, Goal::Return(value)));
        let unnamed = |number: u32| match absent {
            Some((newest, goal)) if number > newest && !apart.contains(&number) => goal,
            _ => default,
        };
        let mut runs = vec![];
        let mut next = 0;
        // Between the calls that are named, what is unnamed changes only in these places.
        let mut changes: Vec<u32> = newest.iter().map(|n| n + 1).chain([apart.start, apart.end]).collect();
        changes.sort_unstable();
        for group in calls.chunk_by(|a, b| a.0 == b.0) {
            let number = group[0].0;
            fill(&mut runs, next..number, &changes, &unnamed);
            runs.push(Run { start: number, goal: self.call(group) });
            next = number + 1;
        }
        fill(&mut runs, next..u32::MAX, &changes, &unnamed);
        tree::decide(self.assembler, &runs)
    }

    /// What one call's rules, in order, lead to.
    fn call(&mut self, rules: &[(u32, usize)]) -> Goal {
        let rules = || rules.iter().map(|(_, index)| &self.resolved.rules[*index]);
        let clauses = clauses(rules().map(|rule| (rule.conditions.as_slice(), rule.action)), self.default);
        if clauses.clauses.is_empty() {
            return Goal::Return(clauses.otherwise);
        }
        if let Some((_, goal)) = self.blocks.iter().find(|(known, _)| *known == clauses) {
            return *goal;
        }
        let goal = args::write(self.assembler, &clauses);
        self.blocks.push((clauses, goal));
        goal
    }
}

/// Runs for the numbers of `range`, none of which is named.
fn fill(runs: &mut Vec<Run>, range: Range<u32>, changes: &[u32], unnamed: &dyn Fn(u32) -> Goal) {
    if range.is_empty() {
        return;
    }
    runs.push(Run { start: range.start, goal: unnamed(range.start) });
    let inside = changes.iter().filter(|change| **change > range.start && **change < range.end);
    runs.extend(inside.map(|change| Run { start: *change, goal: unnamed(*change) }));
}

/// The rules up to the first without conditions, which is what happens otherwise.
fn clauses<'a>(rules: impl Iterator<Item = (&'a [Condition], u32)>, default: u32) -> Clauses {
    let mut result = Clauses { clauses: Vec::new(), otherwise: default };
    for (conditions, action) in rules {
        if conditions.is_empty() {
            result.otherwise = action;
            break;
        }
        result.clauses.push((conditions.to_vec(), action));
    }
    while result.clauses.last().is_some_and(|(_, action)| *action == result.otherwise) {
        result.clauses.pop();
    }
    result
}

/// What a call newer than the profile gets, if anything but the default.
fn absent(default: u32) -> Option<u32> {
    let is_error = default & 0xffff_0000 == ERRNO;
    (is_error && default != ERRNO | ENOSYS).then_some(ERRNO | ENOSYS)
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

fn flags(profile: &LinuxSeccomp) -> u32 {
    // When the profile does not say: without the mitigation of speculative stores that kernels before 5.16 switch on with every
    // filter. It slows everything down, and it guards one process's parts from each other, not containers. runc's default too.
    const SPEC_ALLOW: u32 = 4;
    const TSYNC: u32 = 1;
    const NEW_LISTENER: u32 = 8;
    const TSYNC_ESRCH: u32 = 16;
    const WAIT_KILLABLE_RECV: u32 = 32;
    let bit = |flag: &LinuxSeccompFilterFlag| match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync => TSYNC,
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => 2,
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => SPEC_ALLOW,
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => WAIT_KILLABLE_RECV,
    };
    let given = profile.flags().as_ref().map_or(SPEC_ALLOW, |flags| flags.iter().map(bit).fold(0, |a, b| a | b));
    let notifies = profile.syscalls().iter().flatten().any(|rule| rule.action() == LinuxSeccompAction::ScmpActNotify);
    match (notifies, given & TSYNC != 0) {
        // The kernel takes the one only with a listener.
        (false, _) => given & !WAIT_KILLABLE_RECV,
        (true, false) => given | NEW_LISTENER,
        // And both only when a failure of the other is an error rather than the number of a thread.
        (true, true) => given | NEW_LISTENER | TSYNC_ESRCH,
    }
}
