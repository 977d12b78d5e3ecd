// SPDX-License-Identifier: Apache-2.0
//! What can go wrong, as the user meets it.
//!
//! Every crate has its own `thiserror` enums. What they share is here: a [`Kind`], from which the exit code and the
//! HTTP status follow in exactly one place, and a [`Report`], the form in which an error crosses a process boundary.
//! No code decides anything by reading an error's text.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What went wrong, coarse enough for a program to act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// The caller asked for something that cannot be, whatever the state of things.
    InvalidArgument,
    /// A container, image, network, blob or path that does not exist.
    NotFound,
    /// It exists already, is in use, or is in a state that forbids this.
    Conflict,
    /// The operating system, or a policy, forbids it to this user.
    PermissionDenied,
    /// It may not be done to this, whoever asks: a predefined network is not removed, nor one that is in use.
    Forbidden,
    /// A registry wants other credentials.
    Unauthorized,
    /// Somebody who should answer does not: the daemon, a registry.
    Unavailable,
    /// The container's command was found and cannot be executed (wrong architecture, no execute bit, a directory).
    NotExecutable,
    /// The container's command was not found.
    CommandNotFound,
    /// The disk, or a limit on it, is full.
    NoSpace,
    /// Content that is not what it claims to be: a wrong digest, a truncated or hostile archive.
    Corrupt,
    /// This kernel, this host or this version of Corten cannot do it.
    Unsupported,
    /// Anything else: a system call that failed for no reason the user could have caused.
    Internal,
}

impl Kind {
    /// The exit code of `corten run`, `exec` and `create`, as Docker uses them: 125 for the engine, 126 when the
    /// command cannot be invoked, 127 when it was not found.
    pub fn run_exit_code(self) -> u8 {
        match self {
            Kind::NotExecutable => 126,
            Kind::CommandNotFound => 127,
            _ => 125,
        }
    }

    /// The HTTP status of the Engine API's answer.
    pub fn http_status(self) -> u16 {
        match self {
            Kind::InvalidArgument | Kind::NotExecutable | Kind::CommandNotFound => 400,
            Kind::Unauthorized => 401,
            Kind::PermissionDenied | Kind::Forbidden => 403,
            Kind::NotFound => 404,
            Kind::Conflict => 409,
            Kind::Unsupported => 501,
            Kind::Unavailable => 503,
            Kind::NoSpace => 507,
            Kind::Corrupt | Kind::Internal => 500,
        }
    }
}

/// An error that knows its kind, and perhaps what to do about it.
pub trait Classify: Error {
    /// What a program should make of it.
    fn kind(&self) -> Kind;

    /// One sentence that tells the user what to do next, where there is something.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// An error at a boundary: what is sent over a socket, printed for the user, or answered over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What a program should make of it.
    pub kind: Kind,
    /// What happened, to what, and why: the error's text and its sources', joined by `: `.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Report {
    /// A report of `kind` that says `message`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Report {
        Report { kind, message: message.into(), hint: None }
    }

    /// The same, with what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Report {
        self.hint = Some(hint.into());
        self
    }
}

impl<E: Classify> From<&E> for Report {
    fn from(error: &E) -> Report {
        Report { kind: error.kind(), message: chain(error), hint: error.hint() }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Report {}

impl Classify for Report {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

/// An error and its sources, joined by `: `.
pub fn chain(error: &(dyn Error + '_)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// The kind that fits a failed system call when its caller knows nothing better.
pub fn kind_of_io(error: &std::io::Error) -> Kind {
    use std::io::ErrorKind as Io;
    match error.kind() {
        Io::NotFound => Kind::NotFound,
        Io::PermissionDenied => Kind::PermissionDenied,
        Io::AlreadyExists | Io::AddrInUse | Io::ResourceBusy => Kind::Conflict,
        Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => Kind::NoSpace,
        Io::InvalidInput => Kind::InvalidArgument,
        Io::Unsupported => Kind::Unsupported,
        Io::ConnectionRefused | Io::ConnectionReset | Io::TimedOut | Io::HostUnreachable | Io::NetworkUnreachable => {
            Kind::Unavailable
        }
        _ => Kind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::io::Error);
    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("open \"/x\"")
        }
    }
    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }
    impl Classify for Outer {
        fn kind(&self) -> Kind {
            kind_of_io(&self.0)
        }
    }

    #[test]
    fn a_report_carries_the_kind_and_the_whole_chain() {
        let report = Report::from(&Outer(std::io::Error::from_raw_os_error(28)));
        assert_eq!(report.kind, Kind::NoSpace);
        assert_eq!(report.message, "open \"/x\": No space left on device (os error 28)");
    }

    #[test]
    fn exit_codes_are_dockers() {
        assert_eq!(Kind::CommandNotFound.run_exit_code(), 127);
        assert_eq!(Kind::NotExecutable.run_exit_code(), 126);
        assert_eq!(Kind::NotFound.run_exit_code(), 125);
    }
}
