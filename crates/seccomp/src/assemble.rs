// SPDX-License-Identifier: Apache-2.0
//! An assembler that writes a program from its end to its beginning.
//!
//! Classic BPF jumps forward only. Written backwards, every jump's target is there already, so its distance is known;
//! a target that a conditional jump's 8-bit offset does not reach gets a stepping stone.

use std::collections::HashMap;

use crate::compile::Instruction;

// linux/bpf_common.h
pub(crate) const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
pub(crate) const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
pub(crate) const EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
pub(crate) const GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
pub(crate) const AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
pub(crate) const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
pub(crate) const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// An instruction's place, counted from the program's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Label(usize);

/// Where a decision leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Goal {
    /// The filter's answer.
    Return(u32),
    /// More to decide.
    At(Label),
}

#[derive(Debug, Default)]
pub(crate) struct Assembler {
    /// The last instruction first.
    reversed: Vec<Instruction>,
    /// The nearest instruction that answers this.
    returns: HashMap<u32, Label>,
    /// The nearest stepping stone to a place.
    stones: HashMap<Label, Label>,
}

impl Assembler {
    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Label {
        self.reversed.push(Instruction { code, jt, jf, k });
        Label(self.reversed.len() - 1)
    }

    /// Instructions to skip from the next one written to `label`.
    fn distance(&self, label: Label) -> usize {
        self.reversed.len() - label.0 - 1
    }

    /// Can the next instruction but `spare` still reach it with 8 bits?
    fn reaches(&self, label: Label, spare: usize) -> bool {
        self.distance(label) + spare <= usize::from(u8::MAX)
    }

    /// A place that does what the goal says and that a conditional jump written within the next two instructions reaches.
    fn near(&mut self, goal: Goal) -> Label {
        match goal {
            Goal::Return(value) => match self.returns.get(&value) {
                Some(&label) if self.reaches(label, 2) => label,
                _ => {
                    let label = self.push(RETURN, 0, 0, value);
                    self.returns.insert(value, label);
                    label
                }
            },
            Goal::At(label) if self.reaches(label, 2) => label,
            Goal::At(label) => match self.stones.get(&label) {
                Some(&stone) if self.reaches(stone, 2) => stone,
                _ => {
                    let stone = self.jump(label);
                    self.stones.insert(label, stone);
                    stone
                }
            },
        }
    }

    fn jump(&mut self, label: Label) -> Label {
        // A program is at most a few thousand instructions long before it is refused, so this is exact.
        let distance = u32::try_from(self.distance(label)).unwrap_or(u32::MAX);
        self.push(JUMP, 0, 0, distance)
    }

    /// `if accumulator <code> k { yes } else { no }`
    pub(crate) fn branch(&mut self, code: u16, k: u32, yes: Goal, no: Goal) -> Goal {
        if yes == no {
            return yes;
        }
        let (yes, no) = (self.near(yes), self.near(no));
        // `near` left room for two more instructions, of which the second call may have written one.
        let offset = |label| u8::try_from(self.distance(label)).unwrap_or(u8::MAX);
        let (jt, jf) = (offset(yes), offset(no));
        Goal::At(self.push(code, jt, jf, k))
    }

    /// An instruction that goes on to `next`: `accumulator = …`. A mere answer needs no accumulator.
    pub(crate) fn then(&mut self, code: u16, k: u32, next: Goal) -> Goal {
        let Goal::At(label) = next else { return next };
        if self.distance(label) != 0 {
            self.jump(label);
        }
        Goal::At(self.push(code, 0, 0, k))
    }

    /// The program that starts at `entry`, which must be the last instruction written, or a mere answer.
    pub(crate) fn finish(mut self, entry: Goal) -> Vec<Instruction> {
        match entry {
            Goal::Return(value) => {
                self.push(RETURN, 0, 0, value);
            }
            Goal::At(label) if self.distance(label) != 0 => {
                self.jump(label);
            }
            Goal::At(_) => {}
        }
        self.reversed.reverse();
        self.reversed
    }
}
