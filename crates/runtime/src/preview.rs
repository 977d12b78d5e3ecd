// SPDX-License-Identifier: Apache-2.0
//! What a launch would do, as data and as text: the launcher's side, then the plan. Nothing is made, opened for
//! writing or reserved, and no privilege is needed: what only root can do is shown as root would do it.

use std::fmt;
use std::path::PathBuf;

use cgroup::LimitWrite;
use serde::Serialize;
use sys::process::CloneFlags;

use crate::error::LaunchError;
use crate::launch::{Extras, LaunchRequest, inputs};
use crate::plan::{Caller, NamespaceSource, Operation, PlanError, plan, view};
use crate::{prepare, rootless};

/// One step that the launcher takes before, or with, making the container's first process. As JSON: like
/// [`Operation`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "operation", content = "arguments", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum LauncherStep {
    /// Compile the system call filter.
    CompileFilter {
        /// How many instructions it comes to.
        instructions: usize,
        /// `SECCOMP_FILTER_FLAG_…` it is installed with.
        flags: u32,
    },
    /// Open the file of a namespace to join.
    OpenNamespace {
        /// Its kind.
        #[serde(serialize_with = "view::text")]
        kind: CloneFlags,
        /// The file.
        path: PathBuf,
    },
    /// Make the cgroup's directory in one hierarchy, with those above it that are missing.
    MakeCgroup(PathBuf),
    /// Attach a program that decides about devices to the cgroup.
    AttachDeviceProgram {
        /// How many instructions it has, without its end.
        instructions: usize,
    },
    /// Write a limit.
    WriteLimit(LimitWrite),
    /// Make the process, with these namespaces of its own.
    Clone(#[serde(serialize_with = "view::text")] CloneFlags),
}

/// Who takes a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Step {
    /// The program that launches.
    Launcher(LauncherStep),
    /// An intermediate process, which makes the container's.
    Stage(Operation),
    /// The container's first process, before it executes the command.
    Container(Operation),
}

/// All steps of a launch, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Preview {
    /// The steps.
    pub steps: Vec<Step>,
    /// What the launch would warn of before it begins.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// Previews a launch.
///
/// # Errors
/// What would keep the launch from being planned.
pub fn preview(request: &LaunchRequest<'_>) -> Result<Preview, LaunchError> {
    preview_with(request, Extras::default())
}

pub(crate) fn preview_with(request: &LaunchRequest<'_>, extras: Extras) -> Result<Preview, LaunchError> {
    let mut inputs = inputs(request, extras)?;
    let plan = match plan(request.spec, &inputs) {
        // What only root can do is shown as root would do it.
        Err(PlanError::NotRoot) => {
            inputs.caller = Caller::Root;
            plan(request.spec, &inputs)?
        }
        other => other?,
    };
    let rootless = extras.rootless.unwrap_or(inputs.caller != Caller::Root);
    let mut steps = Vec::new();
    if let Some(filter) = prepare::filter(request.spec, request.filter, None)? {
        steps.push(LauncherStep::CompileFilter { instructions: filter.instructions.len(), flags: filter.flags });
    }
    steps.extend(plan.stage.iter().chain(&plan.operations).filter_map(|operation| match operation {
        Operation::JoinNamespace { kind, source: NamespaceSource::Path(path) } => {
            Some(LauncherStep::OpenNamespace { kind: *kind, path: path.clone() })
        }
        _ => None,
    }));
    let preview_cgroup = if rootless { rootless::preview_cgroup } else { prepare::preview_cgroup };
    let cgroup = preview_cgroup(request.spec, request.id)?;
    steps.extend(cgroup.directories.into_iter().map(LauncherStep::MakeCgroup));
    steps.extend(cgroup.device_program.map(|instructions| LauncherStep::AttachDeviceProgram { instructions }));
    steps.extend(cgroup.writes.into_iter().map(LauncherStep::WriteLimit));
    if !plan.staged() {
        steps.push(LauncherStep::Clone(plan.create));
    }
    let steps = steps.into_iter().map(Step::Launcher).chain(plan.stage.into_iter().map(Step::Stage));
    let steps = steps.chain(plan.operations.into_iter().map(Step::Container)).collect();
    Ok(Preview { steps, warnings: plan.warnings })
}

impl fmt::Display for LauncherStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LauncherStep::CompileFilter { instructions, flags } => {
                write!(f, "compile the system call filter: {instructions} instructions, flags {flags:#x}")
            }
            LauncherStep::OpenNamespace { kind, path } => write!(f, "open {} for {kind}", path.display()),
            LauncherStep::MakeCgroup(path) => write!(f, "make cgroup {}", path.display()),
            LauncherStep::AttachDeviceProgram { instructions } => {
                write!(f, "attach the device program: {instructions} instructions")
            }
            LauncherStep::WriteLimit(LimitWrite { file, value }) => write!(f, "write {value:?} to {}", file.display()),
            LauncherStep::Clone(flags) => write!(f, "clone {flags}"),
        }
    }
}

impl fmt::Display for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| match step {
            Step::Launcher(step) => writeln!(f, "{step}"),
            Step::Stage(operation) => writeln!(f, "in an intermediate process: {operation}"),
            Step::Container(operation) => writeln!(f, "{operation}"),
        })
    }
}
