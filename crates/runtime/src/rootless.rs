// SPDX-License-Identifier: Apache-2.0
//! What is different for a launcher that is not the host's root: where its containers' cgroups are, if it may have any.
//!
//! On cgroup v2 an administrator (systemd does it for each session's user manager) can hand a subtree over to a user.
//! The container's cgroup is made beside the launcher's own, where the parent is the user's, because a cgroup that has
//! processes gives no controllers to those below it; else below the own one. A user without any such place gets a
//! container without a cgroup of its own, and a warning; unless it asks for a limit, which then cannot be had.

use std::io::ErrorKind;
use std::path::Path;

use cgroup::{Cgroup, CgroupError, CgroupPath};
use errors::Report;
use oci::ContainerId;
use oci::runtime_spec::{LinuxResources, Spec};
use rustix::fs::{Access, access};

use crate::error::LaunchError;
use crate::prepare::{CGROUP_PARENT, cgroup_host, host_cgroup, own_cgroups};

/// The container's cgroup, or what is there in its place and why.
pub(crate) fn make_cgroup(spec: &Spec, id: &ContainerId) -> Result<(Cgroup, Option<String>), LaunchError> {
    let path = path(spec, id)?;
    let resources = resources(spec);
    let limit = resources.as_ref().and_then(first_limit);
    let made = cgroup_host().and_then(|host| Ok(host.create(&path, resources.as_ref())?));
    match (made, limit) {
        (Ok(cgroup), _) => Ok((cgroup, None)),
        (Err(LaunchError::Cgroup(error)), limit) if is_refused(&error) => match limit {
            Some(limit) => Err(LaunchError::NoCgroupForLimit { limit, source: error }),
            None => {
                let report = Report::from(&error);
                Ok((Cgroup::absent(path), Some(format!("without a cgroup of its own: {report}"))))
            }
        },
        (Err(error), _) => Err(error),
    }
}

/// What making it would do, where this user may.
pub(crate) fn preview_cgroup(spec: &Spec, id: &ContainerId) -> Result<cgroup::Preview, LaunchError> {
    Ok(cgroup_host()?.preview(&path(spec, id)?, resources(spec).as_ref())?)
}

fn resources(spec: &Spec) -> Option<LinuxResources> {
    let mut resources = spec.linux().as_ref()?.resources().clone()?;
    // Device files cannot be made in a user namespace, and the rules take rights over the host.
    resources.set_devices(None);
    Some(resources)
}

fn path(spec: &Spec, id: &ContainerId) -> Result<CgroupPath, LaunchError> {
    let given = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
    let given = given.map(|path| path.to_string_lossy().into_owned()).filter(|path| !path.is_empty());
    let text = match given {
        Some(path) if path.starts_with('/') => path,
        other => format!("{}/{}", base()?, other.unwrap_or_else(|| format!("{CGROUP_PARENT}/{id}"))),
    };
    text.parse().map_err(LaunchError::CgroupPath)
}

/// The cgroup of the unified hierarchy in which this user may make others; the root when there is none, where it will
/// be told that it may not.
fn base() -> Result<String, LaunchError> {
    let unified = own_cgroups()?.into_iter().find(|(h, _)| h.controllers.is_empty() && h.name.is_none());
    let Some((hierarchy, own)) = unified else { return Ok(String::new()) };
    let parent = own.rsplit_once('/').map_or("", |(parent, _)| parent);
    let usable = |path: &&str| {
        let may_write = |file: &Path| access(file, Access::WRITE_OK).is_ok();
        let place = host_cgroup(&hierarchy, path);
        place.is_some_and(|place| may_write(&place) && may_write(&place.join("cgroup.procs")))
    };
    Ok([parent, own.as_str()].into_iter().find(usable).unwrap_or_default().to_owned())
}

/// Whether the reason is that this user may not.
fn is_refused(error: &CgroupError) -> bool {
    let refused = |source: &std::io::Error| {
        matches!(source.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotFound)
    };
    match error {
        CgroupError::NotMounted => true,
        CgroupError::Make { source, .. } | CgroupError::Hierarchy { source, .. } => refused(source),
        _ => false,
    }
}

/// The first limit asked for, in the words of the specification.
fn first_limit(resources: &LinuxResources) -> Option<&'static str> {
    let filled = |present: bool, name: &'static str| present.then_some(name);
    filled(resources.memory().is_some(), "linux.resources.memory")
        .or(filled(resources.cpu().is_some(), "linux.resources.cpu"))
        .or(filled(resources.pids().is_some(), "linux.resources.pids"))
        .or(filled(resources.block_io().is_some(), "linux.resources.blockIO"))
        .or(filled(
            resources.hugepage_limits().as_ref().is_some_and(|l| !l.is_empty()),
            "linux.resources.hugepageLimits",
        ))
        .or(filled(resources.network().is_some(), "linux.resources.network"))
        .or(filled(resources.rdma().as_ref().is_some_and(|l| !l.is_empty()), "linux.resources.rdma"))
        .or(filled(resources.unified().as_ref().is_some_and(|l| !l.is_empty()), "linux.resources.unified"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_named_and_device_rules_are_none() {
        let read = |text: &str| serde_json::from_str::<LinuxResources>(text).unwrap();
        assert_eq!(first_limit(&read(r#"{"devices":[{"allow":false,"access":"rwm"}]}"#)), None);
        assert_eq!(first_limit(&read(r#"{"pids":{"limit":5}}"#)), Some("linux.resources.pids"));
        assert_eq!(first_limit(&read(r#"{"unified":{"memory.high":"1"}}"#)), Some("linux.resources.unified"));
    }
}
