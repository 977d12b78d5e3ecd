// SPDX-License-Identifier: Apache-2.0
//! Names of volumes, by Docker's rule. A name is a directory's as well: nothing else may be one.

use oci::ContainerId;

use crate::error::EngineError;

/// A file name has 255 bytes at most, and what a volume's directory is called in the making, or when it goes, begins with some
/// of them.
const MAX: usize = 235;

/// Refuses what cannot be a volume's name.
pub(crate) fn check(name: &str) -> Result<(), EngineError> {
    let refuse = |reason: String| Err(EngineError::invalid("volume name", reason));
    if name.len() < 2 {
        return refuse(format!("{name:?} is too short: it has two letters or digits at least"));
    }
    if name.len() > MAX {
        return refuse(format!("{} bytes are too many: no more than {MAX} can be a directory's name", name.len()));
    }
    let first = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !first || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)) {
        return refuse(format!(
            "{name:?} includes invalid characters for a local volume name: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed. \
             If you intended to pass a host directory, use an absolute path"
        ));
    }
    Ok(())
}

/// A name for a volume that nobody has named: 64 hexadecimal digits, as Docker's have.
pub(super) fn invent() -> Result<String, EngineError> {
    let mut random = [0; 32];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| EngineError::io("read", "/dev/urandom")(errno.into()))?;
    Ok(ContainerId::from_random(random).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_plain_file_name() {
        for name in ["ab", "web_data", "a.b-c", "0a", &"x".repeat(235)] {
            check(name).unwrap();
        }
        for name in ["", "a", ".a", "-a", "_a", "a/b", "..", "a b", "ä1", "a\0b", &"x".repeat(236)] {
            assert!(check(name).is_err(), "{name:?}");
        }
        let invented = invent().unwrap();
        check(&invented).unwrap();
        assert_eq!(invented.len(), 64);
    }
}
