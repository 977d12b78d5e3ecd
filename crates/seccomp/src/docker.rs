// SPDX-License-Identifier: Apache-2.0
//! Docker's profile files: the specification's rules, each perhaps only for some architectures, kernels or capabilities.
//! Pure: what applies to this container is chosen here, and the result is an ordinary `linux.seccomp`.

use std::collections::BTreeSet;

use errors::{Classify, Kind};
use oci::runtime_spec::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag, LinuxSyscall};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::arch::{family, native_arch};

/// Why a text is not a profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// It is not JSON, or not of this shape.
    #[error("the seccomp profile is not valid")]
    Json(#[source] serde_json::Error),
    /// `architectures` and `archMap` exclude each other.
    #[error("the seccomp profile has both `architectures` and `archMap`")]
    Architectures,
    /// `name` and `names` exclude each other.
    #[error("a rule of the seccomp profile has both `name` ({0:?}) and `names`")]
    Names(String),
    /// There are rules, and no word on all other calls.
    #[error("the seccomp profile has rules but no `defaultAction`")]
    NoDefault,
    /// A kernel version that is none.
    #[error("minKernel {0:?} in the seccomp profile is not a version such as \"4.8\"")]
    Kernel(String),
}

impl Classify for ProfileError {
    fn kind(&self) -> Kind {
        Kind::InvalidArgument
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Profile {
    default_action: Option<LinuxSeccompAction>,
    default_errno_ret: Option<u32>,
    architectures: Option<Vec<String>>,
    arch_map: Option<Vec<ArchitectureMap>>,
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    listener_path: Option<String>,
    listener_metadata: Option<String>,
    syscalls: Option<Vec<Rule>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ArchitectureMap {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    name: Option<String>,
    names: Option<Vec<String>>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    args: Option<Vec<Value>>,
    includes: Option<Filter>,
    excludes: Option<Filter>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Filter {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// What a rule's `includes` and `excludes` are compared with.
struct Container<'a> {
    arch: &'static str,
    capabilities: &'a BTreeSet<String>,
    kernel: (u32, u32),
}

/// Reads a profile as Docker does, for a container with these capabilities (its bounding set) on this kernel and the
/// architecture this program was built for.
///
/// # Errors
/// See [`ProfileError`].
pub fn parse_docker_profile(
    json: &str,
    capabilities: &BTreeSet<String>,
    kernel: (u32, u32),
) -> Result<LinuxSeccomp, ProfileError> {
    parse_docker_profile_for(native_arch().unwrap_or(Arch::ScmpArchNative), json, capabilities, kernel)
}

/// The same for another architecture.
///
/// # Errors
/// See [`ProfileError`].
pub fn parse_docker_profile_for(
    native: Arch,
    json: &str,
    capabilities: &BTreeSet<String>,
    kernel: (u32, u32),
) -> Result<LinuxSeccomp, ProfileError> {
    // By way of an object: serde would take a list, even an empty one, for a profile that says nothing.
    let object: Map<String, Value> = serde_json::from_str(json).map_err(ProfileError::Json)?;
    let profile: Profile = serde_json::from_value(Value::Object(object)).map_err(ProfileError::Json)?;
    // A file that says nothing at all switches filtering off, as Docker has it.
    let nothing = profile.default_action.is_none() && profile.syscalls.as_ref().is_none_or(Vec::is_empty);
    let container = Container { arch: docker_name(native), capabilities, kernel };
    let mut rules = Vec::new();
    for rule in profile.syscalls.unwrap_or_default() {
        if container.excluded(rule.excludes.as_ref())? || !container.included(rule.includes.as_ref())? {
            continue;
        }
        rules.push(convert(rule)?);
    }
    let mut result = LinuxSeccomp::default();
    let action = match profile.default_action {
        Some(action) => action,
        None if nothing => LinuxSeccompAction::ScmpActAllow,
        None => return Err(ProfileError::NoDefault),
    };
    result.set_default_action(action).set_default_errno_ret(profile.default_errno_ret);
    result.set_architectures(match (profile.architectures, profile.arch_map) {
        (Some(list), Some(map)) if !list.is_empty() && !map.is_empty() => return Err(ProfileError::Architectures),
        (Some(list), _) if !list.is_empty() => Some(known(&list)),
        (_, Some(map)) if !map.is_empty() => Some(mapped(map, native)),
        _ if nothing => Some(family(native)),
        _ => None,
    });
    result.set_flags(profile.flags).set_listener_metadata(profile.listener_metadata);
    result.set_listener_path(profile.listener_path.map(Into::into)).set_syscalls(Some(rules));
    Ok(result)
}

impl Container<'_> {
    /// All that is named must be so.
    fn included(&self, filter: Option<&Filter>) -> Result<bool, ProfileError> {
        let Some(filter) = filter else { return Ok(true) };
        let arches = filter.arches.as_deref().unwrap_or_default();
        let caps = filter.caps.iter().flatten();
        let kernel = filter.min_kernel.as_deref().map(version).transpose()?;
        Ok((arches.is_empty() || arches.iter().any(|a| a == self.arch))
            && caps.into_iter().all(|c| self.capabilities.contains(c))
            && kernel.is_none_or(|least| self.kernel >= least))
    }

    /// Any of what is named suffices.
    fn excluded(&self, filter: Option<&Filter>) -> Result<bool, ProfileError> {
        let Some(filter) = filter else { return Ok(false) };
        let kernel = filter.min_kernel.as_deref().map(version).transpose()?;
        Ok(filter.arches.iter().flatten().any(|a| a == self.arch)
            || filter.caps.iter().flatten().any(|c| self.capabilities.contains(c))
            || kernel.is_some_and(|least| self.kernel >= least))
    }
}

fn convert(rule: Rule) -> Result<LinuxSyscall, ProfileError> {
    let names = match (rule.name.filter(|n| !n.is_empty()), rule.names.unwrap_or_default()) {
        (Some(name), names) if !names.is_empty() => return Err(ProfileError::Names(name)),
        (Some(name), _) => vec![name],
        (None, names) => names,
    };
    let args = rule.args.unwrap_or_default().into_iter().map(serde_json::from_value);
    let args: Vec<_> = args.collect::<Result<_, _>>().map_err(ProfileError::Json)?;
    let mut call = LinuxSyscall::default();
    call.set_names(names).set_action(rule.action).set_errno_ret(rule.errno_ret);
    call.set_args((!args.is_empty()).then_some(args));
    Ok(call)
}

/// `"4.8"`; what follows a second dot does not matter.
fn version(text: &str) -> Result<(u32, u32), ProfileError> {
    let mut parts = text.split('.').map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => Err(ProfileError::Kernel(text.to_owned())),
    }
}

/// How these files call an architecture in `includes` and `excludes`.
fn docker_name(arch: Arch) -> &'static str {
    match arch {
        Arch::ScmpArchX86_64 => "amd64",
        Arch::ScmpArchX86 => "x86",
        Arch::ScmpArchX32 => "x32",
        Arch::ScmpArchAarch64 => "arm64",
        Arch::ScmpArchArm => "arm",
        _ => "",
    }
}

/// Names of architectures that this version knows; the others' calls cannot occur here.
fn known(names: &[String]) -> Vec<Arch> {
    names.iter().filter_map(|name| serde_json::from_value(Value::String(name.clone())).ok()).collect()
}

fn mapped(map: Vec<ArchitectureMap>, native: Arch) -> Vec<Arch> {
    let all = map.into_iter().map(|entry| {
        let names: Vec<String> =
            std::iter::once(entry.architecture).chain(entry.sub_architectures.unwrap_or_default()).collect();
        (known(&names[..1]), known(&names))
    });
    all.into_iter().find(|(main, _)| main.first() == Some(&native)).map(|(_, names)| names).unwrap_or_default()
}
