// SPDX-License-Identifier: Apache-2.0
//! Container names: which are allowed, and one made up when none was given.

use oci::ContainerId;

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
