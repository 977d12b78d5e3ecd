// SPDX-License-Identifier: Apache-2.0
//! The flags that describe a container, and what they mean in the Engine API's JSON. One file per notation; each is
//! text in, values out.

pub(crate) mod cidfile;
pub(crate) mod container;
mod devices;
#[cfg(test)]
mod documented;
pub(crate) mod duration;
pub(crate) mod environment;
mod fields;
pub(crate) mod health;
mod isolation;
pub(crate) mod limits;
pub(crate) mod logging;
pub(crate) mod mount;
pub(crate) mod mounts;
pub(crate) mod network;
pub(crate) mod ports;
pub(crate) mod restart;
pub(crate) mod security;
pub(crate) mod size;
pub(crate) mod ulimit;

use std::io;
use std::path::PathBuf;

use errors::{Classify, Kind, kind_of_io};

/// Why there is no content trust as Docker means it.
pub(crate) const NO_NOTARY: &str =
    "images' signatures are judged by rules of `corten trust` and policy.json, not by a Notary server";

/// A flag's value that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FlagError {
    /// It is not written as it must be.
    #[error("\"{value}\" {problem}")]
    Invalid {
        /// What was given.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A file that a flag names cannot be read.
    #[error("cannot read the {what} {}", path.display())]
    File {
        /// What the file is for.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that a flag names cannot be written.
    #[error("cannot write the {what} to {}", path.display())]
    Write {
        /// What is written there.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line of an environment file is wrong.
    #[error("{}, line {line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The seccomp profile is no JSON.
    #[error("the seccomp profile {} is not JSON", path.display())]
    Profile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// One of Docker's flags that has no meaning here.
    #[error("{flag} is not supported: {reason}")]
    Refused {
        /// The flag.
        flag: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// `--security-opt` with something that Corten does not do.
    #[error("--security-opt {option} is not supported")]
    SecurityOption {
        /// What was given.
        option: String,
    },
}

impl FlagError {
    pub(crate) fn invalid(value: impl Into<String>, problem: &'static str) -> FlagError {
        FlagError::Invalid { value: value.into(), problem }
    }
}

/// Refuses the first of these flags that was given: whether it was, its name, and why it cannot be served.
pub(crate) fn refuse(flags: &[(bool, &'static str, &'static str)]) -> Result<(), FlagError> {
    match flags.iter().find(|(is_given, ..)| *is_given) {
        Some((_, flag, reason)) => Err(FlagError::Refused { flag, reason }),
        None => Ok(()),
    }
}

/// `--filter NAME=VALUE`.
pub(crate) fn filter(text: &str) -> Result<(String, String), FlagError> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(FlagError::Invalid { value: text.to_owned(), problem: "is not NAME=VALUE, as in dangling=true" }),
    }
}

impl Classify for FlagError {
    fn kind(&self) -> Kind {
        match self {
            FlagError::File { source, .. } | FlagError::Write { source, .. } => kind_of_io(source),
            FlagError::SecurityOption { .. } | FlagError::Refused { .. } => Kind::Unsupported,
            _ => Kind::InvalidArgument,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            FlagError::SecurityOption { .. } => {
                Some("there are seccomp, no-new-privileges, apparmor, label=disable, systempaths=unconfined and writable-cgroups".into())
            }
            _ => None,
        }
    }
}
