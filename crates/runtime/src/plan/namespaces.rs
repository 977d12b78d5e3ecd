// SPDX-License-Identifier: Apache-2.0
//! How the process gets into its namespaces.
//!
//! Most are made with the process itself, or entered by it. Three things do not go that way, and then an intermediate
//! process, the *stage*, goes first, makes the container's process as its sibling, and ends:
//! - a time namespace's offsets can only be set before anybody is in it;
//! - pid namespaces are settled when a process is made, and one made in a user namespace must be made from inside;
//! - a process in a new user namespace has no right any more to enter namespaces that belong to the host.
//!
//! A launcher with rights over the host enters other namespaces first and the user namespace last; one without has
//! rights over others only inside its user namespace, and enters that first.

use std::path::Path;

use oci::runtime_spec::{Linux, LinuxIdMapping, LinuxNamespaceType, User as ProcessUser};
use sys::process::CloneFlags;

use super::operation::{NamespaceSource, Operation, TimeOffset};
use super::outside::{IdMapping, IdMaps, MapMethod, Outside};
use super::{Caller, Inputs, PlanError, absolute};

/// The namespaces of a container: made anew, joined, or shared with the caller (absent).
pub(crate) struct Namespaces {
    create: CloneFlags,
    unshare_cgroup: bool,
    joined: Vec<(LinuxNamespaceType, NamespaceSource)>,
    maps: Option<IdMaps>,
    offsets: Vec<TimeOffset>,
    caller: Caller,
}

/// The way in.
#[derive(Default)]
pub(super) struct Entry {
    /// What the stage does; nothing when there is none.
    pub(super) stage: Vec<Operation>,
    /// Namespaces made with the process.
    pub(super) create: CloneFlags,
    /// What the process does first.
    pub(super) operations: Vec<Operation>,
}

