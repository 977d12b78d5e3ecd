// SPDX-License-Identifier: Apache-2.0
//! The fields of a spec that are refused rather than ignored: each of them means something to whoever wrote it.

use oci::runtime_spec::{Linux, Spec};

use super::PlanError;

fn unsupported(present: bool, field: &str) -> Result<(), PlanError> {
    if present { Err(PlanError::Unsupported { field: field.into() }) } else { Ok(()) }
}

pub(super) fn spec(spec: &Spec) -> Result<(), PlanError> {
    version(spec.version())?;
    if let Some(linux) = spec.linux() {
        unsupported(linux.intel_rdt().is_some(), "linux.intelRdt")?;
        unsupported(linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty()), "linux.netDevices")?;
    }
    Ok(())
}

/// Every version 1 is compatible with the first (Semantic Versioning, which the specification keeps to).
fn version(version: &str) -> Result<(), PlanError> {
    let numbers = version.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<&str> = numbers.split('.').collect();
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if parts.len() == 3 && parts.iter().all(is_number) && parts[0] == "1" {
        return Ok(());
    }
    let expected = "a version 1.x.y of the runtime specification";
    Err(PlanError::Invalid { field: "ociVersion".into(), value: version.into(), expected })
}

/// A mount namespace that is joined without any mounts is used as it is: masks in it would be for all who are in it.
pub(super) fn paths_of_joined_namespace(linux: &Linux) -> Result<(), PlanError> {
    let joined = "with a mount namespace joined by path, and no mounts";
    let filled = |paths: &Option<Vec<String>>| paths.as_ref().is_some_and(|paths| !paths.is_empty());
    unsupported(filled(linux.masked_paths()), &format!("linux.maskedPaths {joined}"))?;
    unsupported(filled(linux.readonly_paths()), &format!("linux.readonlyPaths {joined}"))
}
