// SPDX-License-Identifier: Apache-2.0
//! Why a container cannot have ids of its own.

use std::path::PathBuf;

use errors::{Classify, Kind};

/// Why there are no ids for a container's user namespace.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UsernsError {
    /// The files say nothing of this user.
    #[error("there are no subordinate ids for {user} in /etc/subuid and /etc/subgid")]
    NoSubordinateIds {
        /// The user.
        user: String,
    },
    /// Other containers have them all.
    #[error("no block of {count} subordinate ids of {user} is free in /etc/subuid and /etc/subgid")]
    NoIdsLeft {
        /// The user.
        user: String,
        /// How many a container gets.
        count: u32,
    },
    /// Ids were chosen, and where they are kept is something else.
    #[error("{} does not say which ids were chosen for containers", path.display())]
    KeptIds {
        /// The file.
        path: PathBuf,
    },
    /// There is nothing to choose from.
    #[error(
        "there are no ids to choose for containers: all are somebody's in /etc/subuid, /etc/subgid, /etc/passwd or /etc/group"
    )]
    NobodysIds,
}

impl Classify for UsernsError {
    fn kind(&self) -> Kind {
        match self {
            UsernsError::NoSubordinateIds { .. } => Kind::InvalidArgument,
            UsernsError::NoIdsLeft { .. } | UsernsError::NobodysIds => Kind::Conflict,
            UsernsError::KeptIds { .. } => Kind::Corrupt,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            UsernsError::NoSubordinateIds { user } => format!(
                "add a line to both files, of ids that nobody has, as in {user}:1000000:1048576: the first 65536 are those \
                 of all containers with --userns remap, each with --userns auto gets 65536 of the others; or have the daemon \
                 choose them: --userns-remap default"
            ),
            UsernsError::NoIdsLeft { user, .. } => {
                format!("remove containers with --userns auto, or add a line for {user} to both files")
            }
            UsernsError::KeptIds { .. } => {
                "one line as in corten:2100000000:1048576 belongs there; without the file others are \
                                            chosen"
                    .to_owned()
            }
            UsernsError::NobodysIds => "add a line for corten to /etc/subuid and /etc/subgid".to_owned(),
        })
    }
}
