// SPDX-License-Identifier: Apache-2.0
//! The end of CRIU's log, for an error's text.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// How much of the end is looked at, and how many lines of it are shown.
const TAIL: u64 = 64 << 10;
const LINES: usize = 6;

/// The last lines that speak of an error, or simply the last ones; `None` when there are none to be had.
pub(crate) fn tail(path: &Path) -> Option<String> {
    read_tail(path).ok().and_then(|text| errors_of(&text))
}

fn read_tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn errors_of(text: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let errors: Vec<&str> = lines.iter().copied().filter(|line| line.contains("Error (")).collect();
    let shown = if errors.is_empty() { &lines } else { &errors };
    let last = &shown[shown.len().saturating_sub(LINES)..];
    let line = |line: &&str| format!("  {}", printable(line));
    (!last.is_empty()).then(|| last.iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// A container's file names stand in the log; they must not move the cursor of whoever reads the error.
pub(super) fn printable(line: &str) -> String {
    line.chars().take(400).map(|c| if c.is_control() && c != '\t' { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_errors_are_shown_without_what_would_move_the_cursor() {
        let text = "(00.1) a\n(00.2) Error (x.c:1): \x1b[2Jone\n(00.3) b\n(00.4) Error (x.c:2): two\n";
        let shown = errors_of(text).unwrap();
        assert_eq!(shown, "  (00.2) Error (x.c:1): ?[2Jone\n  (00.4) Error (x.c:2): two");
    }

    #[test]
    fn without_an_error_the_last_lines_are_shown() {
        let text: String = (0..20).map(|number| format!("line {number}\n")).collect();
        let shown = errors_of(&text).unwrap();
        assert!(shown.lines().count() == LINES && shown.ends_with("line 19"), "{shown}");
        assert_eq!((errors_of("\n"), tail(Path::new("/none/dump.log"))), (None, None));
    }

    #[test]
    fn of_a_long_log_only_the_end_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut text = vec![b'x'; 1 << 20];
        text.extend(b"\n(1) Error (y.c:3): last\n");
        std::fs::write(file.path(), text).unwrap();
        assert_eq!(tail(file.path()).as_deref(), Some("  (1) Error (y.c:3): last"));
    }
}
