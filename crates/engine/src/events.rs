// SPDX-License-Identifier: Apache-2.0
//! Events: what happens to containers and images, told to whoever asks, with Docker's words.
//!
//! One ring holds the last ones, for those who ask for what was before and for those who listen and are behind. Telling
//! is one short lock and no I/O, whether or not somebody listens, and nobody who listens is ever waited for: who is
//! further behind than the ring is long is told how much was missed, and that is the end. A client that would go on with a
//! gap it does not know of would show containers that are long gone.

mod filter;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use image::{Deed, News};
use jiff::Timestamp;
use network::NetworkId;
use oci::ContainerId;
use tokio::sync::watch;
use tokio::time::Sleep;

pub use filter::EventFilter;

use crate::container::{Container, Exited};
use crate::error::EngineError;
use crate::networks::Network;
use crate::request::ExecSpec;

/// So many events are kept for those who ask later, as Docker does.
const KEPT: usize = 256;
/// So many while somebody listens: how far one may be behind.
const KEPT_FOR_LISTENERS: usize = 4096;
/// The most that all of them may take, in bytes: labels can be long.
const MOST_BYTES: usize = 8 << 20;
/// So many are handed on at once.
const BATCH: usize = 64;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A network.
    Network,
    /// A volume.
    Volume,
}

impl EventKind {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Container => "container",
            EventKind::Image => "image",
            EventKind::Network => "network",
            EventKind::Volume => "volume",
        }
    }
}

/// That something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// To what kind of thing.
    pub kind: EventKind,
    /// What: Docker's word, as in `start` or `exec_create: sh`.
    pub action: Cow<'static, str>,
    /// The thing's id; a pulled or pushed image's name; empty for a pruning.
    pub id: String,
    /// What Docker says about it: labels, names, an exit code.
    pub attributes: BTreeMap<String, String>,
    /// When.
    pub time: Timestamp,
}

impl Event {
    /// About what it takes in memory, in bytes.
    fn weight(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, value)| name.len() + value.len() + 64);
        size_of::<Event>() + self.action.len() + self.id.len() + attributes.sum::<usize>()
    }
}

/// Where events are told, and heard.
#[derive(Debug)]
pub(crate) struct Bus {
    ring: Mutex<Ring>,
    /// The number of the next event.
    told: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Arc<Event>>,
    /// The number of the first of them.
    first: u64,
    bytes: usize,
    listeners: usize,
    /// Nothing will be told any more that somebody could hear.
    closed: bool,
}

impl Ring {
    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    fn push(&mut self, event: Arc<Event>) {
        self.bytes += event.weight();
        self.events.push_back(event);
        let most = if self.listeners > 0 { KEPT_FOR_LISTENERS } else { KEPT };
        while self.events.len() > most || self.bytes > MOST_BYTES && self.events.len() > 1 {
            let Some(oldest) = self.events.pop_front() else { return };
            self.bytes -= oldest.weight();
            self.first += 1;
        }
    }
}

impl Default for Bus {
    fn default() -> Bus {
        Bus { ring: Mutex::default(), told: watch::Sender::new(0) }
    }
}

impl Bus {
    /// Tells that something happened, now.
    pub(crate) fn tell(
        &self,
        kind: EventKind,
        action: impl Into<Cow<'static, str>>,
        id: String,
        attributes: BTreeMap<String, String>,
    ) {
        let mut event = Event { kind, action: action.into(), id, attributes, time: Timestamp::UNIX_EPOCH };
        let mut ring = self.ring();
        // Under the lock, so that the order of times is that of events.
        event.time = Timestamp::now();
        ring.push(Arc::new(event));
        self.told.send_replace(ring.end());
    }

