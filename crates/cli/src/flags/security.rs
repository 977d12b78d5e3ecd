// SPDX-License-Identifier: Apache-2.0
//! `--security-opt`: what is known is passed on as the Engine API writes it, everything else is refused.

use std::path::Path;

use super::FlagError;

/// Nothing of `/proc` and `/sys` is masked or read-only.
pub(super) const SYSTEM_PATHS: &str = "systempaths=unconfined";

/// The option as the daemon takes it: a seccomp profile is sent with its content, because the daemon need not see the
/// caller's files.
pub(crate) fn option(text: &str) -> Result<String, FlagError> {
    let (key, value) = match text.split_once(['=', ':']) {
        Some((key, value)) => (key, Some(value)),
        None => (text, None),
    };
    match (key, value) {
        ("no-new-privileges" | "writable-cgroups", None) => Ok(key.to_owned()),
        ("no-new-privileges" | "writable-cgroups", Some(word @ ("true" | "false"))) => Ok(format!("{key}={word}")),
        ("systempaths", Some("unconfined")) => Ok(SYSTEM_PATHS.to_owned()),
        ("apparmor", Some(profile)) if !profile.is_empty() => Ok(format!("apparmor={profile}")),
        // The daemon says which labels there are.
        ("label", Some(label)) => Ok(format!("label={label}")),
        ("seccomp", Some(word @ ("unconfined" | "builtin"))) => Ok(format!("seccomp={word}")),
        ("seccomp", Some(path)) if !path.is_empty() => profile(Path::new(path)),
        _ => Err(FlagError::SecurityOption { option: text.to_owned() }),
    }
}

fn profile(path: &Path) -> Result<String, FlagError> {
    let text = std::fs::read_to_string(path).map_err(|source| FlagError::File {
        what: "seccomp profile",
        path: path.to_owned(),
        source,
    })?;
    let json: serde_json::Value =
        serde_json::from_str(&text).map_err(|source| FlagError::Profile { path: path.to_owned(), source })?;
    Ok(format!("seccomp={json}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_options_and_nothing_else() {
        assert_eq!(option("seccomp=unconfined").unwrap(), "seccomp=unconfined");
        assert_eq!(option("no-new-privileges").unwrap(), "no-new-privileges");
        assert_eq!(option("no-new-privileges:true").unwrap(), "no-new-privileges=true");
        assert_eq!(option("systempaths=unconfined").unwrap(), SYSTEM_PATHS);
        assert_eq!(option("apparmor:mine").unwrap(), "apparmor=mine");
        for text in ["apparmor=", "label", "seccomp", "seccomp=", "no-new-privileges=maybe", "systempaths=x", ""] {
            assert!(matches!(option(text), Err(FlagError::SecurityOption { .. })), "{text}");
        }
    }

    #[test]
    fn a_profile_is_sent_with_its_content() {
        let directory = std::env::temp_dir();
        let path = directory.join(format!("corten-profile-{}.json", std::process::id()));
        std::fs::write(&path, "{ \"defaultAction\": \"SCMP_ACT_ALLOW\" }").unwrap();
        let sent = option(&format!("seccomp={}", path.display())).unwrap();
        std::fs::write(&path, "not json").unwrap();
        let refused = option(&format!("seccomp={}", path.display()));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(sent, "seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}");
        assert!(matches!(refused, Err(FlagError::Profile { .. })));
        assert!(matches!(option("seccomp=/does/not/exist"), Err(FlagError::File { .. })));
    }
}
