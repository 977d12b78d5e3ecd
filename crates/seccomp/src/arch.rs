// SPDX-License-Identifier: Apache-2.0
//! Architectures: how the kernel names them to a filter, and where their call numbers lie.

use std::ops::Range;

use oci::runtime_spec::Arch;

/// x32 shares x86-64's audit value; its calls are told by this bit in the number (`asm/unistd.h`, `__X32_SYSCALL_BIT`).
pub(crate) const X32_BIT: u32 = 0x4000_0000;

/// Where x32 needs another form of a call, it has a number of its own among these; x86-64 has none there.
pub(crate) const X32_OWN: Range<u32> = 512..548;

/// 32-bit arm keeps calls of its own here (from `__ARM_NR_BASE` on), far from the ones that are numbered upwards.
pub(crate) const ARM_PRIVATE: Range<u32> = 0x000f_0000..0x000f_0800;

/// An architecture that has a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    X86_64,
    X86,
    X32,
    Aarch64,
    Arm,
}

impl Table {
    pub(crate) fn of(arch: Arch) -> Option<Table> {
        match arch {
            Arch::ScmpArchX86_64 => Some(Table::X86_64),
            Arch::ScmpArchX86 => Some(Table::X86),
            Arch::ScmpArchX32 => Some(Table::X32),
            Arch::ScmpArchAarch64 => Some(Table::Aarch64),
            Arch::ScmpArchArm => Some(Table::Arm),
            _ => None,
        }
    }

    /// What the kernel puts into `seccomp_data.arch` (linux/audit.h).
    pub(crate) fn audit(self) -> u32 {
        match self {
            Table::X86_64 | Table::X32 => 0xc000_003e,
            Table::X86 => 0x4000_0003,
            Table::Aarch64 => 0xc000_00b7,
            Table::Arm => 0x4000_0028,
        }
    }

    /// The column in [`crate::table::CALLS`].
    pub(crate) fn column(self) -> usize {
        match self {
            Table::X86_64 => 0,
            Table::X86 => 1,
            Table::X32 => 2,
            Table::Aarch64 => 3,
            Table::Arm => 4,
        }
    }

    /// Added to a number of the table.
    pub(crate) fn base(self) -> u32 {
        if self == Table::X32 { X32_BIT } else { 0 }
    }
}

/// The architecture this program was built for, with those whose programs its kernel runs too: the most common first.
/// `None` where Corten has no table of system calls.
pub fn native_arch() -> Option<Arch> {
    if cfg!(target_arch = "x86_64") {
        Some(Arch::ScmpArchX86_64)
    } else if cfg!(target_arch = "aarch64") {
        Some(Arch::ScmpArchAarch64)
    } else {
        None
    }
}

/// The native architecture and those whose programs its kernel runs too.
pub(crate) fn family(native: Arch) -> Vec<Arch> {
    match native {
        Arch::ScmpArchX86_64 => vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32],
        Arch::ScmpArchAarch64 => vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm],
        other => vec![other],
    }
}
