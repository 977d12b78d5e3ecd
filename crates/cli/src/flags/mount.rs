// SPDX-License-Identifier: Apache-2.0
//! `--mount type=…,…`.

use std::collections::HashMap;

use api_types::docker::{
    Mount, MountBindOptions, MountImageOptions, MountTmpfsOptions, MountType, MountVolumeOptions,
    MountVolumeOptionsDriverConfig,
};

use super::fields::fields;
use super::{FlagError, size};

/// The options of the types of mounts, as far as some were given.
#[derive(Default)]
struct Options {
    bind: Option<MountBindOptions>,
    image: Option<MountImageOptions>,
    tmpfs: Option<MountTmpfsOptions>,
    volume: Option<MountVolumeOptions>,
}

/// What `text`, a value of `--mount`, asks for.
pub(crate) fn mount(text: &str) -> Result<Mount, FlagError> {
    let invalid = |problem| FlagError::invalid(text, problem);
    let mut mount = Mount { typ: Some(MountType::VOLUME), ..Mount::default() };
    let mut options = Options::default();
    let fields = fields(text).ok_or_else(|| invalid("has an empty field, or a quote without its end"))?;
    for field in &fields {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field.as_str(), None),
        };
        match (key, value) {
            ("type", Some("bind")) => mount.typ = Some(MountType::BIND),
            ("type", Some("image")) => mount.typ = Some(MountType::IMAGE),
            ("type", Some("tmpfs")) => mount.typ = Some(MountType::TMPFS),
            ("type", Some("volume")) => mount.typ = Some(MountType::VOLUME),
            ("type", _) => return Err(invalid("has a type that is neither bind nor image nor tmpfs nor volume")),
            ("source" | "src", Some(source)) => mount.source = Some(source.to_owned()),
            ("target" | "destination" | "dst", Some(target)) => mount.target = Some(target.to_owned()),
            ("readonly" | "ro", value) => {
                mount.read_only =
                    Some(yes(value).ok_or_else(|| invalid("has a readonly that is neither true nor false"))?);
            }
            ("consistency", Some(value)) => mount.consistency = Some(value.to_owned()),
            (key, value) if key.starts_with("bind-") => {
                bind_option(key, value, &mut mount, options.bind.get_or_insert_default()).map_err(invalid)?;
            }
            (key, value) if key.starts_with("volume-") => {
                volume_option(key, value, options.volume.get_or_insert_default()).map_err(invalid)?;
            }
            ("image-subpath", Some(path)) => {
                options.image.get_or_insert_default().subpath = Some(path.to_owned());
            }
            ("tmpfs-size", Some(limit)) => options.tmpfs.get_or_insert_default().size_bytes = Some(size::bytes(limit)?),
            ("tmpfs-mode", Some(mode)) => {
                let mode = i64::from_str_radix(mode, 8).ok().filter(|mode| (0..=0o7777).contains(mode));
                let mode = mode.ok_or_else(|| invalid("has a tmpfs-mode that is no octal mode"))?;
                options.tmpfs.get_or_insert_default().mode = Some(mode);
            }
            ("idmap", value) => {
                let wanted = yes(value).ok_or_else(|| invalid("has an idmap that is neither true nor false"))?;
                mount.consistency = wanted.then(|| "idmap".to_owned());
            }
            _ => return Err(invalid("has a field that is not known")),
        }
    }
    check(&mount, &options).map_err(invalid)?;
    Ok(Mount {
        bind_options: options.bind,
        image_options: options.image,
        tmpfs_options: options.tmpfs,
        volume_options: options.volume,
        ..mount
    })
}

/// A yes or no; yes where only the name stands.
fn yes(value: Option<&str>) -> Option<bool> {
    match value {
        None | Some("true" | "1") => Some(true),
        Some("false" | "0") => Some(false),
        Some(_) => None,
    }
}

fn bind_option(
    key: &str,
    value: Option<&str>,
    mount: &mut Mount,
    bind: &mut MountBindOptions,
) -> Result<(), &'static str> {
    match (key, value) {
        ("bind-propagation", Some(mode)) => {
            bind.propagation = Some(mode.parse().map_err(|_| "has an unknown bind-propagation")?);
        }
        ("bind-nonrecursive", value) => {
            bind.non_recursive = Some(yes(value).ok_or("has a bind-nonrecursive that is neither true nor false")?);
        }
        ("bind-recursive", Some("enabled")) => {}
        ("bind-recursive", Some("disabled")) => bind.non_recursive = Some(true),
        ("bind-recursive", Some(mode @ ("writable" | "readonly"))) => {
            if mode == "writable" {
                bind.read_only_non_recursive = Some(true);
            } else {
                bind.read_only_force_recursive = Some(true);
            }
            if mount.read_only != Some(true) {
                return Err("needs readonly in front of such a bind-recursive");
            }
        }
        ("bind-recursive", _) => {
            return Err("has a bind-recursive other than enabled, disabled, writable and readonly");
        }
        ("bind-create-src", value) => {
            let create = yes(value).ok_or("has a bind-create-src that is neither true nor false")?;
            bind.create_mountpoint = Some(create);
        }
        _ => return Err("has a field that is not known"),
    }
    Ok(())
}

