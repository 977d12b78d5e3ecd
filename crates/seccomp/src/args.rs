// SPDX-License-Identifier: Apache-2.0
//! Decisions on a call's arguments. The kernel shows six arguments of 64 bits; BPF compares 32 bits at a time.

use oci::runtime_spec::{LinuxSeccompArg, LinuxSeccompOperator as Operator};

use crate::assemble::{AND, AT_LEAST, Assembler, EQUAL, GREATER, Goal, LOAD};
use crate::tree::{self, Run};

/// A condition on one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Condition {
    /// 0 to 5.
    pub(crate) index: u32,
    pub(crate) test: Test,
}

/// What is asked of an argument's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Test {
    NotEqual(u64),
    Less(u64),
    AtMost(u64),
    Equal(u64),
    AtLeast(u64),
    Greater(u64),
    /// `value & mask == wanted`
    Masked {
        mask: u64,
        wanted: u64,
    },
}

/// What is to be decided about one call: the first clause whose conditions all hold, or else `otherwise`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clauses {
    pub(crate) clauses: Vec<(Vec<Condition>, u32)>,
    pub(crate) otherwise: u32,
}

impl Condition {
    /// `None` when there is no such argument.
    pub(crate) fn of(arg: &LinuxSeccompArg) -> Option<Condition> {
        let value = arg.value();
        let test = match arg.op() {
            Operator::ScmpCmpNe => Test::NotEqual(value),
            Operator::ScmpCmpLt => Test::Less(value),
            Operator::ScmpCmpLe => Test::AtMost(value),
            Operator::ScmpCmpEq => Test::Equal(value),
            Operator::ScmpCmpGe => Test::AtLeast(value),
            Operator::ScmpCmpGt => Test::Greater(value),
            Operator::ScmpCmpMaskedEq => Test::Masked { mask: value, wanted: arg.value_two().unwrap_or(0) },
        };
        let index = u32::try_from(arg.index()).ok().filter(|index| *index < 6)?;
        Some(Condition { index, test })
    }

    /// Offsets in `struct seccomp_data` (linux/seccomp.h); both families of architectures here are little-endian.
    fn low_offset(self) -> u32 {
        16 + 8 * self.index
    }

    fn high_offset(self) -> u32 {
        self.low_offset() + 4
    }
}

impl Test {
    pub(crate) fn holds(self, value: u64) -> bool {
        match self {
            Test::NotEqual(other) => value != other,
            Test::Less(other) => value < other,
            Test::AtMost(other) => value <= other,
            Test::Equal(other) => value == other,
            Test::AtLeast(other) => value >= other,
            Test::Greater(other) => value > other,
            Test::Masked { mask, wanted } => value & mask == wanted,
        }
    }

    /// Where, along all values, the answer may change; `None` if it changes in too many places for a list. `bits` is
    /// 64, or 32 when only the low word is looked at.
    fn boundaries(self, bits: u32) -> Option<Vec<u64>> {
        let after = |value: u64| value.checked_add(1).into_iter();
        match self {
            Test::Less(value) | Test::AtLeast(value) => Some(vec![value]),
            Test::AtMost(value) | Test::Greater(value) => Some(after(value).collect()),
            Test::Equal(value) | Test::NotEqual(value) => Some(after(value).chain([value]).collect()),
            Test::Masked { mask, wanted } => {
                // A mask of leading ones asks for one interval.
                let all = u64::MAX >> (64 - bits);
                let free = !mask & all;
                let is_prefix = mask <= all && free & (free.wrapping_add(1)) == 0;
                is_prefix
                    .then(|| if wanted & !mask == 0 { after(wanted | free).chain([wanted]).collect() } else { vec![] })
            }
        }
    }

    /// Does the answer depend on the low word alone?
    fn is_low(self) -> bool {
        matches!(self, Test::Masked { mask, wanted } if mask >> 32 == 0 && wanted >> 32 == 0)
    }
}

impl Clauses {
    /// The answer for these arguments: what the program written by [`write`] computes.
    pub(crate) fn evaluate(&self, holds: impl Fn(&Condition) -> bool) -> u32 {
        let hit = self.clauses.iter().find(|(conditions, _)| conditions.iter().all(&holds));
        hit.map_or(self.otherwise, |(_, action)| *action)
    }

    /// The one condition all others agree with about which argument matters.
    fn only_argument(&self) -> Option<Condition> {
        let mut conditions = self.clauses.iter().flat_map(|(conditions, _)| conditions);
        let first = *conditions.next()?;
        conditions.all(|c| c.index == first.index).then_some(first)
    }

    fn all_tests(&self, condition: impl Fn(Test) -> bool) -> bool {
        self.clauses.iter().flat_map(|(conditions, _)| conditions).all(|c| condition(c.test))
    }

