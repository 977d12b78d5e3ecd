// SPDX-License-Identifier: Apache-2.0
//! `hooks`: programs that others want run at certain moments of a container's life (config.md, "POSIX-platform Hooks").

use std::fmt;
use std::path::PathBuf;

use oci::runtime_spec::{Hooks, Spec};
use serde::Serialize;

use super::PlanError;

/// The moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum HookKind {
    /// Before [`HookKind::CreateRuntime`], as it was called once.
    Prestart,
    /// When everything is mounted and the host's root is still there: outside.
    CreateRuntime,
    /// After that: in the container's namespaces, with a program of the host.
    CreateContainer,
    /// After `start`, right before the command: in the container, with a program of it.
    StartContainer,
    /// After the command was executed: outside.
    Poststart,
    /// After the container was removed: outside.
    Poststop,
}

impl HookKind {
    /// All of them, in the order of a container's life.
    pub const ALL: [HookKind; 6] = [
        HookKind::Prestart,
        HookKind::CreateRuntime,
        HookKind::CreateContainer,
        HookKind::StartContainer,
        HookKind::Poststart,
        HookKind::Poststop,
    ];

    /// The field of `hooks`.
    pub fn name(self) -> &'static str {
        match self {
            HookKind::Prestart => "prestart",
            HookKind::CreateRuntime => "createRuntime",
            HookKind::CreateContainer => "createContainer",
            HookKind::StartContainer => "startContainer",
            HookKind::Poststart => "poststart",
            HookKind::Poststop => "poststop",
        }
    }
}

/// A program to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hook {
    /// When.
    pub kind: HookKind,
    /// Its place among those of its kind.
    pub index: usize,
    /// The program.
    pub path: PathBuf,
    /// Its arguments, its name first.
    pub arguments: Vec<String>,
    /// Its environment; `None`: whatever whoever runs it has.
    pub environment: Option<Vec<String>>,
    /// How many seconds it may take.
    pub timeout: Option<u64>,
}

impl Hook {
    /// What it is called when it fails: in runc's words, which scripts look for.
    pub fn name(&self) -> String {
        format!("{} hook #{}", self.kind.name(), self.index)
    }

    /// The field that it comes from.
    pub fn field(&self) -> String {
        format!("hooks.{}[{}]", self.kind.name(), self.index)
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.field(), self.arguments)?;
        self.timeout.map_or(Ok(()), |seconds| write!(f, " within {seconds} s"))
    }
}

/// The hooks of one kind.
///
/// # Errors
/// [`PlanError::Invalid`] names what is wrong with one.
pub fn hooks(spec: &Spec, kind: HookKind) -> Result<Vec<Hook>, PlanError> {
    let Some(all) = spec.hooks() else { return Ok(Vec::new()) };
    list(all, kind).iter().enumerate().map(|(index, hook)| read(hook, kind, index)).collect()
}

fn list(hooks: &Hooks, kind: HookKind) -> &[oci::runtime_spec::Hook] {
    #[allow(deprecated)]
    let list = match kind {
        HookKind::Prestart => hooks.prestart(),
        HookKind::CreateRuntime => hooks.create_runtime(),
        HookKind::CreateContainer => hooks.create_container(),
        HookKind::StartContainer => hooks.start_container(),
        HookKind::Poststart => hooks.poststart(),
        HookKind::Poststop => hooks.poststop(),
    };
    list.as_deref().unwrap_or_default()
}

fn read(hook: &oci::runtime_spec::Hook, kind: HookKind, index: usize) -> Result<Hook, PlanError> {
    let path = hook.path().to_string_lossy().into_owned();
    let arguments = hook.args().clone().filter(|args| !args.is_empty()).unwrap_or_else(|| vec![path.clone()]);
    let mut read =
        Hook { kind, index, path: hook.path().clone(), arguments, environment: hook.env().clone(), timeout: None };
    let invalid = |name: &str, value: String, expected| PlanError::Invalid {
        field: format!("{}.{name}", read.field()),
        value,
        expected,
    };
    if !hook.path().is_absolute() {
        return Err(invalid("path", path, "an absolute path"));
    }
    let texts = std::iter::once(&path).chain(&read.arguments).chain(read.environment.iter().flatten());
    if let Some(text) = texts.into_iter().find(|text| text.contains('\0')) {
        return Err(invalid("args", text.clone(), "text without NUL bytes"));
    }
    if let Some(seconds) = hook.timeout() {
        let wanted = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
        let wanted = wanted.ok_or_else(|| invalid("timeout", seconds.to_string(), "more than 0 seconds"))?;
        read.timeout = Some(wanted);
    }
    Ok(read)
}
