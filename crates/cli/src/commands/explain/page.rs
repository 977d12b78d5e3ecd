// SPDX-License-Identifier: Apache-2.0
//! A page of headings and rows that fits its width: what does not go on a line goes on the next, below its beginning.

/// How far the first column reaches where it can, in characters.
const FIRST: usize = 18;
/// Likewise the second one.
const SECOND: usize = 12;
/// How far the weight of a finding reaches.
const WEIGHT: usize = 8;
/// The widest that a first column becomes for what is in it.
const WIDEST: usize = 28;
/// What stands before every row.
const INDENT: usize = 2;

/// A page that is being written.
pub(super) struct Page {
    width: usize,
    colours: bool,
    /// How far the first column reaches.
    first: usize,
    text: String,
}

impl Page {
    pub(super) fn new(width: usize, colours: bool) -> Page {
        Page { width, colours, first: FIRST, text: String::new() }
    }

    pub(super) fn title(&mut self, name: &str, about: &str) {
        let name = self.painted(&printable(name), "1");
        self.text.push_str(&format!("{name}: {}\n", printable(about)));
    }

    /// Begins a part. Its first column is as wide as its `names` want it, within reason.
    pub(super) fn part<'a>(&mut self, heading: &str, names: impl Iterator<Item = &'a str>) {
        self.heading(heading);
        let widest = names.map(|name| name.chars().count() + 2).max().unwrap_or(0);
        self.first = widest.clamp(FIRST, WIDEST.min(self.width / 2));
    }

    pub(super) fn heading(&mut self, heading: &str) {
        self.first = FIRST;
        let heading = self.painted(heading, "1");
        self.text.push_str(&format!("\n{heading}\n"));
    }

    /// A name, something short and something longer. `colour` (an SGR parameter) is the name's.
    pub(super) fn row(&mut self, name: &str, colour: Option<&str>, short: &str, long: &str) {
        let (name, short, long) = (printable(name), printable(short), printable(long));
        let columns = [&name, &short].iter().zip([self.first, SECOND]).fold(INDENT, |at, (text, column)| {
            let end = at + column;
            if at + text.chars().count() < end { end } else { at + text.chars().count() + 2 }
        });
        let mut line = " ".repeat(INDENT);
        line.push_str(&match colour {
            Some(colour) => self.painted(&name, colour),
            None => name.clone(),
        });
        let first = INDENT + name.chars().count();
        line.push_str(&" ".repeat((INDENT + self.first).saturating_sub(first).max(2)));
        line.push_str(&short);
        // Where three columns do not fit, the third has lines of its own.
        let room = self.width.saturating_sub(columns);
        if room < self.width / 4 && !long.is_empty() {
            self.text.push_str(line.trim_end());
            self.text.push('\n');
            self.paragraph(&long, INDENT + 4, 0);
            return;
        }
        let used = INDENT + self.first.max(name.chars().count() + 2) + short.chars().count();
        line.push_str(&" ".repeat(columns.saturating_sub(used).max(if short.is_empty() { 0 } else { 1 })));
        self.text.push_str(&line);
        self.paragraph(&long, columns, columns);
    }

    /// A weight, what has it, and below that the reason.
    pub(super) fn finding(&mut self, weight: &str, colour: &str, what: &str, why: &str) {
        let painted = self.painted(weight, colour);
        let at = INDENT + WEIGHT;
        let gap = " ".repeat(WEIGHT.saturating_sub(weight.chars().count()));
        self.text.push_str(&format!("{:INDENT$}{painted}{gap}", ""));
        self.paragraph(&printable(what), at, at);
        self.paragraph(&printable(why), at, 0);
    }

    /// A name and what is to be said of it.
    pub(super) fn fact(&mut self, name: &str, what: &str) {
        let name = printable(name);
        self.text.push_str(&format!("{:INDENT$}{name:<FIRST$}", ""));
        self.paragraph(&printable(what), INDENT + FIRST, INDENT + FIRST);
    }

    /// A paragraph.
    pub(super) fn text(&mut self, text: &str) {
        self.paragraph(&printable(text), INDENT, 0);
    }

    /// A step of a numbered list.
    pub(super) fn step(&mut self, number: usize, text: &str) {
        let before = format!("{:INDENT$}{number:>3}. ", "");
        self.text.push_str(&before);
        self.paragraph(&printable(text), before.len(), before.len());
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    /// `text` in lines that begin at the column `at`; the cursor is at the column `now` of the first one.
    fn paragraph(&mut self, text: &str, at: usize, now: usize) {
        let mut column = now;
        let mut is_first_word = true;
        if now == 0 {
            self.text.push_str(&" ".repeat(at));
            column = at;
        }
        for word in text.split(' ') {
            let length = word.chars().count();
            if !is_first_word && column + 1 + length > self.width {
                self.text.push('\n');
                self.text.push_str(&" ".repeat(at));
                (column, is_first_word) = (at, true);
            }
            if !is_first_word {
                self.text.push(' ');
                column += 1;
            }
            // A word that fits on no line is cut.
            for (place, character) in word.chars().enumerate() {
                if column >= self.width && place > 0 {
                    self.text.push('\n');
                    self.text.push_str(&" ".repeat(at));
                    column = at;
                }
                self.text.push(character);
                column += 1;
            }
            is_first_word = false;
        }
        while self.text.ends_with(' ') {
            self.text.pop();
        }
        self.text.push('\n');
    }

    fn painted(&self, text: &str, colour: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Names of files and devices are a container's: they must not write to the terminal what it obeys.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(width: usize, write: impl FnOnce(&mut Page)) -> String {
        let mut page = Page::new(width, false);
        write(&mut page);
        page.finish()
    }

    #[test]
    fn columns_stand_below_each_other_and_long_text_goes_on_below_itself() {
        let text = written(50, |page| {
            page.row("mnt", None, "402", "one two three four five");
            page.row("a-name-that-is-longer", None, "x", "six");
        });
        let expected = "  mnt               402         one two three four\n                                five\n  \
                        a-name-that-is-longer  x           six\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn on_a_narrow_page_the_third_column_has_lines_of_its_own() {
        let text = written(40, |page| page.row("CHOWN", None, "kept", "give files to other users of the host"));
        assert_eq!(text, "  CHOWN             kept\n      give files to other users of the\n      host\n");
    }

    #[test]
    fn words_without_end_are_cut_and_control_characters_shown() {
        let text = written(40, |page| page.fact("x", &"y".repeat(60)));
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
        assert_eq!(text.matches('y').count(), 60);
        assert!(written(40, |page| page.text("a\u{1b}[2Jb")).contains("a\u{fffd}[2Jb"));
    }
}
