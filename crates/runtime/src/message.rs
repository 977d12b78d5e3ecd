// SPDX-License-Identifier: Apache-2.0
//! What the child tells its launcher: one JSON object per line over a close-on-exec pipe. The pipe's end after
//! [`Message::Executing`], without a [`Message::Failed`], means that execve happened; without either, that the child was
//! killed before it came to that.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;

use errors::Report;
use serde::{Deserialize, Serialize};

/// A step of a start, with its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What was done.
    pub name: String,
    /// When it was done: nanoseconds on `CLOCK_MONOTONIC`.
    pub at_ns: u64,
}

impl Step {
    /// A step done now.
    pub fn now(name: impl Into<String>) -> Step {
        Step { name: name.into(), at_ns: crate::now_ns() }
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Message {
    /// Steps done, when they were asked for.
    Steps(Vec<Step>),
    /// Something that was asked for and could not be, without which the container still runs.
    Warning(String),
    /// All is set up; the child waits for `start`.
    Ready,
    /// The next thing is execve.
    Executing,
    /// The child gives up.
    Failed(Report),
}

impl Message {
    /// Writes the message in one piece.
    pub(crate) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        to.write_all(&line)
    }
}

/// Everything a child said.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Steps done.
    pub(crate) steps: Vec<Step>,
    /// Warnings.
    pub(crate) warnings: Vec<String>,
    /// Whether it waits for `start`.
    pub(crate) ready: bool,
    /// Whether it came as far as execve.
    pub(crate) executing: bool,
    /// Why it gave up.
    pub(crate) failed: Option<Report>,
}

/// Listens until the child executed its command, waits, or gave up.
pub(crate) fn listen(pipe: OwnedFd) -> io::Result<Heard> {
    let mut heard = Heard::default();
    let mut reader = BufReader::with_capacity(4096, std::fs::File::from(pipe));
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        match serde_json::from_slice(&line)? {
            Message::Steps(steps) => heard.steps.extend(steps),
            Message::Warning(warning) => heard.warnings.push(warning),
            Message::Ready => {
                heard.ready = true;
                break;
            }
            Message::Executing => heard.executing = true,
            Message::Failed(report) => heard.failed = Some(report),
        }
        line.clear();
    }
    Ok(heard)
}

#[cfg(test)]
mod tests {
    use super::*;
    use errors::Kind;

    #[test]
    fn what_is_said_is_heard() {
        let (reader, mut writer) = io::pipe().unwrap();
        Message::Steps(vec![Step { name: "a".into(), at_ns: 7 }]).write(&mut writer).unwrap();
        Message::Warning("w".into()).write(&mut writer).unwrap();
        Message::Failed(Report::new(Kind::CommandNotFound, "no\nsuch")).write(&mut writer).unwrap();
        drop(writer);
        let heard = listen(reader.into()).unwrap();
        assert_eq!((heard.steps.len(), heard.warnings.len(), heard.ready), (1, 1, false));
        assert_eq!(heard.failed.unwrap(), Report::new(Kind::CommandNotFound, "no\nsuch"));
    }
}
