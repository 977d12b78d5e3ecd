// SPDX-License-Identifier: Apache-2.0
//! What belongs to the process: limits, descriptors, identity, privileges, filter, command.
//!
//! The order matters for safety. Descriptors of the host are closed before any path is looked up with the container's
//! working directory or command, so that `/proc/self/fd/N` leads nowhere. Identity and capabilities follow; the
//! filter comes as late as possible, because it would also judge the system calls made here.

use std::collections::HashSet;

use oci::runtime_spec::{Linux, LinuxPersonalityDomain, PosixRlimit, PosixRlimitType, Process};
use rustix::process::Resource;

use super::capabilities;
use super::hooks::Hook;
use super::operation::LabelKind;
use super::operation::Operation;
use super::scheduling;
use super::seccomp::Filter;
use super::{Inputs, PlanError};

pub(super) fn operations(
    process: &Process,
    linux: &Linux,
    inputs: &Inputs,
    before_command: Vec<Hook>,
    operations: &mut Vec<Operation>,
) -> Result<(), PlanError> {
    let arguments = command(process)?;
    labels(process, inputs, operations)?;
    if !inputs.no_new_keyring {
        operations.push(Operation::SessionKeyring);
    }
    if let Some(personality) = linux.personality() {
        if personality.flags().as_ref().is_some_and(|flags| !flags.is_empty()) {
            return Err(PlanError::Unsupported { field: "linux.personality.flags".into() });
        }
        operations.push(Operation::Personality(match personality.domain() {
            LinuxPersonalityDomain::PerLinux => sys::personality::LINUX,
            LinuxPersonalityDomain::PerLinux32 => sys::personality::LINUX32,
        }));
    }
    scheduling::operations(process, operations)?;
    if let Some(policy) = linux.memory_policy() {
        operations.push(scheduling::memory_policy(policy)?);
    }
    operations.push(Operation::CloseDescriptors { preserve: inputs.preserve_fds });
    // Of variables given twice the last holds; an empty home is none.
    let home = process.env().iter().flatten().filter_map(|variable| variable.strip_prefix("HOME=")).next_back();
    if home.is_none_or(str::is_empty) {
        operations.push(Operation::Home);
    }
    let cwd = process.cwd();
    if !cwd.is_absolute() {
        let value = cwd.to_string_lossy().into_owned();
        return Err(PlanError::Invalid { field: "process.cwd".into(), value, expected: "an absolute path" });
    }
    operations.push(Operation::WorkingDirectory(cwd.clone()));
    rlimits(process, operations)?;
    privileges(process, Filter::of(linux, inputs)?, inputs, before_command, operations);
    operations.push(Operation::Umask(process.user().umask().unwrap_or(0o022) & 0o7777));
    if inputs.init {
        operations.push(Operation::Init);
    }
    operations.push(Operation::Execute(arguments));
    Ok(())
}

/// What the security modules are to know the process by. Written before the descriptors of the host are closed: it
/// goes through the host's procfs.
fn labels(process: &Process, inputs: &Inputs, operations: &mut Vec<Operation>) -> Result<(), PlanError> {
    for (field, given, enabled, module, kinds) in [
        (
            "process.selinuxLabel",
            process.selinux_label(),
            inputs.selinux,
            "SELinux",
            &[LabelKind::SelinuxKeys, LabelKind::Selinux][..],
        ),
        ("process.apparmorProfile", process.apparmor_profile(), inputs.apparmor, "AppArmor", &[LabelKind::AppArmor]),
    ] {
        let Some(label) = given.as_ref().filter(|label| !label.is_empty()) else { continue };
        if !enabled {
            return Err(PlanError::NotOnThisHost { field: field.into(), needs: module });
        }
        if label.contains(['\0', '\n']) {
            let expected = "text on one line";
            return Err(PlanError::Invalid { field: field.into(), value: label.clone(), expected });
        }
        operations.extend(kinds.iter().map(|kind| Operation::Label { kind: *kind, label: label.clone() }));
    }
    Ok(())
}

fn rlimits(process: &Process, operations: &mut Vec<Operation>) -> Result<(), PlanError> {
    let limits = process.rlimits().as_deref().unwrap_or_default();
    for (index, limit) in limits.iter().enumerate() {
        if limits[..index].iter().any(|before| before.typ() == limit.typ()) {
            let field = format!("process.rlimits[{index}].type");
            let value = limit.typ().to_string();
            return Err(PlanError::Invalid { field, value, expected: "each type at most once" });
        }
        operations.push(rlimit(limit));
    }
    Ok(())
}

