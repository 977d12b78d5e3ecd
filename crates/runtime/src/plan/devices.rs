// SPDX-License-Identifier: Apache-2.0
//! Device files: those every container has (runtime specification, "Default Devices"), and `linux.devices`.

use std::path::{Path, PathBuf};

use oci::runtime_spec::{Linux, LinuxDeviceType, Mount};

use super::operation::{Device, DeviceKind, Operation};
use super::{PlanError, absolute};

const DEFAULT_DEVICES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];

pub(super) fn operations(
    mounts: &[Mount],
    linux: &Linux,
    confined: bool,
    operations: &mut Vec<Operation>,
) -> Result<(), PlanError> {
    // A /dev that is the host's, or somebody else's, is taken as it is.
    let bound = mounts.iter().any(|mount| {
        let is_bind = mount.typ().as_deref() == Some("bind")
            || mount.options().iter().flatten().any(|option| option == "bind" || option == "rbind");
        mount.destination() == Path::new("/dev") && is_bind
    });
    if bound {
        return Ok(());
    }
    let given = linux.devices().iter().flatten().map(device).collect::<Result<Vec<_>, _>>()?;
    // Engines list the host's with all others for a privileged container; it is the container's own multiplexer
    // (runtime specification, "Default Devices").
    let given: Vec<Device> = given.into_iter().filter(|device| device.path != Path::new("/dev/ptmx")).collect();
    for (path, major, minor) in DEFAULT_DEVICES {
        if !given.iter().any(|device| device.path == Path::new(path)) {
            let path = PathBuf::from(path);
            let kind = DeviceKind::Character;
            let bind = confined;
            operations.push(Operation::Device(Device { path, kind, major, minor, bind, mode: 0o666, uid: 0, gid: 0 }));
        }
    }
    operations.extend(given.into_iter().map(|mut device| {
        // Anybody may make a fifo.
        device.bind = confined && device.kind != DeviceKind::Fifo;
        Operation::Device(device)
    }));
    for (path, target) in LINKS {
        operations.push(Operation::Symlink { target: target.into(), path: path.into() });
    }
    Ok(())
}

fn device(device: &oci::runtime_spec::LinuxDevice) -> Result<Device, PlanError> {
    let path = absolute("linux.devices.path", &device.path().to_string_lossy())?;
    let number = |value: i64| {
        u32::try_from(value).map_err(|_| PlanError::Invalid {
            field: format!("linux.devices[{}]", path.display()),
            value: value.to_string(),
            expected: "a device number that is not negative",
        })
    };
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => DeviceKind::Character,
        LinuxDeviceType::B => DeviceKind::Block,
        LinuxDeviceType::P => DeviceKind::Fifo,
        LinuxDeviceType::A => {
            return Err(PlanError::Invalid {
                field: format!("linux.devices[{}].type", path.display()),
                value: "a".into(),
                expected: "c, b, u or p",
            });
        }
    };
    Ok(Device {
        kind,
        major: number(device.major())?,
        minor: number(device.minor())?,
        bind: false,
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
        path,
    })
}
