// SPDX-License-Identifier: Apache-2.0
//! `events`: a container's counters every few seconds and a line when it runs out of memory, as JSON lines; or the
//! counters once.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use cgroup::{Cgroup, OomWatch};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use serde_json::Value;

use super::error::CliError;
use super::flags::{Flag, Flags};
use super::statistics::statistics;
use super::store::Status;
use super::{Context, print, size};

const INTERVAL: Duration = Duration::from_secs(5);

pub(super) fn events(context: &Context, args: Vec<OsString>) -> Result<u8, CliError> {
    let flags = Flags::read(args, &[Flag::value("interval"), Flag::switch("stats")])?;
    let id = flags.id()?;
    let interval = match flags.text("interval")? {
        None => INTERVAL,
        Some(text) => size::duration(&text).ok_or(CliError::InvalidValue {
            flag: "interval",
            value: text,
            expected: "a duration above 0, such as 5s",
        })?,
    };
    let (_, record) = context.store.find(&id)?;
    let stopped = || {
        let (id, status) = (id.to_string(), Status::Stopped);
        CliError::State { id, status, action: "events", expected: "not stopped" }
    };
    let pidfd = record.pidfd()?.ok_or_else(stopped)?;
    let cgroup = record.cgroup()?.ok_or_else(stopped)?;
    let container = Container { id: id.as_str(), cgroup: &cgroup };
    if flags.switch("stats") {
        return container.say_statistics();
    }
    container.follow(pidfd.as_fd(), interval)
}

struct Container<'a> {
    id: &'a str,
    cgroup: &'a Cgroup,
}

impl Container<'_> {
    /// Until the container ends.
    fn follow(&self, process: BorrowedFd<'_>, interval: Duration) -> Result<u8, CliError> {
        let mut oom = self.cgroup.watch_oom()?;
        let mut next = Instant::now() + interval;
        loop {
            let ended = wait(process, oom.as_ref(), next)?;
            // Before the end: want of memory is why many a container ends.
            if let Some(watch) = &mut oom
                && watch.news()?
            {
                self.say("oom", None)?;
            }
            if ended {
                return Ok(0);
            }
            if Instant::now() >= next {
                self.say_statistics()?;
                next += interval;
            }
        }
    }

    fn say_statistics(&self) -> Result<u8, CliError> {
        self.say("stats", Some(statistics(self.cgroup)?))
    }

    fn say(&self, kind: &'static str, data: Option<Value>) -> Result<u8, CliError> {
        print(&Event { kind, id: self.id, data }.line()?)
    }
}

/// One line. Its fields stand in this order, as those who search the text expect.
#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

impl Event<'_> {
    fn line(&self) -> Result<String, CliError> {
        Ok(format!("{}\n", serde_json::to_string(self).map_err(CliError::Format)?))
    }
}

/// Waits for news, or the time; whether the process has ended.
fn wait(process: BorrowedFd<'_>, oom: Option<&OomWatch<'_>>, until: Instant) -> Result<bool, CliError> {
    let left = until.saturating_duration_since(Instant::now());
    let timeout =
        Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(left.subsec_nanos()) };
    let mut fds = vec![PollFd::new(&process, PollFlags::IN)];
    fds.extend(oom.map(|watch| PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN)));
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) => Ok(!fds[0].revents().is_empty()),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(errno) => Err(sys::Error::new("poll(process, memory events)", errno).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::Event;

    #[test]
    fn the_fields_of_an_event_were_in_alphabetical_order() {
        let line = |kind, data| Event { kind, id: "a", data }.line().unwrap();
        assert_eq!(line("oom", None), "{\"type\":\"oom\",\"id\":\"a\"}\n");
        assert_eq!(line("stats", Some(7.into())), "{\"type\":\"stats\",\"id\":\"a\",\"data\":7}\n");
    }
}
