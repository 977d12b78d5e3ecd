// SPDX-License-Identifier: Apache-2.0
//! `docs/cli.md` lists each command's flags as the command line has them.

use std::collections::BTreeMap;

use clap::{Arg, Command};

const PAGE: &str = include_str!("../../../docs/cli.md");
/// What has a page of its own: docs/run-flags.md, docs/daemon.md.
const ELSEWHERE: [&str; 3] = ["run", "create", "daemon"];

/// A flag by all its names: `-a, --all`.
fn names(flag: &Arg) -> Option<String> {
    let mut names = format!("--{}", flag.get_long()?);
    if let Some(letter) = flag.get_short() {
        names = format!("-{letter}, {names}");
    }
    for alias in flag.get_visible_aliases().unwrap_or_default() {
        names.push_str(&format!(", --{alias}"));
    }
    Some(format!("`{names}`"))
}

fn row(command: &Command) -> String {
    let mut flags: Vec<&Arg> = command.get_arguments().filter(|flag| flag.get_id() != "help").collect();
    flags.sort_by_key(|flag| flag.get_long());
    let list = |is_refused: bool| {
        let flags = flags.iter().filter(|flag| flag.is_hide_set() == is_refused);
        flags.filter_map(|flag| names(flag)).collect::<Vec<_>>().join(" ")
    };
    format!("{} | {} |", list(false), list(true))
}

/// The rows of all commands below `command`; a group's that is a command by itself as well is not listed twice.
fn rows(command: &Command, path: &str, alone: &BTreeMap<String, String>, out: &mut Vec<String>) {
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        let path = format!("{path} {}", sub.get_name()).trim_start().to_owned();
        if ELSEWHERE.contains(&path.trim_start_matches("container ")) {
            continue;
        }
        if sub.has_subcommands() {
            rows(sub, &path, alone, out);
            continue;
        }
        let row = row(sub);
        if path.contains(' ') && alone.get(sub.get_name()) == Some(&row) {
            continue;
        }
        out.push(format!("| `{path}` | {row}"));
    }
}

#[test]
fn the_page_of_the_command_line_is_what_it_has() {
    let root = crate::cli::definition();
    let alone = root.get_subcommands().map(|sub| (sub.get_name().to_owned(), row(sub))).collect();
    let mut wanted = Vec::new();
    rows(&root, "", &alone, &mut wanted);
    wanted.sort();
    let found: Vec<&str> = PAGE.lines().filter(|line| line.starts_with("| `")).collect();
    let missing: Vec<&str> = wanted.iter().map(String::as_str).filter(|row| !found.contains(row)).collect();
    let wrong: Vec<&str> = found.iter().filter(|row| !wanted.iter().any(|wanted| wanted == *row)).copied().collect();
    assert!(
        found == wanted,
        "docs/cli.md lacks these rows:\n{}\nand has these in vain, or is not sorted:\n{}\n",
        missing.join("\n"),
        wrong.join("\n")
    );
}
