// SPDX-License-Identifier: Apache-2.0
//! Following a log across its rotations.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;

use super::files::{LogFile, scan};

/// What a look at the log gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A line.
    Line,
    /// Lines were rotated away before they were read; what comes is what is left.
    Gap,
    /// There is no more, for now.
    End,
}

/// Reads a log while it is written and rotated.
pub(crate) struct Follower {
    path: PathBuf,
    current: Option<LogFile>,
    /// Files that come after it.
    queue: VecDeque<LogFile>,
    /// Whether more is looked for at the end of what was there at the beginning.
    follow: bool,
}

impl Follower {
    /// From the first line that there is.
    pub(crate) fn new(path: PathBuf, follow: bool) -> io::Result<Follower> {
        let queue = scan(&path, !follow)?.into();
        Ok(Follower { path, current: None, queue, follow })
    }

    /// The files that are still to be read.
    pub(crate) fn files_mut(&mut self) -> &mut VecDeque<LogFile> {
        &mut self.queue
    }

    /// The next line, into `line`.
    pub(crate) fn next(&mut self, line: &mut Vec<u8>) -> io::Result<Step> {
        loop {
            if let Some(file) = &mut self.current
                && file.next_line(line)?
            {
                return Ok(Step::Line);
            }
            if let Some(next) = self.queue.pop_front() {
                self.current = Some(next);
                continue;
            }
            if !self.follow || self.current.as_ref().is_some_and(|file| file.is_at(&self.path)) {
                return Ok(Step::End);
            }
            if let Some(step) = self.rotated(line)? {
                return Ok(step);
            }
        }
    }

    /// The file that was read is no longer the newest one: finds those that came after it.
    fn rotated(&mut self, line: &mut Vec<u8>) -> io::Result<Option<Step>> {
        let files = scan(&self.path, false)?;
        let Some(old) = &mut self.current else {
            let empty = files.is_empty();
            self.queue = files.into();
            return Ok(empty.then_some(Step::End));
        };
        // Its last lines may have come between the last read and the rotation. The rest is read by the next call.
        if old.next_line(line)? {
            return Ok(Some(Step::Line));
        }
        match files.iter().position(|file| file.is_same(old)) {
            Some(at) => self.queue = files.into_iter().skip(at + 1).collect(),
            None if files.is_empty() => return Ok(Some(Step::End)),
            None => {
                self.queue = files.into();
                return Ok(Some(Step::Gap));
            }
        }
        // In the middle of a rotation there is no newest file yet.
        Ok(self.queue.is_empty().then_some(Step::End))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn line(number: u32) -> String {
        format!("{{\"log\":\"{number}\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:00.{number:09}Z\"}}\n")
    }

    fn append(path: &Path, number: u32) {
        use std::io::Write as _;
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        file.write_all(line(number).as_bytes()).unwrap();
    }

    fn rotate(path: &Path, keep: u32) {
        let aged = |age: u32| path.with_extension(age.to_string());
        for age in (1..keep).rev() {
            std::fs::rename(aged(age), aged(age + 1)).ok();
        }
        std::fs::rename(path, aged(1)).unwrap();
    }

    fn all(follower: &mut Follower) -> Vec<u32> {
        let (mut numbers, mut line) = (Vec::new(), Vec::new());
        loop {
            match follower.next(&mut line).unwrap() {
                Step::Line => {
                    let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
                    numbers.push(value["log"].as_str().unwrap().trim().parse().unwrap());
                }
                Step::Gap => numbers.push(0),
                Step::End => return numbers,
            }
        }
    }

    #[test]
    fn several_rotations_between_two_looks_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut follower = Follower::new(path.clone(), true).unwrap();
        assert!(all(&mut follower).is_empty(), "there is no file yet");
        append(&path, 1);
        assert_eq!(all(&mut follower), [1]);
        for number in [2, 3, 4] {
            append(&path, number);
            rotate(&path, 5);
        }
        assert_eq!(all(&mut follower), [2, 3, 4], "and between two files");
        append(&path, 5);
        assert_eq!(all(&mut follower), [5]);
        assert!(all(&mut follower).is_empty());
    }

    #[test]
    fn who_is_too_slow_hears_that_lines_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        append(&path, 1);
        let mut follower = Follower::new(path.clone(), true).unwrap();
        assert_eq!(all(&mut follower), [1]);
        for number in 2..9 {
            rotate(&path, 2);
            append(&path, number);
        }
        assert_eq!(all(&mut follower), [0, 6, 7, 8]);
    }
}
