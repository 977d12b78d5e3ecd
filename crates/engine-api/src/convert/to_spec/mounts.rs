// SPDX-License-Identifier: Apache-2.0
//! What Docker's clients want mounted: `Binds`, `Mounts`, `Tmpfs`, `VolumesFrom`, and `Volumes` of the configuration.

use std::path::{Path, PathBuf};

use api_types::MountChangeRequest;
use api_types::docker::{HostConfig, Mount as DockerMount, MountType};
use engine::{
    BindOptions, Given, ImageMount, Mount, MountChanges, VOLUME_DRIVER, VolumeMount, VolumesFrom, clean_path,
};

use crate::error::ApiError;

/// The modes of propagation that a bind may have.
const PROPAGATION: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// What `Consistency` says of a bind that is shown with the container's ids. Docker's model has no field for it, and this one
/// means nothing on Linux otherwise.
pub(crate) const IDMAP: &str = "idmap";

/// What shall be mounted, beside what other containers have. `volumes` are paths where volumes are wanted.
pub(super) fn mounts(host: &HostConfig, volumes: Option<&[String]>) -> Result<Vec<Mount>, ApiError> {
    check_driver(host.volume_driver.as_deref())?;
    let mut mounts = Vec::new();
    for bind in host.binds.iter().flatten() {
        mounts.push(parse_bind(bind)?);
    }
    for mount in host.mounts.iter().flatten() {
        mounts.push(parse_mount(mount)?);
    }
    for (target, options) in host.tmpfs.iter().flatten() {
        let options = options.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect();
        mounts.push(Mount::Tmpfs { target: absolute("Tmpfs", target)?, options, given: Given::Short });
    }
    for target in volumes.unwrap_or_default() {
        let target = absolute("Volumes", target)?;
        mounts.push(Mount::Volume(VolumeMount { target, given: Given::Declared, ..VolumeMount::default() }));
    }
    Ok(mounts)
}

/// What shall be mounted into a container that there is, and what no longer.
pub(super) fn changes(wish: &MountChangeRequest) -> Result<MountChanges, ApiError> {
    let remove = |target: &String| match target.contains('\0') {
        false => absolute("CortenMounts.Remove", target),
        true => Err(ApiError::invalid("CortenMounts.Remove", "a path has no zero byte in it")),
    };
    Ok(MountChanges {
        add: wish.add.iter().map(parse_mount).collect::<Result<_, _>>()?,
        remove: wish.remove.iter().map(remove).collect::<Result<_, _>>()?,
    })
}

/// Containers whose mounts are taken over: `CONTAINER[:ro|rw]`.
pub(super) fn volumes_from(host: &HostConfig) -> Result<Vec<VolumesFrom>, ApiError> {
    let parse = |text: &String| {
        let (container, mode) = text.split_once(':').unwrap_or((text, ""));
        let words = mode.split(',').filter(|word| !word.is_empty());
        if container.is_empty() || words.clone().any(|word| !matches!(word, "ro" | "rw" | "z" | "Z")) {
            let problem = format!("\"{text}\" is not CONTAINER, CONTAINER:ro or CONTAINER:rw");
            return Err(ApiError::invalid("VolumesFrom", problem));
        }
        let read_only = words.clone().any(|word| word == "ro");
        Ok(VolumesFrom { container: container.to_owned(), text: text.clone(), read_only })
    };
    host.volumes_from.iter().flatten().map(parse).collect()
}

/// Refuses a driver that is not here.
pub(crate) fn check_driver(driver: Option<&str>) -> Result<(), ApiError> {
    match driver {
        None | Some("" | VOLUME_DRIVER) => Ok(()),
        Some(other) => Err(ApiError::Unsupported(format!("the volume driver \"{other}\" (there is {VOLUME_DRIVER})"))),
    }
}

fn absolute(field: &'static str, path: &str) -> Result<String, ApiError> {
    if path.starts_with('/') {
        Ok(clean_path(path))
    } else {
        Err(ApiError::invalid(field, format!("invalid mount path: '{path}' mount path must be absolute")))
    }
}

