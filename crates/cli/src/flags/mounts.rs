// SPDX-License-Identifier: Apache-2.0
//! `-v SOURCE:TARGET[:OPTIONS]`, `--mount type=…,…` and `--tmpfs TARGET[:OPTIONS]`.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use api_types::docker::{Mount, MountBindOptions, MountTmpfsOptions, MountType};

use super::{FlagError, size};

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

/// What `text`, a value of `--mount`, asks for.
pub(crate) fn mount(text: &str) -> Result<Mount, FlagError> {
    let invalid = |problem| FlagError::invalid(text, problem);
    let mut mount = Mount { typ: Some(MountType::VOLUME), ..Mount::default() };
    let (mut bind, mut tmpfs) = (None::<MountBindOptions>, None::<MountTmpfsOptions>);
    for field in text.split(',') {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field, None),
        };
        match (key, value) {
            ("type", Some("bind")) => mount.typ = Some(MountType::BIND),
            ("type", Some("tmpfs")) => mount.typ = Some(MountType::TMPFS),
            ("type", Some("volume")) => mount.typ = Some(MountType::VOLUME),
            ("type", _) => return Err(invalid("has a type that is neither bind nor tmpfs nor volume")),
            ("source" | "src", Some(source)) => mount.source = Some(source.to_owned()),
            ("target" | "destination" | "dst", Some(target)) => mount.target = Some(target.to_owned()),
            ("readonly" | "ro", None | Some("true" | "1")) => mount.read_only = Some(true),
            ("readonly" | "ro", Some("false" | "0")) => mount.read_only = Some(false),
            ("bind-propagation", Some(propagation)) => {
                let propagation = propagation.parse().map_err(|_| invalid("has an unknown bind-propagation"))?;
                bind.get_or_insert_default().propagation = Some(propagation);
            }
            ("tmpfs-size", Some(limit)) => tmpfs.get_or_insert_default().size_bytes = Some(size::bytes(limit)?),
            ("tmpfs-mode", Some(mode)) => {
                let mode = i64::from_str_radix(mode, 8).ok().filter(|mode| (0..=0o7777).contains(mode));
                let mode = mode.ok_or_else(|| invalid("has a tmpfs-mode that is no octal mode"))?;
                tmpfs.get_or_insert_default().mode = Some(mode);
            }
            _ => return Err(invalid("has a field that is not known")),
        }
    }
    if !mount.target.as_deref().is_some_and(|target| target.starts_with('/')) {
        return Err(invalid("needs target=, an absolute path inside the container"));
    }
    let kind = mount.typ;
    if kind == Some(MountType::BIND) && !mount.source.as_deref().is_some_and(|source| source.starts_with('/')) {
        return Err(invalid("needs source=, an absolute path on the host"));
    }
    if kind == Some(MountType::TMPFS) && mount.source.is_some() {
        return Err(invalid("has a source, but a tmpfs has none"));
    }
    if (bind.is_some() && kind != Some(MountType::BIND)) || (tmpfs.is_some() && kind != Some(MountType::TMPFS)) {
        return Err(invalid("has options of another type of mount"));
    }
    mount.bind_options = bind;
    mount.tmpfs_options = tmpfs;
    Ok(mount)
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
    fn mounts_are_read_field_by_field() {
        let bind = mount("type=bind,src=/a,dst=/b,ro,bind-propagation=rslave").unwrap();
        assert_eq!(bind.typ, Some(MountType::BIND));
        assert_eq!((bind.source.as_deref(), bind.target.as_deref()), (Some("/a"), Some("/b")));
        assert_eq!(bind.read_only, Some(true));
        assert!(bind.bind_options.is_some());
        let tmpfs = mount("type=tmpfs,target=/t,tmpfs-size=64m,tmpfs-mode=1770").unwrap();
        let options = tmpfs.tmpfs_options.unwrap();
        assert_eq!((options.size_bytes, options.mode), (Some(64 << 20), Some(0o1770)));
        for text in [
            "",
            "type=bind,src=/a",
            "type=bind,src=a,dst=/b",
            "type=bind,dst=/b",
            "type=tmpfs,src=/a,dst=/b",
            "type=npipe,dst=/b",
            "type=bind,src=/a,dst=/b,tmpfs-size=1m",
            "type=tmpfs,dst=/b,tmpfs-mode=9",
            "type=bind,src=/a,dst=/b,volume-nocopy",
            "type=bind,src=/a,dst=/b,ro=maybe",
        ] {
            assert!(mount(text).is_err(), "{text}");
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
