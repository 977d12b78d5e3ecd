// SPDX-License-Identifier: Apache-2.0
//! Names of scopes, from `slice:prefix:name`. Pure.

use serde::{Deserialize, Serialize};

use super::SystemdError;

/// A scope: the unit in which a container's processes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// The slice it is in, such as `system.slice`.
    pub slice: String,
    /// Its own name, such as `docker-4f2a.scope`.
    pub name: String,
}

impl Unit {
    /// The unit that `linux.cgroupsPath` names under the systemd driver: `slice:prefix:name`, which becomes
    /// `prefix-name.scope` in that slice. Without one, `corten-<id>.scope`; without a slice, `default_slice`.
    ///
    /// # Errors
    /// [`SystemdError::Path`] when it names no scope.
    pub fn of(cgroups_path: Option<&str>, id: &str, default_slice: &str) -> Result<Unit, SystemdError> {
        let Some(path) = cgroups_path.filter(|path| !path.is_empty()) else {
            let unit = Unit { slice: default_slice.to_owned(), name: format!("corten-{id}.scope") };
            return unit.checked(id);
        };
        let invalid = |why| SystemdError::Path { path: path.to_owned(), why };
        let parts: Vec<&str> = path.split(':').collect();
        let [slice, prefix, name] = parts.as_slice() else {
            return Err(invalid("it is not slice:prefix:name"));
        };
        if name.is_empty() {
            return Err(invalid("the name is empty"));
        }
        if name.ends_with(".slice") {
            return Err(invalid("a slice holds no processes"));
        }
        let slice = if slice.is_empty() { default_slice } else { slice };
        Unit { slice: slice.to_owned(), name: format!("{prefix}-{name}.scope") }.checked(path)
    }

    /// systemd.unit(5): at most 255 characters of a small set; and a slice's name is the way to it.
    fn checked(self, path: &str) -> Result<Unit, SystemdError> {
        let invalid = |why| SystemdError::Path { path: path.to_owned(), why };
        let known = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        for name in [&self.slice, &self.name] {
            if name.len() > 255 || !name.chars().all(known) {
                return Err(invalid("a unit's name has at most 255 letters, digits and :-_.\\@"));
            }
        }
        let Some(stem) = self.slice.strip_suffix(".slice") else {
            return Err(invalid("the slice does not end in .slice"));
        };
        if stem != "-" && stem.split('-').any(str::is_empty) {
            return Err(invalid("a part of the slice's name is empty"));
        }
        Ok(self)
    }

    /// The unit's object (systemd's escaping: what is no letter or digit becomes `_` and its number).
    pub(super) fn object(&self) -> String {
        let mut path = "/org/freedesktop/systemd1/unit/".to_owned();
        for (index, byte) in self.name.bytes().enumerate() {
            // A digit at the beginning is escaped too.
            if byte.is_ascii_alphabetic() || (byte.is_ascii_digit() && index > 0) {
                path.push(char::from(byte));
            } else {
                path.push_str(&format!("_{byte:02x}"));
            }
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(path: &str) -> Result<(String, String), SystemdError> {
        Unit::of(Some(path), "id", "system.slice").map(|unit| (unit.slice, unit.name))
    }

    #[test]
    fn a_path_names_a_scope_in_a_slice() {
        let named = |slice: &str, name: &str| (slice.to_owned(), name.to_owned());
        assert_eq!(unit("machine.slice:libpod:4f2a").unwrap(), named("machine.slice", "libpod-4f2a.scope"));
        assert_eq!(unit(":docker:x").unwrap(), named("system.slice", "docker-x.scope"));
        assert_eq!(unit("-.slice:a:b").unwrap(), named("-.slice", "a-b.scope"));
        assert_eq!(unit("").unwrap(), named("system.slice", "corten-id.scope"));
        for bad in [
            "/a/b",
            "a:b",
            "a.slice:b:c:d",
            "a:b:c",
            "a--b.slice:c:d",
            "a.slice:b:",
            "a.slice:b:c/d",
            "a.slice:b:c.slice",
        ] {
            assert!(matches!(unit(bad), Err(SystemdError::Path { .. })), "{bad}");
        }
    }

    #[test]
    fn an_object_has_an_escaped_name() {
        let unit = Unit { slice: "system.slice".into(), name: "a-1_b.scope".into() };
        assert_eq!(unit.object(), "/org/freedesktop/systemd1/unit/a_2d1_5fb_2escope");
    }
}
