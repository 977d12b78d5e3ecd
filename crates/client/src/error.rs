// SPDX-License-Identifier: Apache-2.0
//! What can go wrong between a client and the daemon.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use errors::{Classify, Kind, Report, kind_of_io};
use shim::frame::FrameError;

use crate::address::Address;
use crate::contexts::ContextError;
use crate::tls::TlsError;

/// A request that was not answered, or was answered with an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// `-H` or `CORTEN_HOST` is no address.
    #[error("the daemon's address \"{address}\" cannot be used: {reason}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Nobody listens, and only root could change that.
    #[error("Corten's daemon is not running (nothing listens on {}), and only root can start it", socket.display())]
    NotRoot {
        /// Where it was looked for.
        socket: PathBuf,
    },
    /// The socket cannot be connected to.
    #[error("{} at {address}", if *as_docker { "Cannot connect to the Docker daemon" } else { "cannot connect to the daemon" })]
    Connect {
        /// The daemon's address.
        address: Address,
        /// Whoever stands in for docker says so in Docker's words: scripts look for them.
        as_docker: bool,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// TLS with the daemon did not come about.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The user's ssh cannot be run.
    #[error("cannot run ssh, which {address} needs")]
    Ssh {
        /// The daemon's address.
        address: Address,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A remote daemon did not answer.
    #[error("{address} broke the connection off")]
    Broken {
        /// The daemon's address.
        address: Address,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// A context cannot be used.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// `-H` and `--context` at once.
    #[error("--host and --context each name a daemon")]
    TwoDaemons,
    /// A certificate without its key, or the other way round.
    #[error("--tlscert and --tlskey belong together")]
    HalfAnIdentity,
    /// The daemon was started and did not come up.
    #[error("the daemon did not start: {reason}")]
    Start {
        /// What it said last, or how it ended.
        reason: String,
        /// What it wrote.
        log: PathBuf,
    },
    /// The preparation of the daemon's start failed.
    #[error("cannot start the daemon: {action} {}", path.display())]
    PrepareStart {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The daemon answered with an error.
    #[error("{0}")]
    Answered(Report),
    /// The conversation broke.
    #[error("{method} {path}: the daemon did not answer")]
    Http {
        /// The request's method.
        method: http::Method,
        /// The request's path.
        path: String,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// An archive that the daemon sends ends before its end.
    #[error("{path}: the daemon broke the archive off")]
    CutOff {
        /// The request's path.
        path: String,
    },
    /// An archive cannot be written to where it goes.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
    /// The answer is not what the route answers.
    #[error("{method} {path}: the daemon's answer is not understood")]
    Malformed {
        /// The request's method.
        method: http::Method,
        /// The request's path.
        path: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The request cannot be written down.
    #[error("the request cannot be encoded")]
    Encode(#[source] serde_json::Error),
    /// A path that is no valid part of an address.
    #[error("\"{path}\" cannot be asked for")]
    Path {
        /// The path.
        path: String,
        /// Why.
        #[source]
        source: http::Error,
    },
    /// The daemon did not switch to a stream.
    #[error("{path}: the daemon answered {status} instead of a stream")]
    NotUpgraded {
        /// The request's path.
        path: String,
        /// The answer's status.
        status: u16,
    },
    /// A route of Corten's own that is not there.
    #[error("{method} {path}: the daemon knows nothing of it, so it is not Corten's, or an older one")]
    NotOurs {
        /// The request's method.
        method: http::Method,
        /// The request's path.
        path: String,
    },
    /// A stream broke.
    #[error("the stream to the daemon broke")]
    Stream(#[source] io::Error),
    /// The daemon broke a stream of events off.
    #[error("the daemon broke the events off")]
    Events(#[source] hyper::Error),
    /// A stream carries what is no frame.
    #[error("the daemon's stream is not understood")]
    Frame(#[source] FrameError),
    /// A frame that only a client sends.
    #[error("the daemon sent a frame of kind {0:?}, which it should not")]
    UnexpectedFrame(shim::frame::Kind),
    /// A frame's message is not what it should be.
    #[error("a message in the daemon's stream is not understood")]
    Message(#[source] serde_json::Error),
    /// A log's or a pull's stream is not what it should be.
    #[error("the daemon's stream is not understood: {0}")]
    Framing(&'static str),
}

impl Classify for ClientError {
    fn kind(&self) -> Kind {
        match self {
            ClientError::Address { .. } | ClientError::Path { .. } => Kind::InvalidArgument,
            ClientError::NotRoot { .. } => Kind::PermissionDenied,
            ClientError::Connect { source, .. } | ClientError::PrepareStart { source, .. } => {
                match kind_of_io(source) {
                    Kind::NotFound => Kind::Unavailable,
                    kind => kind,
                }
            }
            ClientError::Ssh { source, .. } => kind_of_io(source),
            ClientError::Tls(error) => error.kind(),
            ClientError::Context(error) => error.kind(),
            ClientError::TwoDaemons | ClientError::HalfAnIdentity => Kind::InvalidArgument,
            ClientError::Broken { .. } => Kind::Unavailable,
            ClientError::Answered(report) => report.kind,
            ClientError::NotOurs { .. } => Kind::Unsupported,
            ClientError::Write(source) => kind_of_io(source),
            ClientError::CutOff { .. } => Kind::Internal,
            ClientError::Start { .. } | ClientError::Http { .. } | ClientError::Stream(_) | ClientError::Events(_) => {
                Kind::Unavailable
            }
            ClientError::Malformed { .. }
            | ClientError::Encode(_)
            | ClientError::NotUpgraded { .. }
            | ClientError::Frame(_)
            | ClientError::UnexpectedFrame(_)
            | ClientError::Message(_)
            | ClientError::Framing(_) => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            ClientError::Address { .. } => {
                Some("give -H as unix:///path/of/the/socket, tcp://HOST:PORT or ssh://[USER@]HOST".into())
            }
            ClientError::TwoDaemons => Some("give one of them".into()),
            ClientError::Context(error) => error.hint(),
            ClientError::Tls(error) => error.hint(),
            ClientError::Ssh { .. } => Some("install an SSH client, or give -H another address".into()),
            ClientError::Broken { address: Address::Ssh(address), .. } => Some(format!(
                "what ssh says stands above; `ssh {} true` must work without a question, and corten or docker be there",
                address.host
            )),
            ClientError::Broken { .. } => Some(
                "a daemon with TLS wants --tlsverify, and a certificate of its authority (--tlscacert, --tlscert, --tlskey)"
                    .into(),
            ),
            ClientError::NotRoot { .. } => {
                Some("run the command as root (sudo corten …), or ask root to run `corten daemon`".into())
            }
            ClientError::Connect { address: Address::Unix(socket), source, as_docker } => Some(match source.kind() {
                io::ErrorKind::PermissionDenied => who_may(socket),
                _ => format!(
                    "{} start it with: corten daemon -H unix://{}",
                    if *as_docker { "Is the docker daemon running?" } else { "is the daemon running?" },
                    socket.display()
                ),
            }),
            ClientError::Connect { .. } => Some("is the daemon running there, and does a firewall let it be reached?".into()),
            ClientError::Start { log, .. } => Some(format!("what the daemon wrote is in {}", log.display())),
            ClientError::Answered(report) => report.hint.clone(),
            ClientError::Events(_) => Some(
                "it does so when it ends, and with a reader who is more than 4096 events behind; its log says which"
                    .into(),
            ),
            ClientError::CutOff { .. } => Some("the daemon's log says why".into()),
            ClientError::Http { source, .. } if source.is_parse() || source.is_incomplete_message() => {
                Some("what listens there does not speak HTTP to the end: is it another program's socket?".into())
            }
            ClientError::Malformed { .. }
            | ClientError::NotOurs { .. }
            | ClientError::NotUpgraded { .. }
            | ClientError::Frame(_)
            | ClientError::UnexpectedFrame(_)
            | ClientError::Message(_)
            | ClientError::Framing(_) => {
                Some("the daemon may be of another version: compare client and server in `corten version`".into())
            }
            _ => None,
        }
    }
}

/// Who may use a socket, for somebody who may not.
fn who_may(socket: &Path) -> String {
    let gid = std::fs::metadata(socket).map(|found| found.gid()).unwrap_or(0);
    if gid == 0 {
        return "run the command as root (sudo corten …), or have the daemon's --group name a group that you are in"
            .into();
    }
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let group = group_name(&groups, gid).unwrap_or_else(|| gid.to_string());
    format!(
        "members of the group {group} may use it, once they have logged in anew (sudo usermod -aG {group} USER); or run the command as root"
    )
}

/// `group(5)`: `NAME:PASSWORD:GID:MEMBERS`.
fn group_name(groups: &str, gid: u32) -> Option<String> {
    let mut lines = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = lines.find(|fields| fields.get(2).is_some_and(|number| number.parse() == Ok(gid)))?;
    found.first().map(|name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_named_by_its_number() {
        let groups = "root:x:0:\ncorten:x:99:me,you\nbroken";
        assert_eq!((group_name(groups, 99).as_deref(), group_name(groups, 9)), (Some("corten"), None));
    }

    #[test]
    fn who_stands_in_for_docker_is_told_in_the_words_that_scripts_look_for() {
        let refused = |as_docker| ClientError::Connect {
            address: Address::Unix("/x.sock".into()),
            as_docker,
            source: io::ErrorKind::NotFound.into(),
        };
        assert_eq!(refused(true).to_string(), "Cannot connect to the Docker daemon at unix:///x.sock");
        assert!(refused(true).hint().unwrap().starts_with("Is the docker daemon running?"));
        assert!(refused(false).to_string().starts_with("cannot connect to the daemon at"));
    }
}