impl Namespaces {
    pub(super) fn of(linux: &Linux, inputs: &Inputs) -> Result<Namespaces, PlanError> {
        let mut found = Namespaces {
            create: CloneFlags::empty(),
            unshare_cgroup: false,
            joined: Vec::new(),
            maps: None,
            offsets: Vec::new(),
            caller: inputs.caller,
        };
        for namespace in linux.namespaces().iter().flatten() {
            let kind = namespace.typ();
            if found.has(kind) {
                return Err(PlanError::Invalid {
                    field: "linux.namespaces".into(),
                    value: kind.to_string(),
                    expected: "each type at most once",
                });
            }
            let path = namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty());
            match (kind, path) {
                (LinuxNamespaceType::Network, None) if inputs.netns => {
                    found.joined.push((kind, NamespaceSource::Given));
                }
                (_, Some(path)) => {
                    let path = absolute("linux.namespaces.path", &path.to_string_lossy())?;
                    found.joined.push((kind, NamespaceSource::Path(path)));
                }
                // A cgroup namespace made by clone would be rooted in the caller's cgroup, not in the container's.
                (LinuxNamespaceType::Cgroup, None) => found.unshare_cgroup = true,
                (_, None) => found.create |= flag(kind),
            }
        }
        found.read_maps(linux)?;
        found.read_offsets(linux)?;
        if found.unprivileged() && !found.has(LinuxNamespaceType::User) {
            return Err(PlanError::NotRoot);
        }
        Ok(found)
    }

    fn read_maps(&mut self, linux: &Linux) -> Result<(), PlanError> {
        let given = |list: &Option<Vec<LinuxIdMapping>>| list.as_ref().is_some_and(|list| !list.is_empty());
        if !self.has(LinuxNamespaceType::User) && (given(linux.uid_mappings()) || given(linux.gid_mappings())) {
            return Err(PlanError::NeedsNamespace { field: "linux.uidMappings".into(), namespace: "user" });
        }
        if self.create.contains(CloneFlags::NEWUSER) {
            self.maps = Some(IdMaps {
                uids: mappings("linux.uidMappings", linux.uid_mappings())?,
                gids: mappings("linux.gidMappings", linux.gid_mappings())?,
            });
        }
        Ok(())
    }

    fn read_offsets(&mut self, linux: &Linux) -> Result<(), PlanError> {
        let Some(offsets) = linux.time_offsets().as_ref().filter(|offsets| !offsets.is_empty()) else { return Ok(()) };
        if !self.create.contains(CloneFlags::NEWTIME) {
            let field = "linux.timeOffsets".into();
            return Err(PlanError::NeedsNamespace { field, namespace: "new time" });
        }
        for (clock, offset) in offsets {
            let invalid = |value: &str, expected| PlanError::Invalid {
                field: format!("linux.timeOffsets[{clock}]"),
                value: value.into(),
                expected,
            };
            let clock = match clock.as_str() {
                "monotonic" => "monotonic",
                "boottime" => "boottime",
                _ => return Err(invalid(clock, "monotonic or boottime")),
            };
            let (seconds, nanoseconds) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
            if nanoseconds > 999_999_999 {
                return Err(invalid(&nanoseconds.to_string(), "less than a second of nanosecs"));
            }
            self.offsets.push(TimeOffset { clock, seconds, nanoseconds });
        }
        self.offsets.sort();
        Ok(())
    }

    /// Whether the container does not share this namespace with the caller.
    pub(crate) fn has(&self, kind: LinuxNamespaceType) -> bool {
        (kind == LinuxNamespaceType::Cgroup && self.unshare_cgroup)
            || self.create.contains(flag(kind))
            || self.joins(kind)
    }

    pub(super) fn joins(&self, kind: LinuxNamespaceType) -> bool {
        self.joined.iter().any(|(joined, _)| *joined == kind)
    }

    /// Whether this namespace is sure to belong to the container's user namespace: it is made with it, or in it.
    pub(super) fn belongs(&self, kind: LinuxNamespaceType) -> bool {
        self.has(kind) && !self.joins(kind)
    }

    /// The ids of the user namespace, where they are known.
    pub(super) fn maps(&self) -> Option<&IdMaps> {
        self.maps.as_ref()
    }

    /// Whether the process ends up in another user namespace than its launcher.
    pub(super) fn user(&self) -> bool {
        self.has(LinuxNamespaceType::User)
    }

    fn unprivileged(&self) -> bool {
        matches!(self.caller, Caller::Unprivileged { .. })
    }

    /// The file of the user namespace that is joined.
    pub(super) fn user_path(&self) -> Option<&Path> {
        self.joined.iter().find_map(|(kind, source)| match (kind, source) {
            (LinuxNamespaceType::User, NamespaceSource::Path(path)) => Some(path.as_path()),
            _ => None,
        })
    }

    /// Whether mounts of the host can be given other ids.
    pub(super) fn may_map_mounts(&self) -> bool {
        !self.unprivileged()
    }

    /// Whether the process has only the rights of a user namespace: no device files, no instances of what belongs to the
    /// host.
    pub(super) fn confined(&self) -> bool {
        self.user() || self.caller != Caller::Root
    }

    /// Whether the launcher has rights outside of that user namespace which the process lacks.
    pub(super) fn outside_helps(&self) -> bool {
        self.user() && !self.unprivileged()
    }

    /// Whether the root and what is bound is opened before the process becomes root of its user namespace, which may not
    /// be able to reach it: by a launcher with rights, or while the process still is the user who launches.
    pub(super) fn opens_before(&self) -> bool {
        self.outside_helps() || self.opens_itself()
    }

    fn opens_itself(&self) -> bool {
        let Caller::Unprivileged { uid, .. } = self.caller else { return false };
        let is_user = |mapping: &IdMapping| mapping.inside == 0 && mapping.outside == uid;
        !self.needs_stage() && self.maps.as_ref().is_some_and(|maps| !maps.uids.iter().any(is_user))
    }

    /// The way into the namespaces, for a process of this user and with this OOM score.
    pub(super) fn enter(&self, user: &ProcessUser, score: Option<i32>) -> Result<Entry, PlanError> {
        if let Some(maps) = &self.maps {
            self.check_ids(maps, user)?;
        }
        let mut entry = Entry { create: self.create, ..Entry::default() };
        entry.operations.push(Operation::JoinCgroup);
        if self.needs_stage() {
            self.stage(user, score, &mut entry);
        } else if let Some(maps) = &self.maps {
            entry.operations.extend(score.map(|score| Operation::Outside(Outside::OomScoreAdj(score))));
            self.become_mapped(maps, user, &mut entry.operations);
        } else {
            self.join(&mut entry.operations, |_| true);
        }
        if self.unshare_cgroup {
            entry.operations.push(Operation::UnshareCgroup);
        }
        entry.operations.push(Operation::AnyCpu);
        entry.operations.push(Operation::NewSession);
        if let Some(score) = score.filter(|_| !self.user()) {
            entry.operations.push(Operation::OomScoreAdj(score));
        }
        Ok(entry)
    }

    /// The way into a running container's namespaces, for a process of this user and with this OOM score.
    /// `affinity`: what sets the CPUs before the cgroup is joined, and after.
    pub(super) fn enter_running(
        &self,
        user: &ProcessUser,
        score: Option<i32>,
        (before, after): (Vec<Operation>, Vec<Operation>),
    ) -> Result<Entry, PlanError> {
        let mut entry = Entry::default();
        let mut ids = Operation::TakeIds { uid: 0, gid: 0 };
        if let Some(maps) = &self.maps {
            self.check_ids(maps, user)?;
            ids = take_ids(maps, user);
        }
        entry.operations.extend(before);
        entry.operations.push(Operation::JoinCgroup);
        entry.operations.extend(after);
        entry.operations.push(Operation::NewSession);
        if self.unprivileged() {
            // Entering a pid namespace needs the rights that the user namespace gives, so it cannot be the launcher.
            entry.stage.extend(score.map(|score| Operation::Outside(Outside::OomScoreAdj(score))));
            entry.stage.extend([Operation::Hide, Operation::JoinContainer, ids]);
            return Ok(entry);
        }
        entry.operations.extend(score.map(Operation::OomScoreAdj));
        entry.operations.push(Operation::JoinContainer);
        entry.operations.extend(self.user().then_some(ids));
        Ok(entry)
    }

    fn needs_stage(&self) -> bool {
        let joins_more_than_pids = self.joined.iter().any(|(kind, _)| *kind != LinuxNamespaceType::Pid);
        let user_and_more = self.user() && (joins_more_than_pids || (self.unprivileged() && !self.joined.is_empty()));
        !self.offsets.is_empty() || user_and_more
    }

    fn stage(&self, user: &ProcessUser, score: Option<i32>, entry: &mut Entry) {
        let unprivileged = self.unprivileged();
        let others = |kind| kind != LinuxNamespaceType::User;
        let stage = &mut entry.stage;
        if self.user() {
            stage.extend(score.map(|score| Operation::Outside(Outside::OomScoreAdj(score))));
        }
        if !unprivileged {
            self.join(stage, others);
        }
        if let Some(maps) = &self.maps {
            stage.push(Operation::UnshareUser);
            self.become_mapped(maps, user, stage);
        } else if self.user() {
            if unprivileged {
                stage.push(Operation::Hide);
            }
            self.join(stage, |kind| kind == LinuxNamespaceType::User);
            stage.push(Operation::TakeIds { uid: 0, gid: 0 });
        }
        if unprivileged {
            self.join(stage, others);
        }
        if !self.offsets.is_empty() {
            stage.push(Operation::TimeOffsets(self.offsets.clone()));
            entry.create = entry.create.without(CloneFlags::NEWTIME);
        }
        entry.create = entry.create.without(CloneFlags::NEWUSER);
    }

    /// Has the ids of the new user namespace mapped, and becomes its root, or the user if it has none.
    fn become_mapped(&self, maps: &IdMaps, user: &ProcessUser, operations: &mut Vec<Operation>) {
        let method = |list: &[IdMapping], own: u32| match list {
            [only] if only.outside == own && only.count == 1 => MapMethod::OwnId,
            _ => MapMethod::Helper,
        };
        let (uids, gids) = match self.caller {
            Caller::Unprivileged { uid, gid } => (method(&maps.uids, uid), method(&maps.gids, gid)),
            _ => (MapMethod::Written, MapMethod::Written),
        };
        operations.push(Operation::Outside(Outside::MapIds { maps: maps.clone(), uids, gids }));
        if uids != MapMethod::Written {
            // Whoever may not write to a hidden process must have written before.
            operations.push(Operation::Hide);
        }
        if self.opens_itself() {
            operations.push(Operation::OpenTrees);
        }
        operations.push(take_ids(maps, user));
    }

    fn check_ids(&self, maps: &IdMaps, user: &ProcessUser) -> Result<(), PlanError> {
        check_mapped(maps, user)?;
        let groups = user.additional_gids().as_ref().is_some_and(|groups| !groups.is_empty());
        let alone = matches!(maps.gids.as_slice(), [only] if only.count == 1);
        if groups && alone && self.unprivileged() {
            return Err(PlanError::Invalid {
                field: "process.user.additionalGids".into(),
                value: format!("{:?}", user.additional_gids().as_deref().unwrap_or_default()),
                expected: "no groups: with only its own group mapped, an unprivileged user may set none",
            });
        }
        Ok(())
    }

    fn join(&self, operations: &mut Vec<Operation>, which: impl Fn(LinuxNamespaceType) -> bool) {
        // The mount namespace last: the others' files were opened before, but a reader expects paths to mean the host.
        let (mounts, others): (Vec<_>, Vec<_>) = self
            .joined
            .iter()
            .filter(|(kind, _)| which(*kind))
            .partition(|(kind, _)| *kind == LinuxNamespaceType::Mount);
        for (kind, source) in others.into_iter().chain(mounts) {
            operations.push(Operation::JoinNamespace { kind: flag(*kind), source: source.clone() });
        }
    }
}

