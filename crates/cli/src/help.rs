// SPDX-License-Identifier: Apache-2.0
//! The help: commands below headings, which clap has for flags only, and its colours.

use std::fmt::Write;
use std::io::IsTerminal;

use clap::Command;
use clap::builder::StyledStr;
use clap::builder::styling::{AnsiColor, Styles};

use crate::{printer, program, terminal};

/// The width of a help where there is no terminal, in characters, and the widest: long lines are hard to read.
const USUAL_WIDTH: usize = 100;
const WIDEST: usize = 120;
/// So many characters of an explanation stand on a line at least.
const LEAST_ROOM: usize = 20;

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
    let columns = terminal::size().map_or(USUAL_WIDTH, |size| usize::from(size.cols)).min(WIDEST);
    let mut next = commands.iter();
    for section in sections {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{header}{}:{header:#}\n", section.heading);
        for command in next.by_ref().take(section.commands) {
            let about = command.get_about().map(StyledStr::to_string).unwrap_or_default();
            let name = command.get_name();
            let about = folded(&about, width + 4, columns);
            let _ = writeln!(text, "  {literal}{name}{literal:#}{:1$}  {about}", "", width - name.len());
        }
    }
    let _ = write!(text, "\n{header}Options:{header:#}\n{{options}}{{after-help}}\n");
    command.help_template(text)
}

/// `text` in lines of `columns` that begin at the column `at`, where the first one stands already: words are not cut.
fn folded(text: &str, at: usize, columns: usize) -> String {
    // Where there is hardly any room, long lines are the lesser evil.
    let room = columns.saturating_sub(at).max(LEAST_ROOM);
    let (mut folded, mut length) = (String::new(), 0);
    for word in text.split(' ') {
        let more = word.chars().count();
        if length > 0 && length + 1 + more > room {
            // Writing to a String cannot fail.
            let _ = write!(folded, "\n{:at$}", "");
            length = 0;
        }
        if length > 0 {
            folded.push(' ');
            length += 1;
        }
        folded.push_str(word);
        length += more;
    }
    folded
}

/// A help or a refusal as it is printed: in colour only where `stream` is a terminal and the user has nothing against it.
pub(crate) fn render(text: &StyledStr, stream: &impl IsTerminal) -> String {
    let text = if printer::has_colours(stream) { text.ansi().to_string() } else { text.to_string() };
    program::spoken(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explanation_goes_on_below_its_beginning() {
        let text = "say what is in an image that nobody needs";
        assert_eq!(folded(text, 4, 28), "say what is in an image\n    that nobody needs");
        assert_eq!(folded(text, 4, 100), text);
        assert_eq!(folded(text, 30, 31).lines().count(), 3, "as many words as there is the least room for");
        assert_eq!(folded("a-word-that-is-longer-than-any-line", 0, 10), "a-word-that-is-longer-than-any-line");
    }
}
