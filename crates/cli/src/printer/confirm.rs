// SPDX-License-Identifier: Apache-2.0
//! Asking before something is removed.

use std::io::{BufRead, IsTerminal};

/// Whether the user wants all of `which` removed. Nobody who can be asked means no.
pub(crate) fn is_wanted(which: &[&str]) -> bool {
    match which {
        [one] => super::warning(&format!("this removes {one}")),
        several => super::warning(&format!("this removes\n  - {}", several.join("\n  - "))),
    }
    super::error_data(b"Are you sure you want to continue? [y/N] ");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    if !std::io::stdin().is_terminal() {
        super::note("");
    }
    read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}
