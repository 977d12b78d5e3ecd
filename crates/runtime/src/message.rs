// SPDX-License-Identifier: Apache-2.0
//! What the child tells its launcher: one JSON object per line over a close-on-exec pipe. The pipe's end after
//! [`Message::Executing`], without a [`Message::Failed`], means that execve happened; without either, that the child was
//! killed before it came to that.
//!
//! Some plans have operations for which the child lacks the rights, or which must be done outside. The child then says
//! [`Message::Ask`] and waits for the answer: one byte on a second pipe, which exists only for such plans
//! ([`crate::plan::Plan::asks`]). Its end, without a byte, means that the launcher is gone. A launcher that cannot do
//! what it is asked for ends the child. Nobody answers after [`Message::Ready`]: the launcher may be gone by then.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;

use errors::Report;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use crate::error::LaunchError;

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
    /// The child waits until the launcher has done this.
    Ask(Question),
    /// All is set up; the child waits for `start`.
    Ready,
    /// The next thing is execve.
    Executing,
    /// The child gives up.
    Failed(Report),
}

/// What a child asks of its launcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Question {
    /// Carry out an operation of the plan: the one at this place in its list, an [`crate::plan::Outside`].
    Outside {
        /// Whether that is the list of the intermediate process.
        stage: bool,
        /// Its place.
        operation: usize,
    },
    /// From the intermediate process, which ends now: take this process as the container's.
    Adopt {
        /// Its pid, as the launcher sees it.
        pid: i32,
    },
    /// Hand over the listener of the system call filter.
    Listener {
        /// The child's descriptor.
        descriptor: i32,
    },
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

