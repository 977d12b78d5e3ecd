// SPDX-License-Identifier: Apache-2.0
//! Device files of the host, and their numbers.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};

use super::{BlockDevices, DeviceType, HostDevice, NumberLimits};
use crate::error::EngineError;
use crate::request::{ContainerSpec, DeviceLimit, DeviceMapping, Resources};

/// What of `/dev` a privileged container does not get: file systems and names of its own stand there.
const NOT_GIVEN: [&str; 8] = ["console", "fd", "mqueue", "ptmx", "pts", "shm", ".lxc", ".udev"];

/// All device files that `wish` asks for.
pub(super) fn of(wish: &ContainerSpec) -> Result<Vec<HostDevice>, EngineError> {
    let mut found = Vec::new();
    if wish.security.privileged {
        collect(Path::new("/dev"), Path::new("/dev"), "", true, &mut found)?;
    }
    for mapping in &wish.devices.mappings {
        // With all of the host's devices there, only other names for them are new.
        if !wish.security.privileged || mapping.host != mapping.container {
            mapped(mapping, &mut found)?;
        }
    }
    Ok(found)
}

/// A device file, what a symbolic link to one leads to, or all device files below a directory.
fn mapped(mapping: &DeviceMapping, found: &mut Vec<HostDevice>) -> Result<(), EngineError> {
    let failed = |problem: String| EngineError::invalid("--device", format!("{}: {problem}", mapping.host));
    let real = fs::canonicalize(&mapping.host).map_err(|error| failed(error.to_string()))?;
    let metadata = fs::symlink_metadata(&real).map_err(|error| failed(error.to_string()))?;
    let before = found.len();
    if metadata.is_dir() {
        collect(&real, Path::new(&mapping.container), &mapping.access, false, found)?;
    } else {
        found.extend(device(&real, &metadata, PathBuf::from(&mapping.container), &mapping.access));
    }
    if found.len() == before {
        let what =
            if metadata.is_dir() { "there is no device file in this directory" } else { "this is no device file" };
        return Err(failed(what.to_owned()));
    }
    Ok(())
}

/// All device files below a directory, under their names below `target`. Symbolic links are not followed.
fn collect(
    dir: &Path,
    target: &Path,
    access: &str,
    skip: bool,
    found: &mut Vec<HostDevice>,
) -> Result<(), EngineError> {
    for entry in fs::read_dir(dir).map_err(EngineError::io("read", dir))? {
        let entry = entry.map_err(EngineError::io("read", dir))?;
        let (path, name) = (entry.path(), entry.file_name());
        if skip && NOT_GIVEN.iter().any(|not| name == *not) {
            continue;
        }
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => collect(&path, &target.join(&name), access, skip, found)?,
            Ok(metadata) => found.extend(device(&path, &metadata, target.join(&name), access)),
            // It was unplugged a moment ago.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(EngineError::io("look at", path)(error)),
        }
    }
    Ok(())
}

fn device(source: &Path, metadata: &fs::Metadata, path: PathBuf, access: &str) -> Option<HostDevice> {
    let file_type = metadata.file_type();
    let kind = if file_type.is_block_device() {
        DeviceType::Block
    } else if file_type.is_char_device() {
        DeviceType::Character
    } else {
        return None;
    };
    let number = metadata.rdev();
    Some(HostDevice {
        path,
        source: Some(source.to_owned()),
        kind,
        major: major(number).into(),
        minor: minor(number).into(),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        access: access.to_owned(),
    })
}

/// The numbers of the block devices that have limits of their own.
pub(super) fn with_limits(resources: &Resources) -> Result<BlockDevices, EngineError> {
    Ok(BlockDevices {
        weights: numbers("--blkio-weight-device", &resources.blkio_weight_device)?,
        read_bps: numbers("--device-read-bps", &resources.blkio_read_bps)?,
        write_bps: numbers("--device-write-bps", &resources.blkio_write_bps)?,
        read_iops: numbers("--device-read-iops", &resources.blkio_read_iops)?,
        write_iops: numbers("--device-write-iops", &resources.blkio_write_iops)?,
    })
}

fn numbers(flag: &'static str, limits: &[DeviceLimit]) -> Result<NumberLimits, EngineError> {
    let number = |limit: &DeviceLimit| {
        let failed = |problem: String| EngineError::invalid(flag, format!("{}: {problem}", limit.path));
        let metadata = fs::metadata(&limit.path).map_err(|error| failed(error.to_string()))?;
        if !metadata.file_type().is_block_device() {
            return Err(failed("this is no block device".to_owned()));
        }
        let number = metadata.rdev();
        Ok(((major(number).into(), minor(number).into()), limit.value))
    };
    limits.iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(host: &str, container: &str) -> DeviceMapping {
        DeviceMapping { host: host.into(), container: container.into(), access: "rw".into() }
    }

    #[test]
    fn a_link_to_a_device_is_that_device_and_a_file_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        let mut found = Vec::new();
        mapped(&mapping(link.to_str().unwrap(), "/dev/mine"), &mut found).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].major, found[0].minor, found[0].kind), (1, 3, DeviceType::Character));
        assert_eq!((found[0].path.to_str(), found[0].access.as_str()), (Some("/dev/mine"), "rw"));
        for bad in [dir.path().to_str().unwrap(), "/etc/passwd", "/dev/no-such-device"] {
            assert!(mapped(&mapping(bad, "/dev/x"), &mut found).is_err(), "{bad}");
        }
    }
}
