// SPDX-License-Identifier: Apache-2.0
//! A decision over the values of the accumulator, in few instructions.
//!
//! The values are cut into runs that lead to the same goal. A run of a single value amid another's costs one
//! equality test; a boundary between longer runs costs one comparison, and these form a balanced binary tree.

use crate::assemble::{AT_LEAST, Assembler, EQUAL, Goal};

/// Values from `start` up to the next run's start lead to `goal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: u32,
    pub(crate) goal: Goal,
}

/// Single values tested one after the other at a leaf: more would save instructions and cost steps.
const MAX_EXCEPTIONS: usize = 3;

/// A leaf of the tree: one goal, and single values that lead elsewhere.
#[derive(Debug, Clone)]
struct Segment {
    start: u32,
    goal: Goal,
    exceptions: Vec<(u32, Goal)>,
}

/// Writes the decision. `runs` starts with one at 0 and ascends.
pub(crate) fn decide(assembler: &mut Assembler, runs: &[Run]) -> Goal {
    let segments = segment(&merge(runs));
    write(assembler, &segments)
}

fn merge(runs: &[Run]) -> Vec<Run> {
    let mut merged: Vec<Run> = Vec::with_capacity(runs.len());
    for run in runs {
        if merged.last().is_none_or(|last| last.goal != run.goal) {
            merged.push(*run);
        }
    }
    merged
}

/// Cuts the runs into the segments that together take the fewest instructions.
fn segment(runs: &[Run]) -> Vec<Segment> {
    // best[n]: cost of the first n runs, and where the last segment of these begins.
    let mut best: Vec<(usize, usize)> = vec![(0, 0)];
    for end in 1..=runs.len() {
        let mut choice = (usize::MAX, end - 1);
        for (begin, (before, _)) in best.iter().enumerate().skip(end.saturating_sub(2 * MAX_EXCEPTIONS + 1)) {
            if let Some((_, exceptions)) = background(runs, begin, end) {
                let cost = before + 1 + exceptions;
                if cost < choice.0 {
                    choice = (cost, begin);
                }
            }
        }
        best.push(choice);
    }
    let mut segments = Vec::new();
    let mut end = runs.len();
    while end > 0 {
        let begin = best[end].1;
        // A window of one run always has a background, so every choice made above has one.
        let goal = background(runs, begin, end).map_or(runs[begin].goal, |(goal, _)| goal);
        segments.push(Segment {
            start: runs[begin].start,
            goal,
            exceptions: runs[begin..end].iter().filter(|r| r.goal != goal).map(|r| (r.start, r.goal)).collect(),
        });
        end = begin;
    }
    segments.reverse();
    segments
}

/// The goal that all but a few single values of the window lead to, and how many these are.
fn background(runs: &[Run], begin: usize, end: usize) -> Option<(Goal, usize)> {
    let is_single = |index: usize| {
        let next = runs.get(index + 1).map_or(1u64 << 32, |next| u64::from(next.start));
        next - u64::from(runs[index].start) == 1
    };
    let mut wide = (begin..end).filter(|&i| !is_single(i)).map(|i| runs[i].goal);
    let goal = match wide.next() {
        Some(goal) if wide.all(|other| other == goal) => goal,
        Some(_) => return None,
        None => {
            let count = |goal| runs[begin..end].iter().filter(|r| r.goal == goal).count();
            runs[begin..end].iter().map(|r| r.goal).max_by_key(|goal| count(*goal))?
        }
    };
    let exceptions = runs[begin..end].iter().filter(|r| r.goal != goal).count();
    (exceptions <= MAX_EXCEPTIONS).then_some((goal, exceptions))
}

fn write(assembler: &mut Assembler, segments: &[Segment]) -> Goal {
    match segments {
        [] => Goal::Return(crate::action::KILL_PROCESS),
        [one] => one
            .exceptions
            .iter()
            .rev()
            .fold(one.goal, |otherwise, (value, goal)| assembler.branch(EQUAL, *value, *goal, otherwise)),
        many => {
            let (left, right) = many.split_at(many.len() / 2);
            let right_goal = write(assembler, right);
            let left_goal = write(assembler, left);
            assembler.branch(AT_LEAST, right[0].start, right_goal, left_goal)
        }
    }
}
