// SPDX-License-Identifier: Apache-2.0
//! `-v SOURCE:TARGET[:OPTIONS]` and `--tmpfs TARGET[:OPTIONS]`.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use super::FlagError;

/// What `-v` asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Volume {
    /// A directory or volume and where it goes, as the Engine API writes it.
    Bind(String),
    /// A fresh volume at this place.
    Anonymous(String),
}

/// What `text`, a value of `-v`, asks for; a source that begins with a dot is relative to `directory`.
pub(crate) fn volume(text: &str, directory: &Path) -> Result<Volume, FlagError> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts[..] {
        [target] => (None, target, None),
        [source, target] => (Some(source), target, None),
        [source, target, options] => (Some(source), target, Some(options)),
        _ => return Err(FlagError::invalid(text, "has too many colons: write SOURCE:TARGET[:OPTIONS]")),
    };
    if !target.starts_with('/') {
        return Err(FlagError::invalid(text, "has no absolute path inside the container: write SOURCE:/TARGET"));
    }
    let Some(source) = source else { return Ok(Volume::Anonymous(target.to_owned())) };
    if source.is_empty() || options == Some("") {
        return Err(FlagError::invalid(text, "has an empty part: write SOURCE:TARGET[:OPTIONS]"));
    }
    let source = absolute(source, directory);
    Ok(Volume::Bind(match options {
        Some(options) => format!("{source}:{target}:{options}"),
        None => format!("{source}:{target}"),
    }))
}

/// A path that begins with a dot, made absolute without looking at the disk; anything else as it is.
fn absolute(source: &str, directory: &Path) -> String {
    if !source.starts_with('.') {
        return source.to_owned();
    }
    let mut path = PathBuf::from("/");
    for component in directory.join(source).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                path.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    path.to_string_lossy().into_owned()
}

/// Add what `text`, a value of `--tmpfs`, asks for to `map`.
pub(crate) fn tmpfs(text: &str, map: &mut HashMap<String, String>) -> Result<(), FlagError> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    if !target.starts_with('/') {
        return Err(FlagError::invalid(text, "has no absolute path inside the container: write /TARGET[:OPTIONS]"));
    }
    map.insert(target.to_owned(), options.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_binds_or_anonymous() {
        let here = Path::new("/home/me");
        let bind = |text| volume(text, here).unwrap();
        assert_eq!(bind("/a:/b"), Volume::Bind("/a:/b".into()));
        assert_eq!(bind("/a:/b:ro"), Volume::Bind("/a:/b:ro".into()));
        assert_eq!(bind("./x/../y:/b"), Volume::Bind("/home/me/y:/b".into()));
        assert_eq!(bind("../..:/b"), Volume::Bind("/:/b".into()));
        assert_eq!(bind(".:/b"), Volume::Bind("/home/me:/b".into()));
        assert_eq!(bind("data:/b"), Volume::Bind("data:/b".into()));
        assert_eq!(bind("/b"), Volume::Anonymous("/b".into()));
        for text in ["", "a:b", "/a:b", "/a:/b:ro:z", ":/b", "/a:/b:"] {
            assert!(volume(text, here).is_err(), "{text}");
        }
    }

    #[test]
    fn a_tmpfs_has_a_target_and_perhaps_options() {
        let mut map = HashMap::new();
        tmpfs("/run:size=1m,mode=755", &mut map).unwrap();
        tmpfs("/tmp", &mut map).unwrap();
        assert_eq!((map["/run"].as_str(), map["/tmp"].as_str()), ("size=1m,mode=755", ""));
        assert!(tmpfs("run", &mut map).is_err());
    }
}
