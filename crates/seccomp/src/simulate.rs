// SPDX-License-Identifier: Apache-2.0
//! An interpreter for filters: what the kernel would answer, and in how many steps.

use crate::Program;
use crate::action::KILL_PROCESS;
use crate::assemble::{AND, AT_LEAST, EQUAL, GREATER, JUMP, LOAD, RETURN};

/// What a filter sees of a call: `struct seccomp_data` (linux/seccomp.h).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SeccompData {
    /// The call's number; x32's with bit 30.
    pub nr: u32,
    /// The `AUDIT_ARCH_*` value.
    pub arch: u32,
    /// Where the call comes from.
    pub instruction_pointer: u64,
    /// The arguments.
    pub args: [u64; 6],
}

impl SeccompData {
    /// The 32-bit word at a byte offset.
    fn word(&self, offset: u32) -> Option<u32> {
        let half = |value: u64, offset: u32| {
            let shifted = if offset.is_multiple_of(8) { value } else { value >> 32 };
            u32::try_from(shifted & u64::from(u32::MAX)).ok()
        };
        match offset {
            0 => Some(self.nr),
            4 => Some(self.arch),
            8 | 12 => half(self.instruction_pointer, offset),
            16..64 if offset.is_multiple_of(4) => half(self.args[usize::try_from((offset - 16) / 8).ok()?], offset),
            _ => None,
        }
    }
}

/// The filter's answer and the number of instructions it took. A program that the kernel would not have taken (one that
/// this crate's compiler does not write) ends the process.
pub fn simulate(program: &Program, data: &SeccompData) -> (u32, usize) {
    let (mut accumulator, mut at, mut steps) = (0, 0, 0);
    while let Some(instruction) = program.instructions.get(at) {
        steps += 1;
        at += 1;
        let mut jump = |holds: bool| at += usize::from(if holds { instruction.jt } else { instruction.jf });
        match instruction.code {
            LOAD => match data.word(instruction.k) {
                Some(word) => accumulator = word,
                None => break,
            },
            AND => accumulator &= instruction.k,
            JUMP => at += usize::try_from(instruction.k).unwrap_or(usize::MAX / 2),
            EQUAL => jump(accumulator == instruction.k),
            GREATER => jump(accumulator > instruction.k),
            AT_LEAST => jump(accumulator >= instruction.k),
            RETURN => return (instruction.k, steps),
            _ => break,
        }
    }
    (KILL_PROCESS, steps)
}
