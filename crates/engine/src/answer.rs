// SPDX-License-Identifier: Apache-2.0
//! Questions that may never be answered. A file system that a program or another host serves hangs for as long as that does,
//! and with it every thread that asks it. Where somebody waits with a container's turn in hand, the question is asked by a
//! thread that is given up in the end; what it would have done then is not done, however late the answer comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use crate::error::EngineError;

/// How long an answer may take. A mount that is made on the way, or a slow network, takes less.
const PATIENCE: Duration = Duration::from_secs(5);
/// When so many threads still wait for answers that nobody waits for any more, no other question is asked.
const MOST_GIVEN_UP: usize = 64;

/// Threads that were given up and wait on.
static GIVEN_UP: AtomicUsize = AtomicUsize::new(0);

/// Where a question stands.
const ASKED: u8 = 0;
const ANSWERED: u8 = 1;
const ABANDONED: u8 = 2;

/// Asks, and gives the answer; `about` is what is asked.
///
/// # Errors
/// There is none in time.
pub(crate) fn in_time<T: Send + 'static>(
    about: &str,
    ask: impl FnOnce() -> T + Send + 'static,
) -> Result<T, EngineError> {
    in_time_then(about, ask, |answer| answer)
}

/// Asks, and when there was an answer in time acts on it, on the same thread. Only the question has a limit: whoever has begun
/// to act is waited for.
///
/// # Errors
/// There was no answer in time, and nothing was done nor will be.
pub(crate) fn in_time_then<A, T: Send + 'static>(
    about: &str,
    ask: impl FnOnce() -> A + Send + 'static,
    act: impl FnOnce(A) -> T + Send + 'static,
) -> Result<T, EngineError> {
    within(PATIENCE, about, ask, act)
}

fn within<A, T: Send + 'static>(
    patience: Duration,
    about: &str,
    ask: impl FnOnce() -> A + Send + 'static,
    act: impl FnOnce(A) -> T + Send + 'static,
) -> Result<T, EngineError> {
    let no_answer = || EngineError::NoAnswer { about: about.to_owned(), seconds: patience.as_secs() };
    if GIVEN_UP.load(Ordering::Acquire) >= MOST_GIVEN_UP {
        return Err(no_answer());
    }
    let stage = Arc::new(AtomicU8::new(ASKED));
    let (told, heard) = sync_channel(1);
    let theirs = Arc::clone(&stage);
    let body = move || {
        let answer = ask();
        if theirs.compare_exchange(ASKED, ANSWERED, Ordering::AcqRel, Ordering::Acquire).is_err() {
            GIVEN_UP.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        // Whoever was answered is listening; if not, it has panicked.
        let _ = told.send(act(answer));
    };
    let thread = thread::Builder::new().name("question".to_owned()).spawn(body);
    thread.map_err(EngineError::io("start a thread in", "/proc/self/task"))?;
    match heard.recv_timeout(patience) {
        Ok(done) => return Ok(done),
        Err(RecvTimeoutError::Disconnected) => return Err(EngineError::Worker("a question")),
        Err(RecvTimeoutError::Timeout) => {}
    }
    // Before it may be taken back.
    GIVEN_UP.fetch_add(1, Ordering::AcqRel);
    if stage.compare_exchange(ASKED, ABANDONED, Ordering::AcqRel, Ordering::Acquire).is_ok() {
        return Err(no_answer());
    }
    GIVEN_UP.fetch_sub(1, Ordering::AcqRel);
    heard.recv().map_err(|_| EngineError::Worker("a question"))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn what_is_answered_too_late_is_not_acted_on() {
        let (release, wait) = channel::<()>();
        let (acted, acts) = channel::<()>();
        let ask = move || {
            // Until nobody can send any more.
            let _ = wait.recv();
        };
        let given_up = within(Duration::from_millis(50), "the file", ask, move |()| acted.send(()));
        assert!(matches!(given_up, Err(EngineError::NoAnswer { about, .. }) if about == "the file"));
        drop(release);
        // The thread ends without acting: what it would have told with goes.
        assert!(acts.recv().is_err());
    }

    #[test]
    fn who_acts_is_waited_for() {
        let (release, wait) = channel::<()>();
        let releases = thread::spawn(move || {
            thread::sleep(Duration::from_millis(200));
            drop(release);
        });
        let act = move |answer: i32| {
            let _ = wait.recv();
            answer + 1
        };
        assert_eq!(within(Duration::from_millis(20), "x", || 6, act).unwrap(), 7);
        releases.join().unwrap();
        assert!(matches!(in_time("x", || -> i32 { panic!("a question's end") }), Err(EngineError::Worker(_))));
    }
}
