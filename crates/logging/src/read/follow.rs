// SPDX-License-Identifier: Apache-2.0
//! Following a log across its rotations, from its beginning or from where somebody else stopped.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::files::LogFile;
use super::waiting::{Waiting, scan};

/// A place in a log that outlives whoever was there: the time of the first line of a file, and how far in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    pub(crate) began: String,
    pub(crate) offset: u64,
}

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
    queue: VecDeque<Waiting>,
    /// Files of the queue were rotated away before their turn, which was not told yet.
    lost: bool,
    /// Whether more is looked for at the end of what was there at the beginning.
    follow: bool,
    /// Files that were read to their end, where these are wanted.
    read: Option<Vec<LogFile>>,
}

impl Follower {
    /// From the first line that there is.
    pub(crate) fn new(path: PathBuf, follow: bool) -> io::Result<Follower> {
        let queue = scan(&path, !follow)?.into();
        Ok(Follower { path, current: None, queue, lost: false, follow, read: None })
    }

    /// From `cursor` on. `Step::Gap` comes first when that place is no more.
    pub(crate) fn resume(path: PathBuf, cursor: &Cursor) -> io::Result<(Follower, Step)> {
        let mut follower = Follower::new(path, true)?;
        match follower.queue.iter().position(|file| file.began_at(&cursor.began)) {
            Some(at) => {
                let place = follower.queue.drain(..=at).next_back();
                let Some(mut file) = place.map(|file| file.open(&follower.path)).transpose()?.flatten() else {
                    return Ok((follower, Step::Gap));
                };
                // A power cut may have taken the end of the file, and left who remembers it: what comes is behind that.
                let end = file.length()?.unwrap_or(cursor.offset);
                file.skip_to(cursor.offset.min(end))?;
                follower.queue.push_front(Waiting::Open(file));
                Ok((follower, Step::End))
            }
            None => Ok((follower, Step::Gap)),
        }
    }

    /// The newest file of the log.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The files that are still to be read.
    pub(crate) fn files_mut(&mut self) -> &mut VecDeque<Waiting> {
        &mut self.queue
    }

    /// Keeps the files that are read to their end, for [`Follower::take_read`].
    pub(crate) fn keep_read(&mut self) {
        self.read = Some(Vec::new());
    }

    /// The files that were read to their end since the last call. None of them is written to any more.
    pub(crate) fn take_read(&mut self) -> Vec<LogFile> {
        self.read.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Where reading goes on; `None` before the first line.
    pub(crate) fn cursor(&self) -> Option<Cursor> {
        let (began, offset) = self.current.as_ref()?.position()?;
        Some(Cursor { began: began.to_owned(), offset })
    }

    /// Goes on so near the end that at most `keep` bytes are still to be read, if there are more. Whether it did: then
    /// lines were left out. What is compressed counts as more.
    pub(crate) fn skip_backlog(&mut self, keep: u64) -> io::Result<bool> {
        if let Some(file) = &mut self.current
            && self.queue.is_empty()
            && file.is_at(&self.path)
        {
            return file.skip_to_near_end(keep);
        }
        let Some(current) = &self.current else { return Ok(false) };
        let mut files = scan(&self.path, false)?;
        let behind = files.iter().position(|file| file.is(current)).map_or(0, |at| at + 1);
        let lengths = files[behind..].iter().map(Waiting::length).collect::<io::Result<Vec<_>>>()?;
        let left = lengths.into_iter().try_fold(0_u64, |sum, length| Some(sum.saturating_add(length?)));
        if left.is_some_and(|left| left <= keep) {
            return Ok(false);
        }
        let Some(mut newest) = files.pop().map(|file| file.open(&self.path)).transpose()?.flatten() else {
            return Ok(false);
        };
        newest.skip_to_near_end(keep)?;
        self.queue.clear();
        self.current = Some(newest);
        Ok(true)
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
                let Some(next) = next.open(&self.path)? else {
                    self.lost = true;
                    continue;
                };
                let last = self.current.replace(next);
                if let Some(read) = &mut self.read {
                    read.extend(last);
                }
                if std::mem::take(&mut self.lost) {
                    return Ok(Step::Gap);
                }
                continue;
            }
            // When more comes, it is told before that.
            if !self.follow && std::mem::take(&mut self.lost) {
                return Ok(Step::Gap);
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
        match files.iter().position(|file| file.is(old)) {
            Some(at) => self.queue = files.into_iter().skip(at + 1).collect(),
            None if files.is_empty() => return Ok(Some(Step::End)),
            None => {
                self.queue = files.into();
                self.lost = false;
                return Ok(Some(Step::Gap));
            }
        }
        // In the middle of a rotation there is no newest file yet.
        Ok(self.queue.is_empty().then_some(Step::End))
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_backlog_can_be_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        append(&path, 1);
        let mut follower = Follower::new(path.clone(), true).unwrap();
        assert!(!follower.skip_backlog(0).unwrap(), "nothing was read yet");
        assert_eq!(all(&mut follower), [1]);
        (2..10).for_each(|number| append(&path, number));
        assert!(!follower.skip_backlog(8 * line(1).len() as u64).unwrap());
        assert!(follower.skip_backlog(2 * line(1).len() as u64).unwrap());
        assert_eq!(all(&mut follower), [8, 9]);
        for number in 10..14 {
            append(&path, number);
            rotate(&path, 5);
        }
        append(&path, 14);
        assert!(!follower.skip_backlog(9 * line(10).len() as u64).unwrap());
        assert!(follower.skip_backlog(2 * line(10).len() as u64).unwrap());
        assert_eq!(all(&mut follower), [14]);
    }

    #[test]
    fn a_cursor_holds_across_rotations() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        (1..4).for_each(|number| append(&path, number));
        let mut follower = Follower::new(path.clone(), true).unwrap();
        let mut line = Vec::new();
        assert_eq!(follower.cursor(), None);
        follower.next(&mut line).unwrap();
        follower.next(&mut line).unwrap();
        let cursor = follower.cursor().unwrap();
        rotate(&path, 3);
        append(&path, 4);
        let (mut again, step) = Follower::resume(path.clone(), &cursor).unwrap();
        assert_eq!((step, all(&mut again)), (Step::End, vec![3, 4]));
        (0..3).for_each(|number| {
            rotate(&path, 3);
            append(&path, 5 + number);
        });
        let (mut again, step) = Follower::resume(path, &cursor).unwrap();
        assert_eq!((step, all(&mut again)), (Step::Gap, vec![4, 5, 6, 7]));
    }

    #[test]
    fn behind_an_end_that_was_lost_nothing_more_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        append(&path, 1);
        let cursor = Cursor { began: "2026-01-01T00:00:00.000000001Z".to_owned(), offset: 1 << 20 };
        let (mut follower, step) = Follower::resume(path.clone(), &cursor).unwrap();
        assert_eq!((step, all(&mut follower)), (Step::End, vec![]));
        append(&path, 2);
        assert_eq!(all(&mut follower), [2]);
    }
}
