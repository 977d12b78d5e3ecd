// SPDX-License-Identifier: Apache-2.0
//! A session between the user's terminal and a command in a container.
//!
//! Four things happen at once: a thread reads stdin (files cannot be waited for, and a blocked read must not keep the
//! program from ending), a task sends what was read, a task receives what the command writes, and a thread writes it
//! to stdout and stderr (whose reader may be slow, which must not keep signals from being passed on).

use std::io::Read;

use api_types::Size;
use client::{ClientError, Event, Exit, Session, SessionReader, SessionWriter};
use errors::{Kind, Report};
use tokio::signal::unix::SignalKind;
use tokio::sync::{mpsc, oneshot};

use crate::failure::Failure;
use crate::signals::{Signals, Terminated};
use crate::terminal::{self, Raw};
use crate::trace::{Trace, now_ns};
use api_types::detach_keys::{DetachKeys, Filter, Typed};

/// How much is read from stdin at once, in bytes.
const CHUNK: usize = 32 * 1024;

/// How to connect the user to a session.
#[derive(Debug)]
pub(crate) struct Options<'a> {
    /// The command has a terminal.
    pub(crate) tty: bool,
    /// What the user types is for the command.
    pub(crate) stdin: bool,
    /// The keys that leave the session.
    pub(crate) detach_keys: &'a DetachKeys,
    /// The command was started before the session began, and nobody says so any more.
    pub(crate) started: bool,
}

/// How a session ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The command ended.
    Exited(Exit),
    /// The command could not be executed.
    Failed(Report),
    /// The user left; the command goes on.
    Detached,
    /// A signal ended the client, and was not to be passed on.
    Terminated(Terminated),
}

/// Carry the session until it ends. `signal` is called for each signal that is to be passed on.
pub(crate) async fn drive(
    session: Session,
    options: Options<'_>,
    trace: &mut Trace,
    mut signals: Signals,
    mut pass_on: impl AsyncFnMut(&'static str),
) -> Result<Ending, Failure> {
    let interactive = options.tty && options.stdin && terminal::is_interactive();
    let _raw = if interactive { Some(Raw::enter().map_err(cannot_be_raw)?) } else { None };

    let (resize, resizes) = mpsc::channel(1);
    let (detached, mut detach) = oneshot::channel();
    let filter = interactive.then(|| Filter::new(options.detach_keys));
    let input = options.stdin.then(read_stdin);
    tokio::spawn(send(session.writer, input, resizes, filter, detached));
    let (writes, mut writer) = oneshot::channel();
    let (happened, mut events) = mpsc::channel(4);
    tokio::spawn(receive(session.reader, writes, happened));

    // The command's terminal may have been made before this one was looked at.
    if let Some(size) = terminal::size().filter(|_| options.tty) {
        // The receiver lives in the task that was just started.
        let _ = resize.send(size).await;
    }

    let mut resized = tokio::signal::unix::signal(SignalKind::window_change()).map_err(no_signals)?;
    let mut listening = true;
    let mut started = options.started;
    let mut early = Vec::new();
    let ending = loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(Ok(Event::Started(start))) => {
                    trace.extend(start.steps);
                    trace.step("told of the start");
                    started = true;
                    for name in early.drain(..) {
                        pass_on(name).await;
                    }
                }
                Some(Ok(Event::Exited(exit))) => break Ending::Exited(exit),
                Some(Ok(Event::Failed(report))) => break Ending::Failed(report),
                // Output goes from task to thread, past this loop.
                Some(Ok(Event::Stdout(_) | Event::Stderr(_))) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Err(lost()),
            },
            signal = signals.next() => match signal {
                Ok(name) if started => pass_on(name).await,
                Ok(name) => early.push(name),
                Err(terminated) => break Ending::Terminated(terminated),
            },
            _ = resized.recv(), if options.tty => if let Some(size) = terminal::size() {
                // When nobody takes sizes any more the session is about to end.
                let _ = resize.send(size).await;
            },
            left = &mut detach, if listening => match left {
                Ok(()) => break Ending::Detached,
                // Nobody sends any more, so nobody can leave; asking once more would be a mistake.
                Err(_) => listening = false,
            },
        }
    };
    if matches!(ending, Ending::Exited(_) | Ending::Failed(_)) {
        trace.step("told of the exit");
        // All output came before the exit; the thread ends when it has written it. Without any there is none.
        drop(events);
        if let Ok(writer) = writer.try_recv() {
            let writer: std::thread::JoinHandle<u64> = writer;
            let panicked = |_| Failure::new(Kind::Internal, "the thread that writes the output panicked");
            trace.step_at("first output", writer.join().map_err(panicked)?);
        }
    }
    Ok(ending)
}

