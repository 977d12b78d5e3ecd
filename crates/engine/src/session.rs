// SPDX-License-Identifier: Apache-2.0
//! A client's connection to a container's streams.
//!
//! The shim speaks frames; Corten's own clients get them as they are, Docker's clients get Docker's hijacked stream. In
//! both, a container's last frame is held back until the engine has settled the exit, so that whoever sees a `run --rm`
//! end can use the name again.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api_types::detach_keys::{DetachKeys, Filter, Typed};
use shim::Exit;
use shim::frame::Kind;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use tokio::net::UnixStream;

use crate::container::{Container, Phase};
use crate::exec::ExecState;
use crate::frames;

/// What a client's bytes are read with.
const BUFFER: usize = 32 << 10;

/// A connection to a container's or an exec's streams.
pub struct Session {
    stream: UnixStream,
    of: Of,
    tty: bool,
    detach_keys: DetachKeys,
    /// The client knows that the command was started.
    told: bool,
}

enum Of {
    Container(Arc<Container>),
    Exec(AttachedExec),
}

/// An exec that somebody is attached to.
pub(crate) struct AttachedExec {
    pub(crate) id: String,
    pub(crate) container: Arc<Container>,
    pub(crate) state: Arc<Mutex<ExecState>>,
}

impl AttachedExec {
    fn state(&self) -> MutexGuard<'_, ExecState> {
        // Changed by single assignments.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How Docker's clients read output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Eight-byte headers that tell stdout from stderr.
    Multiplexed,
    /// The bytes alone, as a terminal sends them.
    Raw,
}

impl Session {
    pub(crate) fn of_container(stream: UnixStream, container: Arc<Container>) -> Session {
        let tty = container.with_record(|record| record.spec.tty);
        Session { stream, of: Of::Container(container), tty, detach_keys: DetachKeys::default(), told: false }
    }

    pub(crate) fn of_exec(stream: UnixStream, exec: AttachedExec, tty: bool) -> Session {
        Session { stream, of: Of::Exec(exec), tty, detach_keys: DetachKeys::default(), told: false }
    }

    /// With other keys that leave it than the usual ones.
    #[must_use]
    pub fn left_by(self, detach_keys: DetachKeys) -> Session {
        Session { detach_keys, ..self }
    }

    /// For a client that is told otherwise that the command was started: it is not woken to hear it again.
    #[must_use]
    pub(crate) fn told(self) -> Session {
        Session { told: true, ..self }
    }

    /// Whether the streams are a terminal's.
    pub fn tty(&self) -> bool {
        self.tty
    }

    /// Carries frames both ways until the command ends or the client leaves.
    ///
    /// # Errors
    /// The client's connection broke.
    pub async fn copy_frames(self, client: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let (mut from_client, to_client) = tokio::io::split(client);
        let (from_shim, mut to_shim) = tokio::io::split(self.stream);
        let inwards = async {
            let mut buffer = vec![0; BUFFER];
            let mut heard = true;
            loop {
                let length = from_client.read(&mut buffer).await?;
                if length == 0 {
                    return Ok(());
                }
                // A command that ended hears nothing more, but what it wrote is still on its way to the client.
                heard = heard && to_shim.write_all(&buffer[..length]).await.is_ok();
            }
        };
        let outwards = forward_frames(from_shim, to_client, &self.of, self.told);
        tokio::select! {
            // The client left, or broke off; the container does not care.
            result = inwards => {
                self.of.left();
                result
            }
            result = outwards => result,
        }
    }

    /// Carries Docker's hijacked stream: bytes in, multiplexed or raw bytes out. The end of the client's bytes closes
    /// the command's standard input and nothing else; `hung_up` tells when the client does not hear any more either. What is
    /// typed into a terminal is searched for the keys that leave.
    ///
    /// # Errors
    /// The client's connection broke.
    pub async fn copy_docker(
        self,
        client: impl AsyncRead + AsyncWrite + Unpin,
        hung_up: impl Future<Output = io::Result<()>>,
        output: Output,
    ) -> io::Result<()> {
        let (from_client, to_client) = tokio::io::split(client);
        let (from_shim, to_shim) = tokio::io::split(self.stream);
        let keys = self.tty.then(|| Filter::new(&self.detach_keys));
        let outwards = forward_output(from_shim, to_client, output, &self.of);
        tokio::pin!(outwards);
        let _to_shim = tokio::select! {
            biased;
            result = &mut outwards => return result,
            result = send_input(from_client, to_shim, keys) => match result? {
                Input::Ended(to_shim) => Some(to_shim),
                Input::ShimGone => None,
                Input::Left => {
                    self.of.left();
                    return Ok(());
                }
            },
        };
        // What the client had sent is the command's before it is let go.
        tokio::select! {
            biased;
            result = outwards => result,
            result = hung_up => result,
        }
    }
}