    /// Tells what happened to an image.
    pub(crate) fn tell_of_image(&self, News { deed, id, labels }: News) {
        let id = id.to_string();
        let (action, id, name) = match deed {
            Deed::Pulled(name) => ("pull", name.to_string(), name.familiar_repository()),
            Deed::Pushed(name) => ("push", name.to_string(), name.familiar_repository()),
            Deed::Tagged(name) => ("tag", id, name.to_string()),
            Deed::Untagged => ("untag", id.clone(), id),
            Deed::Deleted => ("delete", id.clone(), id),
            Deed::Imported => ("import", id.clone(), id),
            Deed::Loaded => ("load", id.clone(), id),
            Deed::Saved => ("save", id.clone(), id),
        };
        let mut attributes = labels;
        attributes.insert("name".to_owned(), name);
        self.tell(EventKind::Image, action, id, attributes);
    }

    /// Tells what happened to a network, or to a container's place in it.
    pub(crate) fn tell_of_network(&self, action: &'static str, network: &Network, container: Option<&ContainerId>) {
        let Network { id, name, driver, .. } = network;
        self.tell_of_place(action, id, name, driver.as_str(), container);
    }

    /// The same, without the network itself.
    pub(crate) fn tell_of_place(
        &self,
        action: &'static str,
        network: &NetworkId,
        name: &str,
        driver: &str,
        container: Option<&ContainerId>,
    ) {
        let mut attributes =
            BTreeMap::from([("name".to_owned(), name.to_owned()), ("type".to_owned(), driver.to_owned())]);
        attributes.extend(container.map(|container| ("container".to_owned(), container.to_string())));
        self.tell(EventKind::Network, action, network.to_string(), attributes);
    }

    /// Tells that networks were pruned, in the form that Docker's clients know from images, where it frees something.
    pub(crate) fn tell_of_pruned_networks(&self) {
        let attributes = BTreeMap::from([("reclaimed".to_owned(), "0".to_owned())]);
        self.tell(EventKind::Network, "prune", String::new(), attributes);
    }

    /// Hears what happens from now on; before that what has happened, as far as it is remembered, when `since` or `until`
    /// says so. Ends with `until`: at once when that has passed.
    pub(crate) fn listen(
        self: &Arc<Self>,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        filter: EventFilter,
    ) -> EventStream {
        let told = self.told.subscribe();
        let mut ring = self.ring();
        ring.listeners += 1;
        let now = ring.end();
        let next = if since.is_some() || until.is_some() { ring.first } else { now };
        drop(ring);
        let remaining = until.map(|until| until.duration_since(Timestamp::now()));
        // What lies before the epoch of `Duration` lies in the past.
        let remaining = remaining.map(|remaining| Duration::try_from(remaining).unwrap_or_default());
        let end = match remaining {
            None => End::Never,
            Some(Duration::ZERO) => End::Reached(now),
            Some(remaining) => End::At(Box::pin(tokio::time::sleep(remaining))),
        };
        EventStream { bus: Arc::clone(self), told, next, now, since, until, end, filter }
    }

    /// How many listen.
    pub(crate) fn listeners(&self) -> usize {
        self.ring().listeners
    }

