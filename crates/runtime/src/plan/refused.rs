// SPDX-License-Identifier: Apache-2.0
//! The fields of a spec that are refused rather than ignored: each of them means something to whoever wrote it.

use oci::runtime_spec::{Process, Spec};

use super::PlanError;

fn unsupported(present: bool, field: &str) -> Result<(), PlanError> {
    if present { Err(PlanError::Unsupported { field: field.into() }) } else { Ok(()) }
}

fn given(text: &Option<String>) -> bool {
    text.as_ref().is_some_and(|text| !text.is_empty())
}

pub(super) fn spec(spec: &Spec) -> Result<(), PlanError> {
    if let Some(hooks) = spec.hooks() {
        #[allow(deprecated)]
        let prestart = hooks.prestart();
        for (field, list) in [
            ("hooks.prestart", prestart),
            ("hooks.createRuntime", hooks.create_runtime()),
            ("hooks.createContainer", hooks.create_container()),
            ("hooks.startContainer", hooks.start_container()),
            ("hooks.poststart", hooks.poststart()),
            ("hooks.poststop", hooks.poststop()),
        ] {
            unsupported(list.as_ref().is_some_and(|list| !list.is_empty()), field)?;
        }
    }
    if let Some(linux) = spec.linux() {
        unsupported(linux.intel_rdt().is_some(), "linux.intelRdt")?;
        unsupported(linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty()), "linux.netDevices")?;
        unsupported(linux.memory_policy().is_some(), "linux.memoryPolicy")?;
        unsupported(given(linux.mount_label()), "linux.mountLabel")?;
    }
    spec.process().as_ref().map_or(Ok(()), process)
}

pub(super) fn process(process: &Process) -> Result<(), PlanError> {
    unsupported(given(process.apparmor_profile()), "process.apparmorProfile")?;
    unsupported(given(process.selinux_label()), "process.selinuxLabel")?;
    unsupported(process.io_priority().is_some(), "process.ioPriority")?;
    unsupported(process.scheduler().is_some(), "process.scheduler")?;
    unsupported(process.exec_cpu_affinity().is_some(), "process.execCPUAffinity")
}

/// A mount namespace that is joined is used as it is: mounting in it would change it for all who are in it.
pub(super) fn file_system_in_joined_namespace(spec: &Spec) -> Result<(), PlanError> {
    let joined = "with a mount namespace joined by path";
    unsupported(spec.mounts().as_ref().is_some_and(|mounts| !mounts.is_empty()), &format!("mounts {joined}"))?;
    let Some(linux) = spec.linux() else { return Ok(()) };
    let filled = |paths: &Option<Vec<String>>| paths.as_ref().is_some_and(|paths| !paths.is_empty());
    unsupported(filled(linux.masked_paths()), &format!("linux.maskedPaths {joined}"))?;
    unsupported(filled(linux.readonly_paths()), &format!("linux.readonlyPaths {joined}"))
}
