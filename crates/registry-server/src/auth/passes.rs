// SPDX-License-Identifier: Apache-2.0
//! Passes: tokens of the registry's own, for clients that ask who they are at the door and nowhere else.
//!
//! Docker asks `/v2/` once and does with every later request as that answer tells it. Told nothing, it never sends a
//! password; told to send one, it does not go on without. Told to fetch a token, it fetches one with its password or, where
//! it has none, as nobody. So a registry from which everybody may pull, and to which some may push, gives out tokens. A
//! pass says who somebody is and for how long; what they may do is asked of the policy with every request.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde::{Deserialize, Serialize};

/// Seconds for which a pass is good: a push of many layers asks for another by itself.
pub(crate) const GOOD_FOR: u64 = 300;

/// Makes passes and knows them again. A registry that starts anew knows none of those before.
pub(super) struct Passes([u8; 32]);

/// Whose a pass is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holder {
    /// The user; nobody in particular where there is none.
    pub(super) user: Option<String>,
    /// Until when it is good: seconds since 1970.
    until: u64,
}

impl Passes {
    /// Those made with `key`, which nobody else may know.
    pub(super) fn new(key: [u8; 32]) -> Passes {
        Passes(key)
    }

    /// A pass for `user`, from now on.
    pub(super) fn give(&self, user: Option<&str>) -> String {
        self.give_at(user, now())
    }

    /// Whose pass it is, if it is one and still good.
    pub(super) fn holder(&self, pass: &str) -> Option<Holder> {
        self.holder_at(pass, now())
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.0)
    }

    fn give_at(&self, user: Option<&str>, now: u64) -> String {
        let holder = Holder { user: user.map(str::to_owned), until: now.saturating_add(GOOD_FOR) };
        // A structure of a string and a number is always JSON.
        let said = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&holder).unwrap_or_default());
        let seal = URL_SAFE_NO_PAD.encode(hmac::sign(&self.key(), said.as_bytes()));
        format!("{said}.{seal}")
    }

    fn holder_at(&self, pass: &str, now: u64) -> Option<Holder> {
        let (said, seal) = pass.split_once('.')?;
        hmac::verify(&self.key(), said.as_bytes(), &URL_SAFE_NO_PAD.decode(seal).ok()?).ok()?;
        let holder: Holder = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(said).ok()?).ok()?;
        (now < holder.until).then_some(holder)
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |since| since.as_secs())
}

impl std::fmt::Debug for Passes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passes")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pass_is_known_until_its_time_is_over_and_only_where_it_was_given() {
        let (here, elsewhere) = (Passes::new([1; 32]), Passes::new([2; 32]));
        for user in [None, Some("alice")] {
            let pass = here.give_at(user, 1000);
            assert_eq!(here.holder_at(&pass, 1000 + GOOD_FOR - 1).unwrap().user.as_deref(), user);
            assert_eq!(here.holder_at(&pass, 1000 + GOOD_FOR), None);
            assert_eq!(elsewhere.holder_at(&pass, 1000), None);
        }
        let (of_nobody, of_alice) = (here.give_at(None, 1000), here.give_at(Some("alice"), 1000));
        let (said, seal) = (of_alice.split_once('.').unwrap().0, of_nobody.split_once('.').unwrap().1);
        assert_eq!(here.holder_at(&format!("{said}.{seal}"), 1000), None, "somebody else's seal");
    }

    proptest! {
        #[test]
        fn no_text_is_a_pass(text in "[A-Za-z0-9_.-]{0,200}") {
            prop_assert_eq!(Passes::new([1; 32]).holder_at(&text, 0), None);
        }
    }
}
