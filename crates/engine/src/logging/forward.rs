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

use tokio::sync::watch::Receiver;
use tokio::time::Instant;

use super::attributes::Subject;
use super::remote::{Remote, Sender};
use crate::Engine;
use crate::container::{Container, Phase};
use crate::error::EngineError;
use crate::logs::follow::{Cursor, Follower, Step};
use crate::logs::watch::Listener;
use crate::logs::{LogLine, gap, notice, parse};

/// So much is sent at once: lines, and bytes of text.
const BATCH_LINES: usize = 512;
const BATCH_BYTES: usize = 256 << 10;
/// The longest pause between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How long a removed container's last lines may take to be sent.
const FAREWELL: Duration = Duration::from_secs(5);

/// Where a log is read, and where what was sent is remembered.
struct Source {
    follower: Follower,
    /// What is said to the server before the next lines.
    notices: Vec<LogLine>,
    remembered: PathBuf,
    keep: Option<u64>,
}

struct Forwarder {
    container: Arc<Container>,
    remote: Remote,
    sender: Sender,
    listener: Listener,
    phase: Receiver<Phase>,
    /// When to give up, once the container is removed.
    deadline: Option<Instant>,
}

impl Engine {
    /// Sends a container's log where its driver says, until the container has ended and all is sent. Nothing, where that
    /// goes on already or the log stays here.
    pub(crate) fn forward_log(self: &Arc<Self>, container: &Arc<Container>) {
        if !container.with_record(|record| record.spec.log.is_sent()) || !container.begin_forwarding() {
            return;
        }
        let (engine, container) = (Arc::clone(self), Arc::clone(container));
        self.handle.spawn(async move {
            if let Err(error) = engine.forward(&container).await {
                let error = errors::chain(&error);
                tracing::error!(container = %container.id, error, "a container's log is not sent any more");
                container.forwarding_failed();
            }
        });
    }

    async fn forward(&self, container: &Arc<Container>) -> Result<(), EngineError> {
        let record = container.record();
        let settings = record.spec.log.settings()?;
        let (Some(remote), Some(log)) = (settings.remote.clone(), container.log_path()) else { return Ok(()) };
        let sender = remote
            .sender(&Subject::of(&record), settings.tag.as_ref(), &settings.labels, &settings.env)
            .map_err(|why| EngineError::invalid("--log-opt", why))?;
        let listener = self.log_watch.listen(&container.dir).map_err(EngineError::io("watch", &container.dir))?;
        let (remembered, keep) = (container.dir.join("log-cursor.json"), remote.keep);
        let failed = EngineError::io("read", log.clone());
        let source =
            self.blocking("forward a log", move || Source::open(log, remembered, keep).map_err(failed)).await?;
        let (container, phase) = (Arc::clone(container), container.watch());
        Forwarder { container, remote, sender, listener, phase, deadline: None }.run(self, source).await
    }
}

impl Source {
    fn open(log: PathBuf, remembered: PathBuf, keep: Option<u64>) -> io::Result<Source> {
        let cursor: Option<Cursor> = match std::fs::read(&remembered) {
            Ok(text) => serde_json::from_slice(&text).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let (follower, step) = match cursor {
            Some(cursor) => Follower::resume(log, &cursor)?,
            None => (Follower::new(log, true)?, Step::End),
        };
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
    fn remember(&self) -> io::Result<()> {
        let Some(cursor) = self.follower.cursor() else { return Ok(()) };
        let new = self.remembered.with_extension("new");
        std::fs::write(&new, serde_json::to_vec(&cursor)?)?;
        std::fs::rename(new, &self.remembered)
    }
}

impl Forwarder {
    async fn run(mut self, engine: &Engine, mut source: Source) -> Result<(), EngineError> {
        let mut sent = false;
        loop {
            // Asked before reading: what was written before the end is read after learning of it.
            let over = !matches!(*self.phase.borrow_and_update(), Phase::Running | Phase::Restarting(_));
            let dir = self.container.dir.clone();
            let (lines, back) = engine
                .blocking("forward a log", move || {
                    // Not remembered (a full disk, a directory that is being removed): sent again by a next daemon.
                    if sent && let Err(error) = source.remember() {
                        tracing::debug!(%error, "cannot remember how far a log was sent");
                    }
                    let lines = source.read().map_err(EngineError::io("read the log in", dir))?;
                    Ok((lines, source))
                })
                .await?;
            (source, sent) = (back, !lines.is_empty());
            if sent {
                if !self.deliver(&lines).await? {
                    self.container.forwarding_failed();
                    return Ok(());
                }
            } else if !over {
                tokio::select! {
                    () = self.listener.changed() => {}
                    _ = self.phase.changed() => {}
                }
            } else if self.container.end_forwarding() {
                return Ok(());
            }
        }
    }

    /// Sends lines until the server has taken them. `false`: the container is removed, and it is given up.
    async fn deliver(&mut self, lines: &[LogLine]) -> Result<bool, EngineError> {
        let batch = self.sender.encode(lines).map_err(|why| EngineError::invalid("--log-opt", why))?;
        let (mut failures, mut wait) = (0, self.remote.retry_wait);
        loop {
            let attempt = self.sender.transport.send(&batch);
            let Some(result) = unless_removed(&mut self.phase, &mut self.deadline, attempt).await else {
                tracing::warn!(container = %self.container.id, "the last lines of a removed container's log were not sent");
                return Ok(false);
            };
            let (id, server) = (&self.container.id, &self.sender.address);
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
            unless_removed(&mut self.phase, &mut self.deadline, pause).await;
            wait = (wait * 2).min(LONGEST_WAIT.max(self.remote.retry_wait));
        }
    }
}

/// What `work` gives; `None` when the container was removed a while ago.
async fn unless_removed<T>(
    phase: &mut Receiver<Phase>,
    deadline: &mut Option<Instant>,
    work: impl Future<Output = T>,
) -> Option<T> {
    let given_up = async {
        // An error means that the container is gone altogether.
        let _ = phase.wait_for(|phase| matches!(phase, Phase::Removed(_))).await;
        tokio::time::sleep_until(*deadline.get_or_insert_with(|| Instant::now() + FAREWELL)).await;
    };
    tokio::select! {
        biased;
        () = given_up => None,
        done = work => Some(done),
    }
}

/// How long the files of a removed container wait for this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(6);
