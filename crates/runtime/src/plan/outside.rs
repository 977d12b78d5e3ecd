// SPDX-License-Identifier: Apache-2.0
//! What the launcher does for the process from outside, because a process in a user namespace lacks the rights.

use std::fmt;

use rustix::process::Resource;
use serde::Serialize;

use super::hooks::Hook;

/// One such thing. The process asks for it when its turn comes, and waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Outside {
    /// Run these hooks.
    Hooks(Vec<Hook>),
    /// Say which ids of the host the ids of the process's new user namespace are.
    MapIds {
        /// The ids.
        maps: IdMaps,
        /// How the user ids get into the kernel.
        uids: MapMethod,
        /// How the group ids do.
        gids: MapMethod,
    },
    /// How likely the kernel is to kill the process when memory is short, -1000 to 1000.
    OomScoreAdj(i32),
    /// A resource limit; `None` is unlimited.
    Rlimit {
        /// `RLIMIT_…` as the spec writes it.
        name: &'static str,
        /// The resource.
        #[serde(skip)]
        resource: Resource,
        /// The limit that applies.
        soft: Option<u64>,
        /// How far the process may raise it.
        hard: Option<u64>,
    },
}

/// Who may tell the kernel about a mapping (user_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum MapMethod {
    /// The launcher, which has the rights over the ids.
    Written,
    /// The launcher, because it is nothing but its own id. Groups then cannot be changed inside.
    OwnId,
    /// `newuidmap` and `newgidmap`, which know the ids that the user was given (subuid(5)).
    Helper,
}

/// A run of ids in a user namespace (user_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct IdMapping {
    /// The first id inside.
    pub inside: u32,
    /// The first id outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// The ids of a user namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct IdMaps {
    /// User ids.
    pub uids: Vec<IdMapping>,
    /// Group ids.
    pub gids: Vec<IdMapping>,
}

impl IdMaps {
    /// Whether a user id is anybody inside.
    pub fn has_uid(&self, uid: u32) -> bool {
        self.uids.iter().any(|mapping| mapping.has(uid))
    }

    /// Whether a group id is any group inside.
    pub fn has_gid(&self, gid: u32) -> bool {
        self.gids.iter().any(|mapping| mapping.has(gid))
    }
}

impl IdMapping {
    fn has(&self, id: u32) -> bool {
        id.checked_sub(self.inside).is_some_and(|offset| offset < self.count)
    }

    /// As the kernel's `uid_map` and `gid_map` take it.
    pub fn line(&self) -> String {
        format!("{} {} {}\n", self.inside, self.outside, self.count)
    }
}

impl fmt::Display for IdMaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, list) in [("users", &self.uids), (" groups", &self.gids)] {
            f.write_str(name)?;
            for IdMapping { inside, outside, count } in list {
                write!(f, " {inside}:{outside}+{count}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outside::Hooks(hooks) => super::operation::list(f, "run outside", hooks),
            Outside::MapIds { maps, uids, gids } => {
                write!(f, "map {maps}")?;
                if [uids, gids].contains(&&MapMethod::Helper) {
                    f.write_str(" (through newuidmap and newgidmap)")?;
                }
                Ok(())
            }
            Outside::OomScoreAdj(score) => write!(f, "oom score {score} (from outside)"),
            Outside::Rlimit { name, soft, hard, .. } => {
                let (soft, hard) = (super::operation::limit(*soft), super::operation::limit(*hard));
                write!(f, "limit {name} {soft}:{hard} (from outside)")
            }
        }
    }
}
