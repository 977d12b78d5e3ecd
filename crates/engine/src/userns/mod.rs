// SPDX-License-Identifier: Apache-2.0
//! User namespaces of containers: their root is nobody on the host.
//!
//! Which ids of the host a container has is chosen when it is created (`subordinate.rs`) and stays in its record. Files
//! have none of them on the disk: layers, the writable directory and volumes are mounted with the ids of the namespace,
//! so that a container may get other ids without anything being copied. The namespace is made at each start, before the
//! root is mounted (`namespace.rs`).

mod chosen;
mod error;
mod namespace;
mod subordinate;

use serde::{Deserialize, Serialize};

use crate::Engine;
use crate::error::EngineError;
use crate::mount::Mount;
use crate::request::{ContainerSpec, NetworkMode, PidMode, UserNamespaceMode};
use crate::user::Identity;
use oci::ContainerId;

pub(crate) use chosen::settle;
pub use error::UsernsError;
pub(crate) use namespace::UserNamespace;
pub use subordinate::Remap;
pub(crate) use subordinate::Run;
use subordinate::Subordinate;

/// So many ids a container has: those that images use.
const COUNT: u32 = 1 << 16;
/// The ids of the host that a container's are: its root is `uid`, and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// The first user id.
    pub uid: u32,
    /// The first group id.
    pub gid: u32,
    /// How many there are of each.
    pub count: u32,
}

impl IdRange {
    /// The same, for archives of a tree that has these ids.
    pub(crate) fn of_tree(self) -> layer::Ids {
        layer::Ids { uid: self.uid, gid: self.gid, count: self.count }
    }

    /// The host's ids of a user and a group of the container's.
    pub(crate) fn outside(self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        self.of_tree().in_tree(uid.into(), gid.into())
    }

    /// Refuses who is nobody in the container.
    pub(crate) fn check(self, identity: &Identity) -> Result<(), EngineError> {
        let all = [identity.uid, identity.gid].into_iter().chain(identity.groups.iter().copied());
        match all.max().filter(|id| *id >= self.count) {
            Some(id) => {
                let reason = format!("there is no id {id} in the container's user namespace, which has {}", self.count);
                Err(EngineError::invalid("--user", reason))
            }
            None => Ok(()),
        }
    }
}

/// Ids that nobody else is given until the container that has them can be seen.
pub(crate) struct Reserved<'e> {
    engine: &'e Engine,
    id: ContainerId,
    /// The ids; `None` in the host's user namespace.
    pub(crate) range: Option<IdRange>,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if self.range.is_some() {
            self.engine.registry().ids_in_the_making.remove(&self.id);
        }
    }
}

impl Engine {
    /// Whether containers are in user namespaces unless they say otherwise.
    pub(crate) fn remaps(&self) -> bool {
        self.config.userns_remap.is_some()
    }

    /// The ids that containers may have.
    fn subordinate(&self) -> Result<Subordinate, EngineError> {
        let usual = Remap::default();
        Subordinate::of(self.config.userns_remap.as_ref().unwrap_or(&usual), self.chosen_ids)
    }

    /// Which ids containers have that do not say otherwise, for people.
    pub(crate) fn remapped_to(&self) -> Option<String> {
        let ids = self.remaps().then(|| self.subordinate())?;
        Some(ids.map_or_else(|error| errors::chain(&error), |ids| ids.told()))
    }

    /// Chooses the ids of a container that is being created.
    ///
    /// # Errors
    /// What cannot be in a user namespace; no subordinate ids, or none left.
    pub(crate) fn reserve_ids(&self, spec: &ContainerSpec, id: &ContainerId) -> Result<Reserved<'_>, EngineError> {
        let reserved = |range| Reserved { engine: self, id: id.clone(), range };
        let mode = match spec.isolation.user_namespace {
            UserNamespaceMode::Default if self.remaps() => UserNamespaceMode::Remap,
            UserNamespaceMode::Default => UserNamespaceMode::Host,
            mode => mode,
        };
        if mode == UserNamespaceMode::Host {
            no_idmap_without(&spec.mounts)?;
            return Ok(reserved(None));
        }
        check(spec)?;
        if spec.security.writable_cgroups && self.cgroups.mode() != cgroup::Mode::V2 {
            let reason = "writable-cgroups in a user namespace needs cgroup v2: v1 cannot be delegated safely";
            return Err(EngineError::invalid("--security-opt", reason));
        }
        let subordinate = self.subordinate()?;
        let mut registry = self.registry();
        let range = match mode {
            UserNamespaceMode::Auto => {
                let known = registry.by_id.values().filter_map(|known| known.with_record(|record| record.ids));
                let used: Vec<IdRange> = known.chain(registry.ids_in_the_making.values().copied()).collect();
                subordinate.own(&used)?
            }
            _ => subordinate.shared()?,
        };
        registry.ids_in_the_making.insert(id.clone(), range);
        Ok(reserved(Some(range)))
    }
}

/// Refuses a bind that is to be shown with ids of a user namespace where there is none.
pub(crate) fn no_idmap_without(mounts: &[Mount]) -> Result<(), EngineError> {
    let Some(mount) = mounts.iter().find(|mount| mount.is_idmapped()) else { return Ok(()) };
    let reason = format!("the bind at {} says idmap, and the container has the host's ids", mount.target());
    Err(EngineError::invalid("--mount", reason))
}

/// What cannot be in a user namespace.
fn check(spec: &ContainerSpec) -> Result<(), EngineError> {
    let refuse = |flag, what: &str| {
        let reason = format!("{what}; with the host's user namespace it can: --userns host");
        Err(EngineError::invalid(flag, reason))
    };
    if spec.security.privileged {
        return refuse("--privileged", "a container in a user namespace has no rights over the host");
    }
    if spec.network == NetworkMode::Host {
        return refuse("--network", "a container in a user namespace cannot share the host's network");
    }
    if spec.isolation.pid == PidMode::Host {
        return refuse("--pid", "a container in a user namespace cannot share the host's processes");
    }
    Ok(())
}

/// Becomes the root of a container's user namespace for files, on the calling thread.
pub(crate) fn act_as_root(ids: Option<IdRange>) -> Result<Option<sys::file_ids::ActingAs>, EngineError> {
    ids.map(|ids| sys::file_ids::act_as(ids.uid, ids.gid)).transpose().map_err(EngineError::Namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: IdRange = IdRange { uid: 100_000, gid: 200_000, count: 65536 };

    #[test]
    fn users_beyond_the_range_are_refused() {
        let who = |uid, groups: &[u32]| Identity { uid, gid: 0, groups: groups.to_vec(), home: String::new() };
        assert!(IDS.check(&who(65535, &[5])).is_ok());
        assert!(IDS.check(&who(65536, &[])).is_err() && IDS.check(&who(0, &[70_000])).is_err());
    }

    #[test]
    fn what_needs_the_host_is_refused() {
        let with = |change: fn(&mut ContainerSpec)| {
            let mut spec = ContainerSpec::default();
            change(&mut spec);
            check(&spec).is_err()
        };
        assert!(!with(|_| ()));
        assert!(with(|spec| spec.security.privileged = true));
        assert!(with(|spec| spec.network = NetworkMode::Host));
        assert!(with(|spec| spec.isolation.pid = PidMode::Host));
    }
}
