// SPDX-License-Identifier: Apache-2.0
//! The help: commands below headings, which clap has for flags only, and its colours.

use std::fmt::Write;
use std::io::IsTerminal;

use clap::Command;
use clap::builder::StyledStr;
use clap::builder::styling::{AnsiColor, Styles};

use crate::{printer, program};

/// Some commands of the program or of a group that belong together: the next ones in the order of their declaration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Section {
    /// What they have in common.
    pub(crate) heading: &'static str,
    /// How many they are.
    pub(crate) commands: usize,
}

/// How the parts of a help look in a terminal.
pub(crate) const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Yellow.on_default().bold())
    .usage(AnsiColor::Yellow.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Green.on_default());

/// Has the help of `command` list its commands below the headings of `sections`.
pub(crate) fn with_sections(command: Command, sections: &[Section]) -> Command {
    let mut text = String::from("{about-with-newline}\n{usage-heading} {usage}\n");
    let commands: Vec<&Command> = command.get_subcommands().collect();
    let width = commands.iter().map(|command| command.get_name().len()).max().unwrap_or(0);
    let (header, literal) = (STYLES.get_header(), STYLES.get_literal());
    let mut next = commands.iter();
    for section in sections {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{header}{}:{header:#}\n", section.heading);
        for command in next.by_ref().take(section.commands) {
            let about = command.get_about().map(StyledStr::to_string).unwrap_or_default();
            let name = command.get_name();
            let _ = writeln!(text, "  {literal}{name}{literal:#}{:1$}  {about}", "", width - name.len());
        }
    }
    let _ = write!(text, "\n{header}Options:{header:#}\n{{options}}{{after-help}}\n");
    command.help_template(text)
}

/// A help or a refusal as it is printed: in colour only where `stream` is a terminal and the user has nothing against it.
pub(crate) fn render(text: &StyledStr, stream: &impl IsTerminal) -> String {
    let text = if printer::has_colours(stream) { text.ansi().to_string() } else { text.to_string() };
    program::spoken(&text).into_owned()
}
