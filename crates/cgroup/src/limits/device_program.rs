// SPDX-License-Identifier: Apache-2.0
//! Device access rules under v2: a BPF program that the kernel asks for every access. Pure.
//!
//! The rules are read backwards, so the last one that speaks of an access decides it, as with v1's files, where each
//! changes what stood before. An access may ask for several things at once (read and write): each must be allowed.

use oci::runtime_spec::{LinuxDeviceCgroup, LinuxDeviceType};
use sys::bpf::Instruction;

use super::devices::{LIMIT, access};
use crate::CgroupError;

// Registers: the context, what is still to be allowed, and the device.
const R0: u8 = 0;
const CONTEXT: u8 = 1;
const WANTED: u8 = 2;
const KIND: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

// linux/bpf_common.h and linux/bpf.h; the comparisons and the arithmetic are on 32 bits.
const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const MOVE: u8 = 0xbc; // BPF_ALU | BPF_MOV | BPF_X
const AND: u8 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const SHIFT_RIGHT: u8 = 0x74; // BPF_ALU | BPF_RSH | BPF_K
const SET: u8 = 0xb7; // BPF_ALU64 | BPF_MOV | BPF_K
const JUMP: u8 = 0x05; // BPF_JMP | BPF_JA
const JUMP_IF_NOT: u8 = 0x56; // BPF_JMP32 | BPF_JNE | BPF_K
const JUMP_IF_ANY: u8 = 0x46; // BPF_JMP32 | BPF_JSET | BPF_K
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

// linux/bpf.h, `BPF_DEVCG_*`.
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;
const MKNOD: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;
const ALL: i32 = MKNOD | READ | WRITE;