/// What stands behind the second colon of a bind.
#[derive(Default)]
struct Mode {
    read_only: bool,
    no_copy: bool,
    idmap: bool,
    propagation: Option<String>,
}

/// Words of each kind may be given once: access, label, propagation, copying, consistency. Labels and consistency mean
/// nothing on a Linux host without SELinux, and are Docker's.
fn parse_mode(text: &str) -> Option<Mode> {
    let mut mode = Mode::default();
    let mut seen = Vec::new();
    for word in text.split(',') {
        let kind = match word {
            "ro" | "rw" => "access",
            "z" | "Z" => "label",
            "nocopy" => "copy",
            "idmap" => "ids",
            "consistent" | "cached" | "delegated" => "consistency",
            word if PROPAGATION.contains(&word) => "propagation",
            _ => return None,
        };
        if seen.contains(&kind) {
            return None;
        }
        seen.push(kind);
        mode.read_only |= word == "ro";
        mode.no_copy |= word == "nocopy";
        mode.idmap |= word == "idmap";
        if kind == "propagation" {
            mode.propagation = Some(word.to_owned());
        }
    }
    Some(mode)
}

/// `SOURCE:TARGET[:OPTIONS]`, or a path of the container alone.
fn parse_bind(text: &str) -> Result<Mount, ApiError> {
    let invalid =
        |problem: &str| ApiError::invalid("Binds", format!("invalid volume specification: '{text}' {problem}"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, words) = match parts[..] {
        [target] => ("", target, ""),
        [source, target] => (source, target, ""),
        [source, target, words] => (source, target, words),
        _ => return Err(invalid("is not SOURCE:TARGET[:OPTIONS]")),
    };
    if parts[0].is_empty() || (parts.len() == 2 && parse_mode(target).is_some()) {
        return Err(invalid("is not SOURCE:TARGET[:OPTIONS]"));
    }
    let target = absolute("Binds", target)?;
    let mode = match words {
        "" => Mode::default(),
        words => parse_mode(words).ok_or_else(|| {
            invalid("has an invalid mode: there are ro, rw, z, Z, nocopy, idmap and the modes of propagation, each kind once")
        })?,
    };
    let Mode { read_only, no_copy, idmap, propagation } = mode;
    if Path::new(source).is_absolute() {
        let source = PathBuf::from(clean_path(source));
        let options = BindOptions { mode: words.to_owned(), idmap, ..BindOptions::default() };
        return Ok(Mount::Bind { source, target, read_only, create_source: true, propagation, options });
    }
    if idmap {
        return Err(invalid("says idmap, which is for paths of the host: volumes always have the container's ids"));
    }
    let (name, mode) = (source.to_owned(), words.to_owned());
    Ok(Mount::Volume(VolumeMount { name, target, read_only, no_copy, mode, propagation, ..VolumeMount::default() }))
}

fn parse_mount(mount: &DockerMount) -> Result<Mount, ApiError> {
    let target = absolute("Target", mount.target.as_deref().unwrap_or_default())?;
    let read_only = mount.read_only.unwrap_or(false);
    let idmap = mount.consistency.as_deref() == Some(IDMAP);
    if idmap && mount.typ != Some(MountType::BIND) {
        let reason = "idmap is for paths of the host: everything else always has the container's ids";
        return Err(ApiError::invalid("Consistency", reason));
    }
    if let Some(other) = mount.consistency.as_deref()
        && !matches!(other, "" | "default" | "consistent" | "cached" | "delegated" | IDMAP)
    {
        return Err(ApiError::invalid("Consistency", format!("\"{other}\" is none")));
    }
    match mount.typ {
        Some(MountType::BIND) => parse_bind_mount(mount, target, read_only),
        Some(MountType::VOLUME) => parse_volume_mount(mount, target, read_only),
        Some(MountType::IMAGE) => parse_image_mount(mount, target),
        Some(MountType::TMPFS) => {
            if mount.source.as_deref().is_some_and(|source| !source.is_empty()) {
                return Err(ApiError::invalid("Source", "must not be specified for a tmpfs"));
            }
            let wish = mount.tmpfs_options.clone().unwrap_or_default();
            let mut options: Vec<String> = read_only.then(|| "ro".to_owned()).into_iter().collect();
            options.extend(wish.size_bytes.filter(|size| *size != 0).map(|size| format!("size={size}")));
            options.extend(wish.mode.filter(|mode| *mode != 0).map(|mode| format!("mode={mode:o}")));
            options.extend(wish.options.into_iter().flatten().map(|pair| pair.join("=")));
            Ok(Mount::Tmpfs { target, options, given: Given::Long })
        }
        other => {
            let kind = other.map(|kind| kind.to_string()).unwrap_or_default();
            Err(ApiError::Unsupported(format!("a mount of type \"{kind}\"")))
        }
    }
}

fn parse_bind_mount(mount: &DockerMount, target: String, read_only: bool) -> Result<Mount, ApiError> {
    let wish = mount.bind_options.clone().unwrap_or_default();
    let is_set = |field: Option<bool>| field == Some(true);
    let (writable_below, forced) = (is_set(wish.read_only_non_recursive), is_set(wish.read_only_force_recursive));
    if (writable_below || forced) && !read_only {
        return Err(ApiError::invalid("BindOptions", "ReadOnlyNonRecursive and ReadOnlyForceRecursive need ReadOnly"));
    }
    if writable_below && forced {
        return Err(ApiError::invalid(
            "BindOptions",
            "ReadOnlyNonRecursive and ReadOnlyForceRecursive exclude each other",
        ));
    }
    let source = PathBuf::from(absolute("Source", mount.source.as_deref().unwrap_or_default())?);
    let propagation = wish.propagation.map(|mode| mode.to_string()).filter(|mode| !mode.is_empty());
    let create_source = is_set(wish.create_mountpoint);
    let options = BindOptions {
        given: Given::Long,
        mode: String::new(),
        non_recursive: is_set(wish.non_recursive),
        // Read-only is recursive by default, on every kernel there is support for.
        read_only_non_recursive: writable_below,
        idmap: mount.consistency.as_deref() == Some(IDMAP),
    };
    Ok(Mount::Bind { source, target, read_only, create_source, propagation, options })
}

/// An image is never writable, whether that was said or not.
fn parse_image_mount(mount: &DockerMount, target: String) -> Result<Mount, ApiError> {
    let image = mount.source.clone().filter(|image| !image.is_empty());
    let image = image.ok_or_else(|| ApiError::invalid("Source", "an image must be named"))?;
    let wish = mount.image_options.clone().unwrap_or_default();
    let subpath = wish.subpath.filter(|path| !path.is_empty());
    if subpath.as_deref().is_some_and(leads_elsewhere) {
        return Err(ApiError::invalid("Subpath", "must be a relative path within the image"));
    }
    Ok(Mount::Image(ImageMount { image, target, subpath, given: Given::Long, ..ImageMount::default() }))
}

fn leads_elsewhere(path: &str) -> bool {
    path.starts_with('/') || path.split('/').any(|part| part == "..") || path.contains('\0')
}

fn parse_volume_mount(mount: &DockerMount, target: String, read_only: bool) -> Result<Mount, ApiError> {
    let wish = mount.volume_options.clone().unwrap_or_default();
    let driver = wish.driver_config.unwrap_or_default();
    check_driver(driver.name.as_deref())?;
    let name = mount.source.clone().unwrap_or_default();
    let subpath = wish.subpath.filter(|path| !path.is_empty());
    if let Some(path) = &subpath {
        if name.is_empty() {
            return Err(ApiError::invalid("Subpath", "must not be set when using anonymous volumes"));
        }
        if leads_elsewhere(path) {
            return Err(ApiError::invalid("Subpath", "must be a relative path within the volume"));
        }
    }
    Ok(Mount::Volume(VolumeMount {
        name,
        target,
        read_only,
        no_copy: wish.no_copy == Some(true),
        subpath,
        given: Given::Long,
        labels: wish.labels.unwrap_or_default().into_iter().collect(),
        options: driver.options.unwrap_or_default().into_iter().collect(),
        ..VolumeMount::default()
    }))
}
