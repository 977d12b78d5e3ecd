// SPDX-License-Identifier: Apache-2.0
//! Columns, spaced as the docker CLI spaces them: three blanks between, ten characters at least.

use std::borrow::Cow;
use std::fmt::Write;

const GAP: usize = 3;
const NARROWEST: usize = 10;

/// Rows under a header.
#[derive(Debug)]
pub(crate) struct Table<const COLUMNS: usize> {
    rows: Vec<[String; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// A table that has no rows yet.
    pub(crate) fn new(header: [&str; COLUMNS]) -> Table<COLUMNS> {
        Table { rows: vec![header.map(str::to_owned)] }
    }

    /// Add a row.
    pub(crate) fn row(&mut self, row: [String; COLUMNS]) {
        self.rows.push(row);
    }

    /// The lines.
    pub(crate) fn render(&self) -> String {
        align(&self.rows)
    }
}

/// Rows of cells as lines of columns. The last cell of a row is not filled up.
pub(crate) fn align(rows: &[impl AsRef<[String]>]) -> String {
    align_to(NARROWEST, rows)
}

/// The same with columns that are `narrowest` characters wide at least, the gap included.
pub(crate) fn align_to(narrowest: usize, rows: &[impl AsRef<[String]>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (column, cell) in row.as_ref().iter().enumerate() {
            let width = (cell.chars().count() + GAP).max(narrowest);
            match widths.get_mut(column) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    let mut text = String::new();
    for row in rows.iter().map(AsRef::as_ref) {
        for (column, cell) in row.iter().enumerate() {
            let width = if column + 1 == row.len() { 0 } else { widths[column] };
            // Writing to a String cannot fail.
            let _ = write!(text, "{:<width$}", printable(cell));
        }
        text.push('\n');
    }
    text
}

/// A cell as it is shown: it is one, on one line, and nothing in it is for the terminal to obey.
fn printable(cell: &str) -> Cow<'_, str> {
    if !cell.contains(char::is_control) {
        return Cow::Borrowed(cell);
    }
    let shown = |letter: char| match letter {
        '\t' | '\n' | '\r' => ' ',
        control if control.is_control() => '\u{fffd}',
        other => other,
    };
    Cow::Owned(cell.chars().map(shown).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_cannot_forge_a_line_or_write_to_the_terminal() {
        let rows = [["a".to_owned(), "b\nc\u{1b}[2J".to_owned()], ["d".to_owned(), String::new()]];
        assert_eq!(align(&rows), "a         b c\u{fffd}[2J\nd         \n");
    }

    #[test]
    fn columns_are_spaced_as_dockers() {
        let mut table = Table::new(["ID", "COMMAND", "NAMES"]);
        table.row(["0123456789ab".into(), "\"sh…\"".into(), "a".into()]);
        let lines = ["ID             COMMAND   NAMES", "0123456789ab   \"sh…\"     a"];
        assert_eq!(table.render(), format!("{}\n{}\n", lines[0], lines[1]));
    }
}