/// The program for these rules. What none of them speaks of is allowed, as in a new cgroup of v1: lists begin by denying
/// everything.
pub(super) fn program(rules: &[LinuxDeviceCgroup]) -> Result<Vec<Instruction>, CgroupError> {
    // struct bpf_cgroup_dev_ctx { access_type (access << 16 | kind), major, minor }
    let mut program = vec![
        instruction(LOAD_WORD, WANTED, CONTEXT, 0, 0),
        instruction(MOVE, KIND, WANTED, 0, 0),
        instruction(AND, KIND, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, WANTED, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules.iter().rev() {
        let (tests, verdict) = (tests(rule)?, verdict(rule)?);
        let is_last = tests.is_empty() && verdict.len() == 2;
        for (index, (register, value)) in tests.iter().enumerate() {
            // To the next rule: over the tests that are left and the verdict; both are a handful.
            let distance = tests.len() - index - 1 + verdict.len();
            program.push(instruction(JUMP_IF_NOT, *register, 0, i16::try_from(distance).unwrap_or(0), *value));
        }
        program.extend(verdict);
        if is_last {
            // The kernel refuses instructions that are never reached.
            return Ok(program);
        }
    }
    program.extend(answer(true));
    Ok(program)
}

/// What must be equal for the rule to speak of an access.
fn tests(rule: &LinuxDeviceCgroup) -> Result<Vec<(u8, i32)>, CgroupError> {
    let kind = match rule.typ().unwrap_or_default() {
        LinuxDeviceType::A => None,
        LinuxDeviceType::B => Some(BLOCK),
        LinuxDeviceType::C | LinuxDeviceType::U => Some(CHARACTER),
        LinuxDeviceType::P => {
            let why = "a FIFO is no device";
            return Err(CgroupError::InvalidLimit { limit: LIMIT, value: "p".to_owned(), why });
        }
    };
    let number = |number: Option<i64>| match number.filter(|n| *n >= 0).map(i32::try_from) {
        None => Ok(None),
        Some(Ok(number)) => Ok(Some(number)),
        Some(Err(_)) => Err(CgroupError::InvalidLimit {
            limit: LIMIT,
            value: format!("{}:{}", rule.major().unwrap_or(-1), rule.minor().unwrap_or(-1)),
            why: "not a device number",
        }),
    };
    let all = [(KIND, kind), (MAJOR, number(rule.major())?), (MINOR, number(rule.minor())?)];
    Ok(all.into_iter().filter_map(|(register, value)| Some((register, value?))).collect())
}

/// What happens to an access that the rule speaks of: two instructions when that settles it in any case.
fn verdict(rule: &LinuxDeviceCgroup) -> Result<Vec<Instruction>, CgroupError> {
    let mask = access(rule)?.bytes().fold(0, |mask, letter| {
        mask | match letter {
            b'r' => READ,
            b'w' => WRITE,
            _ => MKNOD,
        }
    });
    let mut verdict = match (mask, rule.allow()) {
        (ALL, _) => vec![],
        // What the rule allows needs no more allowing; when nothing is left, all is allowed.
        (_, true) => vec![instruction(AND, WANTED, 0, 0, ALL & !mask), instruction(JUMP_IF_NOT, WANTED, 0, 2, 0)],
        (_, false) => vec![instruction(JUMP_IF_ANY, WANTED, 0, 1, mask), instruction(JUMP, 0, 0, 2, 0)],
    };
    verdict.extend(answer(rule.allow()));
    Ok(verdict)
}

fn answer(allow: bool) -> [Instruction; 2] {
    [instruction(SET, R0, 0, 0, i32::from(allow)), instruction(EXIT, 0, 0, 0, 0)]
}

fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: from << 4 | to, offset, immediate }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Interprets the program as the kernel does: the ten kinds of instruction it is made of.
    fn run(program: &[Instruction], kind: i32, access: i32, major: i32, minor: i32) -> bool {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0_i32; 6];
        let mut at = 0_usize;
        loop {
            let i = program[at];
            let (to, from) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
            at += 1;
            let jump = |at: usize| at + usize::try_from(i.offset).unwrap();
            match i.code {
                LOAD_WORD => registers[to] = context[usize::try_from(i.offset).unwrap() / 4],
                MOVE => registers[to] = registers[from],
                AND => registers[to] &= i.immediate,
                SHIFT_RIGHT => registers[to] >>= i.immediate,
                SET => registers[to] = i.immediate,
                JUMP => at = jump(at),
                JUMP_IF_NOT if registers[to] != i.immediate => at = jump(at),
                JUMP_IF_ANY if registers[to] & i.immediate != 0 => at = jump(at),
                JUMP_IF_NOT | JUMP_IF_ANY => {}
                EXIT => return registers[0] == 1,
                other => panic!("{other:#x}"),
            }
        }
    }

    fn rules(json: &str) -> Vec<LinuxDeviceCgroup> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_usual_list() {
        let program = program(&rules(
            r#"[{"allow": false, "access": "rwm"},
                {"allow": true, "type": "c", "access": "m"}, {"allow": true, "type": "b", "access": "m"},
                {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
                {"allow": true, "type": "c", "major": 136, "access": "rw"},
                {"allow": true, "type": "b", "major": 8, "minor": 0, "access": "r"}]"#,
        ))
        .unwrap();
        assert!(run(&program, CHARACTER, READ | WRITE, 1, 3));
        assert!(run(&program, CHARACTER, MKNOD | READ, 136, 77), "one rule allows each half");
        assert!(run(&program, BLOCK, MKNOD, 9, 9));
        assert!(run(&program, BLOCK, READ, 8, 0));
        assert!(!run(&program, BLOCK, READ | WRITE, 8, 0));
        assert!(!run(&program, CHARACTER, READ, 8, 0), "another kind of device");
        assert!(!run(&program, CHARACTER, READ, 1, 4));
        assert_eq!(program.last().map(|i| i.code), Some(EXIT));
    }

    #[test]
    fn later_rules_refine_earlier_ones() {
        let program = program(&rules(
            r#"[{"allow": true, "type": "a"}, {"allow": false, "type": "c", "major": 10, "access": "w"},
                {"allow": true, "type": "c", "major": 10, "minor": 200, "access": "rwm"}]"#,
        ))
        .unwrap();
        assert!(run(&program, CHARACTER, READ, 10, 1));
        assert!(!run(&program, CHARACTER, READ | WRITE, 10, 1));
        assert!(run(&program, CHARACTER, WRITE, 10, 200));
        assert!(run(&program, BLOCK, WRITE, 10, 1));
    }

    #[test]
    fn nothing_said_is_allowed_and_nonsense_refused() {
        let silent =
            program(&rules(r#"[{"allow": false, "type": "b", "major": 8, "minor": -1, "access": "rwm"}]"#)).unwrap();
        assert!(run(&silent, CHARACTER, READ, 8, 1));
        assert!(!run(&silent, BLOCK, READ, 8, 1));
        for bad in [r#"[{"allow": true, "access": "rx"}]"#, r#"[{"allow": true, "type": "c", "major": 4294967296}]"#] {
            assert!(matches!(program(&rules(bad)), Err(CgroupError::InvalidLimit { .. })), "{bad}");
        }
    }
}
