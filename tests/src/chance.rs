// SPDX-License-Identifier: Apache-2.0
//! Chance that comes again: tests that strike at random name their seed when they fail.

/// Numbers that follow from a seed.
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    /// Other seeds, other numbers.
    #[must_use]
    pub fn new(seed: usize) -> Chance {
        // xorshift stays at zero; the multiplier spreads small seeds over all bits.
        Chance((seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 16) % end as u64) as usize
    }

    /// One of these, of which there is at least one.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// A number from the environment.
///
/// # Panics
/// When the variable is something else.
#[must_use]
pub fn number(variable: &str) -> Option<usize> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}