/// Why a client's input stopped.
enum Input {
    /// The client has no more; the shim's side stays open, because closing it would mean leaving.
    Ended(WriteHalf<UnixStream>),
    /// Nobody takes it any more.
    ShimGone,
    /// The keys that leave were typed.
    Left,
}

async fn send_input(
    mut client: impl AsyncRead + Unpin,
    mut shim: WriteHalf<UnixStream>,
    mut keys: Option<Filter>,
) -> io::Result<Input> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = client.read(&mut buffer).await?;
        if length == 0 {
            let ended = frames::write(&mut shim, Kind::StdinEof, &[]).await;
            return Ok(ended.map_or(Input::ShimGone, |()| Input::Ended(shim)));
        }
        let typed = &buffer[..length];
        let (sent, leaves) = match keys.as_mut().map(|keys| keys.push(typed)) {
            None => (frames::write(&mut shim, Kind::Stdin, typed).await, false),
            Some(Typed::Forward(typed)) => (send_some(&mut shim, &typed).await, false),
            Some(Typed::Detach(typed)) => (send_some(&mut shim, &typed).await, true),
        };
        if leaves {
            return Ok(Input::Left);
        }
        if sent.is_err() {
            return Ok(Input::ShimGone);
        }
    }
}

/// Sends what was typed, if that is anything: keys may be held back.
async fn send_some(shim: &mut WriteHalf<UnixStream>, typed: &[u8]) -> io::Result<()> {
    if typed.is_empty() { Ok(()) } else { frames::write(shim, Kind::Stdin, typed).await }
}

async fn forward_frames(
    shim: ReadHalf<UnixStream>,
    mut client: impl AsyncWrite + Unpin,
    of: &Of,
    told: bool,
) -> io::Result<()> {
    let mut shim = BufReader::with_capacity(BUFFER, shim);
    let exit = loop {
        match frames::read_raw(&mut shim).await {
            Ok((Kind::Exited, payload)) => break serde_json::from_slice(&payload).ok(),
            Ok((Kind::Started, _)) if told => {}
            Ok((kind, payload)) => frames::write(&mut client, kind, &payload).await?,
            Err(_) => break None,
        }
    };
    if let Some(exit) = of.settled(exit).await {
        frames::write_json(&mut client, Kind::Exited, &exit).await?;
    }
    client.shutdown().await
}

async fn forward_output(
    shim: ReadHalf<UnixStream>,
    mut client: impl AsyncWrite + Unpin,
    output: Output,
    of: &Of,
) -> io::Result<()> {
    let mut shim = BufReader::with_capacity(BUFFER, shim);
    let exit = loop {
        match (frames::read_raw(&mut shim).await, output) {
            (Ok((kind @ (Kind::Stdout | Kind::Stderr), payload)), Output::Multiplexed) => {
                frames::write(&mut client, kind, &payload).await?;
            }
            (Ok((Kind::Stdout | Kind::Stderr, payload)), Output::Raw) => client.write_all(&payload).await?,
            (Ok((Kind::Exited, payload)), _) => break serde_json::from_slice(&payload).ok(),
            (Ok(_), _) => {}
            (Err(_), _) => break None,
        }
    };
    of.settled(exit).await;
    client.shutdown().await
}

impl Of {
    /// The client has left while the command may still run.
    fn left(&self) {
        match self {
            Of::Container(container) if container.with_record(|record| record.state.running().is_some()) => {
                container.tell("detach", []);
            }
            Of::Exec(exec) if !exec.state().has_ended() => {
                exec.container.tell("exec_detach", [("execID", exec.id.clone())]);
            }
            // It has ended.
            Of::Container(_) | Of::Exec(_) => {}
        }
    }

    /// The exit once the engine has dealt with it; its own account of it when the shim died without a word.
    async fn settled(&self, exit: Option<Exit>) -> Option<Exit> {
        match self {
            Of::Exec(exec) => {
                if let Some(exit) = &exit {
                    exec.state().end(exit.code);
                }
                exit
            }
            Of::Container(container) => {
                let mut phase = container.watch();
                let ended =
                    |phase: &Phase| matches!(phase, Phase::Exited(_) | Phase::Restarting(_) | Phase::Removed(_));
                // The sender lives in the container, which this holds.
                phase.wait_for(ended).await.ok()?;
                exit.or_else(|| {
                    container.with_record(|record| {
                        record.state.exited().map(|exited| Exit {
                            code: exited.code,
                            signal: None,
                            oom_killed: exited.oom_killed,
                            at: exited.finished.to_string(),
                            pid: 0,
                            steps: Vec::new(),
                        })
                    })
                })
            }
        }
    }
}
