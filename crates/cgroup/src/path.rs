// SPDX-License-Identifier: Apache-2.0
//! Names of cgroups: relative to the hierarchies' roots, and never leading out of them.

use std::fmt;
use std::str::FromStr;

/// A cgroup's path below the root of every hierarchy, such as `/corten/4f2a…`. It has at least one component.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CgroupPath(Vec<String>);

/// Why a text is not a cgroup path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a cgroup path: components of at most 255 bytes, none of them `.` or `..`, no newline, at least one"
)]
pub struct PathError(String);

impl CgroupPath {
    /// The components, outermost first.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// The container's cgroup below this one. An id is always a safe component.
    pub fn child(&self, id: &oci::ContainerId) -> CgroupPath {
        CgroupPath(self.0.iter().cloned().chain([id.as_str().to_owned()]).collect())
    }

    /// The path one level up, unless this one stands directly below the root.
    pub fn parent(&self) -> Option<CgroupPath> {
        let (_, above) = self.0.split_last()?;
        (!above.is_empty()).then(|| CgroupPath(above.to_vec()))
    }
}

impl FromStr for CgroupPath {
    type Err = PathError;

    /// Slashes at the ends and doubled ones mean nothing, as in any path.
    fn from_str(text: &str) -> Result<CgroupPath, PathError> {
        let bad = |c: &&str| matches!(*c, "." | "..") || c.len() > 255 || c.contains(['\n', '\0']);
        let components: Vec<&str> = text.split('/').filter(|c| !c.is_empty()).collect();
        if components.is_empty() || components.iter().any(bad) {
            return Err(PathError(text.chars().take(64).collect()));
        }
        Ok(CgroupPath(components.into_iter().map(str::to_owned).collect()))
    }
}

impl fmt::Display for CgroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|component| write!(f, "/{component}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_never_leads_out() {
        for bad in ["", "/", "..", "/a/../b", "/a/./b", "/a\nb", "/a\0", &"x".repeat(256)] {
            assert!(bad.parse::<CgroupPath>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn slashes_are_tidied() {
        let path: CgroupPath = "corten//abc/".parse().unwrap();
        assert_eq!(path.to_string(), "/corten/abc");
        assert_eq!(path.parent().unwrap().to_string(), "/corten");
        assert_eq!(path.parent().unwrap().parent(), None);
    }
}