fn take_ids(maps: &IdMaps, user: &ProcessUser) -> Operation {
    let uid = if maps.has_uid(0) { 0 } else { user.uid() };
    let gid = if maps.has_gid(0) { 0 } else { user.gid() };
    Operation::TakeIds { uid, gid }
}

/// Every id the process is to have must be one in its user namespace.
pub(super) fn check_mapped(maps: &IdMaps, user: &ProcessUser) -> Result<(), PlanError> {
    let invalid = |field: &str, value: u32, expected| {
        Err(PlanError::Invalid { field: field.into(), value: value.to_string(), expected })
    };
    if !maps.has_uid(user.uid()) {
        return invalid("process.user.uid", user.uid(), "a user id that linux.uidMappings maps");
    }
    if !maps.has_gid(user.gid()) {
        return invalid("process.user.gid", user.gid(), "a group id that linux.gidMappings maps");
    }
    match user.additional_gids().iter().flatten().find(|group| !maps.has_gid(**group)) {
        Some(group) => invalid("process.user.additionalGids", *group, "group ids that linux.gidMappings maps"),
        None => Ok(()),
    }
}

/// Reads `uidMappings` or `gidMappings`, of the container or of a mount.
pub(super) fn mappings(field: &str, list: &Option<Vec<LinuxIdMapping>>) -> Result<Vec<IdMapping>, PlanError> {
    let list = list.as_deref().unwrap_or_default();
    let invalid = |value: String, expected| Err(PlanError::Invalid { field: field.into(), value, expected });
    if list.is_empty() {
        return invalid("[]".into(), "at least one mapping");
    }
    for mapping in list {
        let ends = [mapping.container_id(), mapping.host_id()].map(|first| first.checked_add(mapping.size()));
        if mapping.size() == 0 || ends.contains(&None) {
            return invalid(mapping.size().to_string(), "a size of at least 1, with all ids below 4294967295");
        }
    }
    Ok(list.iter().map(|m| IdMapping { inside: m.container_id(), outside: m.host_id(), count: m.size() }).collect())
}

pub(super) fn flag(kind: LinuxNamespaceType) -> CloneFlags {
    match kind {
        LinuxNamespaceType::Mount => CloneFlags::NEWNS,
        LinuxNamespaceType::Cgroup => CloneFlags::NEWCGROUP,
        LinuxNamespaceType::Uts => CloneFlags::NEWUTS,
        LinuxNamespaceType::Ipc => CloneFlags::NEWIPC,
        LinuxNamespaceType::User => CloneFlags::NEWUSER,
        LinuxNamespaceType::Pid => CloneFlags::NEWPID,
        LinuxNamespaceType::Network => CloneFlags::NEWNET,
        LinuxNamespaceType::Time => CloneFlags::NEWTIME,
    }
}
