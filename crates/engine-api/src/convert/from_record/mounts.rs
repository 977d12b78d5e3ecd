// SPDX-License-Identifier: Apache-2.0
//! What is mounted into a container: the wishes as they were made, and what has become of them.

use std::collections::HashMap;

use api_types::docker::{
    HostConfig, Mount as DockerMount, MountBindOptions, MountImageOptions, MountPoint, MountTmpfsOptions, MountType,
    MountVolumeOptions, MountVolumeOptionsDriverConfig,
};
use engine::{BindOptions, Given, Mount, Record, VOLUME_DRIVER, VolumeMount};

use crate::convert::to_spec::IDMAP;

/// Tells the wishes as `HostConfig` has them.
pub(super) fn wishes(record: &Record, host: &mut HostConfig) {
    let mut tmpfs = HashMap::new();
    let (mut binds, mut mounts) = (Vec::new(), Vec::new());
    for mount in &record.spec.mounts {
        match (mount, mount.given()) {
            (Mount::Tmpfs { target, options, .. }, Given::Short) => {
                tmpfs.insert(target.clone(), options.join(","));
            }
            (Mount::Bind { source, target, options, read_only, .. }, Given::Short) => {
                // What earlier versions have written has no mode.
                let mode = if options.mode.is_empty() && *read_only { "ro" } else { options.mode.as_str() };
                binds.push(bind(&source.display().to_string(), target, mode));
            }
            (Mount::Volume(volume), Given::Short) => binds.push(bind(&volume.name, &volume.target, &volume.mode)),
            (mount @ Mount::Image(_), Given::Short) | (mount, Given::Long) => mounts.push(long(mount)),
            (_, Given::Declared | Given::From) => {}
        }
    }
    let from = record.spec.volumes_from.iter().map(|from| from.text.clone());
    host.binds = Some(binds).filter(|list| !list.is_empty());
    host.mounts = Some(mounts).filter(|list| !list.is_empty());
    host.tmpfs = Some(tmpfs).filter(|map| !map.is_empty());
    host.volumes_from = Some(from.collect::<Vec<_>>()).filter(|list| !list.is_empty());
}

/// The paths at which the image and the user want volumes that nobody names.
pub(super) fn declared(record: &Record) -> Option<Vec<String>> {
    let own = record.spec.mounts.iter().filter(|mount| mount.given() == Given::Declared);
    let mut paths: Vec<String> = own.map(|mount| mount.target().to_owned()).collect();
    paths.extend(record.process.volumes.iter().cloned());
    paths.sort();
    paths.dedup();
    Some(paths).filter(|paths| !paths.is_empty())
}

fn bind(source: &str, target: &str, mode: &str) -> String {
    [source, target, mode].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(":")
}

fn long(mount: &Mount) -> DockerMount {
    let base = DockerMount { target: Some(mount.target().to_owned()), ..DockerMount::default() };
    match mount {
        Mount::Bind { source, read_only, propagation, options, create_source, .. } => {
            let BindOptions { non_recursive, read_only_non_recursive, .. } = options;
            let set = |is_set: bool| is_set.then_some(true);
            let bind = MountBindOptions {
                propagation: propagation.as_ref().and_then(|mode| mode.parse().ok()),
                non_recursive: set(*non_recursive),
                create_mountpoint: set(*create_source),
                read_only_non_recursive: set(*read_only_non_recursive),
                ..MountBindOptions::default()
            };
            DockerMount {
                typ: Some(MountType::BIND),
                source: Some(source.display().to_string()),
                read_only: set(*read_only),
                bind_options: Some(bind).filter(|bind| *bind != MountBindOptions::default()),
                consistency: options.idmap.then(|| IDMAP.to_owned()),
                ..base
            }
        }
        Mount::Image(image) => DockerMount {
            typ: Some(MountType::IMAGE),
            source: Some(image.image.clone()),
            image_options: image.subpath.clone().map(|subpath| MountImageOptions { subpath: Some(subpath) }),
            ..base
        },
        Mount::Tmpfs { options, .. } => {
            let value = |name: &str| options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='));
            let tmpfs = MountTmpfsOptions {
                size_bytes: value("size").and_then(|size| size.parse().ok()),
                mode: value("mode").and_then(|mode| i64::from_str_radix(mode, 8).ok()),
                ..MountTmpfsOptions::default()
            };
            DockerMount {
                typ: Some(MountType::TMPFS),
                read_only: options.iter().any(|option| option == "ro").then_some(true),
                tmpfs_options: Some(tmpfs).filter(|tmpfs| *tmpfs != MountTmpfsOptions::default()),
                ..base
            }
        }
        Mount::Volume(volume) => {
            let map = |map: &std::collections::BTreeMap<String, String>| {
                (!map.is_empty()).then(|| map.clone().into_iter().collect::<HashMap<_, _>>())
            };
            let driver = map(&volume.options).map(|options| MountVolumeOptionsDriverConfig {
                name: Some(VOLUME_DRIVER.to_owned()),
                options: Some(options),
            });
            let wish = MountVolumeOptions {
                no_copy: volume.no_copy.then_some(true),
                labels: map(&volume.labels),
                driver_config: driver,
                subpath: volume.subpath.clone(),
            };
            DockerMount {
                typ: Some(MountType::VOLUME),
                source: Some(volume.name.clone()).filter(|name| !name.is_empty()),
                read_only: volume.read_only.then_some(true),
                volume_options: Some(wish).filter(|wish| *wish != MountVolumeOptions::default()),
                ..base
            }
        }
    }
}

/// What is mounted. What `--tmpfs` asks for Docker does not list.
pub(super) fn points(record: &Record) -> Vec<MountPoint> {
    record.mounts().iter().filter_map(point).collect()
}

fn point(mount: &Mount) -> Option<MountPoint> {
    let point = MountPoint { destination: Some(mount.target().to_owned()), ..MountPoint::default() };
    Some(match mount {
        Mount::Bind { source, read_only, propagation, options, .. } => MountPoint {
            typ: Some("bind".into()),
            source: Some(source.display().to_string()),
            mode: Some(options.mode.clone()),
            rw: Some(!read_only),
            propagation: Some(propagation.clone().unwrap_or_else(|| "rprivate".to_owned())),
            ..point
        },
        Mount::Image(image) => MountPoint {
            typ: Some("image".into()),
            source: Some(image.image.clone()),
            mode: Some(String::new()),
            rw: Some(false),
            propagation: Some(String::new()),
            ..point
        },
        Mount::Tmpfs { given: Given::Short, .. } => return None,
        Mount::Tmpfs { options, .. } => MountPoint {
            typ: Some("tmpfs".into()),
            source: Some(String::new()),
            mode: Some(String::new()),
            rw: Some(!options.iter().any(|option| option == "ro")),
            propagation: Some(String::new()),
            ..point
        },
        Mount::Volume(VolumeMount { name, source, mode, read_only, propagation, .. }) => MountPoint {
            typ: Some("volume".into()),
            name: Some(name.clone()),
            source: Some(source.display().to_string()),
            driver: Some(VOLUME_DRIVER.to_owned()),
            mode: Some(mode.clone()),
            rw: Some(!read_only),
            propagation: Some(propagation.clone().unwrap_or_default()),
            ..point
        },
    })
}