fn volume_option(key: &str, value: Option<&str>, volume: &mut MountVolumeOptions) -> Result<(), &'static str> {
    let driver = |volume: &mut MountVolumeOptions, change: &dyn Fn(&mut MountVolumeOptionsDriverConfig)| {
        change(volume.driver_config.get_or_insert_default());
    };
    let put = |map: &mut Option<HashMap<String, String>>, pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        map.get_or_insert_default().insert(name.to_owned(), value.to_owned());
    };
    match (key, value) {
        ("volume-nocopy", value) => {
            volume.no_copy = Some(yes(value).ok_or("has a volume-nocopy that is neither true nor false")?);
        }
        ("volume-subpath", Some(path)) => volume.subpath = Some(path.to_owned()),
        ("volume-label", Some(pair)) => put(&mut volume.labels, pair),
        ("volume-driver", Some(name)) => driver(volume, &|driver| driver.name = Some(name.to_owned())),
        ("volume-opt", Some(pair)) => driver(volume, &|driver| put(&mut driver.options, pair)),
        _ => return Err("has a field that is not known"),
    }
    Ok(())
}

fn check(mount: &Mount, options: &Options) -> Result<(), &'static str> {
    if !mount.target.as_deref().is_some_and(|target| target.starts_with('/')) {
        return Err("needs target=, an absolute path inside the container");
    }
    let kind = mount.typ;
    if kind == Some(MountType::BIND) && !mount.source.as_deref().is_some_and(|source| source.starts_with('/')) {
        return Err("needs source=, an absolute path on the host");
    }
    if kind == Some(MountType::TMPFS) && mount.source.is_some() {
        return Err("has a source, but a tmpfs has none");
    }
    if kind == Some(MountType::IMAGE) && mount.source.as_deref().is_none_or(str::is_empty) {
        return Err("needs source=, an image");
    }
    let given = [
        (options.bind.is_some(), MountType::BIND),
        (options.image.is_some(), MountType::IMAGE),
        (options.tmpfs.is_some(), MountType::TMPFS),
        (options.volume.is_some(), MountType::VOLUME),
    ];
    if given.into_iter().any(|(is_given, of)| is_given && kind != Some(of)) {
        return Err("has options of another type of mount");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_field_by_field() {
        let bind = mount("type=bind,src=/a,dst=/b,ro,bind-propagation=rslave,bind-recursive=writable").unwrap();
        assert_eq!(bind.typ, Some(MountType::BIND));
        assert_eq!((bind.source.as_deref(), bind.target.as_deref()), (Some("/a"), Some("/b")));
        assert_eq!(bind.read_only, Some(true));
        assert_eq!(bind.bind_options.unwrap().read_only_non_recursive, Some(true));
        assert_eq!(mount("type=bind,src=/a,dst=/b,idmap").unwrap().consistency.as_deref(), Some("idmap"));
        let tmpfs = mount("type=tmpfs,target=/t,tmpfs-size=64m,tmpfs-mode=1770").unwrap();
        let options = tmpfs.tmpfs_options.unwrap();
        assert_eq!((options.size_bytes, options.mode), (Some(64 << 20), Some(0o1770)));
        let volume = mount(
            "src=data,dst=/v,volume-nocopy,volume-subpath=a/b,volume-label=k=v,volume-driver=local,\
             volume-opt=type=tmpfs,volume-opt=device=tmpfs,\"volume-opt=o=size=1m,nr_inodes=9\"",
        );
        let options = volume.unwrap().volume_options.unwrap();
        assert_eq!((options.no_copy, options.subpath.as_deref()), (Some(true), Some("a/b")));
        assert_eq!(options.labels.unwrap()["k"], "v");
        let driver = options.driver_config.unwrap();
        let options = driver.options.unwrap();
        assert_eq!((driver.name.as_deref(), options["type"].as_str()), (Some("local"), "tmpfs"));
        assert_eq!(options["o"], "size=1m,nr_inodes=9", "a field with commas stands in quotes, as with Docker");
    }

    #[test]
    fn an_image_is_mounted_by_its_name() {
        let image = mount("type=image,source=debian:13,target=/d,image-subpath=etc").unwrap();
        assert_eq!((image.typ, image.source.as_deref()), (Some(MountType::IMAGE), Some("debian:13")));
        assert_eq!(image.image_options.unwrap().subpath.as_deref(), Some("etc"));
        assert!(mount("type=image,target=/d").is_err() && mount("type=bind,src=/a,dst=/b,image-subpath=x").is_err());
    }

    #[test]
    fn what_cannot_be_is_refused() {
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
            "type=bind,src=/a,dst=/b,idmap=maybe",
            "type=bind,src=/a,dst=/b,bind-recursive=readonly",
            "type=bind,src=/a,dst=/b,bind-recursive=sometimes",
            "type=volume,src=a,dst=/b,volume-colour=red",
            "type=volume,src=a,dst=/b,volume-nocopy=perhaps",
        ] {
            assert!(mount(text).is_err(), "{text}");
        }
    }
}
