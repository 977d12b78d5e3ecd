// SPDX-License-Identifier: Apache-2.0
//! `docs/run-flags.md` says of each flag what the command line says.

use std::collections::BTreeMap;

use clap::{Args, Command};

const TABLE: &str = include_str!("../../../../docs/run-flags.md");

/// The rows of the table: the flag without its dashes, its letter, its state.
fn documented() -> BTreeMap<&'static str, (Option<char>, &'static str)> {
    let rows = TABLE.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let (names, state) = (cells.next()?.trim_end_matches('`'), cells.next()?);
        let (letter, long) = match names.split_once(", ") {
            Some((letter, long)) => (letter.chars().nth(1), long),
            None => (None, names),
        };
        Some((long.strip_prefix("--")?, (letter, state)))
    });
    rows.collect()
}

#[test]
fn the_table_of_flags_is_what_the_command_line_has() {
    let defined = crate::commands::run::Args::augment_args(Command::new("run"));
    let documented = documented();
    let mut wrong = Vec::new();
    let flags: Vec<_> = defined.get_arguments().filter_map(|flag| Some((flag.get_long()?, flag))).collect();
    for (name, flag) in &flags {
        let state = if flag.is_hide_set() { "refused" } else { "works" };
        match documented.get(name) {
            Some((letter, found)) if *found == state && *letter == flag.get_short() => {}
            found => wrong.push(format!("--{name} ({:?}) {state}, and the table has {found:?}", flag.get_short())),
        }
    }
    for (name, (_, state)) in &documented {
        if !flags.iter().any(|(flag, _)| flag == name) {
            wrong.push(format!("--{name} is documented as {state}, and there is no such flag"));
        }
    }
    assert!(wrong.is_empty(), "docs/run-flags.md:\n{}", wrong.join("\n"));
}
