// SPDX-License-Identifier: Apache-2.0
//! Long lines, which are several entries of a log: what ties those together, for servers that put them together again.

use crate::read::LogLine;

/// An entry that is at least so long and has no newline goes on in the next one: the shim cuts at 16 KiB, between
/// characters.
const LENGTH: usize = (16 << 10) - 3;

/// What part of a long line an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// The same for all parts of the line, and for no other line's.
    pub(super) id: String,
    /// 1 for the first.
    pub(super) ordinal: u32,
    pub(super) is_last: bool,
}

/// The long lines that are not whole yet, of each stream: their name, and how many parts there were.
#[derive(Debug, Default)]
pub(super) struct Parts([Option<(String, u32)>; 2]);

impl Parts {
    /// For each of the next entries, what part of a long line it is, if any. `name` gives a long line its id.
    pub(super) fn of(
        &mut self,
        lines: &[LogLine],
        mut name: impl FnMut() -> Result<String, String>,
    ) -> Result<Vec<Option<Part>>, String> {
        let mut parts = Vec::with_capacity(lines.len());
        for line in lines {
            let open = &mut self.0[usize::from(line.stream == 2)];
            let goes_on = !line.text.ends_with('\n') && line.text.len() >= LENGTH;
            let (id, before) = match open.take() {
                Some(begun) => begun,
                None if goes_on => (name()?, 0),
                None => {
                    parts.push(None);
                    continue;
                }
            };
            if goes_on {
                *open = Some((id.clone(), before + 1));
            }
            parts.push(Some(Part { id, ordinal: before + 1, is_last: !goes_on }));
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_counted_for_each_stream_and_over_batches() {
        let line = |stream, text: &str| LogLine {
            time: String::new(),
            stream,
            text: text.to_owned(),
            attributes: Default::default(),
        };
        let (mut parts, mut names) = (Parts::default(), ["a", "b", "c"].into_iter());
        let mut of = |lines: &[LogLine]| {
            let found = parts.of(lines, || names.next().map(str::to_owned).ok_or_else(String::new)).unwrap();
            found.into_iter().map(|part| part.map(|part| (part.id, part.ordinal, part.is_last))).collect::<Vec<_>>()
        };
        let part = |id: &str, ordinal, is_last| Some((id.to_owned(), ordinal, is_last));
        let long = "x".repeat(16 << 10);
        let first = of(&[line(1, "short\n"), line(1, &long), line(2, &long), line(1, &long)]);
        assert_eq!(first, [None, part("a", 1, false), part("b", 1, false), part("a", 2, false)]);
        let second = of(&[line(2, "end\n"), line(1, "\n"), line(1, "no newline"), line(1, &(long.clone() + "\n"))]);
        assert_eq!(second, [part("b", 2, true), part("a", 3, true), None, None]);
    }
}
