// SPDX-License-Identifier: Apache-2.0
//! `docs/daemon.md` says of each of the daemon's flags what the command line says.

use clap::{Args as _, Command};

use super::foreign::FLAGS;

const PAGE: &str = include_str!("../../../../../docs/daemon.md");

#[test]
fn the_page_of_the_daemon_is_what_it_has() {
    let daemon = super::Args::augment_args(Command::new("daemon"));
    let mut wanted = Vec::new();
    for flag in daemon.get_arguments().filter(|flag| !flag.is_hide_set()) {
        // Its only alias is a name for all.
        let Some(long) = flag.get_long() else { continue };
        let letter = flag.get_short().map(|letter| format!("-{letter}, ")).unwrap_or_default();
        let help = flag.get_help().map(ToString::to_string).unwrap_or_default().replace('|', "\\|");
        wanted.push((long.to_owned(), format!("| `{letter}--{long}` | works | {help} |")));
    }
    for flag in FLAGS {
        let state = match flag.passes {
            [] => "refused".to_owned(),
            ["*"] => "nothing to do".to_owned(),
            passes => format!(
                "refused, but for {}",
                passes.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(" ")
            ),
        };
        let letter = if flag.name == "storage-driver" { "-s, " } else { "" };
        wanted.push((flag.name.to_owned(), format!("| `{letter}--{}` | {state} | {} |", flag.name, flag.reason)));
    }
    wanted.sort();
    let wanted: Vec<String> = wanted.into_iter().map(|(_, row)| row).collect();
    let found: Vec<&str> = PAGE.lines().filter(|line| line.starts_with("| `-")).collect();
    let missing: Vec<&str> = wanted.iter().map(String::as_str).filter(|row| !found.contains(row)).collect();
    let wrong: Vec<&str> = found.iter().filter(|row| !wanted.iter().any(|wanted| wanted == *row)).copied().collect();
    assert!(
        found == wanted,
        "docs/daemon.md lacks these rows:\n{}\nand has these in vain, or is not sorted:\n{}\n",
        missing.join("\n"),
        wrong.join("\n")
    );
}
