// SPDX-License-Identifier: Apache-2.0
//! What can go wrong with cgroups made by systemd.

use errors::{Classify, Kind, kind_of_io};

use super::Instance;
use super::dbus::BusError;
use crate::CgroupError;

/// Why a scope could not be made, changed or ended.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// Nobody answers at any of the places where systemd is found.
    #[error("systemd does not answer: {tried}")]
    NoAnswer {
        /// Whose systemd.
        instance: Instance,
        /// Every socket tried, and what came of it.
        tried: String,
    },
    /// `linux.cgroupsPath` names no scope.
    #[error("linux.cgroupsPath {path:?} cannot be used with --systemd-cgroup: {why}")]
    Path {
        /// The path.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A limit that cannot be said to systemd.
    #[error("{limit} of {value:?} is not valid")]
    Limit {
        /// The limit, in the words of the OCI runtime specification.
        limit: &'static str,
        /// The value.
        value: String,
    },
    /// An annotation that asks for a property with something that is no value.
    #[error("annotation {name} of {value:?} is not a property of a unit")]
    Annotation {
        /// The annotation.
        name: String,
        /// Its value.
        value: String,
    },
    /// An unprivileged user's systemd manages nothing under v1.
    #[error("an unprivileged user's systemd cannot make cgroups under cgroup v1")]
    UserUnderV1,
    /// systemd began and did not succeed.
    #[error("{method} {unit} ended with {result:?}")]
    Job {
        /// The method.
        method: String,
        /// The unit.
        unit: String,
        /// systemd's word: `failed`, `timeout`, `canceled` …
        result: String,
    },
    /// systemd answers something else than its documentation says.
    #[error("systemd says {said:?} for {what}")]
    Unexpected {
        /// What was asked for.
        what: String,
        /// The answer.
        said: String,
    },
    /// The connection, or a call that was refused.
    #[error(transparent)]
    Bus(BusError),
    /// The control files.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
}

impl SystemdError {
    pub(super) fn no_answer(instance: Instance, tried: Vec<BusError>) -> SystemdError {
        let one = |error: BusError| match &error {
            BusError::Socket { source, .. } => format!("{error}: {source}"),
            _ => error.to_string(),
        };
        let tried: Vec<String> = tried.into_iter().map(one).collect();
        let tried = if tried.is_empty() { "no socket is known".to_owned() } else { tried.join("; ") };
        SystemdError::NoAnswer { instance, tried }
    }

    pub(super) fn unexpected(what: &str, said: &str) -> SystemdError {
        SystemdError::Unexpected { what: what.to_owned(), said: said.to_owned() }
    }

    /// Whether systemd refused with this error of its own.
    pub(super) fn is_refusal(&self, expected: &str) -> bool {
        matches!(self, SystemdError::Bus(BusError::Refused { name, .. }) if name == expected)
    }
}

impl Classify for SystemdError {
    fn kind(&self) -> Kind {
        match self {
            SystemdError::NoAnswer { .. } => Kind::Unavailable,
            SystemdError::Path { .. } | SystemdError::Limit { .. } | SystemdError::Annotation { .. } => {
                Kind::InvalidArgument
            }
            SystemdError::UserUnderV1 => Kind::Unsupported,
            SystemdError::Job { .. } | SystemdError::Unexpected { .. } => Kind::Internal,
            SystemdError::Bus(BusError::Refused { name, .. }) => match name.as_str() {
                "org.freedesktop.systemd1.UnitExists" => Kind::Conflict,
                "org.freedesktop.DBus.Error.AccessDenied"
                | "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired" => Kind::PermissionDenied,
                "org.freedesktop.DBus.Error.ServiceUnknown" | "org.freedesktop.DBus.Error.NameHasNoOwner" => {
                    Kind::Unavailable
                }
                "org.freedesktop.DBus.Error.PropertyReadOnly" | "org.freedesktop.DBus.Error.InvalidArgs" => {
                    Kind::InvalidArgument
                }
                _ => Kind::Internal,
            },
            SystemdError::Bus(BusError::Socket { source, .. }) => kind_of_io(source),
            SystemdError::Bus(BusError::Rejected { .. }) => Kind::PermissionDenied,
            SystemdError::Bus(BusError::Malformed { .. }) => Kind::Internal,
            SystemdError::Bus(BusError::Silent { .. }) => Kind::Unavailable,
            SystemdError::Cgroup(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            SystemdError::NoAnswer { instance: Instance::System, .. } => Some(
                "boot the host with systemd and make its socket visible here, or leave --systemd-cgroup out".to_owned(),
            ),
            SystemdError::NoAnswer { instance: Instance::User, .. } => Some(
                "log in with a session of your own (loginctl enable-linger), set XDG_RUNTIME_DIR or \
                 DBUS_SESSION_BUS_ADDRESS, or leave --systemd-cgroup out"
                    .to_owned(),
            ),
            SystemdError::Path { .. } => {
                Some("write it as slice:prefix:name, such as system.slice:corten:web".to_owned())
            }
            SystemdError::Bus(BusError::Refused { name, .. }) if name == "org.freedesktop.systemd1.UnitExists" => {
                Some("another container, or another program's unit, has this name: choose another".to_owned())
            }
            SystemdError::Cgroup(error) => error.hint(),
            _ => None,
        }
    }
}