    /// The answers along all values of the only argument, merged; `None` when it is not a matter of few intervals.
    fn intervals(&self, bits: u32) -> Option<Vec<(u64, u32)>> {
        let mut starts = vec![0];
        for condition in self.clauses.iter().flat_map(|(conditions, _)| conditions) {
            starts.extend(condition.test.boundaries(bits)?);
        }
        starts.retain(|start| bits == 64 || *start >> bits == 0);
        starts.sort_unstable();
        starts.dedup();
        let mut intervals: Vec<(u64, u32)> = Vec::new();
        for start in starts {
            let answer = self.evaluate(|condition| condition.test.holds(start));
            if intervals.last().is_none_or(|(_, last)| *last != answer) {
                intervals.push((start, answer));
            }
        }
        Some(intervals)
    }
}

/// Writes the decision.
pub(crate) fn write(assembler: &mut Assembler, clauses: &Clauses) -> Goal {
    if let Some(argument) = clauses.only_argument() {
        if clauses.all_tests(Test::is_low)
            && let Some(intervals) = clauses.intervals(32)
        {
            let tree = write_low(assembler, &intervals);
            return assembler.then(LOAD, argument.low_offset(), tree);
        }
        if let Some(goal) = clauses.intervals(64).and_then(|i| write_full(assembler, argument, &i)) {
            return goal;
        }
    }
    let mut next = Goal::Return(clauses.otherwise);
    for (conditions, action) in clauses.clauses.iter().rev() {
        let mut goal = Goal::Return(*action);
        for condition in conditions.iter().rev() {
            goal = write_condition(assembler, *condition, goal, next);
        }
        next = goal;
    }
    next
}

/// A tree over the low word, which is in the accumulator.
fn write_low(assembler: &mut Assembler, intervals: &[(u64, u32)]) -> Goal {
    // The caller gives none that starts above 32 bits.
    let run =
        |&(start, answer): &(u64, u32)| Some(Run { start: u32::try_from(start).ok()?, goal: Goal::Return(answer) });
    let runs: Vec<Run> = intervals.iter().filter_map(run).collect();
    tree::decide(assembler, &runs)
}

/// The whole value, where all that has a high word is answered alike: the usual case, small numbers.
fn write_full(assembler: &mut Assembler, argument: Condition, intervals: &[(u64, u32)]) -> Option<Goal> {
    let (small, large): (Vec<_>, Vec<_>) = intervals.iter().copied().partition(|(start, _)| start >> 32 == 0);
    let high = match large.as_slice() {
        [] => small.last()?.1,
        [(start, answer)] if *start == 1 << 32 => *answer,
        _ => return None,
    };
    let low = write_low(assembler, &small);
    let low = assembler.then(LOAD, argument.low_offset(), low);
    let high = assembler.branch(EQUAL, 0, low, Goal::Return(high));
    Some(assembler.then(LOAD, argument.high_offset(), high))
}

/// `if condition { yes } else { no }`, on two words.
fn write_condition(assembler: &mut Assembler, condition: Condition, yes: Goal, no: Goal) -> Goal {
    match condition.test {
        Test::Equal(value) => write_masked(assembler, condition, u64::MAX, value, yes, no),
        Test::NotEqual(value) => write_masked(assembler, condition, u64::MAX, value, no, yes),
        Test::Masked { mask, wanted } if wanted & !mask != 0 => no,
        Test::Masked { mask, wanted } => write_masked(assembler, condition, mask, wanted, yes, no),
        Test::Greater(value) => write_above(assembler, condition, GREATER, value, yes, no),
        Test::AtLeast(value) => write_above(assembler, condition, AT_LEAST, value, yes, no),
        Test::Less(value) => write_above(assembler, condition, AT_LEAST, value, no, yes),
        Test::AtMost(value) => write_above(assembler, condition, GREATER, value, no, yes),
    }
}

fn words(value: u64) -> (u32, u32) {
    // The two halves; nothing is lost.
    #[allow(clippy::cast_possible_truncation)]
    ((value >> 32) as u32, value as u32)
}

fn write_masked(a: &mut Assembler, condition: Condition, mask: u64, wanted: u64, yes: Goal, no: Goal) -> Goal {
    let ((mask_high, mask_low), (high, low)) = (words(mask), words(wanted));
    let goal = write_word(a, condition.low_offset(), mask_low, low, yes, no);
    write_word(a, condition.high_offset(), mask_high, high, goal, no)
}

fn write_word(a: &mut Assembler, offset: u32, mask: u32, wanted: u32, yes: Goal, no: Goal) -> Goal {
    if mask == 0 {
        return yes;
    }
    let mut goal = a.branch(EQUAL, wanted, yes, no);
    if mask != u32::MAX {
        goal = a.then(AND, mask, goal);
    }
    a.then(LOAD, offset, goal)
}

/// `code` is the comparison of the low words, once the high ones are equal.
fn write_above(a: &mut Assembler, condition: Condition, code: u16, value: u64, yes: Goal, no: Goal) -> Goal {
    let (high, low) = words(value);
    let goal = a.branch(code, low, yes, no);
    let goal = a.then(LOAD, condition.low_offset(), goal);
    let goal = a.branch(EQUAL, high, goal, no);
    let goal = a.branch(GREATER, high, yes, goal);
    a.then(LOAD, condition.high_offset(), goal)
}
