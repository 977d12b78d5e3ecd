// SPDX-License-Identifier: Apache-2.0
//! System calls by name.

use crate::arch::Table;
use crate::table::{CALLS, NONE};

/// A known call's numbers, one per architecture.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call(&'static [i32; 5]);

impl Call {
    /// The call of this name, if any architecture has one.
    pub(crate) fn named(name: &str) -> Option<Call> {
        let index = CALLS.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
        Some(Call(&CALLS[index].1))
    }

    /// Its number as the kernel hands it to a filter.
    pub(crate) fn number(self, table: Table) -> Option<u32> {
        match self.0[table.column()] {
            NONE => None,
            number => u32::try_from(number).ok().map(|n| n + table.base()),
        }
    }
}

/// The name of a call by its number on the architecture this program was built for; `None` when it has no such call.
pub fn call_name(number: u64) -> Option<&'static str> {
    let column = Table::of(crate::native_arch()?)?.column();
    let number = i32::try_from(number).ok()?;
    CALLS.iter().find(|(_, numbers)| numbers[column] == number).map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_no_number_is_given_twice() {
        assert!(CALLS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for column in 0..5 {
            let mut numbers: Vec<i32> = CALLS.iter().map(|(_, n)| n[column]).filter(|n| *n != NONE).collect();
            let all = numbers.len();
            assert!(all > 300);
            numbers.sort_unstable();
            numbers.dedup();
            // arm_sync_file_range and sync_file_range2 are two names of one call on arm.
            assert_eq!(numbers.len(), if column == 4 { all - 1 } else { all }, "column {column}");
        }
    }

    #[test]
    fn numbers_are_the_kernels() {
        let number = |name, table| Call::named(name).and_then(|c| c.number(table));
        assert_eq!(number("read", Table::X86_64), Some(0));
        assert_eq!(number("rt_sigaction", Table::X32), Some(0x4000_0200));
        assert_eq!(number("socketcall", Table::X86), Some(102));
        assert_eq!(number("openat", Table::Aarch64), Some(56));
        assert_eq!(number("open", Table::Aarch64), None);
        assert_eq!(number("set_tls", Table::Arm), Some(0x000f_0005));
        assert_eq!(number("file_setattr", Table::Arm), Some(469));
        assert!(Call::named("opennat").is_none());
        assert!(Call::named("riscv_hwprobe").is_some_and(|c| c.number(Table::X86_64).is_none()));
    }

    /// The table agrees with the C library's numbers for the architecture the tests run on.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn numbers_agree_with_the_c_headers() {
        let header = std::fs::read_to_string("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").expect("linux-libc-dev");
        let mut seen = 0;
        for line in header.lines() {
            let mut words = line.split_whitespace();
            let (Some("#define"), Some(name), Some(number)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            let (Some(name), Ok(number)) = (name.strip_prefix("__NR_"), number.parse::<u32>()) else { continue };
            assert_eq!(Call::named(name).and_then(|c| c.number(Table::X86_64)), Some(number), "{name}");
            assert_eq!(call_name(u64::from(number)), Some(name));
            seen += 1;
        }
        assert!(seen > 350);
    }
}