fn privileges(
    process: &Process,
    filter: Filter,
    inputs: &Inputs,
    before_command: Vec<Hook>,
    operations: &mut Vec<Operation>,
) {
    let no_new_privileges = process.no_new_privileges().unwrap_or(false);
    let filtered = filter != Filter::Absent;
    let sets = capabilities::sets(process.capabilities().as_ref());
    // Without no_new_privs only CAP_SYS_ADMIN may install a filter: it is kept for that long.
    let for_filter = filtered && !no_new_privileges && sets.effective & capabilities::SYS_ADMIN == 0;
    let user = process.user();
    if no_new_privileges {
        operations.push(Operation::NoNewPrivileges);
    }
    operations.push(Operation::BoundingSet(sets.bounding));
    operations.push(Operation::User {
        uid: user.uid(),
        gid: user.gid(),
        groups: distinct(user.additional_gids().as_deref().unwrap_or_default()),
    });
    operations.push(Operation::Capabilities { sets, for_filter });
    if inputs.dies_with_parent {
        // After the last change of identity, which would make the kernel forget it; shrinking sets does not.
        operations.push(Operation::DieWithParent);
    }
    operations.push(Operation::FindCommand);
    let without = for_filter.then_some(Operation::Capabilities { sets, for_filter: false });
    let mut last = Vec::new();
    match filter {
        Filter::Absent => {}
        Filter::Decides => last.push(Operation::Seccomp),
        // While there is a launcher to hand its listener over, and before anything that is run has none.
        Filter::Notifies => operations.push(Operation::SeccompListener),
    }
    if filter == Filter::Notifies {
        operations.extend(without)
    } else {
        last.extend(without)
    }
    if inputs.waits_for_start {
        operations.push(Operation::WaitForStart);
    }
    if !before_command.is_empty() {
        operations.push(Operation::Hooks(before_command));
    }
    operations.append(&mut last);
    if sets.ambient != 0 {
        operations.push(Operation::Ambient(sets.ambient));
    }
}

/// Docker lists a user's own group among its others, and the kernel would list it twice.
fn distinct(groups: &[u32]) -> Vec<u32> {
    let mut seen = HashSet::with_capacity(groups.len());
    groups.iter().copied().filter(|group| seen.insert(*group)).collect()
}

fn command(process: &Process) -> Result<Vec<String>, PlanError> {
    let arguments = process.args().clone().unwrap_or_default();
    if arguments.is_empty() || arguments[0].is_empty() {
        return Err(PlanError::Missing { field: "process.args" });
    }
    for (field, list) in [("process.args", &arguments), ("process.env", process.env().as_ref().unwrap_or(&vec![]))] {
        if let Some(text) = list.iter().find(|text| text.contains('\0')) {
            let expected = "text without NUL bytes";
            return Err(PlanError::Invalid { field: field.into(), value: text.clone(), expected });
        }
    }
    Ok(arguments)
}

fn rlimit(limit: &PosixRlimit) -> Operation {
    let (name, resource) = match limit.typ() {
        PosixRlimitType::RlimitCpu => ("RLIMIT_CPU", Resource::Cpu),
        PosixRlimitType::RlimitFsize => ("RLIMIT_FSIZE", Resource::Fsize),
        PosixRlimitType::RlimitData => ("RLIMIT_DATA", Resource::Data),
        PosixRlimitType::RlimitStack => ("RLIMIT_STACK", Resource::Stack),
        PosixRlimitType::RlimitCore => ("RLIMIT_CORE", Resource::Core),
        PosixRlimitType::RlimitRss => ("RLIMIT_RSS", Resource::Rss),
        PosixRlimitType::RlimitNproc => ("RLIMIT_NPROC", Resource::Nproc),
        PosixRlimitType::RlimitNofile => ("RLIMIT_NOFILE", Resource::Nofile),
        PosixRlimitType::RlimitMemlock => ("RLIMIT_MEMLOCK", Resource::Memlock),
        PosixRlimitType::RlimitAs => ("RLIMIT_AS", Resource::As),
        PosixRlimitType::RlimitLocks => ("RLIMIT_LOCKS", Resource::Locks),
        PosixRlimitType::RlimitSigpending => ("RLIMIT_SIGPENDING", Resource::Sigpending),
        PosixRlimitType::RlimitMsgqueue => ("RLIMIT_MSGQUEUE", Resource::Msgqueue),
        PosixRlimitType::RlimitNice => ("RLIMIT_NICE", Resource::Nice),
        PosixRlimitType::RlimitRtprio => ("RLIMIT_RTPRIO", Resource::Rtprio),
        PosixRlimitType::RlimitRttime => ("RLIMIT_RTTIME", Resource::Rttime),
    };
    let value = |value: u64| (value != u64::MAX).then_some(value);
    Operation::Rlimit { name, resource, soft: value(limit.soft()), hard: value(limit.hard()) }
}
