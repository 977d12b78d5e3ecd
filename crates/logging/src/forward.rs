// SPDX-License-Identifier: Apache-2.0
//! Sending a log elsewhere: one task per container reads what the shim wrote, from where it stopped, and sends it.
//!
//! So a server that is slow or dead delays nothing: the container writes to its log, and this task waits. What it has
//! sent is remembered beside the log (`log-cursor.json`), after the server took it: a daemon that was killed goes on
//! from there, and sends its last lines again rather than losing any.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use oci::ContainerId;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::choice::Settings;
use crate::error::{LoggingError, blocking};
use crate::life::{Life, Stage};
use crate::read::files::LogFile;
use crate::read::follow::{Cursor, Follower, Step};
use crate::read::watch::{Listener, Watch};
use crate::read::{LogLine, gap, notice, parse};
use crate::remote::{Remote, Sender};
use crate::subject::Subject;

/// So much is sent at once: lines, and bytes of text.
const BATCH_LINES: usize = 512;
const BATCH_BYTES: usize = 256 << 10;
/// The longest pause between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How long a removed container's last lines may take to be sent.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long the files of a removed container wait for that.
pub const PATIENCE: Duration = Duration::from_secs(6);

/// Whether a container's log is being sent elsewhere.
#[derive(Debug)]
pub struct Forwarding(watch::Sender<bool>);

impl Default for Forwarding {
    fn default() -> Forwarding {
        Forwarding(watch::Sender::new(false))
    }
}

impl Forwarding {
    /// The caller sends the log from now on; `false` if somebody does it already.
    #[must_use]
    pub fn begin(&self) -> bool {
        self.0.send_if_modified(|forwarding| !std::mem::replace(forwarding, true))
    }

    /// The log is not sent any more, though there may be more of it.
    pub fn fail(&self) {
        self.0.send_replace(false);
    }

    /// Waits until nobody sends the log.
    pub async fn over(&self) {
        // The sender is this one's own: it cannot be gone.
        let _ = self.0.subscribe().wait_for(|forwarding| !forwarding).await;
    }

    /// All is sent; `false` when the container runs again, and so there is more to come. Asked under the lock under which
    /// [`Forwarding::begin`] answers: who starts the container either is seen here or begins anew.
    fn end(&self, life: &mut impl Life) -> bool {
        self.0.send_if_modified(|forwarding| {
            *forwarding = life.stage() == Stage::Writing;
            !*forwarding
        })
    }
}

/// A log that is to be sent.
pub struct Forward<'a, L> {
    /// Of which container.
    pub subject: Subject<'a>,
    /// The newest file of its log. Beside it is remembered what was sent.
    pub path: PathBuf,
    /// Where its driver sends it.
    pub settings: Settings,
    /// Where the container stands.
    pub life: L,
    /// For whom it matters whether it is being sent: it has [begun](Forwarding::begin).
    pub forwarding: &'a Forwarding,
}

/// Where a log is read, and where what was sent is remembered.
struct Source {
    follower: Follower,
    /// What is said to the server before the next lines.
    notices: Vec<LogLine>,
    remembered: PathBuf,
    keep: Option<u64>,
}

struct Forwarder<L> {
    container: ContainerId,
    remote: Remote,
    sender: Sender,
    listener: Listener,
    life: L,
    /// When to give up, once the container is removed.
    deadline: Option<Instant>,
}

/// Sends a log where its driver says, until the container has ended and all is sent. Nothing, where the log stays here.
///
/// # Errors
/// A log that cannot be read, or files of TLS that cannot be read any more. Servers that take nothing are no error.
pub async fn forward<L: Life>(watch: &Arc<Watch>, log: Forward<'_, L>) -> Result<(), LoggingError> {
    let Forward { subject, path, settings, life, forwarding } = log;
    let Some(remote) = settings.remote.clone() else { return Ok(()) };
    let sender = remote
        .sender(&subject, settings.tag.as_ref(), &settings.labels, &settings.env)
        .map_err(|why| LoggingError::invalid("--log-opt", why))?;
    let listener = watch.listen_beside(&path)?;
    let (remembered, keep, sent_goes) = (path.with_file_name("log-cursor.json"), remote.keep, remote.sent_goes);
    let failed = LoggingError::io("read", path.clone());
    let source = blocking(move || Source::open(path, remembered, keep, sent_goes).map_err(failed)).await?;
    let container = subject.id.clone();
    Forwarder { container, remote, sender, listener, life, deadline: None }.run(source, forwarding).await
}

