// SPDX-License-Identifier: Apache-2.0
//! Programs that keep secrets (docker-credential-helpers): `docker-credential-X get|store|erase`, which read a request
//! from stdin and answer on stdout.
//!
//! Running them is one of the exceptions to "no program is run": they are how a user's key ring is reached, and the user's
//! configuration names them. Only a name is taken from there, never a path, and the secret goes through pipes alone.

use std::io::{self, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use errors::{Classify, Kind};
use serde::{Deserialize, Serialize};

use crate::credentials::{Credentials, Secret};

/// The longest that a helper may take: it may ask its user.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a helper is looked at.
const INTERVAL: Duration = Duration::from_millis(5);
/// How long the pipes of a helper that has ended may stay open: something it started may hold them.
const GRACE: Duration = Duration::from_secs(1);
/// Helpers answer with a few hundred bytes.
const MAX_ANSWER: u64 = 1 << 20;
/// The user name under which helpers keep identity tokens.
const TOKEN_USER: &str = "<token>";

/// Why a helper was of no help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HelperError {
    /// The configuration names something that is no helper.
    #[error("{name:?} cannot be the name of a credential helper")]
    Name {
        /// The name.
        name: String,
    },
    /// It cannot be run.
    #[error("cannot run docker-credential-{name}")]
    Run {
        /// The helper's name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It has not ended in time.
    #[error("docker-credential-{name} did not answer within {PATIENCE:?}")]
    Silent {
        /// The helper's name.
        name: String,
    },
    /// It says that it failed.
    #[error("docker-credential-{name} failed: {message}")]
    Failed {
        /// The helper's name.
        name: String,
        /// What it said.
        message: String,
    },
    /// Its answer is not understood.
    #[error("docker-credential-{name} gives no valid answer")]
    Malformed {
        /// The helper's name.
        name: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl Classify for HelperError {
    fn kind(&self) -> Kind {
        match self {
            HelperError::Name { .. } => Kind::InvalidArgument,
            HelperError::Run { source, .. } => errors::kind_of_io(source),
            HelperError::Silent { .. } | HelperError::Failed { .. } => Kind::Unavailable,
            HelperError::Malformed { .. } => Kind::Corrupt,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            HelperError::Run { name, .. } => Some(format!(
                "install docker-credential-{name}, or take it out of credsStore and credHelpers in Docker's config.json"
            )),
            _ => None,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record {
    #[serde(rename = "ServerURL", default)]
    server: String,
    username: String,
    secret: String,
}

/// What the helper `name` keeps for `server`.
pub(crate) fn get(name: &str, server: &str) -> Result<Option<Credentials>, HelperError> {
    let answer = match ask(name, "get", server.as_bytes()) {
        Ok(answer) => answer,
        // The protocol has no other way of saying so.
        Err(HelperError::Failed { message, .. }) if message.contains("credentials not found") => return Ok(None),
        Err(error) => return Err(error),
    };
    let Record { username, secret, .. } =
        serde_json::from_slice(&answer).map_err(|source| HelperError::Malformed { name: name.to_owned(), source })?;
    let secret = if username == TOKEN_USER { Secret::Identity(secret) } else { Secret::Password(secret) };
    Ok(Some(Credentials { username, secret }))
}

/// Has the helper `name` keep `credentials` for `server`.
pub(crate) fn store(name: &str, server: &str, credentials: &Credentials) -> Result<(), HelperError> {
    let (username, secret) = match &credentials.secret {
        Secret::Password(password) => (credentials.username.clone(), password.clone()),
        Secret::Identity(token) | Secret::Bearer(token) => (TOKEN_USER.to_owned(), token.clone()),
    };
    let record = Record { server: server.to_owned(), username, secret };
    // A struct of strings always becomes JSON.
    ask(name, "store", &serde_json::to_vec(&record).unwrap_or_default()).map(drop)
}

/// Has the helper `name` forget what it keeps for `server`. Says whether it kept anything.
pub(crate) fn erase(name: &str, server: &str) -> Result<bool, HelperError> {
    if get(name, server)?.is_none() {
        return Ok(false);
    }
    ask(name, "erase", server.as_bytes()).map(|_| true)
}

fn ask(name: &str, verb: &str, request: &[u8]) -> Result<Vec<u8>, HelperError> {
    let is_safe = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if !is_safe {
        return Err(HelperError::Name { name: name.to_owned() });
    }
    let failed = |source| HelperError::Run { name: name.to_owned(), source };
    #[expect(clippy::disallowed_methods, reason = "credential helpers are programs, and the user asked for them")]
    let mut command = Command::new(format!("docker-credential-{name}"));
    let mut child =
        command.arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(failed)?;
    let answer = converse(&mut child, request);
    let status = wait(&mut child).map_err(failed)?;
    let (Some(answer), Some(status)) = (answer.recv_timeout(GRACE).ok(), status) else {
        return Err(HelperError::Silent { name: name.to_owned() });
    };
    let answer = answer.map_err(failed)?;
    if status.success() {
        return Ok(answer);
    }
    let message: String =
        String::from_utf8_lossy(&answer).trim().chars().filter(|c| !c.is_control()).take(200).collect();
    Err(HelperError::Failed { name: name.to_owned(), message })
}

/// Writes the request and reads the answer on a thread, which ends with the helper's pipes.
fn converse(child: &mut Child, request: &[u8]) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel();
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let request = request.to_owned();
    std::thread::spawn(move || {
        // A helper may end without reading: what it answers counts.
        let _ = stdin.map(|mut pipe| pipe.write_all(&request));
        let mut answer = Vec::new();
        let read = stdout.map_or(Ok(0), |pipe| pipe.take(MAX_ANSWER).read_to_end(&mut answer));
        // Nobody waits any more when it took too long.
        let _ = sender.send(read.map(|_| answer));
    });
    receiver
}

/// How it ended; `None` when it had to be killed.
fn wait(child: &mut Child) -> io::Result<Option<std::process::ExitStatus>> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begun.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(INTERVAL);
    }
}
