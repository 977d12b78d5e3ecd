// SPDX-License-Identifier: Apache-2.0
//! How far a copy is, in one line of the terminal that is written over.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use super::human;

/// No eye needs more, and no terminal should get more.
const INTERVAL: Duration = Duration::from_millis(100);
/// The terminal's sequence for: go to the line's beginning and clear it.
const CLEAR: &str = "\r\x1b[K";

/// Bytes on their way.
#[derive(Debug)]
pub(crate) struct Meter {
    /// What is done with them.
    doing: &'static str,
    bytes: u64,
    drawn: Option<Instant>,
    is_live: bool,
}

impl Meter {
    /// Counts from 0; shown where stderr is a terminal, unless nobody wants to see it.
    pub(crate) fn new(doing: &'static str, quiet: bool) -> Meter {
        Meter { doing, bytes: 0, drawn: None, is_live: !quiet && io::stderr().is_terminal() }
    }

    /// So many more.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if self.is_live && self.drawn.is_none_or(|drawn| drawn.elapsed() >= INTERVAL) {
            self.drawn = Some(Instant::now());
            super::error_data(format!("{CLEAR}{} - {}", self.doing, human::size(self.bytes)).as_bytes());
        }
    }

    /// How many there were.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Meter {
    /// The line is the next one's.
    fn drop(&mut self) {
        if self.drawn.is_some() {
            super::error_data(CLEAR.as_bytes());
        }
    }
}