impl Source {
    fn open(log: PathBuf, remembered: PathBuf, keep: Option<u64>, sent_goes: bool) -> io::Result<Source> {
        let cursor: Option<Cursor> = match std::fs::read(&remembered) {
            Ok(text) => serde_json::from_slice(&text).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let (mut follower, step) = match cursor {
            Some(cursor) => Follower::resume(log, &cursor)?,
            None => (Follower::new(log, true)?, Step::End),
        };
        if sent_goes {
            follower.keep_read();
        }
        let notices = if step == Step::Gap { vec![gap()] } else { Vec::new() };
        Ok(Source { follower, notices, remembered, keep })
    }

    /// The next lines; none at the end of what is there.
    fn read(&mut self) -> io::Result<Vec<LogLine>> {
        if let Some(keep) = self.keep
            && self.follower.skip_backlog(keep)?
        {
            self.notices.push(notice("log lines were left out: the log server did not keep up"));
        }
        let mut lines = std::mem::take(&mut self.notices);
        let (mut size, mut bytes) = (0, Vec::new());
        while lines.len() < BATCH_LINES && size < BATCH_BYTES {
            match self.follower.next(&mut bytes)? {
                Step::Line => lines.extend(parse(&bytes)),
                Step::Gap => lines.push(gap()),
                Step::End => break,
            }
            size += bytes.len();
        }
        Ok(lines)
    }

    /// Remembers that everything that was read has been sent.
    fn remember(&mut self) -> io::Result<()> {
        let Some(cursor) = self.follower.cursor() else { return Ok(()) };
        let new = self.remembered.with_extension("new");
        std::fs::write(&new, serde_json::to_vec(&cursor)?)?;
        std::fs::rename(new, &self.remembered)?;
        self.follower.take_read().iter().try_for_each(LogFile::empty)
    }
}

impl<L: Life> Forwarder<L> {
    async fn run(mut self, mut source: Source, forwarding: &Forwarding) -> Result<(), LoggingError> {
        let mut sent = false;
        loop {
            // Asked before reading: what was written before the end is read after learning of it.
            let over = self.life.stage() != Stage::Writing;
            let (lines, back) = blocking(move || {
                // Not remembered (a full disk, a directory that is being removed): sent again by a next daemon.
                if sent && let Err(error) = source.remember() {
                    tracing::debug!(%error, "cannot remember how far a log was sent");
                }
                let lines = source.read().map_err(LoggingError::io("read", source.follower.path()))?;
                Ok((lines, source))
            })
            .await?;
            (source, sent) = (back, !lines.is_empty());
            if sent {
                if !self.deliver(&lines).await? {
                    forwarding.fail();
                    return Ok(());
                }
            } else if !over {
                tokio::select! {
                    () = self.listener.changed() => {}
                    _ = self.life.changed() => {}
                }
            } else if forwarding.end(&mut self.life) {
                return Ok(());
            }
        }
    }

    /// Sends lines until the server has taken them. `false`: the container is removed, and it is given up.
    async fn deliver(&mut self, lines: &[LogLine]) -> Result<bool, LoggingError> {
        let batch = self.sender.encode(lines).map_err(|why| LoggingError::invalid("--log-opt", why))?;
        let (mut failures, mut wait) = (0, self.remote.retry_wait);
        loop {
            let attempt = self.sender.transport.send(&batch);
            let Some(result) = unless_removed(&mut self.life, &mut self.deadline, attempt).await else {
                tracing::warn!(container = %self.container, "the last lines of a removed container's log were not sent");
                return Ok(false);
            };
            let (id, server) = (&self.container, &self.sender.address);
            match result {
                Ok(()) if failures == 0 => return Ok(true),
                Ok(()) => {
                    tracing::info!(container = %id, %server, "the log server takes lines again");
                    return Ok(true);
                }
                Err(error) => {
                    failures += 1;
                    if failures == 1 {
                        tracing::warn!(container = %id, %server, %error, "a log server takes no lines; it is tried again");
                    }
                }
            }
            if self.remote.max_retries.is_some_and(|most| failures > most) {
                let lines = lines.len();
                tracing::warn!(container = %id, %server, lines, "lines of a log were left out: no more attempts are wanted");
                return Ok(true);
            }
            let pause = tokio::time::sleep(wait);
            // The next attempt finds out what has happened meanwhile.
            unless_removed(&mut self.life, &mut self.deadline, pause).await;
            wait = (wait * 2).min(LONGEST_WAIT.max(self.remote.retry_wait));
        }
    }
}

/// What `work` gives; `None` when the container was removed a while ago.
async fn unless_removed<T>(
    life: &mut impl Life,
    deadline: &mut Option<Instant>,
    work: impl Future<Output = T>,
) -> Option<T> {
    let given_up = async {
        // Nor is there anybody to wait for when the container is gone altogether.
        while life.stage() != Stage::Removed && life.changed().await {}
        tokio::time::sleep_until(*deadline.get_or_insert_with(|| Instant::now() + FAREWELL)).await;
    };
    tokio::select! {
        biased;
        () = given_up => None,
        done = work => Some(done),
    }
}
