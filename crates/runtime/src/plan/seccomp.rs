// SPDX-License-Identifier: Apache-2.0
//! `linux.seccomp`: whether there is a filter, and whether it asks somebody (config-linux.md, "Seccomp").

use oci::runtime_spec::{Linux, LinuxSeccomp, LinuxSeccompAction};

use super::{Inputs, PlanError};

/// What filter the process gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    /// None.
    Absent,
    /// One that decides by itself.
    Decides,
    /// One that asks whoever listens at `listenerPath`.
    Notifies,
}

impl Filter {
    pub(super) fn of(linux: &Linux, inputs: &Inputs) -> Result<Filter, PlanError> {
        match (linux.seccomp(), inputs.filter) {
            (None, false) => Ok(Filter::Absent),
            (None, true) => Ok(Filter::Decides),
            (Some(profile), false) => check(profile),
            (Some(_), true) => Err(PlanError::Invalid {
                field: "linux.seccomp".into(),
                value: "a profile".into(),
                expected: "none beside one that is given apart from the spec",
            }),
        }
    }
}

/// Whether a profile that was given apart from its spec may be: one that nobody has to listen to.
pub(crate) fn check_apart(profile: &LinuxSeccomp) -> Result<(), PlanError> {
    match check(profile)? {
        Filter::Notifies => Err(PlanError::Invalid {
            field: "linux.seccomp, given apart from the spec".into(),
            value: "SCMP_ACT_NOTIFY".into(),
            expected: "actions that ask nobody",
        }),
        Filter::Absent | Filter::Decides => Ok(()),
    }
}

/// An error number that an action has no use for must be an error, says the specification.
const ERRNO: &str = "none but with SCMP_ACT_ERRNO and SCMP_ACT_TRACE";

fn takes_errno(action: LinuxSeccompAction) -> bool {
    matches!(action, LinuxSeccompAction::ScmpActErrno | LinuxSeccompAction::ScmpActTrace)
}

fn check(profile: &LinuxSeccomp) -> Result<Filter, PlanError> {
    const PREFIX: &str = "linux.seccomp";
    let invalid = |field: &str, value: &str, expected| PlanError::Invalid {
        field: format!("{PREFIX}{field}"),
        value: value.into(),
        expected,
    };
    let notify = LinuxSeccompAction::ScmpActNotify;
    let listener = profile.listener_path().as_ref().filter(|path| !path.as_os_str().is_empty());
    let metadata = profile.listener_metadata().as_ref().filter(|text| !text.is_empty());
    if let (Some(metadata), None) = (metadata, listener) {
        return Err(invalid(".listenerMetadata", metadata, "none without listenerPath"));
    }
    if profile.default_errno_ret().is_some() && !takes_errno(profile.default_action()) {
        return Err(invalid(".defaultErrnoRet", &profile.default_action().to_string(), ERRNO));
    }
    if profile.default_action() == notify {
        // Every call would wait for an agent that is told of the filter by calls.
        return Err(invalid(".defaultAction", "SCMP_ACT_NOTIFY", "that action in rules only"));
    }
    let mut notifies = false;
    for (index, rule) in profile.syscalls().iter().flatten().enumerate() {
        if rule.names().is_empty() {
            return Err(invalid(&format!(".syscalls[{index}].names"), "", "at least one system call"));
        }
        if rule.errno_ret().is_some() && !takes_errno(rule.action()) {
            return Err(invalid(&format!(".syscalls[{index}].errnoRet"), &rule.action().to_string(), ERRNO));
        }
        if rule.action() == notify {
            notifies = true;
            // By it the agent's descriptor is handed over.
            if rule.names().iter().any(|name| name == "write") {
                let expected = "any system call but write with SCMP_ACT_NOTIFY";
                return Err(invalid(&format!(".syscalls[{index}].names"), "write", expected));
            }
        }
    }
    match (notifies, listener) {
        (false, _) => Ok(Filter::Decides),
        (true, Some(_)) => Ok(Filter::Notifies),
        (true, None) => Err(PlanError::Missing { field: "linux.seccomp.listenerPath, which SCMP_ACT_NOTIFY needs" }),
    }
}
