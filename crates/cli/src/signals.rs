// SPDX-License-Identifier: Apache-2.0
//! The signals that a user, a service manager or a shell sends to the client and means for the container.

use std::collections::VecDeque;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::failure::Failure;

/// Makes a kind of signal; the kinds themselves are no constants.
type Kind = fn() -> SignalKind;

/// What is passed on, and by which name.
const PASSED_ON: [(&str, Kind); 7] = [
    ("INT", SignalKind::interrupt),
    ("TERM", SignalKind::terminate),
    ("HUP", SignalKind::hangup),
    ("QUIT", SignalKind::quit),
    ("USR1", SignalKind::user_defined1),
    ("USR2", SignalKind::user_defined2),
    ("ALRM", SignalKind::alarm),
];

/// So many requests to end, unheeded, end the client itself.
const PATIENCE: u32 = 3;

/// Signals as they come.
#[derive(Debug)]
pub(crate) struct Signals {
    received: mpsc::Receiver<(&'static str, i32)>,
    /// Those that came when there was nothing yet to pass them on to.
    held: VecDeque<&'static str>,
    pass_on: bool,
    unheeded: u32,
}

/// A signal that ends the client, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terminated(pub(crate) i32);

impl Terminated {
    /// The exit code that tells of it.
    pub(crate) fn exit_code(self) -> u8 {
        // Signals have numbers up to 64.
        u8::try_from(128 + self.0).unwrap_or(u8::MAX)
    }
}

impl From<Terminated> for Failure {
    /// The user knows of it.
    fn from(terminated: Terminated) -> Failure {
        Failure { report: None, code: terminated.exit_code() }
    }
}

impl Signals {
    /// Begin to listen. Without `pass_on` the signals end the client, after it has tidied up.
    pub(crate) fn listen(pass_on: bool) -> Result<Signals, Failure> {
        let (sender, received) = mpsc::channel(16);
        for (name, kind) in PASSED_ON {
            let kind = kind();
            let listener = signal(kind).map_err(|error| {
                Failure::new(errors::Kind::Internal, format!("cannot wait for the signal {name}: {error}"))
            })?;
            tokio::spawn(relay(listener, (name, kind.as_raw_value()), sender.clone()));
        }
        Ok(Signals { received, held: VecDeque::new(), pass_on, unheeded: 0 })
    }

    /// The name of the next signal to pass on, or that the client is to end.
    pub(crate) async fn next(&mut self) -> Result<&'static str, Terminated> {
        if let Some(name) = self.held.pop_front() {
            return Ok(name);
        }
        match self.received.recv().await {
            Some((name, number)) => self.decide(name, number),
            None => std::future::pending().await,
        }
    }

    /// What `answer` yields: the answer to a request by which something starts to run. Signals that come before are passed on
    /// afterwards; one that ends the client does so at once, however long the answer takes.
    pub(crate) async fn hold_until<T>(&mut self, answer: impl Future<Output = T>) -> Result<T, Terminated> {
        tokio::select! {
            answer = answer => Ok(answer),
            terminated = self.hold() => Err(terminated),
        }
    }

    async fn hold(&mut self) -> Terminated {
        while let Some((name, number)) = self.received.recv().await {
            match self.decide(name, number) {
                Ok(name) => self.held.push_back(name),
                Err(terminated) => return terminated,
            }
        }
        std::future::pending().await
    }

    /// The next signal, of whatever kind, ends the client: there is nothing that it could be meant for.
    pub(crate) async fn any(&mut self) -> Terminated {
        match self.received.recv().await {
            Some((_, number)) => Terminated(number),
            None => std::future::pending().await,
        }
    }

    fn decide(&mut self, name: &'static str, number: i32) -> Result<&'static str, Terminated> {
        if matches!(name, "INT" | "TERM") {
            self.unheeded += 1;
        }
        if self.pass_on && self.unheeded < PATIENCE { Ok(name) } else { Err(Terminated(number)) }
    }
}

async fn relay(mut listener: Signal, which: (&'static str, i32), sender: mpsc::Sender<(&'static str, i32)>) {
    while listener.recv().await.is_some() {
        if sender.send(which).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signals(pass_on: bool) -> Signals {
        Signals { received: mpsc::channel(1).1, held: VecDeque::new(), pass_on, unheeded: 0 }
    }

    #[test]
    fn the_third_request_to_end_ends_the_client() {
        let mut signals = signals(true);
        assert_eq!(signals.decide("USR1", 10), Ok("USR1"));
        assert_eq!(signals.decide("INT", 2), Ok("INT"));
        assert_eq!(signals.decide("TERM", 15), Ok("TERM"));
        assert_eq!(signals.decide("INT", 2), Err(Terminated(2)));
    }

    #[test]
    fn what_is_not_passed_on_ends_the_client() {
        assert_eq!(signals(false).decide("HUP", 1), Err(Terminated(1)));
    }
}
