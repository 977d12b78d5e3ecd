// SPDX-License-Identifier: Apache-2.0
//! Names of the host's users, from its `/etc/passwd` (passwd(5)).

use std::collections::HashMap;

/// User ids and their names.
#[derive(Debug)]
pub(crate) struct Users(HashMap<u32, String>);

impl Users {
    /// The host's; a host without that file has numbers only.
    pub(crate) fn of_host() -> Users {
        Users::parse(&String::from_utf8_lossy(&std::fs::read("/etc/passwd").unwrap_or_default()))
    }

    pub(crate) fn parse(text: &str) -> Users {
        let mut users = HashMap::new();
        for line in text.lines() {
            let mut fields = line.split(':');
            if let (Some(name), Some(Ok(uid))) = (fields.next(), fields.nth(1).map(str::parse)) {
                // The first of several names for a number is the one that getpwuid(3) gives.
                users.entry(uid).or_insert_with(|| name.to_owned());
            }
        }
        Users(users)
    }

    /// The name, or the number of a user who has none.
    pub(crate) fn name(&self, uid: u32) -> String {
        self.0.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_first_name_counts_and_a_number_stands_for_itself() {
        let users = super::Users::parse("root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:\nbad\na:x:y:\nu:x:7:7::/:");
        assert_eq!([users.name(0), users.name(7), users.name(8)], ["root", "u", "8"]);
    }
}