/// Listens until the child executed its command, waits, or gave up. What it asks for, `answer` does; then the child
/// is let on by a byte into `answers`.
///
/// `stage` is the pidfd of an intermediate process, whose end ends the listening until the process it makes is adopted:
/// one of which it could not tell any more has the pipe open too, waits for an answer, and ends when `answers` is closed.
pub(crate) fn listen(
    pipe: OwnedFd,
    answers: Option<OwnedFd>,
    mut stage: Option<OwnedFd>,
    mut answer: impl FnMut(Question) -> Result<(), LaunchError>,
) -> Result<Heard, LaunchError> {
    let mut heard = Heard::default();
    let mut reader = BufReader::with_capacity(4096, std::fs::File::from(pipe));
    let mut line = Vec::new();
    loop {
        if let Some(stage) = &stage
            && reader.buffer().is_empty()
            && ended_silently(stage, reader.get_ref())?
        {
            break;
        }
        if reader.read_until(b'\n', &mut line).map_err(LaunchError::Listen)? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            // What the fifo of `start` was filled with; whoever waited said nothing after it.
            break;
        }
        match serde_json::from_slice(&line).map_err(|error| LaunchError::Listen(error.into()))? {
            Message::Steps(steps) => heard.steps.extend(steps),
            Message::Warning(warning) => heard.warnings.push(warning),
            Message::Ask(question) => {
                stage = stage.filter(|_| !matches!(question, Question::Adopt { .. }));
                if let Err(error) = answer(question) {
                    return last_words(&mut reader, heard, error);
                }
                let_on(answers.as_ref())?;
            }
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

/// What is heard of a child for which something could not be done. One that closed the descriptor that it offered is giving
/// up on its own, and is about to say why, which is what a user must hear: it gets a second for it.
fn last_words(
    reader: &mut BufReader<std::fs::File>,
    mut heard: Heard,
    error: LaunchError,
) -> Result<Heard, LaunchError> {
    /// It is on its way to saying it, which takes microseconds.
    const PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
    if !error.is_closed_listener() {
        return Err(error);
    }
    let mut line = Vec::new();
    loop {
        if reader.buffer().is_empty() {
            let mut watched = [PollFd::new(reader.get_ref(), PollFlags::IN)];
            let spoke = rustix::io::retry_on_intr(|| poll(&mut watched, Some(&PATIENCE)));
            if !spoke.is_ok_and(|count| count > 0) {
                return Err(error);
            }
        }
        line.clear();
        if reader.read_until(b'\n', &mut line).map_err(LaunchError::Listen)? == 0 {
            return Err(error);
        }
        match serde_json::from_slice(&line) {
            Ok(Message::Failed(report)) => {
                heard.failed = Some(report);
                return Ok(heard);
            }
            Ok(Message::Steps(steps)) => heard.steps.extend(steps),
            Ok(Message::Warning(warning)) => heard.warnings.push(warning),
            // It goes on, or is not understood: then it did not give up.
            Ok(Message::Ask(_) | Message::Ready | Message::Executing) | Err(_) => return Err(error),
        }
    }
}

/// Waits until there is something to read, and tells whether instead the process has ended and left nothing.
fn ended_silently(process: &OwnedFd, pipe: &std::fs::File) -> Result<bool, LaunchError> {
    // The process first: what it wrote before its end is then seen as well.
    let mut watched = [PollFd::new(process, PollFlags::IN), PollFd::new(pipe, PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut watched, None))
        .map_err(|errno| sys::Error::new("poll(intermediate process, status)", errno))?;
    Ok(watched[1].revents().is_empty())
}

/// Answers. A child that died meanwhile needs no answer: the status pipe ends, and that tells.
fn let_on(answers: Option<&OwnedFd>) -> Result<(), LaunchError> {
    let Some(answers) = answers else {
        return Err(LaunchError::Listen(io::Error::other("the child asks for something its plan does not have")));
    };
    match rustix::io::retry_on_intr(|| rustix::io::write(answers, b"1")) {
        Ok(_) | Err(rustix::io::Errno::PIPE) => Ok(()),
        Err(errno) => Err(sys::Error::new("write(answers, \"1\")", errno).into()),
    }
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
        let heard = listen(reader.into(), None, None, |question| panic!("{question:?}")).unwrap();
        assert_eq!((heard.steps.len(), heard.warnings.len(), heard.ready), (1, 1, false));
        assert_eq!(heard.failed.unwrap(), Report::new(Kind::CommandNotFound, "no\nsuch"));
    }
    #[test]
    fn a_question_is_answered_by_a_byte_or_ends_the_listening() {
        let outside = |operation| Question::Outside { stage: false, operation };
        let ((status, mut says), (mut reads, answers)) = (io::pipe().unwrap(), io::pipe().unwrap());
        Message::Ask(outside(3)).write(&mut says).unwrap();
        Message::Ask(outside(4)).write(&mut says).unwrap();
        let mut asked = Vec::new();
        let refused = listen(status.into(), Some(answers.into()), None, |question| {
            asked.push(question);
            if asked.len() < 2 { Ok(()) } else { Err(LaunchError::Exposed) }
        });
        assert!(matches!(refused, Err(LaunchError::Exposed)));
        assert_eq!(asked, [3, 4].map(outside));
        let mut answered = Vec::new();
        io::Read::read_to_end(&mut reads, &mut answered).unwrap();
        assert_eq!(answered, b"1");
    }

    #[test]
    fn a_child_that_gives_up_while_its_listener_is_fetched_is_heard() {
        let closed = || LaunchError::Listener {
            path: "/l".into(),
            source: sys::Error::new("pidfd_getfd(5, 6, 0)", rustix::io::Errno::BADF),
        };
        let report = Report::new(Kind::PermissionDenied, "read(answers, 1) = EPERM");
        let heard = |said: &[Message], error: LaunchError| {
            let ((status, mut says), (_reads, answers)) = (io::pipe().unwrap(), io::pipe().unwrap());
            Message::Ask(Question::Listener { descriptor: 6 }).write(&mut says).unwrap();
            for message in said {
                message.write(&mut says).unwrap();
            }
            drop(says);
            let mut error = Some(error);
            listen(status.into(), Some(answers.into()), None, |_| Err(error.take().unwrap()))
        };
        let gave_up = [Message::Warning("w".into()), Message::Failed(report.clone())];
        assert_eq!(heard(&gave_up, closed()).unwrap().failed, Some(report));
        for said in [&[][..], &[Message::Warning("w".into())], &[Message::Executing]] {
            assert!(heard(said, closed()).unwrap_err().is_closed_listener(), "{said:?}");
        }
        let own = heard(&gave_up, LaunchError::Exposed);
        assert!(matches!(own, Err(LaunchError::Exposed)), "the launcher's own failure comes first");
    }

    #[test]
    fn a_question_that_the_plan_does_not_have_is_an_error() {
        let (status, mut says) = io::pipe().unwrap();
        Message::Ask(Question::Adopt { pid: 1 }).write(&mut says).unwrap();
        assert!(matches!(listen(status.into(), None, None, |_| Ok(())), Err(LaunchError::Listen(_))));
    }
}
