// SPDX-License-Identifier: Apache-2.0
//! The profile of a container's system call filter: the greatest part of a specification, and nearly always the same. As text it
//! goes beside the specification, made once; a shim reads it only where its compiled form is not kept.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use oci::runtime_spec as rt;
use serde_json::value::RawValue;

use super::{Inputs, granted_capabilities, without_filter};
use crate::error::EngineError;
use crate::request::{ContainerSpec, SeccompChoice, Security};

/// Docker's profile as text, for the capabilities that were asked for last.
#[derive(Debug, Default)]
pub(crate) struct UsualFilter(Mutex<Option<(rt::Capabilities, Box<RawValue>)>>);

impl UsualFilter {
    fn text(&self, capabilities: &rt::Capabilities, kernel: (u32, u32)) -> Result<Box<RawValue>, EngineError> {
        // It is there or not, whatever panicked.
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, text)) = last.as_ref().filter(|(known, _)| known == capabilities) {
            return Ok(text.clone());
        }
        let profile = seccomp::default_profile(&names(capabilities), kernel);
        let text =
            serde_json::value::to_raw_value(&profile).map_err(|error| EngineError::Seccomp(error.to_string()))?;
        *last = Some((capabilities.clone(), text.clone()));
        Ok(text)
    }
}

/// The specification for a shim, and the profile that goes beside it. It is within the specification where it is the user's own, or
/// where hooks read it.
///
/// # Errors
/// A capability, mount option or seccomp profile that cannot be.
pub(crate) fn for_shim(
    inputs: &Inputs<'_>,
    usual: &UsualFilter,
) -> Result<(rt::Spec, Option<Box<RawValue>>), EngineError> {
    let security = &inputs.record.spec.security;
    let capabilities = granted_capabilities(&inputs.record.spec)?;
    let spec = without_filter(inputs, &capabilities)?;
    if spec.hooks().is_none() && is_usual(security) {
        return Ok((spec, Some(usual.text(&capabilities, inputs.kernel)?)));
    }
    Ok((with_filter(spec, security, &capabilities, inputs.kernel)?, None))
}

/// Puts the profile into a specification.
pub(super) fn with_filter(
    mut spec: rt::Spec,
    security: &Security,
    capabilities: &rt::Capabilities,
    kernel: (u32, u32),
) -> Result<rt::Spec, EngineError> {
    let profile = profile(security, capabilities, kernel)?;
    if let Some(linux) = spec.linux_mut() {
        linux.set_seccomp(profile);
    }
    Ok(spec)
}

/// The profile of a container's system call filter, if it has one.
pub(crate) fn profile_of(wish: &ContainerSpec, kernel: (u32, u32)) -> Result<Option<rt::LinuxSeccomp>, EngineError> {
    profile(&wish.security, &granted_capabilities(wish)?, kernel)
}

/// Whether the profile is Docker's.
fn is_usual(security: &Security) -> bool {
    match security.seccomp {
        SeccompChoice::Default => !security.privileged,
        SeccompChoice::Builtin => true,
        SeccompChoice::Unconfined | SeccompChoice::Profile(_) => false,
    }
}

fn profile(
    security: &Security,
    capabilities: &rt::Capabilities,
    kernel: (u32, u32),
) -> Result<Option<rt::LinuxSeccomp>, EngineError> {
    match &security.seccomp {
        _ if is_usual(security) => Ok(Some(seccomp::default_profile(&names(capabilities), kernel))),
        SeccompChoice::Profile(json) => seccomp::parse_docker_profile(json, &names(capabilities), kernel)
            .map(Some)
            .map_err(|error| EngineError::Seccomp(errors::chain(&error))),
        SeccompChoice::Default | SeccompChoice::Builtin | SeccompChoice::Unconfined => Ok(None),
    }
}

fn names(capabilities: &rt::Capabilities) -> BTreeSet<String> {
    capabilities.iter().map(|capability| format!("CAP_{capability}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_the_profiles_and_follows_the_capabilities() {
        let usual = UsualFilter::default();
        let (few, all) = (rt::Capabilities::from([rt::Capability::Kill]), super::super::all_capabilities());
        for capabilities in [&few, &few, &all, &few] {
            let text = usual.text(capabilities, (6, 18)).unwrap();
            let profile = profile(&Security::default(), capabilities, (6, 18)).unwrap().unwrap();
            assert_eq!(text.get(), serde_json::to_string(&profile).unwrap());
        }
        assert_ne!(usual.text(&few, (6, 18)).unwrap().get(), usual.text(&all, (6, 18)).unwrap().get());
    }
}
