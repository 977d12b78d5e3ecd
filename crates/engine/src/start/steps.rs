// SPDX-License-Identifier: Apache-2.0
//! The times of a start's steps, for `run --trace`.

use runtime::{Step, now_ns};

/// The times of steps; empty, and cheap, when nobody asked for them.
pub(super) struct Steps {
    pub(super) wanted: bool,
    pub(super) taken: Vec<Step>,
}

impl Steps {
    pub(super) fn note(&mut self, name: &str) {
        if self.wanted {
            self.taken.push(Step { name: name.to_owned(), at_ns: now_ns() });
        }
    }
}
