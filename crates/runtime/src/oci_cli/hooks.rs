// SPDX-License-Identifier: Apache-2.0
//! The hooks that belong to the command line: those after the command was executed, and those after the container is
//! gone.

use std::path::Path;

use oci::ContainerId;
use oci::runtime_spec::Spec;

use super::log::Log;
use crate::HookError;
use crate::hooks::Context;

/// Runs the `poststart` hooks, if there are any.
pub(super) fn poststart(id: &ContainerId, bundle: &Path, spec: &Spec, pid: i32) -> Result<(), HookError> {
    if spec.hooks().is_none() {
        return Ok(());
    }
    Context::new(id, bundle.to_owned(), spec).run_poststart(spec, pid)
}

/// Runs the `poststop` hooks, if there are any. One that fails is a warning: the container is gone all the same.
pub(super) fn poststop(id: &ContainerId, bundle: &Path, spec: &Spec, log: &mut Log) {
    if spec.hooks().is_some() {
        let failed = Context::new(id, bundle.to_owned(), spec).run_poststop(spec);
        failed.iter().for_each(|warning| log.warning(warning));
    }
}
