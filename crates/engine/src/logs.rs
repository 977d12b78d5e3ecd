// SPDX-License-Identifier: Apache-2.0
//! `logs`, and sending logs elsewhere: the `logging` room does both; here it is told of containers.

use std::sync::Arc;

use logging::{Forward, Life, LogOptions, LogStream, Stage, Subject};
use tokio::sync::watch::Receiver;

use crate::Engine;
use crate::container::{Container, Phase, Record};
use crate::error::EngineError;

/// A container's life, as far as its log goes.
pub struct LogLife(Receiver<Phase>);

impl LogLife {
    fn of(container: &Container) -> LogLife {
        LogLife(container.watch())
    }
}

impl Life for LogLife {
    fn stage(&mut self) -> Stage {
        match *self.0.borrow_and_update() {
            Phase::Idle => Stage::Idle,
            Phase::Running | Phase::Restarting(_) => Stage::Writing,
            Phase::Exited(_) => Stage::Ended,
            Phase::Removed(_) => Stage::Removed,
        }
    }

    async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

/// What the drivers may say of a container.
pub(crate) fn subject(record: &Record) -> Subject<'_> {
    Subject {
        id: &record.id,
        name: &record.name,
        image: &record.spec.image,
        image_id: &record.image_id,
        created: record.created,
        args: &record.process.args,
        env: &record.process.env,
        labels: &record.process.labels,
    }
}

impl Engine {
    /// A container's log.
    ///
    /// # Errors
    /// No such container, one whose log is kept nowhere, or a log that cannot be read.
    pub async fn logs(self: &Arc<Self>, name: &str, options: LogOptions) -> Result<LogStream<LogLife>, EngineError> {
        let container = self.container(name)?;
        let unread = |record: &Record| EngineError::NoLog { name: record.name.clone(), log: record.spec.log.clone() };
        if let Some(error) = container.with_record(|record| (!record.spec.log.is_readable()).then(|| unread(record))) {
            return Err(error);
        }
        let path = container.log_path().ok_or_else(|| container.with_record(unread))?;
        Ok(LogStream::open(&self.log_watch, path, options, LogLife::of(&container)).await?)
    }

    /// Sends a container's log where its driver says, until the container has ended and all is sent. Nothing, where that
    /// goes on already or the log stays here.
    pub(crate) fn forward_log(self: &Arc<Self>, container: &Arc<Container>) {
        if !container.with_record(|record| record.spec.log.is_sent()) || !container.forwarding.begin() {
            return;
        }
        let (engine, container) = (Arc::clone(self), Arc::clone(container));
        self.handle.spawn(async move {
            if let Err(error) = engine.forward(&container).await {
                let error = errors::chain(&error);
                tracing::error!(container = %container.id, error, "a container's log is not sent any more");
                container.forwarding.fail();
            }
        });
    }

    async fn forward(&self, container: &Container) -> Result<(), EngineError> {
        let record = container.record();
        let settings = record.spec.log.settings()?;
        let Some(path) = container.log_path() else { return Ok(()) };
        let (subject, life, forwarding) = (subject(&record), LogLife::of(container), &container.forwarding);
        Ok(logging::forward(&self.log_watch, Forward { subject, path, settings, life, forwarding }).await?)
    }
}
