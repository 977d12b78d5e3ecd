// SPDX-License-Identifier: Apache-2.0
//! What vendors' descriptions of devices add to a specification that is otherwise complete.

use oci::runtime_spec as rt;

use crate::surroundings::Additions;

/// Adds it: variables and mounts replace those of the same name or place.
pub(super) fn apply(additions: &Additions, spec: &mut rt::Spec) {
    if let Some(process) = spec.process_mut() {
        let mut env = process.env().clone().unwrap_or_default();
        let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
        env.retain(|old| !additions.env.iter().any(|new| name(new) == name(old)));
        env.extend(additions.env.iter().cloned());
        process.set_env(Some(env));
        let mut groups = process.user().additional_gids().clone().unwrap_or_default();
        groups.extend(
            additions.groups.iter().filter(|gid| !process.user().additional_gids().iter().flatten().any(|g| g == *gid)),
        );
        process.user_mut().set_additional_gids(Some(groups));
    }
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    mounts.retain(|old| !additions.mounts.iter().any(|new| new.destination() == old.destination()));
    mounts.extend(additions.mounts.iter().cloned());
    spec.set_mounts(Some(mounts));
    if !additions.hooks.is_empty() {
        spec.set_hooks(Some(hooks(additions)));
    }
}

fn hooks(additions: &Additions) -> rt::Hooks {
    let of = |wanted: &str| {
        let hooks = additions.hooks.iter().filter(|(name, _)| name == wanted);
        let hooks: Vec<rt::Hook> = hooks.map(|(_, hook)| hook.clone()).collect();
        (!hooks.is_empty()).then_some(hooks)
    };
    let mut hooks = rt::Hooks::default();
    hooks
        .set_prestart(of("prestart"))
        .set_create_runtime(of("createRuntime"))
        .set_create_container(of("createContainer"))
        .set_start_container(of("startContainer"))
        .set_poststart(of("poststart"))
        .set_poststop(of("poststop"));
    hooks
}
