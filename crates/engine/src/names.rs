// SPDX-License-Identifier: Apache-2.0
//! Container names: which are allowed, one made up when none was given, and another one for a container that has one.

use std::sync::Arc;

use oci::ContainerId;

use crate::Engine;
use crate::error::EngineError;

const QUALITIES: [&str; 32] = [
    "able", "brisk", "calm", "clear", "deft", "eager", "fair", "firm", "frank", "glad", "grand", "hardy", "keen",
    "kind", "light", "lively", "mild", "neat", "noble", "patient", "plain", "proud", "quick", "quiet", "sharp",
    "sober", "solid", "steady", "stout", "sunny", "swift", "warm",
];
const VESSELS: [&str; 32] = [
    "barge", "bark", "brig", "caravel", "catboat", "clipper", "cog", "coracle", "cutter", "dhow", "dory", "felucca",
    "ferry", "frigate", "galleon", "galley", "gig", "hulk", "junk", "kayak", "ketch", "lighter", "lugger", "packet",
    "pinnace", "punt", "schooner", "skiff", "sloop", "tender", "tug", "yawl",
];

/// Docker's rule: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
pub(crate) fn check(name: &str) -> Result<(), EngineError> {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if first && rest && (2..=128).contains(&name.len()) {
        return Ok(());
    }
    let reason =
        format!("{name:?} is not a container name: 2 to 128 letters, digits, `_`, `.` or `-`, a letter or digit first");
    Err(EngineError::invalid("--name", reason))
}

impl Engine {
    /// Gives a container another name. Durable when this returns.
    ///
    /// # Errors
    /// No such container; a name that cannot be, or that a container has, this one included.
    pub async fn rename(self: &Arc<Self>, name: &str, new: &str) -> Result<(), EngineError> {
        let container = self.container(name)?;
        let turn = Arc::clone(&container.lifecycle).lock_owned().await;
        // A removal may have come first.
        self.container(container.id.as_str())?;
        let new = self.reserve_name(Some(new), &container.id).map_err(|error| match error {
            EngineError::Invalid { reason, .. } => EngineError::invalid("new name", reason),
            other => other,
        })?;
        let (engine, target) = (Arc::clone(self), Arc::clone(&container));
        self.blocking("rename", move || {
            let _turn = turn;
            let old = target.update(|record| std::mem::replace(&mut record.name, new.clone()));
            let kept = engine.keep(&target);
            let freed =
                if kept.is_ok() { old } else { target.update(|record| std::mem::replace(&mut record.name, old)) };
            engine.release_name(&freed, &target.id);
            kept?;
            // With the slash that Docker's names have.
            target.tell("rename", [("oldName", format!("/{freed}"))]);
            Ok(())
        })
        .await
    }
}

/// Two words chosen by the id's own randomness; a piece of the id is added when they are taken.
pub(crate) fn invent(id: &ContainerId, taken: impl Fn(&str) -> bool) -> String {
    let digit = |at: usize| id.as_str().as_bytes().get(at).map_or(0, |&byte| usize::from(byte));
    let words = format!("{}-{}", QUALITIES[(digit(0) * 7 + digit(1)) % 32], VESSELS[(digit(2) * 7 + digit(3)) % 32]);
    if taken(&words) { format!("{words}-{}", id.short()) } else { words }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_names_are_allowed_and_unique() {
        let id = ContainerId::from_random([0xa7; 32]);
        let name = invent(&id, |_| false);
        check(&name).unwrap();
        let other = invent(&id, |taken| taken == name);
        check(&other).unwrap();
        assert_ne!(name, other);
    }

    #[test]
    fn names_that_are_paths_or_flags_are_refused() {
        for bad in ["", "a", "-ab", "../x", "a/b", "a b", ".ab"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