    /// Ends all streams, when what has happened was heard: the daemon ends.
    pub(crate) fn close(&self) {
        let mut ring = self.ring();
        ring.closed = true;
        self.told.send_replace(ring.end());
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        // Nothing in it can panic half-way but for want of memory, which ends the daemon.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Events as they happen.
pub struct EventStream {
    bus: Arc<Bus>,
    told: watch::Receiver<u64>,
    /// The number of the next one to look at.
    next: u64,
    /// The number of the first one that happened after the question.
    now: u64,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    end: End,
    filter: EventFilter,
}

/// Where a stream of events ends.
enum End {
    Never,
    /// Then.
    At(Pin<Box<Sleep>>),
    /// Before the event with this number.
    Reached(u64),
}

impl EventStream {
    /// The next events, one at least; `None` at the end.
    ///
    /// # Errors
    /// [`EngineError::EventsMissed`]: they were not read as fast as they happened. Nothing comes after it.
    pub async fn next(&mut self) -> Result<Option<Vec<Arc<Event>>>, EngineError> {
        loop {
            self.told.borrow_and_update();
            while let Some(events) = self.take()? {
                let events: Vec<_> = events.into_iter().filter(|event| self.filter.lets_through(event)).collect();
                if !events.is_empty() {
                    return Ok(Some(events));
                }
            }
            if self.bus.ring().closed {
                return Ok(None);
            }
            match &mut self.end {
                End::Reached(_) => return Ok(None),
                // The bus has the sender, and this the bus: it cannot be gone.
                End::Never => drop(self.told.changed().await),
                End::At(end) => tokio::select! {
                    _ = self.told.changed() => {}
                    () = end => self.end = End::Reached(self.bus.ring().end()),
                },
            }
        }
    }

    /// The events that come next and lie between the bounds, perhaps none of them; `None` when there is nothing to look at.
    fn take(&mut self) -> Result<Option<Vec<Arc<Event>>>, EngineError> {
        let ring = self.bus.ring();
        if self.next < ring.first {
            let missed = ring.first - self.next;
            // Whoever asks again nevertheless is told the same.
            return Err(EngineError::EventsMissed(missed));
        }
        let end = match self.end {
            End::Reached(end) => end.min(ring.end()),
            _ => ring.end(),
        };
        if self.next >= end {
            return Ok(None);
        }
        // No more than the ring's length, so it fits.
        let from = (self.next - ring.first) as usize;
        let events: Vec<Arc<Event>> =
            ring.events.range(from..).take(BATCH.min((end - self.next) as usize)).map(Arc::clone).collect();
        drop(ring);
        let first = self.next;
        self.next += events.len() as u64;
        let is_within = |(number, event): &(u64, Arc<Event>)| {
            let is_old = *number < self.now && self.since.is_some_and(|since| event.time < since);
            !is_old && self.until.is_none_or(|until| event.time <= until)
        };
        Ok(Some((first..).zip(events).filter(is_within).map(|(_, event)| event).collect()))
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.bus.ring().listeners -= 1;
    }
}

impl Container {
    /// Tells that something happened to it; `own` are attributes of this event beside the container's.
    pub(crate) fn tell<const N: usize>(&self, action: impl Into<Cow<'static, str>>, own: [(&str, String); N]) {
        let attributes = self.with_record(|record| {
            let mut attributes = record.process.labels.clone();
            attributes.insert("image".to_owned(), record.spec.image.clone());
            attributes.insert("name".to_owned(), record.name.clone());
            // Last, so that no label can pass for one of them.
            attributes.extend(own.map(|(name, value)| (name.to_owned(), value)));
            attributes
        });
        self.events.tell(EventKind::Container, action, self.id.to_string(), attributes);
    }

    /// Tells that it is about to be sent a signal.
    pub(crate) fn tell_signal(&self, number: i32) {
        self.tell("kill", [("signal", number.to_string())]);
    }

    /// Tells that its run has ended for want of memory, if it has.
    pub(crate) fn tell_want_of_memory(&self, exited: &Exited) {
        if exited.oom_killed {
            self.tell("oom", []);
        }
    }

    /// Tells how its run has ended.
    pub(crate) fn tell_end(&self, exited: &Exited) {
        let ran = exited.started.map_or(0, |started| exited.finished.as_second() - started.as_second());
        self.tell("die", [("execDuration", ran.max(0).to_string()), ("exitCode", exited.code.to_string())]);
    }

    /// Tells of an exec; `action` is `exec_create` or `exec_start`, which Docker follows by the command: the program, a
    /// blank, and its arguments, if there are any.
    pub(crate) fn tell_exec(&self, action: &str, id: &str, spec: &ExecSpec) {
        let (program, arguments) = spec.command.split_first().map_or(("", &[][..]), |(p, rest)| (p.as_str(), rest));
        self.tell(format!("{action}: {program} {}", arguments.join(" ")), [("execID", id.to_owned())]);
    }
}