/// Send what the user types, and how large the terminal is, until the session ends.
async fn send(
    mut writer: SessionWriter,
    mut input: Option<mpsc::Receiver<Vec<u8>>>,
    mut resizes: mpsc::Receiver<Size>,
    mut filter: Option<Filter>,
    detached: oneshot::Sender<()>,
) -> Result<(), ClientError> {
    loop {
        tokio::select! {
            typed = receive_some(&mut input) => {
                let Some(data) = typed else {
                    writer.stdin_eof().await?;
                    input = None;
                    continue;
                };
                let typed = match &mut filter {
                    Some(filter) => filter.push(&data),
                    None => Typed::Forward(data),
                };
                match typed {
                    Typed::Forward(data) => writer.stdin(&data).await?,
                    Typed::Detach(data) => {
                        writer.stdin(&data).await?;
                        writer.detach().await?;
                        // The loop that waits for this may have ended first: then nobody needs to know.
                        let _ = detached.send(());
                        return Ok(());
                    }
                }
            }
            size = resizes.recv() => match size {
                Some(size) => writer.resize(size).await?,
                None => return Ok(()),
            },
        }
    }
}

/// The next piece of input; never, when there is none.
async fn receive_some(input: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match input {
        Some(receiver) => receiver.recv().await,
        None => std::future::pending().await,
    }
}

/// Receive until the session ends: output goes to the thread that writes it, which is started by the first of it and told
/// to `writes`; everything else goes to the loop.
async fn receive(
    mut reader: SessionReader,
    writes: oneshot::Sender<std::thread::JoinHandle<u64>>,
    happened: mpsc::Sender<Result<Event, ClientError>>,
) {
    let mut writes = Some(writes);
    let mut output: Option<mpsc::Sender<Event>> = None;
    loop {
        let gone = match reader.next().await {
            Ok(Some(written @ (Event::Stdout(_) | Event::Stderr(_)))) => {
                let output = output.get_or_insert_with(|| {
                    let (sender, thread) = write_output(now_ns());
                    // A session that was left does not wait for what is written.
                    let _ = writes.take().map(|writes| writes.send(thread));
                    sender
                });
                output.send(written).await.is_err()
            }
            Ok(Some(last @ (Event::Exited(_) | Event::Failed(_)))) => {
                // First, so that the writing thread is seen to end once it has written all.
                drop(output);
                // A session that was left does not ask how it ended.
                let _ = happened.send(Ok(last)).await;
                return;
            }
            Ok(Some(event)) => happened.send(Ok(event)).await.is_err(),
            Ok(None) => return,
            Err(error) => {
                // The receiver is gone when the session is over, and then the error is of no interest.
                let _ = happened.send(Err(error)).await;
                return;
            }
        };
        if gone {
            return;
        }
    }
}

/// A thread that writes what it is sent of a command's output. At its end it tells when the first of it came.
fn write_output(first_ns: u64) -> (mpsc::Sender<Event>, std::thread::JoinHandle<u64>) {
    let (sender, mut receiver) = mpsc::channel(16);
    let thread = std::thread::spawn(move || {
        while let Some(output) = receiver.blocking_recv() {
            match output {
                Event::Stdout(data) => crate::printer::data(&data),
                Event::Stderr(data) => crate::printer::error_data(&data),
                Event::Started(_) | Event::Exited(_) | Event::Failed(_) => {}
            }
        }
        first_ns
    });
    (sender, thread)
}

fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(4);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut chunk = vec![0; CHUNK];
        // An unreadable stdin has ended.
        while let Ok(length @ 1..) = stdin.read(&mut chunk) {
            if sender.blocking_send(chunk[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

fn cannot_be_raw(error: std::io::Error) -> Failure {
    Failure::new(Kind::Internal, format!("cannot put the terminal into raw mode: {error}"))
}

fn no_signals(error: std::io::Error) -> Failure {
    Failure::new(Kind::Internal, format!("cannot wait for signals: {error}"))
}

fn lost() -> Failure {
    Failure::new(Kind::Unavailable, "the daemon went away; the container goes on without this terminal")
        .with_hint("`corten ps` says how it is, `corten attach` connects to it again")
}
